"""The repository that a program of ours was started in, opened part by part.

The filter is started for every `git add`; what it does not need must cost
nothing. So each part is opened when it is first asked for.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from git_datareg.errors import DataregError, RepositoryNotFoundError, UnsafePathError
from git_datareg.files import open_regular, read_regular
from git_datareg.filtering import Smudged
from git_datareg.git import places
from git_datareg.git.places import Places
from git_datareg.objects import (
    LocalObjects,
    ObjectDirectory,
    Unless,
    cache_at,
    remove_leftovers,
)
from git_datareg.pointer import Pointer

if TYPE_CHECKING:
    from git_datareg.bringing import Bringer
    from git_datareg.git.repository import Repository
    from git_datareg.location import Location
    from git_datareg.projects import Project
    from git_datareg.registry import Source
    from git_datareg.settings import Settings

#: Hooks are short; ours is all in its beginning.
_HOOK_SIZE = 64 * 1024
#: How often the lock on the index is looked at: one that was held for less is gone.
_LOOK_SECONDS = 0.01
#: Fewer bytes are not worth a look at Git's index.
_WORTH_ASKING = 1024 * 1024
SKIP_VARIABLE = "GIT_DATAREG_SKIP_SMUDGE"
_TRUE = frozenset(("1", "true", "yes", "on"))


class Workspace:
    """The repository around the current directory, as one program run sees it."""

    def __init__(self, directory: str, environ: Mapping[str, str]) -> None:
        self._directory = directory
        self._environ = environ
        #: Files of objects that were read and found whole in this run.
        self._verified: dict[Pointer, str] = {}
        #: The lock on the index that the git which started us was last seen with.
        self._lock: tuple[int, int | None] | None = None
        self._next_look = 0.0
        #: By import, the ids of its files.
        self._imports: dict[bytes, dict[bytes, str]] = {}
        #: By directory: the import that it lies in, or is.
        self._imports_around: dict[bytes, bytes | None] = {}

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

    @cached_property
    def settings(self) -> Settings:
        """The settings in force: the repository's, or outside of one the user's alone."""
        if self.repository_or_none is not None:
            return self.project.settings
        from git_datareg import settings
        from git_datareg.git import config

        return settings.build(config.read(None), None, self._environ)

    @property
    def reading_objects(self) -> LocalObjects:
        """The objects on this machine, also outside of repositories."""
        if self.repository_or_none is not None:
            return self.project.local
        return LocalObjects(None, cache_at(self.settings.cache))

    def open_source(self, location: Location, rev: str | None) -> Source:
        """A registry at a revision (None: its default branch), with what git must fetch fetched."""
        from git_datareg import registry

        return registry.open_source(location, rev, self.settings.cache, self._environ)

    @cached_property
    def own_objects(self) -> ObjectDirectory:
        """Where clean puts objects."""
        return ObjectDirectory(self.places.own_objects)

    @cached_property
    def threshold(self) -> int:
        """Files of fewer bytes stay ordinary blobs; what `.datareg` says here and now."""
        text = self._tracked_text()
        # Reading the syntax costs more start-up than all the rest of clean.
        if _says_nothing(text):
            return 0
        from git_datareg import settings

        items, _ = settings.read_tracked(text)
        return settings.threshold_of(items)

    def imported(self, path: bytes) -> str | None:
        """The id that the index has for a file of an import, "" for none; None for our own files.

        What it is told of an import first holds as long as this object.
        """
        top = self._import_around(path)
        if top is None:
            return None
        if top not in self._imports:
            from git_datareg.git import index

            entries = index.entries(self.repository, [top])
            self._imports[top] = {entry.path: entry.id for entry in entries if not entry.stage}
        return self._imports[top].get(path, "")

    def _import_around(self, path: bytes) -> bytes | None:
        """The import that a file belongs to, by its path: its metafile lies beside it."""
        if self._has_metafile(path):
            return path
        directory = path.rpartition(b"/")[0]
        if directory and directory not in self._imports_around:
            self._imports_around[directory] = self._import_around(directory)
        return self._imports_around.get(directory)

    def _has_metafile(self, path: bytes) -> bool:
        return os.path.isfile(b"%b/%b.datareg" % (os.fsencode(self._directory), path))

    @cached_property
    def local(self) -> LocalObjects:
        """The objects on this machine."""
        from git_datareg import settings
        from git_datareg.git import config

        # Without `.datareg`, which has no say in it: while it can't be read, a
        # checkout must go on, if only to that of a better one.
        values = () if self._environ.get(settings.CACHE_VARIABLE) else config.read(self.repository)
        cache = settings.build(values, None, self._environ).cache
        return LocalObjects(self.own_objects, cache_at(cache))

    @cached_property
    def unless(self) -> Unless:
        """Says which objects need not be put among our own."""
        return _Unless(self)

    @cached_property
    def bringer(self) -> Bringer:
        """Fetches what is missing, for one git command."""
        from git_datareg.bringing import Bringer

        return Bringer(self._open_project, self.open_source)

    @property
    def skips_smudge(self) -> bool:
        """Whether the user wants pointers in the work tree."""
        return self._environ.get(SKIP_VARIABLE, "").lower() in _TRUE

    @property
    def is_rebasing(self) -> bool:
        """Whether git may run the user's commands before it is done (rebase --exec)."""
        return os.path.isdir(os.path.join(self.places.git_dir, "rebase-merge"))

    @cached_property
    def is_first_checkout(self) -> bool:
        """Whether nothing was checked out or added before, and what is now is not chosen by Git."""
        from git_datareg.git import config

        return not os.path.exists(self.places.index_file) and not config.is_sparse(self.repository)

    def content(self, pointer: Pointer) -> bytes | None:
        """The bytes of a small object, verified; None when it is not on this machine."""
        return self.local.read_whole(pointer)

    def object_file(self, pointer: Pointer) -> str | None:
        """The file with an object's bytes, verified; None when it is not on this machine."""
        found = self.local.find_whole(pointer)
        if found is not None:
            self._verified[pointer] = found
        return found

    def from_top(self, paths: Iterable[str]) -> list[bytes]:
        """Paths from the current directory as Git spells them, from the work tree's top.

        Raises UnsafePathError for those outside.
        """
        top = os.path.realpath(self.repository.top)
        found = []
        for path in paths:
            absolute = os.path.abspath(os.path.join(self._directory, path))
            parent = os.path.realpath(os.path.dirname(absolute))
            relative = os.path.relpath(os.path.join(parent, os.path.basename(absolute)), top)
            if relative == ".." or relative.startswith("../"):
                raise UnsafePathError(f"outside of the repository: {path}")
            found.append(os.fsencode(relative))
        return found

    def blob(self, id: str) -> bytes:
        """What Git stores under an object id."""
        from git_datareg.git import objects

        [(_, content)] = objects.read_blobs(self.repository, [id])
        return content

    def note(self, file: Smudged) -> None:
        """Remember a file that git is about to write; on disk, too, if its content is to follow."""
        from git_datareg import placing

        if file.deferred:
            placing.note(self.places.git_dir, file)
        now = time.monotonic()
        if now >= self._next_look:
            self._lock = placing.index_lock(self.places.index_file)
            self._next_look = now + _LOOK_SECONDS

    def settle(self, smudged: Iterable[Smudged]) -> list[tuple[bytes, DataregError]]:
        """Put deferred files in place and bring the index up to date; returns what failed."""
        from git_datareg import placing

        files = list(smudged)
        index_file = self.places.index_file
        # A git that still holds its lock has died, or is about to: the index
        # knows none of these files, and to wait would be in vain.
        is_lost = self._lock is not None and placing.index_lock(index_file) == self._lock
        outcome = placing.place(
            self.top,
            index_file,
            files,
            lambda pointer: self._verified.get(pointer) or self.local.find_whole(pointer),
            lock_seconds=0 if is_lost else placing.LOCK_SECONDS,
        )
        failures = list(outcome.failures)
        if outcome.stale and not is_lost:
            try:
                stale = [file for file in files if file.path in outcome.stale]
                placing.forget_stat(self.repository, stale)
            except DataregError as error:
                failures.append((os.fsencode(index_file), error))
        failed = {path for path, _ in failures}
        placing.forget(
            self.places.git_dir, {file.path for file in files if file.path not in failed}
        )
        return failures

    def ensure_hooks(self) -> tuple[str, ...]:
        """Have a hook store the data of what is pushed, where there is none; returns warnings.

        A clone whose filter is configured for all repositories comes without
        hooks, and a push from there would move refs without their data.
        """
        hook = os.path.join(self.places.common_dir, "hooks", "pre-push")
        try:
            with open(open_regular(hook), "rb") as file:
                if b"git-datareg pre-push" in file.read(_HOOK_SIZE):
                    return ()
        except OSError:
            pass
        from git_datareg import installing

        try:
            return installing.ensure_hooks(self.repository)
        except (DataregError, OSError) as error:
            return (f"no hook stores data on git push: {error}",)

    @property
    def top(self) -> str:
        """The top of the work tree; where git runs filters and hooks."""
        return self._directory

    def close(self) -> None:
        """Remove what killed processes left long ago, and end what helped us."""
        if "bringer" in self.__dict__:
            self.bringer.close()
        if "places" in self.__dict__:
            remove_leftovers(self.own_objects)

    def _tracked_text(self) -> bytes:
        try:
            return read_regular(os.path.join(self._directory, ".datareg"))
        except (FileNotFoundError, IsADirectoryError):
            if not _may_list(self.places.index_file, b".datareg"):
                return b""
            from git_datareg.git import objects

            return objects.blob_at(self.repository, "", ".datareg") or b""

    def _open_project(self, treeish: str | None) -> Project:
        from git_datareg.projects import open_project

        return open_project(self.repository, self._environ, treeish)


class _Unless:
    """Says of an object that it need not be put among our own: it is nothing new.

    Git's index has its pointer already, so to keep it was cared for when that got there, and
    the cache has it. Else a file whose time stamp alone has changed would be doubled.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._bytes = 0

    def __call__(self, pointer: Pointer) -> bool:
        self._bytes += pointer.size
        if self._bytes <= _WORTH_ASKING or self._workspace.local.cache.find(pointer) is None:
            return False
        from git_datareg.git import objects

        object_format = self._workspace.repository.object_format
        return objects.blob_id(pointer.encode(), object_format) in self._staged

    @cached_property
    def _staged(self) -> frozenset[str]:
        """The ids that Git's index has."""
        from git_datareg.git import index

        return frozenset(entry.id for entry in index.entries(self._workspace.repository))


def _says_nothing(text: bytes) -> bool:
    """Whether a `.datareg` is of our version and without a threshold; cheap, never a wrong yes."""
    lines = [line for line in text.lower().splitlines() if b"version" in line]
    is_ours = all(b"".join(line.split()) == b"version=1" for line in lines)
    return is_ours and b"threshold" not in text.lower()


def _may_list(index_file: str, path: bytes) -> bool:
    """Whether an index may have a file at `path`; never a wrong no (gitformat-index(5))."""
    try:
        with open(index_file, "rb") as file:
            index = file.read()
    except FileNotFoundError:
        return False
    # Version 4 cuts names short, and a split index keeps entries elsewhere.
    is_whole = index[4:8] in (b"\0\0\0\2", b"\0\0\0\3") and b"link" not in index
    return not is_whole or path + b"\0" in index
