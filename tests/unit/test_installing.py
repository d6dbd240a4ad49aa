from __future__ import annotations

import os
from pathlib import Path

import pytest

from git_datareg import installing
from git_datareg.errors import UsageError
from git_datareg.git import repository
from git_datareg.git.repository import Repository
from tests.support.gitrun import Git


@pytest.fixture
def git(tmp_path: Path) -> Git:
    return Git(tmp_path / "repository").init("--template=")


@pytest.fixture
def opened(git: Git) -> Repository:
    return repository.find(str(git.path))


def test_the_filter_is_configured_and_taken_out(git: Git, opened: Repository) -> None:
    before = (git.path / ".git/config").read_bytes()
    installing.configure(opened, "local")
    listed = git.out("config", "--local", "--get-regexp", "^filter").splitlines()
    assert listed == [
        "filter.datareg.process git-datareg filter-process",
        "filter.datareg.clean git-datareg clean -- %f",
        "filter.datareg.smudge git-datareg smudge -- %f",
        "filter.datareg.required true",
    ]
    assert installing.is_configured(opened)
    assert installing.unconfigure(opened, "local")
    assert not installing.is_configured(opened)
    assert not installing.unconfigure(opened, "local")
    assert (git.path / ".git/config").read_bytes() == before


def test_smudge_can_be_skipped_and_not_any_more(git: Git, opened: Repository) -> None:
    process = ("config", "filter.datareg.process")
    installing.configure(opened, "local", skip_smudge=True)
    assert git.out(*process) == "git-datareg filter-process --skip"
    installing.configure(opened, "local")
    assert git.out(*process) == "git-datareg filter-process"


def test_local_needs_a_repository() -> None:
    with pytest.raises(UsageError, match="--local needs a repository"):
        installing.configure(None, "local")


def test_hooks_are_made_executable_where_there_was_no_directory(
    git: Git, opened: Repository
) -> None:
    assert installing.install_hooks(opened) == ()
    names = sorted(path.name for path in (git.path / ".git/hooks").iterdir())
    assert names == ["post-checkout", "post-merge", "pre-push"]
    assert all(os.access(git.path / ".git/hooks" / name, os.X_OK) for name in names)
    installing.remove_hooks(opened)
    installing.remove_hooks(opened)
    assert not list((git.path / ".git/hooks").iterdir())


def test_an_older_hook_of_ours_is_brought_up_to_date(git: Git, opened: Repository) -> None:
    installing.install_hooks(opened)
    hook = git.path / ".git/hooks/pre-push"
    now = hook.read_bytes()
    hook.write_bytes(b"#!/bin/sh\n# Installed by git-datareg: in another way.\n")
    installing.install_hooks(opened)
    assert hook.read_bytes() == now
    hook.chmod(0o644)
    installing.install_hooks(opened)
    assert os.access(hook, os.X_OK)


def test_a_hook_is_made_for_new_data_where_there_is_none(git: Git, opened: Repository) -> None:
    assert installing.ensure_hooks(opened) == ()
    assert (git.path / ".git/hooks/pre-push").is_file()
    before = (git.path / ".git/hooks/pre-push").stat()
    assert installing.ensure_hooks(opened) == ()
    assert (git.path / ".git/hooks/pre-push").stat().st_mtime_ns == before.st_mtime_ns


def test_a_directory_of_hooks_that_is_shared_is_only_warned_about(
    git: Git, opened: Repository, tmp_path: Path
) -> None:
    (tmp_path / "hooks").mkdir()
    git.run("config", "core.hooksPath", str(tmp_path / "hooks"))
    [warning] = installing.ensure_hooks(opened)
    assert "run git datareg init" in warning
    assert not list((tmp_path / "hooks").iterdir())
    hook = tmp_path / "hooks/pre-push"
    hook.write_text('#!/bin/sh\ngit-datareg pre-push "$@"\n')
    assert installing.ensure_hooks(opened) != ()  # git would not run it
    hook.chmod(0o755)
    assert installing.ensure_hooks(opened) == ()
