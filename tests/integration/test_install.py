"""`git datareg init`, `install` and `uninstall`: what they write, keep and give back."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.filtered import object_file, pointer
from tests.support.gitrun import Git, clone
from tests.support.registries import (
    FILES,
    Registry,
    copied,
    files_of,
    path_without_us,
    publish,
    refs_of,
    run_unprivileged,
)

HOOKS = ("pre-push", "post-checkout", "post-merge")


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    return publish(tmp_path_factory.mktemp("published"))


@pytest.fixture
def git(tmp_path: Path) -> Git:
    """An empty repository."""
    return Git(tmp_path / "repository").init()


def hook(git: Git, name: str, text: str, mode: int = 0o755) -> Path:
    path = git.path / ".git/hooks" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(mode)
    return path


def everything(git: Git) -> dict[str, tuple[int, bytes]]:
    """Mode and content of each file that belongs to configuration and hooks."""
    paths = [git.path / ".git/config", git.path / ".datareg", git.path / ".gitattributes"]
    paths += (git.path / ".git/hooks").glob("*")
    return {str(path): (path.stat().st_mode, path.read_bytes()) for path in paths if path.exists()}


# init


def test_init_configures_filter_hooks_and_datareg(git: Git) -> None:
    git.run("datareg", "init")
    assert git.out("config", "--local", "filter.datareg.required") == "true"
    assert (git.path / ".datareg").read_text() == "[datareg]\n\tversion = 1\n"
    assert all(os.access(git.path / ".git/hooks" / name, os.X_OK) for name in HOOKS)


def test_init_again_changes_nothing(git: Git) -> None:
    git.run("datareg", "init", "--storage", "/srv/data")
    before = everything(git)
    times = {path: os.stat(path).st_mtime_ns for path in before if "/hooks/" in path}
    git.run("datareg", "init", "--storage", "/srv/data")
    git.run("datareg", "init")
    assert everything(git) == before
    assert {path: os.stat(path).st_mtime_ns for path in times} == times


def test_init_names_the_default_storage(git: Git) -> None:
    git.run("datareg", "init", "--storage", "s3://bucket/prefix")
    read = ("config", "--file=.datareg")
    assert git.out(*read, "storage.origin.url") == "s3://bucket/prefix"
    assert git.out(*read, "datareg.storage") == "origin"


def test_init_with_another_storage_is_refused(git: Git) -> None:
    git.run("datareg", "init", "--storage", "/srv/one")
    done = git.run("datareg", "init", "--storage", "/srv/two", check=False)
    assert done.returncode == 4
    assert "there is a storage 'origin' already: /srv/one" in done.stderr
    assert git.out("config", "--file=.datareg", "storage.origin.url") == "/srv/one"


def test_init_in_a_subdirectory_is_for_the_repository(git: Git) -> None:
    (git.path / "sub").mkdir()
    Git(git.path / "sub").run("datareg", "init")
    assert (git.path / ".datareg").is_file()
    assert not list((git.path / "sub").iterdir())


def test_init_in_a_bare_repository_sets_up_filter_and_hooks(tmp_path: Path) -> None:
    bare = Git(tmp_path / "bare.git").init("--bare")
    bare.run("datareg", "init")
    assert bare.out("config", "--local", "filter.datareg.required") == "true"
    assert (bare.path / "hooks/pre-push").is_file()
    done = bare.run("datareg", "init", "--storage", "/srv", check=False)
    assert done.returncode == 2
    assert "hint: git config datareg.origin.url URL" in done.stderr


def test_init_outside_of_a_repository_is_not_found(tmp_path: Path) -> None:
    done = Git(tmp_path).run("datareg", "init", check=False)
    assert done.returncode == 3
    assert done.stderr == f"git-datareg: error: not a git repository: {tmp_path}\n"


def test_init_in_a_linked_worktree_serves_all_of_them(git: Git, tmp_path: Path) -> None:
    git.run("commit", "--quiet", "--allow-empty", "--message", "x")
    git.run("worktree", "add", "--quiet", str(tmp_path / "linked"))
    Git(tmp_path / "linked").run("datareg", "init")
    assert (git.path / ".git/hooks/pre-push").is_file()
    assert (tmp_path / "linked/.datareg").is_file()


def test_a_read_only_directory_gives_one_clear_line(git: Git) -> None:
    git.run("datareg", "install", "--local")
    git.path.chmod(0o555)
    done = run_unprivileged(git, "datareg", "init")
    git.path.chmod(0o755)
    assert done.returncode != 0
    assert done.stderr.count("\n") == 1
    assert "Permission denied" in done.stderr


# install and uninstall


@pytest.mark.parametrize("scope", ["global", "system", "local"])
def test_install_makes_a_plain_url_transparent_and_uninstall_restores(
    published: Registry, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch, scope: str
) -> None:
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", str(tmp_path / "system"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "0")
    (tmp_path / "system").write_text("[core]\n\tpager = cat\n")
    cloned = clone(published.path, tmp_path / "clone")
    config = {
        "global": home / "gitconfig",
        "system": tmp_path / "system",
        "local": cloned.path / ".git/config",
    }
    before = {name: path.read_bytes() for name, path in config.items()}
    cloned.run("datareg", "install", f"--{scope}")
    assert [name for name in config if config[name].read_bytes() != before[name]] == [scope]
    cloned.run("rm", "--quiet", "--cached", "-r", ".")
    cloned.run("reset", "--quiet", "--hard")
    assert files_of(cloned) == FILES
    assert cloned.status() == ""
    cloned.run("datareg", "uninstall", f"--{scope}")
    assert {name: path.read_bytes() for name, path in config.items()} == before
    assert not any((cloned.path / ".git/hooks" / name).exists() for name in HOOKS)


def test_after_a_global_install_a_plain_clone_has_the_data(
    published: Registry, tmp_path: Path
) -> None:
    Git(tmp_path).run("datareg", "install")
    cloned = clone(published.path, tmp_path / "clone")
    assert files_of(cloned) == FILES
    assert cloned.status() == ""


def test_install_outside_of_a_repository_is_for_all(tmp_path: Path, home: Path) -> None:
    done = Git(tmp_path).run("datareg", "install")
    assert "installed (global configuration)" in done.stderr
    assert "filter-process" in (home / "gitconfig").read_text()
    assert Git(tmp_path).run("datareg", "install", "--local", check=False).returncode == 2


def test_install_again_changes_nothing(git: Git, home: Path) -> None:
    git.run("datareg", "install")
    before = everything(git), (home / "gitconfig").read_bytes()
    git.run("datareg", "install")
    assert (everything(git), (home / "gitconfig").read_bytes()) == before


def test_install_with_skip_smudge_leaves_pointers_until_installed_without(
    published: Registry, tmp_path: Path
) -> None:
    Git(tmp_path).run("datareg", "install", "--skip-smudge")
    cloned = clone(published.path, tmp_path / "clone")
    assert files_of(cloned)["data/small.dat"] == pointer(FILES["data/small.dat"])
    assert cloned.status() == ""
    cloned.run("datareg", "install")
    cloned.run("datareg", "pull")
    assert files_of(cloned) == FILES


def test_uninstall_of_what_is_not_there_is_no_fault(git: Git) -> None:
    for scope in ("global", "local"):
        done = git.run("datareg", "uninstall", f"--{scope}")
        assert f"not in the {scope} configuration" in done.stderr


def test_uninstall_without_a_global_configuration_is_no_fault(git: Git, home: Path) -> None:
    (home / "gitconfig").unlink()
    assert "not in" in git.run("datareg", "uninstall").stderr


def test_uninstall_keeps_the_hooks_where_the_filter_still_runs(git: Git) -> None:
    git.run("datareg", "init")
    done = git.run("datareg", "uninstall")
    assert "the hooks stay" in done.stderr
    assert (git.path / ".git/hooks/pre-push").is_file()
    git.run("datareg", "uninstall", "--local")
    assert not (git.path / ".git/hooks/pre-push").exists()


def test_two_scopes_at_once_are_wrong_usage(git: Git) -> None:
    done = git.run("datareg", "install", "--global", "--local", check=False)
    assert done.returncode == 2


def test_a_configuration_that_can_not_be_written_gives_one_clear_line(git: Git, home: Path) -> None:
    (home / "gitconfig.lock").touch()
    done = git.run("datareg", "install", check=False)
    assert done.returncode == 128
    assert done.stderr.count("\n") == 1
    assert "could not lock config file" in done.stderr


def test_after_a_global_install_a_plain_clone_pushes_its_data(
    published: Registry, tmp_path: Path
) -> None:
    registry = copied(published, tmp_path)
    registry.work.run("datareg", "install")
    cloned = clone(registry.path, tmp_path / "clone")
    cloned.write("data/new.dat", b"new")
    cloned.commit_all()
    cloned.run("push", "--quiet")
    assert object_file(registry.storage, b"new").is_file()


# Hooks of others


@pytest.fixture
def shared(published: Registry, tmp_path: Path) -> Registry:
    """A registry with a data file to push, whose publisher has no hooks."""
    registry = copied(published, tmp_path)
    registry.work.run("datareg", "uninstall", "--local")
    registry.work.run("datareg", "install")
    registry.work.write("data/new.dat", b"new")
    registry.work.commit_all()
    for name in HOOKS:
        (registry.work.path / ".git/hooks" / name).unlink()
    return registry


def test_a_foreign_hook_is_run_with_arguments_and_input_and_given_back(
    shared: Registry, tmp_path: Path
) -> None:
    work = shared.work
    theirs = hook(work, "pre-push", f'echo "$@" > {tmp_path}/told\ncat >> {tmp_path}/told')
    before = theirs.read_bytes()
    work.run("datareg", "init")
    work.run("push", "--quiet")
    told = (tmp_path / "told").read_text().splitlines()
    assert told[0] == "origin ../registry.git"
    assert told[1].startswith(f"refs/heads/main {work.head()} refs/heads/main ")
    assert object_file(shared.storage, b"new").is_file()
    work.run("datareg", "uninstall", "--local")
    work.run("datareg", "uninstall")
    assert theirs.read_bytes() == before
    assert not list(theirs.parent.glob("*.before-datareg"))


def test_a_foreign_hook_that_reads_nothing_does_no_harm(shared: Registry) -> None:
    hook(shared.work, "pre-push", "exit 0")
    shared.work.run("datareg", "init")
    shared.work.run("push", "--quiet")
    assert object_file(shared.storage, b"new").is_file()


def test_a_foreign_hook_that_declines_is_obeyed_before_anything_is_uploaded(
    shared: Registry,
) -> None:
    hook(shared.work, "pre-push", "echo not today >&2\nexit 3")
    shared.work.run("datareg", "init")
    before = refs_of(shared.remote)
    done = shared.work.run("push", check=False)
    assert done.returncode == 1
    assert "not today" in done.stderr
    assert refs_of(shared.remote) == before
    assert not object_file(shared.storage, b"new").exists()


def test_a_foreign_hook_that_git_would_not_run_is_not_run(shared: Registry) -> None:
    hook(shared.work, "pre-push", "exit 3", mode=0o644)
    shared.work.run("datareg", "init")
    shared.work.run("push", "--quiet")
    assert object_file(shared.storage, b"new").is_file()


def test_a_foreign_hook_that_is_a_symlink_stays_one(shared: Registry, tmp_path: Path) -> None:
    link = hook(shared.work, "pre-push", "")
    link.rename(tmp_path / "shared-hook")
    (tmp_path / "shared-hook").write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    link.symlink_to(tmp_path / "shared-hook")
    shared.work.run("datareg", "init")
    shared.work.run("push", "--quiet")
    assert (tmp_path / "ran").exists()
    shared.work.run("datareg", "uninstall", "--local")
    shared.work.run("datareg", "uninstall")
    assert link.readlink() == tmp_path / "shared-hook"


def test_a_foreign_post_checkout_hook_is_run_and_its_exit_code_kept(
    shared: Registry, tmp_path: Path
) -> None:
    hook(shared.work, "post-checkout", f'echo "$@" > {tmp_path}/told\nexit 7')
    shared.work.run("datareg", "init")
    done = shared.work.run("checkout", "--quiet", "v1", check=False)
    # Git makes 1 of it, as of any.
    assert done.returncode == 1
    assert len((tmp_path / "told").read_text().split()) == 3
    assert (shared.work.path / "data/large.dat").read_bytes() == FILES["data/large.dat"]


def test_a_hook_that_calls_us_itself_is_left_alone(shared: Registry) -> None:
    theirs = hook(shared.work, "pre-push", 'exec git datareg pre-push "$@"')
    before = theirs.read_bytes()
    shared.work.run("datareg", "init")
    assert theirs.read_bytes() == before
    shared.work.run("push", "--quiet")
    assert object_file(shared.storage, b"new").is_file()
    shared.work.run("datareg", "uninstall", "--local")
    shared.work.run("datareg", "uninstall")
    assert theirs.read_bytes() == before


def test_a_kept_hook_is_never_overwritten(git: Git) -> None:
    hook(git, "pre-push", "echo first")
    git.run("datareg", "init")
    # Another tool that puts its hook in the place of ours.
    hook(git, "pre-push", "echo second")
    before = everything(git)
    done = git.run("datareg", "init")
    assert "is another's hook, and so is" in done.stderr
    assert everything(git) == before


@pytest.mark.parametrize("relative", [False, True])
def test_the_directory_that_core_hookspath_names_is_used(
    shared: Registry, tmp_path: Path, relative: bool
) -> None:
    work = shared.work
    hooks = work.path / ".githooks" if relative else tmp_path / "hooks"
    hooks.mkdir()
    (hooks / "pre-push").write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    (hooks / "pre-push").chmod(0o755)
    work.run("config", "core.hooksPath", ".githooks" if relative else str(hooks))
    (work.path / "sub").mkdir()
    Git(work.path / "sub").run("datareg", "init")
    assert not (work.path / ".git/hooks/pre-push").exists()
    work.run("push", "--quiet")
    assert (tmp_path / "ran").exists()
    assert object_file(shared.storage, b"new").is_file()
    work.run("datareg", "uninstall", "--local")
    work.run("datareg", "uninstall")
    assert [path.name for path in hooks.iterdir()] == ["pre-push"]


def test_hooks_that_are_switched_off_are_warned_about(git: Git) -> None:
    git.run("config", "core.hooksPath", os.devnull)
    done = git.run("datareg", "init")
    assert "hooks are switched off (core.hooksPath is /dev/null)" in done.stderr


def test_a_checkout_goes_on_when_our_program_has_vanished(
    published: Registry, tmp_path: Path
) -> None:
    work = copied(published, tmp_path).work
    (work.path / ".git/datareg/pending").write_bytes(b"x")
    done = work.run("checkout", "-b", "new", check=False, env={"PATH": path_without_us()})
    assert done.returncode == 0
    assert "git-datareg is not on PATH; large files stay pointers" in done.stderr
