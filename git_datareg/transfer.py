"""Moves many objects at once between this machine and storages.

Every object is tried; what failed is collected, never dropped. Order of
arrival is not promised.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from itertools import islice
from typing import Any, NamedTuple, TypeVar

from git_datareg.digest import Hasher
from git_datareg.errors import (
    DataregError,
    IntegrityError,
    ObjectNotFoundError,
    StorageError,
    StorageUnavailableError,
)
from git_datareg.layout import ObjectStorage, not_found
from git_datareg.objects import LocalObjects, ObjectDirectory
from git_datareg.pointer import Pointer

#: Told after each object: how many bytes it had.
Advance = Callable[[int], None]

_Item = TypeVar("_Item")

#: Tasks handed to the threads ahead of time, so that memory stays bounded.
_AHEAD = 4


class Want(NamedTuple):
    """An object to bring here, for the file at `path`, from the first storage that has it."""

    pointer: Pointer
    path: bytes
    storages: Sequence[ObjectStorage]


class Failure(NamedTuple):
    """An object that could not be moved, and why."""

    pointer: Pointer
    path: bytes
    error: DataregError


def no_progress(size: int) -> None:
    """An `Advance` that tells nobody."""


def download(
    wants: Iterable[Want], into: ObjectDirectory, *, jobs: int, advance: Advance = no_progress
) -> list[Failure]:
    """Bring objects into a directory; those that are there already cost a look each.

    Returns what failed, in no order; the rest is in place, verified.
    """
    unique = {want.pointer: want for want in wants}

    def one(want: Want) -> bool:
        fetch(want, into)
        advance(want.pointer.size)
        return True

    return [
        Failure(want.pointer, want.path, outcome)
        for want, outcome in _results(unique.values(), one, jobs)
        if isinstance(outcome, DataregError)
    ]


def fetch(want: Want, into: ObjectDirectory) -> None:
    """Bring one object into a directory, from the first storage that can give it whole.

    Raises the last storage's fault, an IntegrityError before any other.
    """
    if into.find(want.pointer) is not None:
        return
    faults: list[DataregError] = []
    for storage in want.storages:
        try:
            with storage_faults(str(storage)):
                storage.download(want.pointer, into)
            return
        except ObjectNotFoundError:
            continue
        except (StorageError, IntegrityError) as error:
            faults.append(error)
    faults.sort(key=lambda error: isinstance(error, IntegrityError))
    raise faults[-1] if faults else not_found(want.pointer, list(want.storages))


def upload(
    pointers: Iterable[tuple[Pointer, bytes]],
    source: LocalObjects,
    storage: ObjectStorage,
    *,
    jobs: int,
    advance: Advance = no_progress,
) -> tuple[int, list[Failure]]:
    """Store objects that are at hand; returns how many were new, and what failed.

    When nothing failed, all of them are durable in the storage.
    """
    unique = dict(pointers)
    stored = 0

    def one(item: tuple[Pointer, bytes]) -> bool:
        pointer, _ = item
        new = _upload_one(pointer, source, storage)
        advance(pointer.size)
        return new

    failures = []
    for (pointer, path), outcome in _results(unique.items(), one, jobs):
        if isinstance(outcome, DataregError):
            failures.append(Failure(pointer, path, outcome))
        else:
            stored += outcome
    if stored:
        with storage_faults(str(storage)):
            storage.storage.flush()
    return stored, failures


def _upload_one(pointer: Pointer, source: LocalObjects, storage: ObjectStorage) -> bool:
    with storage_faults(str(storage)):
        if storage.has(pointer):
            return False
        path = source.find(pointer)
        if path is None:
            raise ObjectNotFoundError(
                f"object {pointer.digest} is neither here nor in {storage}",
                "bring it here first: git datareg fetch",
            )
        with open(path, "rb", buffering=0) as file:
            return storage.upload(pointer, io.BufferedReader(_Verified(file, pointer), 1024 * 1024))


class _Verified(io.RawIOBase):
    """A file's bytes, ending in an IntegrityError unless they are the pointer's."""

    def __init__(self, file: io.FileIO, pointer: Pointer) -> None:
        self._file = file
        self._pointer = pointer
        self._hasher = Hasher()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)
        count = self._file.readinto(view) or 0
        self._hasher.update(view[:count])
        is_last = count == 0 or self._hasher.size >= self._pointer.size
        if is_last and (self._hasher.digest(), self._hasher.size) != self._pointer:
            raise IntegrityError(
                f"corrupt object {self._pointer.digest}: {self._file.name}",
                "remove it, and add the file again or fetch it from a storage",
            )
        return count


def _results(
    items: Iterable[_Item], function: Callable[[_Item], bool], jobs: int
) -> Iterator[tuple[_Item, bool | DataregError]]:
    """Call the function for each item in `jobs` threads; its result or its fault, as they come."""
    source = iter(items)
    pending: dict[Future[bool], _Item] = {}
    with ThreadPoolExecutor(jobs) as pool:
        try:
            while True:
                for item in islice(source, jobs * _AHEAD - len(pending)):
                    pending[pool.submit(function, item)] = item
                if not pending:
                    return
                done, _ = wait(pending, return_when=FIRST_COMPLETED)
                for future in done:
                    item = pending.pop(future)
                    try:
                        yield item, future.result()
                    except DataregError as error:
                        yield item, error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


@contextmanager
def storage_faults(place: str) -> Iterator[None]:
    """Context in which an OSError becomes a StorageUnavailableError that names the place."""
    try:
        yield
    except DataregError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        where = os.fsdecode(error.filename) if error.filename else place
        raise StorageUnavailableError(f"{reason}: {where}") from error
