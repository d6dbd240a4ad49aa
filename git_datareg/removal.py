"""Removing directories with all that is in them, however deep they are."""

from __future__ import annotations

import os
import stat
from contextlib import suppress

from git_datareg.files import temporary_name

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(directory: str | bytes | os.PathLike[str]) -> None:
    """Remove a directory with all that is in it, as far as that can be done; never raises OSError.

    However deep it is: paths, recursion and descriptors have ends, so what lies
    deeper is lifted to the top first. Symlinks are not followed.
    """
    with suppress(OSError):
        top = os.open(directory, _DIRECTORY)
        try:
            while any([_lift(top, os.fsencode(name)) for name in os.listdir(top)]):
                pass
        finally:
            os.close(top)
        os.rmdir(directory)


def _lift(top: int, name: bytes) -> bool:
    """Remove `name` from the directory `top`; directories in it go there. Whether it is gone."""
    try:
        if _unlinked(top, name):
            return True
        inner = os.open(name, _DIRECTORY, dir_fd=top)
        try:
            for each in map(os.fsencode, os.listdir(inner)):
                if not _unlinked(inner, each):
                    os.rename(each, temporary_name(), src_dir_fd=inner, dst_dir_fd=top)
        finally:
            os.close(inner)
        os.rmdir(name, dir_fd=top)
    except OSError:
        return False
    return True


def _unlinked(directory: int, name: bytes) -> bool:
    """Remove a file; False for a directory, which is left."""
    if stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
        return False
    os.unlink(name, dir_fd=directory)
    return True
