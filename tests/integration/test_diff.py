"""`git datareg diff`: the data files that differ, between commits and with what is here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from git_datareg.digest import digest_of
from tests.support.filtered import data
from tests.support.gitrun import Git, clone


@pytest.fixture
def git(tmp_path: Path) -> Git:
    """A repository whose tag v1 has three data files, of which v2 has other ones."""
    git = Git(tmp_path / "work").init()
    git.run("datareg", "init")
    git.run("datareg", "track", "*.dat")
    git.write("same.dat", data("same", 1000))
    git.write("sub/changed.dat", data("old", 2048))
    git.write("gone.dat", data("gone", 3000))
    git.write("plain.txt", b"one\n")
    git.commit_all("v1")
    git.run("tag", "v1")
    git.write("sub/changed.dat", data("new", 4096))
    git.write("added.dat", data("added", 512))
    git.write("plain.txt", b"two\n")
    git.run("rm", "--quiet", "gone.dat")
    git.commit_all("v2")
    git.run("tag", "v2")
    return git


LINES = [
    "A\tadded.dat\t512 B",
    "D\tgone.dat\t2.9 KiB",
    "M\tsub/changed.dat\t2.0 KiB -> 4.0 KiB",
]


def diff(git: Git, *words: str) -> list[str]:
    return git.out("datareg", "diff", *words).splitlines()


def test_two_commits(git: Git) -> None:
    assert diff(git, "v1", "v2") == LINES
    assert diff(git, "v1..v2") == LINES
    assert diff(git, "v1..") == LINES
    assert diff(git, "v2", "v2") == []
    assert diff(git, "v2", "v1")[0].startswith("D\tadded.dat")


def test_json_has_ids_and_sizes(git: Git) -> None:
    added, gone, changed = json.loads(git.out("datareg", "diff", "v1", "v2", "--json"))
    assert added == {
        "path": "added.dat",
        "status": "added",
        "old": None,
        "new": {"id": digest_of(data("added", 512)).hex, "size": 512},
    }
    assert (gone["status"], gone["new"]) == ("deleted", None)
    assert changed["old"] == {"id": digest_of(data("old", 2048)).hex, "size": 2048}
    assert changed["new"] == {"id": digest_of(data("new", 4096)).hex, "size": 4096}


def test_a_commit_and_the_work_tree(git: Git) -> None:
    assert diff(git) == []
    assert diff(git, "v1") == LINES
    git.write("same.dat", data("other", 1500))
    (git.path / "added.dat").unlink()
    git.write("new.dat", data("staged", 700))
    git.run("add", "new.dat")
    git.write("untracked.dat", data("untracked"))
    assert diff(git) == [
        "D\tadded.dat\t512 B",
        "A\tnew.dat\t700 B",
        "M\tsame.dat\t1000 B -> 1.5 KiB",
    ]
    assert diff(git, "--cached") == ["A\tnew.dat\t700 B"]
    (changed,) = (
        each
        for each in json.loads(git.out("datareg", "diff", "--json"))
        if each["old"] and each["new"]
    )
    assert changed["new"]["id"] == digest_of(data("other", 1500)).hex


def test_touched_files_and_pointers_are_no_change(git: Git, tmp_path: Path) -> None:
    (git.path / "same.dat").touch()
    assert diff(git) == []
    bare = clone(git.path, tmp_path / "pointers", "-c", "filter.datareg.process=")
    bare.run("datareg", "init")
    assert diff(bare) == []
    assert diff(bare, "v1") == LINES


def test_what_replaced_a_file_is_no_data(git: Git) -> None:
    (git.path / "same.dat").unlink()
    (git.path / "same.dat").symlink_to("plain.txt")
    assert diff(git) == ["D\tsame.dat\t1000 B"]
    (git.path / "same.dat").unlink()
    (git.path / "same.dat").mkdir()
    assert diff(git) == ["D\tsame.dat\t1000 B"]


def test_data_that_became_a_git_blob_is_deleted_as_data(git: Git) -> None:
    git.run("datareg", "untrack", "*.dat")
    git.run("add", "--renormalize", ".")
    git.commit_all("plain")
    assert [line[:2] for line in diff(git, "v2", "HEAD")] == ["D\t"] * 3


def test_a_bare_repository_has_commits_only(git: Git, tmp_path: Path) -> None:
    bare = clone(git.path, tmp_path / "bare.git", "--bare")
    assert diff(bare, "v1", "v2") == LINES
    done = bare.run("datareg", "diff", check=False)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("nothing",), 3),
        (("v1", "nothing"), 3),
        (("v1...v2",), 2),
        (("--cached", "v1", "v2"), 2),
        (("v1", "v2", "HEAD"), 2),
    ],
)
def test_what_can_not_be_meant_is_one_line(git: Git, words: tuple[str, ...], code: int) -> None:
    done = git.run("datareg", "diff", *words, check=False)
    assert done.returncode == code
    assert done.stderr.startswith("git-datareg: error: ")
    assert done.stdout == ""
