"""Times keeping data in Git, beside plain git, git-lfs and dvc."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import NamedTuple

from measuring import Times, call, check_same, environment, table, timed, write_files

#: What git says to a filter before it asks for anything; gitattributes(5).
_GREETING = b"0016git-filter-client\n000eversion=2\n00000015capability=clean\n0000"


class Tool(NamedTuple):
    """A way to keep data in Git, by the commands that users type.

    In them {url} is the remote, {clone} a clone's directory and {place} one beside them.
    """

    name: str
    set_up: tuple[str, ...]
    add: tuple[str, ...] = ("git add .",)
    push: tuple[str, ...] = ("git push --quiet origin main",)
    clone: tuple[str, ...] = ("git clone --quiet {url} {clone}",)
    #: What it takes, if that is not always there.
    program: str = "git"


_SET_UP = ("git datareg init", "git datareg track data/**")
_CLONE = ("git clone --quiet datareg::{url} {clone}",)
TOOLS = (
    Tool("git", ()),
    Tool("datareg", _SET_UP, clone=_CLONE),
    Tool("datareg, by git datareg add", _SET_UP, ("git datareg add .",), clone=_CLONE),
    Tool("lfs", ("git lfs install", "git lfs track data/**"), program="git-lfs"),
    Tool(
        "dvc",
        ("dvc init --quiet", "dvc remote add --quiet --default storage {place}/storage"),
        ("dvc add --quiet data", "git add ."),
        ("dvc push --quiet", "git push --quiet origin main"),
        ("git clone --quiet {url} {clone}", "dvc --cd {clone} pull --quiet"),
        program="dvc",
    ),
)


class Workload(NamedTuple):
    """Files to work with; `keep`: runs are deleted at the end, not one by one."""

    name: str
    count: int
    size: int
    keep: bool


def at_hand(dvc: Path | None) -> list[Tool]:
    """The tools that are installed here."""
    there = {"git": True, "git-lfs": shutil.which("git-lfs"), "dvc": dvc and dvc.exists()}
    return [tool for tool in TOOLS if there[tool.program]]


def measure(
    workload: Workload, tools: list[Tool], runs: int, scratch: Path, dvc: Path | None
) -> Times:
    """Seconds of each step for each tool, in every run."""
    times: Times = {}
    programs = {"dvc": str(dvc)}
    with ExitStack() as kept:
        for run in range(runs):
            # In turn, so that none always comes first.
            for tool in tools[run % len(tools) :] + tools[: run % len(tools)]:
                print(f"{workload.name}: run {run + 1}, {tool.name}", file=sys.stderr)
                with ExitStack() as single:
                    stack = kept if workload.keep else single
                    place = stack.enter_context(tempfile.TemporaryDirectory(dir=scratch))
                    for step, seconds in _steps(tool, workload, Path(place), programs):
                        times.setdefault(step, {}).setdefault(tool.name, []).append(seconds)
    return times


def start_up(scratch: Path, runs: int = 25) -> Times:
    """Milliseconds until a program is done that has nothing to do."""
    env = environment(scratch)
    repository = scratch / "start-up"
    call(["git", "init", "--quiet", str(repository)], scratch, env)
    commands = {
        "python -c pass": ([sys.executable, "-c", "pass"], b""),
        "git datareg --version": (["git", "datareg", "--version"], b""),
        "the filter, until its greeting": (["git-datareg", "filter-process"], _GREETING),
    }
    if shutil.which("git-lfs"):
        commands["git lfs version"] = (["git", "lfs", "version"], b"")
    found: Times = {name: {"time": []} for name in commands}
    for _ in range(runs):
        for name, (command, said) in commands.items():
            seconds = timed(lambda c=command, s=said: call(c, repository, env, s))
            found[name]["time"].append(seconds * 1000)
    return found


def _steps(
    tool: Tool, workload: Workload, place: Path, programs: Mapping[str, str]
) -> Iterator[tuple[str, float]]:
    env = environment(place)
    work, remote, clone = place / "work", place / "remote.git", place / "clone"

    def run(commands: Sequence[str], at: Path = work) -> None:
        for each in commands:
            words = each.format(url=f"file://{remote}", clone=clone, place=place).split()
            call([programs.get(words[0], words[0]), *words[1:]], at, env)

    run([f"git init --quiet --bare {remote}", f"git init --quiet {work}"], place)
    run(["git remote add origin {url}", *tool.set_up])
    write_files(work / "data", workload.count, workload.size)
    yield "add", timed(lambda: run(tool.add))
    yield "commit", timed(lambda: run(["git commit --quiet --message data"]))
    yield "status", timed(lambda: run(["git status --porcelain"]))
    yield "push", timed(lambda: run(tool.push))
    # As on another machine: nothing is in a cache.
    env["GIT_DATAREG_CACHE"] = str(place / "other-cache")
    yield "clone", timed(lambda: run(tool.clone, place))
    check_same(clone / "data", work / "data")
    yield "status in the clone", timed(lambda: run(["git status --porcelain"], clone))
    yield "(cp -r of the files)", timed(lambda: run(["cp -r work/data {place}/copy"], place))


def tables(times: Times, title: str, unit: str = "s") -> Iterator[str]:
    """A line for each step, with each tool's median and its ratio to the first one's."""
    tools = list(dict.fromkeys(name for row in times.values() for name in row))
    tools.sort(key=[*(tool.name for tool in TOOLS), "time"].index)
    rows = {}
    for step, row in times.items():
        base = median(row[tools[0]])
        rows[step] = [_cell(median(row[tool]), base, unit, tool == tools[0]) for tool in tools]
    yield from table(title, tools, rows)


def _cell(value: float, base: float, unit: str, is_base: bool) -> str:
    if unit == "ms":
        return f"{value:.0f} ms"
    return f"{value:.2f}" if is_base else f"{value:.2f} ({value / base:.2f} x)"
