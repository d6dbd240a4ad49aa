"""How large values are cut, and how much of them is in memory."""

from __future__ import annotations

import io
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from git_datareg.errors import IntegrityError
from git_datareg.storage.multipart import Budget, part_size, whole

MIB = 1024 * 1024


@given(st.integers(min_value=1, max_value=5 * 1024 * 1024 * MIB))
def test_parts_are_such_as_s3_takes(size: int) -> None:
    step = part_size(size)
    assert 5 * MIB <= step <= 5 * 1024 * MIB
    assert -(-size // step) <= 10_000
    assert step % MIB == 0


def test_parts_are_of_8_mib_as_long_as_ten_thousand_suffice() -> None:
    assert part_size(10_000 * 8 * MIB) == 8 * MIB
    assert part_size(10_000 * 8 * MIB + 1) == 9 * MIB


def test_who_wants_more_than_is_left_waits() -> None:
    budget = Budget(10)
    budget.take(6)
    has_it = threading.Event()

    def want() -> None:
        with budget.taken(5):
            has_it.set()

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(want)
        with budget.taken(4):
            assert not has_it.is_set()
        budget.give_back(6)
        waiting.result()
    assert has_it.is_set()


def test_what_is_larger_than_all_is_taken_alone() -> None:
    budget = Budget(10)
    with budget.taken(11):
        pass
    budget.take(10)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(budget.take, 11)
        assert not waiting.done()
        budget.give_back(10)
        waiting.result()


def test_never_more_than_the_budget_is_out() -> None:
    budget, lock = Budget(10), threading.Lock()
    out, most = 0, 0

    def use(size: int) -> None:
        nonlocal out, most
        with budget.taken(size):
            with lock:
                out += size
                most = max(most, out)
            with lock:
                out -= size

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(use, [1, 2, 3, 4, 5] * 200))
    assert 0 < most <= 10


@pytest.mark.parametrize("size", [0, 9, 11, 100])
def test_a_value_of_another_size_is_none(size: int) -> None:
    assert whole(io.BytesIO(bytes(10)), 10, "x") == bytes(10)
    with pytest.raises(IntegrityError, match="promised for x"):
        whole(io.BytesIO(bytes(10)), size, "x")
