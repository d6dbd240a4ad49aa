"""`git datareg pull`."""

from __future__ import annotations

import argparse

from git_datareg import ui
from git_datareg.commands.checkout import place
from git_datareg.commands.fetch import fetch
from git_datareg.commands.parsing import add_globs, add_jobs, add_progress
from git_datareg.errors import DataregError
from git_datareg.workspace import Workspace


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    add_globs(parser)
    add_jobs(parser)
    add_progress(parser)


def run(arguments: argparse.Namespace, workspace: Workspace) -> int:
    """Fetch what is checked out, and put it in place: all that can be had, then the faults."""
    fault: DataregError | None = None
    try:
        fetch(arguments, workspace, ())
    except DataregError as error:
        fault = error
    try:
        place(arguments, workspace, [])
    except DataregError as error:
        # What could not be fetched can't be placed: the first fault says why.
        fault = fault or error
    if fault is not None:
        ui.report(fault)
        return 1
    return 0
