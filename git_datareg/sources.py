"""Which storages serve a repository: for a push, and for each path that is read.

Knows how settings, Git remotes and import metafiles name storages. Moves no
objects itself.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import NamedTuple

from git_datareg import settings as settings_module
from git_datareg import trust
from git_datareg.downloads import Want
from git_datareg.errors import (
    DataregError,
    StorageDeniedError,
    StorageError,
    StorageNotConfiguredError,
    StorageReadOnlyError,
    UsageError,
)
from git_datareg.git import config, index, objects, places, process
from git_datareg.git.reader import ObjectReader
from git_datareg.git.repository import Repository
from git_datareg.globs import is_chosen
from git_datareg.layout import ObjectStorage
from git_datareg.location import Location
from git_datareg.metafile import SUFFIX, Metafile, is_metafile
from git_datareg.objects import LocalObjects, ObjectDirectory
from git_datareg.pointer import Pointer
from git_datareg.settings import TRACKED_NAME, Settings, StorageSettings
from git_datareg.storage import Options, open_storage
from git_datareg.storage.refusing import RefusingStorage

#: Says in `.gitattributes` which storage a file's object is pushed to.
STORAGE_ATTRIBUTE = "datareg-storage"


class Remote(NamedTuple):
    """A Git remote: its name and where it is."""

    name: str
    location: Location


class Project(NamedTuple):
    """A repository with what is configured for it: what most operations work on."""

    repository: Repository
    settings: Settings
    local: LocalObjects
    remotes: tuple[Remote, ...]

    @property
    def default_remote(self) -> Remote | None:
        """`origin`, or the only remote there is."""
        for remote in self.remotes:
            if remote.name == "origin":
                return remote
        return self.remotes[0] if len(self.remotes) == 1 else None


def open_project(
    repository: Repository,
    environ: Mapping[str, str],
    treeish: str | None = None,
    reader: ObjectReader | None = None,
) -> Project:
    """The repository with its settings.

    `.datareg` is read from the commit `treeish` when one is named (through
    `reader`, if there is one), else from the work tree, the index or HEAD,
    whichever has it first. In a foreign repository the user's own
    configuration counts, never the repository's.
    """
    values = config.read(repository if repository.own else None)
    if reader is not None and treeish is not None:
        text = _text_at(reader, treeish, TRACKED_NAME.encode())
    else:
        text = _tracked_text(repository, treeish)
    settings = settings_module.build(values, text, environ)
    own = ObjectDirectory(repository.places.own_objects) if repository.own else None
    local = LocalObjects(own, ObjectDirectory(settings.cache))
    remotes = config.read(repository) if not repository.own else values
    return Project(repository, settings, local, _remotes(remotes, repository.top))


def embedded(location: Location) -> Location | None:
    """The embedded default storage of a Git remote that is a directory, else None."""
    if location.path is None:
        return None
    for directory in (location.path, location.path.rstrip("/") + ".git"):
        found = places.find(directory, {}) if os.path.isdir(directory) else None
        if found is not None:
            return Location(found.own_objects)
    return None


def storage_for_push(project: Project, remote: Location, name: str | None = None) -> ObjectStorage:
    """Where a push to the Git remote stores objects: the storage `name`, or the default one.

    Raises StorageNotConfiguredError when none is configured and the remote
    holds none itself, StorageReadOnlyError when it is only read.
    """
    chosen = name or project.settings.default
    if chosen is not None:
        configured = project.settings.storage(chosen)
        if configured.readonly:
            raise StorageReadOnlyError(f"storage {chosen!r} is read-only: {configured.location}")
    return storage_pushed_to(project, remote, name)


def storage_pushed_to(project: Project, remote: Location, name: str | None = None) -> ObjectStorage:
    """The storage of `storage_for_push`, for a look at it: one that is only read is opened so.

    Raises StorageNotConfiguredError as that does.
    """
    chosen = name or project.settings.default
    if chosen is not None:
        configured = project.settings.storage(chosen)
        location = _placed(project, configured, remote)
        return _opened(location, configured.options, writable=not configured.readonly)
    place = embedded(remote)
    if place is None:
        raise StorageNotConfiguredError(
            f"no storage for data files is configured, and {remote} can't hold them",
            "git datareg storage add -d NAME URL",
        )
    return ObjectStorage(open_storage(place))


def storage_names(project: Project, paths: Collection[bytes]) -> dict[bytes, str]:
    """The storages that files are meant for, where it is not the default one.

    An attribute `datareg-storage=NAME` in `.gitattributes` says so, else the `include`
    and `exclude` of a storage in `.datareg`. Raises StorageNotConfiguredError for a
    name that no storage has.
    """
    settings = project.settings
    names: dict[bytes, str] = {}
    globbed = [each for each in settings.storages.values() if each.include or each.exclude]
    for path in paths if globbed else ():
        name = next((each.name for each in globbed if _takes(each, path)), None)
        if name is not None and name != settings.default:
            names[path] = name
    if project.repository.own:
        names |= dict(index.attributes(project.repository, list(paths), STORAGE_ATTRIBUTE))
    for name in set(names.values()):
        settings.storage(name)
    return names


def _takes(storage: StorageSettings, path: bytes) -> bool:
    return is_chosen(path, storage.include, storage.exclude)


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
        configured = list(_configured(project))
        self._own = [*(each for _, each in configured), *_embedded_ones(project)]
        self._globbed = [
            (each, storage) for each, storage in configured if each.include or each.exclude
        ]
        self._metafiles = _Metafiles(project.repository, treeish, reader)
        self._settings = project.settings
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
        first = [storage for each, storage in self._globbed if _takes(each, path)]
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
                options = self._settings.options_for(location, metafile.endpoint, metafile.region)
                self._hinted[spelled] = _opened(location, options, writable=False)
            found.append(self._hinted[spelled])
        return found


class _Metafiles:
    """The import metafiles of a tree, found and read on demand."""

    def __init__(
        self, repository: Repository, treeish: str | None, reader: ObjectReader | None
    ) -> None:
        self._repository = repository
        self._treeish = treeish
        self._reader = reader
        self._ids: dict[bytes, str] | None = None
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
            entry = self._reader.entry(self._treeish, path)
            return entry.id if entry is not None and entry.is_file else None
        if self._ids is None:
            self._ids = metafile_ids(self._repository, self._treeish)
        return self._ids.get(path)


def _text_at(reader: ObjectReader, treeish: str, path: bytes) -> bytes | None:
    entry = reader.entry(treeish, path)
    found = reader.find(entry.id) if entry is not None and entry.is_file else None
    return found.content if found is not None else None


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


def configured_storages(project: Project, remote: Location | None) -> Iterator[ObjectStorage]:
    """The configured storages, for reading, the default one first.

    Left out are those that can't be: relative to a Git remote's URL without
    `remote` or above its root. One that must not be reached, or has no back end
    here, says so when it is asked.
    """
    return (storage for _, storage in _configured(project, remote))


def _configured(
    project: Project, remote: Location | None = None
) -> Iterator[tuple[StorageSettings, ObjectStorage]]:
    if remote is None and project.default_remote is not None:
        remote = project.default_remote.location
    for each in _default_first(project.settings):
        if each.location.is_relative and remote is None:
            continue
        try:
            location = _placed(project, each, remote)
        except UsageError:
            continue
        options = each.options
        if not project.repository.own and remote is not None and not each.is_users:
            options = options._replace(
                is_trusted=False, allow_private=project.settings.allow_private
            )
            fault = _objection(project, each, location, remote)
            if fault is not None:
                yield each, ObjectStorage(RefusingStorage(location, fault))
                continue
        yield each, _opened(location, options, writable=False)


def _objection(
    project: Project, storage: StorageSettings, location: Location, registry: Location
) -> StorageError | None:
    """Why a registry elsewhere may not have us reach its storage there, or None."""
    # A directory, say one that a team has mounted, is only read by digests: it tells nobody
    # anything.
    if registry.path is not None or location.path is not None or storage.location.is_relative:
        return None
    allow = project.settings.allow_private
    places = [location, *(map(Location, filter(None, [storage.options.endpoint])))]
    for place in places:
        reason = trust.objection(place, allow_private=allow, beside=registry)
        if reason is not None:
            return StorageDeniedError(
                f"{registry} may not name {reason} as its storage: {place}",
                f"if you trust it: git config --global datareg.{storage.name}.url {location}",
            )
    return None


def _embedded_ones(project: Project) -> Iterator[ObjectStorage]:
    known: set[Location] = set()
    if not project.repository.own:
        # What a source on this machine has cleaned and not pushed can be read there.
        known.add(Location(project.repository.places.own_objects))
    known |= {place for each in project.remotes if (place := embedded(each.location))}
    for place in sorted(place for place in known if os.path.isdir(place.path or "")):
        yield ObjectStorage(open_storage(place, writable=False))


def _default_first(settings: Settings) -> Sequence[StorageSettings]:
    return sorted(settings.storages.values(), key=lambda each: each.name != settings.default)


def _placed(project: Project, storage: StorageSettings, base: Location | None) -> Location:
    """Where a storage is, read against the Git remote's URL."""
    top = project.repository.top
    location = storage.location
    if base is not None:
        location = location.resolve(base.absolute(top))
    return location.absolute(top)


def _opened(location: Location, options: Options, *, writable: bool = True) -> ObjectStorage:
    """The storage; one that can't be opened says so when it is asked."""
    try:
        if location.scheme in ("file", "memory"):
            return ObjectStorage(open_storage(location, options, writable=writable), options)
        return _opened_once(location, options, writable)
    except StorageError as fault:
        return ObjectStorage(RefusingStorage(location, fault), options)


@lru_cache(maxsize=64)
def _opened_once(location: Location, options: Options, writable: bool) -> ObjectStorage:
    # Connections, and what was found out about the place, are worth keeping.
    return ObjectStorage(open_storage(location, options, writable=writable), options)


def _embedded_of(url: str) -> str | None:
    place = embedded(Location.parse(url))
    return place.url if place is not None else None


def _tracked_text(repository: Repository, treeish: str | None) -> bytes | None:
    if treeish is not None:
        return objects.blob_at(repository, treeish, TRACKED_NAME)
    if repository.work_tree is not None and repository.own:
        try:
            with open(os.path.join(repository.work_tree, TRACKED_NAME), "rb") as file:
                return file.read()
        except (FileNotFoundError, IsADirectoryError):
            staged = objects.blob_at(repository, "", TRACKED_NAME)
            if staged is not None:
                return staged
    return objects.blob_at(repository, "HEAD", TRACKED_NAME)


def _remotes(values: Sequence[config.ConfigValue], top: str) -> tuple[Remote, ...]:
    remotes: dict[str, Remote] = {}
    for value in values:
        section, _, variable = value.key.rpartition(".")
        if section.startswith("remote.") and variable == "url":
            name = section.removeprefix("remote.")
            try:
                location = Location.parse(config.rewritten(value.value, values)).absolute(top)
            except DataregError:
                continue
            remotes.setdefault(name, Remote(name, location))
    return tuple(remotes.values())
