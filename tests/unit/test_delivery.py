from __future__ import annotations

import pytest

from git_datareg import delivery
from git_datareg.digest import digest_of
from git_datareg.errors import (
    DataregError,
    IntegrityError,
    ObjectNotFoundError,
    PartialError,
    UnsafePathError,
)
from git_datareg.pointer import Pointer
from git_datareg.transfer import Failure

POINTER = Pointer(digest_of(b"x"), 1)


def _failure(path: bytes, error: type[DataregError]) -> Failure:
    return Failure(POINTER, path, error("no luck", "a hint"))


def test_one_fault_is_itself_with_its_file() -> None:
    error = delivery.combined([_failure(b"a", ObjectNotFoundError)], "here")
    assert isinstance(error, ObjectNotFoundError)
    assert (str(error), error.hints) == ("a: no luck", ("a hint",))


def test_many_faults_are_listed_and_their_code_is_the_one_they_share() -> None:
    same = [_failure(b"b", ObjectNotFoundError), _failure(b"a", ObjectNotFoundError)]
    error = delivery.combined(same, "here")
    assert isinstance(error, PartialError) and error.exit_code == 3
    assert [str(each) for each in error.failures] == ["a: no luck", "b: no luck"]
    assert delivery.combined([*same, _failure(b"c", IntegrityError)], "here").exit_code == 1


@pytest.mark.parametrize(
    ("paths", "twice"),
    [
        ([b"a", b"a"], "a"),
        ([b"dir/a", b"b", b"dir/a"], "dir/a"),
        ([b"a", b"a/b"], "a"),
        ([b"a/b/c/d", b"a/b"], "a/b"),
    ],
)
def test_a_name_that_a_tree_has_twice_is_refused(paths: list[bytes], twice: str) -> None:
    with pytest.raises(UnsafePathError, match=f"unsafe path '{twice}': the registry has it twice"):
        delivery._check_unique(paths)


def test_names_that_only_look_alike_are_fine() -> None:
    delivery._check_unique([b"a", b"a.b", b"A", b"ab/a", b"ab/c", b"b/ab"])
    delivery._check_unique([b""])
