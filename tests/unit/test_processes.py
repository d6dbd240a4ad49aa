from __future__ import annotations

import os
import signal
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from git_datareg import processes


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a program of one thread, on a machine with three cores."""
    monkeypatch.setattr(processes, "_threads", lambda: 1)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2})


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize(
    ("count", "sizes"),
    [(0, []), (1, [1]), (999, [999]), (1000, [500, 500]), (3001, [1001, 1001, 999])],
)
def test_parts_are_consecutive_and_worth_a_child(count: int, sizes: list[int]) -> None:
    parts = processes.shares(range(count))
    assert [len(part) for part in parts] == sizes
    assert [each for part in parts for each in part] == list(range(count))


@pytest.mark.usefixtures("alone")
def test_there_are_not_too_many_children(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    assert len(processes.shares(range(100_000))) == 8


def test_beside_other_threads_there_is_one_part() -> None:
    is_over = threading.Event()
    thread = threading.Thread(target=is_over.wait)
    thread.start()
    try:
        assert processes.shares(range(100_000)) == [range(100_000)]
    finally:
        is_over.set()
        thread.join()


def test_each_part_is_done_in_a_child_of_its_own(tmp_path: Path) -> None:
    def work(part: Sequence[str]) -> None:
        for name in part:
            (tmp_path / name).write_text(str(os.getpid()))

    assert processes.in_children([["a", "b"], ["c"]], work) == [True, True]
    a, b, c = ((tmp_path / name).read_text() for name in "abc")
    assert a == b and len({a, c, str(os.getpid())}) == 3


def test_what_the_work_returns_is_told() -> None:
    def work(part: Sequence[int]) -> bytes:
        if 3 in part:
            os._exit(1)
        return bytes(part) * 100_000

    told = processes.told_by_children([[1, 2], [3], []], work)
    assert told == [bytes([1, 2]) * 100_000, None, b""]


def test_which_part_was_not_done_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    def work(part: Sequence[int]) -> None:
        if part[0] == 1:
            raise ValueError
        if part[0] == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        if part[0] == 3:
            raise SystemExit(0)

    done = processes.in_children([[number] for number in range(5)], work)
    assert done == [True, False, False, False, True]
    assert capfd.readouterr() == ("", "")


def test_no_child_outlives_an_interruption(monkeypatch: pytest.MonkeyPatch) -> None:
    def work(part: Sequence[int]) -> None:
        signal.pause()

    def interrupted(child: int, options: int) -> tuple[int, int]:
        monkeypatch.undo()
        raise KeyboardInterrupt

    children: list[int] = []
    fork = os.fork

    def noted() -> int:
        children.append(fork())
        return children[-1]

    monkeypatch.setattr(os, "fork", noted)
    monkeypatch.setattr(os, "waitpid", interrupted)
    with pytest.raises(KeyboardInterrupt):
        processes.in_children([[1], [2]], work)
    assert len(children) == 2
    for child in children:
        with pytest.raises(ChildProcessError):
            os.waitpid(child, os.WNOHANG)


def test_a_child_that_is_ended_tidies_up_first(tmp_path: Path) -> None:
    def work(part: Sequence[int]) -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            signal.pause()
        finally:
            (tmp_path / "tidied").touch()

    assert processes.in_children([[1]], work) == [False]
    assert (tmp_path / "tidied").exists()
