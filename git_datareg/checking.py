"""Checks: whether the objects that revisions need are whole, on this machine and in storages.

Nothing is changed but for the cache, whose damaged objects are removed: they are fetched
again when they are wanted. To make good what is found is `repairing`'s business.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

from git_datareg import lookups, needs, processes
from git_datareg.downloads import Want
from git_datareg.errors import (
    CorruptError,
    DataregError,
    IntegrityError,
    ObjectNotFoundError,
    PointerError,
    RevisionNotFoundError,
    StorageNotConfiguredError,
    StorageUnavailableError,
    UsageError,
)
from git_datareg.layout import ObjectStorage
from git_datareg.location import Location
from git_datareg.lookups import CORRUPT, MISSING, UNREADABLE, WRONG_SIZE, Flaw
from git_datareg.needs import Needs
from git_datareg.objects import ObjectDirectory, is_object
from git_datareg.origins import Opener
from git_datareg.pointer import Pointer
from git_datareg.projects import Project
from git_datareg.storages import storage_names, storage_pushed_to
from git_datareg.transfer import Advance, no_progress, outcomes
from git_datareg.workers import Lane

#: Files in Git that claim to be something and are not understood.
BAD_POINTER = "bad-pointer"
BAD_METAFILE = "bad-metafile"
#: A storage of a format that is not known here.
BAD_STORAGE = "bad-storage"
#: The kinds of problem that are corrupt data.
CORRUPT_KINDS = frozenset((CORRUPT, WRONG_SIZE, BAD_POINTER, BAD_METAFILE, BAD_STORAGE))

#: Where something is, if not in the storage of a name. No storage is named so.
OWN, CACHE, EMBEDDED, SOURCE, GIT = "(own)", "(cache)", "(embedded)", "(source)", "(git)"

#: Objects of at most so many bytes are read by children: for them the interpreter is what counts.
_SMALL = 1024 * 1024
#: To open a FIFO for reading would wait for a writer.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK


class Problem(NamedTuple):
    """Something that is not as it should be."""

    kind: str
    where: str
    #: None for what is about no object, or about one that can't be told.
    pointer: Pointer | None
    #: A file that needs it, from the repository's top; None for a whole storage.
    path: bytes | None
    error: DataregError
    is_repaired: bool = False


class Place(NamedTuple):
    """A storage, and what should be in it."""

    name: str
    storage: ObjectStorage
    wants: Sequence[Want]


class Scope(NamedTuple):
    """What is to be checked, with everything opened and nothing read yet."""

    needs: Needs
    places: Sequence[Place]
    #: What imports need of their sources; asked for only together with storages.
    imported: Sequence[Want]
    #: Whether what is in remote storages is read, as that on this machine is.
    reads: bool
    #: The directories of this machine, each with what it has of all that is needed.
    here: Sequence[tuple[str, ObjectDirectory, Sequence[Pointer]]]

    @property
    def size(self) -> int:
        """How many bytes are to be read."""
        local = sum(pointer.size for _, _, present in self.here for pointer in present)
        wants = [*(want for place in self.places for want in place.wants), *self.imported]
        return local + sum(want.pointer.size for want in wants if self.reads or _is_near(want))


class Report(NamedTuple):
    """What came out."""

    problems: Sequence[Problem]
    #: How many objects are needed, and how many of them are whole here, or not here at all.
    needed: int
    present: int
    absent: int
    #: For each place: how many objects should be there, and how many are.
    places: Sequence[tuple[str, int, int]]
    #: How many of those that a storage lacks are in no commit that a remote is known to have.
    unpushed: int


def scope(
    project: Project,
    needed: Needs,
    storages: Sequence[str | None] = (),
    *,
    reads: bool = False,
) -> Scope:
    """What there is to check; of storages those that are named, None is where pushes store.

    Raises StorageNotConfiguredError for a name that no storage has, and when pushes of
    what is needed have no place.
    """
    imported = [each.want for each in needed.found.values() if not each.is_own]
    local = project.local
    directories = [(OWN, local.own), (CACHE, local.cache)]
    here = [
        (name, each, [pointer for pointer in needed.found if _is_there(each, pointer)])
        for name, each in directories
        if each is not None
    ]
    places = _places(project, needed, storages)
    return Scope(needed, places, imported if storages else [], reads, here)


def check(
    project: Project,
    checked: Scope,
    opener: Opener,
    *,
    jobs: int | None = None,
    advance: Advance = no_progress,
) -> Report:
    """Check it all; every object, whatever is found. `opener` opens the sources of imports."""
    jobs, local = jobs or project.settings.jobs, project.local
    found = checked.needs.found
    problems = list(_in_git(checked.needs))
    whole: set[Pointer] = set()
    damaged: set[Pointer] = set()
    for name, directory, present in checked.here:
        flaws = _damaged(directory, present, jobs, advance)
        whole.update(pointer for pointer in present if pointer not in flaws)
        if name == OWN:
            damaged.update(flaws)
        elif name == CACHE:
            _remove(directory, flaws)
        problems += _problems(flaws, name, checked.needs)
    absent = found.keys() - whole - damaged
    asked = {want.pointer for place in checked.places for want in place.wants}
    problems += _lost(project, checked.needs, absent - asked, jobs)
    places, lacking = [], set[Pointer]()
    for place in checked.places:
        flaws, fault = _in_storage(place, jobs, checked.reads, advance)
        if _is_directory(place.storage, local.own):
            # A bare repository holds what is pushed to it: that was told above.
            flaws = {pointer: flaw for pointer, flaw in flaws.items() if pointer not in damaged}
        problems += [fault] if fault is not None else []
        problems += _problems(flaws, place.name, checked.needs)
        lacking.update(pointer for pointer, flaw in flaws.items() if flaw.kind == MISSING)
        there = 0 if fault is not None else len(place.wants) - len(flaws)
        places.append((place.name, len(place.wants), there))
    if checked.imported:
        flaws = _in_sources(project, checked, opener, jobs, advance)
        problems += _problems(flaws, SOURCE, checked.needs)
        places.append((SOURCE, len(checked.imported), len(checked.imported) - len(flaws)))
    unpushed = len(lacking & needs.unpushed(project, checked.needs)) if lacking else 0
    problems.sort(key=lambda each: (each.path or b"", each.where, each.kind))
    return Report(problems, len(found), len(whole), len(absent), places, unpushed)


def damage(directory: ObjectDirectory, pointer: Pointer) -> Flaw | None:
    """What is wrong with an object in a directory of this machine; it is read."""
    path = directory.path(pointer.digest)
    message = f"corrupt object {pointer.digest}: {path}"
    try:
        found = os.lstat(path)
        if not stat.S_ISREG(found.st_mode):
            return Flaw(CORRUPT, IntegrityError(f"{message} is not a file"))
        if found.st_size != pointer.size:
            what = f"{message} has {found.st_size} bytes instead of {pointer.size}"
            return Flaw(WRONG_SIZE, IntegrityError(what))
        descriptor = os.open(path, _READ)
        try:
            if is_object(descriptor, pointer):
                return None
        finally:
            os.close(descriptor)
    except (FileNotFoundError, NotADirectoryError):
        return Flaw(MISSING, ObjectNotFoundError(f"no object {pointer.digest} in {directory.root}"))
    except OSError as error:
        return Flaw(UNREADABLE, StorageUnavailableError(f"{error.strerror or error}: {path}"))
    return Flaw(CORRUPT, IntegrityError(message))


def _is_near(want: Want) -> bool:
    """Whether the first storage that is asked is on this machine."""
    return any(not each.storage.properties.is_remote for each in want.storages[:1])


def _is_directory(storage: ObjectStorage, directory: ObjectDirectory | None) -> bool:
    place = storage.storage.location.path
    if place is None or directory is None:
        return False
    return os.path.realpath(place) == os.path.realpath(directory.root)


def _is_there(directory: ObjectDirectory, pointer: Pointer) -> bool:
    return os.path.lexists(directory.path(pointer.digest))


class _Reading(NamedTuple):
    """A job: an object on this machine."""

    pointer: Pointer
    directory: ObjectDirectory
    advance: Advance

    def run(self) -> Flaw | None:
        """What is wrong with it."""
        flaw = damage(self.directory, self.pointer)
        self.advance(self.pointer.size, 1)
        return flaw


def _damaged(
    directory: ObjectDirectory, present: Sequence[Pointer], jobs: int, advance: Advance
) -> dict[Pointer, Flaw]:
    """What is wrong with objects that are there; those that have gone meanwhile are left out."""
    small = [pointer for pointer in present if pointer.size <= _SMALL]
    left = [pointer for pointer in present if pointer.size > _SMALL]
    left += _left_by_children(directory, small, jobs, advance)
    most = min(jobs, os.cpu_count() or 1)
    readings = [_Reading(pointer, directory, advance) for pointer in left]
    flaws = {
        job.pointer: flaw
        for job, flaw in outcomes([Lane(readings, most)], most, most)
        if flaw is not None
    }
    return {pointer: flaw for pointer, flaw in flaws.items() if flaw.kind != MISSING}


def _left_by_children(
    directory: ObjectDirectory, pointers: Sequence[Pointer], jobs: int, advance: Advance
) -> list[Pointer]:
    """Have several processes read what is worth it; returns those that may not be whole."""
    parts = processes.shares(pointers) if jobs > 1 else [pointers]
    if len(parts) < 2:
        return list(pointers)

    def work(part: Sequence[Pointer]) -> None:
        for pointer in part:
            flaw = damage(directory, pointer)
            if flaw is not None:
                raise flaw.error

    left: list[Pointer] = []
    for part, is_done in zip(parts, processes.in_children(parts, work), strict=True):
        if is_done:
            advance(sum(pointer.size for pointer in part), len(part))
        else:
            left += part
    return left


def _remove(cache: ObjectDirectory, flaws: dict[Pointer, Flaw]) -> None:
    for pointer, flaw in flaws.items():
        if flaw.kind != UNREADABLE:
            # What can't be removed (another user's) is found again by who wants it.
            with suppress(OSError):
                os.unlink(cache.path(pointer.digest))


def _problems(flaws: dict[Pointer, Flaw], where: str, needed: Needs) -> Iterator[Problem]:
    for pointer, flaw in flaws.items():
        yield Problem(flaw.kind, where, pointer, needed.found[pointer].want.path, flaw.error)


def _in_git(needed: Needs) -> Iterator[Problem]:
    for path, id, error in needed.unreadable:
        kind = BAD_POINTER if isinstance(error, PointerError) else BAD_METAFILE
        message = error.message
        if kind == BAD_POINTER:
            message = f"{os.fsdecode(path)}: {message} (blob {id})"
        yield Problem(kind, GIT, None, path, type(error)(message, *error.hints))


def _lost(
    project: Project, needed: Needs, absent: Iterable[Pointer], jobs: int
) -> Iterator[Problem]:
    """What is not here and can be nowhere else: no remote is known to have a file that needs it.

    A storage may have it all the same, so those are asked; one that can't be is no comfort.
    """
    suspects = set(absent)
    suspects = suspects & needs.unpushed(project, needed) if suspects else suspects
    flaws = lookups.sought([needed.found[each].want for each in suspects], jobs=jobs)
    for pointer, flaw in flaws.items():
        yield Problem(MISSING, OWN, pointer, needed.found[pointer].want.path, flaw.error)


def _in_storage(
    place: Place, jobs: int, reads: bool, advance: Advance
) -> tuple[dict[Pointer, Flaw], Problem | None]:
    """What is wrong with objects in a storage, or with the storage as a whole."""
    try:
        place.storage.check()
    except DataregError as error:
        kind = BAD_STORAGE if isinstance(error, CorruptError) else UNREADABLE
        return {}, Problem(kind, place.name, None, None, error)
    return lookups.sought(place.wants, jobs=jobs, reads=reads, advance=advance), None


def _in_sources(
    project: Project, checked: Scope, opener: Opener, jobs: int, advance: Advance
) -> dict[Pointer, Flaw]:
    """What is wrong with what imports need: nowhere, of all places to get it from, it is whole."""
    flaws = lookups.sought(checked.imported, jobs=jobs, reads=checked.reads, advance=advance)
    ways = checked.needs.ways(project, opener)
    left = [(want, ways(want.path)) for want in checked.imported if want.pointer in flaws]
    while left:
        groups = [(want, rest, next(rest, None)) for want, rest in left]
        wants = [want._replace(storages=found) for want, _, found in groups if found is not None]
        still = lookups.sought(wants, jobs=jobs, reads=checked.reads, advance=advance)
        for want in wants:
            if want.pointer not in still:
                del flaws[want.pointer]
        left = [
            (want, rest)
            for want, rest, found in groups
            if found is not None and want.pointer in still
        ]
    return flaws


def _places(project: Project, needed: Needs, names: Sequence[str | None]) -> list[Place]:
    """The storages that are asked for, each with what should be there."""
    own = {
        pointer: each.want
        for pointer, each in needed.found.items()
        if each.is_own and not each.is_staged
    }
    meant = storage_names(project, {want.path for want in own.values()}) if names else {}
    chosen: dict[str | None, dict[Pointer, Want]] = {}
    for name in dict.fromkeys(names):
        if name is not None:
            _check_name(project, name)
        for pointer, want in own.items():
            home = meant.get(want.path, project.settings.default)
            if name is None:
                chosen.setdefault(home, {})[pointer] = want
            elif _is_for(project, name, home, meant.values()):
                chosen.setdefault(name, {})[pointer] = want
    return [_place(project, name, list(wants.values())) for name, wants in chosen.items()]


def _is_for(project: Project, name: str, home: str | None, meant: Iterable[str]) -> bool:
    """Whether a file, whose pushes go to `home`, should be in the storage `name` too.

    A storage that only some files are meant for has no need of others; any other is a
    copy of everything, as `push --all --storage NAME` makes it.
    """
    storage = project.settings.storage(name)
    is_for_some = storage.include or storage.exclude or name in meant
    return home == name or not (is_for_some or name == project.settings.default)


def _place(project: Project, name: str | None, wants: Sequence[Want]) -> Place:
    remote = project.default_remote
    if remote is not None:
        base = remote.location
    elif name is None and project.repository.work_tree is not None:
        raise StorageNotConfiguredError(
            "no storage is configured, and there is no Git remote that could hold the data",
            "git datareg storage add -d NAME URL",
        )
    else:
        # What is pushed to a bare repository is in itself.
        base = Location(project.repository.top)
    storage = storage_pushed_to(project, base, name)
    only = [want._replace(storages=[storage]) for want in wants]
    return Place(name or EMBEDDED, storage, only)


def _check_name(project: Project, name: str) -> None:
    """Raise StorageNotConfiguredError for a storage of no such name."""
    try:
        project.settings.storage(name)
    except StorageNotConfiguredError:
        with suppress(RevisionNotFoundError):
            project.repository.resolve(name)
            raise UsageError(
                f"no storage named {name!r}: it is a revision",
                f"git datareg fsck --storage -- {name}",
            ) from None
        raise
