"""Serverless registries, ready to be read as Git repositories: mirrored whole in the cache.

A mirror has all refs and all packs of one generation, and goes on to the newest one when it
is asked for. What it costs to see that nothing is new is two requests.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from git_datareg import mirror, registries
from git_datareg import settings as settings_module
from git_datareg.errors import GitError
from git_datareg.files import write_atomically
from git_datareg.generation import Generation
from git_datareg.git import bare, config
from git_datareg.git.repository import Repository
from git_datareg.location import Location, is_storages

if TYPE_CHECKING:
    from git_datareg.serverless import Registry

#: The file in a mirror that says which record it is at.
_AT = "datareg-generation"
_SUFFIX = ".served"
_MAX_LENGTH = 200
#: So that a shallow fetch may ask the mirror for whatever its registry has.
_SETTINGS = (("uploadpack.allowAnySHA1InWant", "true"), ("gc.auto", "0"))


def bring(registry: Registry, cache: str | None, *, show: bool = False) -> Repository:
    """The mirror of a registry, brought up to its newest generation.

    Raises RepositoryNotFoundError when there is no such registry, UsageError without a
    cache, CorruptError for a registry that is not what it says, and any StorageError.
    """
    generation = registry.look()
    directory = mirror.directory_for(registry.location, cache, _SUFFIX)
    with bare.locked(directory):
        object_format = generation.object_format if generation is not None else "sha1"
        if not bare.is_made(directory) or bare.opened(directory).object_format != object_format:
            _make(directory, object_format)
        repository, at = bare.opened(directory), _at(directory)
        if registry.digest == at:
            return repository
        if generation is None:
            _make(directory, object_format)
            return repository
        try:
            _take(registry, repository, generation, show=show)
        except GitError:
            # Half of what a killed git left, or a disk that fails: what is there can be had again.
            _make(directory, object_format)
            _take(registry, repository, generation, show=show)
        write_atomically(os.path.join(directory, _AT), f"{registry.digest}\n".encode())
        return repository


def open_revision(
    location: Location,
    rev: str | None,
    cache: str | None,
    environ: Mapping[str, str],
    *,
    is_foreign: bool,
) -> tuple[Repository, str]:
    """The Git repository of a registry of any kind, and the full id of its commit `rev`.

    As `mirror.open_revision`, which see; and for a serverless registry as `bring`.
    """
    if _is_to_be_asked(location, cache):
        settings = settings_module.build(config.read(None), None, environ)
        registry = registries.find(location, settings, None, is_foreign=is_foreign)
        if registry is not None:
            repository = bring(registry, cache)
            return repository, mirror.resolved(repository, rev, location)
    return mirror.open_revision(location, rev, cache, is_foreign=is_foreign)


def _is_to_be_asked(location: Location, cache: str | None) -> bool:
    """Whether a location is looked at as a serverless registry before git is sent there."""
    if location.path is not None:
        # One to read, which is there.
        return registries.is_serverless(location.path)
    if not registries.may_be_one(location):
        return False
    # What git has read is git's, so that nobody waits for a web server's answer again.
    return is_storages(location) or not bare.is_made(mirror.directory_for(location, cache))


def commits_between(
    repository: Repository, location: Location, old: str, new: str, cache: str | None
) -> int | None:
    """As `mirror.commits_between`, of a registry of any kind that was opened as `repository`."""
    if old == new:
        return 0
    if is_mirror(repository):
        return mirror.distance(repository, old, new)
    return mirror.commits_between(location, old, new, cache)


def is_mirror(repository: Repository) -> bool:
    """Whether a repository is such a mirror."""
    return repository.top.endswith(_SUFFIX)


def _make(directory: str, object_format: str) -> None:
    bare.create(directory, object_format, "refs/heads/main")
    repository = bare.opened(directory)
    for key, value in _SETTINGS:
        config.set_value(repository, "local", key, value)


def _take(
    registry: Registry, repository: Repository, generation: Generation, *, show: bool
) -> None:
    registry.fetch(repository, sorted(set(generation.refs.values())), show=show)
    output = repository.run("for-each-ref", "--format=%(refname)")
    gone = [name for name in os.fsdecode(output).split("\n") if name]
    # In two goes, since what is gone may be in the way of what is new.
    for lines in (
        [f"delete {name}\n" for name in gone if name not in generation.refs],
        [f"update {name} {id}\n" for name, id in generation.refs.items()],
    ):
        text = "".join(lines).encode("utf-8", "surrogateescape")
        repository.run("update-ref", "--stdin", input=text)
    repository.run("symbolic-ref", "HEAD", generation.head)
    mirror.consolidate(repository)


def _at(directory: str) -> str | None:
    """The digest of the record that a mirror is at; None for none."""
    path = os.path.join(directory, _AT)
    with suppress(OSError, ValueError), open(path, encoding="ascii") as file:
        return file.read(_MAX_LENGTH).strip()
    return None
