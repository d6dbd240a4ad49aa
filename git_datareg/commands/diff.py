"""`git datareg diff`."""

from __future__ import annotations

import argparse
import os

from git_datareg import changes, ui, working
from git_datareg.changes import Change
from git_datareg.commands.parsing import add_json, add_quiet
from git_datareg.commands.printing import put_json, put_lines
from git_datareg.errors import UsageError
from git_datareg.pointer import Pointer
from git_datareg.workspace import Workspace


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument(
        "--cached", "--staged", action="store_true", help="compare with the index, not the files"
    )
    add_json(parser)
    add_quiet(parser)
    parser.add_argument("old", nargs="?", metavar="A", help="a commit (HEAD), or A..B")
    parser.add_argument("new", nargs="?", metavar="B", help="a commit (default: the work tree)")


def run(arguments: argparse.Namespace, workspace: Workspace) -> int:
    """Print the data files that differ, a line each."""
    project = workspace.project
    repository = project.repository
    old, new = _sides(arguments.old, arguments.new)
    if new is not None and arguments.cached:
        raise UsageError("--cached compares one commit with the index")
    before = changes.in_commit(repository, repository.resolve(old))
    if new is not None:
        after = changes.in_commit(repository, repository.resolve(new))
    elif arguments.cached:
        after = changes.in_index(repository)
    else:
        working.require_work_tree(repository)
        after = changes.in_work_tree(project)
    found = changes.between(before, after)
    if arguments.json:
        put_json([_as_json(each) for each in found])
    else:
        put_lines([_as_line(each) for each in found])
    return 0


def _sides(old: str | None, new: str | None) -> tuple[str, str | None]:
    """The revisions that the words name; as in git, "" is HEAD beside two dots."""
    if old is not None and new is None and ".." in old:
        if "..." in old:
            raise UsageError(f"three dots are not known here: {old}", "git merge-base A B")
        first, _, second = old.partition("..")
        return first or "HEAD", second or "HEAD"
    return old or "HEAD", new


def _status(each: Change) -> str:
    if each.old is None:
        return "added"
    return "deleted" if each.new is None else "modified"


def _as_line(each: Change) -> str:
    sizes = " -> ".join(ui.size(side.size) for side in (each.old, each.new) if side is not None)
    return f"{_status(each)[0].upper()}\t{ui.show(each.path)}\t{sizes}"


def _as_json(each: Change) -> dict[str, object]:
    return {
        "path": os.fsdecode(each.path),
        "status": _status(each),
        "old": _side(each.old),
        "new": _side(each.new),
    }


def _side(pointer: Pointer | None) -> dict[str, object] | None:
    return None if pointer is None else {"id": pointer.digest.hex, "size": pointer.size}
