"""Copies of files: with shared blocks where the file system can, and with their holes.

Knows descriptors only, and no paths.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator

_BUFFER_SIZE = 1 << 20
#: The most that one copy_file_range(2) moves is 0x7ffff000; stay well aligned below it.
_RANGE_SIZE = 1 << 30
#: _IOW(0x94, 9, int), ioctl_ficlone(2).
_FICLONE = 0x40049409


def copy_into(src_fd: int, dst_fd: int, size: int) -> int:
    """Copy the first `size` bytes of one regular file into another, empty one.

    Shares the blocks where the file system can (reflink), else lets the kernel
    copy, else reads and writes. Holes stay holes. Neither file's position is used or moved.
    Returns the bytes copied: less than `size` only where the source ends before.
    """
    found = os.fstat(src_fd)
    if found.st_size == size and _reflink(src_fd, dst_fd):
        return size
    done = 0
    for start, end in _extents(src_fd, found, size):
        done = start + _copy_in_kernel(src_fd, dst_fd, start, end)
        done += _copy_through_memory(src_fd, dst_fd, done, end)
        if done < end:
            return done
    end = min(size, os.fstat(src_fd).st_size)
    if done < end:
        os.ftruncate(dst_fd, end)
    return max(done, end)


def _reflink(src_fd: int, dst_fd: int) -> bool:
    """Whether `dst_fd` now shares all blocks of `src_fd`; else it is as it was."""
    try:
        fcntl.ioctl(dst_fd, _FICLONE, src_fd)
    except OSError:
        return False
    return True


def _extents(descriptor: int, found: os.stat_result, size: int) -> Iterator[tuple[int, int]]:
    """Where data is in the first `size` bytes of a file; all of it, if holes can't be told."""
    if found.st_blocks * 512 >= found.st_size:
        yield 0, size
        return
    at = 0
    try:
        # Opened once more: to look for data moves the position.
        looking = os.open(f"/dev/fd/{descriptor}", os.O_RDONLY)
    except OSError:
        yield 0, size
        return
    try:
        while at < size:
            start = os.lseek(looking, at, os.SEEK_DATA)
            at = min(size, os.lseek(looking, start, os.SEEK_HOLE))
            if start < at:
                yield start, at
    except OSError as error:
        # There is no more data, or the file system can't tell.
        if error.errno != errno.ENXIO:
            yield at, size
    finally:
        os.close(looking)


def _copy_in_kernel(src_fd: int, dst_fd: int, start: int, end: int) -> int:
    """Copy from `start` to `end` by copy_file_range(2) as far as it goes; returns the bytes copied.

    What stops it (EXDEV, EINVAL, ENOSYS, EOPNOTSUPP, or a 0 where the file
    system is wrong about the end) is left to the ordinary copy, which meets
    again every fault that matters, such as ENOSPC.
    """
    at = start
    try:
        while at < end:
            copied = os.copy_file_range(src_fd, dst_fd, min(end - at, _RANGE_SIZE), at, at)
            if not copied:
                break
            at += copied
    except (OSError, AttributeError):
        return at - start
    return at - start


def _copy_through_memory(src_fd: int, dst_fd: int, start: int, end: int) -> int:
    """Copy the bytes from `start` up to `end`; returns how many there were."""
    at = start
    while at < end:
        block = os.pread(src_fd, min(end - at, _BUFFER_SIZE), at)
        if not block:
            break
        while block:
            written = os.pwrite(dst_fd, block, at)
            at += written
            block = block[written:]
    return at - start
