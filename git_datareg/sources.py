"""Where the objects of a project may be, path by path: its storages and those of its imports.

Moves no objects itself.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

from git_datareg import storages, trust
from git_datareg.downloads import Want
from git_datareg.git import index, objects, process
from git_datareg.git.reader import ObjectReader
from git_datareg.git.repository import Repository
from git_datareg.layout import ObjectStorage
from git_datareg.location import Location
from git_datareg.metafile import SUFFIX, Metafile, is_metafile
from git_datareg.pointer import Pointer
from git_datareg.projects import Project


class Import(NamedTuple):
    """An import that a tree has: its target's path, and what its metafile says."""

    path: bytes
    metafile: Metafile


class Sources:
    """Where the objects of one project may be, path by path.

    The metafiles of its imports are those in a commit, or (None) where we are now.
    Not for several threads at once.
    """

    def __init__(
        self, project: Project, treeish: str | None = None, reader: ObjectReader | None = None
    ) -> None:
        # A registry elsewhere does not say which repositories are on this machine.
        self._is_elsewhere = not project.repository.own and any(
            remote.location.path is None for remote in project.remotes
        )
        configured = list(storages.each_configured(project))
        self._own = [*(each for _, each in configured), *storages.embedded_ones(project)]
        self._globbed = [
            (each, storage) for each, storage in configured if each.include or each.exclude
        ]
        self._metafiles = _Metafiles(project.repository, treeish, reader)
        self._project = project
        self._hinted: dict[str, ObjectStorage] = {}

    def want(self, pointer: Pointer, path: bytes) -> Want:
        """The object for the file at `path`, with every storage to ask, best first."""
        return Want(pointer, path, self.storages(path))

    def storages(self, path: bytes) -> list[ObjectStorage]:
        """Storages for the file at `path`: those of its import first, then the project's."""
        found = self._metafiles.covering(path)
        return self.storages_of([found.metafile] if found is not None else [], path)

    def storages_of(self, metafiles: Sequence[Metafile], path: bytes) -> list[ObjectStorage]:
        """As `storages`, for a file of an import that has, or once had, these metafiles."""
        own = self._own_for(path)
        if not metafiles:
            return own
        return list(dict.fromkeys([*chain(*map(self._of_import, metafiles)), *own]))

    def _own_for(self, path: bytes) -> list[ObjectStorage]:
        """The project's storages, those first whose globs name the file."""
        if not self._globbed:
            return self._own
        first = [storage for each, storage in self._globbed if storages.takes(each, path)]
        return [*first, *(each for each in self._own if each not in first)]

    def imported(self, path: bytes) -> Import | None:
        """The import that the file at `path` belongs to, if any; raises MetafileError."""
        return self._metafiles.covering(path)

    def _of_import(self, metafile: Metafile) -> list[ObjectStorage]:
        found = []
        embedded_one = _embedded_of(metafile.url) if not self._is_elsewhere else None
        for spelled in (metafile.storage, embedded_one):
            if spelled is None:
                continue
            if spelled not in self._hinted:
                location = Location.parse(spelled)
                if self._is_elsewhere and not self._may_name(location, metafile.endpoint):
                    continue
                options = self._project.settings.options_for(
                    location, metafile.endpoint, metafile.region
                )
                self._hinted[spelled] = storages.opened(
                    self._project, location, options, writable=False
                )
            found.append(self._hinted[spelled])
        return found

    def _may_name(self, location: Location, endpoint: str | None) -> bool:
        """Whether a metafile of a registry elsewhere may have us reach a place."""
        allow = self._project.settings.allow_private
        registry = self._project.default_remote
        beside = registry.location if registry is not None else None
        named = [location, *map(Location, filter(None, [endpoint]))]
        return not any(trust.objection(each, allow_private=allow, beside=beside) for each in named)


class _Metafiles:
    """The import metafiles of a tree, found and read on demand."""

    def __init__(
        self, repository: Repository, treeish: str | None, reader: ObjectReader | None
    ) -> None:
        self._repository = repository
        self._treeish = treeish
        self._reader = reader
        self._ids: dict[bytes, str] | None = None
        #: By directory, where they are looked up one by one.
        self._in: dict[bytes, dict[bytes, str]] = {}
        self._read: dict[str, Metafile] = {}
        #: By directory: the import that it lies in, or is.
        self._around: dict[bytes, Import | None] = {b"": None}

    def covering(self, path: bytes) -> Import | None:
        """The import that the file at `path` belongs to, the innermost one."""
        return self._at(path) or self._over(path.rpartition(b"/")[0])

    def _over(self, directory: bytes) -> Import | None:
        if directory not in self._around:
            found = self._at(directory) or self._over(directory.rpartition(b"/")[0])
            self._around[directory] = found
        return self._around[directory]

    def _at(self, path: bytes) -> Import | None:
        id = self._id(path + SUFFIX.encode())
        if id is None:
            return None
        if id not in self._read:
            [(_, text)] = objects.read_blobs(self._repository, [id])
            self._read[id] = Metafile.parse(text, os.fsdecode(path) + SUFFIX)
        return Import(path, self._read[id])

    def _id(self, path: bytes) -> str | None:
        """The id of the file at `path`, if there is one."""
        if self._reader is not None and self._treeish is not None:
            directory, _, name = path.rpartition(b"/")
            if directory not in self._in:
                self._in[directory] = self._reader.files_ending(
                    self._treeish, directory, SUFFIX.encode()
                )
            return self._in[directory].get(name)
        if self._ids is None:
            self._ids = metafile_ids(self._repository, self._treeish)
        return self._ids.get(path)


def metafile_ids(repository: Repository, treeish: str | None) -> dict[bytes, str]:
    """The blob id of every import metafile, by path: in a commit, or (None) where we are now."""
    if treeish is not None:
        files = objects.files_ending(repository, treeish, SUFFIX.encode())
        return {path: id for path, id in files.items() if is_metafile(path)}
    found: dict[bytes, str] = {}
    for commit in _commits_at_hand(repository):
        found |= metafile_ids(repository, commit)
    found |= {
        entry.path: entry.id for entry in index.entries(repository) if is_metafile(entry.path)
    }
    return found


def _commits_at_hand(repository: Repository) -> list[str]:
    """HEAD, and what is being merged into it."""
    return objects.existing(repository, ["HEAD", *process.merging_commits()])


def _embedded_of(url: str) -> str | None:
    place = storages.embedded(Location.parse(url))
    return place.url if place is not None else None
