"""Which kind of registry a URL names: one that git itself reads, or a serverless one."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from git_datareg import storages
from git_datareg.errors import StorageError
from git_datareg.git import config, places
from git_datareg.git.repository import Repository
from git_datareg.layout import is_marked
from git_datareg.location import Location, is_storages
from git_datareg.settings import Settings
from git_datareg.storage import Options

if TYPE_CHECKING:
    from git_datareg.serverless import Registry

_WEB = frozenset(("http", "https"))


def find(
    location: Location,
    settings: Settings,
    repository: Repository | None,
    *,
    is_foreign: bool = False,
) -> Registry | None:
    """The serverless registry at a location, or where one may be made; None is for git.

    A web server is asked, where git would. `is_foreign`: not the user named it, but a
    registry. With a repository of the user's own the user may be asked for a login. Raises
    UsageError and StorageError for what can't be opened.
    """
    if location.scheme in _WEB:
        location = Location.parse(config.rewritten(location.url, config.read(repository)))
    if not may_be_one(location):
        return None
    from git_datareg.serverless import Registry

    options = settings.options_for(location)
    if not is_foreign:
        options = options._replace(is_trusted=True, allow_private=True)
    notes = storages.notes_on(location, options, settings)
    if location.scheme in _WEB:
        if notes.is_gits:
            return None
        # As one that is only read; and nobody is asked for a login, since git may do that.
        place = storages.reached(settings, None, location, options, writable=False)
        found = Registry(place, notes)
        with suppress(StorageError):
            return found if found.history.is_told() else None
        return None
    return Registry(storages.reached(settings, repository, location, options), notes)


def note_gits(location: Location, settings: Settings) -> None:
    """Note that git has read what is at a location: for a day its web server is not asked again."""
    storages.notes_on(location, Options(), settings).note_gits()


def is_serverless(path: str) -> bool:
    """Whether a directory on this machine is a serverless registry."""
    return is_marked(path) and not _is_gits(path)


def _is_gits(path: str) -> bool:
    """Whether git takes a path for one of a repository."""
    return any(
        os.path.isdir(directory) and places.find(directory, {}) is not None
        for directory in (path, path.rstrip("/") + ".git")
    )


def may_be_one(location: Location) -> bool:
    """Whether there may be a serverless registry, and no Git repository, at a location."""
    if location.path is None:
        return location.scheme in _WEB or is_storages(location)
    if _is_gits(location.path):
        return False
    if is_marked(location.path):
        return True
    return not os.path.lexists(location.path) or (
        os.path.isdir(location.path) and not os.listdir(location.path)
    )
