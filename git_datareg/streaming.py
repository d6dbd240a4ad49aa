"""One object as a seekable stream: from this machine, or block by block from a storage.

What is on this machine is verified before it is opened. Of a storage's object,
small ones are fetched whole first. A large one comes in blocks, as they are
read; they are kept in a file without a name in the cache, so that nothing is
fetched twice and nothing is left behind. Once all blocks are here the object is
verified, before the last of them is handed out, and goes into the cache. Knows
no repository.
"""

from __future__ import annotations

import io
import os
from collections.abc import Generator
from contextlib import suppress
from threading import Lock
from typing import Any

from git_datareg import copying, files
from git_datareg.digest import Hasher
from git_datareg.downloads import Want, fetch
from git_datareg.errors import (
    CorruptError,
    DataregError,
    IntegrityError,
    ObjectNotFoundError,
    StorageError,
    StorageUnavailableError,
)
from git_datareg.layout import ObjectStorage, not_found
from git_datareg.objects import PREFIX, LocalObjects, ObjectDirectory, mode_in
from git_datareg.pointer import Pointer
from git_datareg.transfer import storage_faults

#: Up to so many bytes an object is fetched whole.
SMALL = 8 * 1024 * 1024
#: What is fetched and kept at once; bytes.
BLOCK = 256 * 1024
#: The most that one request asks for ahead of a sequential reader; blocks.
_MOST_AHEAD = 256
_BUFFER = 128 * 1024
_ASK_ANOTHER = (StorageError, CorruptError, ObjectNotFoundError)

#: Large files that this process has verified, and what they were like then.
_verified: dict[str, tuple[int, ...]] = {}


class Reader(io.BufferedReader):
    """A binary stream to read and seek in, as `builtins.open` gives it.

    Its methods may be called from several threads. Nothing is left open when it
    is dropped without `close`.
    """

    def __init__(self, raw: io.RawIOBase, size: int) -> None:
        super().__init__(raw, _BUFFER)
        #: Bytes of the whole file.
        self.size = size


def open_local(pointer: Pointer, local: LocalObjects) -> Reader | None:
    """The object as a stream, if it is on this machine; the caller closes it.

    It was read and verified before; a large one once by each process, for as
    long as its file stays as it is. Raises what `LocalObjects.find_whole` does.
    """
    while (path := _whole(pointer, local)) is not None:
        # It may just have been evicted by somebody else; then it is looked for again.
        with suppress(FileNotFoundError):
            return open_file(path)
    return None


def open_file(path: str) -> Reader:
    """Any file on this machine as a stream; raises OSError as `files.open_regular` does."""
    file = io.FileIO(files.open_regular(path))
    return Reader(_LocalFile(file), os.fstat(file.fileno()).st_size)


def open_stored(want: Want, cache: ObjectDirectory, *, whole: bool = False) -> Reader:
    """An object that is not here, as a stream; the caller closes it.

    A small one, or any with `whole`, is in the cache and verified on return. Of
    any other it is certain that a storage has it, with the right size; its bytes
    come as they are read, from the next storage where one fails. Reading raises
    StorageError, ObjectNotFoundError, and IntegrityError as soon as all bytes
    were fetched and are not the object: the last block to come is never handed
    out then. Raises the same as `downloads.fetch`.
    """
    if not whole and want.pointer.size > SMALL:
        return Reader(_Stream(_Arriving(want, cache)), want.pointer.size)
    fetch(want, cache)
    with storage_faults(cache.root):
        return open_file(cache.path(want.pointer.digest))


def _whole(pointer: Pointer, local: LocalObjects) -> str | None:
    path = local.find(pointer)
    if path is not None and path in _verified and _verified[path] == _state(path):
        return path
    found = local.find_whole(pointer)
    if found is not None and pointer.size > SMALL:
        _remember(found)
    return found


def _remember(path: str) -> None:
    with suppress(FileNotFoundError):
        _verified[path] = _state(path)


def _state(path: str) -> tuple[int, ...]:
    found = os.stat(path)
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


class _LocalFile(io.RawIOBase):
    """A file of ours; unlike `io.FileIO` it may be dropped without a warning."""

    mode = "rb"

    def __init__(self, file: io.FileIO) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._file.fileno()

    def readinto(self, buffer: Any) -> int:
        return self._file.readinto(buffer) or 0

    def readall(self) -> bytes:
        return self._file.readall()

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        self._file.close()
        super().close()


class _Stream(io.RawIOBase):
    """A position in an object that arrives."""

    mode = "rb"

    def __init__(self, arriving: _Arriving) -> None:
        self._arriving = arriving
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._check_open()
        count = self._arriving.read_into(memoryview(buffer).cast("B"), self._position)
        self._position += count
        return count

    def readall(self) -> bytes:
        # The inherited one would take it in pieces of 8 KiB.
        collected = io.BytesIO()
        buffer = bytearray(BLOCK)
        while count := self.readinto(buffer):
            collected.write(memoryview(buffer)[:count])
        return collected.getvalue()

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._check_open()
        bases = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._arriving.size}
        if whence not in bases:
            raise ValueError(f"not a kind of seek: {whence}")
        if bases[whence] + offset < 0:
            raise ValueError(f"negative position: {bases[whence] + offset}")
        self._position = bases[whence] + offset
        return self._position

    def tell(self) -> int:
        self._check_open()
        return self._position

    def close(self) -> None:
        if not self.closed:
            self._arriving.close()
        super().close()

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file")


class _Arriving:
    """A large object of which the blocks that were read are here.

    Safe for threads; they wait for each other.
    """

    def __init__(self, want: Want, cache: ObjectDirectory) -> None:
        self.size = want.pointer.size
        self._pointer = want.pointer
        self._cache = cache
        self._lock = Lock()
        #: To be asked in this order: the one that served last is first.
        self._storages = list(want.storages)
        self._known: set[ObjectStorage] = set()
        self._request: Generator[bytes, None, None] | None = None
        self._asked = ""
        #: The blocks that the request has still to give: from, and up to.
        self._next = self._end = 0
        #: How many blocks the last request was for.
        self._ahead = 1
        self._here = bytearray(-(-self.size // BLOCK))
        self._hasher = Hasher()
        self._fault: DataregError | None = None
        self._find_storage()
        with storage_faults(cache.root):
            self._file = _nameless_file(cache)

    def read_into(self, buffer: memoryview, position: int) -> int:
        """Fill the buffer with bytes from `position` on; returns how many, 0 only at the end."""
        if position >= self.size or not buffer:
            return 0
        number, start = divmod(position, BLOCK)
        with self._lock:
            if self._fault is not None:
                raise self._fault
            if not self._here[number]:
                # A short read is what the buffer above us takes; a long one is really wanted.
                last = min(position + len(buffer), self.size) - 1
                self._bring(number, last // BLOCK if len(buffer) > _BUFFER else number)
            count = min(len(buffer), self._length(number) - start)
            with storage_faults(self._cache.root):
                return os.preadv(self._file, [buffer[:count]], position)

    def close(self) -> None:
        """Let go of everything; the blocks are gone unless the object was whole."""
        with self._lock:
            self._end_request()
            os.close(self._file)

    def _length(self, number: int) -> int:
        return min(BLOCK, self.size - number * BLOCK)

    def _find_storage(self) -> None:
        """Have a storage in front that has the object; raises as `downloads.fetch` does."""
        faults: list[DataregError] = []
        for storage in tuple(self._storages):
            try:
                self._look(storage)
            except _ASK_ANOTHER as error:
                faults.append(error)
            else:
                self._prefer(storage)
                return
        raise self._worst(faults)

    def _look(self, storage: ObjectStorage) -> None:
        """Make sure that a storage has the object, with the right size, before its first use."""
        if storage not in self._known:
            if not storage.has(self._pointer):
                raise not_found(self._pointer, [storage])
            self._known.add(storage)

    def _prefer(self, storage: ObjectStorage) -> None:
        self._storages.remove(storage)
        self._storages.insert(0, storage)

    def _bring(self, number: int, last: int) -> None:
        """Have a block here, and maybe ask for more up to `last`.

        When all blocks are here the object is verified and cached.
        """
        data = self._fetched(number, last)
        with storage_faults(self._cache.root):
            files.write_all_at(self._file, data, number * BLOCK)
        self._hash(number, data)
        self._here[number] = 1
        if self._hasher.size == self.size:
            self._finish()

    def _fetched(self, number: int, last: int) -> bytes:
        """A block from the request that is under way, or the first storage that can give it."""
        faults: list[DataregError] = []
        if number == self._next < self._end:
            # What breaks off is asked for again, of the same storage first.
            with suppress(*_ASK_ANOTHER):
                return self._taken(number)
        for storage in tuple(self._storages):
            try:
                self._look(storage)
                self._ask(storage, number, last)
                data = self._taken(number)
            except _ASK_ANOTHER as error:
                self._known.discard(storage)
                faults.append(error)
            else:
                self._prefer(storage)
                return data
        self._end_request()
        raise self._worst(faults)

    def _worst(self, faults: list[DataregError]) -> DataregError:
        """The fault to report of those that storages gave: corruption first, absence last."""
        faults = [each for each in faults if not isinstance(each, ObjectNotFoundError)]
        faults.sort(key=lambda each: isinstance(each, CorruptError))
        return faults[-1] if faults else not_found(self._pointer, self._storages)

    def _ask(self, storage: ObjectStorage, number: int, last: int) -> None:
        """Begin a request at a block, up to `last`; who reads on gets more with each."""
        self._end_request()
        is_next = self._here.find(0, self._next) == number
        self._ahead = min(self._ahead * 2, _MOST_AHEAD) if is_next else 1
        self._ahead = max(self._ahead, last - number + 1)
        present = self._here.find(1, number)
        end = min(number + self._ahead, len(self._here) if present < 0 else present)
        start, stop = number * BLOCK, min(end * BLOCK, self.size)
        self._request = storage.pieces(self._pointer, start, stop - start, BLOCK)
        self._asked, self._next, self._end = str(storage), number, end

    def _taken(self, number: int) -> bytes:
        # A reader that is interrupted (KeyboardInterrupt) does not go on with this request.
        end, self._end = self._end, 0
        data = next(self._request, b"") if self._request is not None else b""
        if len(data) != self._length(number):
            raise IntegrityError(
                f"corrupt object {self._pointer.digest} in {self._asked}: it ends after "
                f"{number * BLOCK + len(data)} of {self.size} bytes"
            )
        self._next, self._end = number + 1, end
        return data

    def _end_request(self) -> None:
        request, self._request = self._request, None
        self._end = 0
        if request is not None:
            request.close()

    def _hash(self, number: int, data: bytes) -> None:
        """Hash a block if all before it are hashed, and those behind it that waited for it."""
        if number * BLOCK != self._hasher.size:
            return
        self._hasher.update(data)
        try:
            with storage_faults(self._cache.root):
                while (number := number + 1) < len(self._here) and self._here[number]:
                    self._hasher.update(os.pread(self._file, BLOCK, number * BLOCK))
        except BaseException as error:
            # What is not hashed in full can't be verified any more.
            self._fault = StorageUnavailableError(f"reading broke off: {self._cache.root}: {error}")
            raise

    def _finish(self) -> None:
        self._end_request()
        if (self._hasher.digest(), self._hasher.size) != self._pointer:
            self._fault = IntegrityError(f"corrupt object {self._pointer.digest} in {self._asked}")
            raise self._fault
        # The reader has what was asked for; that the next one has to fetch it again is no fault.
        with suppress(OSError):
            _commit(self._file, self._pointer, self._cache)


def _nameless_file(cache: ObjectDirectory) -> int:
    """A file in the cache that is gone when it is closed, however that happens."""
    directory = cache.temporary
    files.make_directories(directory)
    try:
        return os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError:
        # Some network file systems have none.
        with files.new_file(directory, PREFIX, mode=0o600) as file:
            return os.dup(file.fileno())


def _commit(descriptor: int, pointer: Pointer, cache: ObjectDirectory) -> None:
    """Put a nameless file in the cache as the object that it holds, in one step."""
    target = cache.path(pointer.digest)
    if cache.find(pointer) is None:
        mode = mode_in(cache.temporary)
        with _named(descriptor, pointer.size, cache.temporary) as file:
            file.commit(target, replace=True, mode=mode, sync=False, make_directory=True)
    _remember(target)


def _named(descriptor: int, size: int, directory: str) -> files.TemporaryFile:
    """The same file under a temporary name, or a copy where it can't be given one."""
    name = files.temporary_name(PREFIX)
    place = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # open(2), O_TMPFILE. Without `dst_dir_fd` Python would not follow the link.
        os.link(f"/proc/self/fd/{descriptor}", name, dst_dir_fd=place, follow_symlinks=True)
    except OSError:
        copy = files.new_file(directory, PREFIX)
        copying.copy_into(descriptor, copy.fileno(), size)
        return copy
    finally:
        os.close(place)
    return files.TemporaryFile(os.path.join(os.fsencode(directory), name), os.dup(descriptor))
