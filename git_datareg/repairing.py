"""Repairs: puts whole copies where a check found objects missing or damaged.

A copy is read and found whole before anything damaged gives way to it. What has no
whole copy anywhere stays as it is: a part of it may be all that there is.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from git_datareg import origins
from git_datareg.checking import CACHE, OWN, SOURCE, Place, Problem, Scope, damage
from git_datareg.downloads import Want, download
from git_datareg.errors import (
    DataregError,
    IntegrityError,
    ObjectNotFoundError,
    StorageReadOnlyError,
)
from git_datareg.layout import ObjectStorage, object_key
from git_datareg.lookups import CORRUPT, MISSING, WRONG_SIZE
from git_datareg.objects import LocalObjects, ObjectDirectory
from git_datareg.origins import Opener
from git_datareg.pointer import Pointer
from git_datareg.projects import Project
from git_datareg.transfer import Advance, no_progress, unavailable
from git_datareg.uploads import upload

#: What a copy makes good. A place that failed may have the object: it is left alone.
_KINDS = frozenset((MISSING, CORRUPT, WRONG_SIZE))


class Repaired(NamedTuple):
    """The problems, with what was repaired marked so, and why the rest was not."""

    problems: Sequence[Problem]
    faults: Sequence[DataregError]


def repair(
    project: Project,
    checked: Scope,
    problems: Sequence[Problem],
    opener: Opener,
    *,
    jobs: int | None = None,
    advance: Advance = no_progress,
) -> Repaired:
    """Make good what can be: by copies that are here, in the work tree, or in another storage.

    Copies from elsewhere pass through the cache. What is damaged in a storage is removed
    there and stored again, since nothing is ever replaced in one. The storages that
    imports come from are their owners' business.
    """
    broken: dict[str, dict[Pointer, str]] = {}
    for each in problems:
        if each.pointer is not None and each.kind in _KINDS and each.where != SOURCE:
            broken.setdefault(each.where, {})[each.pointer] = each.kind
    places = {place.name: place for place in checked.places}
    copies = _Copies(project, checked, jobs or project.settings.jobs, advance)
    copies.gather(broken, places, opener)
    done: set[tuple[str, Pointer]] = set()
    for where, flaws in broken.items():
        curable = {pointer: kind for pointer, kind in flaws.items() if pointer in copies.found}
        if where == OWN:
            cured: Collection[Pointer] = copies.put_in_own(curable)
        elif where == CACHE:
            cured = curable
        else:
            cured = copies.store(places[where], curable)
        done |= {(where, pointer) for pointer in cured}
    marked = [
        each._replace(is_repaired=each.pointer is not None and (each.where, each.pointer) in done)
        for each in problems
    ]
    return Repaired(marked, copies.faults)


class _Copies:
    """Whole copies on this machine of what is to be repaired."""

    def __init__(self, project: Project, checked: Scope, jobs: int, advance: Advance) -> None:
        #: The directory that has each.
        self.found: dict[Pointer, ObjectDirectory] = {}
        #: What kept us from one, or from putting it somewhere.
        self.faults: list[DataregError] = []
        self._project = project
        self._needs = checked.needs
        self._jobs = jobs
        self._advance = advance

    def gather(
        self, broken: Mapping[str, Collection[Pointer]], places: Mapping[str, Place], opener: Opener
    ) -> None:
        """Have a copy of as many as can be of what is broken, by where it is."""
        cache = self._project.local.cache
        at: dict[Pointer, set[str]] = {}
        for where, pointers in broken.items():
            for pointer in pointers:
                at.setdefault(pointer, set()).add(where)
        for pointer, found in at.items():
            self._look(pointer)
            into = self._project.local.own if OWN in found else cache
            if pointer not in self.found and into is not None:
                self._take_from_work_tree(pointer, into)
        wants = []
        for pointer in at.keys() - self.found.keys():
            want = self._needs.found[pointer].want
            known = {places[name].storage.storage.location for name in at[pointer] & places.keys()}
            others = [each for each in want.storages if each.storage.location not in known]
            wants.append(want._replace(storages=others))
        self._fetch(wants, opener)

    def _fetch(self, wants: Sequence[Want], opener: Opener) -> None:
        if not wants:
            return
        cache = self._project.local.cache
        failures = download(wants, cache, jobs=self._jobs, advance=self._advance)
        ways = self._needs.ways(self._project, opener)
        failures = origins.download(failures, ways, cache, jobs=self._jobs, advance=self._advance)
        for want in wants:
            self._look(want.pointer)
        self.faults += [
            each.error for each in failures if not isinstance(each.error, ObjectNotFoundError)
        ]

    def put_in_own(self, pointers: Collection[Pointer]) -> list[Pointer]:
        """Put copies among the repository's own objects; returns those that are there now."""
        own = self._project.local.own
        done: list[Pointer] = []
        if own is None:
            return done
        for pointer in pointers:
            try:
                if self.found[pointer] is not own:
                    own.copy(pointer, self.found[pointer].path(pointer.digest))
                done.append(pointer)
            except DataregError as error:
                self.faults.append(error)
            except OSError as error:
                self.faults.append(unavailable(error, own.root))
        return done

    def store(self, place: Place, flaws: Mapping[Pointer, str]) -> list[Pointer]:
        """Store copies, instead of what is damaged there; returns those that are whole now."""
        if not place.storage.storage.properties.writable:
            if flaws:
                message = f"storage {place.name!r} is read-only: {place.storage}"
                self.faults.append(StorageReadOnlyError(message))
            return []
        ready: dict[ObjectDirectory, list[tuple[Pointer, bytes]]] = {}
        for pointer, kind in flaws.items():
            directory, path = self.found[pointer], self._needs.found[pointer].want.path
            try:
                if kind != MISSING:
                    _make_room(place.storage, pointer, directory)
                ready.setdefault(directory, []).append((pointer, path))
            except DataregError as error:
                self.faults.append(error)
        done: list[Pointer] = []
        for directory, items in ready.items():
            done += self._upload(items, directory, place.storage)
        return done

    def _upload(
        self, items: list[tuple[Pointer, bytes]], source: ObjectDirectory, storage: ObjectStorage
    ) -> list[Pointer]:
        # The directory alone: elsewhere may lie a damaged one.
        here = LocalObjects(None, source)
        try:
            _, failures = upload(items, here, storage, jobs=self._jobs, advance=self._advance)
        except DataregError as error:
            self.faults.append(error)
            return []
        self.faults += [each.error for each in failures]
        failed = {each.pointer for each in failures}
        return [pointer for pointer, _ in items if pointer not in failed]

    def _look(self, pointer: Pointer) -> None:
        for directory in filter(None, (self._project.local.own, self._project.local.cache)):
            if damage(directory, pointer) is None:
                self.found[pointer] = directory
                return

    def _take_from_work_tree(self, pointer: Pointer, into: ObjectDirectory) -> None:
        """Copy the file that needs it, if that is the object itself."""
        work_tree = self._project.repository.work_tree
        if work_tree is None:
            return
        path = os.path.join(work_tree, os.fsdecode(self._needs.found[pointer].want.path))
        with suppress(OSError, IntegrityError):
            found = os.lstat(path)
            if stat.S_ISREG(found.st_mode) and found.st_size == pointer.size:
                into.copy(pointer, path)
                self.found[pointer] = into


def _make_room(storage: ObjectStorage, pointer: Pointer, source: ObjectDirectory) -> None:
    """Remove what a storage has under an object's name, unless that is the very copy."""
    path = storage.storage.file(object_key(pointer.digest))
    if path is None or os.path.realpath(path) != os.path.realpath(source.path(pointer.digest)):
        storage.storage.delete(object_key(pointer.digest))
