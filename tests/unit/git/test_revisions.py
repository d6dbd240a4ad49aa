from __future__ import annotations

import pytest

from git_datareg.git import revisions


@pytest.mark.parametrize("rev", ["main", "v1.0", "feature/x", "refs/heads/main", "HEAD", "ä"])
def test_names_of_refs_are_asked_for_by_name(rev: str) -> None:
    assert revisions.is_ref_name(rev)


@pytest.mark.parametrize(
    "rev",
    (
        *("", "-x", "v1~2", "a^", "a:b", "@{u}", "a b", "a..b", "a.", ".a", "a//b", "/a"),
        *("a.lock", "a/.b", "a\nb", "a\\b", "a*", "x.lock/y"),
    ),
)
def test_other_revisions_are_not(rev: str) -> None:
    assert not revisions.is_ref_name(rev)


def test_ids_are_told_from_their_beginnings() -> None:
    for id in ("a" * 40, "0" * 64):
        assert revisions.is_id(id) and revisions.is_abbreviated(id)
    for part in ("a" * 7, "1" * 39, "a" * 41):
        assert not revisions.is_id(part) and revisions.is_abbreviated(part)
    for other in ("a" * 6, "A" * 40, "main", ""):
        assert not revisions.is_abbreviated(other)
