"""git_datareg.targets: what is built beside a target, and put in place in one step."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from git_datareg import targets
from git_datareg.errors import (
    RefusedError,
    StorageDeniedError,
    StorageUnavailableError,
    TargetExistsError,
)


def build(place: targets.Place, content: bytes = b"new") -> None:
    Path(place.new).mkdir()
    Path(place.new, "file").write_bytes(content)


def test_what_is_built_gets_its_name_in_one_step(tmp_path: Path) -> None:
    target = tmp_path / "target"
    with targets.place_for(str(target)) as place:
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
    with targets.place_for(str(target)) as place:
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
    with targets.place_for(str(tmp_path / "target")) as place:
        build(place)
        place.put_in_place(replace=True)
        place.put_back()
    assert os.listdir(tmp_path) == []


def test_a_directory_keeps_its_permissions(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    target.chmod(0o2770)
    with targets.place_for(str(target)) as place:
        build(place)
        place.put_in_place(replace=True)
    assert stat.S_IMODE(target.stat().st_mode) == 0o2770


@pytest.mark.parametrize("fault", [KeyboardInterrupt, ValueError, StorageUnavailableError("x")])
def test_after_a_fault_nothing_is_left_not_even_parents(
    tmp_path: Path, fault: type[BaseException] | BaseException
) -> None:
    (tmp_path / "there").mkdir()
    kind = fault if isinstance(fault, type) else type(fault)
    with pytest.raises(kind), targets.place_for(str(tmp_path / "there/a/b/target")) as place:
        build(place)
        raise fault
    assert os.listdir(tmp_path) == ["there"]
    assert os.listdir(tmp_path / "there") == []


def test_parents_that_somebody_else_uses_by_now_stay(tmp_path: Path) -> None:
    with pytest.raises(ValueError), targets.place_for(str(tmp_path / "a/b/target")):
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
        targets.place_for("some/target"),
    ):
        raise OSError(number, os.strerror(number), "/some/temporary")
    assert os.listdir(tmp_path) == []


def test_only_what_nobody_holds_is_removed_from_beside_a_target(tmp_path: Path) -> None:
    (tmp_path / ".target.datareg-new-left").mkdir()
    (tmp_path / ".target.datareg-new-left/file").touch()
    (tmp_path / ".target.datareg-new-file").touch()
    (tmp_path / ".target.datareg-new-link").symlink_to(".target.datareg-new-left")
    (tmp_path / ".other.datareg-new-left").mkdir()
    with targets.place_for(str(tmp_path / "target")) as first:
        build(first)
        with targets.place_for(str(tmp_path / "target")) as second:
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
    with targets.place_for(str(tmp_path / name)) as place:
        build(place)
        place.put_in_place(replace=False)
    assert os.listdir(tmp_path) == [name]


def test_what_is_neither_file_nor_directory_is_never_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(TargetExistsError):
        targets.check_free(str(tmp_path / "pipe"), "pipe", replace=False)
    with pytest.raises(RefusedError, match="neither a file nor a directory: pipe"):
        targets.check_free(str(tmp_path / "pipe"), "pipe", replace=True)
    with pytest.raises(RefusedError, match="neither a file nor a directory: /dev/null"):
        targets.check_free(os.devnull, os.devnull, replace=True)


def test_a_repository_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / ".git").write_bytes(b"gitdir: elsewhere\n")
    for replace in (True, False):
        with pytest.raises(RefusedError, match="a Git repository is there: it"):
            targets.check_free(str(tmp_path), "it", replace=replace)


def test_what_another_takes_for_abandoned_before_it_is_locked_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = os.mkdir
    made: list[str] = []

    def mkdir(path: str | bytes, mode: int = 0o777) -> None:
        really(path, mode)
        made.append(os.fsdecode(path))
        if len(made) == 1:
            os.rmdir(path)

    monkeypatch.setattr(os, "mkdir", mkdir)
    with targets.place_for(str(tmp_path / "target")) as place:
        assert [os.path.dirname(place.new)] == made[1:]
        Path(place.new).write_bytes(b"new")
        place.put_in_place(replace=False)
    assert os.listdir(tmp_path) == ["target"]


def test_a_parent_that_another_makes_meanwhile_is_as_good_and_not_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = os.mkdir

    def mkdir(path: str | bytes, mode: int = 0o777) -> None:
        if os.fsdecode(path).endswith("/a"):
            really(path, mode)
        really(path, mode)

    monkeypatch.setattr(os, "mkdir", mkdir)
    with pytest.raises(ValueError), targets.place_for(str(tmp_path / "a/b/target")):
        raise ValueError
    assert os.listdir(tmp_path) == ["a"]
    assert os.listdir(tmp_path / "a") == []
