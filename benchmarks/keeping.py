"""Times keeping data in Git, beside plain git and git-lfs."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import NamedTuple

from measuring import Times, call, check_same, environment, table, timed, write_files

#: What git says to a filter before it asks for anything; gitattributes(5).
_GREETING = b"0016git-filter-client\n000eversion=2\n00000015capability=clean\n0000"


class Tool(NamedTuple):
    """A way to keep data in Git: how a repository is set up for it, and how it is cloned."""

    name: str
    set_up: tuple[str, ...]
    clone_prefix: str
    #: What stages files.
    add: tuple[str, ...] = ("add",)


_SET_UP = ("git datareg init", "git datareg track data/**")
TOOLS = (
    Tool("git", (), "file://"),
    Tool("datareg", _SET_UP, "datareg::file://"),
    Tool("datareg, by git datareg add", _SET_UP, "datareg::file://", ("datareg", "add")),
    Tool("lfs", ("git lfs install", "git lfs track data/**"), "file://"),
)


class Workload(NamedTuple):
    """Files to work with; `keep`: runs are deleted at the end, not one by one."""

    name: str
    count: int
    size: int
    keep: bool


def at_hand() -> list[Tool]:
    """The tools that are installed here."""
    return [tool for tool in TOOLS if tool.name != "lfs" or shutil.which("git-lfs")]


def measure(workload: Workload, tools: list[Tool], runs: int, scratch: Path) -> Times:
    """Seconds of each step for each tool, in every run."""
    times: Times = {}
    with ExitStack() as kept:
        for run in range(runs):
            # In turn, so that none always comes first.
            for tool in tools[run % len(tools) :] + tools[: run % len(tools)]:
                print(f"{workload.name}: run {run + 1}, {tool.name}", file=sys.stderr)
                with ExitStack() as single:
                    stack = kept if workload.keep else single
                    place = stack.enter_context(tempfile.TemporaryDirectory(dir=scratch))
                    for step, seconds in _steps(tool, workload, Path(place)):
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


def _steps(tool: Tool, workload: Workload, place: Path) -> Iterator[tuple[str, float]]:
    env = environment(place)
    work, remote, clone = place / "work", place / "remote.git", place / "clone"

    def git(*words: str, at: Path = work) -> Callable[[], None]:
        return lambda: call(["git", *words], at, env)

    git("init", "--quiet", "--bare", str(remote), at=place)()
    git("init", "--quiet", str(work), at=place)()
    git("remote", "add", "origin", f"file://{remote}")()
    for command in tool.set_up:
        call(command.split(), work, env)
    write_files(work / "data", workload.count, workload.size)

    yield "git add", timed(git(*tool.add, "."))
    yield "git commit", timed(git("commit", "--quiet", "--message", "data"))
    yield "git status", timed(git("status", "--porcelain"))
    yield "git push", timed(git("push", "--quiet", "origin", "main"))
    # As on another machine: nothing is in a cache.
    env["GIT_DATAREG_CACHE"] = str(place / "other-cache")
    url = f"{tool.clone_prefix}{remote}"
    yield "git clone", timed(git("clone", "--quiet", url, str(clone), at=place))
    check_same(clone / "data", work / "data")
    yield "git status in the clone", timed(git("status", "--porcelain", at=clone))
    copy = ["cp", "-r", str(work / "data"), str(place / "copy")]
    yield "(cp -r of the files)", timed(lambda: call(copy, place, env))


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
