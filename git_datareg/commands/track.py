"""`git datareg track`."""

from __future__ import annotations

import argparse
import os

from git_datareg import configuring, ui
from git_datareg.commands.parsing import add_json, add_quiet
from git_datareg.commands.printing import put_json, put_lines
from git_datareg.errors import UsageError
from git_datareg.workspace import Workspace


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument("patterns", nargs="*", metavar="PATTERN", help="as in .gitattributes")
    parser.add_argument(
        "--above", metavar="SIZE", help="track only files of at least this size, e.g. 100k"
    )
    add_json(parser)
    add_quiet(parser)


def run(arguments: argparse.Namespace, workspace: Workspace) -> int:
    """Add patterns to `.gitattributes` here, or list those that count here."""
    repository = workspace.repository
    here = os.getcwd()
    if not arguments.patterns and arguments.above is None:
        patterns = configuring.tracked_patterns(repository, here)
        if arguments.json:
            put_json([{"pattern": each} for each in patterns])
        else:
            put_lines(patterns)
        return 0
    if arguments.json:
        raise UsageError("--json is for the list of patterns", "git datareg track --json")
    if arguments.above is not None:
        threshold = configuring.set_threshold(repository, arguments.above)
    tracked = configuring.track(repository, here, arguments.patterns)
    if arguments.quiet:
        return 0
    if arguments.above is not None:
        ui.say(f"files below {ui.size(threshold)} stay ordinary Git files")
        if not arguments.patterns and not configuring.tracked_patterns(repository, here):
            ui.hint("name what to track too: git datareg track 'data/**'")
    for pattern, is_new in tracked.items():
        ui.say(f"{'tracking' if is_new else 'already tracked:'} {ui.show(pattern)}")
    return 0
