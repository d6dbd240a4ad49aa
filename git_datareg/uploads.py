"""Uploads: stores objects that are on this machine, and finds out which need no storing."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Sequence
from typing import Any, BinaryIO, NamedTuple, cast

from git_datareg import presence, processes
from git_datareg.digest import Hasher
from git_datareg.errors import (
    DataregError,
    IntegrityError,
    ObjectNotFoundError,
    StorageUnavailableError,
)
from git_datareg.layout import ObjectStorage, object_key
from git_datareg.objects import LocalObjects
from git_datareg.pointer import Pointer
from git_datareg.transfer import Advance, Failure, no_progress, outcomes, threads_for, unavailable
from git_datareg.workers import Lane

_BUFFER = 1024 * 1024
#: An object of so many bytes is read at once, and may be sent in vain: it costs less than to
#: ask for it first.
_SENT_UNASKED = 64 * 1024


def upload(
    pointers: Iterable[tuple[Pointer, bytes]],
    source: LocalObjects,
    storage: ObjectStorage,
    *,
    jobs: int,
    advance: Advance = no_progress,
) -> tuple[int, list[Failure]]:
    """Store objects that are at hand; returns how many were new, and what failed.

    When nothing failed, all of them are durable in the storage, also those that
    another push put there. `jobs` is a limit: the storage may be served best by fewer.
    """
    unique = dict(pointers)
    threads, most = threads_for(jobs, [storage], unique)
    splits_above = storage.storage.properties.splits_above
    present = (
        presence.listed(storage, unique, most=most)
        if storage.storage.properties.is_remote
        else None
    )
    large: list[_Upload] = []
    small: list[_Upload] = []
    for pointer, path in unique.items():
        is_large = splits_above is not None and pointer.size > splits_above
        job = _Upload(pointer, path, source, storage, present, advance)
        (large if is_large else small).append(job)
    stored = 0
    if most == 1 and jobs > 1 and not storage.storage.properties.is_remote:
        stored, small = _left_by_children(small)
    failures = []
    # One that is sent in parts takes as many connections as it can use.
    lanes = [Lane(large, 1), Lane(small, most)]
    for job, outcome in outcomes(lanes, threads, most):
        if isinstance(outcome, DataregError):
            failures.append(Failure(job.pointer, job.path, outcome))
        else:
            stored += outcome
    if unique and not failures:
        storage.storage.flush()
    return stored, failures


class _Upload(NamedTuple):
    """A job: an object to store."""

    pointer: Pointer
    path: bytes
    source: LocalObjects
    storage: ObjectStorage
    #: The sizes of objects that are there, by key; None when it is not known.
    present: dict[str, int] | None
    advance: Advance

    def run(self) -> bool:
        """Store it; whether it was new. Raises DataregError."""
        if self._is_there():
            self.advance(self.pointer.size, 1)
            return False
        if self.pointer.size <= _SENT_UNASKED:
            data = self.source.read_whole(self.pointer)
            if data is not None:
                return self._sent(io.BytesIO(data))
        path = self.source.find(self.pointer)
        if path is None and self.storage.has(self.pointer):
            self.advance(self.pointer.size, 1)
            return False
        if path is None:
            raise ObjectNotFoundError(
                f"object {self.pointer.digest} is neither here nor in {self.storage}",
                "bring it here first: git datareg fetch",
            )
        try:
            with open(path, "rb", buffering=0) as file:
                return self._stored(file)
        except DataregError:
            raise
        except OSError as error:
            raise unavailable(error, path) from error

    def _stored(self, file: io.FileIO) -> bool:
        source = _Verified(file, self.pointer, self.advance)
        try:
            is_new = self._put(source.buffered())
        except BaseException:
            source.advance_to(0)
            raise
        source.advance_to(self.pointer.size)
        self.advance(0, 1)
        return is_new

    def _sent(self, data: BinaryIO) -> bool:
        """Store a small object, whose bytes are known to be right."""
        is_new = self._put(data)
        self.advance(self.pointer.size, 1)
        return is_new

    def _put(self, source: BinaryIO) -> bool:
        is_new = self.storage.upload(self.pointer, source)
        # Whole: somebody else's, or one of ours whose reply was lost.
        if not is_new and not self.storage.has(self.pointer):
            raise StorageUnavailableError(
                f"object {self.pointer.digest} was there, and is gone: {self.storage}"
            )
        return is_new

    def _is_there(self) -> bool:
        if self.present is not None:
            size = self.present.get(object_key(self.pointer.digest))
            if size is not None:
                self.storage.check_size(self.pointer, size)
            return size is not None
        return self.pointer.size > _SENT_UNASKED and self.storage.has(self.pointer)


def _left_by_children(uploads: list[_Upload]) -> tuple[int, list[_Upload]]:
    """Store in several processes what is worth it; how many were new, and what is left."""
    parts = processes.shares(uploads)
    if len(parts) < 2:
        return 0, uploads

    def work(part: Sequence[_Upload]) -> bytes:
        return b"%d" % sum(each._replace(advance=no_progress).run() for each in part)

    stored = 0
    left: list[_Upload] = []
    for part, told in zip(parts, processes.told_by_children(parts, work), strict=True):
        if told is None:
            # Once more: what could not be done there shows its fault here.
            left += part
            continue
        stored += int(told)
        for each in part:
            each.advance(each.pointer.size, 1)
    return stored, left


class _Verified(io.RawIOBase):
    """A file's bytes, ending in an IntegrityError unless they are the pointer's.

    May be read again from the start, and from nowhere else.
    """

    def __init__(self, file: io.FileIO, pointer: Pointer, advance: Advance) -> None:
        self._file = file
        self._pointer = pointer
        self._advance = advance
        self._told = 0
        self._hasher = Hasher()

    def buffered(self) -> BinaryIO:
        """The stream for a storage; a small object is read at once."""
        return cast(BinaryIO, io.BufferedReader(self, min(self._pointer.size + 1, _BUFFER)))

    def advance_to(self, position: int) -> None:
        """Tell that so many of the object's bytes are done."""
        told, self._told = self._told, position
        if position != told:
            self._advance(position - told, 0)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if (offset, whence) == (0, os.SEEK_CUR):
            return self.tell()
        if (offset, whence) != (0, os.SEEK_SET):
            raise io.UnsupportedOperation("only to the start")
        self._hasher = Hasher()
        self.advance_to(0)
        return self._file.seek(0)

    def tell(self) -> int:
        return self._hasher.size

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)
        count = self._file.readinto(view) or 0
        self._hasher.update(view[:count])
        is_last = count == 0 or self._hasher.size >= self._pointer.size
        if is_last and (self._hasher.digest(), self._hasher.size) != self._pointer:
            raise IntegrityError(
                f"corrupt object {self._pointer.digest}: {self._file.name}",
                "git datareg fsck --repair, or remove it and add the file again",
            )
        self.advance_to(self._hasher.size)
        return count
