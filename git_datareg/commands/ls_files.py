"""`git datareg ls-files`."""

from __future__ import annotations

import argparse
import os

from git_datareg import ui, working
from git_datareg.commands.parsing import add_json, add_quiet
from git_datareg.commands.printing import put, put_json
from git_datareg.errors import RevisionNotFoundError
from git_datareg.working import DataFile
from git_datareg.workspace import Workspace


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument("-l", "--long", action="store_true", help="with id, size and presence")
    add_json(parser)
    add_quiet(parser)
    parser.add_argument(
        "arguments", nargs="*", metavar="REV PATH", help="a commit (default: the index), and paths"
    )


def run(arguments: argparse.Namespace, workspace: Workspace) -> int:
    """Print the data files, sorted, one a line, from the repository's root."""
    project = workspace.project
    commit, rest = _revision(arguments.arguments, workspace)
    if commit is None and project.repository.work_tree is None:
        commit = project.repository.resolve("HEAD")
    paths = workspace.from_top(rest)
    if commit is None:
        files = working.in_index(project.repository, paths)
    else:
        files = working.in_commit(project.repository, commit, paths)
    absent = {each.pointer for each in working.missing(project, files)}
    if arguments.json:
        rows = [_as_json(each, present=each.pointer not in absent) for each in files]
        put_json(rows)
        return 0
    for each in files:
        line = ui.show(each.path)
        if arguments.long:
            star = "-" if each.pointer in absent else "*"
            line = f"{each.pointer.digest.hex[:12]} {star} {each.pointer.size:>14} {line}"
        put(line)
    return 0


def _revision(words: list[str], workspace: Workspace) -> tuple[str | None, list[str]]:
    """The commit that the first word names, if it does, and the other words."""
    if not words or os.path.lexists(words[0]):
        return None, words
    try:
        return workspace.repository.resolve(words[0]), words[1:]
    except RevisionNotFoundError:
        # As git has it: a word that names no commit is a path, if it can be one.
        if len(words) == 1 and not working.in_index(
            workspace.repository, workspace.from_top(words)
        ):
            raise
        return None, words


def _as_json(each: DataFile, *, present: bool) -> dict[str, object]:
    return {
        "path": os.fsdecode(each.path),
        "id": each.pointer.digest.hex,
        "size": each.pointer.size,
        "present": present,
    }
