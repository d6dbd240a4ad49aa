"""`git datareg fsck`."""

from __future__ import annotations

import argparse
import os
from collections import Counter
from collections.abc import Sequence

from git_datareg import checking, needs, repairing, ui
from git_datareg.checking import CACHE, CORRUPT_KINDS, Problem, Report
from git_datareg.commands.parsing import add_jobs, add_json, add_progress, not_empty
from git_datareg.commands.printing import put_json, put_lines
from git_datareg.errors import (
    CorruptError,
    DataregError,
    ObjectNotFoundError,
    StorageError,
    StorageUnavailableError,
    UsageError,
)
from git_datareg.lookups import CORRUPT, MISSING, UNREADABLE, WRONG_SIZE
from git_datareg.workspace import Workspace

#: Of faults that many objects may share, so many are told.
_MOST_FAULTS = 10
#: Kinds of what copies can make good.
_PLAIN = frozenset((MISSING, CORRUPT, WRONG_SIZE))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument("--all", action="store_true", help="what any ref needs, with its history")
    parser.add_argument(
        "--storage",
        action="append",
        nargs="?",
        type=not_empty,
        metavar="NAME",
        help="look into that storage, too (without NAME: where pushes store; repeatable)",
    )
    parser.add_argument(
        "--read-data", action="store_true", help="with --storage: read also what is not a directory"
    )
    parser.add_argument("--repair", action="store_true", help="put whole copies in place")
    add_jobs(parser)
    add_json(parser)
    add_progress(parser)
    parser.add_argument(
        "revs", nargs="*", metavar="REV", help="what these need (default: HEAD and the index)"
    )


def run(arguments: argparse.Namespace, workspace: Workspace) -> int:
    """Check, repair if asked, and print what is wrong, a line each."""
    storages = arguments.storage or []
    if arguments.read_data and not storages:
        raise UsageError("--read-data goes with --storage")
    if arguments.all and arguments.revs:
        raise UsageError("--all is every revision already: leave out REV")
    project, opener, jobs = workspace.project, workspace.open_source, arguments.jobs
    needed = needs.of(project, arguments.revs, everything=arguments.all)
    scope = checking.scope(project, needed, storages, reads=arguments.read_data)
    with ui.Progress.of(arguments, "checking", scope.size) as progress:
        report = checking.check(project, scope, opener, jobs=jobs, advance=progress.advance)
    problems: Sequence[Problem] = report.problems
    faults: Sequence[DataregError] = ()
    if arguments.repair and problems:
        with ui.Progress.of(arguments, "repairing") as progress:
            problems, faults = repairing.repair(
                project, scope, problems, opener, jobs=jobs, advance=progress.advance
            )
    if arguments.json:
        put_json([_as_json(each) for each in problems])
    else:
        put_lines([_as_line(each) for each in problems])
    if not arguments.quiet:
        _summarize(report)
    left = [each for each in problems if not each.is_repaired]
    _tell([each.error for each in left if not _is_plain(each)], faults)
    if left:
        raise _fault(left, report, is_repair=arguments.repair)
    return 0


def _as_line(problem: Problem) -> str:
    words = ["repaired"] if problem.is_repaired else []
    digest = problem.pointer.digest.hex if problem.pointer is not None else "-"
    path = ui.show(problem.path) if problem.path is not None else "-"
    return " ".join([*words, problem.kind, digest, problem.where, path])


def _as_json(problem: Problem) -> dict[str, object]:
    pointer = problem.pointer
    return {
        "kind": problem.kind,
        "digest": pointer.digest.hex if pointer is not None else None,
        "size": pointer.size if pointer is not None else None,
        "path": os.fsdecode(problem.path) if problem.path is not None else None,
        "where": problem.where,
        "repaired": problem.is_repaired,
        "message": problem.error.message,
    }


def _is_plain(problem: Problem) -> bool:
    """Whether the line says all there is to say."""
    return problem.kind in _PLAIN and not isinstance(problem.error, StorageError)


def _summarize(report: Report) -> None:
    if not report.needed:
        ui.say("no data files to check")
        return
    objects = ui.count(report.needed, "object")
    ui.say(f"{objects} needed: {report.present} whole here, {report.absent} not here")
    for name, wanted, there in report.places:
        ui.say(f"{name}: {there} of {ui.count(wanted, 'object')} there")


def _tell(told: Sequence[DataregError], faults: Sequence[DataregError]) -> None:
    """Say what the lines do not, each thing once."""
    unique = {error.message: error for error in [*told, *faults]}
    for error in list(unique.values())[:_MOST_FAULTS]:
        ui.report(error)
    if len(unique) > _MOST_FAULTS:
        ui.say(f"and {len(unique) - _MOST_FAULTS} more faults")


def _fault(left: Sequence[Problem], report: Report, *, is_repair: bool) -> DataregError:
    """The fault that what is wrong amounts to: corrupt data before missing, that before others."""
    kinds = Counter(each.kind for each in left)
    shown = ", ".join(f"{number} {kind}" for kind, number in kinds.items())
    hints = []
    if any(each.where == CACHE and each.kind != UNREADABLE for each in left):
        hints.append("what is damaged in the cache is removed: git datareg fetch brings it again")
    if not kinds.keys().isdisjoint(_PLAIN):
        hints.append(
            "what has no whole copy stays as it is: add those files again, or ask who has them"
            if is_repair
            else "with --repair, whole copies are put in place where there are any"
        )
    if report.unpushed:
        number = ui.count(report.unpushed, "object")
        hints.append(f"{number} of the missing may not be pushed yet: git push")
    message = f"{ui.count(len(left), 'problem')}: {shown}"
    if CORRUPT_KINDS.intersection(kinds):
        return CorruptError(message, *hints)
    if MISSING in kinds:
        return ObjectNotFoundError(message, *hints)
    return StorageUnavailableError(message, *hints)
