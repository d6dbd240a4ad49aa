"""A web server as storage: `http://` and `https://`, read by plain GETs.

Any server of static files will do. One that takes PUT (as WebDAV does) can be
written, when the user says so. What requests have to keep to is in `httpclient`.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from http import HTTPStatus
from typing import BinaryIO, cast

from git_datareg.errors import (
    CorruptError,
    IntegrityError,
    ObjectNotFoundError,
    StorageDeniedError,
    StorageError,
    StorageNotFoundError,
    StorageReadOnlyError,
    StorageUnavailableError,
    UsageError,
)
from git_datareg.location import Location
from git_datareg.storage import Info, Options, Properties, answers, checked
from git_datareg.storage.connections import Timeouts
from git_datareg.storage.httpclient import Answer, Body, HttpClient
from git_datareg.storage.place import Place

#: How much a request for a part skips of what a server without ranges gives.
_SKIPPED = 64 * 1024 * 1024
_CHUNK = 64 * 1024
_CONNECTIONS = 16

_OK, _CREATED, _PARTIAL = 200, 201, 206
_ABSENT = (404, 410)
_NEEDS_LOGIN = (401, 407)
_DENIED = (*_NEEDS_LOGIN, 403)
_NO_METHOD = (405, 501)
_CONFLICT, _PRECONDITION_FAILED, _TOO_LARGE, _NOT_SATISFIABLE = 409, 412, 413, 416
#: What may pass: time-out of the server's, too early, too many requests.
_PASSING = (408, 425, 429)
#: What helps when it is read-only.
_TO_WRITE = "if the server takes PUT: git config datareg.NAME.put true"


class HttpStorage(Place):
    """Values at the URLs below one."""

    def __init__(
        self,
        location: Location,
        options: Options | None = None,
        *,
        writable: bool = True,
        timeouts: Timeouts | None = None,
    ) -> None:
        """Raises UsageError for a URL that can't be one of a storage."""
        options = options or Options()
        super().__init__(
            location,
            Properties(
                writable=writable and options.put,
                connections=options.connections or _CONNECTIONS,
                can_list=False,
                is_exclusive=False,
            ),
        )
        try:
            self._client = HttpClient(location.url, options, timeouts or Timeouts())
        except UsageError as error:
            raise UsageError(f"{error}: {location}") from None
        self._is_trusted = options.is_trusted
        self._has_head = True
        self._folders: set[str] = set()

    def info(self, key: str) -> Info | None:
        """See Storage."""
        checked(key)
        if self._has_head:
            with self._client.read("HEAD", key) as answer:
                self._has_head = answer.status not in _NO_METHOD
                if self._has_head and not self._is_there(answer):
                    return None
                size = answers.content_length(answer.header("Content-Length"))
                if self._has_head and size is not None:
                    return Info(key, size)
        return self._info_by_get(key)

    def _info_by_get(self, key: str) -> Info | None:
        with self._client.read("GET", key, {"Range": "bytes=0-0"}) as answer:
            part = answers.content_range(answer.header("Content-Range"))
            if answer.status == _NOT_SATISFIABLE:
                # There is no first byte.
                return Info(key, 0)
            if not self._is_there(answer):
                return None
            size = part.total if part is not None else None
            if size is None and answer.status == _OK:
                size = answers.content_length(answer.header("Content-Length"))
            if size is None:
                raise StorageError(f"the server does not tell the size: {answer.url}")
            return Info(key, size)

    def open(self, key: str, offset: int = 0, length: int | None = None) -> BinaryIO:
        """See Storage."""
        checked(key)
        if length == 0:
            if self.info(key) is None:
                raise self._absent(key)
            return io.BytesIO()
        headers = {}
        if offset or length is not None:
            end = "" if length is None else str(offset + length - 1)
            headers["Range"] = f"bytes={offset}-{end}"
        answer = self._client.read("GET", key, headers)
        try:
            if answer.status == _NOT_SATISFIABLE and headers:
                # It ends before.
                answer.close()
                return io.BytesIO()
            if not self._is_there(answer):
                raise self._absent(key)
            _seek(answer, offset, length)
        except BaseException:
            answer.close()
            raise
        return cast(BinaryIO, answer)

    def put(self, key: str, source: BinaryIO, size: int) -> bool:
        """See Storage; with a server that replaces what is there, see `is_exclusive`."""
        self._check_writable(_TO_WRITE)
        if self.info(key) is not None:
            return False
        self._make_folders(key)
        headers = {"If-None-Match": "*", "Content-Type": "application/octet-stream"}
        pieces = self._pieces(source, size, key)
        if not size:
            # Nobody else would ask for a piece.
            next(pieces, None)
        with self._client.write("PUT", key, headers, Body(pieces, size)) as answer:
            status = answer.status
            if status in _ABSENT or status == _CONFLICT:
                raise StorageNotFoundError(
                    f"there is no folder for {answer.url}, and none can be made",
                    "make it on the server (nginx: create_full_put_path on)",
                )
            if status != _PRECONDITION_FAILED:
                self._check_written(answer)
        if status == _PRECONDITION_FAILED:
            return False
        stored = self.info(key)
        if stored is None or stored.size != size:
            has = "nothing" if stored is None else f"{stored.size} bytes"
            raise StorageUnavailableError(f"after a PUT of {size} bytes has {has}: {self.url(key)}")
        # "If the target resource does not have a current representation [...] the origin
        # server MUST inform the user agent by sending a 201" (RFC 9110, 9.3.4).
        return status == _CREATED

    def replace(self, key: str, value: bytes) -> None:
        """See Storage."""
        checked(key)
        self._check_writable(_TO_WRITE)
        self._make_folders(key)
        headers = {"Content-Type": "application/octet-stream"}
        with self._client.write("PUT", key, headers, Body(iter([value]), len(value))) as answer:
            self._check_written(answer)

    def list(self, prefix: str) -> Iterator[Info]:
        """See Storage: HTTP has no word for it."""
        raise StorageError(f"a web server does not tell what it has: {self.location}")

    def delete(self, key: str) -> None:
        """See Storage."""
        self._check_writable(_TO_WRITE)
        # To delete a directory, some servers would take all that is in it.
        if self.info(key) is None:
            return
        with self._client.write("DELETE", key, {}) as answer:
            if answer.status not in _ABSENT:
                self._check_written(answer)

    def url(self, key: str) -> str:
        """See Storage: without user and query."""
        return str(self._client.base.below(checked(key)))

    def _absent(self, key: str) -> ObjectNotFoundError:
        return ObjectNotFoundError(f"not in {self.location}: {key}")

    def _is_there(self, answer: Answer) -> bool:
        """Whether the answer to GET or HEAD is a value's; raises a StorageError for a fault."""
        if answer.status in _ABSENT or answer.is_redirect:
            return False
        self._check(answer)
        encoding = answer.header("Content-Encoding")
        if answers.is_encoded(encoding):
            raise StorageError(
                f"the server sends {encoding!a} where the bytes themselves were asked for: "
                f"{answer.url}",
                "switch compression off for the storage on the server",
            )
        return True

    def _check(self, answer: Answer) -> None:
        """Raise the StorageError that a status stands for, unless it says that all is well."""
        status, url = answer.status, answer.url
        if _OK <= status < 300:
            return
        said = f"the server says {status}{_phrase(status)}"
        if status in _DENIED:
            raise StorageDeniedError(f"{said}: {url}", *self._hints(answer))
        if status == _TOO_LARGE:
            raise StorageDeniedError(f"{said}: {url}", "raise the server's limit for a body's size")
        if status in _PASSING or status >= 500:
            fault = StorageUnavailableError(f"{said}: {url}")
            fault.retry_after = answers.retry_after(answer.header("Retry-After"))
            raise fault
        raise StorageError(f"{said}: {url}")

    def _check_written(self, answer: Answer) -> None:
        """As `_check`, for an answer to what changes something."""
        if answer.status in _NO_METHOD:
            raise StorageReadOnlyError(
                f"the server says {answer.status}{_phrase(answer.status)}: {answer.url}",
                "it takes no PUT or DELETE there: have it do so, or use another storage",
            )
        self._check(answer)

    def _hints(self, answer: Answer) -> Sequence[str]:
        if answer.status == 407:
            return ["the proxy wants a login: put it in http_proxy or https_proxy"]
        if not self._is_trusted:
            return [
                "no login was sent, since a repository named this server, and not you; if you "
                f"trust it: git config --global --add datareg.trustedEndpoint {self.location}"
            ]
        if answer.status == 401:
            return ["have git know the login: a credential helper, or ~/.netrc"]
        return ["check the permissions of the storage"]

    def _make_folders(self, key: str) -> None:
        """Make the directories that the key lies in, once each, where the server knows MKCOL.

        Before the value: a body that comes from a pipe can be sent only once, so both
        a missing directory and a login that writers need must show on something else.
        """
        parts = key.split("/")
        for depth in range(len(parts)):
            folder = "".join(f"{part}/" for part in parts[:depth])
            if folder in self._folders:
                continue
            with self._client.write("MKCOL", folder, {}) as answer:
                # Refused where it exists, and wherever this is no word.
                if answer.status in _NEEDS_LOGIN or answer.status in _PASSING:
                    self._check(answer)
                if answer.status >= 500 and answer.status not in _NO_METHOD:
                    self._check(answer)
            self._folders.add(folder)

    def _pieces(self, source: BinaryIO, size: int, key: str) -> Iterator[bytes]:
        """The source's bytes; the last of them only when it has no more."""
        left = size
        piece = b""
        while left and (chunk := source.read(min(left, _CHUNK))):
            if piece:
                yield piece
            piece = chunk
            left -= len(chunk)
        if left or source.read(1):
            raise IntegrityError(f"not {size} bytes, as promised for {self.url(key)}")
        if piece:
            yield piece


def _seek(answer: Answer, offset: int, length: int | None) -> None:
    """Have the answer's body begin at `offset`.

    Raises StorageUnavailableError for another part, and CorruptError where to skip what
    comes before would take too long: who wants all can ask for all, as after wrong bytes.
    """
    text = answer.header("Content-Range")
    part = answers.content_range(text)
    if answer.status != _PARTIAL and text is None:
        # All of it: the server knows no ranges.
        if offset > _SKIPPED:
            raise CorruptError(
                f"the server gives all where a part was asked for: {answer.url}",
                "it does not know Range: fetch the data whole (in Python: stream=False)",
            )
        left = offset
        while left and (skipped := answer.read(min(left, _CHUNK))):
            left -= len(skipped)
        return
    if part is None or part.first is None or part.last is None or part.first != offset:
        raise StorageUnavailableError(f"the server gives another part: {answer.url}")
    size = answers.content_length(answer.header("Content-Length"))
    expected = part.last - part.first + 1
    if (length is not None and expected > length) or size not in (None, expected):
        raise StorageUnavailableError(f"the server gives another part: {answer.url}")


def _phrase(status: int) -> str:
    """What a status means. The server's own words could be anything, escapes too."""
    try:
        return f" {HTTPStatus(status).phrase}"
    except ValueError:
        return ""
