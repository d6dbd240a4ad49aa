"""Brings objects for a checkout: many at once, when Git asks what has arrived.

Git lets a filter answer "later" (gitattributes(5), "delay"), and asks when it has
named all files. What fails is told last, since Git stops at the first
failure: so everything else is in place by then.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from typing import NamedTuple

from git_datareg import origins
from git_datareg.downloads import Want, download
from git_datareg.errors import DataregError
from git_datareg.filtering import DEFER_FROM
from git_datareg.globs import is_chosen
from git_datareg.origins import Opener, Origins, Ways
from git_datareg.pointer import Pointer
from git_datareg.projects import Project
from git_datareg.sources import Sources
from git_datareg.upcoming import Expected, Upcoming

#: How much comes before Git is told. More would leave the user without a word for too long,
#: as Git shows how far it is only then; and for each answer it walks its whole list of paths.
_BATCH_OBJECTS = 4096
_BATCH_BYTES = 256 * 1024 * 1024


class _Opened(NamedTuple):
    """A project as one commit configures it."""

    project: Project
    sources: Sources
    ways: Ways


class _Started(NamedTuple):
    """An object to be brought, and all paths that wait for it."""

    want: Want
    treeish: str | None
    paths: list[bytes]


class Bringer:
    """Brings objects into the cache for one git command. Not for several threads.

    `open_project` gives the project as the commit that is checked out (or None)
    configures it; it is asked once per commit, and not before anything is missing.
    `opener` opens the registries of imports, when their storages can't be found without.
    """

    def __init__(self, open_project: Callable[[str | None], Project], opener: Opener) -> None:
        self._open_project = open_project
        self._origins = Origins(opener)
        self._opened: dict[str | None, _Opened] = {}
        self._started: dict[Pointer, _Started] = {}
        self._failed: list[bytes] = []
        self._faults: dict[Pointer, DataregError] = {}
        self._upcoming: dict[str, Upcoming] = {}

    def close(self) -> None:
        """End what was begun on this machine to look ahead."""
        for each in self._upcoming.values():
            each.close()

    def wants(self, path: bytes, treeish: str | None) -> bool:
        """Whether the file's object is to be brought, by the globs of what is fetched."""
        settings = self._at(treeish).project.settings
        return is_chosen(path, settings.include, settings.exclude)

    def bring(self, pointer: Pointer, path: bytes, treeish: str | None) -> None:
        """Bring an object into the cache now; raises DataregError, at once after a `ready`."""
        if pointer in self._faults:
            raise self._faults[pointer]
        project, sources, ways = self._at(treeish)
        origins.fetch(sources.want(pointer, path), ways, project.local.cache)

    def look_ahead(
        self, pointer: Pointer, path: bytes, treeish: str, was_asked: Container[bytes]
    ) -> bool:
        """Bring a small object and those that Git will ask for next; whether it came.

        For a commit that is checked out whole, in the order of its paths; `was_asked` has
        those paths that Git has asked for. What does not come is not told here.
        """
        if treeish not in self._upcoming:
            self._upcoming[treeish] = Upcoming(self._at(treeish).project.repository, treeish)
        upcoming = self._upcoming[treeish]
        expected = upcoming.after(path, was_asked)
        try:
            wants = list(self._wants([Expected(path, pointer), *expected], treeish))
        except DataregError:
            # If it is about the file itself, it is told when that is started.
            return False
        if len(wants) < 2:
            # One alone had better come with all that is delayed.
            return False
        project = self._at(treeish).project
        failures = download(wants, project.local.cache, jobs=project.settings.jobs)
        if failures:
            # They are tried again in the end, and told; nothing else is tried twice.
            upcoming.close()
        return all(each.pointer != pointer for each in failures)

    def _wants(self, expected: Sequence[Expected], treeish: str) -> Iterator[Want]:
        """What is to be brought of small files; those beyond a batch are left for later."""
        left = _BATCH_BYTES
        for path, pointer in expected:
            if pointer.size < DEFER_FROM and self.wants(path, treeish):
                left -= pointer.size
                if left < 0:
                    return
                yield self._at(treeish).sources.want(pointer, path)

    def start(self, pointer: Pointer, path: bytes, treeish: str | None) -> None:
        """Have an object brought; `path` is in a later `ready` whether it came or not.

        Raises DataregError, and promises nothing, when it can't be told from where.
        """
        started = self._started.get(pointer)
        if started is None:
            want = self._at(treeish).sources.want(pointer, path)
            started = self._started[pointer] = _Started(want, treeish, [])
        started.paths.append(path)
        self._faults.pop(pointer, None)

    def ready(self) -> list[bytes]:
        """Started paths that are decided, at least one; none left: an empty list.

        What came is told first, what failed when all else is told.
        """
        while self._started:
            told = self._brought(self._batch())
            if told:
                return told
        told, self._failed = self._failed, []
        return told

    def _batch(self) -> list[_Started]:
        """What is to be brought next, of one commit."""
        batch: list[_Started] = []
        left = _BATCH_BYTES
        for each in self._started.values():
            is_full = left <= 0 or len(batch) == _BATCH_OBJECTS
            if batch and (is_full or each.treeish != batch[0].treeish):
                break
            batch.append(each)
            left -= each.want.pointer.size
        for each in batch:
            del self._started[each.want.pointer]
        return batch

    def _brought(self, batch: list[_Started]) -> list[bytes]:
        """Bring the objects; the paths whose objects came."""
        project, _, ways = self._at(batch[0].treeish)
        cache, jobs = project.local.cache, project.settings.jobs
        failures = download([each.want for each in batch], cache, jobs=jobs)
        if failures:
            failures = origins.download(failures, ways, cache, jobs=jobs)
        self._faults |= {each.pointer: each.error for each in failures}
        told: list[bytes] = []
        for each in batch:
            (self._failed if each.want.pointer in self._faults else told).extend(each.paths)
        return told

    def _at(self, treeish: str | None) -> _Opened:
        if treeish not in self._opened:
            project = self._open_project(treeish)
            sources = Sources(project, treeish)
            ways = self._origins.of_project(project, sources)
            self._opened[treeish] = _Opened(project, sources, ways)
        return self._opened[treeish]
