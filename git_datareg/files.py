"""Files: the one way this program writes one.

Owns temporary files, their way to a final name, and fast copying. Does not
know what is written. Directories given here are trusted; for a tree whose
symlinks must not be followed there is `worktree`.

A name given as str or bytes is taken as the os module takes it. Faults are
OSError as the system gave them; no temporary file outlives one.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from contextlib import suppress
from functools import cache
from types import TracebackType

#: How names of temporary files begin unless the caller says otherwise.
TEMPORARY_PREFIX = ".tmp-datareg-"
_NAME_MAX = 255
_RANDOM_BYTES = 12
#: So many zeros in one piece are worth a look.
_HOLE = 64 * 1024
_AT_FDCWD = -100
_RENAME_NOREPLACE = 1
_RENAME_EXCHANGE = 2
#: What a kernel, a C library or a file system says that does not know the flags.
_NO_FLAGS = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP})
_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: Temporary files that are open in this process, but for those to be continued.
_unfinished: set[bytes] = set()


class TemporaryFile:
    """A file under a random name, to be given its final name once it is whole.

    Made by `new_file`. Used as a context manager it is discarded at the end
    unless it was committed. Not for several threads at once.
    """

    def __init__(self, path: bytes, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor

    def __enter__(self) -> TemporaryFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.discard()

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Append all of `data` at the file's position; returns its length in bytes.

        Many zeros become a hole, which takes no room on most file systems.
        """
        if len(data) >= _HOLE and not data[0] and not data[-1] and bytes(data) == bytes(len(data)):
            os.ftruncate(self._descriptor, os.lseek(self._descriptor, len(data), os.SEEK_CUR))
            return len(data)
        return write_all(self._descriptor, data)

    def fileno(self) -> int:
        """The descriptor, open for reading and writing; closed by `commit` and `discard`."""
        return self._descriptor

    def commit(
        self,
        final_path: str | bytes,
        *,
        replace: bool = True,
        mode: int | None = None,
        sync: bool = True,
        make_directory: bool = False,
    ) -> None:
        """Give the file its final name, on the same file system, and close it.

        At no time is there less than the whole file under that name. With
        `replace` an existing file gives way; without, FileExistsError is raised
        and nothing is touched, however many processes try at once. `mode` None
        leaves what the umask gave. With `sync` the content and the name are on
        disk on return. With `make_directory` a missing directory is made, which
        costs nothing where it is there. After a fault there is no temporary file any more; the
        final name may then be taken already only if the fault came from syncing it.
        """
        final = os.fsencode(final_path)
        try:
            if mode is not None:
                os.fchmod(self._descriptor, mode)
            if sync:
                os.fsync(self._descriptor)
            try:
                _give_name(self.path, final, replace)
            except FileNotFoundError:
                if not make_directory:
                    raise
                make_directories(os.path.dirname(final))
                _give_name(self.path, final, replace)
        except BaseException:
            self.discard()
            raise
        self._close()
        if sync:
            sync_directory(os.path.dirname(final))

    def discard(self) -> None:
        """Remove the file; does nothing after `commit` or a first `discard`."""
        if self._descriptor >= 0:
            self._close()
            _unlink_if_present(self.path)

    def keep(self) -> None:
        """Close the file and leave it under its temporary name, for `continued_file`."""
        if self._descriptor >= 0:
            self._close()

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        _unfinished.discard(self.path)
        os.close(descriptor)


def _give_name(source: bytes, target: bytes, replace: bool) -> None:
    if replace:
        os.rename(source, target)
    else:
        move_new(source, target)


def new_file(
    directory: str | bytes, prefix: str | bytes = TEMPORARY_PREFIX, *, mode: int = 0o666
) -> TemporaryFile:
    """A new, empty file in an existing `directory`; the caller commits or discards it.

    Its name is `prefix`, cut where NAME_MAX needs it, and random letters. The
    umask applies to `mode`. No existing file or symlink is ever opened.
    """
    path = os.path.join(os.fsencode(directory), temporary_name(prefix))
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    file = TemporaryFile(path, os.open(path, flags, mode))
    _unfinished.add(path)
    return file


def remove_unfinished() -> None:
    """Remove the temporary files that are open: for a process that ends while threads run on."""
    for path in tuple(_unfinished):
        with suppress(OSError):
            os.unlink(path)


def continued_file(path: str | bytes) -> TemporaryFile | None:
    """The file at `path`, made when it is not there, to go on with what another process began.

    None when it can't be ours alone: another process has it, another user may write
    to it, or locks don't work (flock(2)). Until it is closed no other process gets it.
    """
    name = os.fsencode(path)
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with suppress(OSError):
        descriptor = os.open(name, flags, 0o600)
        if _is_ours_alone(descriptor, name):
            return TemporaryFile(name, descriptor)
        os.close(descriptor)
    return None


def _is_ours_alone(descriptor: int, path: bytes) -> bool:
    """Whether it is a regular file of ours with this one name, which is locked now."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        named = os.lstat(path)
    except OSError:
        return False
    found = os.fstat(descriptor)
    # It may have got its final name before it was locked; a second one may be anybody's file.
    is_it = os.path.samestat(found, named) and found.st_nlink == 1 and stat.S_ISREG(found.st_mode)
    return is_it and found.st_uid == os.geteuid() and not found.st_mode & 0o022


def temporary_name(prefix: str | bytes = TEMPORARY_PREFIX) -> bytes:
    """A name that no one else will think of, of at most 255 bytes (NAME_MAX)."""
    random = os.urandom(_RANDOM_BYTES).hex().encode()
    return os.fsencode(prefix)[: _NAME_MAX - len(random)] + random


def write_atomically(
    path: str | bytes, data: bytes, *, mode: int | None = None, sync: bool = True
) -> None:
    """Make `data` the content of the file at `path`; readers see old or new, never a part.

    `mode` None keeps the mode of a file that is replaced, else it is 0666 less
    the umask. A symlink at `path` is replaced, not followed. With `sync` the
    new content survives a loss of power once this returns.
    """
    final = os.fsencode(path)
    if mode is None:
        mode = _mode_of(final)
    made_with = 0o666 if mode is None else mode & 0o666
    with new_file(os.path.dirname(final) or b".", mode=made_with) as file:
        file.write(data)
        file.commit(final, mode=mode, sync=sync)


def open_regular(path: str | bytes) -> int:
    """A descriptor to read a file that lies where anybody may have put something else.

    Raises IsADirectoryError for whatever is no regular file: to open a FIFO
    would wait for a writer, and to read a device may have no end.
    """
    # Looked at first, since to open some devices does something.
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise _not_regular(path)
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _not_regular(path)
    return descriptor


def read_regular(path: str | bytes) -> bytes:
    """The content of such a file; raises as `open_regular`."""
    with open(open_regular(path), "rb") as file:
        return file.read()


def _not_regular(path: str | bytes) -> IsADirectoryError:
    return IsADirectoryError(errno.EISDIR, "not a regular file", path)


def write_all(descriptor: int, data: bytes | bytearray | memoryview) -> int:
    """Write all of `data` to a blocking descriptor; returns its length in bytes."""
    with memoryview(data) as view, view.cast("B") as rest:
        done = 0
        while done < len(rest):
            done += os.write(descriptor, rest[done:])
        return done


def write_all_at(descriptor: int, data: bytes | bytearray | memoryview, offset: int) -> None:
    """Write all of `data` from `offset` on, whatever the descriptor's position is."""
    with memoryview(data) as view, view.cast("B") as rest:
        done = 0
        while done < len(rest):
            done += os.pwrite(descriptor, rest[done:], offset + done)


def move_new(source: bytes, target: bytes, *, dir_fd: int | None = None) -> None:
    """Rename a file to a name that is not taken; FileExistsError if it is.

    Atomic: one of many racers wins and the target is never seen in part. Paths
    are relative to the directory `dir_fd` when given. Where the file system has
    neither hard links nor an exclusive rename, the fault of link(2) is raised:
    to look first and rename then would now and then replace a target that
    another process made in between, and to create the target and fill it would
    show it in part.
    """
    try:
        os.link(source, target, src_dir_fd=dir_fd, dst_dir_fd=dir_fd, follow_symlinks=False)
    except OSError as fault:
        if fault.errno not in _NO_LINKS:
            raise
        _rename_exclusively(source, target, dir_fd, fault)
    else:
        os.unlink(source, dir_fd=dir_fd)


def exchange(first: str | bytes, second: str | bytes) -> None:
    """Swap two names on one file system, in one step where the system can (renameat2(2)).

    Elsewhere `second` is moved away first: someone may look while it is not there.
    """
    one, other = os.fsencode(first), os.fsencode(second)
    number = _renameat2(_AT_FDCWD, one, other, _RENAME_EXCHANGE)
    if number == 0:
        return
    if number not in _NO_FLAGS:
        raise OSError(number, os.strerror(number), os.fsdecode(other))
    aside = os.path.join(os.path.dirname(other), temporary_name())
    os.rename(other, aside)
    os.rename(one, other)
    os.rename(aside, one)


@cache
def umask() -> int:
    """The process's umask, which is asked for once: reading it means setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def make_directories(path: str | bytes) -> None:
    """Make a directory, and those above it, where they are missing.

    One that is made in a directory which a group shares is as open as that, whatever the
    umask; those have the set-group-ID bit, as git gives it for core.sharedRepository.
    """
    # As the filename of an OSError, too.
    name = os.fsdecode(path)
    parent = os.path.dirname(name.rstrip("/")) or "."
    try:
        try:
            os.mkdir(name)
        except FileNotFoundError:
            make_directories(parent)
            os.mkdir(name)
    except FileExistsError:
        if not os.path.isdir(name):
            raise
        return
    above = os.stat(parent).st_mode
    if above & stat.S_ISGID:
        os.chmod(name, stat.S_IMODE(above))


def shared_mode(directory: str | bytes, mode: int) -> int:
    """The permissions of a file in a directory that would have `mode` less the umask.

    In one that a group shares it is readable for all who may enter that.
    """
    if not umask() & mode:
        return mode
    found = os.stat(directory).st_mode
    if not found & stat.S_ISGID:
        return mode & ~umask()
    group, others = found & stat.S_IXGRP, found & stat.S_IXOTH
    return mode & (0o700 | (0o070 if group else 0) | (0o007 if others else 0))


def sync_directory(directory: str | bytes) -> None:
    """Bring the names in `directory` ("" is the current one) to disk, as fsync(2) asks for."""
    descriptor = os.open(os.fsencode(directory) or b".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as fault:
        # Some network and FUSE file systems can't sync a directory and say so like this.
        if fault.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def remove_stale(directory: str | bytes, prefix: str | bytes, older_than_seconds: float) -> int:
    """Delete what killed processes left in `directory`; returns how many files.

    Those are regular files whose name begins with `prefix` and that were last
    written more than `older_than_seconds` ago. A missing directory has none.
    """
    limit = time.time() - older_than_seconds
    start = os.fsencode(prefix)
    removed = 0
    try:
        with os.scandir(os.fsencode(directory)) as entries:
            for entry in entries:
                if entry.name.startswith(start) and _is_older(entry, limit):
                    removed += _unlink_if_present(entry.path)
    except FileNotFoundError:
        return removed
    return removed


def _mode_of(path: bytes) -> int | None:
    """The permissions of the regular file at `path`, None if there is none."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return None
    return stat.S_IMODE(found.st_mode) if stat.S_ISREG(found.st_mode) else None


def _is_older(entry: os.DirEntry[bytes], limit: float) -> bool:
    try:
        found = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_mtime < limit


def _unlink_if_present(path: bytes) -> bool:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return False
    return True


def _rename_exclusively(
    source: bytes, target: bytes, dir_fd: int | None, no_links: OSError
) -> None:
    """renameat2(2) with RENAME_NOREPLACE; raises `no_links` where there is no such thing."""
    at = _AT_FDCWD if dir_fd is None else dir_fd
    number = _renameat2(at, source, target, _RENAME_NOREPLACE)
    if number in _NO_FLAGS:
        raise no_links
    if number:
        raise OSError(number, os.strerror(number), os.fsdecode(target))


def _renameat2(at: int, source: bytes, target: bytes, flags: int) -> int:
    """The system call by that name; returns 0 or the error number."""
    # Python has no such call, and ctypes costs start-up time.
    import ctypes

    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:
        return errno.ENOSYS
    return 0 if rename(at, source, at, target, flags) == 0 else ctypes.get_errno()
