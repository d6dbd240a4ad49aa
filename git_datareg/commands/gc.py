"""`git datareg gc`."""

from __future__ import annotations

import argparse
import math
from typing import NamedTuple

from git_datareg import collecting, mirror, pruning, registries, roots, served, shared, storages, ui
from git_datareg.collecting import Garbage
from git_datareg.commands.parsing import add_jobs, add_json, add_progress
from git_datareg.commands.printing import put_json, put_lines
from git_datareg.errors import StorageNotConfiguredError, UsageError
from git_datareg.git.repository import Repository
from git_datareg.layout import ObjectStorage
from git_datareg.location import Location
from git_datareg.objects import cache_at
from git_datareg.pruning import Policy
from git_datareg.serverless import Registry
from git_datareg.settings import parse_size
from git_datareg.transfer import Advance
from git_datareg.workspace import Workspace

_DAY = 24 * 3600.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument(
        "--storage",
        nargs="?",
        const="",
        metavar="WHERE",
        help="where objects are stored: a storage, a Git remote or a URL (the default remote)",
    )
    parser.add_argument(
        "-f", "--force", action="store_true", help="with --storage: delete, and not only tell"
    )
    parser.add_argument("-n", "--dry-run", action="store_true", help="delete nothing")
    parser.add_argument(
        "--grace",
        type=_days,
        metavar="DAYS",
        help="with --storage: keep what was needed, or is new, within so many days (default: 14)",
    )
    parser.add_argument(
        "--older-than",
        type=_days,
        metavar="DAYS",
        help="keep what was used here within so many days (default: 30)",
    )
    parser.add_argument(
        "--max-size", type=_size, metavar="SIZE", help="let the cache have no more than that"
    )
    add_jobs(parser)
    add_json(parser)
    add_progress(parser)


class _Here:
    """This machine: what the repository holds of data, and the cache."""

    def __init__(self, arguments: argparse.Namespace, workspace: Workspace) -> None:
        settings = workspace.settings
        days, size = arguments.older_than, arguments.max_size
        self._project = workspace.project if workspace.repository_or_none is not None else None
        self._cache = cache_at(settings.cache)
        self._policy = Policy(
            (days if days is not None else settings.gc_days) * _DAY,
            size if size is not None else settings.gc_size,
        )
        self._jobs = arguments.jobs or settings.jobs

    def __str__(self) -> str:
        return "this repository and the cache" if self._project is not None else "the cache"

    def find(self) -> Garbage:
        return Garbage(tuple(pruning.find(self._project, self._cache, self._policy, self._jobs)))

    def collect(self, advance: Advance) -> Garbage:
        return Garbage(tuple(pruning.remove(self.find().values, advance)))


class _Served(NamedTuple):
    """A serverless registry, and its mirror."""

    registry: Registry
    mirror: Repository
    grace: float

    def __str__(self) -> str:
        return str(self.registry)

    def find(self) -> Garbage:
        return collecting.find(self.registry, self.mirror, self.grace)

    def collect(self, advance: Advance) -> Garbage:
        self.registry.prepare()
        return collecting.collect(self.registry, self.mirror, self.grace, advance)


class _Shared(NamedTuple):
    """A storage, and the repositories that have all refs of the Git remote that stores there."""

    storage: ObjectStorage
    own: str
    repositories: tuple[Repository, ...]
    grace: float

    def __str__(self) -> str:
        return str(self.storage)

    def find(self) -> Garbage:
        return shared.find(self.storage.storage, self.own, self.repositories, self.grace)

    def collect(self, advance: Advance) -> Garbage:
        self.storage.prepare()
        return shared.collect(
            self.storage.storage, self.own, self.repositories, self.grace, advance
        )


def run(arguments: argparse.Namespace, workspace: Workspace) -> int:
    """Delete what nothing needs any more, or say what that is, a line each."""
    place: _Here | _Served | _Shared
    if arguments.storage is None:
        if arguments.grace is not None:
            raise UsageError("--grace goes with --storage", "--older-than is about this machine")
        place, is_dry = _Here(arguments, workspace), arguments.dry_run
    else:
        if arguments.older_than is not None or arguments.max_size is not None:
            raise UsageError("--older-than and --max-size do not go with --storage")
        grace = collecting.GRACE if arguments.grace is None else arguments.grace * _DAY
        place = _place(arguments.storage, workspace, grace)
        is_dry = arguments.dry_run or not arguments.force
    if is_dry:
        found = place.find()
    else:
        with ui.Progress.of(arguments, "deleting") as progress:
            found = place.collect(progress.advance)
    _tell(found, arguments, str(place), is_dry=is_dry)
    return 0


def _tell(found: Garbage, arguments: argparse.Namespace, place: str, *, is_dry: bool) -> None:
    if arguments.json:
        put_json([{"key": each.key, "size": each.size} for each in found.values])
    elif is_dry:
        put_lines([each.key for each in found.values])
    if arguments.quiet:
        return
    count, size = ui.count(len(found.values), "file"), ui.size(found.size)
    if is_dry:
        ui.say(f"{count} ({size}) would be deleted in {place}")
        if found.values and arguments.storage is not None:
            ui.say("hint: to delete them: git datareg gc --storage --force")
    else:
        ui.say(f"{count} ({size}) deleted in {place}")


def _place(name: str, workspace: Workspace, grace: float) -> _Served | _Shared:
    """Where to collect."""
    here = workspace.repository_or_none is not None
    if here and name in workspace.settings.storages:
        return _shared(_remote("", workspace), name, workspace, grace)
    remote = _remote(name, workspace)
    cache = workspace.settings.cache
    registry = registries.find(remote, workspace.settings, workspace.repository_or_none)
    if registry is not None:
        return _Served(registry, served.bring(registry, cache), grace)
    if not here:
        raise UsageError(
            f"not a serverless registry: {remote}",
            "other storages are collected from a clone of a repository that stores there",
        )
    return _shared(remote, None, workspace, grace)


def _shared(remote: Location, name: str | None, workspace: Workspace, grace: float) -> _Shared:
    project = workspace.project
    if (name or project.settings.default) is None:
        raise UsageError(
            f"what a Git remote itself holds is not collected: {remote}",
            "only serverless registries and configured storages are",
        )
    storage = storages.storage_for_push(project, remote, name)
    cache = workspace.settings.cache
    registry = registries.find(remote, workspace.settings, workspace.repository_or_none)
    theirs = mirror.all_of(remote, cache) if registry is None else served.bring(registry, cache)
    return _Shared(storage, roots.repository_id(remote), (theirs, project.repository), grace)


def _remote(name: str, workspace: Workspace) -> Location:
    project = workspace.project if workspace.repository_or_none is not None else None
    if name:
        return project.remote_at(name) if project is not None else Location.parse(name)
    if project is None or project.default_remote is None:
        raise StorageNotConfiguredError("no registry to collect in", "name its URL")
    return project.default_remote.location


def _size(text: str) -> int:
    try:
        return parse_size(text, "--max-size")
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _days(text: str) -> float:
    days = float(text)
    if not 0 <= days < math.inf:
        raise ValueError
    return days
