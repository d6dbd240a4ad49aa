"""`git datareg fetch`."""

from __future__ import annotations

import argparse
from collections.abc import Iterable

from git_datareg import delivery, ui, working
from git_datareg.commands.parsing import add_globs, add_jobs, add_progress
from git_datareg.workspace import Workspace


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    add_globs(parser)
    add_jobs(parser)
    add_progress(parser)
    parser.add_argument(
        "refs", nargs="*", metavar="REF", help="whose data (default: what is checked out)"
    )


def run(arguments: argparse.Namespace, workspace: Workspace) -> int:
    """Bring objects into the cache; all that can be had, then the faults."""
    fetched = fetch(arguments, workspace, arguments.refs)
    if not arguments.quiet:
        ui.say(f"{ui.count(fetched, 'object')} fetched")
    return 0


def fetch(arguments: argparse.Namespace, workspace: Workspace, refs: Iterable[str]) -> int:
    """Bring the objects of the index, or of commits; returns how many were not here."""
    project = workspace.project
    fetched = 0
    commits: list[str | None] = [project.repository.resolve(ref) for ref in refs]
    for commit in commits or [None]:
        files = (
            working.in_index(project.repository)
            if commit is None
            else working.in_commit(project.repository, commit)
        )
        chosen = working.matching(files, arguments.include, arguments.exclude)
        missing = working.missing(project, chosen)
        total = sum({each.pointer: each.pointer.size for each in missing}.values())
        with ui.Progress.of(arguments, "downloading", total) as progress:
            failures = working.fetch(
                project, missing, treeish=commit, jobs=arguments.jobs, advance=progress.advance
            )
        if failures:
            raise delivery.combined(failures, "from any storage")
        fetched += len({each.pointer for each in missing})
    return fetched
