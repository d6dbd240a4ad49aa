"""A large value's way into a bucket: part by part, resumed where an earlier try broke off.

Knows S3's multipart uploads, by a client of botocore. What a killed upload has sent is
found again by its MD5; the same value is cut in the same way each time.
"""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO, NamedTuple

from git_datareg.errors import IntegrityError, StorageUnavailableError
from git_datareg.storage import s3faults
from git_datareg.storage.s3faults import Rejected, Reply

_MIB = 1024 * 1024
#: S3 takes no smaller parts than 5 MiB (but the last), and no more than so many.
_SMALLEST_PART = 8 * _MIB
_MOST_PARTS = 10_000
_BROKEN = Reply(None, "", "the connection broke")
_GONE = frozenset(("NoSuchUpload", "InvalidPart"))


class Budget:
    """So many bytes at once; who wants more waits. One for all uploads to a storage."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._used = 0
        self._changed = threading.Condition()

    def take(self, size: int) -> None:
        """Wait until there are so many, or nobody else has any."""
        with self._changed:
            self._changed.wait_for(lambda: not self._used or self._used + size <= self._size)
            self._used += size

    def give_back(self, size: int) -> None:
        """Let others have them."""
        with self._changed:
            self._used -= size
            self._changed.notify_all()

    @contextmanager
    def taken(self, size: int) -> Iterator[None]:
        """Context that has so many bytes."""
        self.take(size)
        try:
            yield
        finally:
            self.give_back(size)


def whole(source: BinaryIO, size: int, name: str) -> bytes:
    """All that `source` gives; raises IntegrityError unless these are `size` bytes."""
    data = _piece(source, size, name)
    _check_end(source, name)
    return data


def part_size(size: int) -> int:
    """Into what parts a value of `size` bytes is cut: always the same, or none would be reused."""
    least = -(-size // _MOST_PARTS)
    return max(_SMALLEST_PART, -(-least // _MIB) * _MIB)


class Target(NamedTuple):
    """Where an upload goes, and what is said of it."""

    client: Any
    bucket: str
    key: str
    #: Said when the upload begins: encryption, storage class.
    attributes: Mapping[str, str]
    #: Said with every request: who pays.
    request: Mapping[str, str]
    #: Whether parts of an earlier try can be known again: their tags are their MD5.
    has_md5: bool
    #: Whether requests are signed, their bodies too: then these need no MD5 on the way.
    is_signed: bool
    #: Whether the key is there; asked before the end.
    is_there: Callable[[], bool]
    #: The value's name in messages.
    name: str

    def call(self, operation: str, **arguments: Any) -> Any:
        """What the server answers to an operation on the key; raises Rejected."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return getattr(self.client, operation)(Bucket=self.bucket, **self.request, **arguments)
        except (BotoCoreError, ClientError) as error:
            raise Rejected(s3faults.of_botocore(error)) from error


def put(target: Target, source: BinaryIO, size: int, budget: Budget) -> bool:
    """Store a value of some parts; False when the key was taken meanwhile.

    Until it returns True nothing is under the key. When `source` fails, or the
    server refuses, no part is left; when the connection breaks, or this process is
    killed, the parts stay for the next try. Raises Rejected for what the server
    refuses, and whatever `source` raises.
    """
    upload = _Upload(target, size, budget)
    try:
        upload.send(source)
        return upload.complete()
    except StorageUnavailableError:
        raise
    except Rejected as error:
        if error.reply.code in _GONE:
            # Another process took the same upload up, and ended it or spoiled a part.
            upload.abort()
            if target.is_there():
                return False
            raise Rejected(Reply(None, "", "another process spoiled the upload")) from error
        if not isinstance(s3faults.fault(error.reply, ""), StorageUnavailableError):
            upload.abort()
        raise
    except Exception:
        upload.abort()
        raise


class _Upload:
    """One upload, new or found."""

    def __init__(self, target: Target, size: int, budget: Budget) -> None:
        self._target = target
        self._size = size
        self._step = part_size(size)
        self._budget = budget
        self._tags: dict[int, str] = {}
        self._fault: BaseException | None = None
        #: By number, the tags of parts that an earlier try has sent.
        self._sent: dict[int, set[str]] = {}
        self._id = ""

    def send(self, source: BinaryIO) -> None:
        """Send all parts that aren't there yet; when it returns or raises, no thread is left.

        The first part tells whether what an earlier try has left is the same value.
        """
        threads: list[threading.Thread] = []
        try:
            for number in range(1, self._count + 1):
                if self._fault:
                    break
                threads.append(self._started(number, source))
            else:
                _check_end(source, self._target.name)
        finally:
            for thread in threads:
                thread.join()
        if self._fault:
            raise self._fault

    def complete(self) -> bool:
        """Make the parts the key's value; False when the key is taken."""
        # Some servers ignore the condition here: then this is all there is.
        if self._target.is_there():
            self.abort()
            return False
        try:
            self._complete(IfNoneMatch="*")
        except Rejected as error:
            if error.reply.status == 501:
                self._complete()
                return True
            is_lost = error.reply.is_taken or (
                error.reply.status == 409 and self._target.is_there()
            )
            if not is_lost:
                raise
            self.abort()
            return False
        return True

    def abort(self) -> None:
        """Have the server forget all parts, if there is an upload and it can be reached."""
        with suppress(Rejected):
            if self._id:
                self._call("abort_multipart_upload")

    @property
    def _count(self) -> int:
        return -(-self._size // self._step)

    def _length(self, number: int) -> int:
        return min(self._step, self._size - (number - 1) * self._step)

    def _begun(self) -> str:
        told = self._target.call(
            "create_multipart_upload", Key=self._target.key, **self._target.attributes
        )
        return _given(told, "UploadId")

    def _found(self, first: bytes) -> str | None:
        """The newest upload of this key that was not ended, and has no other first part.

        Later parts are compared as they come.
        """
        if not self._target.has_md5:
            return None
        try:
            told = self._target.call("list_multipart_uploads", Prefix=self._target.key)
            found = [each for each in told.get("Uploads", ()) if self._is_ours(each)]
            for each in sorted(found, key=lambda each: str(each.get("Initiated")), reverse=True):
                parts = self._parts_of(_given(each, "UploadId"))
                if 1 not in parts or _md5(first).hexdigest() in parts[1]:
                    self._sent = parts
                    return _given(each, "UploadId")
        except Rejected as error:
            # Not allowed, or unknown to this server: all parts are sent.
            if isinstance(s3faults.fault(error.reply, ""), StorageUnavailableError):
                raise
        return None

    def _is_ours(self, upload: Mapping[str, Any]) -> bool:
        wanted = self._target.attributes.get("StorageClass", "STANDARD")
        is_class = upload.get("StorageClass", wanted) == wanted
        return is_class and bool(upload.get("Key") == self._target.key)

    def _parts_of(self, upload: str) -> dict[int, set[str]]:
        """The parts of an upload that have the size ours have, by number."""
        found: dict[int, set[str]] = {}
        marker = 0
        while True:
            told = self._target.call(
                "list_parts", Key=self._target.key, UploadId=upload, PartNumberMarker=marker
            )
            for part in told.get("Parts", ()):
                number = part.get("PartNumber", 0)
                if number <= self._count and part.get("Size") == self._length(number):
                    found.setdefault(number, set()).add(str(part.get("ETag")).strip('"'))
            following = told.get("NextPartNumberMarker", 0) if told.get("IsTruncated") else 0
            if following <= marker:
                return found
            marker = following

    def _started(self, number: int, source: BinaryIO) -> threading.Thread:
        """A thread that sends the next part."""
        length = self._length(number)
        self._budget.take(length)
        try:
            data = _piece(source, length, self._target.name)
            if number == 1:
                self._id = self._found(data) or self._begun()
            thread = threading.Thread(target=self._part, args=(number, data), daemon=True)
            thread.start()
        except BaseException:
            self._budget.give_back(length)
            raise
        return thread

    def _part(self, number: int, data: bytes) -> None:
        """Send a part, in a thread of its own."""
        try:
            if self._fault:
                return
            found = self._sent.get(number, ())
            if found and (tag := _md5(data).hexdigest()) in found:
                self._tags[number] = f'"{tag}"'
                return
            proof = {} if self._target.is_signed else {"ContentMD5": _base64(_md5(data).digest())}
            told = self._call("upload_part", PartNumber=number, Body=data, **proof)
            self._tags[number] = _given(told, "ETag")
        except BaseException as error:
            self._fault = self._fault or error
        finally:
            self._budget.give_back(self._length(number))

    def _complete(self, **condition: str) -> None:
        parts = [{"PartNumber": each, "ETag": self._tags[each]} for each in sorted(self._tags)]
        told = self._call(
            "complete_multipart_upload", MultipartUpload={"Parts": parts}, **condition
        )
        # The status comes before the work, and botocore takes an answer that broke off for
        # one. Ceph has no tag here.
        if not any(told.get(name) for name in ("ETag", "Key", "Location")):
            raise Rejected(_BROKEN)

    def _call(self, operation: str, **arguments: Any) -> Any:
        return self._target.call(operation, Key=self._target.key, UploadId=self._id, **arguments)


def _md5(data: bytes) -> hashlib._Hash:
    """What S3 tags a part with: it finds damage, not malice."""
    return hashlib.md5(data, usedforsecurity=False)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _given(told: Mapping[str, Any], name: str) -> str:
    """What an answer must have; raises Rejected when it broke off before."""
    if not told.get(name):
        raise Rejected(_BROKEN)
    return str(told[name])


def _piece(source: BinaryIO, size: int, name: str) -> bytes:
    """The next `size` bytes, also from a source that gives less at a time."""
    first = source.read(size) if size else b""
    if len(first) == size:
        return first
    found = bytearray(first)
    while len(found) < size and (more := source.read(size - len(found))):
        found += more
    if len(found) != size:
        raise IntegrityError(f"fewer bytes than promised for {name}")
    return bytes(found)


def _check_end(source: BinaryIO, name: str) -> None:
    if source.read(1):
        raise IntegrityError(f"more bytes than promised for {name}")
