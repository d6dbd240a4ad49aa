"""Downloads: brings objects from storages to this machine."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import NamedTuple, TypeVar

from git_datareg import processes
from git_datareg.arriving import PART, Arrival
from git_datareg.errors import (
    CorruptError,
    DataregError,
    IntegrityError,
    ObjectNotFoundError,
    StorageError,
    StorageUnavailableError,
)
from git_datareg.layout import ObjectStorage, not_found, object_key
from git_datareg.objects import ObjectDirectory, remove_leftovers
from git_datareg.pointer import Pointer
from git_datareg.transfer import (
    Advance,
    Failure,
    no_progress,
    outcomes,
    threads_for,
    unavailable,
)
from git_datareg.workers import Lane

#: Parts that come at once, in this process.
_PARTS = 8
#: What is taken of a part at once. Much larger pieces would take longer: the system
#: clears memory for each of them.
_PIECE = 256 * 1024
#: What claims to have more is no object; it is left to its end to show that.
_MOST_PARTS = 1 << 20
_part_slots = threading.BoundedSemaphore(_PARTS)

_Result = TypeVar("_Result")


class Want(NamedTuple):
    """An object to bring here, for the file at `path`, from the first storage that has it."""

    pointer: Pointer
    path: bytes
    storages: Sequence[ObjectStorage]


def download(
    wants: Iterable[Want], into: ObjectDirectory, *, jobs: int, advance: Advance = no_progress
) -> list[Failure]:
    """Bring objects into a directory; those that are there already cost a look each.

    Returns what failed, for each path that wants it, in no order; the rest is
    in place, verified. `jobs` is a limit: storages may be served best by fewer.
    Parts of large objects that came before a fault, or a kill, are not fetched
    again by the next call.
    """
    paths: dict[Pointer, dict[bytes, None]] = {}
    unique: dict[Pointer, Want] = {}
    for want in wants:
        paths.setdefault(want.pointer, {})[want.path] = None
        unique[want.pointer] = _merged(unique.get(want.pointer), want)
    if unique:
        remove_leftovers(into)
    storages = {each for want in unique.values() for each in want.storages}
    threads, most = threads_for(jobs, storages, unique)
    rest: Sequence[Want] = list(unique.values())
    is_near = not any(each.storage.properties.is_remote for each in storages)
    if most == 1 and jobs > 1 and is_near:
        rest = _left_by_children(rest, into, advance)
    return [
        Failure(want.pointer, path, error)
        for want, error in _failed(rest, into, advance, threads, most)
        for path in paths[want.pointer]
    ]


def fetch(want: Want, into: ObjectDirectory) -> None:
    """Bring one object into a directory, from the first storage that can give it whole.

    Raises the last storage's fault, a CorruptError before any other; a fault
    of the directory is a StorageUnavailableError at once.
    """
    if into.find(want.pointer) is not None:
        return
    if not _goes_in_parts(want):
        _fetch_whole(want, into)
        return
    for failure in download([want], into, jobs=_PARTS):
        raise failure.error


class _Whole(NamedTuple):
    """A job: an object in one go."""

    want: Want
    into: ObjectDirectory
    advance: Advance

    def run(self) -> None:
        """See Job."""
        if self.into.find(self.want.pointer) is None:
            _fetch_whole(self.want, self.into)
        self.advance(self.want.pointer.size, 1)


class _Part(NamedTuple):
    """A job: one part of a large object."""

    large: _InParts
    number: int

    @property
    def want(self) -> Want:
        """See Job."""
        return self.large.want

    def run(self) -> None:
        """See Job."""
        self.large.bring(self.number)


class _InParts:
    """A large object that several threads bring together. To be closed."""

    def __init__(self, want: Want, into: ObjectDirectory, advance: Advance) -> None:
        self.want = want
        self._into = into
        self._advance = advance
        self._lock = threading.Lock()
        #: To be asked in this order: the one that served last is first.
        self._storages = tuple(want.storages)
        self._arrival: Arrival | None = None
        #: How many parts are to be brought yet.
        self.left = -(-want.pointer.size // PART)
        self._moved = 0
        #: How many of the slots for parts it has.
        self._slots = 0
        self._fault: DataregError | None = None

    def parts(self) -> Iterator[_Part]:
        """The jobs; each must be run."""
        return (_Part(self, number) for number in range(self.left))

    def bring(self, number: int) -> None:
        """Bring a part; the last one puts the object in its place, or raises its fault."""
        try:
            self._bring(number)
        except DataregError as error:
            self._fault = self._fault or error
        except OSError as error:
            self._fault = self._fault or unavailable(error, self._into.root)
        with self._lock:
            self.left -= 1
            if self.left:
                return
        self._end()

    def close(self) -> None:
        """Let go of what is here; parts that are still under way come to nothing."""
        with self._lock:
            self._fault = self._fault or StorageUnavailableError("broken off")
            if self._arrival is not None:
                self._arrival.close()
            # A thread that hangs keeps no other download waiting.
            self._give_back(self._slots)

    def _bring(self, number: int) -> None:
        with self._lock:
            if self._fault is not None:
                return
            if self._arrival is None:
                self._arrival = Arrival(self.want.pointer, self._into)
            arrival = self._arrival
        _, length = arrival.range(number)
        if not arrival.has(number):
            with self._slot():
                self._fetch(arrival, number)
        with self._lock:
            self._moved += length
        self._advance(length, 0)

    @contextmanager
    def _slot(self) -> Iterator[None]:
        _part_slots.acquire()
        with self._lock:
            self._slots += 1
        try:
            yield
        finally:
            with self._lock:
                self._give_back(min(1, self._slots))

    def _give_back(self, slots: int) -> None:
        self._slots -= slots
        for _ in range(slots):
            _part_slots.release()

    def _fetch(self, arrival: Arrival, number: int) -> None:
        def ask(storage: ObjectStorage) -> None:
            arrival.put(number, self._pieces(storage, *arrival.range(number)))
            # As a new tuple: others are just reading this one.
            self._storages = tuple(sorted(self._storages, key=lambda each: each is not storage))

        _from_first(self._storages, ask, self.want.pointer)

    def _pieces(self, storage: ObjectStorage, start: int, length: int) -> Iterator[bytes]:
        left = length
        for piece in storage.pieces(self.want.pointer, start, length, _PIECE):
            yield piece
            left -= len(piece)
        if left:
            raise IntegrityError(
                f"corrupt object {self.want.pointer.digest} in {storage}: it ends after "
                f"{start + length - left} of {self.want.pointer.size} bytes"
            )

    def _end(self) -> None:
        try:
            is_whole = self._is_whole()
        except OSError as error:
            self._fault = unavailable(error, self._into.root)
            is_whole = False
        if is_whole:
            self._advance(0, 1)
            return
        self._advance(-self._moved, 0)
        if self._fault is not None and not isinstance(self._fault, CorruptError):
            raise self._fault
        # Whole from one storage after the other tells which of them has wrong bytes.
        _fetch_whole(self.want, self._into)
        self._advance(self.want.pointer.size, 1)

    def _is_whole(self) -> bool:
        """Whether the parts that came are the object, which then is in its place."""
        if self._arrival is None:
            return False
        try:
            if self._fault is None:
                self._arrival.finish()
            return self._fault is None
        except IntegrityError:
            return False
        finally:
            # Nobody knows which of the parts is wrong.
            self._arrival.close(keep=not isinstance(self._fault, CorruptError))


def _failed(
    wants: Iterable[Want], into: ObjectDirectory, advance: Advance, threads: int, most: int
) -> Iterator[tuple[Want, DataregError]]:
    """Bring objects; what could not be brought, and why."""
    whole: list[_Whole | _Part] = []
    large: list[_InParts] = []
    for want in wants:
        if _goes_in_parts(want) and into.find(want.pointer) is None:
            large.append(_InParts(want, into, advance))
        else:
            whole.append(_Whole(want, into, advance))
    # Most of a part's time is the system's, or of libraries in C: they gain by going at once.
    threads = max(threads, min(most, _PARTS, sum(each.left for each in large)))
    # One after the other, as they are begun: there may be millions.
    parts = chain.from_iterable(each.parts() for each in large)
    try:
        for job, outcome in outcomes([Lane(parts, _PARTS), Lane(whole, most)], threads, most):
            if isinstance(outcome, DataregError):
                yield job.want, outcome
    finally:
        for each in large:
            each.close()


def _goes_in_parts(want: Want) -> bool:
    """Whether it is large, and the first storage that may have it gives parts quickly."""
    if not PART < want.pointer.size <= PART * _MOST_PARTS:
        return False
    for storage in want.storages:
        properties = storage.storage.properties
        if properties.is_remote:
            return properties.has_ranges
        if storage.storage.file(object_key(want.pointer.digest)) is not None:
            return False
    return False


def _left_by_children(
    wants: Sequence[Want], into: ObjectDirectory, advance: Advance
) -> Sequence[Want]:
    """Fetch in several processes what is worth it; returns what is still to be done."""
    parts = processes.shares(wants)
    if len(parts) < 2:
        return wants

    def work(part: Sequence[Want]) -> None:
        for want in part:
            fetch(want, into)

    left: list[Want] = []
    for part, is_done in zip(parts, processes.in_children(parts, work), strict=True):
        if is_done:
            for want in part:
                advance(want.pointer.size, 1)
        else:
            left += part
    return left


def _merged(first: Want | None, second: Want) -> Want:
    """One want for both: an import and a file of our own may ask different storages."""
    if first is None or first.storages == second.storages:
        return second
    more = [each for each in second.storages if each not in first.storages]
    return first._replace(storages=[*first.storages, *more])


def _fetch_whole(want: Want, into: ObjectDirectory) -> None:
    try:
        _from_first(want.storages, lambda each: each.download(want.pointer, into), want.pointer)
    except DataregError:
        raise
    except OSError as error:
        raise unavailable(error, into.root) from error


def _from_first(
    storages: Sequence[ObjectStorage],
    ask: Callable[[ObjectStorage], _Result],
    pointer: Pointer,
) -> _Result:
    """What the first of the storages gives that can; `ask` raises the faults of one.

    When none can, the last fault is raised: corruption before any other, and
    ObjectNotFoundError when all they lack is the object.
    """
    faults: list[DataregError] = []
    for storage in storages:
        try:
            return ask(storage)
        except ObjectNotFoundError:
            continue
        except (StorageError, CorruptError) as error:
            faults.append(error)
    faults.sort(key=lambda error: isinstance(error, CorruptError))
    raise faults[-1] if faults else not_found(pointer, list(storages))
