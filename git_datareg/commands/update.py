"""`git datareg update`."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

from git_datareg import importing, imports, standing, ui
from git_datareg.commands import printing
from git_datareg.commands.parsing import add_jobs, add_json, add_progress, not_empty
from git_datareg.commands.printing import put, put_json
from git_datareg.errors import DataregError, PartialError, UsageError
from git_datareg.imports import Target
from git_datareg.standing import Opener, Report, State
from git_datareg.workspace import Workspace


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument(
        "--rev", type=not_empty, metavar="REV", help="follow another branch, tag or commit"
    )
    parser.add_argument(
        "--check", action="store_true", help="only tell what is behind; exit code 1 if anything is"
    )
    parser.add_argument("-f", "--force", action="store_true", help="replace files changed here")
    parser.add_argument("--all", action="store_true", help="every import of the repository")
    parser.add_argument(
        "--no-download", action="store_true", help="record it only; git datareg pull gets the data"
    )
    add_jobs(parser)
    add_json(parser)
    add_progress(parser)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="faces or faces.datareg")


def run(arguments: argparse.Namespace, workspace: Workspace) -> int:
    """Update each import for itself; one that fails does not keep the others back."""
    targets = _targets(arguments, workspace)
    opener = standing.remembered(workspace.open_source)
    rows: list[dict[str, object]] = []
    failures: list[DataregError] = []
    for target in targets:
        try:
            state = standing.examine(target, opener, arguments.rev)
            found = standing.report(state)
            if (warning := standing.rewriting(state, found)) is not None:
                ui.warn(warning)
            row = _row(state, found)
            if arguments.check:
                text = printing.standing(found)
            else:
                changes = _update(arguments, workspace, state, opener)
                row |= {"behind": False, **changes._asdict()}
                text = _text(changes, state.commit)
        except DataregError as error:
            failures.append(error)
            continue
        rows.append(row)
        _tell(arguments, target, text)
    if arguments.json:
        put_json(rows)
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


def _row(state: State, found: Report) -> dict[str, object]:
    return {"target": os.fsdecode(state.target.path), **found._asdict()}


def _update(
    arguments: argparse.Namespace, workspace: Workspace, state: State, opener: Opener
) -> importing.Changes:
    project = workspace.project
    with ui.Progress.of(arguments, "downloading") as progress:
        return importing.update(
            project,
            state,
            opener=opener,
            replace=arguments.force,
            download=not arguments.no_download,
            jobs=arguments.jobs or project.settings.jobs,
            progress=progress,
        )


def _text(changes: importing.Changes, commit: str) -> str:
    if not changes.any:
        return "up to date"
    return (
        f"{changes.added} added, {changes.changed} changed, "
        f"{changes.removed} removed, at {commit[:12]}"
    )


def _tell(arguments: argparse.Namespace, target: Target, text: str) -> None:
    """What came of one import: data when it was asked for, else talk."""
    line = f"{ui.show(target.path)}: {text}"
    if arguments.json:
        return
    if arguments.check:
        put(line)
    elif not arguments.quiet:
        ui.say(line)
