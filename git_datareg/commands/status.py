"""`git datareg status`."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

from git_datareg import imports, pushing, standing, ui, working
from git_datareg.commands import printing
from git_datareg.commands.parsing import add_json, add_quiet
from git_datareg.commands.printing import put, put_json
from git_datareg.errors import DataregError, PartialError
from git_datareg.git import objects
from git_datareg.imports import Target
from git_datareg.projects import Project
from git_datareg.standing import Report
from git_datareg.workspace import Workspace

#: Rows of what was found, by what is said of them.
_Found = dict[str, list[dict[str, object]]]
_TITLES = {
    "staged": "staged data, to be committed",
    "changed": "changed data, not staged",
    "missing": "only pointers here (git datareg pull gets the data)",
    "unpushed": "data not pushed yet",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    add_json(parser)
    add_quiet(parser)
    parser.add_argument(
        "--fetch", action="store_true", help="ask the sources of imports what is new"
    )


def run(arguments: argparse.Namespace, workspace: Workspace) -> int:
    """Say how the data files stand; nothing is changed."""
    project = workspace.project
    working.require_work_tree(project.repository)
    failures: list[DataregError] = []
    tracked, found = _here(project)
    found["unpushed"] = _unpushed(project)
    found["imports"] = _imports(workspace, failures, ask=arguments.fetch)
    if arguments.json:
        put_json(found)
    else:
        put(_text(found, tracked))
    for warning in project.settings.warnings:
        ui.warn(warning)
    if len(failures) == 1:
        raise failures[0]
    if failures:
        raise PartialError(
            f"{len(failures)} imports could not be looked at", failures=tuple(failures)
        )
    return 0


def _here(project: Project) -> tuple[int, _Found]:
    """How many data files there are, and how they stand in index and work tree."""
    files = working.in_index(project.repository)
    return len(files), {
        "staged": [{"path": os.fsdecode(path)} for path in working.staged(project, files)],
        "changed": [{"path": os.fsdecode(path)} for path in working.changed(project, files)],
        "missing": [_row(each) for each in working.unplaced(project, files)],
    }


def _row(each: working.DataFile) -> dict[str, object]:
    return {
        "path": os.fsdecode(each.path),
        "id": each.pointer.digest.hex,
        "size": each.pointer.size,
    }


def _unpushed(project: Project) -> list[dict[str, object]]:
    """What HEAD needs and no branch of the default remote has, as far as we know of it."""
    remote = project.default_remote
    new = objects.existing(project.repository, ["HEAD"])
    needed = pushing.plan(project, new, [], remote.name if remote is not None else None)
    rows = [
        {"path": os.fsdecode(path), "id": pointer.digest.hex, "size": pointer.size}
        for pointer, path in needed.pointers.items()
    ]
    return sorted(rows, key=lambda row: str(row["path"]))


def _imports(
    workspace: Workspace, failures: list[DataregError], *, ask: bool
) -> list[dict[str, object]]:
    """A row for each import that can be read; what can't is in `failures` then."""
    rows = []
    opener = standing.remembered(workspace.open_source)
    for target in imports.find_all(workspace.project):
        try:
            row = _import_row(target)
            rows.append(row)
            if ask:
                state = standing.examine(target, opener)
                found = standing.report(state)
                row |= found._asdict()
                if (warning := standing.rewriting(state, found)) is not None:
                    ui.warn(warning)
        except DataregError as error:
            failures.append(error)
    return rows


def _import_row(target: Target) -> dict[str, object]:
    metafile = imports.read(target)
    return {
        "target": os.fsdecode(target.path),
        "url": metafile.url,
        "path": metafile.path,
        **dict.fromkeys(Report._fields),
        "rev": metafile.rev,
        "commit": metafile.commit,
    }


def _text(found: _Found, tracked: int) -> str:
    lines = [f"{ui.count(tracked, 'data file')} tracked"]
    for key, title in _TITLES.items():
        rows = found[key]
        if rows:
            total = sum(int(str(row.get("size", 0))) for row in rows)
            amount = f", {ui.size(total)}" if total else ""
            lines.append(f"\n{title} ({ui.count(len(rows), 'file')}{amount}):")
            lines.append(ui.listing(ui.show(str(row["path"])) for row in rows))
    if found["imports"]:
        lines += ["\nimports:", *_import_lines(found["imports"])]
    return "\n".join(lines)


def _import_lines(rows: Sequence[dict[str, object]]) -> list[str]:
    lines = []
    for row in rows:
        at = f"{row['rev'] or 'default branch'} ({str(row['commit'])[:12]})"
        lines.append(f"  {ui.show(str(row['target']))} from {row['url']} at {at}{_standing(row)}")
    return lines


def _standing(row: dict[str, object]) -> str:
    """How the import stands to its source, if that was asked."""
    if row["behind"] is None:
        return ""
    found = Report(*(row[field] for field in Report._fields))  # type: ignore[arg-type]
    return f"\n    {printing.standing(found)}{': git datareg update' if found.behind else ''}"
