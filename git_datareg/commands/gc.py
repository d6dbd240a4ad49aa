"""`git datareg gc`."""

from __future__ import annotations

import argparse
import math
from typing import NamedTuple

from git_datareg import collecting, mirror, registries, roots, served, shared, storages, ui
from git_datareg.collecting import Garbage
from git_datareg.commands.parsing import add_json, add_progress
from git_datareg.commands.printing import put_json, put_lines
from git_datareg.errors import StorageNotConfiguredError, UsageError
from git_datareg.git.repository import Repository
from git_datareg.layout import ObjectStorage
from git_datareg.location import Location
from git_datareg.serverless import Registry
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
        "-f", "--force", action="store_true", help="delete; else it is only said what would be"
    )
    parser.add_argument("-n", "--dry-run", action="store_true", help="delete nothing (default)")
    parser.add_argument(
        "--grace",
        type=_days,
        default=collecting.GRACE / _DAY,
        metavar="DAYS",
        help="keep what was needed, or is new, within so many days (default: 14)",
    )
    add_json(parser)
    add_progress(parser)


class _Served(NamedTuple):
    """A serverless registry, and its mirror."""

    registry: Registry
    mirror: Repository

    def __str__(self) -> str:
        return str(self.registry)

    def find(self, grace: float) -> Garbage:
        return collecting.find(self.registry, self.mirror, grace)

    def collect(self, grace: float, advance: Advance) -> Garbage:
        self.registry.prepare()
        return collecting.collect(self.registry, self.mirror, grace, advance)


class _Shared(NamedTuple):
    """A storage, and the repositories that have all refs of the Git remote that stores there."""

    storage: ObjectStorage
    own: str
    repositories: tuple[Repository, ...]

    def __str__(self) -> str:
        return str(self.storage)

    def find(self, grace: float) -> Garbage:
        return shared.find(self.storage.storage, self.own, self.repositories, grace)

    def collect(self, grace: float, advance: Advance) -> Garbage:
        self.storage.prepare()
        return shared.collect(self.storage.storage, self.own, self.repositories, grace, advance)


def run(arguments: argparse.Namespace, workspace: Workspace) -> int:
    """Delete what nothing needs any more, or say what that is, a line each."""
    if arguments.storage is None:
        raise UsageError("nothing to collect is named", "git datareg gc --storage")
    place, grace = _place(arguments.storage, workspace), arguments.grace * _DAY
    is_dry = arguments.dry_run or not arguments.force
    if is_dry:
        found = place.find(grace)
    else:
        with ui.Progress.of(arguments, "deleting") as progress:
            found = place.collect(grace, progress.advance)
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
        if found.values:
            ui.say("hint: to delete them: git datareg gc --storage --force")
    else:
        ui.say(f"{count} ({size}) deleted in {place}")


def _place(name: str, workspace: Workspace) -> _Served | _Shared:
    """Where to collect."""
    here = workspace.repository_or_none is not None
    if here and name in workspace.settings.storages:
        return _shared(_remote("", workspace), name, workspace)
    remote = _remote(name, workspace)
    cache = workspace.settings.cache
    registry = registries.find(remote, workspace.settings, workspace.repository_or_none)
    if registry is not None:
        return _Served(registry, served.bring(registry, cache))
    if not here:
        raise UsageError(
            f"not a serverless registry: {remote}",
            "other storages are collected from a clone of a repository that stores there",
        )
    return _shared(remote, None, workspace)


def _shared(remote: Location, name: str | None, workspace: Workspace) -> _Shared:
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
    return _Shared(storage, roots.repository_id(remote), (theirs, project.repository))


def _remote(name: str, workspace: Workspace) -> Location:
    project = workspace.project if workspace.repository_or_none is not None else None
    if name:
        return project.remote_at(name) if project is not None else Location.parse(name)
    if project is None or project.default_remote is None:
        raise StorageNotConfiguredError("no registry to collect in", "name its URL")
    return project.default_remote.location


def _days(text: str) -> float:
    days = float(text)
    if not 0 <= days < math.inf:
        raise ValueError
    return days
