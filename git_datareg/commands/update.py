"""`git datareg update`."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

from git_datareg import importing, imports, ui
from git_datareg.commands.parsing import add_jobs, add_json, add_progress
from git_datareg.commands.printing import put, put_json
from git_datareg.errors import DataregError, PartialError, UsageError
from git_datareg.importing import State
from git_datareg.imports import Target
from git_datareg.workspace import Workspace


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument("--rev", metavar="REV", help="follow another branch, tag or commit")
    parser.add_argument(
        "--check", action="store_true", help="only tell what is behind; exit code 1 if anything is"
    )
    parser.add_argument("-f", "--force", action="store_true", help="replace files changed here")
    parser.add_argument("--all", action="store_true", help="every import of the repository")
    add_jobs(parser)
    add_json(parser)
    add_progress(parser)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="faces or faces.datareg")


def run(arguments: argparse.Namespace, workspace: Workspace) -> int:
    """Update each import for itself; one that fails does not keep the others back."""
    targets = _targets(arguments, workspace)
    rows: list[dict[str, object]] = []
    failures: list[DataregError] = []
    for target in targets:
        try:
            state = importing.examine(target, workspace.open_source, arguments.rev)
            rows.append(_check(state) if arguments.check else _update(arguments, workspace, state))
        except DataregError as error:
            failures.append(error)
    if arguments.json:
        put_json(rows)
    else:
        _tell(rows, check=arguments.check, quiet=arguments.quiet)
    if not _is_here():
        ui.hint('this directory was replaced; to enter the new one: cd "$PWD"')
    if len(failures) == 1 and len(targets) == 1:
        raise failures[0]
    if failures:
        raise PartialError(
            f"{len(failures)} of {len(targets)} imports could not be updated",
            failures=tuple(failures),
        )
    return 1 if arguments.check and any(row["behind"] for row in rows) else 0


def _is_here() -> bool:
    """Whether the current directory still has a name; it may have been in an import."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return False
    return True


def _targets(arguments: argparse.Namespace, workspace: Workspace) -> Sequence[Target]:
    if arguments.all == bool(arguments.targets):
        raise UsageError("name imports to update, or give --all", "git datareg status lists them")
    if arguments.all:
        return imports.find_all(workspace.project)
    return [imports.find(workspace.project, each) for each in arguments.targets]


def _check(state: State) -> dict[str, object]:
    return {
        "target": os.fsdecode(state.target.path),
        "behind": state.behind,
        "commit": state.metafile.commit,
        "available": state.source.commit,
    }


def _update(arguments: argparse.Namespace, workspace: Workspace, state: State) -> dict[str, object]:
    project = workspace.project
    with ui.Progress.of(arguments, "downloading") as progress:
        changes = importing.update(
            project,
            state,
            replace=arguments.force,
            jobs=arguments.jobs or project.settings.jobs,
            advance=progress.advance,
        )
    row = _check(state)
    row["behind"] = False
    return row | {
        "added": changes.added,
        "changed": changes.changed,
        "removed": changes.removed,
        "fetched": changes.fetched,
    }


def _tell(rows: Sequence[dict[str, object]], *, check: bool, quiet: bool) -> None:
    for row in rows:
        name = ui.show(str(row["target"]))
        if check:
            put(f"{name}: {'behind' if row['behind'] else 'up to date'}")
        elif quiet:
            continue
        elif row["added"] or row["changed"] or row["removed"]:
            ui.say(
                f"{name}: {row['added']} added, {row['changed']} changed, "
                f"{row['removed']} removed, at {str(row['available'])[:12]}"
            )
        else:
            ui.say(f"{name}: up to date")
