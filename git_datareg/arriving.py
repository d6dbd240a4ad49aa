"""A large object that arrives in parts, in any order, and survives a kill.

The parts are written where they belong in one file in the cache, which also notes
which of them are there; the next process goes on with what it finds. The digest
is checked before the file gets the object's name. Knows no storage.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from git_datareg import files
from git_datareg.digest import Hasher
from git_datareg.errors import IntegrityError
from git_datareg.objects import MODE, PREFIX, ObjectDirectory
from git_datareg.pointer import Pointer

#: Bytes of a part, and of what one request asks for.
PART = 8 * 1024 * 1024
_CHUNK = 1024 * 1024
_IS_HERE = 1


class Arrival:
    """The file of one object in an `ObjectDirectory`, until it is whole. Safe for threads.

    To be closed; then what is there waits for the next `Arrival` of that object, for a
    day. Only one process at a time goes on with it: another begins one of its own. Every
    method raises OSError, with the file's name, where the directory fails.
    """

    def __init__(self, pointer: Pointer, into: ObjectDirectory) -> None:
        self._pointer = pointer
        self._into = into
        self._lock = threading.Lock()
        self._hasher = Hasher()
        self._count = -(-pointer.size // PART)
        self._file = _opened(pointer, into)
        with self._named_faults():
            #: One byte a part; in the file it lies behind the object's bytes.
            self._here = bytearray(os.pread(self._file.fileno(), self._count, pointer.size))
            if os.fstat(self._file.fileno()).st_size != pointer.size + self._count:
                self._begin()

    def __len__(self) -> int:
        """How many parts there are."""
        return self._count

    def has(self, number: int) -> bool:
        """Whether a part is there, from this process or one before."""
        return self._here[number] == _IS_HERE

    def range(self, number: int) -> tuple[int, int]:
        """Where a part begins, and its length; bytes."""
        start = number * PART
        return start, min(PART, self._pointer.size - start)

    def put(self, number: int, data: bytes) -> None:
        """Write a part; `data` has the length that `range` says."""
        start, length = self.range(number)
        if len(data) != length:
            raise ValueError(f"{len(data)} bytes for a part of {length}")
        with self._named_faults():
            # In this order: after a kill each part that is noted is there.
            files.write_all_at(self._file.fileno(), data, start)
            files.write_all_at(self._file.fileno(), b"\1", self._pointer.size + number)
        with self._lock:
            self._here[number] = _IS_HERE
            if self._hasher.size == start:
                self._hasher.update(data)
                with self._named_faults():
                    self._hash_on()

    def finish(self) -> None:
        """Give the file the object's name, once all parts are there.

        Raises IntegrityError when they are not the object; then none of them is kept.
        """
        with self._lock, self._named_faults():
            self._hash_on()
            if (self._hasher.digest(), self._hasher.size) != self._pointer:
                self._begin()
                raise IntegrityError(f"corrupt object {self._pointer.digest}")
            os.ftruncate(self._file.fileno(), self._pointer.size)
            inode = os.fstat(self._file.fileno()).st_ino
            target = self._into.path(self._pointer.digest)
            self._file.commit(target, mode=MODE, sync=False, make_directory=True)
        self._into.has_written(self._pointer, inode)

    def close(self) -> None:
        """Let go of the file; does nothing after `finish`. Parts that are there are kept."""
        with self._lock:
            if any(self._here):
                self._file.keep()
            else:
                self._file.discard()

    def _begin(self) -> None:
        """Forget all parts."""
        os.ftruncate(self._file.fileno(), 0)
        os.ftruncate(self._file.fileno(), self._pointer.size + self._count)
        self._here = bytearray(self._count)
        self._hasher = Hasher()

    def _hash_on(self) -> None:
        """Hash parts that came before their turn; the system still has them in memory, mostly."""
        size = self._pointer.size
        while self._hasher.size < size and self.has(self._hasher.size // PART):
            data = os.pread(
                self._file.fileno(), min(_CHUNK, size - self._hasher.size), self._hasher.size
            )
            self._hasher.update(data)
            if not data:
                # Somebody has cut the file; the digest will tell.
                break

    @contextmanager
    def _named_faults(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            error.filename = error.filename or os.fsdecode(self._file.path)
            raise


def _opened(pointer: Pointer, into: ObjectDirectory) -> files.TemporaryFile:
    os.makedirs(into.temporary, exist_ok=True)
    name = f"{PREFIX}part-{pointer.digest}"
    found = files.continued_file(os.path.join(into.temporary, name))
    return found or files.new_file(into.temporary, prefix=PREFIX, mode=0o600)
