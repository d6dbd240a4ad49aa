"""Hooks and other programs that git runs while its filter still lives."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.support.filtered import LARGE, data, leftovers, object_file, pointer
from tests.support.gitrun import Git, clone

CONTENTS = {f"{name}.dat": data(name, LARGE + ord(name)) for name in "abc"}


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Set up by `git datareg init`, with its hooks, and at a commit without data files."""
    git = Git(tmp_path_factory.mktemp("hooks") / "repository").init()
    git.run("datareg", "init")
    git.run("datareg", "track", "*.dat")
    git.commit_all("empty")
    git.run("checkout", "-q", "-b", "full")
    for path, content in CONTENTS.items():
        git.write(path, content)
        git.commit_all(path)
    git.run("checkout", "-q", "main")
    git.write("other.txt", b"text\n")
    git.commit_all("other")
    return git.path


@pytest.fixture
def git(template: Path, tmp_path: Path) -> Git:
    git = Git(Path(shutil.copytree(template, tmp_path / "repository", symlinks=True)))
    git.run("update-index", "-q", "--refresh")
    return git


def check(git: Git) -> None:
    for path, content in CONTENTS.items():
        assert (git.path / path).read_bytes() == content
    assert git.filter_use("status").cleans == 0
    assert git.status() == ""
    assert leftovers(git) == []


def write_hook(git: Git, name: str, text: str) -> None:
    path = git.path / ".git/hooks" / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


STORIES = {
    "checkout": ["checkout -q full"],
    "switch and back": ["switch -q full", "switch -q main", "switch -q full"],
    "merge": ["merge -q --no-edit full"],
    "merge fast forward": ["checkout -q -b old main~1", "merge -q full"],
    "rebase": ["checkout -q full", "rebase -q main"],
    "rebase by patches": ["checkout -q full", "rebase -q --apply main"],
    "pull": ["pull -q --no-rebase --no-edit . full"],
    "pull by rebase": ["checkout -q full", "pull -q --rebase . main"],
    "cherry-pick": ["cherry-pick main~1..full"],
    "reset": ["reset -q --hard full"],
}


@pytest.mark.parametrize("story", STORIES)
def test_hooks_and_filter_do_not_get_in_each_others_way(git: Git, story: str) -> None:
    for line in STORIES[story]:
        done = git.run(*line.split())
        assert "git-datareg: error" not in done.stderr
    if story == "rebase by patches":
        # `git apply` does not say which blob it writes, so the next status looks;
        # once, unless the files are as young as the index.
        for path in CONTENTS:
            os.utime(git.path / path, (1_000_000_000, 1_000_000_000))
        assert git.status() == ""
    check(git)


def test_our_hook_has_the_files_in_place_before_git_ends(git: Git, tmp_path: Path) -> None:
    ours = git.path / ".git/hooks/post-checkout"
    ours.rename(ours.with_name("ours"))
    write_hook(
        git,
        "post-checkout",
        f'cp a.dat {tmp_path}/before\n"$(dirname "$0")/ours" "$@"\ncp a.dat {tmp_path}/after',
    )
    git.run("checkout", "-q", "full")
    assert (tmp_path / "before").read_bytes() == pointer(CONTENTS["a.dat"])
    assert (tmp_path / "after").read_bytes() == CONTENTS["a.dat"]
    check(git)


def test_a_foreign_hook_is_kept_and_told_the_same(git: Git, tmp_path: Path) -> None:
    for name in ("post-checkout", "post-merge"):
        (git.path / ".git/hooks" / name).unlink()
        write_hook(git, name, f'echo {name} "$@" >>{tmp_path}/log')
    git.run("datareg", "init")
    git.run("checkout", "-q", "full")
    git.run("checkout", "-q", "main")
    git.run("merge", "-q", "--no-edit", "full")
    lines = (tmp_path / "log").read_text().splitlines()
    old, new = git.out("rev-parse", "main~1"), git.out("rev-parse", "full")
    assert lines == [
        f"post-checkout {old} {new} 1",
        f"post-checkout {new} {old} 1",
        "post-merge 0",
    ]
    check(git)


def test_a_foreign_hook_that_fails_still_fails(git: Git) -> None:
    (git.path / ".git/hooks/post-checkout").unlink()
    write_hook(git, "post-checkout", "exit 7")
    git.run("datareg", "init")
    assert git.run("checkout", "-q", "full", check=False).returncode == 1
    check(git)


def test_a_hook_that_changes_a_file_wins(git: Git) -> None:
    write_hook(git, "post-checkout", "echo changed >a.dat")
    git.run("checkout", "-q", "full")
    assert (git.path / "a.dat").read_bytes() == b"changed\n"
    assert git.status() == " M a.dat"


def test_programs_that_a_rebase_runs_see_the_data(git: Git) -> None:
    git.run("checkout", "-q", "full")
    seen = git.path.parent / "seen"
    git.run("rebase", "-q", "--exec", f"wc -c -- *.dat | tail -n 1 >>{seen}", "main")
    sizes = [len(content) for content in CONTENTS.values()]
    totals = [int(line.split()[0]) for line in seen.read_text().splitlines()]
    assert totals == [sum(sizes[:1]), sum(sizes[:2]), sum(sizes)]
    check(git)


def test_programs_that_a_bisection_runs_see_the_data(git: Git) -> None:
    git.run("checkout", "-q", "full")
    git.run("bisect", "start", "full", "main~1")
    git.run("bisect", "run", "sh", "-c", "! grep -q . b.dat || ! test $(wc -c <b.dat) -gt 1000000")
    assert git.out("show", "-s", "--format=%s", "refs/bisect/bad") == "b.dat"
    git.run("bisect", "reset")
    check(git)


def test_aliases_and_hooks_of_commits_see_the_data(git: Git, tmp_path: Path) -> None:
    git.run("checkout", "-q", "full")
    write_hook(git, "pre-commit", f"cp a.dat {tmp_path}/seen")
    git.write("more.txt", b"text\n")
    git.commit_all()
    assert (tmp_path / "seen").read_bytes() == CONTENTS["a.dat"]
    check(git)


def test_a_plain_clone_whose_filter_is_configured_for_all_stores_what_it_pushes(
    tmp_path: Path,
) -> None:
    remote = tmp_path / "remote.git"
    Git(tmp_path).run("init", "-q", "--bare", str(remote))
    Git(tmp_path).run("datareg", "install", "--global")
    copy = clone(remote, tmp_path / "copy")
    copy.write(".gitattributes", b"*.dat filter=datareg -text -merge -diff\n")
    copy.write("x.dat", b"content")
    copy.commit_all()
    copy.run("push", "-q", "origin", "HEAD")
    assert object_file(remote / "datareg", b"content").read_bytes() == b"content"


def test_without_a_hook_in_a_shared_directory_a_warning_says_so(git: Git, tmp_path: Path) -> None:
    shutil.rmtree(git.path / ".git/hooks", ignore_errors=True)
    git.run("config", "core.hooksPath", str(tmp_path / "hooks"))
    git.write("new.dat", b"new")
    done = git.run("add", "new.dat")
    assert "run git datareg init" in done.stderr
    assert not (tmp_path / "hooks").exists()
