"""A bucket, or what lies below a prefix of one, as storage: `s3://BUCKET/PREFIX`.

Of AWS, or of any server that speaks its protocol. Small values go in one request each,
large ones in parts (`multipart`). How the bucket is reached is the business of `bucket`
and `aws`. Each request is made once: `retrying` makes it again.
"""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, cast
from urllib.parse import quote

from git_datareg.errors import (
    ObjectNotFoundError,
    UsageError,
)
from git_datareg.location import Location
from git_datareg.storage import Info, Options, Properties, aws, checked, multipart, s3faults
from git_datareg.storage.aws import Timeouts
from git_datareg.storage.bucket import Bucket, Route
from git_datareg.storage.place import Place
from git_datareg.storage.s3faults import Rejected

if TYPE_CHECKING:
    from obstore import Attributes, BytesStream, GetOptions

_Mode = Literal["create", "overwrite"]

_MIB = 1024 * 1024
#: From so many bytes on a value goes in parts.
_LARGE = 16 * _MIB
#: Up to so many bytes of an answer are taken at once, of more pieces of `_CHUNK`.
_AT_ONCE = 4 * _MIB
_CHUNK = 1 * _MIB
#: How much of the values is in memory, of all uploads together.
_IN_MEMORY = 64 * _MIB
_CONNECTIONS = 16
#: The longest that a signature holds, by S3's rules.
_WEEK = 7 * 24 * 3600
_BUCKET = re.compile(r"(?!.*(?:\.[.-]|-\.))[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
#: What S3's documentation says to avoid in keys, and what has a meaning in URLs.
_ODD = frozenset('\\{}^%`[]"<>~#|?')


class S3Storage(Place):
    """Values as objects of a bucket, which must be there."""

    def __init__(
        self,
        location: Location,
        options: Options,
        *,
        writable: bool = True,
        timeouts: Timeouts | None = None,
    ) -> None:
        connections = options.connections or _CONNECTIONS
        super().__init__(
            location,
            Properties(writable=writable, connections=connections, splits_above=_LARGE - 1),
        )
        name, self._prefix = _parsed(location)
        aws.check(options)
        self._options = options
        self._bucket = Bucket(name, options, timeouts or Timeouts(), str(location))
        self._budget = multipart.Budget(_IN_MEMORY)
        #: Whether an answer has shown that the bucket is there.
        self._is_bucket_there = False
        #: False when the server has said that it knows no conditions.
        self._has_conditions = True

    def info(self, key: str) -> Info | None:
        """See Storage."""
        path = self._path(key)
        try:
            size = self._bucket.ask(lambda route: route.reader.head(path)["size"])
        except Rejected as error:
            if not error.reply.is_absent:
                raise self._bucket.fault(error.reply) from error
            self._check_bucket(path)
            return None
        self._is_bucket_there = True
        return Info(key, size)

    def open(self, key: str, offset: int = 0, length: int | None = None) -> BinaryIO:
        """See Storage."""
        path = self._path(key)
        wanted: GetOptions = {}
        if length is not None:
            # No request can ask for nothing.
            wanted["range"] = (offset, offset + max(length, 1))
        elif offset:
            wanted["range"] = {"offset": offset}
        try:
            return self._bucket.ask(lambda route: self._opened(route, path, wanted))
        except Rejected as error:
            if error.reply.status == 416:
                # The value ends before the offset, or there.
                return io.BytesIO()
            if error.reply.is_absent:
                raise ObjectNotFoundError(f"not in {self.location}: {key}") from None
            raise self._bucket.fault(error.reply) from error

    def put(self, key: str, source: BinaryIO, size: int) -> bool:
        """See Storage, with one reservation.

        Of those who put one value of `_LARGE` bytes or more at once several may be told
        True: few servers but AWS end an upload and look at the key in one step. So it
        is with smaller ones where the server knows no conditions (`probing` finds out).
        """
        self._check_writable()
        path = self._path(key)
        try:
            if size >= _LARGE:
                return self._put_large(key, path, source, size)
            # Of what is smaller than a MiB there is never much.
            with self._budget.taken(size) if size > _MIB else nullcontext():
                data = multipart.whole(source, size, self.url(key))
                return self._put_small(key, path, data)
        except Rejected as error:
            raise self._bucket.fault(error.reply) from error

    def replace(self, key: str, value: bytes) -> None:
        """See Storage."""
        self._check_writable()
        try:
            self._send(self._path(key), value, "overwrite")
        except Rejected as error:
            raise self._bucket.fault(error.reply) from error

    def list(self, prefix: str) -> Iterator[Info]:
        """See Storage; all of it is asked for before the first is given."""
        # Some servers sort by directory, so that "a/b" comes before "a-b".
        return iter(sorted(self._listed(prefix)))

    def delete(self, key: str) -> None:
        """See Storage."""
        self._check_writable()
        path = self._path(key)
        try:
            self._bucket.ask(lambda route: route.reader.delete(path))
        except Rejected as error:
            if not error.reply.is_absent:
                raise self._bucket.fault(error.reply) from error

    def presign(self, key: str, seconds: int) -> str | None:
        """See Storage; where nothing is signed, the URL is not either, and holds for ever.

        Raises UsageError for more than a week.
        """
        path = self._path(key)
        if not 0 < seconds <= _WEEK:
            raise UsageError(f"not from 1 to {_WEEK} seconds: {seconds}")
        route = self._bucket.route()
        if route.access.credentials is None:
            return f"{route.access.url}/{quote(path)}"
        try:
            return s3faults.asked(lambda: route.sign(path, seconds))
        except Rejected as error:
            raise self._bucket.fault(error.reply) from error

    def _path(self, key: str) -> str:
        return f"{self._prefix}/{checked(key)}" if self._prefix else checked(key)

    def _check_bucket(self, path: str) -> None:
        """Raise StorageNotFoundError when there is no bucket: an answer to HEAD can't say so."""
        if self._is_bucket_there:
            return
        try:
            self._bucket.ask(lambda route: route.reader.get(path, options={"range": (0, 1)}))
        except Rejected as error:
            # Of an empty value there is no part.
            if not error.reply.is_absent and error.reply.status != 416:
                raise self._bucket.fault(error.reply) from error
        self._is_bucket_there = True

    def _opened(self, route: Route, path: str, wanted: GetOptions) -> BinaryIO:
        answer = route.reader.get(path, options=wanted)
        first, end = answer.range
        if end - first <= _AT_ONCE:
            return io.BytesIO(answer.bytes().to_bytes())
        return cast(BinaryIO, _Stream(answer.stream(_CHUNK), self._bucket))

    def _listed(self, prefix: str) -> Iterator[Info]:
        """What begins with `prefix`, in no order."""
        directory, _, name = prefix.rpartition("/")
        root = "/".join(filter(None, (self._prefix, directory and checked(directory))))
        start = "/".join(filter(None, (root, _before(name)))) if name else None
        try:
            found = self._bucket.ask(
                lambda route: [
                    (each["path"], each["size"], each["last_modified"].timestamp())
                    for chunk in route.reader.list(root or None, offset=start, chunk_size=1000)
                    for each in chunk
                ]
            )
        except Rejected as error:
            raise self._bucket.fault(error.reply) from error
        above = f"{self._prefix}/" if self._prefix else ""
        for path, size, modified in found:
            if path.startswith(above + prefix) and _is_key(path.removeprefix(above)):
                yield Info(path.removeprefix(above), size, modified)

    def _put_small(self, key: str, path: str, data: bytes) -> bool:
        mode: _Mode = "create" if self._has_conditions else "overwrite"
        if mode == "overwrite" and self.info(key) is not None:
            return False
        try:
            self._send(path, data, mode)
        except Rejected as error:
            # A conflict is with somebody who writes too, and may fail.
            if error.reply.is_taken or (error.reply.status == 409 and self.info(key) is not None):
                return False
            if error.reply.status != 501 or not self._has_conditions:
                raise
            self._has_conditions = False
            return self._put_small(key, path, data)
        return True

    def _send(self, path: str, data: bytes, mode: _Mode) -> None:
        storage_class = self._options.storage_class
        attributes: Attributes = {"Storage-Class": storage_class} if storage_class else {}
        self._bucket.ask(
            lambda route: route.writer(len(data)).put(
                path, data, attributes=attributes, mode=mode, use_multipart=False
            )
        )

    def _put_large(self, key: str, path: str, source: BinaryIO, size: int) -> bool:
        if self.info(key) is not None:
            return False
        options = self._options
        named = {
            "ServerSideEncryption": options.encryption,
            "SSEKMSKeyId": options.kms_key,
            "StorageClass": options.storage_class,
        }
        route = self._bucket.route()
        target = multipart.Target(
            client=route.client(),
            bucket=self._bucket.name,
            key=path,
            attributes={name: value for name, value in named.items() if value},
            request={"RequestPayer": "requester"} if options.request_payer else {},
            has_md5=not (options.encryption or "").startswith("aws:kms"),
            is_signed=route.access.credentials is not None,
            is_there=lambda: self.info(key) is not None,
            name=self.url(key),
        )
        return multipart.put(target, source, size, self._budget)


class _Stream(io.RawIOBase):
    """The bytes of an answer that is too large to be in memory."""

    def __init__(self, chunks: BytesStream, bucket: Bucket) -> None:
        self._chunks: BytesStream | None = chunks
        self._bucket = bucket
        self._chunk = memoryview(b"")

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> bytes:
        """As many bytes as are asked for, but at the end."""
        left = sys.maxsize if size is None or size < 0 else size
        pieces = []
        while left and (piece := self._piece(left)):
            pieces.append(piece)
            left -= len(piece)
        return b"".join(pieces)

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        piece = self._piece(len(view)) if view else b""
        view[: len(piece)] = piece
        return len(piece)

    def close(self) -> None:
        # Lets go of the connection.
        self._chunks = None
        self._chunk = memoryview(b"")
        super().close()

    def _piece(self, size: int) -> memoryview:
        if not self._chunk:
            self._chunk = self._next()
        piece, self._chunk = self._chunk[:size], self._chunk[size:]
        return piece

    def _next(self) -> memoryview:
        if self._chunks is None:
            raise ValueError("read of a closed stream")
        chunks = cast("Iterator[bytes]", self._chunks)
        try:
            return s3faults.asked(lambda: memoryview(next(chunks, b"")))
        except Rejected as error:
            raise self._bucket.fault(error.reply) from error


def _parsed(location: Location) -> tuple[str, str]:
    """The bucket and the prefix, which may be empty; raises UsageError."""
    bucket, _, prefix = location.url.partition("://")[2].partition("/")
    prefix = prefix.removesuffix("/")
    parts = prefix.split("/") if prefix else []
    if not _BUCKET.fullmatch(bucket):
        raise UsageError(
            f"not the name of a bucket: {location}", "write s3://BUCKET or s3://BUCKET/PREFIX"
        )
    if any(part in ("", ".", "..") for part in parts) or _ODD & set(prefix):
        raise UsageError(f"not a prefix for keys: {location}")
    return bucket, prefix


def _is_key(text: str) -> bool:
    """Whether a name in the bucket is a key of ours: others may be there, too."""
    try:
        return bool(checked(text))
    except ValueError:
        return False


def _before(name: str) -> str:
    """A name that is before `name` and all that begin so, and behind most others."""
    last = chr(ord(name[-1]) - 1)
    return f"{name[:-1]}{'.' if last == '/' else last}~"
