"""`git datareg untrack`."""

from __future__ import annotations

import argparse
import os

from git_datareg import configuring, ui
from git_datareg.commands.parsing import add_quiet
from git_datareg.errors import NotFoundError
from git_datareg.workspace import Workspace


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument("patterns", nargs="+", metavar="PATTERN", help="as track was given it")
    add_quiet(parser)


def run(arguments: argparse.Namespace, workspace: Workspace) -> int:
    """Remove patterns from `.gitattributes` here."""
    found = configuring.untrack(workspace.repository, os.getcwd(), arguments.patterns)
    for pattern in found.values():
        if pattern is not None and not arguments.quiet:
            ui.say(f"no longer tracking {ui.show(pattern)}")
    unknown = [given for given, pattern in found.items() if pattern is None]
    if unknown:
        raise NotFoundError(
            f"not tracked in .gitattributes here: {', '.join(unknown)}",
            "git datareg track lists the patterns",
        )
    if not arguments.quiet:
        ui.hint("git add --renormalize . stores the files as ordinary Git files")
    return 0
