from __future__ import annotations

import os
from pathlib import Path

import pytest

from git_datareg import working
from git_datareg.errors import PathNotFoundError, PointerError, UsageError
from git_datareg.projects import Project
from git_datareg.workspace import Workspace
from tests.support.filtered import configure, data, pointer
from tests.support.gitrun import Git


@pytest.fixture
def git(tmp_path: Path) -> Git:
    git = configure(Git(tmp_path / "repo").init())
    git.write("a.dat", data("a"))
    git.write("sub/run.dat", data("run"), mode=0o755)
    git.write("plain", b"plain")
    git.commit_all()
    return git


def project_of(git: Git) -> Project:
    return Workspace(str(git.path), os.environ).project


def test_data_files_are_those_whose_blobs_are_pointers(git: Git) -> None:
    git.write("text", pointer(b"x"))
    git.write("almost", pointer(b"x") + b"\n")
    (git.path / "link.dat").symlink_to("a.dat")
    git.commit_all()
    project = project_of(git)
    found = working.in_index(project.repository)
    assert [(each.path, each.pointer.size, each.is_executable) for each in found] == [
        (b"a.dat", 3000, False),
        (b"sub/run.dat", 3000, True),
        (b"text", 1, False),
    ]
    assert sorted(working.in_commit(project.repository, "HEAD")) == sorted(found)


@pytest.mark.parametrize(
    ("paths", "wanted"),
    [
        ([b"sub"], [b"sub/run.dat"]),
        ([b"sub", b"a.dat"], [b"a.dat", b"sub/run.dat"]),
        ([b"."], [b"a.dat", b"sub/run.dat"]),
        ([b"su"], []),
        ([b"*.dat"], []),
    ],
)
def test_paths_are_literal_and_mean_what_is_below(
    git: Git, paths: list[bytes], wanted: list[bytes]
) -> None:
    repository = project_of(git).repository
    assert [each.path for each in working.in_index(repository, paths)] == wanted
    assert [each.path for each in working.in_commit(repository, "HEAD", paths)] == wanted


def test_a_pointer_of_a_later_version_names_its_file(git: Git) -> None:
    git.write("later", b"git-datareg pointer 2\nblake3 " + b"0" * 64 + b"\nsize 1\n")
    git.commit_all()
    for find in (
        lambda: working.in_index(project_of(git).repository),
        lambda: working.in_commit(project_of(git).repository, "HEAD"),
    ):
        with pytest.raises(PointerError, match="later: pointer of version 2"):
            find()


def test_a_change_is_another_content_mode_or_kind(git: Git) -> None:
    project = project_of(git)
    files = working.in_index(project.repository)

    def changed() -> list[bytes]:
        return working.changed(project, files)

    assert changed() == []
    os.utime(git.path / "a.dat")
    assert changed() == []
    git.write("a.dat", pointer(data("a")))
    assert changed() == []
    git.write("a.dat", data("b", 3001))
    (git.path / "sub/run.dat").chmod(0o644)
    assert changed() == [b"a.dat", b"sub/run.dat"]
    git.run("config", "core.fileMode", "false")
    assert changed() == [b"a.dat"]
    (git.path / "a.dat").unlink()
    assert changed() == [b"a.dat"]
    (git.path / "a.dat").symlink_to("plain")
    assert changed() == [b"a.dat"]


def test_a_file_that_holds_its_pointer_is_not_in_place(git: Git) -> None:
    project = project_of(git)
    files = working.in_index(project.repository)
    assert working.unplaced(project, files) == []
    git.write("a.dat", pointer(data("a")))
    git.write("sub/run.dat", pointer(data("other")))
    assert [each.path for each in working.unplaced(project, files)] == [b"a.dat"]
    assert working.checkout(project) == (1, [])
    assert (git.path / "a.dat").read_bytes() == data("a")
    assert (git.path / "sub/run.dat").read_bytes() == pointer(data("other"))


def test_staged_is_what_the_next_commit_changes(git: Git) -> None:
    git.write("new.dat", data("new"))
    git.write("plain", b"changed")
    git.run("rm", "--quiet", "--cached", "a.dat")
    (git.path / "sub/run.dat").chmod(0o644)
    git.run("add", "new.dat", "plain", "sub")
    project = project_of(git)
    files = working.in_index(project.repository)
    assert working.staged(project, files) == [b"a.dat", b"new.dat", b"sub/run.dat"]


def test_paths_that_the_index_has_not_are_told(git: Git) -> None:
    with pytest.raises(PathNotFoundError, match="no such file in the index: nothing"):
        working.checkout(project_of(git), [b"a.dat", b"nothing"])


def test_a_bare_repository_has_no_work_tree(git: Git, tmp_path: Path) -> None:
    bare = Git(tmp_path / "bare.git").init("--bare")
    with pytest.raises(UsageError, match="no work tree"):
        working.checkout(project_of(bare))


def test_globs_see_paths_from_the_top(git: Git) -> None:
    files = working.in_index(project_of(git).repository)
    assert [each.path for each in working.matching(files, ["sub/*"], [])] == [b"sub/run.dat"]
    assert [each.path for each in working.matching(files, [], ["sub"])] == [b"a.dat"]
