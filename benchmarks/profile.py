"""Profiles the hot paths, for docs/benchmarks/profiles.md: `profile.py [--tree DIRECTORY]`.

Each program of ours that Git starts runs under cProfile, which makes calls of Python's
functions look dearer than they are; what matters is what is on the list, and how often.
Children of ours are not in it.
"""

from __future__ import annotations

import argparse
import os
import pstats
import shutil
import sys
import tempfile
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

from measuring import call, environment, write_files

#: Stands for `git-datareg` and `git-remote-datareg`; where the profiles go is in the environment.
_PROGRAM = """\
#!{python}
import cProfile, os, sys
sys.path.insert(0, {tree!r})
from git_datareg.{module} import main
profile = cProfile.Profile()
try:
    code = profile.runcall(main)
finally:
    words = "-".join(each for each in sys.argv[1:3] if each.replace("-", "").isalpha())
    name = f"{{words or '{module}'}}-{{os.getpid()}}"
    profile.dump_stats(os.path.join(os.environ["PROFILES"], name))
raise SystemExit(code)
"""
_LINES = 12


def main() -> int:
    """Profile, and print a section for each path."""
    parser = argparse.ArgumentParser(description=__doc__)
    here = Path(__file__).resolve().parents[1]
    parser.add_argument("--tree", type=Path, default=here, help="a tree of git-datareg")
    parser.add_argument("--files", type=int, default=10_000, help="files of 4 KB (default: 10000)")
    parser.add_argument("--directory", help="where to work (default: the temporary directory)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.directory, prefix="profile-") as scratch:
        for title, text in _paths(Path(scratch), arguments.tree.resolve(), arguments.files):
            print(f"### {title}\n\n```text\n{text}```\n")
    return 0


def _paths(place: Path, tree: Path, count: int) -> Iterator[tuple[str, str]]:
    env = environment(place)
    programs, profiles = place / "bin", place / "profiles"
    programs.mkdir()
    for name, module in (("git-datareg", "main"), ("git-remote-datareg", "remote_main")):
        text = _PROGRAM.format(python=sys.executable, tree=str(tree), module=module)
        (programs / name).write_text(text, encoding="utf-8")
        (programs / name).chmod(0o755)
    env |= {"PATH": f"{programs}{os.pathsep}{env['PATH']}", "PROFILES": str(profiles)}
    work, remote, clone = place / "work", place / "r.git", place / "clone"

    def profiled(command: str, at: Path, of: str) -> str:
        shutil.rmtree(profiles, ignore_errors=True)
        profiles.mkdir()
        call(command.split(), at, env)
        return _shown([each for each in profiles.iterdir() if each.name.startswith(of)])

    profiles.mkdir()
    for command in (f"git init --quiet --bare {remote}", f"git init --quiet {work}"):
        call(command.split(), place, env)
    for command in (f"git remote add origin file://{remote}", "git datareg init"):
        call(command.split(), work, env)
    call(["git", "datareg", "track", "data/**"], work, env)
    write_files(work / "data", count, 4096)
    yield "git datareg add", profiled("git datareg add .", work, "add")
    call(["git", "rm", "--quiet", "--cached", "-r", "data"], work, env)
    shutil.rmtree(work / ".git/datareg")
    yield "git add: the filter", profiled("git add .", work, "filter-process")
    call(["git", "commit", "--quiet", "--message", "data"], work, env)
    for each in (work / "data").iterdir():
        os.utime(each, (1e9, 1e9))
    text = profiled("git status --porcelain", work, "filter-process")
    yield "git status after touching all: the filter", text
    yield "git datareg status", profiled("git datareg status", work, "status")
    yield "git push: the hook", profiled("git push --quiet origin main", work, "pre-push")
    url = f"datareg::file://{remote}"
    env["GIT_DATAREG_CACHE"] = str(place / "other-cache")
    text = profiled(f"git clone --quiet {url} {clone}", place, "filter-process")
    yield "git clone, cold: the filter", text
    shutil.rmtree(clone)
    text = profiled(f"git clone --quiet {url} {clone}", place, "filter-process")
    yield "git clone, data in the cache: the filter", text


def _shown(profiles: list[Path]) -> str:
    """The functions that took longest themselves, in the longest of some profiles."""
    found = max((pstats.Stats(str(each)) for each in profiles), key=lambda each: each.total_tt)  # type: ignore[attr-defined]
    out = StringIO()
    found.stream = out  # type: ignore[attr-defined]
    found.strip_dirs().sort_stats("tottime").print_stats(_LINES)
    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    # Not when and where it was made.
    told = [line for line in lines[1:] if line and "List reduced" not in line]
    return "\n".join(told) + "\n"


if __name__ == "__main__":
    raise SystemExit(main())
