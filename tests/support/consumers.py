"""A registry with all kinds of files, in two versions, and repositories that take from it.

Knows git's and our command line, no internals. Uses no HOME but the current one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.filtered import SMALL, data, object_file
from tests.support.gitrun import Argument, Git
from tests.support.shared import made_once

#: Data files at the tag v1, in both versions' directory `faces`; by path in it.
OLD = {"a.jpg": data("a"), "b.jpg": data("b"), "sub/c.bin": data("c")}
#: At v2: one is changed, one removed, one new.
NEW = {"a.jpg": data("a, new", SMALL + 1), "d.jpg": data("d"), "sub/c.bin": OLD["sub/c.bin"]}
MODEL = data("model")
README_OLD, README_NEW = b"faces\n", b"faces, version 2\n"


class Source(NamedTuple):
    """A registry on this machine: what is published, and where its publisher works."""

    remote: Git
    work: Git

    @property
    def url(self) -> str:
        """Its path."""
        return str(self.remote.path)

    @property
    def storage(self) -> Path:
        """Its storage, embedded in the published repository."""
        return self.remote.path / "datareg"

    def object(self, content: bytes) -> Path:
        """The file in the storage that holds the content."""
        return object_file(self.storage, content)

    def store_at(self, directory: Path) -> None:
        """Have its data in a directory elsewhere, and publish that."""
        self.work.run("datareg", "storage", "add", "-d", "disk", str(directory))
        self.publish("use a storage")
        self.work.run("datareg", "push", "--all")

    def publish(self, message: str = "change") -> str:
        """Commit and push what changed in the work tree; returns the commit's id."""
        id = self.work.commit_all(message)
        self.work.run("push", "--quiet", "--force", "origin", "HEAD:main")
        return id


def _make(directory: Path, object_format: str) -> None:
    remote = Git(directory / "gallery.git").init("--bare", f"--object-format={object_format}")
    work = Git(directory / "author").init(f"--object-format={object_format}")
    work.run("remote", "add", "origin", "../gallery.git")
    work.run("datareg", "init")
    work.run("datareg", "track", "*.jpg", "*.bin", "*.dat")
    for path, content in OLD.items():
        work.write(f"faces/{path}", content, mode=0o755 if path == "sub/c.bin" else None)
    work.write("faces/README.md", README_OLD)
    work.write("faces/empty.dat", b"")
    (work.path / "faces/latest.jpg").symlink_to("a.jpg")
    work.write("model.bin", MODEL)
    work.write("notes.txt", b"notes\n")
    work.write("run.sh", b"#!/bin/sh\n", mode=0o755)
    source = Source(remote, work)
    source.publish("first")
    work.run("tag", "--annotate", "--message", "first", "v1")
    work.run("branch", "old")
    for path, content in NEW.items():
        if content != OLD.get(path):
            work.write(f"faces/{path}", content)
    (work.path / "faces/b.jpg").unlink()
    work.write("faces/README.md", README_NEW)
    source.publish("second")
    work.run("tag", "v2")
    work.run("push", "--quiet", "origin", "v1", "v2", "old")


def gallery(
    factory: pytest.TempPathFactory, directory: Path, *, object_format: str = "sha1"
) -> Source:
    """The registry, for one test to change, below `directory`: `main` is at v2."""
    name = f"consumers-{object_format}"
    template = made_once(factory, name, partial(_make, object_format=object_format))
    for name in ("gallery.git", "author"):
        shutil.copytree(template / name, directory / name, symlinks=True)
    return Source(Git(directory / "gallery.git"), Git(directory / "author"))


def consumer(path: Path, *options: Argument) -> Git:
    """A repository with a commit."""
    git = Git(path).init(*options)
    git.write("README", b"my project\n")
    git.commit_all("start")
    return git


def datareg(
    directory: Path | Git, *args: Argument, check: bool = True, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `git datareg args` in a directory."""
    git = directory if isinstance(directory, Git) else Git(directory)
    return git.run("datareg", *args, check=check, env=env)


def fault(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    """Assert that a command failed as it should: exit code, one line, its words, hints behind."""
    assert done.returncode == code, done.stderr
    lines = done.stderr.splitlines()
    errors = [line for line in lines if line.startswith("git-datareg: error: ")]
    assert errors and lines[0] == errors[0], done.stderr
    assert all(line.startswith(("git-datareg: error: ", "hint: ")) for line in lines), done.stderr
    for word in words:
        assert word in done.stderr, done.stderr


def below(path: Path) -> dict[str, bytes | str]:
    """Everything below a directory: a file's bytes, a symlink's target."""
    found: dict[str, bytes | str] = {}
    for folder, folders, names in os.walk(path):
        for name in [*folders, *names]:
            each = Path(folder, name)
            key = str(each.relative_to(path))
            if each.is_symlink():
                found[key] = str(each.readlink())
            elif each.is_file():
                found[key] = each.read_bytes()
    return found


def faces(data: Mapping[str, bytes], readme: bytes) -> dict[str, bytes | str]:
    """What is below `faces`, with the data and the text of one of the versions."""
    return {**data, "README.md": readme, "empty.dat": b"", "latest.jpg": "a.jpg"}


FACES_OLD = faces(OLD, README_OLD)
FACES_NEW = faces(NEW, README_NEW)
