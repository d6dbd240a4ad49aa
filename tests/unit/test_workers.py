from __future__ import annotations

import itertools
import math
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from git_datareg import workers
from git_datareg.errors import ObjectNotFoundError
from git_datareg.workers import Lane, results

#: What would wait forever fails instead.
PATIENCE = 30


def run(*lanes: Lane[Any], job: Callable[[Any], object], threads: int = 8, most: int = 8) -> Any:
    return list(results(lanes, job, threads=threads, most=most))


def is_idle() -> bool:
    return not [each for each in threading.enumerate() if each.name == "transfer"]


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    yield
    assert is_idle()


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the threads that were started."""
    names: list[str] = []
    start = threading.Thread.start

    def watched(self: threading.Thread) -> None:
        names.append(self.name)
        start(self)

    monkeypatch.setattr(threading.Thread, "start", watched)
    return names


@pytest.mark.parametrize("threads", [1, 3, 100])
def test_each_item_comes_once_with_its_result(threads: int) -> None:
    found = run(
        Lane(range(50), 2), Lane(range(50, 90), 9), job=lambda n: n * n, threads=threads, most=100
    )
    assert sorted(found) == [(number, number * number) for number in range(90)]


def test_nothing_to_do_is_done_at_once(started: list[str]) -> None:
    assert run(job=str) == run(Lane([], 3), Lane([], 3), job=str) == []
    assert started == []


def test_one_thread_goes_through_the_lanes_in_order() -> None:
    seen: list[int] = []
    run(Lane([3, 1], 1), Lane([], 9), Lane([2, 5], 7), job=seen.append, threads=1, most=1)
    assert seen == [3, 1, 2, 5]


def test_a_lane_runs_as_many_at_once_as_it_may_and_no_more() -> None:
    together = {"few": threading.Barrier(2), "many": threading.Barrier(4)}
    running: Counter[str] = Counter()
    most: Counter[str] = Counter()
    lock = threading.Lock()

    def job(item: tuple[str, int]) -> None:
        name, _ = item
        with lock:
            running[name] += 1
            most[name] = max(most[name], running[name])
        together[name].wait(PATIENCE)
        with lock:
            running[name] -= 1

    few, many = ([(name, number) for number in range(8)] for name in ("few", "many"))
    assert len(run(Lane(few, 2), Lane(many, 4), job=job, threads=20, most=20)) == 16
    assert most == {"few": 2, "many": 4}


def test_a_lane_that_is_held_up_holds_no_other_up() -> None:
    is_done = threading.Event()

    def job(item: str) -> bool:
        return is_done.wait(PATIENCE) if item == "large" else True

    found = []
    lanes = [Lane(["large"] * 3, 1), Lane(["small"] * 20, 2)]
    for item, outcome in results(lanes, job, threads=3, most=3):
        found.append(item)
        assert outcome is True
        if found.count("small") == 20:
            is_done.set()
    assert found == ["small"] * 20 + ["large"] * 3


def test_lanes_that_are_all_at_their_limits_hold_nothing_up() -> None:
    lanes = [Lane(range(10 * n, 10 * n + 10), 1) for n in range(3)]
    assert len(run(*lanes, job=str, threads=50, most=50)) == 30


def test_many_short_jobs_in_lanes_of_all_kinds_come_once() -> None:
    for seed in range(30):
        chance = random.Random(seed)
        number = itertools.count()
        lanes = [
            Lane([next(number) for _ in range(chance.randrange(40))], chance.randrange(1, 6))
            for _ in range(chance.randrange(1, 5))
        ]
        threads = chance.randrange(1, 9)
        found = run(*lanes, job=str, threads=threads, most=threads + chance.randrange(9))
        assert sorted(item for item, _ in found) == list(range(next(number)))


# Threads


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """More threads come as soon as it is seen that jobs wait."""
    monkeypatch.setattr(workers, "_LOOK", 0.001)
    monkeypatch.setattr(workers, "_BUSY", math.inf)


def test_no_thread_is_started_in_vain(started: list[str], eager: None) -> None:
    run(Lane([1, 2, 3], 8), job=str)
    assert 1 <= len(started) <= 3
    started.clear()
    # One thread is enough for what goes one by one, however long it waits.
    run(Lane(range(30), 1), job=lambda number: time.sleep(0.002))
    assert len(started) == 1


def test_more_threads_come_while_jobs_wait(started: list[str]) -> None:
    # So many must run at once: nothing else ends the first of them.
    together = threading.Barrier(12)

    def job(number: int) -> None:
        if number < 12:
            together.wait(PATIENCE)

    run(Lane(range(50), 50), job=job, threads=1, most=12)
    assert len(started) == 12


def test_jobs_that_compute_get_no_more_threads(
    started: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "_BUSY", 0.0)
    run(Lane(range(100), 50), job=lambda number: time.sleep(0.001), threads=2, most=50)
    # The first may have done it all before the second is started.
    assert 1 <= len(started) <= 2


def test_where_the_system_has_no_more_threads_fewer_do_it(
    eager: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = iter([True, True])
    start = threading.Thread.start

    def limited(self: threading.Thread) -> None:
        if not next(left, False):
            raise RuntimeError("can't start new thread")
        start(self)

    monkeypatch.setattr(threading.Thread, "start", limited)
    assert len(run(Lane(range(5), 1), Lane(range(5, 50), 9), job=str)) == 50
    # Jobs as quick as these may be done before a second thread was asked for.
    assert len(list(left)) < 2
    with pytest.raises(RuntimeError, match="can't start"):
        run(Lane(range(50), 9), job=str)


def test_items_are_made_when_they_are_begun() -> None:
    endless = results([Lane(itertools.count(), 3)], str, threads=2, most=2)
    assert len(list(itertools.islice(endless, 10))) == 10
    endless.close()  # type: ignore[attr-defined]


# Faults


def test_faults_are_collected_and_keep_no_other_back() -> None:
    fault = ObjectNotFoundError("gone")

    def job(number: int) -> int:
        if number % 3 == 0:
            raise fault
        return number

    found = dict(run(Lane(range(10), 4), job=job))
    assert found == {n: n if n % 3 else fault for n in range(10)}


@pytest.mark.parametrize("kind", [ZeroDivisionError, OSError, KeyboardInterrupt, SystemExit])
def test_any_other_exception_ends_it(kind: type[BaseException]) -> None:
    def job(number: int) -> None:
        raise kind

    with pytest.raises(kind):
        run(Lane(itertools.count(), 4), job=job)
    assert is_idle()


def test_what_was_not_begun_at_the_end_is_never_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_PATIENCE", 0.0)
    is_over = threading.Event()
    begun: list[str] = []

    def job(name: str) -> None:
        begun.append(name)
        if name == "bad":
            raise ZeroDivisionError
        if name == "slow":
            is_over.wait(PATIENCE)

    with pytest.raises(ZeroDivisionError):
        run(Lane(["slow", "bad", "slow", "more", "more"], 9), job=job, threads=2, most=2)
    left = [each for each in threading.enumerate() if each.name == "transfer"]
    is_over.set()
    for thread in left:
        thread.join(PATIENCE)
    assert "more" not in begun


def test_what_is_under_way_at_the_end_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_PATIENCE", float(PATIENCE))
    is_closing = threading.Event()
    done: list[str] = []
    join = threading.Thread.join

    def watched(self: threading.Thread, timeout: float | None = None) -> None:
        if self.name == "transfer":
            is_closing.set()
        join(self, timeout)

    def job(name: str) -> None:
        if name == "slow":
            is_closing.wait(PATIENCE)
        done.append(name)

    monkeypatch.setattr(threading.Thread, "join", watched)
    running = results([Lane(["quick", "slow"], 2)], job, threads=2, most=2)
    assert next(running)[0] == "quick"
    running.close()  # type: ignore[attr-defined]
    assert done == ["quick", "slow"]


def test_an_interrupt_ends_it_while_a_job_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_PATIENCE", 0.01)
    is_over = threading.Event()

    def job(number: int) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        is_over.wait(PATIENCE)

    with pytest.raises(KeyboardInterrupt):
        run(Lane([1], 1), job=job)
    [hanging] = [each for each in threading.enumerate() if each.name == "transfer"]
    # It does not keep the program from ending.
    assert hanging.daemon
    is_over.set()
    hanging.join(PATIENCE)
