"""`git datareg checkout`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from git_datareg import ui, working
from git_datareg.commands.parsing import add_quiet
from git_datareg.errors import DataregError, PartialError
from git_datareg.workspace import Workspace


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    add_quiet(parser)
    parser.add_argument(
        "paths", nargs="*", metavar="PATH", help="files or directories (default: all)"
    )


def run(arguments: argparse.Namespace, workspace: Workspace) -> int:
    """Put data in place of pointers, wherever its object is on this machine."""
    paths = workspace.from_top(arguments.paths)
    placed, failures = working.checkout(workspace.project, paths)
    if not arguments.quiet:
        ui.say(f"{ui.count(placed, 'file')} put in place")
    if failures:
        raise not_placed(failures)
    return 0


def not_placed(failures: Sequence[tuple[bytes, DataregError]]) -> PartialError:
    """The fault that some files could not be put in place, with each single one."""
    return PartialError(
        f"{ui.count(len(failures), 'file')} could not be put in place",
        failures=tuple(
            type(error)(f"{ui.show(path)}: {error.message}", *error.hints)
            for path, error in failures
        ),
    )
