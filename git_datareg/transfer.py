"""Moves many objects at once between this machine and storages.

Every object is tried; what failed is collected, never dropped. Order of
arrival is not promised.
"""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any, NamedTuple, TypeVar

from git_datareg import processes
from git_datareg.digest import Hasher
from git_datareg.errors import (
    CorruptError,
    DataregError,
    IntegrityError,
    ObjectNotFoundError,
    StorageError,
    StorageUnavailableError,
)
from git_datareg.layout import ObjectStorage, not_found
from git_datareg.objects import LocalObjects, ObjectDirectory, remove_leftovers
from git_datareg.pointer import Pointer

#: Told after each object: how many bytes it had.
Advance = Callable[[int], None]

_Item = TypeVar("_Item")
_BUFFER = 1024 * 1024
#: Below this average size (bytes), opening and naming files costs more than copying them.
_SMALL = 256 * 1024


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

    Returns what failed, for each path that wants it, in no order; the rest is
    in place, verified. `jobs` is a limit: storages may be served best by fewer.
    """
    paths: dict[Pointer, dict[bytes, None]] = {}
    unique: dict[Pointer, Want] = {}
    for want in wants:
        paths.setdefault(want.pointer, {})[want.path] = None
        unique[want.pointer] = _merged(unique.get(want.pointer), want)

    def one(want: Want) -> bool:
        fetch(want, into)
        advance(want.pointer.size)
        return True

    storages = {each for want in unique.values() for each in want.storages}
    threads = _threads(jobs, storages, unique)
    if unique:
        remove_leftovers(into)
    rest = list(unique.values())
    if (
        threads == 1
        and jobs > 1
        and not any(each.storage.properties.is_remote for each in storages)
    ):
        rest = _left_by_children(rest, into, advance)
    return [
        Failure(want.pointer, path, outcome)
        for want, outcome in _results(rest, one, threads)
        if isinstance(outcome, DataregError)
        for path in paths[want.pointer]
    ]


def _left_by_children(wants: Sequence[Want], into: ObjectDirectory, advance: Advance) -> list[Want]:
    """Fetch in several processes what is worth it; returns what is still to be done."""
    parts = processes.shares(wants)
    if len(parts) < 2:
        return list(wants)

    def work(part: Sequence[Want]) -> None:
        for want in part:
            fetch(want, into)

    left: list[Want] = []
    for part, is_done in zip(parts, processes.in_children(parts, work), strict=True):
        if is_done:
            for want in part:
                advance(want.pointer.size)
        else:
            left += part
    return left


def _merged(first: Want | None, second: Want) -> Want:
    """One want for both: an import and a file of our own may ask different storages."""
    if first is None or first.storages == second.storages:
        return second
    more = [each for each in second.storages if each not in first.storages]
    return first._replace(storages=[*first.storages, *more])


def fetch(want: Want, into: ObjectDirectory) -> None:
    """Bring one object into a directory, from the first storage that can give it whole.

    Raises the last storage's fault, a CorruptError before any other; a fault
    of the directory is a StorageUnavailableError at once.
    """
    if into.find(want.pointer) is not None:
        return
    faults: list[DataregError] = []
    for storage in want.storages:
        try:
            storage.download(want.pointer, into)
            return
        except ObjectNotFoundError:
            continue
        except (StorageError, CorruptError) as error:
            faults.append(error)
        except OSError as error:
            raise _unavailable(error, into.root) from error
    faults.sort(key=lambda error: isinstance(error, CorruptError))
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

    When nothing failed, all of them are durable in the storage, also those that
    another push put there. `jobs` is a limit: the storage may be served best by fewer.
    """
    unique = dict(pointers)
    threads = _threads(jobs, [storage], unique)
    stored = 0

    def one(item: tuple[Pointer, bytes]) -> bool:
        pointer, _ = item
        new = _upload_one(pointer, source, storage)
        advance(pointer.size)
        return new

    failures = []
    for (pointer, path), outcome in _results(unique.items(), one, threads):
        if isinstance(outcome, DataregError):
            failures.append(Failure(pointer, path, outcome))
        else:
            stored += outcome
    if unique:
        storage.storage.flush()
    return stored, failures


def _upload_one(pointer: Pointer, source: LocalObjects, storage: ObjectStorage) -> bool:
    if storage.has(pointer):
        return False
    path = source.find(pointer)
    if path is None:
        raise ObjectNotFoundError(
            f"object {pointer.digest} is neither here nor in {storage}",
            "bring it here first: git datareg fetch",
        )
    try:
        with open(path, "rb", buffering=0) as file:
            reader = io.BufferedReader(_Verified(file, pointer), min(pointer.size + 1, _BUFFER))
            return storage.upload(pointer, reader)
    except DataregError:
        raise
    except OSError as error:
        raise _unavailable(error, path) from error


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


def _threads(jobs: int, storages: Iterable[ObjectStorage], pointers: Collection[Pointer]) -> int:
    """How many threads serve these storages best, for objects like these."""
    known = [each.storage.properties for each in storages]
    sizes = sum(pointer.size for pointer in pointers)
    if not any(each.is_remote for each in known) and sizes < _SMALL * len(pointers):
        # Two threads would only take the interpreter from each other, at twice the time.
        return 1
    return max(1, min(jobs, max((each.connections for each in known), default=1)))


def _results(
    items: Iterable[_Item], function: Callable[[_Item], bool], threads: int
) -> Iterator[tuple[_Item, bool | DataregError]]:
    """Call the function for each item in threads; its result or its fault, as they come.

    Any other exception ends it all and is raised here. Threads take their items
    themselves: a future for each would cost more than moving a small object. A
    single one is not even worth a thread, with a switch for each item.
    """
    if threads == 1:
        for item in items:
            try:
                yield item, function(item)
            except DataregError as error:
                yield item, error
        return
    todo = iter(list(items))
    results: SimpleQueue[tuple[_Item, bool | BaseException] | None] = SimpleQueue()
    is_over = threading.Event()

    def work() -> None:
        # A list's iterator gives each item to one thread only, without a lock.
        for item in todo:
            if is_over.is_set():
                break
            try:
                results.put((item, function(item)))
            except BaseException as error:
                results.put((item, error))
        results.put(None)

    pool = [threading.Thread(target=work, name="transfer") for _ in range(threads)]
    try:
        for thread in pool:
            thread.start()
        for _ in pool:
            while (result := results.get()) is not None:
                item, outcome = result
                if isinstance(outcome, BaseException) and not isinstance(outcome, DataregError):
                    raise outcome
                yield item, outcome
    finally:
        is_over.set()
        for thread in pool:
            thread.join()


@contextmanager
def storage_faults(place: str) -> Iterator[None]:
    """Context in which an OSError becomes a StorageUnavailableError that names the place."""
    try:
        yield
    except DataregError:
        raise
    except OSError as error:
        raise _unavailable(error, place) from error


def _unavailable(error: OSError, place: str) -> StorageUnavailableError:
    where = os.fsdecode(error.filename) if error.filename else place
    return StorageUnavailableError(f"{error.strerror or error}: {where}")
