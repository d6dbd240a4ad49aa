"""`git datareg uninstall`."""

from __future__ import annotations

import argparse

from git_datareg import installing, ui
from git_datareg.commands.install import add_scope
from git_datareg.commands.parsing import add_quiet
from git_datareg.workspace import Workspace


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    add_scope(parser)
    add_quiet(parser)


def run(arguments: argparse.Namespace, workspace: Workspace) -> int:
    """Take the configuration out of the scope; where nothing of it is left, the hooks too."""
    repository = workspace.repository_or_none
    was_there = installing.unconfigure(repository, arguments.scope)
    state = "removed from" if was_there else "not in"
    if not arguments.quiet:
        ui.say(f"git-datareg is {state} the {arguments.scope} configuration")
    if repository is None:
        return 0
    if not installing.is_configured(repository):
        installing.remove_hooks(repository)
    elif not arguments.quiet:
        # Without its hook a push would leave the data behind.
        ui.say(f"the hooks stay: {repository.top} is configured elsewhere too")
        ui.hint("git datareg uninstall --local, --global or --system")
    return 0
