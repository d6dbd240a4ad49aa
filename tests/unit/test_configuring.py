from __future__ import annotations

from pathlib import Path

import pytest

from git_datareg import configuring
from git_datareg.configuring import NewStorage
from git_datareg.errors import (
    RefusedError,
    StorageNotConfiguredError,
    TargetExistsError,
    UsageError,
)
from git_datareg.git import repository
from git_datareg.git.repository import Repository
from tests.support.gitrun import Git


@pytest.fixture
def top(tmp_path: Path) -> Path:
    return Git(tmp_path / "repository").init().path


@pytest.fixture
def opened(top: Path) -> Repository:
    return repository.find(str(top))


def text(top: Path) -> str:
    return (top / ".datareg").read_text()


def test_the_file_is_created_once(top: Path, opened: Repository) -> None:
    configuring.create(opened)
    assert text(top) == "[datareg]\n\tversion = 1\n"
    (top / ".datareg").write_text("; mine\n")
    configuring.create(opened)
    assert text(top) == "; mine\n"


def test_a_storage_is_added_and_removed_with_its_being_the_default(
    top: Path, opened: Repository
) -> None:
    configuring.add_storage(opened, NewStorage("a", "s3://bucket"), default=True)
    configuring.add_storage(opened, NewStorage("b", "s3://other"), default=False)
    assert "\tstorage = a\n" in text(top)
    configuring.set_default_storage(opened, "b")
    assert "\tstorage = b\n" in text(top)
    configuring.remove_storage(opened, "b")
    assert text(top) == '[datareg]\n\tversion = 1\n[storage "a"]\n\turl = s3://bucket\n'


def test_what_a_storage_may_not_be(opened: Repository) -> None:
    configuring.add_storage(opened, NewStorage("a", "/a"), default=False)
    with pytest.raises(TargetExistsError):
        configuring.add_storage(opened, NewStorage("a", "/b"), default=False)
    for name in ("", "a.b", "a b", 'a"'):
        with pytest.raises(UsageError, match="not a name"):
            configuring.add_storage(opened, NewStorage(name, "/b"), default=False)
    with pytest.raises(UsageError, match="credentials"):
        configuring.add_storage(opened, NewStorage("b", "https://user:secret@host/"), default=False)
    for change in (configuring.remove_storage, configuring.set_default_storage):
        with pytest.raises(StorageNotConfiguredError, match="no storage named 'c'"):
            change(opened, "c")


def test_what_else_is_said_of_a_storage_is_there_for_all(top: Path, opened: Repository) -> None:
    new = NewStorage("a", "s3://b", "https://s3.example.org", "r", True, ("*.a", "x"), ("*.c",))
    configuring.add_storage(opened, new, default=False)
    configuring.add_storage(opened, new, default=False)
    assert sorted(text(top).partition('[storage "a"]\n\t')[2].strip().split("\n\t")) == [
        "endpoint = https://s3.example.org",
        "exclude = *.c",
        "include = *.a",
        "include = x",
        "readonly = true",
        "region = r",
        "url = s3://b",
    ]
    # Who names the endpoint trusts it; others are asked to say so.
    config = Git(top).out("config", "--local", "datareg.a.endpoint")
    assert config == "https://s3.example.org"
    with pytest.raises(UsageError, match="credentials"):
        configuring.add_storage(
            opened, NewStorage("c", "s3://b", "https://u:p@host"), default=False
        )


def test_the_threshold_is_kept_as_it_was_said(top: Path, opened: Repository) -> None:
    assert configuring.set_threshold(opened, "100k") == 102400
    assert "\tthreshold = 100k\n" in text(top)
    with pytest.raises(UsageError):
        configuring.set_threshold(opened, "many")


def test_patterns_are_tracked_listed_and_untracked(top: Path, opened: Repository) -> None:
    (top / "dir").mkdir()
    assert configuring.track(opened, str(top), ["a", "dir", "./b", "a"]) == {
        "a": True,
        "dir/**": True,
        "/b": True,
    }
    assert configuring.track(opened, str(top), ["a", "c"]) == {"a": False, "c": True}
    assert configuring.track(opened, str(top / "dir"), ["d"]) == {"d": True}
    assert configuring.tracked_patterns(opened, str(top)) == ["a", "dir/**", "/b", "c"]
    assert configuring.tracked_patterns(opened, str(top / "dir"))[-1] == "d"
    gone = configuring.untrack(opened, str(top), ["dir/", "./b", "d"])
    assert gone == {"dir/": "dir/**", "./b": "/b", "d": None}
    assert configuring.tracked_patterns(opened, str(top)) == ["a", "c"]


def test_a_pattern_that_git_would_ignore_changes_nothing(top: Path, opened: Repository) -> None:
    for pattern in ("!a", "", "../a", "a/..", "[attr]a", "x" * 2048):
        with pytest.raises(UsageError):
            configuring.track(opened, str(top), ["good", pattern])
    assert not (top / ".gitattributes").exists()


def test_symlinks_are_refused(top: Path, opened: Repository) -> None:
    for name in (".gitattributes", ".datareg"):
        (top / name).symlink_to("elsewhere")
    with pytest.raises(RefusedError):
        configuring.track(opened, str(top), ["a"])
    with pytest.raises(RefusedError):
        configuring.create(opened)
    assert not (top / "elsewhere").exists()


def test_there_must_be_files_here(top: Path, opened: Repository, tmp_path: Path) -> None:
    bare = repository.find(str(Git(tmp_path / "bare.git").init("--bare").path))
    with pytest.raises(UsageError, match="bare"):
        configuring.create(bare)
    with pytest.raises(UsageError, match="no work tree"):
        configuring.tracked_patterns(bare, bare.top)
    with pytest.raises(UsageError, match="outside"):
        configuring.track(opened, str(tmp_path), ["a"])
