"""Times pushes to, and clones of, registries without a Git server, beside awslabs' git-remote-s3.

The server is SeaweedFS on loopback, so each request costs less than over a network: the
bytes that a push sends tell as much as the clock. The history has small text files only.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from measuring import (
    Costs,
    Figures,
    Line,
    call,
    costs_table,
    environment,
    measured,
    medians,
    short_table,
    table,
)

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.support import s3proxy
from tests.support.s3server import S3Server, S3Servers

_FILES = 100
_LINES = 40


class Tool(NamedTuple):
    """A remote helper."""

    name: str
    #: What its URLs have before "s3://".
    prefix: str
    #: Whether a push costs the same however many pushes the same commits came by.
    is_stateless: bool


DATAREG = Tool("git-datareg", "datareg::", is_stateless=False)
PEER = Tool("git-remote-s3", "", is_stateless=True)


class Uploads(NamedTuple):
    """What one push of one small commit sends."""

    requests: int
    size: int


class Figure(NamedTuple):
    """All that was measured."""

    times: Figures
    #: By step and tool.
    uploads: dict[str, dict[str, Uploads]]


class _Work:
    """A work tree whose commits one tool pushes."""

    def __init__(self, directory: Path, tool: Tool, server: S3Server, programs: Path) -> None:
        self.tool = tool
        self.directory = directory
        self.path = directory / "work"
        self.env = environment(directory / "home") | dict(server.environ)
        self.env["AWS_ENDPOINT_URL"] = server.endpoint
        self.env["PATH"] = f"{self.env['PATH']}{os.pathsep}{programs}"
        self.url = tool.prefix + server.new_place()
        self.count = 0
        call(["git", "init", "--quiet", self.path], directory, self.env)
        for number in range(_FILES):
            lines = "".join(f"{number} {line}\n" for line in range(_LINES))
            (self.path / f"{number}.txt").write_text(lines)
        call(["git", "add", "."], self.path, self.env)

    def commit(self) -> None:
        """One more commit, which changes a line."""
        self.count += 1
        with (self.path / f"{self.count % _FILES}.txt").open("a") as file:
            file.write(f"change {self.count}\n")
        words = ["git", "commit", "--quiet", "--all", "--message", f"commit {self.count}"]
        call(words, self.path, self.env)

    def push(self) -> Costs:
        """Push what is new."""
        return measured(["git", "push", "--quiet", self.url, "main"], self.path, self.env)

    def grow(self, pushes: int) -> None:
        """Come to so many pushes, or for a tool that keeps no more than the result, commits."""
        while self.count < pushes:
            self.commit()
            if not self.tool.is_stateless or self.count == pushes:
                call(["git", "push", "--quiet", self.url, "main"], self.path, self.env)

    def uploads(self, server: S3Server) -> Uploads:
        """What the push of one more commit sends."""
        with s3proxy.serve(server.endpoint) as proxy:
            through = {"AWS_ENDPOINT_URL": proxy.endpoint, "AWS_ENDPOINT_URL_S3": proxy.endpoint}
            words = ["git", "push", "--quiet", self.url, "main"]
            # The first one by this way tries the store out.
            for _ in range(2):
                self.commit()
                proxy.requests.clear()
                call(words, self.path, self.env | through)
            sent = [request.size for request in proxy.requests]
        return Uploads(len(sent), sum(sent))


def measure(programs: Path | None, depths: Sequence[int], runs: int) -> Figure:
    """The figures of both, where the peer is installed."""
    found = Figure({}, {})
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=memory)))
        servers = S3Servers(scratch)
        stack.callback(servers.close)
        server = servers.get("seaweedfs")
        for tool in _at_hand(programs):
            (scratch / tool.name).mkdir()
            work = _Work(scratch / tool.name, tool, server, programs or Path())
            for depth in depths:
                print(f"serverless: {tool.name}, {depth:,} pushes", file=sys.stderr)
                work.grow(depth)
                step = f"push onto {depth:,}"
                found.uploads.setdefault(step, {})[tool.name] = work.uploads(server)
                for _ in range(runs):
                    work.commit()
                    found.times.setdefault(step, {}).setdefault(tool.name, []).append(work.push())
            for run in range(runs):
                words = ["git", "clone", "--quiet", work.url, work.directory / f"clone{run}"]
                costs = measured(words, work.directory, work.env)
                step = f"clone after {depths[-1]:,}"
                found.times.setdefault(step, {}).setdefault(tool.name, []).append(costs)
    return found


def _at_hand(programs: Path | None) -> Iterator[Tool]:
    yield DATAREG
    if programs is not None and (programs / PEER.name).exists():
        yield PEER


def tables(found: Figure) -> Iterator[str]:
    """A line for each step, what a push sends, and all costs."""
    rows = medians(found.times)
    lines = {step: Line(row[DATAREG.name].seconds, _others(row), {}) for step, row in rows.items()}
    yield from short_table("Without a Git server, on S3", lines)
    tools = [
        each.name for each in (DATAREG, PEER) if any(each.name in row for row in rows.values())
    ]
    cells = {
        step: [f"{row[tool].size:,} bytes, {row[tool].requests} requests" for tool in tools]
        for step, row in found.uploads.items()
    }
    yield from table("Without a Git server: what a push of one line sends", tools, cells)
    yield from costs_table("Without a Git server", rows, tools)


def _others(row: Mapping[str, Costs]) -> dict[str, float]:
    return {tool: each.seconds for tool, each in row.items() if tool != DATAREG.name}
