"""`git datareg gc`."""

from __future__ import annotations

import argparse
import math

from git_datareg import collecting, registries, served, ui
from git_datareg.collecting import Garbage
from git_datareg.commands.parsing import add_json, add_progress
from git_datareg.commands.printing import put_json, put_lines
from git_datareg.errors import StorageNotConfiguredError, UsageError
from git_datareg.location import Location
from git_datareg.serverless import Registry
from git_datareg.workspace import Workspace

_DAY = 24 * 3600.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument(
        "--storage", action="store_true", help="collect where a serverless registry is stored"
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
    parser.add_argument(
        "registry", nargs="?", metavar="REGISTRY", help="a Git remote or a URL (origin)"
    )


def run(arguments: argparse.Namespace, workspace: Workspace) -> int:
    """Delete what nothing needs any more, or say what that is, a line each."""
    if not arguments.storage:
        raise UsageError("nothing to collect is named", "git datareg gc --storage")
    registry = _registry(arguments.registry, workspace)
    cache, grace = workspace.settings.cache, arguments.grace * _DAY
    mirror = served.bring(registry, cache)
    is_dry = arguments.dry_run or not arguments.force
    if is_dry:
        found = collecting.find(registry, mirror, grace)
    else:
        registry.prepare()
        with ui.Progress.of(arguments, "deleting") as progress:
            found = collecting.collect(registry, mirror, grace, progress.advance)
    _tell(found, arguments, registry, is_dry=is_dry)
    return 0


def _tell(
    found: Garbage, arguments: argparse.Namespace, registry: Registry, *, is_dry: bool
) -> None:
    if arguments.json:
        put_json([{"key": each.key, "size": each.size} for each in found.values])
    elif is_dry:
        put_lines([each.key for each in found.values])
    if arguments.quiet:
        return
    count, size = ui.count(len(found.values), "file"), ui.size(found.size)
    if is_dry:
        ui.say(f"{count} ({size}) would be deleted in {registry}")
        if found.values:
            ui.say("hint: to delete them: git datareg gc --storage --force")
    else:
        ui.say(f"{count} ({size}) deleted in {registry}")


def _registry(name: str | None, workspace: Workspace) -> Registry:
    """The serverless registry that is meant; raises UsageError for any other."""
    location = _location(name, workspace)
    registry = registries.find(location, workspace.settings, workspace.repository_or_none)
    if registry is None:
        raise UsageError(
            f"not a serverless registry: {location}",
            "only those are collected: others share their storages with whom we don't know",
        )
    return registry


def _location(name: str | None, workspace: Workspace) -> Location:
    remotes = workspace.project.remotes if workspace.repository_or_none is not None else ()
    if name is None:
        default = workspace.project.default_remote if remotes else None
        if default is None:
            raise StorageNotConfiguredError("no registry to collect in", "name its URL")
        return default.location
    for remote in remotes:
        if remote.name == name:
            return remote.location
    return Location.parse(name)


def _days(text: str) -> float:
    days = float(text)
    if not 0 <= days < math.inf:
        raise ValueError
    return days
