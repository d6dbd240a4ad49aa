"""`git datareg uninstall`."""

from __future__ import annotations

import argparse

from git_datareg import installing, ui
from git_datareg.commands.install import add_scope
from git_datareg.workspace import Workspace


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    add_scope(parser)


def run(arguments: argparse.Namespace, workspace: Workspace) -> int:
    """Take the configuration out of the scope; in a repository, the hooks too."""
    repository = workspace.repository_or_none
    was_there = installing.unconfigure(repository, arguments.scope)
    if repository is not None:
        installing.remove_hooks(repository)
    state = "removed from" if was_there else "not in"
    ui.say(f"git-datareg is {state} the {arguments.scope} configuration")
    return 0
