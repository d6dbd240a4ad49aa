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
    """Add patterns to `.gitattributes` here, or list those that count here."""
    repository = workspace.repository
    here = os.getcwd()
    if not arguments.patterns and arguments.above is None:
        text = "".join(f"{each}\n" for each in configuring.tracked_patterns(repository, here))
        sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape"))
        return 0
    if arguments.above is not None:
        threshold = configuring.set_threshold(repository, arguments.above)
        ui.say(f"files below {ui.size(threshold)} stay ordinary Git files")
        if not arguments.patterns and not configuring.tracked_patterns(repository, here):
            ui.hint("name what to track too: git datareg track 'data/**'")
    for pattern, is_new in configuring.track(repository, here, arguments.patterns).items():
        ui.say(f"{'tracking' if is_new else 'already tracked:'} {ui.show(pattern)}")
    return 0
