"""`git datareg import`."""

from __future__ import annotations

import argparse

from git_datareg import delivery, importing, imports, ui
from git_datareg.commands.parsing import add_globs, add_jobs, add_progress, add_revision
from git_datareg.location import Location
from git_datareg.workspace import Workspace


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument(
        "-o",
        "--out",
        metavar="OUT",
        help="where to: a new name, or a directory to put it in, which is there or ends with"
        " a slash (default: the path's name, here)",
    )
    parser.add_argument("-f", "--force", action="store_true", help="replace an existing target")
    parser.add_argument(
        "--no-download", action="store_true", help="record it only; git datareg pull gets the data"
    )
    parser.add_argument(
        "--vendor", action="store_true", help="push the data to this repository's storage too"
    )
    add_revision(parser)
    add_globs(parser)
    add_jobs(parser)
    add_progress(parser)
    parser.add_argument("url", metavar="URL", help="the registry: a Git URL or path")
    parser.add_argument("path", metavar="PATH", help='a file or directory in it; "." is all')


def run(arguments: argparse.Namespace, workspace: Workspace) -> int:
    """Import, and stage all of it."""
    project = workspace.project
    location = Location.parse(arguments.url).absolute(workspace.top)
    source = workspace.open_source(location, arguments.rev)
    out = delivery.target_of(source, arguments.path, arguments.out)
    with ui.Progress.of(arguments, "downloading") as progress:
        changes = importing.add(
            project,
            source,
            arguments.path,
            imports.target_for(project, out),
            opener=workspace.open_source,
            include=arguments.include,
            exclude=arguments.exclude,
            replace=arguments.force,
            download=not arguments.no_download,
            vendor=arguments.vendor,
            jobs=arguments.jobs or project.settings.jobs,
            progress=progress,
        )
    if not arguments.quiet:
        files = ui.count(changes.added + changes.changed, "file")
        ui.say(f"{files} imported to {out}, at {source.commit[:12]}")
        ui.hint("git commit records it")
    return 0
