"""What all benchmarks share: clean environments, files to work with, timing, tables.

Nothing of the user's configuration counts. Each run has directories of its own,
and nothing is deleted before the end: ext4 is slow for a while at making files
where as many were deleted.
"""

from __future__ import annotations

import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

MIB = 1024 * 1024
_CONFIG = """\
[user]
\tname = Bench
\temail = bench@example.org
[init]
\tdefaultBranch = main
[gc]
\tauto = 0
"""
_DVC_CONFIG = "[core]\n    analytics = false\n    check_update = false\n"

#: Small itself: Linux counts what starts a program to the memory of that program.
_LAUNCHER = """
import os, sys, time
directory, log, output, *words = sys.argv[1:]
said, printed = (os.open(each, os.O_WRONLY | os.O_APPEND) for each in (log, output))
start = time.perf_counter()
if not (child := os.fork()):
    os.chdir(directory)
    os.dup2(printed, 1)
    os.dup2(said, 2)
    os.execvp(words[0], words)
_, status, used = os.wait4(child, 0)
seconds = time.perf_counter() - start
print(status, seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)
"""


class Costs(NamedTuple):
    """What a step costs."""

    #: By the clock.
    seconds: float
    #: Of all processors.
    processor: float
    #: Of the largest process.
    mib: float

    def __add__(self, other: object) -> Costs:
        """Both, one after the other."""
        assert isinstance(other, Costs)
        seconds, processor = self.seconds + other.seconds, self.processor + other.processor
        return Costs(seconds, processor, max(self.mib, other.mib))


#: Seconds by step and tool (or column), one number per run.
Times = dict[str, dict[str, list[float]]]
#: By step and tool, the costs of each run.
Figures = dict[str, dict[str, list[Costs]]]


class Line(NamedTuple):
    """A step in short: our seconds, and by name those of peers and of floors."""

    ours: float
    peers: Mapping[str, float]
    floors: Mapping[str, float]


def environment(home: Path) -> dict[str, str]:
    """An environment with nothing in it but PATH and the like; all caches are below `home`."""
    home.mkdir(parents=True, exist_ok=True)
    config = home / "gitconfig"
    config.write_text(_CONFIG, encoding="utf-8")
    (home / "dvc").mkdir(exist_ok=True)
    (home / "dvc/config").write_text(_DVC_CONFIG, encoding="utf-8")
    own = {
        "HOME": str(home),
        "GIT_CONFIG_GLOBAL": str(config),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_DATAREG_CACHE": str(home / "cache"),
        "DVC_GLOBAL_CONFIG_DIR": str(home / "dvc"),
        "DVC_SITE_CACHE_DIR": str(home / "dvc-site"),
        "DVC_NO_ANALYTICS": "1",
        "LC_ALL": "C.UTF-8",
    }
    outside = ("GIT_", "XDG_", "DVC_", "PYTHON")
    return {name: v for name, v in os.environ.items() if not name.startswith(outside)} | own


def call(
    command: Sequence[str | Path], directory: Path, env: Mapping[str, str], said: bytes = b""
) -> bytes:
    """Run a program; returns its output, and ends everything with its words when it fails."""
    words = [str(word) for word in command]
    done = subprocess.run(
        words, cwd=directory, env=env, input=said, capture_output=True, check=False
    )
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(words)}: {done.stderr.decode(errors='replace')[-1000:]}")
    return done.stdout


def measured(
    command: Sequence[str | Path],
    directory: Path,
    env: Mapping[str, str],
    output: Path | None = None,
) -> Costs:
    """Run a program to its end, and measure it with all its children; see `call`.

    What it prints is in `output` then.
    """
    os.sync()
    words = [str(word) for word in command]
    if output is not None:
        output.write_bytes(b"")
    with tempfile.NamedTemporaryFile() as log:
        places = [directory, log.name, output or log.name]
        told = call([sys.executable, "-IS", "-c", _LAUNCHER, *places, *words], directory, env)
        status, *costs = told.split()
        if status != b"0":
            raise SystemExit(f"{' '.join(words)}: {log.read().decode(errors='replace')[-1000:]}")
    return Costs(*map(float, costs))


def medians(figures: Figures) -> dict[str, dict[str, Costs]]:
    """By step and tool, the median of each cost."""
    return {
        step: {
            tool: Costs(*map(median, zip(*costs, strict=True))) for tool, costs in by_tool.items()
        }
        for step, by_tool in figures.items()
    }


def timed(step: Callable[[], object]) -> float:
    """Seconds that a step takes; what was written before it is on disk then."""
    os.sync()
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def write_files(directory: Path, count: int, size: int, *, per_folder: int = 0) -> None:
    """Write files of random bytes, old enough that git need not read them twice ("racy git")."""
    then = time.time() - 10
    directory.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        folder = directory / f"{number // per_folder:03}" if per_folder else directory
        folder.mkdir(exist_ok=True)
        write_file(folder / f"{number:05}.bin", size)
        os.utime(folder / f"{number:05}.bin", (then, then))


def write_file(path: Path, size: int, *, is_random: bool = True) -> None:
    """Write one file of random bytes, or of zeros, or replace it."""
    with path.open("wb") as file:
        for start in range(0, size, MIB):
            length = min(MIB, size - start)
            file.write(random.randbytes(length) if is_random else bytes(length))


def check_same(found: Path, expected: Path) -> None:
    """End everything unless both trees, or files, are the same: figures would mean nothing."""
    if _contents(found) != _contents(expected):
        raise SystemExit(f"{found} is not what was asked for: the figures would mean nothing")


def _contents(path: Path) -> dict[str, int | bytes]:
    """Every file's bytes by its path; of large ones the size."""
    files = [each for each in path.rglob("*") if each.is_file()] if path.is_dir() else [path]
    return {
        str(each.relative_to(path)): each.read_bytes()
        if each.stat().st_size < MIB
        else each.stat().st_size
        for each in files
    }


def heading(runs: int) -> Iterator[str]:
    """The head of a page of figures: with what they were made, and on what."""
    version = subprocess.run(["git", "--version"], capture_output=True, check=True, text=True)
    yield from ("# Figures", "")
    yield f"Medians of {runs} runs. {version.stdout.strip()}, Python {platform.python_version()},"
    yield f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}."
    yield "Made by `make bench ARGS=--write`."


def table(title: str, columns: Sequence[str], rows: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """A table in Markdown with a first column of names."""
    yield from ("", f"## {title}", "", f"| | {' | '.join(columns)} |")
    yield f"|---|{'---:|' * len(columns)}"
    for name, cells in rows.items():
        yield f"| {name} | {' | '.join(cells)} |"


def short_table(title: str, lines: Mapping[str, Line]) -> Iterator[str]:
    """A line for each step: ours beside the fastest peer and the floors, with ratios."""
    columns = ("ours", "best peer", "its time in ours", "floor", "ours in its time")
    yield from table(
        f"{title}: in short", columns, {name: _cells(each) for name, each in lines.items()}
    )


def _cells(line: Line) -> list[str]:
    best = min(line.peers, key=line.peers.__getitem__, default=None)
    return [
        f"{line.ours:.2f} s",
        f"{best} {line.peers[best]:.2f} s" if best is not None else "",
        f"**{line.peers[best] / line.ours:.2f}**" if best is not None else "",
        ", ".join(f"{name} {seconds:.2f} s" for name, seconds in line.floors.items()),
        ", ".join(f"**{line.ours / seconds:.2f}**" for seconds in line.floors.values()),
    ]


def costs_table(
    title: str, rows: Mapping[str, Mapping[str, Costs]], tools: Sequence[str]
) -> Iterator[str]:
    """A line for each step, and in it what each tool took."""
    cells = {
        step: [
            f"{row[tool].seconds:.2f}, {row[tool].processor:.2f}, {row[tool].mib:.0f}"
            if tool in row
            else ""
            for tool in tools
        ]
        for step, row in rows.items()
    }
    yield from table(f"{title}: seconds, of the processors, MiB", tools, cells)
