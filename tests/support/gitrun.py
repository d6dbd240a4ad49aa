"""Real git for tests: a work tree (or bare repository) and the commands run in it.

Knows git's command line. Does not know git-datareg.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

#: Seconds after which a command counts as hung.
TIMEOUT = 300

Argument = str | bytes | os.PathLike[str]


class CommandFailed(AssertionError):
    """A command that should have succeeded did not; the text has its output."""


class FilterUse(NamedTuple):
    """How often one git command asked filters to work; see `Git.filter_use`."""

    starts: int  # filter processes
    cleans: int  # requests
    smudges: int


class Git:
    """Runs git in one directory; a failure is an `AssertionError` that shows git's words."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def init(self, *options: Argument) -> Git:
        """Create the repository (and its directory); returns itself."""
        self.path.mkdir(parents=True, exist_ok=True)
        self.run("init", "--quiet", *options)
        return self

    def run(
        self,
        *args: Argument,
        input: str | bytes | None = None,
        check: bool = True,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run `git args`, output as text.

        Bytes that are not UTF-8 become surrogates, line ends stay as they are.
        `env` adds to the environment. Raises `CommandFailed` unless `check` is
        false.
        """
        raw = self.run_bytes(*args, input=input, check=check, env=env)
        return subprocess.CompletedProcess(
            raw.args, raw.returncode, _text(raw.stdout), _text(raw.stderr)
        )

    def run_bytes(
        self,
        *args: Argument,
        input: str | bytes | None = None,
        check: bool = True,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[bytes]:
        """Like `run`, with output as it came."""
        given = input.encode("utf-8", "surrogateescape") if isinstance(input, str) else input
        done = subprocess.run(
            ["git", *args],
            cwd=self.path,
            input=given if given is not None else b"",
            capture_output=True,
            env={**os.environ, **(env or {})},
            timeout=TIMEOUT,
        )
        if check and done.returncode != 0:
            raise CommandFailed(_report(done))
        return done

    def out(self, *args: Argument) -> str:
        """What `git args` writes to standard output, without the last line end."""
        return self.run(*args).stdout.removesuffix("\n")

    def write(
        self, path: str | bytes, data: bytes, mode: int | None = None, age_seconds: float = 10
    ) -> Path:
        """Write a file below the directory, parents included; returns where it is.

        Its times are set back by `age_seconds`, since git reads a file that is
        as young as its index again, whatever the index says ("racy git").
        """
        target = self.path / os.fsdecode(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        if mode is not None:
            target.chmod(mode)
        then = time.time() - age_seconds
        os.utime(target, (then, then))
        return target

    def commit_all(self, message: str = "change") -> str:
        """Stage everything and commit it; returns the new commit's id."""
        self.run("add", "--all")
        self.run("commit", "--quiet", "--message", message)
        return self.head()

    def head(self) -> str:
        """The id of the commit that is checked out."""
        return self.out("rev-parse", "--verify", "HEAD")

    def status(self) -> str:
        """`git status --porcelain`, untracked files included; empty when clean."""
        return self.out("status", "--porcelain", "--untracked-files=all")

    def filter_use(self, *args: Argument, env: Mapping[str, str] | None = None) -> FilterUse:
        """Run `git args` and count what git, and gits it starts, ask of long-running filters."""
        with tempfile.TemporaryDirectory() as scratch:
            events, packets = Path(scratch, "events"), Path(scratch, "packets")
            trace = {"GIT_TRACE2_EVENT": str(events), "GIT_TRACE_PACKET": str(packets)}
            self.run(*args, env={**(env or {}), **trace})
            log = packets.read_bytes() if packets.exists() else b""
            return FilterUse(
                starts=sum(map(_is_filter_start, events.read_bytes().splitlines())),
                cleans=log.count(b"> command=clean"),
                smudges=log.count(b"> command=smudge"),
            )


def clone(url: str | os.PathLike[str], target: Path, *options: Argument) -> Git:
    """Clone `url` to `target`."""
    target.parent.mkdir(parents=True, exist_ok=True)
    Git(target.parent).run("clone", "--quiet", *options, os.fspath(url), target.name)
    return Git(target)


def _is_filter_start(line: bytes) -> bool:
    # Git starts nothing else with this class than filter processes (sub-process.c).
    event: dict[str, object] = json.loads(line)
    return event.get("event") == "child_start" and event.get("child_class") == "subprocess"


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _report(done: subprocess.CompletedProcess[bytes]) -> str:
    words = " ".join(os.fsdecode(arg) for arg in done.args)
    return f"{words}: exit {done.returncode}\n{_text(done.stdout)}{_text(done.stderr)}"
