"""A large object that arrives in parts, in any order, and survives a kill.

The parts are written where they belong in one file in the cache, which also notes
which of them are there; the next process goes on with what it finds. The digest
is checked before the file gets the object's name. Knows no storage.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from git_datareg import files
from git_datareg.digest import Hasher
from git_datareg.errors import IntegrityError
from git_datareg.objects import PREFIX, ObjectDirectory, mode_in
from git_datareg.pointer import Pointer

#: Bytes of a part, and of what one request asks for.
PART = 8 * 1024 * 1024
#: What is hashed at once; small enough for a processor's cache.
_CHUNK = 256 * 1024
#: What of a part is: nothing, all, or a thread that is writing it (that is never in the file).
_ABSENT, _HERE, _COMING = range(3)
#: Whoever is out of space needs what the parts take.
_OUT_OF_SPACE = (errno.ENOSPC, errno.EDQUOT)


class Arrival:
    """The file of one object in an `ObjectDirectory`, until it is whole. Safe for threads.

    To be closed; then what is there waits for the next `Arrival` of that object, for a
    day. Only one process at a time goes on with it: another begins one of its own, which
    nobody can go on with. Every method raises OSError, with the file's name, where the
    directory fails; where its space is used up, nothing waits after `close`.
    """

    def __init__(self, pointer: Pointer, into: ObjectDirectory) -> None:
        self._pointer = pointer
        self._into = into
        self._count = -(-pointer.size // PART)
        self._lock = threading.Lock()
        self._users = 0
        self._is_closed = False
        #: For who hashes, one thread at a time.
        self._hashing = threading.Lock()
        self._hasher = Hasher()
        self._buffer = memoryview(bytearray(_CHUNK))
        files.make_directories(into.temporary)
        self._file, self._is_kept = _opened(pointer, into)
        try:
            with self._in_use() as descriptor:
                self._here = self._noted(descriptor)
        except BaseException:
            self._file.discard()
            raise

    def __len__(self) -> int:
        """How many parts there are."""
        return self._count

    def has(self, number: int) -> bool:
        """Whether a part is there, from this process or one before."""
        return self._here[number] == _HERE

    def range(self, number: int) -> tuple[int, int]:
        """Where a part begins, and its length; bytes."""
        start = number * PART
        return start, min(PART, self._pointer.size - start)

    def put(self, number: int, pieces: Iterable[bytes]) -> None:
        """Write a part, piece by piece as they come; `range` says how many bytes that must be.

        Does nothing, and takes no piece, when it is there, or when another thread
        is just writing it. What `pieces` raises comes through, and the part is not there.
        """
        start, length = self.range(number)
        if not self._claimed(number):
            return
        try:
            at = start
            for piece in pieces:
                if len(piece) > start + length - at:
                    raise ValueError(f"more than {length} bytes for a part")
                with self._in_use() as descriptor:
                    files.write_all_at(descriptor, piece, at)
                at += len(piece)
            if at != start + length:
                raise ValueError(f"{at - start} bytes for a part of {length}")
            with self._in_use() as descriptor:
                # In this order: after a kill each part that is noted is there.
                files.write_all_at(descriptor, bytes([_HERE]), self._pointer.size + number)
                self._here[number] = _HERE
        finally:
            if not self.has(number):
                self._here[number] = _ABSENT
        # What one thread leaves, since another one is at it, the next hashes, or `finish`.
        if self._hashing.acquire(blocking=False):
            try:
                with self._in_use() as descriptor:
                    self._hash_on(descriptor)
            finally:
                self._hashing.release()

    def finish(self) -> None:
        """Give the file the object's name, once all parts are there.

        Raises IntegrityError when they are not the object; then none of them is kept.
        """
        with self._in_use() as descriptor, self._hashing:
            self._hash_on(descriptor)
            if (self._hasher.digest(), self._hasher.size) != self._pointer:
                self._is_kept = False
                raise IntegrityError(f"corrupt object {self._pointer.digest}")
            os.ftruncate(descriptor, self._pointer.size)
            inode = os.fstat(descriptor).st_ino
            target = self._into.path(self._pointer.digest)
            mode = mode_in(self._into.temporary)
            self._file.commit(target, mode=mode, sync=False, make_directory=True)
        self._into.has_written(self._pointer, inode)

    def close(self, *, keep: bool = True) -> None:
        """Let go of the file, and `keep` its parts or not; does nothing after `finish`.

        A thread that is just writing may end that first; no other may begin: ValueError.
        """
        with self._lock:
            self._is_closed = True
            self._is_kept = self._is_kept and keep
            self._let_go()

    def _noted(self, descriptor: int) -> bytearray:
        """Which parts are there: one byte a part, which in the file lie behind the object's."""
        size = self._pointer.size + self._count
        if os.fstat(descriptor).st_size != size:
            # First none at all, in case that we are killed in between.
            os.ftruncate(descriptor, 0)
            os.ftruncate(descriptor, size)
        noted = os.pread(descriptor, self._count, self._pointer.size)
        return bytearray(_HERE if each == _HERE else _ABSENT for each in noted)

    def _claimed(self, number: int) -> bool:
        with self._lock:
            is_absent = self._here[number] == _ABSENT
            if is_absent:
                self._here[number] = _COMING
            return is_absent

    def _hash_on(self, descriptor: int) -> None:
        """Hash the parts whose turn it is; the system still has them in memory, mostly."""
        while (at := self._hasher.size) < self._pointer.size and self.has(at // PART):
            start, length = self.range(at // PART)
            view = self._buffer[: start + length - at]
            count = os.preadv(descriptor, [view], at)
            self._hasher.update(view[:count])
            if not count:
                # Somebody has cut the file; the digest will tell.
                break

    @contextmanager
    def _in_use(self) -> Iterator[int]:
        """The descriptor, which stays open so long; faults of the system name the file."""
        with self._lock:
            if self._is_closed:
                raise ValueError("the arrival is closed")
            self._users += 1
        try:
            yield self._file.fileno()
        except OSError as error:
            error.filename = error.filename or os.fsdecode(self._file.path)
            self._is_kept = self._is_kept and error.errno not in _OUT_OF_SPACE
            raise
        finally:
            with self._lock:
                self._users -= 1
                self._let_go()

    def _let_go(self) -> None:
        if self._is_closed and not self._users:
            if self._is_kept and _HERE in self._here:
                self._file.keep()
            else:
                self._file.discard()


def _opened(pointer: Pointer, into: ObjectDirectory) -> tuple[files.TemporaryFile, bool]:
    """A file for the object, and whether the next process may go on with it."""
    found = files.continued_file(os.path.join(into.temporary, f"{PREFIX}part-{pointer.digest}"))
    if found is not None:
        return found, True
    return files.new_file(into.temporary, prefix=PREFIX, mode=0o600), False
