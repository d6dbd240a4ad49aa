"""Measures every step of a registry's life with very many files: `scale.py 10000 100000`.

Prints a table: seconds by the clock, and MiB of the largest process. A million files take
about 15 GiB of the directory that is worked in (4 KiB for each of up to four copies), and
half an hour.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from measuring import Costs, call, environment, measured, table

_PER_FOLDER = 1000


def main() -> int:
    """Measure with each number of files, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("counts", type=int, nargs="+", help="numbers of files")
    parser.add_argument("--size", type=int, default=1000, help="their bytes (default: 1000)")
    parser.add_argument("--directory", help="where to work (default: the temporary directory)")
    arguments = parser.parse_args()
    rows: dict[str, list[str]] = {}
    for count in arguments.counts:
        with tempfile.TemporaryDirectory(dir=arguments.directory, prefix="scale-") as scratch:
            for step, costs in _steps(Path(scratch), count, arguments.size):
                print(f"{count}: {step}: {costs.seconds:.2f} s", file=sys.stderr)
                rows.setdefault(step, []).append(f"{costs.seconds:.2f} s, {costs.mib:.0f} MiB")
    columns = [f"{count:,} files" for count in arguments.counts]
    sys.stdout.write("\n".join(table("Scale", columns, rows)) + "\n")
    return 0


def _steps(place: Path, count: int, size: int) -> Iterator[tuple[str, Costs]]:
    env = environment(place)
    work, remote, clone, other = (place / name for name in ("work", "r.git", "clone", "other"))
    url = f"file://{remote}"

    def run(command: str, at: Path = work) -> Costs:
        words = command.format(url=url, clone=clone).split()
        return measured(words, at, env)

    for each in (remote, work, other):
        kind = ["--bare"] if each == remote else []
        call(["git", "init", "--quiet", *kind, str(each)], place, env)
    run("git remote add origin {url}")
    run("git datareg init")
    run("git datareg track data/**")
    _write(work / "data", count, size)
    yield "git datareg add", run("git datareg add .")
    yield "git commit", run("git commit --quiet --message data")
    yield "git status", run("git status --porcelain")
    yield "git datareg status", run("git datareg status")
    yield "git datareg ls-files", run("git datareg ls-files")
    yield "git datareg fsck", run("git datareg fsck")
    yield "git push", run("git push --quiet origin main")
    (work / "data/0000/0000000.bin").write_bytes(b"changed")
    run("git add .")
    run("git commit --quiet --message change")
    yield "git push of one changed file", run("git push --quiet origin main")
    # Room for what follows.
    shutil.rmtree(work)
    yield "git datareg list -R", run(f"git datareg list -R {url}", place)
    run("git commit --quiet --allow-empty --message first", other)
    yield "git datareg import", run(f"git datareg import --quiet {url} data", other)
    yield "git datareg update, nothing new", run("git datareg update --quiet --all", other)
    shutil.rmtree(other)
    yield "git datareg get, data in the cache", run(f"git datareg get -q {url} data -o got", place)
    shutil.rmtree(place / "got")
    shutil.rmtree(env["GIT_DATAREG_CACHE"])
    yield "git clone, cold", run("git clone --quiet datareg::{url} {clone}", place)
    yield "git status in the clone", run("git status --porcelain", clone)
    shutil.rmtree(clone)
    yield "git clone, data in the cache", run("git clone --quiet datareg::{url} {clone}", place)


def _write(top: Path, count: int, size: int) -> None:
    """Write files of different bytes, a thousand to a folder, and old enough for Git."""
    then = time.time() - 10
    rest = os.urandom(size - 8)
    for number in range(count):
        folder = top / f"{number // _PER_FOLDER:04}"
        if number % _PER_FOLDER == 0:
            folder.mkdir(parents=True)
        path = folder / f"{number:07}.bin"
        path.write_bytes(number.to_bytes(8, "big") + rest)
        os.utime(path, (then, then))


if __name__ == "__main__":
    raise SystemExit(main())
