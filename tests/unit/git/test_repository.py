from __future__ import annotations

import os
from pathlib import Path

import pytest

from git_datareg.errors import GitError, RepositoryNotFoundError, RevisionNotFoundError
from git_datareg.git import repository
from tests.support.gitrun import Git


@pytest.fixture
def git(tmp_path: Path) -> Git:
    git = Git(tmp_path / "repository").init()
    git.write("sub/file", b"x")
    git.commit_all()
    return git


def test_the_repository_around_a_directory_is_found(git: Git) -> None:
    found = repository.find(str(git.path / "sub"))
    assert found.work_tree == found.top == str(git.path)
    assert found.places.git_dir == found.places.common_dir == f"{git.path}/.git"
    assert found.object_format == "sha1"
    assert found.own


def test_the_current_directory_is_the_default(git: Git, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(git.path)
    assert repository.find() == repository.find(str(git.path))


@pytest.mark.parametrize("place", ["bare.git", "repository/.git"])
def test_without_a_work_tree_git_runs_in_the_git_directory(
    git: Git, tmp_path: Path, place: str
) -> None:
    Git(tmp_path / "bare.git").init("--bare", "--object-format=sha256")
    found = repository.find(str(tmp_path / place))
    assert found.work_tree is None
    assert found.top == str(tmp_path / place)
    assert found.object_format == ("sha256" if place == "bare.git" else "sha1")


def test_the_environment_names_the_work_tree_from_anywhere(
    git: Git, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", str(git.path / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(git.path))
    assert repository.find(str(tmp_path)).work_tree == str(git.path)


def test_a_path_may_hold_what_it_likes_but_line_breaks(tmp_path: Path) -> None:
    odd = Git(tmp_path / os.fsdecode(b"a b'\xe9\t")).init()
    assert repository.find(str(odd.path)).top == str(odd.path)
    broken = Git(tmp_path / "a\nb").init()
    with pytest.raises(GitError, match="line breaks"):
        repository.find(str(broken.path))


def test_where_there_is_none_none_is_found(tmp_path: Path) -> None:
    with pytest.raises(RepositoryNotFoundError, match=f"not a git repository: {tmp_path}"):
        repository.find(str(tmp_path))


def test_a_broken_repository_is_gits_failure(git: Git) -> None:
    (git.path / ".git/config").write_text("[core\n")
    with pytest.raises(GitError, match="bad config line 1"):
        repository.find(str(git.path))


def test_a_foreign_repository_is_exactly_where_it_is_named(git: Git, tmp_path: Path) -> None:
    assert repository.open_foreign(str(git.path)).top == str(git.path)
    assert not repository.open_foreign(str(git.path)).own
    for path in (git.path / "sub", tmp_path, tmp_path / "nothing"):
        with pytest.raises(RepositoryNotFoundError, match=str(path)):
            repository.open_foreign(str(path))


def test_a_foreign_repository_is_not_the_one_that_git_set_us_on(
    git: Git, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Git(tmp_path / "other").init()
    monkeypatch.setenv("GIT_DIR", str(git.path / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", "elsewhere")
    found = repository.open_foreign(str(other.path))
    assert found.places.git_dir == f"{other.path}/.git"
    assert found.places.index_file == f"{other.path}/.git/index"
    assert found.run("rev-parse", "--absolute-git-dir") == f"{other.path}/.git\n".encode()
    assert repository.find().run("rev-parse", "--absolute-git-dir") == (
        f"{git.path}/.git\n".encode()
    )


def test_a_foreign_repository_runs_no_program_of_its_own(git: Git, tmp_path: Path) -> None:
    script = git.path / ".git/monitor"
    script.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    script.chmod(0o755)
    git.run("config", "core.fsmonitor", str(script))
    repository.open_foreign(str(git.path)).run("status")
    assert not (tmp_path / "ran").exists()


def test_a_revision_is_resolved_to_a_commit(git: Git) -> None:
    git.run("tag", "--annotate", "--message", "x", "v1")
    found = repository.find(str(git.path))
    for name in ("HEAD", "v1", "main", git.head()[:8], "v1~0"):
        assert found.resolve(name) == git.head()


@pytest.mark.parametrize("name", ["nothing", "HEAD:sub", "-x", "--all", "", "main~9", "^main"])
def test_what_is_no_commit_is_no_revision(git: Git, name: str) -> None:
    with pytest.raises(RevisionNotFoundError):
        repository.find(str(git.path)).resolve(name)
