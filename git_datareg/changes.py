"""Changes: which data files differ between two revisions, or a revision and what is here.

Compares pointers; only files of the work tree that Git takes for changed are read.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

from git_datareg import working
from git_datareg.digest import digest_of_file
from git_datareg.files import open_regular
from git_datareg.git.repository import Repository
from git_datareg.pointer import MAX_LENGTH, Pointer
from git_datareg.projects import Project


class Change(NamedTuple):
    """A data file that is not the same on both sides; None where it is none, or not there."""

    path: bytes
    old: Pointer | None
    new: Pointer | None


def between(old: Mapping[bytes, Pointer], new: Mapping[bytes, Pointer], /) -> list[Change]:
    """What differs between two sides, by path and sorted by that."""
    return [
        Change(path, old.get(path), new.get(path))
        for path in sorted({*old, *new})
        if old.get(path) != new.get(path)
    ]


def in_commit(repository: Repository, commit: str) -> dict[bytes, Pointer]:
    """The data files of a commit. Raises PointerError for a pointer that is not understood."""
    return {each.path: each.pointer for each in working.in_commit(repository, commit)}


def in_index(repository: Repository) -> dict[bytes, Pointer]:
    """The data files of the index, but for those in conflict. Raises as `in_commit`."""
    return {each.path: each.pointer for each in working.in_index(repository)}


def in_work_tree(project: Project) -> dict[bytes, Pointer]:
    """The tracked data files as they are in the work tree, whether staged or not.

    Raises as `in_commit`, and OSError for a file that can't be read.
    """
    files = working.in_index(project.repository)
    found = {each.path: each.pointer for each in files}
    top = os.fsencode(project.repository.top)
    for path in working.changed(project, files):
        pointer = _pointer_to(os.path.join(top, path))
        if pointer is None:
            del found[path]
        else:
            found[path] = pointer
    return found


def _pointer_to(path: bytes) -> Pointer | None:
    """The pointer to a file as data; None when it is gone, or no file any more."""
    if os.path.islink(path):
        return None
    try:
        descriptor = open_regular(path)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    try:
        size = os.fstat(descriptor).st_size
        text = os.pread(descriptor, MAX_LENGTH + 1, 0)
        return Pointer.parse(text) or Pointer(digest_of_file(descriptor, size), size)
    finally:
        os.close(descriptor)
