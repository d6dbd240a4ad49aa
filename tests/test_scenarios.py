"""Each test that docs/scenarios.md and docs/safety.md name exists; each row says something."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
TEXT = (TESTS.parent / "docs/scenarios.md").read_text(encoding="utf-8")
SAFETY = (TESTS.parent / "docs/safety.md").read_text(encoding="utf-8")
_NAMED = re.compile(r"\b([\w/]+\.py)::(\w+)")


@cache
def functions_of(file: str) -> frozenset[str]:
    """The names of the test functions of a file below `tests`."""
    path = TESTS / file
    if not path.is_file():
        return frozenset()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def rows(text: str) -> list[list[str]]:
    """The cells of each row of the tables, without their heads."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [each for each in cells if each[-1] != "test" and set(each[0]) != {"-"}]


@pytest.mark.parametrize("text", [TEXT, SAFETY], ids=["scenarios", "safety"])
def test_every_test_that_is_named_exists(text: str) -> None:
    named = _NAMED.findall(text)
    assert len(named) > 100
    assert [f"{file}::{name}" for file, name in named if name not in functions_of(file)] == []


def test_every_scenario_has_a_test_or_a_reason() -> None:
    assert len(rows(TEXT)) > 90
    for row in rows(TEXT):
        assert len(row) == 2, row
        scenario, test = row
        # Whatever is there beside names of tests is a sentence.
        reason = _NAMED.sub("", test).strip(" ,;:")
        assert scenario and (_NAMED.search(test) or reason.endswith(".")), row


def test_every_fault_has_a_promise_and_a_test() -> None:
    for row in rows(SAFETY):
        assert len(row) == 3, row
        assert all(row), row
        assert _NAMED.fullmatch(row[2]), row


def test_a_test_that_is_not_there_would_be_found() -> None:
    assert "test_no_such_scenario" not in functions_of("integration/test_get.py")
    assert functions_of("integration/test_no_such_file.py") == frozenset()
