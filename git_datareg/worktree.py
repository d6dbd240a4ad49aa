"""A work tree: a directory whose content is not trusted.

Owns which names may be written below it, and writing there without following
a symlink, however the tree changes meanwhile. Does not know Git, its index or
pointers. Paths are bytes relative to the root with "/" between names, as Git
spells them.

Directories are opened name by name with O_NOFOLLOW at every call and never
remembered: a remembered "is a directory" was CVE-2021-21300.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from types import TracebackType

from git_datareg.copying import copy_into
from git_datareg.errors import UnsafePathError
from git_datareg.files import move_new, temporary_name, write_all

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
_PRESENT_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
#: Code points that HFS+ drops from names (utf8.c in Git).
_HFS_IGNORES = dict.fromkeys(
    (*range(0x200C, 0x2010), *range(0x202A, 0x202F), *range(0x206A, 0x2070), 0xFEFF)
)


class Directory:
    """The root of an untrusted tree, held open. Safe to use from several threads.

    Every method takes a path that `check_relative_path` allows and raises
    UnsafePathError for others, or when a symlink is on the way; nothing was
    changed then. Other faults are OSError. No fault leaves a temporary file.
    Nothing is synced to disk: like Git's, these files can be written again.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def open(cls, root: str | bytes) -> Directory:
        """Open `root`, which is trusted and may be a symlink; the caller closes it."""
        return cls(os.open(root, os.O_RDONLY | os.O_DIRECTORY))

    def close(self) -> None:
        """Let go of the descriptor; more calls do nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Directory:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def place(
        self,
        relative: bytes,
        source: int | bytes,
        *,
        mode: int,
        mtime_ns: int | None = None,
        expect: Callable[[int], bool] | None = None,
        replace: bool = True,
        create_parents: bool = True,
    ) -> os.stat_result | None:
        """Put a file with the bytes of `source`, a descriptor or bytes, at `relative`.

        The file appears whole, with `mode` and `mtime_ns` (nanoseconds, None is
        now), in place of a file or symlink that was there; without `replace`
        FileExistsError is raised instead. Missing directories are made, or
        raise FileNotFoundError without `create_parents`.

        `expect` gets a descriptor of the present file, to say whether it may be
        replaced. Where it says no, or where there is no regular file, nothing
        is changed and None is returned. It is asked before the copy and again
        just before the rename.

        Returns the stat data of what was written. If someone has written to the
        file since, that no longer fits the file, so that an index patched with
        it does not hide the change.
        """
        names = _split(relative)
        try:
            chain = self._descend(relative, names, create_parents and expect is None)
        except FileNotFoundError:
            if expect is None:
                raise
            return None
        try:
            if expect and not _is_as_expected(chain[-1], names[-1], expect):
                return None
            new = _NewFile(chain[-1])
            try:
                new.fill(source, mode, mtime_ns)
                if expect and not _is_as_expected(chain[-1], names[-1], expect):
                    return None
                return new.publish(names[-1], replace)
            finally:
                new.discard()
        finally:
            _close(chain)

    def touch(
        self, relative: bytes, size: int, expect: Callable[[int], bool], mtime_ns: int
    ) -> os.stat_result | None:
        """Set the mtime of the regular file of that size at `relative`, if `expect` agrees.

        Returns its stat data, or None when there is no such file, when `expect`, which
        looks at its content, said no, or when someone wrote to it meanwhile; its
        mtime is then at least that of the last write.
        """
        names = _split(relative)
        try:
            chain = self._descend(relative, names, False)
        except FileNotFoundError:
            return None
        try:
            return _touch(chain[-1], names[-1], size, expect, mtime_ns)
        finally:
            _close(chain)

    def mode(self, relative: bytes) -> int | None:
        """The permissions of the regular file at `relative`, or None when there is none."""
        names = _split(relative)
        try:
            chain = self._descend(relative, names, False)
        except FileNotFoundError:
            return None
        try:
            found = os.stat(names[-1], dir_fd=chain[-1], follow_symlinks=False)
            return stat.S_IMODE(found.st_mode) if stat.S_ISREG(found.st_mode) else None
        except FileNotFoundError:
            return None
        finally:
            _close(chain)

    def link(self, relative: bytes, existing: str | bytes) -> os.stat_result:
        """Give the file `existing` (trusted, on this file system) a second name at `relative`.

        Missing directories are made. Raises FileExistsError when the name is taken.
        """
        names = _split(relative)
        chain = self._descend(relative, names, True)
        try:
            os.link(existing, names[-1], dst_dir_fd=chain[-1], follow_symlinks=False)
            return os.stat(names[-1], dir_fd=chain[-1], follow_symlinks=False)
        finally:
            _close(chain)

    def symlink(
        self, relative: bytes, target: bytes, *, replace: bool = True, create_parents: bool = True
    ) -> os.stat_result:
        """Put a symlink to `target` at `relative`; returns its stat data.

        `target` is stored as it is and never followed here. Replacing and
        directories as with `place`. A link named .gitmodules is refused, as Git does.
        """
        check_symlink_name(relative)
        names = _split(relative)
        chain = self._descend(relative, names, create_parents)
        try:
            temporary = temporary_name()
            os.symlink(target, temporary, dir_fd=chain[-1])
            try:
                _rename(chain[-1], temporary, names[-1], replace)
            except BaseException:
                os.unlink(temporary, dir_fd=chain[-1])
                raise
            return os.stat(names[-1], dir_fd=chain[-1], follow_symlinks=False)
        finally:
            _close(chain)

    def remove(self, relative: bytes, *, prune_empty_parents: bool = True) -> bool:
        """Remove the file or symlink at `relative`; False if there was none.

        Directories that are empty then go too, the root never does. A directory
        at `relative` is not removed: IsADirectoryError or PermissionError.
        """
        names = _split(relative)
        try:
            chain = self._descend(relative, names, False)
        except FileNotFoundError:
            return False
        try:
            os.unlink(names[-1], dir_fd=chain[-1])
            if prune_empty_parents:
                _prune(chain[:-1], names[:-1])
        except FileNotFoundError:
            return False
        finally:
            _close(chain)
        return True

    def _descend(self, relative: bytes, names: list[bytes], create: bool) -> list[int]:
        """Descriptors from the root to the directory of the last name; the caller closes them."""
        chain = [os.dup(self._descriptor)]
        try:
            for name in names[:-1]:
                chain.append(_open_directory(chain[-1], name, relative, create))
        except BaseException:
            _close(chain)
            raise
        return chain


class _NewFile:
    """A file under a random name in an open directory, on its way to its final name."""

    def __init__(self, parent: int) -> None:
        self._parent = parent
        self._name: bytes | None = temporary_name()
        self._descriptor = os.open(self._name, _NEW_FILE, 0o600, dir_fd=parent)

    def fill(self, source: int | bytes, mode: int, mtime_ns: int | None) -> None:
        if isinstance(source, bytes):
            write_all(self._descriptor, source)
        else:
            size = os.fstat(source).st_size
            if copy_into(source, self._descriptor, size) != size:
                raise OSError(errno.EIO, "the source became shorter while it was copied")
        os.fchmod(self._descriptor, mode)
        if mtime_ns is not None:
            os.utime(self._descriptor, ns=(mtime_ns, mtime_ns))

    def publish(self, name: bytes, replace: bool) -> os.stat_result:
        """Rename, and say what stat data belongs to the bytes of `fill`."""
        assert self._name is not None
        before = os.fstat(self._descriptor)
        _rename(self._parent, self._name, name, replace)
        self._name = None
        # Renaming moves the ctime. A changed mtime or size is another's work; with
        # the old stat data Git will see that the file differs.
        after = os.fstat(self._descriptor)
        same = (before.st_mtime_ns, before.st_size) == (after.st_mtime_ns, after.st_size)
        return after if same else before

    def discard(self) -> None:
        """Close, and remove the file unless it was published."""
        os.close(self._descriptor)
        if self._name is not None:
            os.unlink(self._name, dir_fd=self._parent)


def check_relative_path(path: bytes) -> None:
    """Raise UnsafePathError unless `path` names something below the root it is relative to.

    Refused are absolute and empty paths, empty names, "." and "..", NUL, and
    every name that some file system takes for ".git" (`verify_path` in Git's
    read-cache.c): in any case, with trailing dots and spaces or a stream name,
    as git~1, after a backslash (NTFS), with code points that HFS+ ignores.
    Git asks that only with core.protectNTFS or core.protectHFS; here, always.
    """
    _split(path)


def check_symlink_name(path: bytes) -> None:
    """Raise UnsafePathError when a symlink there would be .gitmodules to some file system."""
    if any(_means_gitmodules(stem) for stem in _stems(path.rpartition(b"/")[2])):
        raise _unsafe(path, "a symlink can't be .gitmodules")


def _split(path: bytes) -> list[bytes]:
    """The names in `path`, once it is known to be safe."""
    if b"\0" in path:
        raise _unsafe(path, "it holds a NUL")
    if path.startswith(b"/"):
        raise _unsafe(path, "it is absolute")
    names = path.split(b"/")
    if _is_plain(path, names):
        return names
    for name in names:
        if name in (b"", b".", b".."):
            raise _unsafe(path, "it has an empty name" if not name else f"it has {name.decode()!r}")
        if any(stem in (b".git", b"git~1") for stem in _stems(name)):
            raise _unsafe(path, "some file systems take a name in it for .git")
    return names


def _is_plain(path: bytes, names: list[bytes]) -> bool:
    """Whether all checks would pass, cheaply, for nearly all paths; never a wrong yes."""
    lower = path.lower()
    return (
        path.isascii()
        and b".git" not in lower
        and b"git~1" not in lower
        and b"" not in names
        and b"." not in names
        and b".." not in names
    )


def _stems(name: bytes) -> list[bytes]:
    """What file systems that are not exact may take `name`, or a part of it, for."""
    stems = [part.partition(b":")[0].rstrip(b". ").lower() for part in name.split(b"\\")]
    if not name.isascii():
        text = name.decode("utf-8", "surrogateescape").translate(_HFS_IGNORES)
        stems.append(text.encode("utf-8", "surrogateescape").lower())
    return stems


def _means_gitmodules(stem: bytes) -> bool:
    return stem == b".gitmodules" or stem.startswith((b"gitmod~", b"gi7eba~"))


def _unsafe(path: bytes, why: str) -> UnsafePathError:
    return UnsafePathError(f"unsafe path {os.fsdecode(path)!r}: {why}")


def _open_directory(parent: int, name: bytes, relative: bytes, create: bool) -> int:
    """Open the directory `name` in `parent`, making it first if need be."""
    if create:
        try:
            return _open_present(parent, name, relative)
        except FileNotFoundError:
            _make_directory(parent, name)
    return _open_present(parent, name, relative)


def _open_present(parent: int, name: bytes, relative: bytes) -> int:
    try:
        return os.open(name, _DIRECTORY, dir_fd=parent)
    except OSError as fault:
        # O_DIRECTORY with O_NOFOLLOW gives ENOTDIR or ELOOP for a symlink, by system.
        if fault.errno == errno.ELOOP or _is_symlink(parent, name):
            raise _unsafe(relative, f"{os.fsdecode(name)!r} is a symlink") from None
        raise


def _make_directory(parent: int, name: bytes) -> None:
    try:
        os.mkdir(name, dir_fd=parent)
    except FileExistsError:
        return  # Another was first; whether it is a directory, opening it will tell.


def _is_symlink(parent: int, name: bytes) -> bool:
    try:
        return stat.S_ISLNK(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)
    except OSError:
        return False


def _is_as_expected(parent: int, name: bytes, expect: Callable[[int], bool]) -> bool:
    """Whether `name` is a regular file that `expect` agrees to."""
    try:
        descriptor = os.open(name, _PRESENT_FILE, dir_fd=parent)
    except OSError as fault:
        # No file, a symlink, a socket.
        if fault.errno in (errno.ENOENT, errno.ELOOP, errno.ENXIO):
            return False
        raise
    try:
        return stat.S_ISREG(os.fstat(descriptor).st_mode) and expect(descriptor)
    finally:
        os.close(descriptor)


def _touch(
    parent: int, name: bytes, size: int, expect: Callable[[int], bool], mtime_ns: int
) -> os.stat_result | None:
    try:
        descriptor = os.open(name, _PRESENT_FILE, dir_fd=parent)
    except OSError as fault:
        if fault.errno in (errno.ENOENT, errno.ELOOP, errno.ENXIO):
            return None
        raise
    try:
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode) or before.st_size != size:
            return None
        os.utime(descriptor, ns=(mtime_ns, mtime_ns))
        # Only now: a write just before lost its mtime to ours, and the content tells. One
        # that comes from here on leaves its own.
        if not expect(descriptor):
            os.utime(descriptor)
            return None
        after = os.fstat(descriptor)
        return after if after.st_mtime_ns == mtime_ns else None
    finally:
        os.close(descriptor)


def _rename(parent: int, source: bytes, target: bytes, replace: bool) -> None:
    if replace:
        os.rename(source, target, src_dir_fd=parent, dst_dir_fd=parent)
    else:
        move_new(source, target, dir_fd=parent)


def _prune(chain: list[int], names: list[bytes]) -> None:
    """Remove directories from the innermost out, up to one that is not empty."""
    for parent, name in zip(reversed(chain), reversed(names), strict=True):
        try:
            os.rmdir(name, dir_fd=parent)
        except OSError:
            return


def _close(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
