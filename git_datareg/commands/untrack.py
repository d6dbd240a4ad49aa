"""`git datareg untrack`."""

from __future__ import annotations

import argparse
import os

from git_datareg import configuring, ui
from git_datareg.errors import NotFoundError
from git_datareg.workspace import Workspace


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument("patterns", nargs="+", metavar="PATTERN", help="as track was given it")


def run(arguments: argparse.Namespace, workspace: Workspace) -> int:
    """Remove patterns from `.gitattributes` here."""
    workspace.repository  # noqa: B018 - raises outside of repositories
    gone = configuring.untrack(os.getcwd(), arguments.patterns)
    for pattern in gone:
        ui.say(f"no longer tracking {pattern!r}")
    unknown = [pattern for pattern in arguments.patterns if pattern not in gone]
    if unknown:
        raise NotFoundError(
            f"not tracked in .gitattributes here: {', '.join(unknown)}",
            "git datareg track lists the patterns",
        )
    ui.hint("git add --renormalize . stores the files as ordinary Git files")
    return 0
