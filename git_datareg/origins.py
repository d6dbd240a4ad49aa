"""Where an import's objects come from, when no storage that is known here has them.

The metafile says from which registry and commit they were imported; that
registry knows its storages, those it had then and those it has now. If it had
imported them itself, the next one is asked, and so on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from typing import NamedTuple

from git_datareg import downloads, registry, trust
from git_datareg.downloads import Want
from git_datareg.errors import DataregError
from git_datareg.layout import ObjectStorage
from git_datareg.location import Location
from git_datareg.objects import ObjectDirectory
from git_datareg.projects import Project
from git_datareg.registry import Source
from git_datareg.sources import Import, Sources
from git_datareg.transfer import Advance, Failure, no_progress

#: How many registries are asked in turn; nobody means longer chains.
_MAX_LINKS = 20

#: Opens a registry at a revision.
Opener = Callable[[Location, "str | None"], Source]
#: For the file at a path: storages to ask one group after the other, each found out when needed.
Ways = Callable[[bytes], Iterator[Sequence[ObjectStorage]]]


class _Tree(NamedTuple):
    """A tree that may have imports: what it knows of storages, and whose word it is."""

    sources: Sources
    #: What relative paths are read against.
    top: str
    #: Whether it is a registry that is not on this machine.
    is_foreign: bool
    allow_private: bool
    #: Opens the registries that it names.
    opener: Opener


class _Origin:
    """A registry at the commit that was imported."""

    def __init__(self, source: Source, sources: Sources) -> None:
        self._source = source
        settings = source.project.settings
        is_foreign = source.location.path is None
        self.tree = _Tree(
            sources,
            source.repository.top,
            is_foreign,
            settings.allow_private,
            source.open_other,
        )

    @cached_property
    def later(self) -> Sources | None:
        """Its storages as they are now; None when it can't be asked."""
        try:
            return self._source.later_sources()
        except DataregError:
            return None


class Origins:
    """The registries that imports came from, each opened once. Safe for several threads."""

    def __init__(self, opener: Opener) -> None:
        self._opener = opener
        self._lock = threading.Lock()
        self._opened: dict[tuple[str, str], _Origin | None] = {}

    def of_project(self, project: Project, sources: Sources) -> Ways:
        """The ways to what the imports of one of the user's repositories lack."""
        allowed = project.settings.allow_private
        tree = _Tree(sources, project.repository.top, False, allowed, self._opener)
        return lambda path: self._followed(tree, path)

    def of_source(self, source: Source, sources: Sources) -> Ways:
        """The ways to what a source lacks: its storages as they are now, then its imports'."""
        origin = _Origin(source, sources)

        def ways(path: bytes) -> Iterator[Sequence[ObjectStorage]]:
            yield self._later(origin, path)
            yield from self._followed(origin.tree, path)

        return ways

    def _followed(self, tree: _Tree, path: bytes) -> Iterator[Sequence[ObjectStorage]]:
        """The storages of the registry that a file was imported from, then of that one's, ..."""
        for _ in range(_MAX_LINKS):
            # Whoever else waits wants the same registry.
            with self._lock:
                found = tree.sources.imported(path)
                origin = self._open(tree, found) if found is not None else None
                if found is None or origin is None:
                    return
                tree, path = origin.tree, _path_in_origin(found, path)
                storages = tree.sources.storages(path)
            yield storages
            yield self._later(origin, path)

    def _later(self, origin: _Origin, path: bytes) -> Sequence[ObjectStorage]:
        with self._lock:
            return origin.later.storages(path) if origin.later is not None else ()

    def _open(self, tree: _Tree, found: Import) -> _Origin | None:
        """The registry of an import; None when it can't be had, or must not be asked for."""
        location = Location.parse(found.metafile.url)
        if tree.is_foreign and trust.objection(location, allow_private=tree.allow_private):
            return None
        location = location.absolute(tree.top)
        key = (location.url, found.metafile.commit)
        if key not in self._opened:
            self._opened[key] = None
            # The fault of the storage that was asked first says more.
            with suppress(DataregError):
                source = tree.opener(location, found.metafile.commit)
                self._opened[key] = _Origin(source, source.sources())
        return self._opened[key]


def download(
    failures: Sequence[Failure],
    ways: Ways,
    into: ObjectDirectory,
    *,
    jobs: int,
    advance: Advance = no_progress,
) -> list[Failure]:
    """Try to bring objects that failed; returns those that still do, with their first faults."""
    left = [(each, ways(each.path)) for each in failures]
    lost: set[Failure] = set()
    while left:
        wants: list[Want] = []
        for each, groups in left:
            storages = next(groups, None)
            if storages is None:
                lost.add(each)
            else:
                wants.append(Want(each.pointer, each.path, storages))
        late = {(each.pointer, each.path) for each in _tried(wants, into, jobs, advance)}
        left = [(each, groups) for each, groups in left if (each.pointer, each.path) in late]
    return [each for each in failures if each in lost]


def _tried(
    wants: Sequence[Want], into: ObjectDirectory, jobs: int, advance: Advance
) -> list[Failure]:
    return downloads.download(wants, into, jobs=jobs, advance=advance) if wants else []


def fetch(want: Want, ways: Ways, into: ObjectDirectory) -> None:
    """Bring one object, from its storages or by the ways; raises the first fault."""
    try:
        downloads.fetch(want, into)
    except DataregError:
        for storages in ways(want.path):
            with suppress(DataregError):
                downloads.fetch(want._replace(storages=storages), into)
                return
        raise


def _path_in_origin(found: Import, path: bytes) -> bytes:
    """The path, in the registry that it came from, of a file of an import."""
    return (registry.normal(found.metafile.path) + path[len(found.path) :]).removeprefix(b"/")
