"""`git datareg add`."""

from __future__ import annotations

import argparse

from git_datareg import adding, installing, ui
from git_datareg.adding import Selection
from git_datareg.commands.parsing import add_quiet
from git_datareg.errors import UsageError
from git_datareg.git import process
from git_datareg.workspace import Workspace

#: Options of git add that are handed on; each is in the arguments under the long name.
_HANDED_ON = ("all", "update", "force", "dry_run", "verbose")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command, which are those of git add."""
    add_quiet(parser)
    parser.add_argument("-A", "--all", action="store_true", help="also stage what was removed")
    parser.add_argument(
        "-u", "--update", action="store_true", help="only files that Git has already"
    )
    parser.add_argument("-f", "--force", action="store_true", help="also files that are ignored")
    parser.add_argument("-n", "--dry-run", action="store_true", help="only show what would be done")
    parser.add_argument("-v", "--verbose", action="store_true", help="say what is done")
    parser.add_argument("paths", nargs="*", metavar="PATH", help="files or directories (pathspecs)")


def run(arguments: argparse.Namespace, workspace: Workspace) -> int:
    """Stage data in bulk, and have git add do the rest; returns its exit code."""
    repository = workspace.repository
    if repository.work_tree is None:
        raise UsageError(f"a bare repository has no work tree: {repository.top}")
    if not installing.is_configured(repository):
        raise UsageError("git add would keep the data in Git: no filter", "git datareg install")
    pathspecs = arguments.paths
    if not pathspecs and (arguments.all or arguments.update):
        # As git add has it: everything, wherever we are.
        pathspecs = [":/"]
    # What is in bulk is staged in silence, so that -v would not name it.
    if pathspecs and not arguments.dry_run and not arguments.verbose:
        selection = Selection(pathspecs, arguments.force, arguments.update)
        own, threshold = workspace.own_objects, workspace.threshold
        if adding.add(repository, own, selection, threshold, workspace.unless):
            for warning in workspace.ensure_hooks():
                ui.warn(warning)
    options = [f"--{name.replace('_', '-')}" for name in _HANDED_ON if getattr(arguments, name)]
    return process.pass_through(["add", *options, "--", *arguments.paths])
