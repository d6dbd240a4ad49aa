from __future__ import annotations

import threading

import pytest

from git_datareg.errors import (
    ObjectNotFoundError,
    StorageError,
    StorageUnavailableError,
)
from git_datareg.layout import ObjectStorage
from git_datareg.pointer import Pointer
from git_datareg.transfer import no_progress, outcomes, storage_faults, threads_for
from git_datareg.workers import Lane
from tests.support.storages import LARGE_POINTER, POINTERS, Memory

# threads_for


@pytest.mark.parametrize(
    ("jobs", "connections", "expected"),
    [(32, 16, (1, 16)), (32, 4, (1, 4)), (6, 16, (1, 6)), (1, 16, (1, 1)), (32, 64, (1, 32))],
)
def test_a_storage_elsewhere_gets_one_thread_and_more_as_it_needs_them(
    jobs: int, connections: int, expected: tuple[int, int]
) -> None:
    storage = ObjectStorage(Memory(connections=connections))
    for pointers in (POINTERS, [LARGE_POINTER]):
        assert threads_for(jobs, [storage], pointers) == expected


@pytest.mark.parametrize(
    ("pointers", "expected"),
    [(POINTERS, (1, 1)), ([LARGE_POINTER], (4, 4)), ([*POINTERS, LARGE_POINTER], (1, 1))],
)
def test_small_objects_that_are_near_are_not_worth_a_thread(
    pointers: list[Pointer], expected: tuple[int, int]
) -> None:
    assert threads_for(8, [ObjectStorage(Memory(is_remote=False))], pointers) == expected


def test_the_storage_that_takes_most_decides() -> None:
    near, far = Memory(is_remote=False, connections=4), Memory(connections=20)
    asked = [ObjectStorage(near), ObjectStorage(far)]
    assert threads_for(32, asked, POINTERS) == (1, 20)


def test_without_storages_there_is_one_thread_to_say_so() -> None:
    assert threads_for(32, [], POINTERS) == (1, 1)
    assert threads_for(32, [], []) == (1, 1)


# outcomes


class Job:
    def __init__(self, outcome: object) -> None:
        self.outcome = outcome
        self.thread = 0

    def run(self) -> object:
        self.thread = threading.get_ident()
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome


@pytest.mark.parametrize("most", [1, 4])
def test_each_job_is_run_and_faults_are_outcomes(most: int) -> None:
    fault = StorageUnavailableError("down")
    jobs = [Job(1), Job(fault), Job(None), Job(fault)]
    found = list(outcomes([Lane(jobs[:2], 1), Lane(jobs[2:], 9)], most, most))
    assert {(job, outcome) for job, outcome in found} == {(job, job.outcome) for job in jobs}
    is_here = {job.thread == threading.get_ident() for job in jobs}
    assert is_here == {most == 1}


@pytest.mark.parametrize("most", [1, 4])
def test_any_other_exception_ends_it(most: int) -> None:
    with pytest.raises(ZeroDivisionError):
        list(outcomes([Lane([Job(ZeroDivisionError()), Job(1)], 4)], most, most))
    assert "transfer" not in str(threading.enumerate())


def test_progress_may_be_told_to_nobody() -> None:
    no_progress(5, 1)


# storage_faults


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(28, "No space left on device"), "No space left on device: place"),
        (OSError(2, "No such file", "a.bin"), "No such file: a.bin"),
        (OSError(2, "No such file", b"a.bin"), "No such file: a.bin"),
        (TimeoutError("timed out"), "timed out: place"),
    ],
)
def test_a_fault_of_the_system_becomes_one_of_the_place(error: OSError, message: str) -> None:
    with pytest.raises(StorageUnavailableError) as caught, storage_faults("place"):
        raise error
    assert caught.value.message == message
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("error", [ObjectNotFoundError("x"), StorageError("x"), KeyError("x")])
def test_other_faults_come_through_as_they_are(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, storage_faults("place"):
        raise error
    assert caught.value is error
