"""`git datareg pull`."""

from __future__ import annotations

import argparse
import os

from git_datareg import delivery, ui, working
from git_datareg.commands.checkout import not_placed
from git_datareg.commands.fetch import fetch
from git_datareg.commands.parsing import add_globs, add_jobs, add_progress
from git_datareg.git import objects
from git_datareg.git.repository import Repository
from git_datareg.workspace import Workspace


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    add_globs(parser)
    add_jobs(parser)
    add_progress(parser)


def run(arguments: argparse.Namespace, workspace: Workspace) -> int:
    """Fetch what is checked out, and put it in place: all that can be had, then the faults."""
    project = workspace.project
    working.require_work_tree(project.repository)
    fetched, not_fetched = fetch(arguments, workspace, _unborn_index(project.repository))
    placed, failures = working.checkout(project, (), arguments.include, arguments.exclude)
    if not arguments.quiet:
        ui.say(f"{ui.count(fetched, 'object')} fetched, {ui.count(placed, 'file')} put in place")
    # What could not be fetched can't be placed: the first fault says why.
    reported = {each.pointer for each in not_fetched}
    if failures and reported:
        pointers = {each.path: each.pointer for each in working.in_index(project.repository)}
        failures = [each for each in failures if pointers.get(each[0]) not in reported]
    if not_fetched:
        ui.report(delivery.combined(not_fetched, "from any storage"))
    if failures:
        ui.report(not_placed(failures))
    return 1 if not_fetched or failures else 0


def _unborn_index(repository: Repository) -> list[str]:
    """After a clone whose checkout failed there is no index: what HEAD has is needed then."""
    if os.path.exists(repository.places.index_file):
        return []
    return objects.existing(repository, ["HEAD"])
