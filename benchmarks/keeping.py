"""Measures keeping data in Git, beside plain git, git-lfs, git-annex, dvc and bare copies."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import NamedTuple

from measuring import (
    Costs,
    Figures,
    Line,
    Times,
    call,
    check_same,
    costs_table,
    environment,
    measured,
    medians,
    short_table,
    table,
    timed,
    write_files,
)

#: What git says to a filter before it asks for anything; gitattributes(5).
_GREETING = b"0016git-filter-client\n000eversion=2\n00000015capability=clean\n0000"
#: Copies a directory and hashes each file of it, in one process and thread.
_COPY_AND_HASH = """
import os, shutil, sys
from blake3 import blake3
source, target = sys.argv[1:]
os.mkdir(target)
for entry in os.scandir(source):
    shutil.copyfile(entry.path, os.path.join(target, entry.name))
    hasher = blake3()
    with open(entry.path, "rb", buffering=0) as file:
        while piece := file.read(1 << 20):
            hasher.update(piece)
    hasher.hexdigest()
"""
#: The floors are no tools: nothing of theirs could be pushed.
_COPY, _HASH = "cp -r", "cp and hash"
_OURS, _BULK, _PLAIN = "git-datareg", "git-datareg, by git datareg add", "git"
#: What a step is compared with at best; else it is plain git.
_FLOORS = {"add": (_PLAIN, _HASH), "push": (_COPY,)}
_TOUCHED, _SWITCHED, _BACK = "status after touching all", "checkout of other data", "checkout back"
#: Where git-annex is no peer: it keeps symlinks, and has no file to read or to write.
_ONLY_LINKS = (_TOUCHED, _SWITCHED, _BACK)
_SLOW = ("dvc", "git-annex")


class Tool(NamedTuple):
    """A way to keep data in Git, by the commands that users type.

    In them {url} is the remote, {clone} a clone's directory and {place} one beside them.
    """

    name: str
    set_up: tuple[str, ...]
    add: tuple[str, ...] = ("git add .",)
    push: tuple[str, ...] = ("git push --quiet origin main",)
    clone: tuple[str, ...] = ("git clone --quiet {url} {clone}",)
    #: How it tells that nothing has changed.
    status: tuple[str, ...] = ("git status --porcelain",)
    #: What follows a checkout of another commit.
    switched: tuple[str, ...] = ()
    #: What it takes, if that is not always there.
    program: str = "git"


_SET_UP = ("git datareg init", "git datareg track data/**")
_CLONE = ("git clone --quiet datareg::{url} {clone}",)
TOOLS = (
    Tool(_PLAIN, ()),
    Tool(_OURS, _SET_UP, clone=_CLONE),
    Tool(_BULK, _SET_UP, ("git datareg add .",), clone=_CLONE),
    Tool("git-lfs", ("git lfs install", "git lfs track data/**"), program="git-lfs"),
    Tool(
        "git-annex",
        ("git annex init --quiet work",),
        ("git annex add --quiet .",),
        ("git push --quiet origin main git-annex", "git annex copy --quiet --to origin"),
        (
            "git clone --quiet {url} {clone}",
            "git -C {clone} annex init --quiet clone",
            "git -C {clone} annex get --quiet .",
        ),
        program="git-annex",
    ),
    Tool(
        "dvc",
        ("dvc init --quiet", "dvc remote add --quiet --default storage {place}/storage"),
        ("dvc add --quiet data", "git add ."),
        ("dvc push --quiet", "git push --quiet origin main"),
        ("git clone --quiet {url} {clone}", "dvc --cd {clone} pull --quiet"),
        ("dvc status --quiet",),
        ("dvc checkout --quiet",),
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
    there = {each: shutil.which(each) for each in ("git", "git-lfs", "git-annex")}
    return [
        tool
        for tool in TOOLS
        if (dvc is not None and dvc.exists() if tool.program == "dvc" else there[tool.program])
    ]


def measure(
    workload: Workload,
    tools: list[Tool],
    runs: int,
    scratch: Path,
    dvc: Path | None,
    *,
    slow_runs: int,
) -> Figures:
    """The costs of each step for each tool, in every run; of the slow ones in the first runs."""
    figures: Figures = {}
    programs = {"dvc": str(dvc)}
    with ExitStack() as kept:
        for run in range(runs):
            # In turn, so that none always comes first.
            for tool in tools[run % len(tools) :] + tools[: run % len(tools)]:
                if tool.program in _SLOW and run >= slow_runs:
                    continue
                print(f"{workload.name}: run {run + 1}, {tool.name}", file=sys.stderr)
                with ExitStack() as single:
                    stack = kept if workload.keep else single
                    place = stack.enter_context(tempfile.TemporaryDirectory(dir=scratch))
                    # git-annex writes-protects what it keeps.
                    stack.callback(_make_writable, Path(place))
                    for step, name, costs in _steps(tool, workload, Path(place), programs):
                        figures.setdefault(step, {}).setdefault(name, []).append(costs)
    return figures


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
) -> Iterator[tuple[str, str, Costs]]:
    """Each step, who took it, and what it cost."""
    env = environment(place)
    work, remote, clone = place / "work", place / "remote.git", place / "clone"

    def run(commands: Sequence[str], at: Path = work) -> Costs:
        costs = Costs(0, 0, 0)
        for each in commands:
            words = each.format(url=f"file://{remote}", clone=clone, place=place).split()
            costs += measured([programs.get(words[0], words[0]), *words[1:]], at, env)
        return costs

    run([f"git init --quiet --bare {remote}", f"git init --quiet {work}"], place)
    run(["git remote add origin {url}", *tool.set_up])
    data = work / "data"
    write_files(data, workload.count, workload.size)
    if tool.name == _PLAIN:
        hashing = [sys.executable, "-c", _COPY_AND_HASH, data, place / "hashed"]
        yield "add", _HASH, measured(hashing, place, env)
        yield "push", _COPY, measured(["cp", "-r", data, place / "copy"], place, env)
    yield "add", tool.name, run(tool.add)
    commit = run(["git commit --quiet --message data"])
    # Of dvc's, git has seen one small file.
    if tool.program != "dvc":
        yield "commit", tool.name, commit
    yield "status", tool.name, run(tool.status)
    yield "push", tool.name, run(tool.push)
    _touch(data)
    yield _TOUCHED, tool.name, run(tool.status)
    # As on another machine: nothing is in a cache.
    env["GIT_DATAREG_CACHE"] = str(place / "other-cache")
    yield "clone", tool.name, run(tool.clone, place)
    check_same(clone / "data", data)
    yield "status in the clone", tool.name, run(tool.status, clone)
    if tool.name in (_PLAIN, _OURS, _BULK):
        clone.rename(place / "first")
        yield "clone again, data in the cache", tool.name, run(tool.clone, place)
    _make_writable(data)
    shutil.rmtree(data)
    write_files(data, workload.count, workload.size)
    run(["git checkout --quiet -b other", *tool.add, "git commit --quiet --message other"])
    yield _SWITCHED, tool.name, run(["git checkout --quiet main", *tool.switched])
    check_same(data, clone / "data")
    yield _BACK, tool.name, run(["git checkout --quiet other", *tool.switched])


def _touch(directory: Path) -> None:
    """Give each file another time; where it is a symlink, what it leads to."""
    for entry in os.scandir(directory):
        os.utime(entry.path, (1_000_000_000, 1_000_000_000))


def _make_writable(directory: Path) -> None:
    for each in directory.rglob("*"):
        if each.is_dir() and not each.is_symlink():
            each.chmod(0o755)


def tables(figures: Figures, title: str) -> Iterator[str]:
    """What matters in a line for each step, and then all costs of all tools."""
    found = medians(figures)
    yield from short_table(title, dict(_in_short(found)))
    order = [_HASH, _COPY, *(tool.name for tool in TOOLS)]
    tools = [name for name in order if any(name in row for row in found.values())]
    yield from costs_table(title, found, tools)


def _in_short(found: Mapping[str, Mapping[str, Costs]]) -> Iterator[tuple[str, Line]]:
    others = (_OURS, _BULK, _PLAIN, _COPY, _HASH)
    for step, row in found.items():
        links = ("git-annex",) if step in _ONLY_LINKS else ()
        peers = {name: each.seconds for name, each in row.items() if name not in (*others, *links)}
        floors = _FLOORS.get(step, (_PLAIN,))
        for ours in (_OURS, _BULK) if step in ("add", "push") else (_OURS,):
            label = f"{step}{ours.removeprefix(_OURS)}"
            yield (
                label,
                Line(row[ours].seconds, peers, {name: row[name].seconds for name in floors}),
            )


def start_up_table(times: Times) -> Iterator[str]:
    """The median of each program."""
    rows = {name: [f"{median(row['time']):.0f} ms"] for name, row in times.items()}
    yield from table("Start-up", ["time"], rows)
