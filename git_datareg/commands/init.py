"""`git datareg init`."""

from __future__ import annotations

import argparse
import os

from git_datareg import configuring, installing, ui
from git_datareg.commands.parsing import add_quiet
from git_datareg.errors import UsageError
from git_datareg.workspace import Workspace


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument("--storage", metavar="URL", help="where objects are to be stored")
    add_quiet(parser)


def run(arguments: argparse.Namespace, workspace: Workspace) -> int:
    """Set up the repository; running it again changes nothing."""
    repository = workspace.repository
    if repository.work_tree is None and arguments.storage:
        raise UsageError(
            f"a bare repository has no .datareg to name a storage in: {repository.top}",
            "git config datareg.origin.url URL",
            "git config datareg.storage origin",
        )
    installing.configure(repository, "local")
    for warning in installing.install_hooks(repository):
        ui.warn(warning)
    is_bare = repository.work_tree is None
    if not is_bare:
        configuring.create(repository)
        if arguments.storage:
            new = configuring.NewStorage("origin", arguments.storage)
            configuring.add_storage(repository, new, default=True)
    if arguments.quiet:
        return 0
    ui.say(f"git-datareg is set up in {'the bare repository ' * is_bare}{repository.top}")
    if not is_bare and not os.path.exists(os.path.join(repository.top, ".gitattributes")):
        ui.hint("git datareg track 'data/**', then git add, commit and push as always")
    return 0
