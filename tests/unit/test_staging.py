from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from git_datareg.errors import UnsafePathError
from git_datareg.files import umask
from git_datareg.staging import Staging

OLD = 1_500_000_000_123_456_789


@pytest.fixture
def top(tmp_path: Path) -> Path:
    (tmp_path / "building").mkdir()
    return tmp_path / "building/tree"


@pytest.fixture
def tree(top: Path) -> Iterator[Staging]:
    with Staging(str(top)) as tree:
        yield tree


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_nothing_is_made_before_the_first_file(top: Path, tree: Staging) -> None:
    assert os.listdir(top.parent) == []


def test_a_file_has_its_bytes_mode_and_mtime(top: Path, tree: Staging) -> None:
    result = tree.write(b"a/b", b"data\0", mtime_ns=OLD)
    assert result == (top / "a/b").lstat()
    assert (top / "a/b").read_bytes() == b"data\0"
    assert result.st_mtime_ns == OLD
    assert stat.S_IMODE(result.st_mode) == 0o666 & ~umask()
    executable = tree.write(b"a/c", b"", executable=True)
    assert stat.S_IMODE(executable.st_mode) == 0o777 & ~umask()
    assert executable.st_mtime_ns > OLD


def test_the_umask_that_holds_now_counts(top: Path, tree: Staging) -> None:
    before = os.umask(0o027)
    try:
        result = tree.write(b"a", b"", executable=True)
    finally:
        os.umask(before)
    assert stat.S_IMODE(result.st_mode) == 0o750


@pytest.mark.parametrize("size", [0, 1, 3_000_000])
def test_a_file_is_copied_from_a_descriptor(tmp_path: Path, top: Path, size: int) -> None:
    (tmp_path / "source").write_bytes(os.urandom(size))
    with Staging(top) as tree, open(tmp_path / "source", "rb") as source:
        result = tree.copy(b"x", source.fileno(), executable=True, mtime_ns=OLD)
    assert (top / "x").read_bytes() == (tmp_path / "source").read_bytes()
    assert (result.st_size, result.st_mtime_ns) == (size, OLD)
    assert stat.S_IMODE(result.st_mode) == 0o777 & ~umask()


def test_a_source_that_gets_shorter_is_a_fault(
    tmp_path: Path, tree: Staging, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "source").write_bytes(b"data")
    monkeypatch.setattr("git_datareg.staging.copy_into", lambda source, target, size: size - 1)
    with open(tmp_path / "source", "rb") as source, pytest.raises(OSError, match="shorter"):
        tree.copy(b"x", source.fileno())


def test_a_short_write_is_continued(
    top: Path, tree: Staging, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:3]))
    tree.write(b"x", b"0123456789")
    assert (top / "x").read_bytes() == b"0123456789"


def test_the_tree_itself_can_be_a_file_or_a_symlink(top: Path) -> None:
    with Staging(top) as tree:
        tree.write(b"", b"data")
    assert top.read_bytes() == b"data"
    with Staging(f"{top}2") as tree:
        tree.symlink(b"", b"elsewhere")
    assert os.readlink(f"{top}2") == "elsewhere"


def test_files_may_come_in_any_order(top: Path, tree: Staging) -> None:
    paths = [b"a", b"b/c", b"b/d/e", b"b/d/f/g", b"b/h", b"i", b"b/d/j", b"k/d/e", b"b/d/f/l"]
    for path in paths:
        tree.write(path, path)
    found = {os.fsencode(each.relative_to(top)) for each in top.rglob("*") if each.is_file()}
    assert found == set(paths)
    assert all((top / os.fsdecode(path)).read_bytes() == path for path in paths)


def test_no_more_directories_are_open_than_lie_on_one_way(top: Path) -> None:
    before = descriptors()
    with Staging(top) as tree:
        for number in range(50):
            tree.write(b"%d/a/b/file" % number, b"")
            assert descriptors() <= before + 5
    tree.close()
    assert descriptors() == before


def test_a_link_is_another_name_of_the_file(tmp_path: Path, top: Path, tree: Staging) -> None:
    (tmp_path / "here").write_bytes(b"data")
    result = tree.link(b"a/b", str(tmp_path / "here"))
    assert result.st_ino == (tmp_path / "here").stat().st_ino == (top / "a/b").stat().st_ino
    with pytest.raises(FileNotFoundError):
        tree.link(b"a/c", str(tmp_path / "nothing"))


def test_a_symlink_is_stored_as_it_is(top: Path, tree: Staging) -> None:
    result = tree.symlink(b"a/b", b"../\xff")
    assert os.readlink(os.fsencode(top / "a/b")) == b"../\xff"
    assert result == (top / "a/b").lstat()
    for path in (b".gitmodules", b"a/.GitModules"):
        with pytest.raises(UnsafePathError, match=r"\.gitmodules"):
            tree.symlink(path, b"x")


@pytest.mark.parametrize("path", [b"/a", b"a//b", b"a/../b", b".git/x", b"a/.GIT", b"a\0b", b"."])
def test_every_name_is_checked(tmp_path: Path, top: Path, tree: Staging, path: bytes) -> None:
    with open(os.devnull, "rb") as source:
        for step in (
            lambda: tree.write(path, b""),
            lambda: tree.copy(path, source.fileno()),
            lambda: tree.link(path, os.devnull),
            lambda: tree.symlink(path, b"x"),
        ):
            with pytest.raises(UnsafePathError):
                step()
    assert os.listdir(top.parent) == []


@pytest.mark.parametrize("second", [b"a", b"a/b"])
def test_a_name_that_is_taken_is_refused(tmp_path: Path, tree: Staging, second: bytes) -> None:
    (tmp_path / "here").touch()
    tree.write(b"a", b"")
    for step in (
        lambda: tree.write(second, b""),
        lambda: tree.link(second, str(tmp_path / "here")),
        lambda: tree.symlink(second, b"x"),
    ):
        with pytest.raises(UnsafePathError, match="same name"):
            step()


def test_a_symlink_in_the_tree_is_not_followed(tmp_path: Path, tree: Staging) -> None:
    (tmp_path / "outside").mkdir()
    tree.symlink(b"a", os.fsencode(tmp_path / "outside"))
    with pytest.raises(UnsafePathError, match="same name"):
        tree.write(b"a/b", b"")
    tree.symlink(b"c", os.fsencode(tmp_path / "outside/new"))
    with pytest.raises(UnsafePathError, match="same name"):
        tree.write(b"c", b"")
    assert os.listdir(tmp_path / "outside") == []


def test_after_a_refused_name_the_next_file_goes_where_it_should(top: Path, tree: Staging) -> None:
    tree.write(b"a/b", b"")
    with pytest.raises(UnsafePathError):
        tree.write(b"a/b/c/d", b"")
    tree.write(b"a/e", b"")
    tree.write(b"f/g", b"")
    assert sorted(os.listdir(top)) == ["a", "f"]
    assert sorted(os.listdir(top / "a")) == ["b", "e"]
    assert os.listdir(top / "f") == ["g"]
