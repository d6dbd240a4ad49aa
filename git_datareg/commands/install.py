"""`git datareg install`."""

from __future__ import annotations

import argparse

from git_datareg import installing, ui
from git_datareg.commands.parsing import add_quiet
from git_datareg.workspace import Workspace


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    add_scope(parser)
    parser.add_argument(
        "--skip-smudge", action="store_true", help="checkouts leave pointers; fetch data by pull"
    )
    add_quiet(parser)


def add_scope(parser: argparse.ArgumentParser) -> None:
    """`--global`, `--system`, `--local`."""
    scope = parser.add_mutually_exclusive_group()
    for name in installing.SCOPES:
        scope.add_argument(
            f"--{name}",
            dest="scope",
            action="store_const",
            const=name,
            default="global",
            help=f"edit git's {name} configuration" + (" (default)" if name == "global" else ""),
        )


def run(arguments: argparse.Namespace, workspace: Workspace) -> int:
    """Configure the filter; in a repository, put in the hooks too."""
    repository = workspace.repository_or_none
    installing.configure(repository, arguments.scope, skip_smudge=arguments.skip_smudge)
    if repository is not None:
        for warning in installing.install_hooks(repository):
            ui.warn(warning)
    if not arguments.quiet:
        ui.say(f"git-datareg is installed ({arguments.scope} configuration)")
    return 0
