"""Times git-datareg beside plain git and git-lfs, and prints the medians as a table.

Each run has directories of its own: ext4 is slow for a while at making many
files where as many were deleted. Nothing of the user's configuration counts.
Wants a quiet machine; compare the ratios, which travel better than seconds.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import NamedTuple

RESULTS = Path(__file__).resolve().parents[1] / "docs/benchmarks/latest.md"
_MIB = 1024 * 1024
_CONFIG = """\
[user]
\tname = Bench
\temail = bench@example.org
[init]
\tdefaultBranch = main
[gc]
\tauto = 0
"""
#: What git says to a filter before it asks for anything; gitattributes(5).
_GREETING = b"0016git-filter-client\n000eversion=2\n00000015capability=clean\n0000"


class Tool(NamedTuple):
    """A way to keep data in Git: how a repository is set up for it, and how it is cloned."""

    name: str
    set_up: tuple[str, ...]
    clone_prefix: str


TOOLS = (
    Tool("git", (), "file://"),
    Tool("datareg", ("git datareg init", "git datareg track data/**"), "datareg::file://"),
    Tool("lfs", ("git lfs install", "git lfs track data/**"), "file://"),
)


class Workload(NamedTuple):
    """Files to work with; `keep`: runs are deleted at the end, not one by one."""

    name: str
    count: int
    size: int
    keep: bool


#: Seconds by step and tool, one number per run.
Times = dict[str, dict[str, list[float]]]


def main() -> int:
    """Run it all, and print the tables."""
    arguments = _arguments()
    workloads = (
        Workload(f"{arguments.files:,} files of 4 KB", arguments.files, 4096, keep=True),
        Workload(f"1 file of {arguments.mib} MiB", 1, arguments.mib * _MIB, keep=False),
    )
    tools = [tool for tool in TOOLS if tool.name != "lfs" or shutil.which("git-lfs")]
    lines = list(_heading(arguments.runs, len(tools) < len(TOOLS)))
    with tempfile.TemporaryDirectory(dir=arguments.directory, prefix="bench-") as scratch:
        for workload in workloads:
            lines += _table(workload.name, measure(workload, tools, arguments.runs, Path(scratch)))
        lines += _table("Start-up", start_up(Path(scratch)), unit="ms")
    text = "\n".join(lines) + "\n"
    sys.stdout.write(text)
    if arguments.write:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(text, encoding="utf-8")
    return 0


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
    environment = _environment(scratch)
    repository = scratch / "start-up"
    _call(["git", "init", "--quiet", str(repository)], scratch, environment)
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
            seconds = _timed(lambda c=command, s=said: _call(c, repository, environment, s))
            found[name]["time"].append(seconds * 1000)
    return found


def _steps(tool: Tool, workload: Workload, place: Path) -> Iterator[tuple[str, float]]:
    environment = _environment(place)
    work, remote, clone = place / "work", place / "remote.git", place / "clone"

    def git(*words: str, at: Path = work) -> Callable[[], None]:
        return lambda: _call(["git", *words], at, environment)

    git("init", "--quiet", "--bare", str(remote), at=place)()
    git("init", "--quiet", str(work), at=place)()
    git("remote", "add", "origin", f"file://{remote}")()
    for command in tool.set_up:
        _call(command.split(), work, environment)
    _write(workload, work / "data")

    def record() -> None:
        git("add", ".")()
        git("commit", "--quiet", "--message", "data")()

    yield "git add, git commit", _timed(record)
    yield "git status", _timed(git("status", "--porcelain"))
    yield "git push", _timed(git("push", "--quiet", "origin", "main"))
    # As on another machine: nothing is in a cache.
    environment["GIT_DATAREG_CACHE"] = str(place / "other-cache")
    url = f"{tool.clone_prefix}{remote}"
    yield "git clone", _timed(git("clone", "--quiet", url, str(clone), at=place))
    _check(workload, clone / "data")
    yield "git status in the clone", _timed(git("status", "--porcelain", at=clone))
    copy = ["cp", "-r", str(work / "data"), str(place / "copy")]
    yield "(cp -r of the files)", _timed(lambda: _call(copy, place, environment))


def _write(workload: Workload, directory: Path) -> None:
    """Write the files, old enough that git need not read them twice ("racy git")."""
    directory.mkdir()
    then = time.time() - 10
    for number in range(workload.count):
        path = directory / f"{number:05}.bin"
        with path.open("wb") as file:
            for start in range(0, workload.size, _MIB):
                file.write(os.urandom(min(_MIB, workload.size - start)))
        os.utime(path, (then, then))


def _check(workload: Workload, directory: Path) -> None:
    sizes = [path.stat().st_size for path in directory.iterdir()]
    if sizes != [workload.size] * workload.count:
        raise SystemExit(f"the clone in {directory} lacks data: the figures would mean nothing")


def _timed(step: Callable[[], None]) -> float:
    os.sync()
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def _call(
    command: list[str], directory: Path, environment: Mapping[str, str], said: bytes = b""
) -> None:
    done = subprocess.run(
        command, cwd=directory, env=environment, input=said, capture_output=True, check=False
    )
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}: {done.stderr.decode(errors='replace')}")


def _environment(home: Path) -> dict[str, str]:
    config = home / "gitconfig"
    config.write_text(_CONFIG, encoding="utf-8")
    own = {
        "HOME": str(home),
        "GIT_CONFIG_GLOBAL": str(config),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_DATAREG_CACHE": str(home / "cache"),
        "LC_ALL": "C.UTF-8",
    }
    outside = ("GIT_", "XDG_")
    return {name: v for name, v in os.environ.items() if not name.startswith(outside)} | own


def _heading(runs: int, no_lfs: bool) -> Iterator[str]:
    version = subprocess.run(["git", "--version"], capture_output=True, check=True, text=True)
    yield "# Figures"
    yield ""
    yield f"Medians of {runs} runs, in seconds; behind them the ratio to plain git."
    yield f"{version.stdout.strip()}, Python {platform.python_version()}, {os.cpu_count()} cores,"
    yield f"{platform.system()} {platform.machine()}. Made by `make bench ARGS=--write`."
    if no_lfs:
        yield "git-lfs is not installed here: skipped."


def _table(title: str, times: Times, unit: str = "s") -> Iterator[str]:
    tools = list(dict.fromkeys(name for row in times.values() for name in row))
    tools.sort(key=[*(tool.name for tool in TOOLS), "time"].index)
    yield from ("", f"## {title}", "", f"| | {' | '.join(tools)} |", f"|---|{'---|' * len(tools)}")
    for step, row in times.items():
        base = median(row[tools[0]])
        cells = [_cell(median(row[tool]), base, unit, tool == tools[0]) for tool in tools]
        yield f"| {step} | {' | '.join(cells)} |"


def _cell(value: float, base: float, unit: str, is_base: bool) -> str:
    if unit == "ms":
        return f"{value:.0f} ms"
    return f"{value:.2f}" if is_base else f"{value:.2f} ({value / base:.2f} x)"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="runs of each (default: 3)")
    parser.add_argument("--files", type=int, default=2000, help="small files (default: 2000)")
    parser.add_argument("--mib", type=int, default=512, help="the large file's MiB (default: 512)")
    parser.add_argument("--directory", help="where to work (default: the temporary directory)")
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name} too")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
