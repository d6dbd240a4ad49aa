"""Times moving objects to and from storages, beside s5cmd, dvc, boto3 and curl.

The servers are real ones on loopback: SeaweedFS, and nginx to read from. A storage and its
clients share this machine's cores, so the processor time of the client tells as much as
the clock. All files are in memory (/dev/shm) where there is room.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from measuring import (
    Costs,
    Figures,
    Line,
    call,
    check_same,
    costs_table,
    environment,
    measured,
    medians,
    short_table,
    write_file,
    write_files,
)

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.support.nginx import Nginx, serve
from tests.support.s3server import S3Server, S3Servers

_BOTO3 = """
import sys, os
from concurrent.futures import ThreadPoolExecutor
import boto3
from botocore import UNSIGNED
from botocore.config import Config
action, endpoint, bucket, prefix, directory = sys.argv[1:]
signed = "AWS_ACCESS_KEY_ID" in os.environ
config = Config(max_pool_connections=16, signature_version=None if signed else UNSIGNED)
client = boto3.session.Session().client("s3", endpoint_url=endpoint, config=config)
names = os.environ["NAMES"].split()
def move(name):
    path = os.path.join(directory, name)
    if action == "up":
        client.upload_file(path, bucket, prefix + name)
    else:
        client.download_file(bucket, prefix + name, path)
with ThreadPoolExecutor(8) as pool:
    list(pool.map(move, names))
"""


class Workload(NamedTuple):
    """Files of one size."""

    name: str
    count: int
    size: int


class Place:
    """A run of one tool: its own environment, files, bucket prefix and directories."""

    def __init__(
        self, directory: Path, server: S3Server, web: Nginx, files: Path, programs: Path
    ) -> None:
        self.directory = directory
        self.server = server
        self.web = web
        self.files = files
        self.programs = programs
        self.storage = server.new_place()
        self.env = environment(directory / "home") | dict(server.environ)
        self.env["AWS_ENDPOINT_URL"] = server.endpoint
        self.env["NAMES"] = " ".join(sorted(os.listdir(files)))
        self.out = directory / "out"
        self.out.mkdir()

    def run(self, command: Sequence[str | Path], at: Path | None = None) -> Costs:
        """Run a program to its end, and measure it with all its children."""
        return measured(command, at or self.directory, self.env)


#: A tool's steps, each with its name: up, down.
_Tool = Callable[[Place], Iterator[tuple[str, Costs]]]


def datareg(place: Place) -> Iterator[tuple[str, Costs]]:
    """Ours: a repository with the files, pushed to the storage and fetched from it."""
    work = _repository(place)
    yield "up", place.run(["git", "datareg", "push", "--quiet"], work)
    place.env["GIT_DATAREG_CACHE"] = str(place.directory / "other-cache")
    (work / ".git/datareg/objects").rename(place.directory / "pushed")
    yield "down", place.run(["git", "datareg", "fetch", "--quiet"], work)
    call(["git", "datareg", "get", work, "data", "-o", place.out / "data"], work, place.env)
    check_same(place.out / "data", place.files)


def s5cmd(place: Place) -> Iterator[tuple[str, Costs]]:
    """s5cmd as it is installed, with its defaults."""
    program = [place.programs / "s5cmd", "--endpoint-url", place.server.endpoint, "cp"]
    yield "up", place.run([*program, f"{place.files}/", f"{place.storage}/"])
    yield "down", place.run([*program, f"{place.storage}/*", f"{place.out}/"])
    check_same(place.out, place.files)


def boto3(place: Place) -> Iterator[tuple[str, Costs]]:
    """boto3's own transfers, in eight threads."""
    bucket, _, prefix = place.storage.removeprefix("s3://").partition("/")
    program = [place.programs / "python", "-c", _BOTO3]
    end = [place.server.endpoint, bucket, f"{prefix}/"]
    yield "up", place.run([*program, "up", *end, place.files])
    yield "down", place.run([*program, "down", *end, place.out])
    check_same(place.out, place.files)


def dvc(place: Place) -> Iterator[tuple[str, Costs]]:
    """dvc with dvc-s3: push and fetch of files that are in its cache."""
    program, work = place.programs / "dvc", place.directory / "work"
    call(["git", "init", "--quiet", work], place.directory, place.env)
    call(["cp", "-r", place.files, work / "data"], place.directory, place.env)
    for words in (
        ["init", "--quiet"],
        ["remote", "add", "--default", "storage", place.storage],
        ["remote", "modify", "storage", "endpointurl", place.server.endpoint],
        ["add", "--quiet", "data"],
    ):
        call([program, *words], work, place.env)
    yield "up", place.run([program, "push", "--quiet"], work)
    (work / ".dvc/cache").rename(place.directory / "pushed")
    yield "down", place.run([program, "fetch", "--quiet"], work)


def datareg_by_http(place: Place) -> Iterator[tuple[str, Costs]]:
    """Ours, from a static web server over a directory storage."""
    name = place.directory.name
    work = _repository(place, str(place.web.root / name))
    call(["git", "datareg", "push", "--quiet"], work, place.env)
    url = place.web.url(f"static/{name}")
    call(["git", "config", "datareg.origin.url", url], work, place.env)
    place.env["GIT_DATAREG_CACHE"] = str(place.directory / "other-cache")
    (work / ".git/datareg/objects").rename(place.directory / "pushed")
    yield "from nginx", place.run(["git", "datareg", "fetch", "--quiet"], work)


def curl(place: Place) -> Iterator[tuple[str, Costs]]:
    """curl, with sixteen transfers at once and every file's name at hand."""
    name = place.directory.name
    call(["cp", "-r", place.files, place.web.root / name], place.directory, place.env)
    wanted = place.directory / "wanted"
    lines = (
        f'url = "{place.web.url(f"static/{name}/{each}")}"\noutput = "{place.out / each}"\n'
        for each in os.listdir(place.files)
    )
    wanted.write_text("".join(lines))
    yield "from nginx", place.run(["curl", "-sfZ", "--parallel-max", "16", "-K", wanted])
    check_same(place.out, place.files)


def _repository(place: Place, storage: str | None = None) -> Path:
    work = place.directory / "work"
    call(["git", "init", "--quiet", work], place.directory, place.env)
    call(["cp", "-rp", place.files, work / "data"], place.directory, place.env)
    for words in (
        ["git", "datareg", "init", "--storage", storage or place.storage],
        ["git", "datareg", "track", "data/**"],
        ["git", "add", "."],
        ["git", "commit", "--quiet", "--message", "data"],
    ):
        call(words, work, place.env)
    return work


#: Each with what it does; those of one name are one tool.
TOOLS: tuple[tuple[str, _Tool], ...] = (
    ("git-datareg", datareg),
    ("s5cmd", s5cmd),
    ("dvc", dvc),
    ("boto3", boto3),
    ("git-datareg", datareg_by_http),
    ("curl", curl),
)


def measure(
    workloads: Sequence[Workload], programs: Path | None, runs: int, dvc_runs: int
) -> dict[str, Figures]:
    """The figures of each workload, from all tools in turn."""
    found: dict[str, Figures] = {}
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=memory)))
        servers = S3Servers(scratch)
        stack.callback(servers.close)
        server = servers.get("seaweedfs")
        (scratch / "web").mkdir()
        web = stack.enter_context(serve(scratch / "web"))
        for workload in workloads:
            _touch_memory(scratch, 6 * workload.count * workload.size)
            files = scratch / "files"
            write_files(files, workload.count, workload.size)
            figures = found.setdefault(workload.name, {})
            for run in range(runs):
                for name, tool in _in_turn(programs, run, dvc_runs):
                    print(f"storing {workload.name}: run {run + 1}, {name}", file=sys.stderr)
                    with tempfile.TemporaryDirectory(dir=scratch) as directory:
                        place = Place(Path(directory), server, web, files, programs or Path())
                        for step, costs in tool(place):
                            figures.setdefault(step, {}).setdefault(name, []).append(costs)
                    for each in web.root.iterdir():
                        if not each.name.startswith("."):
                            shutil.rmtree(each)
            shutil.rmtree(files)
    return found


def _touch_memory(scratch: Path, size: int) -> None:
    """Use so much memory once: a virtual machine may be slow to get what it never had."""
    write_file(scratch / "memory", min(size, shutil.disk_usage(scratch).free // 2), is_random=False)
    (scratch / "memory").unlink()


def _in_turn(programs: Path | None, run: int, dvc_runs: int) -> Iterator[tuple[str, _Tool]]:
    for name, tool in TOOLS[run % len(TOOLS) :] + TOOLS[: run % len(TOOLS)]:
        if name == "curl":
            is_there = shutil.which("curl") is not None
        elif name == "git-datareg":
            is_there = True
        else:
            is_there = programs is not None and _is_installed(name, programs)
        if is_there and (name != "dvc" or run < dvc_runs):
            yield name, tool


def _is_installed(name: str, programs: Path) -> bool:
    packages = programs.parent / "lib"
    if name == "dvc":
        # Its part for S3 takes long to install; who has it compares with it.
        return (programs / name).exists() and any(packages.glob("*/site-packages/dvc_s3"))
    return (programs / name).exists() or any(packages.glob(f"*/site-packages/{name}"))


def tables(found: Mapping[str, Figures]) -> Iterator[str]:
    """For each workload a line for each step, and all costs of all tools."""
    for name, figures in found.items():
        rows = medians(figures)
        lines = {
            step: Line(
                row["git-datareg"].seconds,
                {tool: each.seconds for tool, each in row.items() if tool != "git-datareg"},
                {},
            )
            for step, row in rows.items()
        }
        yield from short_table(f"Storing: {name}", lines)
        tools = [tool for tool in dict(TOOLS) if any(tool in row for row in rows.values())]
        yield from costs_table(f"Storing: {name}", rows, tools)
