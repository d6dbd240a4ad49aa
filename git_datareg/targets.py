"""Targets: what is to be there is built beside it, and put in place in one step.

Owns the temporary names beside a target, and removes what killed processes left
of them. Does not know what is built.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from git_datareg import files
from git_datareg.errors import (
    DataregError,
    RefusedError,
    StorageDeniedError,
    StorageUnavailableError,
    TargetExistsError,
)
from git_datareg.removal import remove_tree

_TEMPORARY = ".datareg-new-"
#: How much of the target's own name is in a temporary one; bytes.
_NAME_BYTES = 100
_REPLACEABLE = frozenset((stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK))
_DENIED = frozenset((errno.EACCES, errno.EPERM, errno.EROFS))


def check_free(target: str, name: str, *, replace: bool) -> None:
    """Raise TargetExistsError for a target that is there, unless it may be replaced.

    A Git repository never is, nor a device, a pipe or a socket, nor what would
    have to be a directory on the way to the target: RefusedError. `name` is for
    messages.
    """
    if os.path.lexists(os.path.join(target, ".git")):
        raise RefusedError(f"a Git repository is there: {name}", "remove it by hand")
    if not os.path.lexists(target):
        _check_parents(target)
        return
    if not replace:
        raise _exists(name)
    if stat.S_IFMT(os.lstat(target).st_mode) not in _REPLACEABLE:
        raise RefusedError(f"neither a file nor a directory: {name}", "use -o for another target")


def _check_parents(target: str) -> None:
    """Refuse a target below something that is no directory; else it is told after all is fetched.

    The target has no slash at its end.
    """
    parent = os.path.dirname(target)
    while parent and not os.path.lexists(parent):
        parent = os.path.dirname(parent)
    if parent and not os.path.isdir(parent):
        raise RefusedError(f"not a directory: {parent}", "use -o for another target")


def _exists(target: str) -> TargetExistsError:
    """The fault that a target is taken."""
    return TargetExistsError(f"target exists: {target}", "use -f to replace it, or -o for another")


class Place:
    """A target, and what is to be there, under a temporary name beside it."""

    def __init__(self, target: str, directory: str) -> None:
        self.target = target
        #: Where to build; nothing is there at first. After `put_in_place`: what it replaced.
        self.new = os.path.join(directory, "new")
        self._is_exchanged: bool | None = None

    def put_in_place(self, *, replace: bool) -> None:
        """Give what was built its name, in one step; what was there is kept aside.

        Raises TargetExistsError when something is there, unless it may be replaced.
        """
        if replace and os.path.lexists(self.target):
            with suppress(OSError):
                _copy_mode(self.target, self.new)
            files.exchange(self.new, self.target)
            self._is_exchanged = True
            return
        try:
            files.move_new(os.fsencode(self.new), os.fsencode(self.target))
        except FileExistsError:
            raise _exists(self.target) from None
        self._is_exchanged = False

    def put_back(self) -> None:
        """Undo `put_in_place`; does nothing before it."""
        if self._is_exchanged:
            files.exchange(self.new, self.target)
        elif self._is_exchanged is not None:
            os.rename(self.target, self.new)
        self._is_exchanged = None


def _copy_mode(source: str, target: str) -> None:
    """A directory keeps the permissions that it was given, say for a group."""
    if stat.S_ISDIR(os.lstat(source).st_mode) and os.path.isdir(target):
        os.chmod(target, stat.S_IMODE(os.lstat(source).st_mode))


@contextmanager
def place_for(target: str) -> Iterator[Place]:
    """A place for `target`; at the end all that is not in place is removed.

    Missing parents are made, and removed again after a fault. What killed
    processes left there is removed, too. An OSError becomes a StorageError
    (StorageDeniedError for permissions) that names the target.
    """
    absolute = os.path.abspath(target)
    parent, prefix = _beside(absolute)
    made: list[str] = []
    with _local_faults(target):
        try:
            made = _make_directories(parent)
            _remove_abandoned(parent, prefix)
            directory, lock = _locked_directory(parent, prefix)
            try:
                yield Place(absolute, directory)
            finally:
                remove_tree(directory)
                os.close(lock)
        except BaseException:
            for each in reversed(made):
                with suppress(OSError):
                    os.rmdir(each)
            raise


def remove_abandoned(target: str) -> None:
    """Remove what killed processes left beside a target, where there may be nothing to put."""
    with suppress(OSError):
        _remove_abandoned(*_beside(os.path.abspath(target)))


def _beside(target: str) -> tuple[str, bytes]:
    """The directory that an absolute target is in, and how names begin that are built there."""
    parent, name = os.path.split(target)
    return parent, os.fsencode(f".{name}")[:_NAME_BYTES] + os.fsencode(_TEMPORARY)


@contextmanager
def _local_faults(target: str) -> Iterator[None]:
    try:
        yield
    except DataregError:
        raise
    except OSError as error:
        kind = StorageDeniedError if error.errno in _DENIED else StorageUnavailableError
        raise kind(f"can't write {target}: {error.strerror or error}") from error


def _make_directories(path: str) -> list[str]:
    """Make a directory and its parents; returns those that were made here, outermost first."""
    missing: list[str] = []
    while not os.path.isdir(path):
        missing.insert(0, path)
        path = os.path.dirname(path)
    made: list[str] = []
    for each in missing:
        try:
            os.mkdir(each)
        except OSError:
            # Somebody else, who has the same parent in mind, may have been quicker.
            if os.path.isdir(each):
                continue
            for done in reversed(made):
                os.rmdir(done)
            raise
        made.append(each)
    return made


def _locked_directory(parent: str, prefix: bytes) -> tuple[str, int]:
    """A new directory, and a descriptor by which it is locked as long as we live."""
    while True:
        path = os.path.join(os.fsencode(parent), files.temporary_name(prefix))
        os.mkdir(path, 0o700)
        # Another process may take it for abandoned until it is locked.
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.path.isdir(path):
            return os.fsdecode(path), descriptor
        os.close(descriptor)


def _remove_abandoned(parent: str, prefix: bytes) -> None:
    """Remove what killed processes left beside a target."""
    for name in os.listdir(os.fsencode(parent)):
        if not name.startswith(prefix):
            continue
        path = os.path.join(os.fsencode(parent), name)
        with suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                remove_tree(path)
            finally:
                os.close(descriptor)
