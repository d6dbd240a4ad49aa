from __future__ import annotations

import errno
import pickle
from collections.abc import Iterator

import pytest

import git_datareg
from git_datareg import errors
from git_datareg.errors import DataregError, GitError, NotFoundError, PartialError


def all_kinds(top: type[DataregError] = DataregError) -> Iterator[type[DataregError]]:
    yield top
    for kind in top.__subclasses__():
        # Not those that another test file made up for itself.
        if kind.__module__ == errors.__name__:
            yield from all_kinds(kind)


each_kind = pytest.mark.parametrize("kind", list(all_kinds()))


@each_kind
def test_an_error_says_its_message_and_keeps_its_hints(kind: type[DataregError]) -> None:
    error = kind("no luck: a.png", "try again", "or don't")
    assert str(error) == error.message == "no luck: a.png"
    assert error.hints == ("try again", "or don't")
    assert repr(error).startswith(kind.__name__)


@each_kind
def test_an_error_survives_pickling(kind: type[DataregError]) -> None:
    error = pickle.loads(pickle.dumps(kind("no luck", "try again")))
    assert type(error) is kind
    assert (error.message, error.hints) == ("no luck", ("try again",))


def test_what_a_kind_adds_survives_pickling_too() -> None:
    git = pickle.loads(pickle.dumps(GitError("failed", stderr="fatal: no")))
    assert git.stderr == "fatal: no"
    part = PartialError("1 of 2 failed", failures=(NotFoundError("a", "b"),))
    (failure,) = pickle.loads(pickle.dumps(part)).failures
    assert (type(failure), failure.message, failure.hints) == (NotFoundError, "a", ("b",))


@each_kind
def test_the_tree_in_the_docstring_names_every_kind(kind: type[DataregError]) -> None:
    assert f" {kind.__name__} " in (errors.__doc__ or "").replace("\n", " \n ")


@each_kind
def test_every_kind_can_be_had_from_the_package(kind: type[DataregError]) -> None:
    assert getattr(git_datareg, kind.__name__) is kind


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("UsageError", 2),
        ("NotFoundError", 3),
        ("ObjectNotFoundError", 3),
        ("IsDirectoryError", 3),
        ("RefusedError", 4),
        ("TargetExistsError", 4),
        ("UnsafePathError", 4),
        ("StorageError", 5),
        ("StorageDeniedError", 5),
        ("CorruptError", 6),
        ("PointerError", 6),
        ("GitError", 128),
        ("RemoteProtocolError", 128),
        ("PartialError", 1),
    ],
)
def test_exit_codes_are_those_of_the_contract(name: str, code: int) -> None:
    assert getattr(errors, name).exit_code == code


@pytest.mark.parametrize(
    ("name", "python", "number"),
    [
        ("PathNotFoundError", FileNotFoundError, errno.ENOENT),
        ("ObjectNotFoundError", FileNotFoundError, errno.ENOENT),
        ("IsDirectoryError", IsADirectoryError, errno.EISDIR),
        ("TargetExistsError", FileExistsError, errno.EEXIST),
        ("StorageDeniedError", PermissionError, errno.EACCES),
        ("StorageReadOnlyError", OSError, errno.EROFS),
    ],
)
def test_python_people_catch_what_they_expect(
    name: str, python: type[OSError], number: int
) -> None:
    with pytest.raises(python) as caught:
        raise getattr(errors, name)("no luck", "try again")
    assert caught.value.errno == number
    assert isinstance(caught.value, DataregError)
