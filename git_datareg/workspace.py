"""The repository that a program of ours was started in, opened part by part.

The filter is started for every `git add`; what it does not need must cost
nothing. So each part is opened when it is first asked for.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from git_datareg.errors import DataregError, RepositoryNotFoundError
from git_datareg.filtering import Smudged
from git_datareg.git import places
from git_datareg.git.places import Places
from git_datareg.objects import LocalObjects, ObjectDirectory
from git_datareg.pointer import Pointer

if TYPE_CHECKING:
    from git_datareg.bringing import Bringer
    from git_datareg.git.repository import Repository
    from git_datareg.sources import Project

SKIP_VARIABLE = "GIT_DATAREG_SKIP_SMUDGE"
_TRUE = frozenset(("1", "true", "yes", "on"))


class Workspace:
    """The repository around the current directory, as one program run sees it."""

    def __init__(self, directory: str, environ: Mapping[str, str]) -> None:
        self._directory = directory
        self._environ = environ

    @cached_property
    def places(self) -> Places:
        """Where the repository's parts are; raises RepositoryNotFoundError without one."""
        found = places.find(self._directory, self._environ)
        return found if found is not None else self.repository.places

    @cached_property
    def repository(self) -> Repository:
        """The repository, as git sees it; raises RepositoryNotFoundError without one."""
        from git_datareg.git import repository

        return repository.find(self._directory)

    @cached_property
    def repository_or_none(self) -> Repository | None:
        """The repository, or None outside of one."""
        try:
            return self.repository
        except RepositoryNotFoundError:
            return None

    @cached_property
    def project(self) -> Project:
        """The repository with its settings and storages."""
        return self._open_project(None)

    @property
    def own_objects(self) -> ObjectDirectory:
        """Where clean puts objects."""
        return ObjectDirectory(self.places.own_objects)

    @cached_property
    def threshold(self) -> int:
        """Files of fewer bytes stay ordinary blobs; what `.datareg` says here and now."""
        text = self._tracked_text()
        # Reading the syntax costs more start-up than all the rest of clean.
        if b"threshold" not in text.lower():
            return 0
        from git_datareg import settings

        items, _ = settings.read_tracked(text)
        return settings.threshold_of(items)

    @property
    def local(self) -> LocalObjects:
        """The objects on this machine."""
        return self.project.local

    @cached_property
    def bringer(self) -> Bringer:
        """Fetches what is missing, for one git command."""
        from git_datareg.bringing import Bringer

        return Bringer(self._open_project)

    @property
    def skips_smudge(self) -> bool:
        """Whether the user wants pointers in the work tree."""
        return self._environ.get(SKIP_VARIABLE, "").lower() in _TRUE

    @property
    def is_rebasing(self) -> bool:
        """Whether git may run the user's commands before it is done (rebase --exec)."""
        return os.path.isdir(os.path.join(self.places.git_dir, "rebase-merge"))

    def object_file(self, pointer: Pointer, path: bytes, treeish: str | None) -> str:
        """The file with the object's bytes, verified, fetched if need be; raises DataregError."""
        found = self.local.find_whole(pointer)
        return found or self.bringer.bring(pointer, path, treeish)

    def note_deferred(self, file: Smudged) -> None:
        """Remember on disk that a file is to follow."""
        from git_datareg import placing

        placing.note(self.places.git_dir, file)

    def settle(self, smudged: Iterable[Smudged]) -> list[tuple[bytes, DataregError]]:
        """Put deferred files in place and bring the index up to date; returns what failed."""
        from git_datareg import placing

        files = list(smudged)
        outcome = placing.place(self.top, self.places.index_file, files, self.local.find)
        if outcome.stale:
            stale = [file for file in files if file.path in outcome.stale]
            placing.forget_stat(self.repository, stale)
        if any(file.deferred for file in files) and not outcome.failures:
            placing.forget(self.places.git_dir)
        return outcome.failures

    @property
    def top(self) -> str:
        """The top of the work tree; where git runs filters and hooks."""
        return self._directory

    def close(self) -> None:
        """Stop what runs in the background."""
        if "bringer" in self.__dict__:
            self.bringer.close()

    def _tracked_text(self) -> bytes:
        try:
            with open(os.path.join(self._directory, ".datareg"), "rb") as file:
                return file.read()
        except (FileNotFoundError, IsADirectoryError):
            from git_datareg.git import objects

            return objects.blob_at(self.repository, "", ".datareg") or b""

    def _open_project(self, treeish: str | None) -> Project:
        from git_datareg.sources import open_project

        return open_project(self.repository, self._environ, treeish)
