"""`git datareg gc`: what is here and elsewhere too is deleted by age and size, and no only copy."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from git_datareg import pruning
from git_datareg.objects import ObjectDirectory
from git_datareg.pruning import Policy
from git_datareg.transfer import no_progress
from tests.support.filtered import data, object_file
from tests.support.gitrun import Git, clone

DAY = 24 * 3600.0


@pytest.fixture
def git(tmp_path: Path) -> Git:
    """A repository that has pushed one data file, to a Git remote that is a directory."""
    Git(tmp_path / "remote.git").init("--bare")
    git = Git(tmp_path / "work").init()
    git.run("datareg", "init")
    git.run("datareg", "track", "*.dat")
    git.run("remote", "add", "origin", str(tmp_path / "remote.git"))
    git.write("pushed.dat", data("pushed"))
    git.commit_all("pushed")
    git.run("push", "--quiet", "--set-upstream", "origin", "main")
    return git


def own(git: Git) -> Path:
    return git.path / ".git/datareg"


def cache() -> Path:
    return Path(os.environ["GIT_DATAREG_CACHE"])


def age(place: Path, days: float) -> None:
    """Have everything in a place be so much older."""
    for path in place.rglob("*"):
        if path.is_file():
            found = path.stat()
            os.utime(path, (found.st_atime - days * DAY, found.st_mtime - days * DAY))


def gc(git: Git, *words: str) -> list[str]:
    """Collect; the digests of the objects that went."""
    listed = json.loads(git.out("datareg", "gc", "--json", *words))
    return [each["key"].replace("/", "")[-64:] for each in listed]


def has(place: Path, name: str) -> bool:
    return object_file(place, data(name)).is_file()


def test_what_is_stored_and_old_goes(git: Git) -> None:
    assert gc(git) == []
    age(own(git), 31)
    assert len(gc(git, "--dry-run")) == 1
    assert has(own(git), "pushed")
    assert len(gc(git)) == 1
    assert not has(own(git), "pushed")
    (git.path / "pushed.dat").unlink()
    git.run("checkout", "--", "pushed.dat")
    assert (git.path / "pushed.dat").read_bytes() == data("pushed")


def test_what_its_storage_has_lost_or_damaged_stays(git: Git, tmp_path: Path) -> None:
    there = object_file(tmp_path / "remote.git/datareg", data("pushed"))
    there.chmod(0o644)
    there.write_bytes(data("pushed")[:-1] + b"x")
    assert gc(git, "--older-than", "0") == []
    there.unlink()
    assert gc(git, "--older-than", "0") == []
    assert has(own(git), "pushed")


@pytest.mark.parametrize("way", ["pushed", "fetched", "storage", "cache", "by a symlink"])
def test_a_storage_that_is_here_is_no_copy(git: Git, tmp_path: Path, way: str) -> None:
    place = own(git)
    git.run("remote", "remove", "origin")
    git.run("remote", "add", "self", ".")
    git.write("new.dat", data("new"))
    git.commit_all("new")
    if way == "cache":
        ObjectDirectory(str(cache())).store(data("new"))
        place = cache()
    if way == "by a symlink":
        (tmp_path / "link").symlink_to(place)
        place = tmp_path / "link"
    if way == "pushed":
        git.run("push", "--quiet", "self", "main:copy")
    elif way != "fetched":
        git.run("config", "datareg.here.url", str(place))
        git.run("config", "datareg.storage", "here")
    git.run("fetch", "--quiet", "self")
    age(own(git), 100)
    # Most file systems note that it was just read, which alone would keep it; not all do.
    listed = json.loads(git.out("datareg", "gc", "--json", "--dry-run", "--older-than", "0"))
    assert [each["key"] for each in listed if each["key"].startswith(str(own(git)))] == []
    gc(git, "--older-than", "0")
    assert has(own(git), "new")


def test_where_others_push_nothing_is_deleted(git: Git, tmp_path: Path) -> None:
    git.run("push", "--quiet", "origin", "main:other")
    remote = Git(tmp_path / "remote.git")
    remote.run("update-ref", "-d", "refs/heads/other")
    remote.run("update-ref", "-d", "refs/heads/main")
    age(remote.path / "datareg", 100)
    assert gc(remote, "--older-than", "0") == []
    assert has(remote.path / "datareg", "pushed")


@pytest.mark.parametrize(
    "way", ["committed", "staged", "stashed", "stashed twice", "amended", "branch", "detached"]
)
def test_what_is_not_pushed_stays(git: Git, way: str) -> None:
    git.write("new.dat", data("new"))
    git.run("add", "new.dat")
    if way != "staged":
        if way == "branch":
            git.run("checkout", "--quiet", "-b", "other")
        if way == "detached":
            git.run("checkout", "--quiet", "--detach")
        if way.startswith("stashed"):
            git.run("stash", "--quiet")
            if way == "stashed twice":
                git.write("other.dat", data("other"))
                git.run("add", "other.dat")
                git.run("stash", "--quiet")
        else:
            git.run("commit", "--quiet", "--message", "new")
        if way == "amended":
            git.write("new.dat", data("newer"))
            git.run("add", "new.dat")
            git.run("commit", "--quiet", "--amend", "--message", "newer")
        if way == "branch":
            git.run("checkout", "--quiet", "main")
    age(own(git), 1000)
    assert len(gc(git, "--older-than", "0")) == 1
    assert has(own(git), "new")
    assert not has(own(git), "pushed")


@pytest.mark.parametrize("is_committed", [False, True])
def test_what_another_work_tree_needs_stays(git: Git, tmp_path: Path, is_committed: bool) -> None:
    git.run("worktree", "add", "--quiet", "--detach", str(tmp_path / "second"))
    second = Git(tmp_path / "second")
    second.write("new.dat", data("new"))
    second.run("add", "new.dat")
    if is_committed:
        second.run("commit", "--quiet", "--message", "new")
    age(own(git), 1000)
    assert len(gc(git, "--older-than", "0")) == 1
    assert has(own(git), "new")


def test_what_nothing_names_goes_after_two_weeks(git: Git) -> None:
    git.write("gone.dat", data("gone"))
    git.run("add", "gone.dat")
    git.run("reset", "--quiet")
    age(own(git), 13)
    gc(git, "--older-than", "0")
    assert has(own(git), "gone")
    age(own(git), 2)
    gc(git, "--older-than", "0")
    assert not has(own(git), "gone")


def test_what_is_added_again_is_as_young_as_new(git: Git) -> None:
    git.write("gone.dat", data("gone"))
    git.run("add", "gone.dat")
    git.run("reset", "--quiet")
    age(own(git), 100)
    git.write("again.dat", data("gone"))
    git.run("add", "again.dat")
    git.run("reset", "--quiet")
    gc(git)
    assert has(own(git), "gone")


def test_what_is_added_while_it_is_deleted_stays(git: Git, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = ObjectDirectory(str(own(git)))
    age(own(git), 100)
    (stored,) = pruning.stored(directory)
    found = pruning.Info(stored.path, stored.size, stored.used)
    rename = os.rename

    def added_before(source: bytes, target: bytes) -> None:
        os.utime(source)
        rename(source, target)

    monkeypatch.setattr(os, "rename", added_before)
    assert list(pruning.remove([found], no_progress)) == []
    monkeypatch.undo()
    assert has(own(git), "pushed")
    assert not list((own(git) / "tmp").iterdir())
    # It is as young as a new one by now.
    assert list(pruning.remove([found], no_progress)) == []


def test_the_cache_is_cut_by_age(git: Git, tmp_path: Path) -> None:
    cloned = clone(f"datareg::{tmp_path}/remote.git", tmp_path / "cloned")
    assert has(cache(), "pushed")
    assert gc(cloned) == []
    age(cache(), 31)
    assert len(gc(cloned, "--older-than", "40")) == 0
    assert len(gc(cloned)) == 1
    assert not has(cache(), "pushed")


def test_the_cache_is_cut_by_size_the_oldest_first(tmp_path: Path) -> None:
    directory = ObjectDirectory(str(cache()))
    names = ["a", "b", "c", "d"]
    for number, name in enumerate(names):
        directory.store(data(name, 1000))
        path = object_file(cache(), data(name, 1000))
        os.utime(path, (1_700_000_000 + number, 1_700_000_000 + number))
    outside = Git(tmp_path)
    gc(outside, "--older-than", "1024000", "--max-size", "2k")
    left = [name for name in names if object_file(cache(), data(name, 1000)).is_file()]
    assert left == ["c", "d"]


def test_the_configuration_says_how_old_and_how_large(git: Git) -> None:
    git.run("config", "datareg.gcOlderThan", "3")
    age(own(git), 4)
    assert len(gc(git, "--dry-run")) == 1
    git.run("config", "datareg.gcOlderThan", "5")
    assert gc(git, "--dry-run") == []
    ObjectDirectory(str(cache())).store(data("cached"))
    git.run("config", "datareg.gcMaxSize", "0")
    assert len(gc(git)) == 1
    assert not has(cache(), "cached")


def test_unpushed_data_stays_in_the_cache_too(git: Git) -> None:
    git.write("new.dat", data("new"))
    git.commit_all("new")
    ObjectDirectory(str(cache())).store(data("new"))
    age(cache(), 100)
    gc(git, "--older-than", "0", "--max-size", "0")
    assert has(cache(), "new")


def test_mirrors_that_nobody_uses_go(git: Git, tmp_path: Path) -> None:
    url = f"file://{tmp_path}/remote.git"
    directory = cache() / "mirrors"
    directory.mkdir(parents=True)
    subprocess.run(["git", "clone", "-q", "--bare", url, str(directory / "a.git")], check=True)
    lock = directory / "a.git.lock"
    lock.touch()
    gc(git, "--older-than", "0")
    assert (directory / "a.git").is_dir()
    os.utime(lock, (lock.stat().st_atime - 2 * 3600, lock.stat().st_mtime - 2 * 3600))
    gc(git, "--older-than", "0")
    assert sorted(each.name for each in directory.iterdir()) == ["a.git.lock"]


def test_without_anything_there_is_nothing_to_do(tmp_path: Path) -> None:
    done = Git(tmp_path).run("datareg", "gc")
    assert done.stdout == ""
    assert "0 files" in done.stderr


@pytest.mark.parametrize(
    "words",
    [("--grace", "3"), ("--storage", "--older-than", "3"), ("--max-size", "much")],
)
def test_words_that_do_not_go_together(git: Git, words: tuple[str, ...]) -> None:
    done = git.run("datareg", "gc", *words, check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_damaged_repository_loses_nothing(git: Git) -> None:
    (git.path / ".git/refs/heads/broken").write_text("1" * 40 + "\n")
    git.write("new.dat", data("new"))
    git.run("add", "new.dat")
    age(own(git), 100)
    git.run("datareg", "gc", "--older-than", "0", check=False)
    assert has(own(git), "new")


def test_a_policy_of_no_age_takes_all_that_is_stored(git: Git) -> None:
    directory = ObjectDirectory(str(cache()))
    directory.store(data("cached"))
    found = pruning.find(None, directory, Policy(0, None), 1)
    assert [each.size for each in found] == [len(data("cached"))]
