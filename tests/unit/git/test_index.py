from __future__ import annotations

from pathlib import Path

import pytest

from git_datareg.git import index, objects, repository
from git_datareg.git.repository import Repository
from tests.support.gitrun import Git


@pytest.fixture
def git(tmp_path: Path) -> Git:
    git = Git(tmp_path / "repository").init()
    for path in (b"a", b"sub/b", b"sub/new\nline", b"sub/\xe9", b"*"):
        git.write(path, path)
    git.write("tool", b"x", mode=0o755)
    (git.path / "link").symlink_to("a")
    git.commit_all()
    return git


@pytest.fixture
def opened(git: Git) -> Repository:
    return repository.find(str(git.path))


def paths(entries: list[index.IndexEntry]) -> list[bytes]:
    return [entry.path for entry in entries]


def test_entries_are_all_or_those_below_paths_taken_literally(opened: Repository) -> None:
    everything = index.entries(opened)
    assert len(everything) == 7
    assert paths(index.entries(opened, [b"sub"])) == [b"sub/b", b"sub/new\nline", b"sub/\xe9"]
    assert paths(index.entries(opened, [b"*", b"a", b"nothing"])) == [b"*", b"a"]


def test_modes_tell_files_from_the_rest(opened: Repository) -> None:
    modes = {entry.path: (entry.mode, entry.is_file) for entry in index.entries(opened)}
    assert modes[b"a"] == ("100644", True)
    assert modes[b"tool"] == ("100755", True)
    assert modes[b"link"] == ("120000", False)


def test_a_conflict_has_stages(git: Git, opened: Repository) -> None:
    id = git.out("rev-parse", "HEAD:a")
    git.run("update-index", "--index-info", input=f"100644 {id} 2\tc\n100644 {id} 3\tc\n")
    assert [entry.stage for entry in index.entries(opened, [b"c"])] == [2, 3]


def test_more_paths_than_a_command_line_holds_are_no_fault(git: Git, opened: Repository) -> None:
    # Few and long ones, since git compares each with each.
    many = [b"/".join([b"%0200d" % number] * 15) for number in range(1000)]
    id = git.out("rev-parse", "HEAD:a")
    index.stage(opened, [("100644", id, path) for path in many])
    assert paths(index.entries(opened, many)) == many
    assert set(index.changed_in_work_tree(opened, many)) == set(many)


def test_a_path_below_two_that_are_asked_for_in_parts_comes_once(
    opened: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "_ARGUMENT_BYTES", 4)
    assert paths(index.entries(opened, [b"sub/b", b"sub", b"a"])).count(b"sub/b") == 1


@pytest.mark.parametrize("object_format", ["sha1", "sha256"])
def test_entries_are_staged_and_removed_in_one_step(tmp_path: Path, object_format: str) -> None:
    git = Git(tmp_path / "other").init(f"--object-format={object_format}")
    git.write("old", b"old")
    git.commit_all()
    opened = repository.find(str(git.path))
    [id] = objects.write_blobs(opened, [b"new"])
    index.stage(opened, [("100644", id, b"x\ny"), ("100755", id, b"\xe9")], [b"old"])
    assert {(entry.path, entry.mode) for entry in index.entries(opened)} == {
        (b"x\ny", "100644"),
        (b"\xe9", "100755"),
    }
    index.stage(opened, [])


def test_the_filter_attribute_is_gits_to_say(git: Git, opened: Repository) -> None:
    git.write(".gitattributes", b"sub/** filter=datareg\nsub/b -filter\na filter=other\n")
    asked = [b"a", b"sub/b", b"sub/new\nline", b"sub/\xe9", b"sub/not there"]
    assert index.filtered(opened, asked) == set(asked[2:])
    assert index.filtered(opened, []) == set()


def test_changes_in_the_work_tree_are_found(git: Git, opened: Repository) -> None:
    assert index.changed_in_work_tree(opened) == []
    git.write(b"sub/new\nline", b"changed")
    (git.path / "a").unlink()
    assert index.changed_in_work_tree(opened) == [b"a", b"sub/new\nline"]
    assert index.changed_in_work_tree(opened, [b"sub"]) == [b"sub/new\nline"]
