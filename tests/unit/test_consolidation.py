from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from git_datareg import consolidation, history, incoming
from git_datareg.consolidation import MOST_PACKS, due
from git_datareg.digest import digest_of
from git_datareg.errors import IntegrityError
from git_datareg.generation import Pack
from git_datareg.git import objects, packs
from git_datareg.git.repository import Repository, open_foreign
from git_datareg.history import History, State
from git_datareg.location import Location
from git_datareg.storage.local import LocalStorage
from tests.support.gitrun import Git


def pack(size: int, number: int = 0) -> Pack:
    return Pack(digest_of(b"%d %d" % (size, number)), size, 1, ("1" * 40,))


def packs_of(*sizes: int) -> list[Pack]:
    return [pack(size, number) for number, size in enumerate(sizes)]


def test_few_packs_stay() -> None:
    assert due(packs_of(*[5] * MOST_PACKS)) == []


def test_small_packs_become_one_and_large_ones_stay() -> None:
    found = packs_of(10_000, 1000, *[5] * MOST_PACKS)
    assert set(due(found)) == set(found[2:])


def test_a_pack_that_is_no_longer_large_is_taken_along() -> None:
    found = packs_of(10_000, *[200] * MOST_PACKS)
    assert set(due(found)) == set(found)


@given(st.lists(st.integers(1, 10**9), min_size=2, max_size=60))
def test_what_is_left_is_fewer_and_each_is_much_larger_than_the_next(sizes: list[int]) -> None:
    found = packs_of(*sizes)
    some = due(found, 1)
    assert len(some) >= 2
    kept = sorted((each.size for each in found if each not in some), reverse=True)
    merged = sum(each.size for each in some)
    assert all(size >= merged for size in kept)
    assert all(large >= small for large, small in pairwise(kept))


def test_many_pushes_write_each_byte_a_few_times_only() -> None:
    there: list[Pack] = []
    written = 0
    for number in range(3000):
        there.append(pack(100, number))
        some = due(there)
        if some:
            size = sum(each.size for each in some)
            written += size
            there = [each for each in there if each not in some] + [pack(size, -number)]
        assert len(there) <= MOST_PACKS + 1
    assert written < 15 * 3000 * 100


class Pushed:
    """A history of so many pushes of one commit each, in a directory."""

    def __init__(self, directory: Path, pushes: int) -> None:
        self.git = Git(directory / "work").init()
        self.repository: Repository = open_foreign(str(self.git.path))
        (directory / "served").mkdir()
        self.past = History(LocalStorage(Location(str(directory / "served"))))
        self.state: State | None = None
        self.directory = directory
        for number in range(pushes):
            self.push(number)

    def push(self, number: int) -> None:
        old = [self.git.head()] if self.state else []
        self.git.write("file.txt", b"".join(b"%d\n" % line for line in range(number, 200)))
        commit = self.git.commit_all(f"commit {number}")
        scratch = self.directory / f"pack{number}"
        scratch.mkdir()
        made = packs.write(self.repository, [commit], old, str(scratch), show=False)
        assert made is not None
        stored = consolidation.put(self.past, made, (commit,), "sha1")
        base = self.state.following() if self.state else history.first("sha1")
        new = base._replace(refs={"refs/heads/main": commit}, packs=(*base.packs, stored))
        assert self.past.append(new)
        self.state = self.past.told(new, self.state)


@pytest.fixture
def many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pushed:
    monkeypatch.setattr(consolidation, "due", lambda packs: due(packs, 4))
    return Pushed(tmp_path, 6)


def test_packs_become_one_and_refs_stay(many: Pushed, tmp_path: Path) -> None:
    assert many.state is not None
    state = consolidation.consolidate(many.past, many.state, many.repository)
    assert state == many.past.newest()
    assert state is not None
    assert state.generation.refs == many.state.generation.refs
    [merged] = state.generation.packs
    assert merged.tips == (many.git.head(),)
    assert merged.objects == len(many.git.out("rev-list", "--objects", "--all").splitlines())
    target = Git(tmp_path / "target").init()
    incoming.take_in(many.past, open_foreign(str(target.path)), state.generation.packs)
    target.run("fsck", "--strict", many.git.head())


def test_who_is_just_cloning_has_the_packs_of_before(many: Pushed, tmp_path: Path) -> None:
    before = many.state
    assert before is not None
    assert consolidation.consolidate(many.past, before, many.repository) is not None
    target = Git(tmp_path / "target").init()
    incoming.take_in(many.past, open_foreign(str(target.path)), before.generation.packs)
    target.run("fsck", "--strict", many.git.head())


def test_few_packs_are_left_alone(tmp_path: Path) -> None:
    few = Pushed(tmp_path, 2)
    assert few.state is not None
    assert consolidation.consolidate(few.past, few.state, few.repository) is None
    assert few.past.newest() == few.state


def test_a_push_meanwhile_is_kept(many: Pushed) -> None:
    before = many.state
    assert before is not None
    many.push(6)
    state = consolidation.consolidate(many.past, before, many.repository)
    assert state is not None
    assert state.generation.refs == {"refs/heads/main": many.git.head()}
    assert len(state.generation.packs) == 2


def test_of_two_at_once_one_gives_up(many: Pushed) -> None:
    assert many.state is not None
    assert consolidation.consolidate(many.past, many.state, many.repository) is not None
    newest = many.past.newest()
    assert consolidation.consolidate(many.past, many.state, many.repository) is None
    assert many.past.newest() == newest


def test_a_corrupt_pack_is_not_handed_on(many: Pushed) -> None:
    assert many.state is not None
    [path, *_] = (many.directory / "served/objects/pack").glob("*.pack")
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(IntegrityError, match="corrupt pack"):
        consolidation.consolidate(many.past, many.state, many.repository)
    assert many.past.newest() == many.state


def test_independent_commits_are_those_that_no_other_reaches(tmp_path: Path) -> None:
    many = Pushed(tmp_path, 3)
    commits = many.git.out("rev-list", "HEAD").splitlines()
    many.git.run("checkout", "--quiet", "--orphan", "other")
    other = many.git.commit_all()
    many.git.run("tag", "--annotate", "--message", "x", "v1")
    tag = many.git.out("rev-parse", "v1")
    asked = [*commits, other, tag, "f" * 40, commits[0]]
    assert objects.independent(many.repository, asked) == [commits[0], other, tag, "f" * 40]
