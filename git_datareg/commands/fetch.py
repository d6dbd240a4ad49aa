"""`git datareg fetch`."""

from __future__ import annotations

import argparse
from collections.abc import Iterable

from git_datareg import delivery, ui, working
from git_datareg.commands.parsing import add_globs, add_jobs, add_progress
from git_datareg.pointer import Pointer
from git_datareg.transfer import Failure
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
    fetched, failures = fetch(arguments, workspace, arguments.refs)
    if not arguments.quiet:
        ui.say(f"{ui.count(fetched, 'object')} fetched")
    if failures:
        raise delivery.combined(failures, "from any storage")
    return 0


def fetch(
    arguments: argparse.Namespace, workspace: Workspace, refs: Iterable[str]
) -> tuple[int, list[Failure]]:
    """Bring the objects of the index, or of commits; how many came, and what failed."""
    project = workspace.project
    commits: list[str | None] = [project.repository.resolve(ref) for ref in refs]
    if not commits:
        # A bare repository has no index.
        is_bare = project.repository.work_tree is None
        commits = [project.repository.resolve("HEAD") if is_bare else None]
    settings = project.settings
    globs = (arguments.include, arguments.exclude)
    include, exclude = globs if any(globs) else (settings.include, settings.exclude)
    fetched = 0
    failed: dict[Pointer, Failure] = {}
    for commit in commits:
        files = (
            working.in_index(project.repository)
            if commit is None
            else working.in_commit(project.repository, commit)
        )
        chosen = working.matching(files, include, exclude)
        missing = {each.pointer: each for each in working.missing(project, chosen)}
        with ui.Progress.of(
            arguments, "downloading", sum(pointer.size for pointer in missing)
        ) as progress:
            failures = working.fetch(
                project,
                missing.values(),
                opener=workspace.open_source,
                treeish=commit,
                jobs=arguments.jobs,
                progress=progress,
            )
        failed |= {each.pointer: each for each in failures}
        fetched += len(missing) - len(failures)
    return fetched, list(failed.values())
