"""Single steps of a check; whole ones, with all that users see, are in the integration tests."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from git_datareg import checking, needs
from git_datareg.checking import CACHE, OWN, Report, damage
from git_datareg.errors import (
    IntegrityError,
    ObjectNotFoundError,
    StorageNotConfiguredError,
    StorageUnavailableError,
    UsageError,
)
from git_datareg.lookups import CORRUPT, MISSING, UNREADABLE, WRONG_SIZE
from git_datareg.objects import ObjectDirectory
from tests.support.filtered import object_file
from tests.support.gitrun import Git
from tests.support.pointers import commit, made, no_source, opened, own, parsed, put

CONTENT = b"content of one object"
LARGE = bytes(range(256)) * 4097


@pytest.fixture
def git(tmp_path: Path) -> Git:
    return made(tmp_path)


def check(git: Git, *storages: str | None, reads: bool = False, jobs: int | None = None) -> Report:
    project = opened(git)
    scope = checking.scope(project, needs.of(project), storages, reads=reads)
    return checking.check(project, scope, no_source, jobs=jobs)


def told(report: Report) -> list[tuple[str, str, bytes | None]]:
    return [(each.kind, each.where, each.path) for each in report.problems]


# One object in a directory


def shortened(file: Path) -> None:
    file.write_bytes(CONTENT[:-1])


def changed(file: Path) -> None:
    file.write_bytes(CONTENT.upper())


def no_file(file: Path) -> None:
    file.unlink()
    file.mkdir()


def pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def link_to_the_object(file: Path) -> None:
    file.rename(file.with_name("elsewhere"))
    file.symlink_to("elsewhere")


def no_directory(file: Path) -> None:
    file.unlink()
    file.parent.rmdir()
    file.parent.write_bytes(b"")


@pytest.mark.parametrize(
    ("harm", "kind", "fault"),
    [
        (Path.unlink, MISSING, ObjectNotFoundError),
        (no_directory, MISSING, ObjectNotFoundError),
        (shortened, WRONG_SIZE, IntegrityError),
        (changed, CORRUPT, IntegrityError),
        (no_file, CORRUPT, IntegrityError),
        (pipe, CORRUPT, IntegrityError),
        (link_to_the_object, CORRUPT, IntegrityError),
    ],
)
def test_damage_is_told_by_its_kind(
    tmp_path: Path, harm: Callable[[Path], None], kind: str, fault: type[Exception]
) -> None:
    put(tmp_path, CONTENT)
    directory = ObjectDirectory(str(tmp_path))
    assert damage(directory, parsed(CONTENT)) is None
    harm(object_file(tmp_path, CONTENT))
    found = damage(directory, parsed(CONTENT))
    assert found is not None and found.kind == kind
    assert type(found.error) is fault
    assert parsed(CONTENT).digest.hex in found.error.message


def test_what_can_not_be_read_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, CONTENT)

    def broken(descriptor: int, buffers: object, offset: int) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "preadv", broken)
    found = damage(ObjectDirectory(str(tmp_path)), parsed(CONTENT))
    assert found is not None and found.kind == UNREADABLE
    assert isinstance(found.error, StorageUnavailableError)
    assert found.error.message == f"Input/output error: {object_file(tmp_path, CONTENT)}"


# A repository


@pytest.mark.parametrize("jobs", [1, 2, 8])
def test_large_and_small_objects_are_read(git: Git, jobs: int) -> None:
    commit(git, large=LARGE, small=CONTENT, broken=LARGE[::-1])
    put(own(git), LARGE, CONTENT, LARGE[::-1])
    object_file(own(git), LARGE[::-1]).write_bytes(LARGE)
    report = check(git, jobs=jobs)
    assert told(report) == [(CORRUPT, OWN, b"broken")]
    assert (report.needed, report.present, report.absent) == (3, 2, 0)


def test_both_copies_are_read_and_each_object_counts_once(git: Git) -> None:
    commit(git, a=CONTENT, b=CONTENT)
    cache = Path(os.environ["GIT_DATAREG_CACHE"])
    put(own(git), CONTENT)
    put(cache, CONTENT)
    assert check(git)[1:4] == (1, 1, 0)
    changed(object_file(cache, CONTENT))
    report = check(git)
    assert told(report) == [(CORRUPT, CACHE, b"a")]
    assert (report.present, report.absent) == (1, 0)
    assert not object_file(cache, CONTENT).exists()
    assert check(git).problems == []


def test_what_can_not_be_removed_from_the_cache_is_found_again(git: Git) -> None:
    commit(git, a=CONTENT)
    git.run("update-ref", "refs/remotes/origin/main", "main")
    object_file(Path(os.environ["GIT_DATAREG_CACHE"]), CONTENT).mkdir(parents=True)
    for _ in range(2):
        assert told(check(git)) == [(CORRUPT, CACHE, b"a")]


def test_what_is_to_be_read_is_known_before(git: Git, tmp_path: Path) -> None:
    commit(git, large=LARGE, small=CONTENT)
    put(own(git), LARGE, CONTENT)
    put(Path(os.environ["GIT_DATAREG_CACHE"]), CONTENT)
    put(tmp_path / "remote.git/datareg", LARGE, CONTENT)
    project = opened(git)
    needed = needs.of(project)
    here = len(LARGE) + 2 * len(CONTENT)
    # A directory is read, whether that was asked for or not.
    both = here + len(LARGE) + len(CONTENT)
    for storages, reads, expected in (
        ([], False, here),
        ([None], False, both),
        ([None], True, both),
    ):
        scope = checking.scope(project, needed, storages, reads=reads)
        assert scope.size == expected
        moved: list[int] = []
        checking.check(
            project, scope, no_source, advance=lambda size, _, moved=moved: moved.append(size)
        )
        assert sum(moved) == expected


def test_a_storage_that_can_not_be_asked_leaves_an_object_lost(git: Git, tmp_path: Path) -> None:
    commit(git, a=CONTENT)
    git.run("config", "datareg.gone.url", str(tmp_path / "not/there"))
    report = check(git)
    assert told(report) == [(MISSING, OWN, b"a")]
    assert "storage is not there" in report.problems[0].error.message
    put(tmp_path / "second", CONTENT)
    git.run("config", "datareg.second.url", str(tmp_path / "second"))
    assert check(git).problems == []
    # A part of it is nothing.
    shortened(object_file(tmp_path / "second", CONTENT))
    assert told(check(git)) == [(MISSING, OWN, b"a")]


def test_one_object_is_one_problem_in_each_place(git: Git, tmp_path: Path) -> None:
    commit(git, b=CONTENT, a=CONTENT)
    put(own(git), CONTENT)
    changed(object_file(own(git), CONTENT))
    git.run("config", "datareg.second.url", str(tmp_path / "second"))
    report = check(git, None, "second", None)
    assert told(report) == [
        (MISSING, "(embedded)", b"a"),
        (CORRUPT, OWN, b"a"),
        (MISSING, "second", b"a"),
    ]
    assert report.places == [("(embedded)", 1, 0), ("second", 1, 0)]
    assert report.unpushed == 1


def test_storages_are_opened_before_anything_is_read(git: Git) -> None:
    commit(git, a=CONTENT)
    project = opened(git)
    needed = needs.of(project)
    with pytest.raises(StorageNotConfiguredError, match="no storage named 'x'"):
        checking.scope(project, needed, ["x"])
    with pytest.raises(UsageError, match="no storage named 'main': it is a revision") as caught:
        checking.scope(project, needed, ["main"])
    assert caught.value.hints == ("git datareg fsck --storage -- main",)
    git.run("remote", "remove", "origin")
    with pytest.raises(StorageNotConfiguredError, match="no storage is configured"):
        checking.scope(opened(git), needed, [None])
    # Without a need there is no fault.
    assert checking.scope(opened(git), needs.Needs({}, [], []), [None]).places == []
