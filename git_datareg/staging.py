"""A tree that is being built under a temporary name, to get its own when it is whole.

Owns how its files are written: in one go, under their final names, for nobody
looks before the tree has its own. Does not know what is written, and puts
nothing in place. For a tree that others write to there is `worktree`.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from types import TracebackType

from git_datareg.copying import copy_into
from git_datareg.errors import UnsafePathError
from git_datareg.files import write_all
from git_datareg.worktree import check_relative_path, check_symlink_name

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW


class Staging:
    """A new tree named `path`, whose directory is there and ours alone; close it at the end.

    Files are given by paths relative to the tree, bytes with "/" between names;
    b"" is the tree itself, which then is that one file. Each is made anew: a
    name that is taken, or leads elsewhere, is an UnsafePathError. Directories
    are made as they are needed and held open while files in them follow each
    other, so that no name is ever looked up twice, and no symlink followed.
    The umask applies. Other faults are OSError, and leave what was written so
    far to whoever removes the tree. Nothing is synced. Not for several threads.
    """

    def __init__(self, path: str | bytes) -> None:
        parent, self._top = os.path.split(os.fsencode(path))
        #: Open directories from the tree's parent to where the last file went, and their names.
        self._chain = [os.open(parent or b".", os.O_RDONLY | os.O_DIRECTORY)]
        self._names: list[bytes] = []
        self._folder: bytes | None = None

    def __enter__(self) -> Staging:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the directories; more calls do nothing."""
        while self._chain:
            os.close(self._chain.pop())

    def write(
        self, relative: bytes, data: bytes, *, executable: bool = False, mtime_ns: int | None = None
    ) -> os.stat_result:
        """Make a file with these bytes, last written at `mtime_ns` (None: now); its stat data."""
        descriptor = self._new(relative, executable)
        try:
            if os.write(descriptor, data) != len(data):
                os.lseek(descriptor, 0, os.SEEK_SET)
                write_all(descriptor, data)
            return _finished(descriptor, mtime_ns)
        finally:
            os.close(descriptor)

    def copy(
        self, relative: bytes, source: int, *, executable: bool = False, mtime_ns: int | None = None
    ) -> os.stat_result:
        """Make a file with the bytes of an open one, by reflink where that can be; its stat data.

        Raises OSError (EIO) when the source becomes shorter meanwhile.
        """
        size = os.fstat(source).st_size
        descriptor = self._new(relative, executable)
        try:
            if copy_into(source, descriptor, size) != size:
                raise OSError(errno.EIO, "the source became shorter while it was copied")
            return _finished(descriptor, mtime_ns)
        finally:
            os.close(descriptor)

    def link(self, relative: bytes, existing: str | bytes) -> os.stat_result:
        """Give the file `existing` (trusted, no symlink) a second name; its stat data."""
        parent, name = self._place(relative)
        try:
            os.link(existing, name, dst_dir_fd=parent, follow_symlinks=False)
        except FileExistsError:
            raise _taken(relative) from None
        return os.stat(name, dir_fd=parent, follow_symlinks=False)

    def symlink(self, relative: bytes, target: bytes) -> os.stat_result:
        """Make a symlink to `target`, which is stored as it is; its stat data.

        A link named .gitmodules is refused, as Git does.
        """
        check_symlink_name(relative or self._top)
        parent, name = self._place(relative)
        try:
            os.symlink(target, name, dir_fd=parent)
        except FileExistsError:
            raise _taken(relative) from None
        return os.stat(name, dir_fd=parent, follow_symlinks=False)

    def _new(self, relative: bytes, executable: bool) -> int:
        """A new, empty file, open for writing."""
        parent, name = self._place(relative)
        try:
            return os.open(name, _NEW_FILE, 0o777 if executable else 0o666, dir_fd=parent)
        except FileExistsError:
            raise _taken(relative) from None

    def _place(self, relative: bytes) -> tuple[int, bytes]:
        """The open directory in which a file is to be, and its name there."""
        if not relative:
            self._enter([], relative)
            self._folder = None
            return self._chain[-1], self._top
        check_relative_path(relative)
        folder, _, name = relative.rpartition(b"/")
        if folder != self._folder:
            self._enter([self._top, *folder.split(b"/")] if folder else [self._top], relative)
            self._folder = folder
        return self._chain[-1], name

    def _enter(self, names: list[bytes], relative: bytes) -> None:
        """Open the directories on a way, and make them; those that are open already stay so."""
        same = 0
        for one, other in zip(self._names, names, strict=False):
            if one != other:
                break
            same += 1
        self._folder = None
        while len(self._names) > same:
            self._names.pop()
            os.close(self._chain.pop())
        for name in names[same:]:
            self._chain.append(_opened(self._chain[-1], name, relative))
            self._names.append(name)


def _opened(parent: int, name: bytes, relative: bytes) -> int:
    """The directory `name`, made unless it is there."""
    with suppress(FileExistsError):
        os.mkdir(name, dir_fd=parent)
    try:
        return os.open(name, _DIRECTORY, dir_fd=parent)
    except OSError as fault:
        # What is no directory was made here: the same name twice.
        if fault.errno in (errno.ELOOP, errno.ENOTDIR):
            raise _taken(relative) from None
        raise


def _finished(descriptor: int, mtime_ns: int | None) -> os.stat_result:
    if mtime_ns is not None:
        os.utime(descriptor, ns=(mtime_ns, mtime_ns))
    return os.fstat(descriptor)


def _taken(relative: bytes) -> UnsafePathError:
    return UnsafePathError(
        f"unsafe path {os.fsdecode(relative)!r}: another file, or a part of its path, "
        "has the same name here"
    )
