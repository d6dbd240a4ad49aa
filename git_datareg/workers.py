"""Many jobs in threads of this process: in lanes, so that few large ones run beside many small.

Owns the threads. Does not know what a job is; an interruption leaves behind what
still waits for another machine.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from queue import Empty, SimpleQueue
from typing import Generic, NamedTuple, TypeVar

from git_datareg.errors import DataregError

#: How often it is seen whether more threads would help; seconds.
_LOOK = 0.02
#: They do while this process computes for less than this part of the time: then its threads
#: wait for another machine, or a disk. Python computes in one of them at a time.
_BUSY = 0.5
#: How long an end that was not foreseen waits for jobs that are under way; seconds.
_PATIENCE = 1.0

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class Lane(NamedTuple, Generic[_Item]):
    """Jobs, to be begun in this order, of which only so many run at once.

    They may be made as they are begun; that must be quick, and can't fail.
    """

    items: Iterable[_Item]
    most: int


def results(
    lanes: Sequence[Lane[_Item]],
    function: Callable[[_Item], _Result],
    *,
    threads: int,
    most: int,
) -> Iterator[tuple[_Item, _Result | DataregError]]:
    """Call the function for each item; its result or its fault, as they come.

    Begins with so many `threads`, and takes twice as many, up to `most`, while they
    wait more than they compute. Earlier lanes go first. Any other exception ends it all and
    is raised here. When it ends before all is done, what is under way is waited
    for a second, and then left to itself: those threads end with the process.
    """
    pool = _Pool(lanes, function, most)
    try:
        for _ in range(threads):
            pool.grow()
        while (result := pool.next()) is not None:
            item, outcome = result
            if isinstance(outcome, BaseException) and not isinstance(outcome, DataregError):
                raise outcome
            yield item, outcome
    finally:
        pool.end()


def each(
    items: Iterable[_Item], function: Callable[[_Item], _Result], *, most: int
) -> Iterator[tuple[_Item, _Result]]:
    """As `results` for jobs of one kind, `most` at once; the first fault ends it and is raised."""
    for item, outcome in results([Lane(items, most)], function, threads=1, most=most):
        if isinstance(outcome, DataregError):
            raise outcome
        yield item, outcome


class _Running(Generic[_Item]):
    """A lane as it is worked off."""

    def __init__(self, lane: Lane[_Item]) -> None:
        self.left = iter(lane.items)
        self.free = lane.most


class _Job(NamedTuple, Generic[_Item]):
    lane: _Running[_Item]
    item: _Item


class _Pool(Generic[_Item, _Result]):
    def __init__(
        self, lanes: Sequence[Lane[_Item]], function: Callable[[_Item], _Result], most: int
    ) -> None:
        self._lanes = [_Running(lane) for lane in lanes]
        self._function = function
        self._most = most
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._ended = 0
        #: When it was last seen whether more threads would help, and for how many seconds
        #: this process had computed by then.
        self._looked = time.monotonic()
        self._computed = time.process_time()
        #: What came out of each job, and None for each thread that has ended.
        self._outcomes: SimpleQueue[tuple[_Item, _Result | BaseException] | None] = SimpleQueue()

    def grow(self) -> None:
        """One thread more, if there may be one and there is something to do for it."""
        with self._lock:
            job = self._take() if len(self._threads) < self._most else None
            if job is None:
                return
            # An interrupted program does not wait for them at its end.
            thread = threading.Thread(target=self._work, args=[job], name="transfer", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                # The system has no more of them; those that run will do it.
                if not self._threads:
                    raise
                self._put_back(job)
            else:
                self._threads.append(thread)

    def next(self) -> tuple[_Item, _Result | BaseException] | None:
        """What came out of a job, when one is done; None when all are."""
        while self._ended < len(self._threads):
            left = self._looked + _LOOK - time.monotonic()
            if left <= 0:
                self._look()
                continue
            try:
                result = self._outcomes.get(timeout=left)
            except Empty:
                continue
            if result is not None:
                return result
            self._ended += 1
        return None

    def _look(self) -> None:
        """Take twice as many threads if those that there are mostly wait."""
        now, computed = time.monotonic(), time.process_time()
        if computed - self._computed < _BUSY * (now - self._looked):
            for _ in range(len(self._threads)):
                self.grow()
        self._looked, self._computed = now, computed

    def end(self) -> None:
        """Begin no more jobs, and wait a little for those that are under way."""
        with self._lock:
            for lane in self._lanes:
                lane.left = iter(())
        deadline = time.monotonic() + _PATIENCE
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _work(self, first: _Job[_Item]) -> None:
        job: _Job[_Item] | None = first
        while job is not None:
            try:
                outcome: _Result | BaseException = self._function(job.item)
            except BaseException as error:
                outcome = error
            self._outcomes.put((job.item, outcome))
            with self._lock:
                job.lane.free += 1
                job = self._take()
        self._outcomes.put(None)

    def _take(self) -> _Job[_Item] | None:
        """The next job; None when there is none, or enough threads for those that are left."""
        for lane in self._lanes:
            if lane.free:
                for item in lane.left:
                    lane.free -= 1
                    return _Job(lane, item)
        return None

    def _put_back(self, job: _Job[_Item]) -> None:
        job.lane.left = chain([job.item], job.lane.left)
        job.lane.free += 1
