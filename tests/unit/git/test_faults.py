from __future__ import annotations

import pytest

from git_datareg.errors import GitError
from git_datareg.git import faults


@pytest.mark.parametrize(
    ("said", "phrases"),
    [
        ("fatal: couldn't find remote ref main", faults.UNKNOWN),
        ("fatal: remote error: upload-pack: not our ref 1234", faults.UNKNOWN),
        ("fatal: repository 'http://h/x.git/' not found", faults.ABSENT),
        ("fatal: dumb http transport does not support shallow capabilities", faults.DUMB),
        ("fatal: Unable to create '/x/shallow.lock': File exists.", faults.BROKEN),
        ("fatal: bad object refs/heads/main", faults.BROKEN),
    ],
)
def test_gits_words_are_understood(said: str, phrases: tuple[str, ...]) -> None:
    kinds = (faults.UNKNOWN, faults.ABSENT, faults.DUMB, faults.BROKEN)
    error = GitError("git fetch failed", stderr=said)
    assert [kind for kind in kinds if faults.says(error, kind)] == [phrases]
