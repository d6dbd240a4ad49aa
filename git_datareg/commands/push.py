"""`git datareg push`."""

from __future__ import annotations

import argparse

from git_datareg import pushing, ui
from git_datareg.commands.parsing import add_jobs, add_progress
from git_datareg.errors import StorageNotConfiguredError
from git_datareg.location import Location
from git_datareg.projects import Project
from git_datareg.workspace import Workspace


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument("--storage", metavar="NAME", help="store them there (default: the default)")
    parser.add_argument("--all", action="store_true", help="what any ref needs")
    add_jobs(parser)
    add_progress(parser)
    parser.add_argument("remote", nargs="?", metavar="REMOTE", help="the Git remote (origin)")
    parser.add_argument("refs", nargs="*", metavar="REF", help="what to look at (HEAD)")


def run(arguments: argparse.Namespace, workspace: Workspace) -> int:
    """Upload what the refs need and the storage lacks. No ref is pushed."""
    project = workspace.project
    if arguments.all:
        needed = pushing.everything(project)
    else:
        refs = arguments.refs or ["HEAD"]
        needed = pushing.plan(project, [project.repository.resolve(ref) for ref in refs], [], None)
    with ui.Progress.of(arguments, "uploading", needed.size) as progress:
        progress.expect(needed.size, len(needed.pointers))
        stored = pushing.store(
            project,
            needed,
            _remote(project, arguments.remote),
            name=arguments.storage,
            jobs=arguments.jobs,
            advance=progress.advance,
        )
    if not arguments.quiet:
        if stored is None:
            ui.say("no data files to push")
        else:
            ui.say(
                f"{ui.count(stored.new, 'object')} stored in {stored}, "
                f"{stored.needed - stored.new} there already"
            )
    return 0


def _remote(project: Project, name: str | None) -> Location:
    if name is not None:
        return project.remote_at(name)
    if project.default_remote is not None:
        return project.default_remote.location
    if project.settings.default is not None:
        # A storage of its own needs no remote, unless its URL is relative to one.
        return Location(project.repository.top)
    raise StorageNotConfiguredError(
        "no storage is configured, and there is no Git remote that could hold the data",
        "git datareg storage add -d NAME URL",
        "git remote add origin URL",
    )
