from __future__ import annotations

import os
from pathlib import Path

import pytest

from git_datareg.git import places
from tests.support.gitrun import Git


def as_git_says(git: Git, env: dict[str, str] | None = None) -> list[str]:
    names = ("--git-dir", "--git-common-dir", "--git-path", "index")
    return git.run("rev-parse", "--path-format=absolute", *names, env=env).stdout.splitlines()


@pytest.fixture
def git(tmp_path: Path) -> Git:
    git = Git(tmp_path / "repository").init()
    git.run("commit", "--quiet", "--allow-empty", "--message", "x")
    return git


def test_a_repository_is_found_at_its_top(git: Git) -> None:
    found = places.find(str(git.path), {})
    assert found is not None
    assert list(found) == as_git_says(git)
    assert found.own_objects == f"{git.path}/.git/datareg"


def test_a_linked_worktree_shares_the_objects(git: Git, tmp_path: Path) -> None:
    git.run("worktree", "add", "--quiet", str(tmp_path / "linked"))
    found = places.find(str(tmp_path / "linked"), {})
    assert found is not None
    assert list(found) == as_git_says(Git(tmp_path / "linked"))
    assert found.own_objects == f"{git.path}/.git/datareg"


def test_a_submodule_has_its_own(git: Git, tmp_path: Path) -> None:
    allow = ("-c", "protocol.file.allow=always")
    git.run(*allow, "submodule", "--quiet", "add", str(git.path), "module")
    found = places.find(str(git.path / "module"), {})
    assert found is not None
    assert list(found) == as_git_says(Git(git.path / "module"))


@pytest.mark.parametrize("bare", [False, True])
def test_the_environment_names_it(git: Git, tmp_path: Path, bare: bool) -> None:
    other = Git(tmp_path / "other").init(*(["--bare"] if bare else []))
    env = {"GIT_DIR": str(other.path if bare else other.path / ".git"), "GIT_INDEX_FILE": "my"}
    found = places.find(str(git.path), env)
    assert found is not None
    assert list(found) == as_git_says(git, env)


def test_a_relative_variable_is_read_where_git_is(git: Git) -> None:
    found = places.find(str(git.path), {"GIT_DIR": ".git", "GIT_COMMON_DIR": "."})
    assert found is not None
    assert (found.git_dir, found.common_dir) == (f"{git.path}/.git",) * 2


def test_a_bare_repository_is_its_own_place(tmp_path: Path) -> None:
    bare = Git(tmp_path / "bare.git").init("--bare")
    found = places.find(str(bare.path), {})
    assert found is not None
    assert list(found) == as_git_says(bare)


def test_what_git_alone_can_tell_is_left_to_it(git: Git, tmp_path: Path) -> None:
    (git.path / "sub").mkdir()
    (tmp_path / ".git").write_text("nonsense\n")
    for directory in (git.path / "sub", tmp_path, tmp_path / "nothing"):
        assert places.find(str(directory), {}) is None


def test_symlinks_on_the_way_make_no_other_repository(git: Git, tmp_path: Path) -> None:
    os.symlink(git.path, tmp_path / "link")
    assert places.find(str(tmp_path / "link"), {}) == places.find(str(git.path), {})


def test_what_is_no_file_does_not_name_a_repository(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / ".git")
    assert places.find(str(tmp_path), {}) is None
