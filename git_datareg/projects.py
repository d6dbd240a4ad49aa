"""A repository with what is configured for it: what most operations work on."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from git_datareg import settings as settings_module
from git_datareg.errors import (
    DataregError,
)
from git_datareg.files import read_regular
from git_datareg.git import config, objects
from git_datareg.git.reader import ObjectReader
from git_datareg.git.repository import Repository
from git_datareg.location import HELPER_PREFIX, Location
from git_datareg.objects import LocalObjects, ObjectDirectory, cache_at
from git_datareg.settings import TRACKED_NAME, Settings


class Remote(NamedTuple):
    """A Git remote: its name and where it is."""

    name: str
    location: Location
    #: Whether it may be a serverless registry, which has its data where it is itself.
    may_be_serverless: bool = False
    #: Whether not the user named it, but a registry elsewhere.
    is_foreign: bool = False


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

    def remote_at(self, name: str) -> Location:
        """Where a remote is that the user names, or a URL; raises UsageError for neither."""
        for remote in self.remotes:
            if remote.name == name:
                return remote.location
        return Location.parse(name)


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
    local = LocalObjects(own, cache_at(settings.cache))
    remotes = config.read(repository) if not repository.own else values
    return Project(repository, settings, local, _remotes(remotes, repository.top))


def _text_at(reader: ObjectReader, treeish: str, path: bytes) -> bytes | None:
    entry = reader.entry(treeish, path)
    found = reader.find(entry.id) if entry is not None and entry.is_file else None
    return found.content if found is not None else None


def _tracked_text(repository: Repository, treeish: str | None) -> bytes | None:
    if treeish is not None:
        return objects.blob_at(repository, treeish, TRACKED_NAME)
    if repository.work_tree is not None and repository.own:
        try:
            return read_regular(os.path.join(repository.work_tree, TRACKED_NAME))
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
                url = config.rewritten(value.value, values)
                location = Location.parse(url).absolute(top)
            except DataregError:
                continue
            remotes.setdefault(name, Remote(name, location, url.startswith(HELPER_PREFIX)))
    return tuple(remotes.values())
