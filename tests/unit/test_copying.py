"""git_datareg.copying: the same bytes, whatever the system can do, and no more room than before."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest

from git_datareg import copying
from git_datareg.copying import copy_into
from git_datareg.files import new_file, write_all
from tests.support.disks import file_size_limit, other_disk, small_disk

__all__ = ["other_disk", "small_disk"]

MIB = 1 << 20


@pytest.mark.parametrize("size", [0, 1, 4096, 3 * MIB + 17])
def test_a_copy_has_the_same_bytes(tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    assert copied(tmp_path, tmp_path, content, size) == (size, content)


def copied(source: Path, target: Path, content: bytes, size: int) -> tuple[int, bytes]:
    """What `copy_into` returns, and what it wrote; positions are where they were."""
    (source / "source").write_bytes(content)
    with open(source / "source", "rb") as src, open(target / "target", "w+b") as dst:
        src.seek(min(3, len(content)))
        done = copy_into(src.fileno(), dst.fileno(), size)
        assert os.lseek(src.fileno(), 0, os.SEEK_CUR) == min(3, len(content))
        assert os.lseek(dst.fileno(), 0, os.SEEK_CUR) == 0
    return done, (target / "target").read_bytes()


def test_no_more_than_the_size_is_copied(tmp_path: Path) -> None:
    assert copied(tmp_path, tmp_path, b"0123456789", 4) == (4, b"0123")


def test_a_source_that_ends_early_is_told_by_the_count(tmp_path: Path) -> None:
    assert copied(tmp_path, tmp_path, b"0123456789", 4000) == (10, b"0123456789")


def test_a_copy_to_another_file_system_is_whole(tmp_path: Path, other_disk: Path) -> None:
    content = os.urandom(2 * MIB + 5)
    assert copied(tmp_path, other_disk, content, len(content)) == (len(content), content)


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP])
def test_where_the_kernel_does_not_copy_it_is_read_and_written(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "copy_file_range", refuse)
    content = os.urandom(2 * MIB + 5)
    assert copied(tmp_path, tmp_path, content, len(content)) == (len(content), content)


def test_a_copy_goes_on_where_the_kernel_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = os.copy_file_range, []

    def stop_after_two(src: int, dst: int, count: int, *offsets: int) -> int:
        calls.append(offsets)
        return real(src, dst, min(count, 1000), *offsets) if len(calls) < 3 else 0

    monkeypatch.setattr(os, "copy_file_range", stop_after_two)
    monkeypatch.setattr(copying, "_reflink", lambda *args: False)
    content = os.urandom(5000)
    assert copied(tmp_path, tmp_path, content, 5000) == (5000, content)
    assert calls == [(0, 0), (1000, 1000), (2000, 2000)]


def test_a_platform_without_kernel_copies_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "copy_file_range")
    assert copied(tmp_path, tmp_path, b"content", 7) == (7, b"content")


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real_pwrite, real_write = os.pwrite, os.write
    monkeypatch.delattr(os, "copy_file_range")
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: real_pwrite(fd, data[:7], at))
    monkeypatch.setattr(os, "write", lambda fd, data: real_write(fd, data[:7]))
    content = os.urandom(100)
    assert copied(tmp_path, tmp_path, content, 100) == (100, content)
    with open(tmp_path / "plain", "wb") as out:
        assert write_all(out.fileno(), content) == 100
    assert (tmp_path / "plain").read_bytes() == content


def test_a_reflink_is_asked_for_first_and_only_for_whole_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def clone(target: int, request: int, source: int) -> int:
        asked.append(request)
        return os.pwrite(target, os.pread(source, 100, 0), 0)

    def copy(*args: object) -> int:
        raise AssertionError("copied what was cloned")

    monkeypatch.setattr(fcntl, "ioctl", clone)
    assert copied(tmp_path, tmp_path, b"0123456789", 4) == (4, b"0123")
    assert asked == []
    monkeypatch.setattr(os, "copy_file_range", copy)
    assert copied(tmp_path, tmp_path, b"0123456789", 10) == (10, b"0123456789")
    assert asked == [0x40049409]


def test_a_full_disk_is_reported_by_the_copy(tmp_path: Path, small_disk: Path) -> None:
    with pytest.raises(OSError) as fault:
        copied(tmp_path, small_disk, b"x" * 2 * MIB, 2 * MIB)
    assert fault.value.errno == errno.ENOSPC


def test_a_failed_write_is_reported_by_the_copy(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"x" * 2 * MIB)
    source = os.open(tmp_path / "source", os.O_RDONLY)
    with (
        new_file(str(tmp_path)) as file,
        file_size_limit(MIB),
        pytest.raises(OSError, match="File too large"),
    ):
        copy_into(source, file.fileno(), 2 * MIB)
    os.close(source)


#: Data and holes: where they are, in MiB, of a file of 8 MiB.
HOLES = {
    "all data": [(0, 8)],
    "all hole": [],
    "a hole in the middle": [(0, 1), (6, 8)],
    "a hole at both ends": [(3, 4)],
    "several": [(1, 2), (3, 4), (5, 8)],
}


def with_holes(path: Path, extents: list[tuple[int, int]]) -> bytes:
    content = bytearray(8 * MIB)
    with path.open("wb") as file:
        file.truncate(len(content))
        for start, end in extents:
            data = b"x" * (end - start) * MIB
            os.pwrite(file.fileno(), data, start * MIB)
            content[start * MIB : end * MIB] = data
    return bytes(content)


@pytest.mark.parametrize("extents", HOLES.values(), ids=HOLES)
@pytest.mark.parametrize("size", [8 * MIB, 9 * MIB, 7 * MIB + 5, 3])
def test_a_copy_has_the_same_bytes_and_keeps_holes(
    tmp_path: Path, extents: list[tuple[int, int]], size: int
) -> None:
    content = with_holes(tmp_path / "a", extents)
    with (tmp_path / "a").open("rb") as source, (tmp_path / "b").open("w+b") as copy:
        source.seek(5)
        assert copy_into(source.fileno(), copy.fileno(), size) == min(size, len(content))
        assert os.lseek(source.fileno(), 0, os.SEEK_CUR) == 5
    assert (tmp_path / "b").read_bytes() == content[:size]
    assert (tmp_path / "b").stat().st_blocks <= (tmp_path / "a").stat().st_blocks
