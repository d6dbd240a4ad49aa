"""The storages of a project: which there are, where they are, how they may be reached."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from git_datareg import embedding, trust
from git_datareg.errors import (
    StorageDeniedError,
    StorageError,
    StorageNotConfiguredError,
    StorageNotFoundError,
    StorageReadOnlyError,
    UsageError,
)
from git_datareg.git import index, places
from git_datareg.git.credentials import GitCredentials
from git_datareg.git.repository import Repository
from git_datareg.globs import is_chosen
from git_datareg.layout import ObjectStorage, is_marked
from git_datareg.location import Location, is_storages
from git_datareg.projects import Project
from git_datareg.settings import Settings, StorageSettings
from git_datareg.storage import Options, Storage, open_storage
from git_datareg.storage.credentials import Netrc
from git_datareg.storage.deferred import DeferredStorage
from git_datareg.storage.refusing import RefusingStorage

if TYPE_CHECKING:
    from git_datareg.notes import Notes

#: Says in `.gitattributes` which storage a file's object is pushed to.
STORAGE_ATTRIBUTE = "datareg-storage"


def embedded(location: Location) -> Location | None:
    """Where a Git remote by itself has its objects, else None.

    For a repository in a directory that is the embedded default storage, for a serverless
    registry its own place.
    """
    if location.path is None:
        return location if is_storages(location) else None
    for directory in (location.path, location.path.rstrip("/") + ".git"):
        found = places.find(directory, {}) if os.path.isdir(directory) else None
        if found is not None:
            return Location(found.own_objects)
    return location if is_marked(location.path) else None


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
        return opened(project, location, configured.options, writable=not configured.readonly)
    place = embedded(remote)
    if place is not None:
        return opened(project, place, _options_of(project, place, is_foreign=False))
    reason = ""
    try:
        place = embedding.over_ssh(remote)
    except StorageError as error:
        reason = f": {error}"
    if place is None:
        raise StorageNotConfiguredError(
            f"no storage for data files is configured, and {remote} can't hold them{reason}",
            "git datareg storage add -d NAME URL",
        )
    return opened(project, place, Options())


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
        name = next((each.name for each in globbed if takes(each, path)), None)
        if name is not None and name != settings.default:
            names[path] = name
    if project.repository.own:
        names |= dict(index.attributes(project.repository, list(paths), STORAGE_ATTRIBUTE))
    for name in set(names.values()):
        settings.storage(name)
    return names


def takes(storage: StorageSettings, path: bytes) -> bool:
    """Whether a storage's globs name the file."""
    return is_chosen(path, storage.include, storage.exclude)


def configured_storages(project: Project, remote: Location | None) -> Iterator[ObjectStorage]:
    """The configured storages, for reading, the default one first.

    Left out are those that can't be: relative to a Git remote's URL without
    `remote` or above its root. One that must not be reached, or has no back end
    here, says so when it is asked.
    """
    return (storage for _, storage in each_configured(project, remote))


def each_configured(
    project: Project, remote: Location | None = None
) -> Iterator[tuple[StorageSettings, ObjectStorage]]:
    """As `configured_storages`, with what is configured; `remote` None is the default one."""
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
            if location.scheme != "s3":
                is_trusted = trust.is_beside(location, remote) or project.settings.trusts(location)
                options = options._replace(is_trusted=is_trusted)
            options = options._replace(allow_private=project.settings.allow_private)
            fault = _objection(project, each, location, remote)
            if fault is not None:
                yield each, ObjectStorage(RefusingStorage(location, fault))
                continue
        yield each, opened(project, location, options, writable=False)


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


def embedded_ones(project: Project) -> Iterator[ObjectStorage]:
    """The embedded storages of the project's Git remotes, and own objects of a source here."""
    known: set[Location] = set()
    if not project.repository.own:
        # What a source on this machine has cleaned and not pushed can be read there.
        known.add(Location(project.repository.places.own_objects))
    known |= {place for each in project.remotes if (place := embedded(each.location))}
    for place in sorted(place for place in known if os.path.isdir(place.path or "")):
        yield ObjectStorage(open_storage(place, writable=False))
    for each in project.remotes:
        if embedding.may_be_over_ssh(each.location):
            yield _over_ssh(each.location)
        elif is_storages(each.location):
            options = _options_of(project, each.location, is_foreign=each.is_foreign)
            yield opened(project, each.location, options, writable=False)
        elif each.may_be_serverless and each.location.scheme in ("http", "https"):
            options = _options_of(project, each.location, is_foreign=each.is_foreign)
            if not notes_on(each.location, options, project.settings).is_gits:
                yield _published(project, each.location, options)


def _options_of(project: Project, remote: Location, *, is_foreign: bool) -> Options:
    """How to reach a serverless registry that is a remote, or is read as one."""
    options = project.settings.options_for(remote)
    return options if is_foreign else options._replace(is_trusted=True, allow_private=True)


def _published(project: Project, remote: Location, options: Options) -> ObjectStorage:
    """The registry that a web server publishes, if it is one; it is not asked yet."""

    def find() -> Storage:
        from git_datareg.history import History

        found = opened(project, remote, options, writable=False).storage
        if not History(found).is_told():
            raise StorageNotFoundError(
                f"no storage is configured, and {remote} is no serverless registry",
                "git datareg storage add -d NAME URL",
            )
        return found

    return ObjectStorage(DeferredStorage(remote, find))


def _over_ssh(remote: Location) -> ObjectStorage:
    """The embedded storage of a Git remote that ssh reaches; that machine is not asked yet."""

    def find() -> Storage:
        place = embedding.over_ssh(remote)
        if place is None:
            raise StorageNotFoundError(f"no Git repository to hold objects: {remote}")
        return open_storage(place, writable=False)

    shown = Location(f"{str(remote).rstrip('/')}/datareg")
    return ObjectStorage(DeferredStorage(shown, find))


def _default_first(settings: Settings) -> Sequence[StorageSettings]:
    return sorted(settings.storages.values(), key=lambda each: each.name != settings.default)


def _placed(project: Project, storage: StorageSettings, base: Location | None) -> Location:
    """Where a storage is, read against the Git remote's URL."""
    top = project.repository.top
    location = storage.location
    if base is not None:
        location = location.resolve(base.absolute(top))
    return location.absolute(top)


def opened(
    project: Project, location: Location, options: Options, *, writable: bool = True
) -> ObjectStorage:
    """The storage; one that can't be opened says so when it is asked."""
    own = project.repository if project.repository.own else None
    return reached(project.settings, own, location, options, writable=writable)


def reached(
    settings: Settings,
    repository: Repository | None,
    location: Location,
    options: Options,
    *,
    writable: bool = True,
) -> ObjectStorage:
    """As `opened`, where there need be no project.

    With a repository of the user's own the user may be asked for a login.
    """
    try:
        if location.scheme in ("file", "memory"):
            return ObjectStorage(open_storage(location, options, writable=writable), options)
        logins = _Logins(settings.netrc, repository)
        options = options._replace(ca_file=settings.ca_file)
        # A program may change its environment, say after its logins were refused.
        return _opened_once(location, options, writable, logins, frozenset(os.environ.items()))
    except StorageError as error:
        fault = error
    except UsageError as error:
        # A URL that can't be one of this kind of storage, in a file that is anybody's.
        fault = StorageNotConfiguredError(error.message, *error.hints)
    return ObjectStorage(RefusingStorage(location, fault), options)


def notes_on(location: Location, options: Options, settings: Settings) -> Notes:
    """What this machine remembers of a place as it is reached from here."""
    from git_datareg import notes

    return notes.on(location, options, settings.cache, os.environ)


class _Logins(NamedTuple):
    """Where the user's logins for servers are; a foreign repository has no say in it."""

    netrc: str
    repository: Repository | None


@lru_cache(maxsize=64)
def _opened_once(
    location: Location,
    options: Options,
    writable: bool,
    logins: _Logins,
    environ: frozenset[tuple[str, str]],
) -> ObjectStorage:
    # Connections, and what was found out about the place, are worth keeping.
    helpers = GitCredentials(logins.repository, may_ask=logins.repository is not None)
    asked = options._replace(credentials=(Netrc(logins.netrc), helpers))
    return ObjectStorage(open_storage(location, asked, writable=writable), options)
