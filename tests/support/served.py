"""A serverless registry for tests, beside the Git repository that has the same history.

Knows git's command line and the URLs that it is given, no internals.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.support.gitrun import Git

#: Its name beside the registry that it has the history of.
NAME = "served"


def serve(remote: Git, target: str) -> None:
    """Push all that a bare repository has, and its data, to a place of a serverless registry."""
    remote.run("push", "--quiet", "--mirror", f"datareg::{target}")


def refs_at(url: str, outside: Path) -> dict[str, str]:
    """Every ref of a registry with the id it points to."""
    lines = Git(outside).out("ls-remote", "--refs", url).splitlines()
    return {name: id for id, _, name in (line.partition("\t") for line in lines)}


def copied_directory(template: Path, target: Path) -> None:
    """A copy of a registry in a directory."""
    shutil.copytree(template, target)
