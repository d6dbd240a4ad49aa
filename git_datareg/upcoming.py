"""What Git is going to ask a filter for next, while it checks out a commit.

Git names one file after the other, in the order of their paths, and waits for
each. Who knows the commit knows what comes. Reads Git's trees and pointers;
brings nothing.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from itertools import islice
from typing import NamedTuple

from git_datareg.errors import GitError, PointerError
from git_datareg.git import objects
from git_datareg.git.reader import ObjectReader
from git_datareg.git.repository import Repository
from git_datareg.pointer import MAX_LENGTH, Pointer

#: As little is looked ahead at first, and after a gap: who checks out a few files of a
#: commit shall not fetch its others.
_FIRST = 8
#: More would leave the user without a word for too long.
_MOST = 4096


class Expected(NamedTuple):
    """A data file that Git has not asked for yet."""

    path: bytes
    pointer: Pointer


class Upcoming:
    """The data files of a commit, as Git comes to them. To be closed; not for several threads.

    It looks as far ahead as Git has come without leaving files out, so what it
    names in vain is never much more than what it named well.
    """

    def __init__(self, repository: Repository, treeish: str) -> None:
        self._files = objects.small_files(repository, treeish, MAX_LENGTH)
        self._reader = ObjectReader(repository)
        self._window = _FIRST
        self._last = b""

    def close(self) -> None:
        """Nothing is upcoming any more."""
        self._files.close()
        self._reader.close()

    def after(self, path: bytes, was_asked: Container[bytes]) -> list[Expected]:
        """The files that come after `path`; none when that is not ahead of us.

        `was_asked` has the paths that Git has asked for. What is no pointer that is
        understood is passed over.
        """
        if path <= self._last:
            return []
        try:
            is_found, has_gap = self._advance(path, was_asked)
            self._window = _FIRST if has_gap else min(2 * self._window, _MOST)
            return list(self._next()) if is_found else []
        except GitError:
            # Git says it itself, where it matters.
            self.close()
            return []

    def _advance(self, path: bytes, was_asked: Container[bytes]) -> tuple[bool, bool]:
        """Go on to `path`; whether it is there, and whether files before it were left out."""
        has_gap = False
        for file in self._files:
            self._last = file.path
            if file.path >= path:
                return file.path == path, has_gap
            has_gap = has_gap or file.path not in was_asked
        return False, has_gap

    def _next(self) -> Iterator[Expected]:
        files = list(islice(self._files, self._window))
        if files:
            self._last = files[-1].path
        contents = dict(self._reader.read(file.id for file in files))
        for file in files:
            pointer = _pointer(contents[file.id])
            if pointer is not None:
                yield Expected(file.path, pointer)


def _pointer(content: bytes) -> Pointer | None:
    try:
        return Pointer.parse(content)
    except PointerError:
        return None
