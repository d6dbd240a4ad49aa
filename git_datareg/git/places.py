"""Where a repository's parts are, found without starting git.

The filter is started by git for one command and must be quick; git has
already told it where the repository is, or runs it at the work tree's top
(gitrepository-layout(5)). Everything else asks `git rev-parse`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple


class Places(NamedTuple):
    """The directories of one repository, absolute."""

    git_dir: str
    #: The same for all worktrees of a repository.
    common_dir: str
    #: The index that git works on now (GIT_INDEX_FILE counts).
    index_file: str

    @property
    def own_objects(self) -> str:
        """Where objects are kept that were cleaned and not yet pushed."""
        return os.path.join(self.common_dir, "datareg")


def find(directory: str, environ: Mapping[str, str]) -> Places | None:
    """The places of the repository whose work tree's top (or git directory) is `directory`.

    None when that can't be told without git.
    """
    git_dir = environ.get("GIT_DIR") or _git_dir_at(directory)
    if git_dir is None:
        return None
    git_dir = os.path.join(directory, git_dir)
    common_dir = environ.get("GIT_COMMON_DIR") or _first_line(git_dir, "commondir") or "."
    index = environ.get("GIT_INDEX_FILE")
    return Places(
        os.path.realpath(git_dir),
        os.path.realpath(os.path.join(git_dir, common_dir)),
        os.path.join(directory, index)
        if index
        else os.path.join(os.path.realpath(git_dir), "index"),
    )


def _git_dir_at(directory: str) -> str | None:
    dot_git = os.path.join(directory, ".git")
    if os.path.isdir(dot_git):
        return dot_git
    line = _first_line(directory, ".git")
    if line is not None:
        return line.removeprefix("gitdir: ") if line.startswith("gitdir: ") else None
    # All three, as is_git_directory() in git's setup.c: a serverless registry has two of them.
    is_bare = os.path.isfile(os.path.join(directory, "HEAD")) and all(
        os.path.isdir(os.path.join(directory, name)) for name in ("objects", "refs")
    )
    return directory if is_bare else None


def _first_line(directory: str, name: str) -> str | None:
    path = os.path.join(directory, name)
    # Like git: to open a FIFO would wait for a writer.
    if not os.path.isfile(path):
        return None
    with open(path, "rb") as file:
        return os.fsdecode(file.read(8192).removesuffix(b"\n"))
