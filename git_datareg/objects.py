"""Objects on this machine: directories in which they are whole or absent.

Used for a repository's own unpushed objects and for the shared cache. Knows
no storage and no network.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from types import TracebackType
from typing import NamedTuple

from git_datareg import files
from git_datareg.digest import Digest, Hasher
from git_datareg.errors import IntegrityError
from git_datareg.pointer import Pointer

#: Leftovers of killed writers are removed when they are older than this.
_STALE_SECONDS = 24 * 3600
_PREFIX = "object-"
_CHUNK = 1024 * 1024


class ObjectDirectory:
    """A directory of objects, `objects/<2 hex>/<62 hex>` below `root`.

    Safe for any number of processes at once. Nothing is created before the
    first write.
    """

    def __init__(self, root: str) -> None:
        self.root = root

    def path(self, digest: Digest) -> str:
        """Where the object is, or would be."""
        return os.path.join(self.root, "objects", digest.key)

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

    def writer(self) -> ObjectWriter:
        """A writer for one new object; use it as a context manager."""
        return ObjectWriter(self)


class ObjectWriter:
    """Takes an object's bytes and hashes them on their way into a temporary file.

    Without `commit`, leaving the context removes the file again.
    """

    def __init__(self, directory: ObjectDirectory) -> None:
        self._directory = directory
        self._hasher = Hasher()
        temporary = os.path.join(directory.root, "tmp")
        try:
            self._file = files.new_file(temporary, prefix=_PREFIX)
        except FileNotFoundError:
            os.makedirs(temporary, exist_ok=True)
            self._file = files.new_file(temporary, prefix=_PREFIX)

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

    def commit(self, expected: Pointer | None = None) -> Pointer:
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
        if self._directory.find(pointer) is None:
            target = self._directory.path(pointer.digest)
            _make_directory(os.path.dirname(target))
            # As git does with loose objects (core.fsync): the work tree still has the
            # content, and a file that a crash cut short is found by its size.
            self._file.commit(target, replace=True, mode=0o444, sync=False)
        return pointer


class LocalObjects(NamedTuple):
    """All objects at hand: a repository's own first, then the shared cache."""

    #: What was cleaned here and may not be pushed yet; None outside repositories.
    own: ObjectDirectory | None
    cache: ObjectDirectory

    def find(self, pointer: Pointer) -> str | None:
        """The file that holds the object, or None."""
        path = self.own.find(pointer) if self.own is not None else None
        return path or self.cache.find(pointer)

    def find_whole(self, pointer: Pointer) -> str | None:
        """The file that holds the object, read and verified, or None.

        A damaged object in the cache is removed, so that it is fetched again.
        Raises IntegrityError for a damaged one of our own, unless the cache has
        a whole one: it may be the only copy.
        """
        own = self.own.find(pointer) if self.own is not None else None
        if own is not None and _is_whole(own, pointer):
            return own
        cached = self.cache.find(pointer)
        if cached is not None:
            if _is_whole(cached, pointer):
                return cached
            with suppress(FileNotFoundError):
                os.unlink(cached)
        if own is not None:
            raise IntegrityError(
                f"corrupt object {pointer.digest}: {own}",
                "move that file away, then add the file again or fetch it from a storage",
            )
        return None


def is_object(descriptor: int, pointer: Pointer) -> bool:
    """Whether an open file has exactly the object's bytes."""
    if os.fstat(descriptor).st_size != pointer.size:
        return False
    hasher = Hasher()
    while chunk := os.pread(descriptor, _CHUNK, hasher.size):
        hasher.update(chunk)
    return Pointer(hasher.digest(), hasher.size) == pointer


def _is_whole(path: str, pointer: Pointer) -> bool:
    try:
        with open(path, "rb", buffering=0) as file:
            return is_object(file.fileno(), pointer)
    except FileNotFoundError:
        return False


def remove_leftovers(directory: ObjectDirectory) -> None:
    """Remove what killed writers left more than a day ago, as far as we may."""
    with suppress(OSError):
        files.remove_stale(os.path.join(directory.root, "tmp"), _PREFIX, _STALE_SECONDS)


def _make_directory(path: str) -> None:
    """Make one of the 256 directories of objects; almost always it is there."""
    try:
        os.mkdir(path)
    except FileExistsError:
        return
    except FileNotFoundError:
        os.makedirs(path, exist_ok=True)
