"""Moving many objects at once: what both directions share.

One queue for objects of all sizes: small ones go whole, many at once; a large one
goes in parts, several at once. Every object is tried; what failed is collected,
never dropped. Order of arrival is not promised.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol, TypeVar

from git_datareg import workers
from git_datareg.errors import DataregError, StorageUnavailableError
from git_datareg.layout import ObjectStorage
from git_datareg.pointer import Pointer
from git_datareg.workers import Lane

#: Told of bytes as they are moved (less than none when they must be moved again), and
#: of objects that are done. May be called by any thread.
Advance = Callable[[int, int], None]

#: Below this average size (bytes), opening and naming files costs more than copying them.
_SMALL = 256 * 1024
#: How many transfers a remote storage gets at first; more while it answers slowly.
_AT_FIRST = 1


class Failure(NamedTuple):
    """An object that could not be moved, and why."""

    pointer: Pointer
    path: bytes
    error: DataregError


def no_progress(size: int, objects: int) -> None:
    """An `Advance` that tells nobody."""


class Progress(Protocol):
    """Somebody who is told how it goes on; by any thread."""

    def expect(self, size: int, objects: int) -> None:
        """So many bytes are to be moved, in so many objects."""

    def advance(self, size: int, objects: int) -> None:
        """See `Advance`."""


class _Silent:
    """Tells nobody."""

    def expect(self, size: int, objects: int) -> None:
        """See Progress."""

    def advance(self, size: int, objects: int) -> None:
        """See Progress."""


SILENT: Progress = _Silent()


class Job(Protocol):
    """Something to do for an object."""

    def run(self) -> object:
        """Do it once; a DataregError says that the object failed."""


_Job = TypeVar("_Job", bound=Job)


def threads_for(
    jobs: int, storages: Iterable[ObjectStorage], pointers: Collection[Pointer]
) -> tuple[int, int]:
    """How many threads to begin with, and at the most, for such objects in these storages."""
    known = [each.storage.properties for each in storages]
    most = max(1, min(jobs, max((each.connections for each in known), default=1)))
    if any(each.is_remote for each in known):
        return min(most, _AT_FIRST), most
    if sum(pointer.size for pointer in pointers) < _SMALL * len(pointers):
        # Two threads would only take the interpreter from each other, at twice the time.
        return 1, 1
    return most, most


def outcomes(lanes: Sequence[Lane[_Job]], threads: int, most: int) -> Iterator[tuple[_Job, Any]]:
    """Run the jobs; each with its result or its DataregError, as they come.

    A single thread is not even worth a thread, with a switch for each job.
    """
    if most > 1:
        yield from workers.results(lanes, lambda job: job.run(), threads=threads, most=most)
        return
    for lane in lanes:
        for job in lane.items:
            try:
                outcome = job.run()
            except DataregError as error:
                yield job, error
            else:
                yield job, outcome


@contextmanager
def storage_faults(place: str) -> Iterator[None]:
    """Context in which an OSError becomes a StorageUnavailableError that names the place."""
    try:
        yield
    except DataregError:
        raise
    except OSError as error:
        raise unavailable(error, place) from error


def unavailable(error: OSError, place: str) -> StorageUnavailableError:
    """The fault that an OSError of this machine means; it names the file, or the place."""
    where = os.fsdecode(error.filename) if error.filename else place
    return StorageUnavailableError(f"{error.strerror or error}: {where}")
