"""Requests to web servers: one attempt each, by our rules for redirects and logins.

Knows nothing of keys and values. Every fault comes as a StorageError that names
the URL without what may be secret in it.
"""

from __future__ import annotations

import io
import ssl
from collections.abc import Iterator, Mapping
from http.client import HTTPException, IncompleteRead
from typing import TYPE_CHECKING, Any, cast

from git_datareg.errors import (
    DataregError,
    StorageDeniedError,
    StorageError,
    StorageUnavailableError,
)
from git_datareg.login import Login
from git_datareg.storage import Options, answers, redirects
from git_datareg.storage.connections import Connections, PrivateAddressError, Timeouts
from git_datareg.storage.credentials import Logins
from git_datareg.storage.weburl import WebUrl, user_of

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

_UNAUTHORIZED = 401
_READS = ("GET", "HEAD")
#: So much of an answer that nobody wants is read, so that its connection can be used again.
_DRAINED = 16 * 1024
_HEADERS = {"User-Agent": "git-datareg", "Accept-Encoding": "identity"}


class Answer(io.RawIOBase):
    """What a server answered: status, headers, and its body as a stream.

    To be closed, which gives the connection back or ends it.
    """

    def __init__(self, response: BaseHTTPResponse, url: WebUrl, idle: float) -> None:
        self._response = response
        self._idle = idle
        self.url = url
        self.status = response.status

    def header(self, name: str) -> str | None:
        """A header's text; several of one name are joined by commas."""
        return self._response.headers.get(name)

    @property
    def is_redirect(self) -> bool:
        """Whether it is a redirect: of these only those to a folder are not followed."""
        return self.status in redirects.CODES

    def readable(self) -> bool:
        """See RawIOBase."""
        return True

    def read(self, size: int | None = -1) -> bytes:
        """See RawIOBase: less than `size` bytes only at the end.

        Raises StorageUnavailableError when the body ends early or stalls.
        """
        try:
            if size is None or size < 0:
                return self._response.read(decode_content=False)
            data = self._response.read(size, decode_content=False)
            if len(data) < size and self._response.length_remaining:
                # That there are no more is said only to who asks again.
                data += self._response.read(size - len(data), decode_content=False)
            return data
        except _errors() as error:
            raise _fault(error, self.url, self._idle) from error

    def readinto(self, buffer: Any) -> int:
        """See RawIOBase."""
        view = memoryview(buffer).cast("B")
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """See RawIOBase."""
        # One that was read to its end has given its connection back.
        if not self.closed and not self._response.closed:
            left = self._response.length_remaining
            try:
                if left is not None and left <= _DRAINED:
                    self._response.read(left + 1, decode_content=False)
                    self._response.release_conn()
            except _errors():
                # What comes of it is of no interest any more.
                left = None
            if left is None or left > _DRAINED:
                self._response.close()
        super().close()


class Body:
    """The body of a request: `size` bytes in pieces that are made as they are sent.

    What the pieces raise comes out of the request as it is, and ends its connection.
    """

    def __init__(self, pieces: Iterator[bytes], size: int) -> None:
        self.size = size
        self._pieces = pieces
        #: Whether the pieces may be gone, so that it can't be sent again.
        self.is_begun = False

    def __iter__(self) -> Iterator[bytes]:
        self.is_begun = True
        try:
            yield from self._pieces
        except GeneratorExit:
            raise
        except BaseException as error:
            raise _BodyError from error


class _BodyError(Exception):
    """A body could not be had. Unlike its cause it is nothing that a client knows, or hides."""


class HttpClient:
    """Makes requests for one place, whose URL may name a user and a password."""

    def __init__(self, url: str, options: Options, timeouts: Timeouts) -> None:
        self.base = WebUrl.parse(url)
        self._timeouts = timeouts
        is_guarded = not options.is_trusted and not options.allow_private
        self._connections = Connections(timeouts, options.ca_file, is_guarded=is_guarded)
        self._logins = _logins(url, self.base, options)

    def read(self, method: str, key: str, headers: Mapping[str, str] | None = None) -> Answer:
        """The answer to GET or HEAD for a key below the base, redirects followed.

        A redirect that only adds a slash is not: that is a directory.
        """
        first = url = self.base.below(key)
        for _ in range(redirects.MOST + 1):
            answer = self._authorized(method, url, headers or {}, None)
            if not answer.is_redirect:
                return answer
            found = redirects.target(url, answer.header("Location"))
            if redirects.is_to_folder(url, found):
                return answer
            answer.close()
            url = found
        raise StorageError(f"more than {redirects.MOST} redirects: {first}")

    def write(
        self, method: str, key: str, headers: Mapping[str, str], body: Body | None = None
    ) -> Answer:
        """The answer to a request that changes something; redirects are a fault.

        The key may be empty, or end with a slash, for a directory.
        """
        url = self.base.below(key)
        answer = self._authorized(method, url, headers, body)
        if answer.is_redirect:
            found = redirects.target(url, answer.header("Location"))
            answer.close()
            raise StorageError(
                f"the server wants {url} to be written to {found}",
                "configure the storage by that URL if it is yours",
            )
        return answer

    def _authorized(
        self, method: str, url: WebUrl, headers: Mapping[str, str], body: Body | None
    ) -> Answer:
        """The answer to one request, made again with a login when the server asks for one."""
        if url.origin != self.base.origin:
            # Whatever login there is was meant for another.
            return self._once(method, url, headers, body)
        refused = self._logins.current
        answer = self._once(method, url, headers, body, refused)
        is_final = answer.status != _UNAUTHORIZED or (body is not None and body.is_begun)
        if is_final or not answers.offers_basic(answer.header("WWW-Authenticate")):
            return answer
        last = answer

        def attempt(login: Login) -> bool:
            nonlocal last
            last.close()
            last = self._once(method, url, headers, body, login)
            return last.status != _UNAUTHORIZED

        self._logins.find(refused, attempt)
        return last

    def _once(
        self,
        method: str,
        url: WebUrl,
        headers: Mapping[str, str],
        body: Body | None,
        login: Login | None = None,
    ) -> Answer:
        sent = {**_HEADERS, **headers}
        if login is not None:
            sent["Authorization"] = login.header
        if body is not None:
            sent["Content-Length"] = str(body.size)
        try:
            connections, is_forwarded = self._connections.pool(url.origin)
            response = connections.urlopen(
                method,
                url.text if is_forwarded else url.target,
                headers=sent,
                # An iterator, where urllib3's types know only what it names itself.
                body=cast(Any, body if body is None or body.size else b""),
                redirect=False,
                retries=False,
                preload_content=False,
                decode_content=False,
                assert_same_host=False,
            )
        except _BodyError as error:
            assert error.__cause__ is not None
            raise error.__cause__ from None
        except _errors() as error:
            raise _fault(error, url, self._timeouts.idle) from error
        return Answer(response, url, self._timeouts.idle)


def _logins(url: str, base: WebUrl, options: Options) -> Logins:
    named = user_of(url)
    known = None
    place = base.text.partition("?")[0]
    if named is not None and not options.is_anonymous:
        user, password = named
        known = Login(user, password) if password is not None else None
        scheme, _, rest = place.partition("://")
        place = f"{scheme}://{_quoted(user)}@{rest}"
    may_ask = options.is_trusted and not options.is_anonymous
    return Logins(place, options.credentials if may_ask else (), known)


def _quoted(user: str) -> str:
    from urllib.parse import quote

    return quote(user, safe="")


def _errors() -> tuple[type[Exception], ...]:
    """What a request, or reading its answer, may raise when the network is the cause."""
    from urllib3.exceptions import HTTPError

    return (HTTPError, HTTPException, OSError, PrivateAddressError)


def _fault(error: Exception, url: WebUrl, idle: float) -> DataregError:
    """The fault for what the network, or the library for it, raised.

    The library's own words are left out: they quote URLs.
    """
    from urllib3 import exceptions

    if isinstance(error, DataregError):
        return error
    if isinstance(error, PrivateAddressError):
        return StorageDeniedError(
            f"the private address {error} may not be reached for what others named: {url}",
            "if you trust it: git config --global datareg.allowPrivate true",
        )
    if isinstance(error, exceptions.ProxyError):
        inner = error.original_error
        reason = _fault(inner, url, idle).message if inner else "no answer"
        return StorageUnavailableError(f"by the proxy: {reason}", "check http_proxy, https_proxy")
    if isinstance(error, exceptions.SSLError):
        return _tls_fault(error, url)
    return StorageUnavailableError(f"{_reason(error, idle)}: {url}")


def _reason(error: Exception, idle: float) -> str:
    from urllib3 import exceptions

    if isinstance(error, exceptions.NameResolutionError):
        return "no such host, or no network"
    # A refusal is a kind of time-out for the library.
    is_refused = isinstance(error, exceptions.NewConnectionError)
    if isinstance(error, exceptions.ConnectTimeoutError) and not is_refused:
        return "no connection in time"
    if isinstance(error, (exceptions.ReadTimeoutError, TimeoutError)):
        return f"nothing came for {idle:g} seconds"
    cause = _cause(error)
    if isinstance(cause, IncompleteRead):
        return "the answer ends early"
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror[:1].lower() + cause.strerror[1:]
    return "the connection broke"


def _cause(error: BaseException) -> BaseException:
    """The system's or Python's own error in one of the library's."""
    inner = next((each for each in error.args if isinstance(each, BaseException)), error.__cause__)
    return error if inner is None or inner is error else _cause(inner)


def _tls_fault(error: Exception, url: WebUrl) -> StorageError:
    cause = _cause(error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return StorageError(
            f"the server's certificate is not trusted ({cause.verify_message}): {url}",
            "for an authority of your own: git config http.sslCAInfo FILE, or set SSL_CERT_FILE",
        )
    reason = getattr(cause, "reason", None) or "unknown"
    words = str(reason).lower().replace("_", " ")
    return StorageUnavailableError(f"no secure connection ({words}): {url}")
