"""`git fetch`, `git pull` and `git ls-remote` through `datareg::`, as git's own do them."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from tests.support.filtered import data, pointer
from tests.support.gitrun import Git, clone
from tests.support.registries import SAME_TIME, Registry, copied, files_of, publish
from tests.support.shared import made_once

#: What is done in a clone whose registry went on since: one git command a line.
STORIES = {
    "fetch": "fetch origin",
    "fetch one": "fetch origin main",
    "fetch to a name": "fetch origin main:refs/heads/mine",
    "fetch all": "fetch --all --tags",
    "fetch and prune": "fetch --prune origin",
    "fetch forced": "fetch origin +refs/heads/*:refs/remotes/origin/*",
    "fetch no tags": "fetch --no-tags origin",
    "fetch a tag": "fetch origin tag v2",
    "fetch by id": "fetch origin {main}",
    "fetch nothing": "fetch origin\nfetch origin",
    "fetch dry": "fetch --dry-run origin",
    "fetch shallow": "fetch --depth=1 origin",
    "fetch atomic": "fetch --atomic origin",
    "fetch in parallel": "fetch --jobs=3 origin",
    "fetch again": "fetch --refetch origin",
    "fetch what is not there": "fetch origin nothing",
    "pull fast forward": "pull --ff-only",
    "pull merge": "commit -q --allow-empty -m mine\npull --no-rebase --no-edit",
    "pull rebase": "commit -q --allow-empty -m mine\npull --rebase",
    "pull refused": "commit -q --allow-empty -m mine\npull --ff-only",
    "remote update": "remote update",
    "remote show": "remote show origin",
    "remote set-head": "remote set-head origin --auto",
    "ls-remote": "ls-remote origin",
    "ls-remote of a pattern": "ls-remote --exit-code --heads origin main",
    "ls-remote without match": "ls-remote --exit-code origin nothing",
    "ls-remote symbolic": "ls-remote --symref origin",
}


def make(directory: Path) -> None:
    registry = publish(directory)
    clone(f"datareg::{registry.path}", directory / "clone")
    work = registry.work
    work.write("data/small.dat", data("third"))
    work.commit_all("third")
    work.run("tag", "--annotate", "--message", "two", "v2")
    work.run("branch", "ünïcode/it's+{odd}#1")
    work.run("push", "--quiet", "origin", "--delete", "other")
    work.run("push", "--quiet", "origin", "main", "v2", "ünïcode/it's+{odd}#1")


@pytest.fixture
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry, and a clone of its first state by each way; for reading only."""
    return made_once(tmp_path_factory, "fetches", make)


@pytest.fixture
def clones(template: Path, tmp_path: Path) -> list[Git]:
    """The clone as it was made, and as git alone would have it."""
    for name in ("ours", "plain"):
        registry = Registry(Git(template / "registry.git"), Git(template / "clone"))
        copied(registry, tmp_path / name)
    clones = [Git(tmp_path / name / "clone") for name in ("ours", "plain")]
    clones[0].run("remote", "set-url", "origin", "datareg::../registry.git")
    clones[1].run("remote", "set-url", "origin", "../registry.git")
    return clones


def tell(git: Git, story: str) -> list[tuple[int, str]]:
    """Exit code and output of each command."""
    told = []
    for line in story.splitlines():
        done = git.run(*shlex.split(line), check=False, env=SAME_TIME)
        told.append((done.returncode, done.stdout.replace("datareg::", "")))
    return told


def told_alike(ours: Git, plain: Git, text: str) -> None:
    """Tell two clones the same story, and hold them against each other."""
    if "{main}" in text:
        text = text.format(main=plain.out("ls-remote", "origin", "main")[:40])
    assert tell(ours, text) == tell(plain, text)
    questions = (
        ("for-each-ref", "--format=%(refname) %(tree) %(*objectname) %(symref) %(upstream:track)"),
        ("rev-list", "--count", "--all"),
        ("rev-parse", "HEAD^{tree}", "--is-shallow-repository"),
        ("status", "--porcelain"),
    )
    for question in questions:
        assert ours.out(*question) == plain.out(*question)
    assert files_of(ours) == files_of(plain)


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize("story", STORIES)
def test_it_does_what_gits_own_does(clones: list[Git], story: str) -> None:
    told_alike(*clones, STORIES[story])


def test_a_pull_brings_the_data(clones: list[Git]) -> None:
    clones[0].run("pull", "--quiet")
    assert (clones[0].path / "data/small.dat").read_bytes() == data("third")
    assert clones[0].status() == ""


def test_a_fetch_sets_up_a_repository_that_knew_nothing_of_us(
    template: Path, tmp_path: Path
) -> None:
    git = Git(tmp_path / "new").init()
    git.run("fetch", "--quiet", f"datareg::{template}/registry.git", "main")
    assert git.out("config", "filter.datareg.required") == "true"
    assert (git.path / ".git/hooks/pre-push").is_file()


def test_ls_remote_of_a_url_changes_nothing_here(template: Path, tmp_path: Path) -> None:
    git = Git(tmp_path / "new").init()
    before = (git.path / ".git/config").read_bytes()
    git.run("ls-remote", f"datareg::{template}/registry.git")
    assert (git.path / ".git/config").read_bytes() == before
    assert not (git.path / ".git/hooks/pre-push").exists()


def test_ls_remote_works_outside_of_repositories(template: Path, tmp_path: Path) -> None:
    ours = Git(tmp_path).out("ls-remote", f"datareg::{template}/registry.git")
    assert ours == Git(tmp_path).out("ls-remote", f"{template}/registry.git")


def test_a_second_fetch_does_not_write_hooks_again(clones: list[Git]) -> None:
    hook = clones[0].path / ".git/hooks/pre-push"
    before = hook.stat()
    clones[0].run("fetch", "--quiet")
    assert (hook.stat().st_ino, hook.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_repository_that_can_not_be_set_up_is_fetched_into_with_a_warning(
    template: Path, tmp_path: Path
) -> None:
    git = Git(tmp_path / "new").init()
    (git.path / ".git/config.lock").touch()
    done = git.run("fetch", f"datareg::{template}/registry.git", "main")
    assert "git-datareg: warning: git-datareg is not set up in" in done.stderr
    assert git.out("cat-file", "-t", "FETCH_HEAD") == "commit"


def test_a_fetch_in_a_subdirectory_and_in_a_linked_worktree(
    clones: list[Git], tmp_path: Path
) -> None:
    ours = clones[0]
    Git(ours.path / "data").run("fetch", "--quiet", "origin")
    ours.run("worktree", "add", "--quiet", str(tmp_path / "ours/linked"), "origin/main")
    linked = Git(tmp_path / "ours/linked")
    linked.run("fetch", "--quiet", "origin")
    assert (linked.path / "data/small.dat").read_bytes() == data("third")


def test_a_fetch_with_the_repository_in_the_environment(clones: list[Git], tmp_path: Path) -> None:
    top = clones[0].path
    clones[0].run("remote", "set-url", "origin", f"datareg::{top.parent}/registry.git")
    elsewhere = Git(tmp_path / "elsewhere").init()
    before = (elsewhere.path / ".git/config").read_bytes()
    elsewhere.run("pull", "--quiet", env={"GIT_DIR": f"{top}/.git", "GIT_WORK_TREE": str(top)})
    assert (top / "data/small.dat").read_bytes() == data("third")
    assert (elsewhere.path / ".git/config").read_bytes() == before


def test_a_repository_fetches_from_another_of_other_hash(template: Path, tmp_path: Path) -> None:
    git = Git(tmp_path / "new").init("--object-format=sha256")
    done = git.run("fetch", f"datareg::{template}/registry.git", "main", check=False)
    assert done.returncode == 128
    assert git.out("rev-list", "--all") == ""


def test_pointers_stay_where_they_are_wanted(clones: list[Git]) -> None:
    ours = clones[0]
    ours.run("datareg", "install", "--local", "--skip-smudge")
    ours.run("pull", "--quiet")
    assert (ours.path / "data/small.dat").read_bytes() == pointer(data("third"))
    assert ours.status() == ""
