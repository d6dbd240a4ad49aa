"""Many jobs in threads of this process: in lanes, so that few large ones run beside many small.

Owns the threads. Does not know what a job is; an interruption leaves behind what
still waits for another machine.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from queue import SimpleQueue
from typing import Generic, NamedTuple, TypeVar

from git_datareg.errors import DataregError

#: A job that takes longer (seconds) waits for another machine, so more of them may wait.
_SLOW = 0.02
#: How long an end that was not foreseen waits for jobs that are under way; seconds.
_PATIENCE = 1.0

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class Lane(NamedTuple, Generic[_Item]):
    """Jobs, to be begun in this order, of which only so many run at once."""

    items: Sequence[_Item]
    most: int


def results(
    lanes: Sequence[Lane[_Item]],
    function: Callable[[_Item], _Result],
    *,
    threads: int,
    most: int,
) -> Iterator[tuple[_Item, _Result | DataregError]]:
    """Call the function for each item; its result or its fault, as they come.

    Begins with so many `threads`, and takes one more, up to `most`, whenever a
    job was slow. Earlier lanes go first. Any other exception ends it all and
    is raised here. When it ends before all is done, what is under way is waited
    for a second, and then left to itself: those threads end with the process.
    """
    pool = _Pool(lanes, function, most)
    try:
        for _ in range(min(threads, most, sum(len(lane.items) for lane in lanes))):
            pool.grow()
        while (result := pool.next()) is not None:
            item, outcome = result
            if isinstance(outcome, BaseException) and not isinstance(outcome, DataregError):
                raise outcome
            yield item, outcome
    finally:
        pool.end()


class _Running(Generic[_Item]):
    """A lane as it is worked off."""

    def __init__(self, lane: Lane[_Item]) -> None:
        self.left = deque(lane.items)
        self.free = lane.most


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
        #: What came out of each job, and None for each thread that has ended.
        self._outcomes: SimpleQueue[tuple[_Item, _Result | BaseException] | None] = SimpleQueue()

    def grow(self) -> None:
        """One thread more, if there may be one and there is something to do for it."""
        with self._lock:
            if len(self._threads) < self._most and any(lane.left for lane in self._lanes):
                # An interrupted program does not wait for them at its end.
                thread = threading.Thread(target=self._work, name="transfer", daemon=True)
                self._threads.append(thread)
                thread.start()

    def next(self) -> tuple[_Item, _Result | BaseException] | None:
        """What came out of a job, when one is done; None when all are."""
        while self._ended < len(self._threads):
            result = self._outcomes.get()
            if result is not None:
                return result
            self._ended += 1
        return None

    def end(self) -> None:
        """Begin no more jobs, and wait a little for those that are under way."""
        with self._lock:
            for lane in self._lanes:
                lane.left.clear()
        deadline = time.monotonic() + _PATIENCE
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _work(self) -> None:
        while (taken := self._take()) is not None:
            lane, item = taken
            start = time.monotonic()
            try:
                outcome: _Result | BaseException = self._function(item)
            except BaseException as error:
                outcome = error
            with self._lock:
                lane.free += 1
            self._outcomes.put((item, outcome))
            if time.monotonic() - start > _SLOW:
                self.grow()
        self._outcomes.put(None)

    def _take(self) -> tuple[_Running[_Item], _Item] | None:
        """The next job; None when there is none, or enough threads for those that are left."""
        with self._lock:
            for lane in self._lanes:
                if lane.left and lane.free:
                    lane.free -= 1
                    return lane, lane.left.popleft()
        return None
