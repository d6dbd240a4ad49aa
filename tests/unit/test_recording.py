from __future__ import annotations

import os
from pathlib import Path

import pytest

from git_datareg import recording
from git_datareg.imports import Target
from git_datareg.registry import SourceFile
from git_datareg.workspace import Workspace
from tests.support.filtered import blob
from tests.support.gitrun import Git

LINE = b"/x filter=datareg -text -merge -diff\n"


@pytest.fixture
def git(tmp_path: Path) -> Git:
    return Git(tmp_path / "repo").init()


def record(git: Git, content: bytes = b"git-datareg") -> None:
    """Record an import `x` of one data file, whose blob is `content`."""
    repository = Workspace(str(git.path), os.environ).repository
    id = git.run("hash-object", "-w", "--stdin", input=content).stdout.strip()
    file = SourceFile(b"", b"x", "100644", id, _pointer(), len(content))
    recording.record(Target(repository, b"x"), [file], {b"x": ("100644", id)}, (), b"metafile")


def _pointer() -> object:
    return object()


def test_files_metafile_and_attributes_are_staged_together(git: Git) -> None:
    record(git)
    staged = git.out("ls-files").splitlines()
    assert staged == [".gitattributes", "x", "x.datareg"]
    assert blob(git, ":x.datareg") == b"metafile"
    assert blob(git, ":.gitattributes") == (git.path / ".gitattributes").read_bytes() == LINE


def test_the_same_again_changes_nothing(git: Git) -> None:
    record(git)
    git.write(".gitattributes", b"# mine\n" + LINE + b"*.txt text\n")
    git.run("add", ".gitattributes")
    before = (git.path / ".gitattributes").stat().st_ino
    record(git)
    assert (git.path / ".gitattributes").stat().st_ino == before
    assert blob(git, ":.gitattributes") == b"# mine\n" + LINE + b"*.txt text\n"


def test_edits_that_are_not_staged_stay_so(git: Git) -> None:
    git.write(".gitattributes", b"*.txt text\n")
    git.commit_all()
    git.write(".gitattributes", b"*.txt text\n*.md text\n")
    record(git)
    assert blob(git, ":.gitattributes") == b"*.txt text\n" + LINE
    assert (git.path / ".gitattributes").read_bytes() == b"*.txt text\n*.md text\n" + LINE


@pytest.mark.parametrize("before", [None, b"", b"*.txt text\n"])
def test_a_fault_leaves_the_attributes_as_they_were(git: Git, before: bytes | None) -> None:
    path = git.path / ".gitattributes"
    if before is not None:
        path.write_bytes(before)
    (git.path / ".git/index.lock").touch()
    with pytest.raises(Exception, match=r"index\.lock"):
        record(git)
    (git.path / ".git/index.lock").unlink()
    assert (path.read_bytes() if path.exists() else None) == before
    assert git.out("ls-files") == ""
