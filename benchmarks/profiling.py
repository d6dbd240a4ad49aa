"""Profiles each hot path of git-datareg: which functions take the processor's time.

`git datareg` and its remote helper are run under cProfile, with their threads and
children. That slows Python down, but hardly what is done in C: compare functions, not
seconds. Of another commit: `git worktree add DIR COMMIT`, and `--package DIR`.
"""

from __future__ import annotations

import argparse
import pstats
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from measuring import MIB, Costs, call, check_same, environment, measured, table, write_files

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs/benchmarks/profiles.md"
_HEAD = """\
# Profiles

Where the processor's time goes, by cProfile, made by `benchmarks/profiling.py`: of each hot
path the functions with most time of their own, all processes, threads and children together.
Seconds are those of the processor in that function (waiting is not counted), and with what it
calls. A profiler slows Python down, but hardly what is done in C.
"""
#: Stands on PATH in place of a program of ours. Children end without unwinding.
_WRAPPER = """\
#!{python}
import cProfile, os, pstats, sys, threading, time
sys.path.insert(0, {package!r})
import git_datareg
assert git_datareg.__file__.startswith({package!r}), git_datareg.__file__
profiles = []
def start(*_):
    profiles.append(cProfile.Profile(time.thread_time))
    profiles[-1].enable()
def forked():
    for each in profiles:
        each.disable()
    profiles.clear()
    start()
def write():
    sys.setprofile(None)
    found = pstats.Stats()
    for each in profiles:
        found.add(each)
    found.dump_stats(os.path.join({out!r}, "{module}-%s-%d" % (sys.argv[1], os.getpid())))
def end(code, end=os._exit):
    write()
    end(code)
os._exit = end
os.register_at_fork(after_in_child=forked)
# From 3.12 on a profile is one of all threads.
if sys.version_info < (3, 12):
    threading.setprofile(start)
start()
from git_datareg.{module} import main
code = main()
write()
raise SystemExit(code)
"""
_PROGRAMS = {"git-datareg": "main", "git-remote-datareg": "remote_main"}


def main() -> int:
    """Profile, print, and write the section of the label."""
    arguments = _arguments()
    with tempfile.TemporaryDirectory(dir=arguments.directory, prefix="profiles-") as scratch:
        lines = list(_section(arguments, Path(scratch)))
    sys.stdout.write("\n".join(lines) + "\n")
    if arguments.write:
        before = RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else _HEAD
        RESULTS.write_text(_with_section(before, lines), encoding="utf-8")
    return 0


def _with_section(page: str, lines: list[str]) -> str:
    """The page with this section in place of the one with the same title, or at its end."""
    text = "\n".join(lines) + "\n"
    head, *sections = re.split(r"^(?=## )", page, flags=re.MULTILINE)
    titles = [each.partition("\n")[0] for each in sections]
    if lines[0] in titles:
        sections[titles.index(lines[0])] = text
    else:
        sections.append(text)
    return "\n".join(each.rstrip("\n") + "\n" for each in (head, *sections))


def _section(arguments: argparse.Namespace, scratch: Path) -> Iterator[str]:
    package = arguments.package.resolve()
    # The last one that changed the package.
    asked = ["git", "-C", str(package), "log", "-1", "--format=%h", "--", "git_datareg"]
    commit = subprocess.run(asked, capture_output=True, check=True, text=True).stdout.strip()
    yield f"## {arguments.label.capitalize()}"
    yield ""
    yield f"Commit {commit}. Storage: a directory on this machine."
    short: dict[str, list[str]] = {}
    functions: list[str] = []
    for count, size in ((arguments.count, 4096), (1, arguments.mib * MIB)):
        what = f"{count:,} files of 4 KB" if count > 1 else f"1 file of {size // MIB} MiB"
        place = scratch / str(count)
        out = place / "profiles"
        for step, costs in _steps(package, place, out, count, size):
            print(f"{arguments.label}: {what}: {step}", file=sys.stderr)
            stats, programs = _profiles(out)
            title = f"{step}, {what}"
            seconds = (costs.seconds, costs.processor, stats.total_tt)
            short[title] = [*(f"{each:.2f} s" for each in seconds), programs]
            # A large file keeps few functions busy.
            top = arguments.top if count > 1 else min(arguments.top, 5)
            functions += ["", f"### {arguments.label.capitalize()}: {title}", ""]
            functions += _table(stats, top)
            shutil.rmtree(out)
            out.mkdir()
        shutil.rmtree(place)
    columns = ("by the clock", "of the processors", "of it ours", "our processes")
    _, _, *lines = table("", columns, short)
    yield from lines
    yield from functions


def _steps(
    package: Path, place: Path, out: Path, count: int, size: int
) -> Iterator[tuple[str, Costs]]:
    """Each hot path; what was profiled is in `out` then, which is emptied before the next."""
    env = environment(place)
    out.mkdir()
    (place / "bin").mkdir()
    for name, module in _PROGRAMS.items():
        text = _WRAPPER.format(
            python=sys.executable, package=str(package), out=str(out), module=module
        )
        (place / "bin" / name).write_text(text, encoding="utf-8")
        (place / "bin" / name).chmod(0o755)
    env["PATH"] = f"{place / 'bin'}:{env['PATH']}"
    work, url, data = place / "work", f"file://{place}/remote.git", place / "work/data"

    def run(words: str, at: Path = work) -> Costs:
        return measured(words.split(), at, env)

    run(f"git init --quiet --bare {place}/remote.git", place)
    run(f"git init --quiet {work}", place)
    for words in (f"git remote add origin {url}", "git datareg init", "git datareg track data/**"):
        run(words)
    write_files(data, count, size)
    for each in out.iterdir():
        each.unlink()
    yield "git add", run("git add .")
    shutil.rmtree(work / ".git/datareg/objects")
    (work / ".git/index").unlink()
    env["GIT_DATAREG_CACHE"] = str(place / "cache-of-add")
    yield "git datareg add", run("git datareg add .")
    call(["git", "commit", "--quiet", "--message", "data"], work, env)
    yield "push", run("git push --quiet origin main")
    yield "git datareg status", run("git datareg status")
    call(["find", data, "-type", "f", "-exec", "touch", "-d", "2001-01-01", "{}", "+"], work, env)
    yield "git status after touching all", run("git status --porcelain")
    env["GIT_DATAREG_CACHE"] = str(place / "cache-of-clones")
    for name in ("cold", "warm"):
        yield f"clone, {name}", run(f"git clone --quiet datareg::{url} {place / name}", place)
        check_same(place / name / "data", data)


def _profiles(out: Path) -> tuple[pstats.Stats, str]:
    """The sum of all that is there, and how many processes of which programs they are of."""
    found = sorted(out.iterdir())
    programs = [_program(each.name.rpartition("-")[0]) for each in found]
    counts = [f"{programs.count(name)} {name}" for name in dict.fromkeys(programs)]
    return pstats.Stats(*map(str, found)), ", ".join(counts)


def _program(name: str) -> str:
    module, _, command = name.partition("-")
    return command if module == "main" else "remote helper"


def _table(stats: pstats.Stats, top: int) -> Iterator[str]:
    yield from ("| own | with callees | calls | function |", "|---:|---:|---:|---|")
    for name, (calls, own, total) in _by_function(stats)[:top]:
        yield f"| {own:.3f} s | {total:.3f} s | {calls:,} | `{name}` |"


def _by_function(stats: pstats.Stats) -> list[tuple[str, tuple[int, float, float]]]:
    """Calls, own seconds and those with callees, by own seconds."""
    sums: dict[str, tuple[int, float, float]] = {}
    for (path, _, name), (_, calls, own, total, _) in stats.stats.items():
        function = _function(path, name)
        before = sums.get(function, (0, 0, 0))
        sums[function] = (before[0] + calls, before[1] + own, before[2] + total)
    return sorted(sums.items(), key=lambda item: item[1][1], reverse=True)


def _function(path: str, name: str) -> str:
    """A name that does not tell of this machine, nor change with every line."""
    if path == "~":
        name = re.sub(r" at 0x[0-9a-f]+", "", name.strip("<>"))
        name = re.sub(r"^method '(\w+)' of '(.+)' objects$", r"\2.\1", name)
        return name.removeprefix("built-in method ")
    _, inside, rest = path.rpartition("/git_datareg/")
    if inside:
        return f"{rest.removesuffix('.py').replace('/', '.')}: {name}"
    file = Path(path.removeprefix("<frozen ").rstrip(">"))
    return f"{file.parent.name if file.stem == '__init__' else file.stem}: {name}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--label", default="now", help="title of the section (default: now)")
    parser.add_argument("--package", type=Path, default=ROOT, help="a tree of this repository")
    parser.add_argument("--count", type=int, default=10_000, help="files (default: 10000)")
    parser.add_argument("--mib", type=int, default=512, help="a large file's MiB (default: 512)")
    parser.add_argument("--top", type=int, default=12, help="functions to show (default: 12)")
    parser.add_argument("--directory", help="where to work (default: the temporary directory)")
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name} too")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
