"""What revisions need, read from repositories of pointers whose objects are nowhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from git_datareg import needs
from git_datareg.errors import MetafileError, PointerError, RevisionNotFoundError
from git_datareg.needs import Needs
from tests.support.filtered import pointer
from tests.support.gitrun import Git
from tests.support.pointers import commit, made, opened, parsed, write

ODD = pointer(b"x").replace(b"pointer 1", b"pointer 7")


@pytest.fixture
def git(tmp_path: Path) -> Git:
    return made(tmp_path)


def metafile(storage: str, commit: str = "1" * 40, more: str = "") -> bytes:
    text = "[import]\n\turl = https://example.org/r\n\tpath = p\n\tcommit = "
    return f"{text}{commit}\n\tstorage = {storage}\n{more}".encode()


def of(git: Git, *revs: str, everything: bool = False) -> Needs:
    return needs.of(opened(git), revs, everything=everything)


def paths(found: Needs) -> dict[str, bytes]:
    """The path of each content, by its first eight hex digits."""
    return {pointer.digest.hex: each.want.path for pointer, each in found.found.items()}


def expected(**contents: bytes) -> dict[str, bytes]:
    return {parsed(content).digest.hex: name.encode() for name, content in contents.items()}


def storages(found: Needs, content: bytes) -> list[str]:
    return [str(each) for each in found.found[parsed(content)].want.storages]


def test_head_and_index_are_looked_at(git: Git) -> None:
    commit(git, a=b"one", b=b"two", old=b"gone")
    git.run("rm", "-q", "old")
    commit(git, b=b"2")
    write(git, "c", pointer(b"staged"))
    write(git, "d", pointer(b"only here"))
    git.run("add", "c")
    found = of(git)
    assert paths(found) == expected(a=b"one", b=b"2", c=b"staged")
    assert [each.is_staged for each in found.found.values()] == [False, False, True]
    assert all(each.is_own for each in found.found.values())
    assert found.tips == [git.head()] and found.unreadable == []


def test_revisions_are_looked_at_as_they_are_checked_out(git: Git) -> None:
    first = commit(git, a=b"one", b=b"two")
    git.run("tag", "v1")
    git.run("rm", "-q", "a")
    second = commit(git, b=b"2")
    write(git, "c", pointer(b"staged"))
    git.run("add", "c")
    assert paths(of(git, "HEAD")) == expected(b=b"2")
    found = of(git, "v1", "main")
    assert found.tips == [first, second]
    assert len(found.found) == 3
    with pytest.raises(RevisionNotFoundError):
        of(git, "v1", "v2")


def test_everything_is_every_ref_with_its_history_and_the_index(git: Git) -> None:
    commit(git, a=b"one")
    commit(git, a=b"two")
    git.run("checkout", "-q", "-b", "side")
    commit(git, a=b"three")
    git.run("checkout", "-q", "--detach", "main")
    commit(git, a=b"detached")
    git.run("tag", "of-a-blob", "HEAD:a")
    write(git, "c", pointer(b"staged"))
    git.run("add", "c")
    found = of(git, everything=True)
    contents = (b"one", b"two", b"three", b"detached", b"staged")
    assert set(found.found) == {parsed(content) for content in contents}
    assert [found.found[parsed(content)].is_staged for content in contents] == [False] * 4 + [True]


def test_nothing_committed_or_staged_is_nothing(git: Git, tmp_path: Path) -> None:
    for each in (git, Git(tmp_path / "remote.git")):
        for everything in (False, True):
            assert of(each, everything=everything) == Needs({}, [], [])
    write(git, "c", pointer(b"staged"))
    git.run("add", "c")
    assert paths(of(git)) == expected(c=b"staged")


def test_a_bare_repository_has_a_head_and_no_index(git: Git, tmp_path: Path) -> None:
    commit(git, a=b"one")
    git.run("push", "-q", "origin", "main")
    assert paths(of(Git(tmp_path / "remote.git"))) == expected(a=b"one")


def test_both_sides_of_a_conflict_are_needed(git: Git) -> None:
    commit(git, a=b"base")
    git.run("checkout", "-q", "-b", "side")
    commit(git, a=b"theirs")
    git.run("checkout", "-q", "main")
    commit(git, a=b"ours")
    assert git.run("merge", "side", check=False).returncode != 0
    assert set(of(git).found) == {parsed(each) for each in (b"base", b"theirs", b"ours")}


def test_links_and_what_is_no_pointer_are_passed_over(git: Git) -> None:
    write(git, "plain", b"plain")
    write(git, "long", pointer(b"x") + b"\n" * 2000)
    (git.path / "link").symlink_to("git-datareg pointer 1")
    git.commit_all()
    for everything in (False, True):
        assert not of(git, everything=everything).found


@pytest.mark.parametrize("everything", [False, True])
def test_what_is_not_understood_is_collected_path_by_path(git: Git, everything: bool) -> None:
    write(git, "odd", ODD)
    write(git, "sub/odd", ODD)
    write(git, "bad.datareg", b"[import")
    write(git, "bad/a", pointer(b"whose?"))
    commit(git, a=b"one")
    found = of(git, everything=everything)
    blob = git.out("rev-parse", "HEAD:odd")
    assert sorted(each[:2] for each in found.unreadable) == [
        (b"bad.datareg", git.out("rev-parse", "HEAD:bad.datareg")),
        (b"odd", blob),
        (b"sub/odd", blob),
    ]
    kinds = {each.path: type(each.error) for each in found.unreadable}
    assert kinds == {b"bad.datareg": MetafileError, b"odd": PointerError, b"sub/odd": PointerError}
    assert parsed(b"one") in found.found
    # In a tree it can't be told whose file it is; in history it is ours unless we know better.
    assert (parsed(b"whose?") in found.found) == everything


def test_an_old_revision_that_is_not_understood_is_one_of_everything(git: Git) -> None:
    write(git, "odd", ODD)
    write(git, "bad.datareg", b"[import")
    git.commit_all()
    git.run("rm", "-q", "odd", "bad.datareg")
    commit(git, a=b"one")
    assert of(git).unreadable == []
    found = of(git, everything=True)
    assert sorted(each.path for each in found.unreadable) == [b"bad.datareg", b"odd"]


def test_imports_are_their_sources(git: Git) -> None:
    write(git, "faces.datareg", metafile("/hint"))
    write(git, "faces/a", pointer(b"imported"))
    write(git, "faces/b", pointer(b"both"))
    write(git, "kept.datareg", metafile("/kept", more="\tvendor = true\n"))
    write(git, "kept/a", pointer(b"vendored"))
    commit(git, a=b"own", z=b"both")
    for everything in (False, True):
        for found in (of(git, everything=everything), of(git, "HEAD")):
            own = {pointer for pointer, each in found.found.items() if each.is_own}
            assert own == {parsed(b"own"), parsed(b"both"), parsed(b"vendored")}
            assert storages(found, b"imported") == ["/hint"]
            assert storages(found, b"own") == []
            assert found.found[parsed(b"both")].want.path == b"z"


def test_an_import_in_history_may_be_where_any_of_its_metafiles_says(git: Git) -> None:
    for number in (1, 2):
        write(git, "faces.datareg", metafile(f"/hint{number}", str(number) * 40))
        write(git, "faces/a", pointer(b"version %d" % number))
        git.commit_all()
    git.run("rm", "-q", "-r", "faces", "faces.datareg")
    commit(git, a=b"own")
    found = of(git, everything=True)
    for number in (1, 2):
        assert not found.found[parsed(b"version %d" % number)].is_own
        assert sorted(storages(found, b"version %d" % number)) == ["/hint1", "/hint2"]
    assert storages(of(git, "HEAD~1"), b"version 2") == ["/hint2"]


def test_what_a_branch_of_a_remote_has_is_pushed(git: Git) -> None:
    first = commit(git, a=b"one")
    git.run("update-ref", "refs/remotes/any/main", first)
    commit(git, b=b"two")
    write(git, "faces.datareg", metafile("/hint"))
    write(git, "faces/a", pointer(b"imported"))
    git.commit_all()
    write(git, "c", pointer(b"staged"))
    git.run("add", "c")
    for everything in (False, True):
        found = needs.unpushed(opened(git), of(git, everything=everything))
        assert found == {parsed(b"two"), parsed(b"staged")}
    assert needs.unpushed(opened(git), of(git, first)) == set()
    git.run("update-ref", "-d", "refs/remotes/any/main")
    assert parsed(b"one") in needs.unpushed(opened(git), of(git))
