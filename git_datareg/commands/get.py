"""`git datareg get`."""

from __future__ import annotations

import argparse

from git_datareg import api, delivery, ui
from git_datareg.commands.parsing import (
    add_globs,
    add_jobs,
    add_progress,
    add_revision,
    not_empty,
    seconds,
)
from git_datareg.commands.printing import put
from git_datareg.errors import UsageError
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
        "--show-url", action="store_true", help="print the object's URL, download nothing"
    )
    parser.add_argument(
        "--presign",
        type=seconds,
        metavar="SECONDS",
        help="with --show-url: one that anybody may download for so long (S3)",
    )
    add_revision(parser)
    add_globs(parser)
    add_jobs(parser)
    add_progress(parser)
    parser.add_argument("url", metavar="URL", help="the registry: a Git URL or path")
    parser.add_argument(
        "path", type=not_empty, metavar="PATH", help='a file or directory in it; "." is all'
    )


def run(arguments: argparse.Namespace, workspace: Workspace) -> int:
    """Download, or print the URL."""
    if arguments.presign is not None and not arguments.show_url:
        raise UsageError("--presign goes with --show-url")
    source = workspace.open_source(Location.parse(arguments.url), arguments.rev)
    if arguments.show_url:
        put(api.object_url(source, arguments.path, arguments.presign))
        return 0
    with ui.Progress.of(arguments, "downloading") as progress:
        done = delivery.get(
            source,
            arguments.path,
            arguments.out,
            workspace.reading_objects,
            include=arguments.include,
            exclude=arguments.exclude,
            replace=arguments.force,
            jobs=arguments.jobs or workspace.settings.jobs,
            progress=progress,
        )
    if not arguments.quiet:
        ui.say(f"{ui.count(done.files, 'file')} ({ui.size(done.size)}) in {ui.show(done.target)}")
    return 0
