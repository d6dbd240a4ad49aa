from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from git_datareg import delivery
from git_datareg.digest import digest_of
from git_datareg.errors import (
    DataregError,
    IntegrityError,
    ObjectNotFoundError,
    PartialError,
    RefusedError,
    StorageDeniedError,
    StorageUnavailableError,
    TargetExistsError,
    UnsafePathError,
)
from git_datareg.pointer import Pointer
from git_datareg.transfer import Failure

POINTER = Pointer(digest_of(b"x"), 1)


def build(place: delivery.Place, content: bytes = b"new") -> None:
    Path(place.new).mkdir()
    Path(place.new, "file").write_bytes(content)


def test_what_is_built_gets_its_name_in_one_step(tmp_path: Path) -> None:
    target = tmp_path / "target"
    with delivery.place_for(str(target)) as place:
        build(place)
        assert not target.exists()
        place.put_in_place(replace=False)
        assert (target / "file").read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["target"]


@pytest.mark.parametrize("kind", ["file", "directory", "empty directory", "link"])
def test_what_is_there_is_kept_or_replaced_and_comes_back(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "target"
    if kind == "file":
        target.write_bytes(b"old")
    elif kind == "link":
        target.symlink_to("old")
    else:
        target.mkdir()
    if kind == "directory":
        (target / "old").touch()
    inode = target.lstat().st_ino
    with delivery.place_for(str(target)) as place:
        build(place)
        with pytest.raises(TargetExistsError):
            place.put_in_place(replace=False)
        place.put_back()
        assert target.lstat().st_ino == inode
        place.put_in_place(replace=True)
        assert (target / "file").read_bytes() == b"new"
        place.put_back()
        assert target.lstat().st_ino == inode
    assert target.lstat().st_ino == inode
    assert os.listdir(tmp_path) == ["target"]


def test_a_new_target_can_be_taken_back(tmp_path: Path) -> None:
    with delivery.place_for(str(tmp_path / "target")) as place:
        build(place)
        place.put_in_place(replace=True)
        place.put_back()
    assert os.listdir(tmp_path) == []


def test_a_directory_keeps_its_permissions(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    target.chmod(0o2770)
    with delivery.place_for(str(target)) as place:
        build(place)
        place.put_in_place(replace=True)
    assert stat.S_IMODE(target.stat().st_mode) == 0o2770


@pytest.mark.parametrize("fault", [KeyboardInterrupt, ValueError, StorageUnavailableError("x")])
def test_after_a_fault_nothing_is_left_not_even_parents(
    tmp_path: Path, fault: type[BaseException] | BaseException
) -> None:
    (tmp_path / "there").mkdir()
    kind = fault if isinstance(fault, type) else type(fault)
    with pytest.raises(kind), delivery.place_for(str(tmp_path / "there/a/b/target")) as place:
        build(place)
        raise fault
    assert os.listdir(tmp_path) == ["there"]
    assert os.listdir(tmp_path / "there") == []


def test_parents_that_somebody_else_uses_by_now_stay(tmp_path: Path) -> None:
    with pytest.raises(ValueError), delivery.place_for(str(tmp_path / "a/b/target")):
        (tmp_path / "a/theirs").touch()
        raise ValueError
    assert os.listdir(tmp_path / "a") == ["theirs"]


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.EACCES, StorageDeniedError),
        (errno.EROFS, StorageDeniedError),
        (errno.ENOSPC, StorageUnavailableError),
        (errno.EIO, StorageUnavailableError),
    ],
)
def test_faults_of_this_machine_name_the_target(
    tmp_path: Path, number: int, kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with (
        pytest.raises(kind, match=f"can't write some/target: {os.strerror(number)}"),
        delivery.place_for("some/target"),
    ):
        raise OSError(number, os.strerror(number), "/some/temporary")
    assert os.listdir(tmp_path) == []


def test_only_what_nobody_holds_is_removed_from_beside_a_target(tmp_path: Path) -> None:
    (tmp_path / ".target.datareg-new-left").mkdir()
    (tmp_path / ".target.datareg-new-left/file").touch()
    (tmp_path / ".target.datareg-new-file").touch()
    (tmp_path / ".target.datareg-new-link").symlink_to(".target.datareg-new-left")
    (tmp_path / ".other.datareg-new-left").mkdir()
    with delivery.place_for(str(tmp_path / "target")) as first:
        build(first)
        with delivery.place_for(str(tmp_path / "target")) as second:
            assert os.path.exists(first.new)
            build(second)
            second.put_in_place(replace=False)
    assert sorted(os.listdir(tmp_path)) == [
        ".other.datareg-new-left",
        ".target.datareg-new-file",
        ".target.datareg-new-link",
        "target",
    ]


@pytest.mark.parametrize("name", ["x" * 255, "ü" * 127, "\udcff" * 200])
def test_long_names_are_no_trouble(tmp_path: Path, name: str) -> None:
    with delivery.place_for(str(tmp_path / name)) as place:
        build(place)
        place.put_in_place(replace=False)
    assert os.listdir(tmp_path) == [name]


def test_what_is_neither_file_nor_directory_is_never_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(TargetExistsError):
        delivery.check_free(str(tmp_path / "pipe"), "pipe", replace=False)
    with pytest.raises(RefusedError, match="neither a file nor a directory: pipe"):
        delivery.check_free(str(tmp_path / "pipe"), "pipe", replace=True)
    with pytest.raises(RefusedError, match="neither a file nor a directory: /dev/null"):
        delivery.check_free(os.devnull, os.devnull, replace=True)


def test_a_repository_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / ".git").write_bytes(b"gitdir: elsewhere\n")
    for replace in (True, False):
        with pytest.raises(RefusedError, match="a Git repository is there: it"):
            delivery.check_free(str(tmp_path), "it", replace=replace)


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
