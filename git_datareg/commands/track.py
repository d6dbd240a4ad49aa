"""`git datareg track`."""

from __future__ import annotations

import argparse
import os
import sys

from git_datareg import configuring, ui
from git_datareg.workspace import Workspace


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument("patterns", nargs="*", metavar="PATTERN", help="as in .gitattributes")
    parser.add_argument(
        "--above", metavar="SIZE", help="track only files of at least this size, e.g. 100k"
    )


def run(arguments: argparse.Namespace, workspace: Workspace) -> int:
    """Add patterns to `.gitattributes` here, or list those that are there."""
    repository = workspace.repository
    here = os.getcwd()
    if not arguments.patterns and arguments.above is None:
        for pattern in configuring.tracked_patterns(here):
            sys.stdout.write(pattern + "\n")
        return 0
    if arguments.above is not None:
        threshold = configuring.set_threshold(repository, arguments.above)
        ui.say(f"files below {ui.size(threshold)} stay ordinary Git files")
        if not arguments.patterns and not configuring.tracked_patterns(here):
            ui.hint("name what to track too: git datareg track 'data/**'")
    new = configuring.track(here, arguments.patterns)
    for pattern in arguments.patterns:
        ui.say(f"tracking {pattern!r}" if pattern in new else f"already tracked: {pattern!r}")
    return 0
