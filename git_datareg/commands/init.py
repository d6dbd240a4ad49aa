"""`git datareg init`."""

from __future__ import annotations

import argparse
import os

from git_datareg import configuring, installing, ui
from git_datareg.errors import UsageError
from git_datareg.workspace import Workspace


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument("--storage", metavar="URL", help="where objects are to be stored")


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
    if repository.work_tree is None:
        ui.say(f"git-datareg is set up in the bare repository {repository.top}")
        return 0
    configuring.create(repository)
    if arguments.storage:
        configuring.add_storage(
            repository, configuring.NewStorage("origin", arguments.storage), default=True
        )
    ui.say(f"git-datareg is set up in {repository.top}")
    if not os.path.exists(os.path.join(repository.top, ".gitattributes")):
        ui.hint("git datareg track 'data/**', then git add, commit and push as always")
    return 0
