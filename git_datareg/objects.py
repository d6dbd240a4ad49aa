"""Objects on this machine: directories in which they are whole or absent.

Used for a repository's own unpushed objects and for the shared cache. Knows
no storage and no network.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import NamedTuple

from git_datareg import files
from git_datareg.copying import copy_into
from git_datareg.digest import Digest, Hasher, digest_of, digest_of_file
from git_datareg.errors import IntegrityError, UsageError
from git_datareg.pointer import Pointer

#: Leftovers of killed writers are removed when they are older than this.
_STALE_SECONDS = 24 * 3600
#: How the names of unfinished objects begin, in the directory `temporary`.
PREFIX = "object-"
_CHUNK = 1024 * 1024
#: Objects are never written to again.
MODE = 0o444
#: Says of a pointer whether its object need not be kept here, too.
Unless = Callable[[Pointer], bool]
#: To open a FIFO for reading would wait for a writer.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK


#: The files of large objects that this process verified as it wrote them, and their stat data.
_written: dict[str, tuple[int, ...]] = {}


def never(pointer: Pointer) -> bool:
    """An `Unless` that lets every object be kept."""
    del pointer
    return False


class ObjectDirectory:
    """A directory of objects, `objects/<2 hex>/<62 hex>` below `root`.

    Safe for any number of processes at once. Nothing is created before the
    first write.
    """

    def __init__(self, root: str) -> None:
        self._root = root
        self._objects = os.path.join(root, "objects", "")

    @property
    def root(self) -> str:
        """The directory itself."""
        return self._root

    def path(self, digest: Digest) -> str:
        """Where the object is, or would be."""
        return self._objects + digest.key

    @property
    def temporary(self) -> str:
        """Where objects are written before they get their names; made when needed."""
        return os.path.join(self.root, "tmp")

    def find(self, pointer: Pointer) -> str | None:
        """The file that holds the object, or None.

        A file of the wrong size (a crash of the machine may leave one) counts
        as absent.
        """
        path = self.path(pointer.digest)
        try:
            found = os.lstat(path)
        except OSError:
            return None
        return path if stat.S_ISREG(found.st_mode) and found.st_size == pointer.size else None

    def read(self, pointer: Pointer) -> bytes | None:
        """The object's bytes, verified, or None where there is none; it is held in memory.

        Raises IntegrityError when what is there is not the object, or can't be read.
        """
        path = self.path(pointer.digest)
        try:
            descriptor = os.open(path, _READ)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _damaged(pointer, path) from error
        try:
            data = os.read(descriptor, pointer.size + 1)
        except OSError as error:
            raise _damaged(pointer, path) from error
        finally:
            os.close(descriptor)
        if len(data) != pointer.size or digest_of(data) != pointer.digest:
            raise _damaged(pointer, path)
        return data

    def is_whole(self, pointer: Pointer) -> bool:
        """Whether its file holds the object: it is read, unless it is as we have written it."""
        path = self.path(pointer.digest)
        try:
            if path in _written and _identity(os.lstat(path)) == _written[path]:
                return True
            with open(path, "rb", buffering=0) as file:
                return is_object(file.fileno(), pointer)
        except FileNotFoundError:
            return False

    def has_written(self, pointer: Pointer, inode: int) -> None:
        """Remember that the file with this number was written and verified here just now."""
        path = self.path(pointer.digest)
        with suppress(OSError):
            now = os.lstat(path)
            if now.st_ino == inode:
                _written[path] = _identity(now)

    def put(self, pointer: Pointer, data: bytes) -> None:
        """Put a small object in its place; raises IntegrityError unless the bytes are its own.

        What is there already gives way to the same bytes. Faults are as with a writer.
        """
        if len(data) != pointer.size or digest_of(data) != pointer.digest:
            raise IntegrityError(f"corrupt object {pointer.digest}: other bytes, or a part of them")
        self._put(pointer, data)

    def add(self, descriptor: int, size: int, unless: Unless = never) -> Pointer:
        """Make an object of the first `size` bytes of an open file, as `store` does.

        Returns the pointer to the bytes that were stored: less of them when the file has
        become shorter, other ones when somebody writes to it meanwhile. Faults are as
        with a writer.
        """
        if size <= _CHUNK:
            return self.store(os.pread(descriptor, size, 0), unless)
        with _new_file(self.temporary) as file, _named(file):
            stored = copy_into(descriptor, file.fileno(), size)
            # Of the copy, which nobody else writes to, or cuts.
            pointer = Pointer(digest_of_file(file.fileno(), stored), stored)
            if _lacks(self, pointer, unless):
                _commit(file, self.path(pointer.digest))
        return pointer

    def store(self, data: bytes, unless: Unless = never) -> Pointer:
        """Make an object of bytes; what is there already stays. Faults are as with a writer."""
        pointer = Pointer(digest_of(data), len(data))
        if _lacks(self, pointer, unless):
            self._put(pointer, data)
        return pointer

    def _put(self, pointer: Pointer, data: bytes) -> None:
        with _new_file(self.temporary) as file, _named(file):
            file.write(data)
            _commit(file, self.path(pointer.digest))

    def copy(self, pointer: Pointer, path: str) -> None:
        """Put a copy of a file in its place; raises IntegrityError unless it is the object.

        Raises OSError as the system does, for either side; the file may be changed meanwhile.
        """
        with open(path, "rb", buffering=0) as source, _new_file(self.temporary) as file:
            # What was copied is hashed, so it does not matter what the source is by now.
            size = copy_into(source.fileno(), file.fileno(), os.fstat(source.fileno()).st_size)
            if size != pointer.size or digest_of_file(file.fileno(), size) != pointer.digest:
                raise _damaged(pointer, path)
            inode = os.fstat(file.fileno()).st_ino
            _commit(file, self.path(pointer.digest))
        self.has_written(pointer, inode)

    def writer(self) -> ObjectWriter:
        """A writer for one new object; use it as a context manager."""
        return ObjectWriter(self)


class Stored(NamedTuple):
    """An object that is in a directory, as it is found there."""

    path: str
    digest: Digest
    size: int
    #: When it was last read or stored, in seconds since the epoch. Most file systems note
    #: that it was read once a day ("relatime"), some never.
    used: float


def stored(directory: ObjectDirectory) -> Iterator[Stored]:
    """All objects in a directory, in no order. Raises OSError, but not without a directory."""
    with suppress(FileNotFoundError):
        for folder in os.scandir(os.path.join(directory.root, "objects")):
            if folder.is_dir(follow_symlinks=False):
                for entry in os.scandir(folder.path):
                    yield from _as_stored(folder.name, entry)


def _as_stored(folder: str, entry: os.DirEntry[str]) -> Iterator[Stored]:
    with suppress(ValueError, FileNotFoundError):
        digest = Digest.parse(folder + entry.name)
        found = entry.stat(follow_symlinks=False)
        if stat.S_ISREG(found.st_mode):
            yield Stored(entry.path, digest, found.st_size, last_used(found))


def last_used(found: os.stat_result) -> float:
    """When a file was last read or written to, as far as its file system notes that."""
    return max(found.st_atime, found.st_mtime)


def cache_at(directory: str | None) -> ObjectDirectory:
    """The cache in a directory; None is one without a place, so that what needs none goes on.

    In that one nothing is found, and to ask for its place, or to write there,
    raises UsageError.
    """
    return ObjectDirectory(directory) if directory is not None else _NoCache()


class _NoCache(ObjectDirectory):
    def __init__(self) -> None:
        super().__init__("")

    @property
    def root(self) -> str:
        """Raises UsageError."""
        raise UsageError("no place for the cache: HOME is not set", "set GIT_DATAREG_CACHE")

    def path(self, digest: Digest) -> str:
        """Raises UsageError."""
        return self.root

    def find(self, pointer: Pointer) -> str | None:
        """None."""
        return None

    def read(self, pointer: Pointer) -> bytes | None:
        """None."""
        return None


class ObjectWriter:
    """Takes an object's bytes and hashes them on their way into a temporary file.

    Without `commit`, leaving the context removes the file again.
    """

    def __init__(self, directory: ObjectDirectory) -> None:
        self._directory = directory
        self._hasher = Hasher()
        self._file = _new_file(directory.temporary)

    def __enter__(self) -> ObjectWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.discard()

    @property
    def size(self) -> int:
        """Bytes taken so far."""
        return self._hasher.size

    @property
    def pointer(self) -> Pointer:
        """The pointer to the bytes taken so far."""
        return Pointer(self._hasher.digest(), self._hasher.size)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take the next piece; an OSError names the file that could not take it."""
        self._hasher.update(data)
        try:
            self._file.write(data)
        except OSError as error:
            # Else a full disk here would be laid to the storage that is read.
            error.filename = os.fsdecode(self._file.path)
            raise

    def content(self, chunk_size: int) -> Iterator[bytes]:
        """All bytes taken so far, in pieces; for what turns out to be no object."""
        with open(self._file.path, "rb") as file:
            while chunk := file.read(chunk_size):
                yield chunk

    def commit(self, expected: Pointer | None = None, unless: Unless = never) -> Pointer:
        """Put the object in its place; what is there already stays if it is whole.

        Raises IntegrityError, and leaves nothing, when the bytes are not the
        `expected` ones.
        """
        pointer = self.pointer
        if expected is not None and pointer != expected:
            raise IntegrityError(
                f"corrupt object {expected.digest}: got {pointer.size} bytes with the digest "
                f"{pointer.digest}"
            )
        if _lacks(self._directory, pointer, unless):
            inode = os.fstat(self._file.fileno()).st_ino
            _commit(self._file, self._directory.path(pointer.digest))
            if pointer.size > _CHUNK:
                self._directory.has_written(pointer, inode)
        return pointer


def _lacks(directory: ObjectDirectory, pointer: Pointer, unless: Unless) -> bool:
    """Whether an object is to be put into a directory: it is not there, and need be.

    One that is there becomes as young as a new one: else it might just be deleted for its age.
    """
    path = directory.find(pointer)
    if path is None:
        return not unless(pointer)
    try:
        os.utime(path)
    except FileNotFoundError:
        return True
    except OSError:
        # Of another user, or on a disk that is only read.
        pass
    return False


def _damaged(pointer: Pointer, path: str) -> IntegrityError:
    return IntegrityError(f"corrupt object {pointer.digest}: {path}")


def _new_file(temporary: str) -> files.TemporaryFile:
    try:
        return files.new_file(temporary, prefix=PREFIX, mode=MODE)
    except FileNotFoundError:
        files.make_directories(temporary)
        return files.new_file(temporary, prefix=PREFIX, mode=MODE)


@contextmanager
def _named(file: files.TemporaryFile) -> Iterator[None]:
    """Context in which an OSError names the file: a full disk here is no fault of a storage's."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or os.fsdecode(file.path)
        raise


def _commit(file: files.TemporaryFile, target: str) -> None:
    # It was made with this mode, unless the umask has kept readers out.
    mode = mode_in(os.path.dirname(file.path)) if files.umask() & MODE else None
    # As git does with loose objects (core.fsync): the work tree still has the
    # content, and a file that a crash cut short is found by its size.
    file.commit(target, mode=mode, sync=False, make_directory=True)


def mode_in(temporary: str | bytes) -> int:
    """The permissions of an object that was written there."""
    return files.shared_mode(temporary, MODE)


class LocalObjects(NamedTuple):
    """All objects at hand: a repository's own first, then the shared cache."""

    #: What was cleaned here and may not be pushed yet; None outside repositories.
    own: ObjectDirectory | None
    cache: ObjectDirectory

    def find(self, pointer: Pointer) -> str | None:
        """The file that holds the object, or None."""
        path = self.own.find(pointer) if self.own is not None else None
        return path or self.cache.find(pointer)

    def read_whole(self, pointer: Pointer) -> bytes | None:
        """The object's bytes, verified, or None; for small ones. Damage is as in `find_whole`."""
        try:
            data = self.own.read(pointer) if self.own is not None else None
            return data if data is not None else self.cache.read(pointer)
        except IntegrityError:
            path = self.find_whole(pointer)
        return files.read_regular(path) if path is not None else None

    def find_whole(self, pointer: Pointer) -> str | None:
        """The file that holds the object, read and verified, or None.

        A damaged object in the cache is removed, so that it is fetched again.
        Raises IntegrityError for a damaged one of our own, unless the cache has
        a whole one: it may be the only copy.
        """
        own = self.own.find(pointer) if self.own is not None else None
        if self.own is not None and own is not None and self.own.is_whole(pointer):
            return own
        cached = self.cache.find(pointer)
        if cached is not None:
            if self.cache.is_whole(pointer):
                return cached
            with suppress(FileNotFoundError):
                os.unlink(cached)
        if own is not None:
            raise IntegrityError(
                f"corrupt object {pointer.digest}: {own}",
                "git datareg fsck --repair, or move that file away and add the file again",
            )
        return None


def is_object(descriptor: int, pointer: Pointer) -> bool:
    """Whether an open file has exactly the object's bytes."""
    if os.fstat(descriptor).st_size != pointer.size:
        return False
    hasher = Hasher()
    # Into one buffer: fresh memory for each piece is slow.
    buffer = memoryview(bytearray(min(pointer.size, _CHUNK)))
    while count := os.preadv(descriptor, [buffer], hasher.size):
        hasher.update(buffer[:count])
    return Pointer(hasher.digest(), hasher.size) == pointer


def _identity(found: os.stat_result) -> tuple[int, ...]:
    """What changes when a file is written to, or is another one."""
    times = (found.st_mtime_ns, found.st_ctime_ns)
    return (found.st_dev, found.st_ino, found.st_size, *times)


def remove_leftovers(directory: ObjectDirectory) -> None:
    """Remove what killed writers left more than a day ago, as far as we may."""
    with suppress(OSError):
        files.remove_stale(directory.temporary, PREFIX, _STALE_SECONDS)
