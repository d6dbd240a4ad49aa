"""git_datareg.upcoming: the next data files of a commit, and never many that Git leaves out."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from git_datareg.digest import digest_of
from git_datareg.git import repository
from git_datareg.pointer import Pointer
from git_datareg.upcoming import Upcoming
from tests.support.gitrun import Git

COUNT = 100


def path(number: int) -> bytes:
    # With directories whose names sort otherwise with the slash behind them.
    return b"%s/%03d" % ((b"a", b"a-b")[number % 2], number)


#: As Git comes to them.
PATHS = sorted(path(number) for number in range(COUNT))


def pointer(path: bytes) -> Pointer:
    return Pointer(digest_of(path), len(path))


@pytest.fixture(scope="module")
def git(tmp_path_factory: pytest.TempPathFactory) -> Git:
    git = Git(tmp_path_factory.mktemp("work")).init()
    for each in PATHS:
        git.write(each.decode(), pointer(each).encode())
    git.write("a/plain", b"no pointer")
    git.write("a/later", b"git-datareg pointer 2\nsomething\n")
    git.write("a/large", b"x" * 2000)
    (git.path / "a/link").symlink_to("000")
    git.commit_all()
    return git


@pytest.fixture
def upcoming(git: Git) -> Iterator[Upcoming]:
    upcoming = Upcoming(repository.find(str(git.path)), "HEAD")
    yield upcoming
    upcoming.close()


def after(upcoming: Upcoming, number: int, asked: list[bytes]) -> list[bytes]:
    found = upcoming.after(PATHS[number], asked)
    assert [each.pointer for each in found] == [pointer(each.path) for each in found]
    return [each.path for each in found]


def test_it_looks_as_far_ahead_again_as_git_has_come(upcoming: Upcoming) -> None:
    at, seen = 0, []
    while at < COUNT:
        found = after(upcoming, at, PATHS[:at])
        assert found == PATHS[at + 1 : at + 1 + len(found)]
        seen.append(len(found))
        at += 1 + len(found)
    assert seen == [16, 32, 49]


def test_after_a_gap_it_looks_no_farther_than_at_first(upcoming: Upcoming) -> None:
    assert len(after(upcoming, 0, [])) == 16
    assert len(after(upcoming, 17, PATHS[:17])) == 32
    assert len(after(upcoming, 60, PATHS[:50])) == 8


def test_what_is_not_ahead_is_not_looked_for(upcoming: Upcoming) -> None:
    assert after(upcoming, 20, []) != []
    for number in (20, 10, 22):
        assert after(upcoming, number, []) == []
    assert upcoming.after(b"a/nothing", []) == []


def test_the_last_file_has_nothing_after_it(upcoming: Upcoming) -> None:
    assert after(upcoming, COUNT - 1, []) == []


def test_a_commit_that_is_not_there_has_nothing(git: Git) -> None:
    upcoming = Upcoming(repository.find(str(git.path)), "f" * 40)
    assert upcoming.after(PATHS[0], []) == []
    upcoming.close()


def test_when_it_is_closed_nothing_comes_any_more(upcoming: Upcoming) -> None:
    after(upcoming, 0, [])
    upcoming.close()
    assert after(upcoming, 50, []) == []
