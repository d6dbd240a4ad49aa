"""Repositories of pointers, made without the filter; objects are where a test puts them.

Knows our internals: for tests of single modules.
"""

from __future__ import annotations

import os
from itertools import count
from pathlib import Path

from git_datareg import projects
from git_datareg.errors import RepositoryNotFoundError
from git_datareg.git import repository
from git_datareg.location import Location
from git_datareg.pointer import Pointer
from git_datareg.projects import Project
from git_datareg.registry import Source
from tests.support.filtered import object_file, pointer
from tests.support.gitrun import Git

#: Pointers may be of one size, so git tells by the time which of them have changed.
_ages = count(10)


def made(directory: Path) -> Git:
    """A repository `work`, and its remote `remote.git` beside it."""
    git = Git(directory / "work").init()
    Git(directory / "remote.git").init("--bare")
    git.run("remote", "add", "origin", "../remote.git")
    return git


def opened(git: Git) -> Project:
    """The repository with what is configured for it."""
    return projects.open_project(repository.find(str(git.path)), os.environ)


def write(git: Git, path: str, content: bytes) -> None:
    """Write a file that git sees to be a new one."""
    git.write(path, content, age_seconds=next(_ages))


def commit(git: Git, **files: bytes) -> str:
    """Commit pointers to contents, by path; returns the commit's id."""
    for name, content in files.items():
        write(git, name, pointer(content))
    return git.commit_all()


def parsed(content: bytes) -> Pointer:
    """The pointer to content."""
    found = Pointer.parse(pointer(content))
    assert found is not None
    return found


def put(root: Path, *contents: bytes) -> None:
    """Put objects into a storage or another directory of objects."""
    for content in contents:
        object_file(root, content).parent.mkdir(parents=True, exist_ok=True)
        object_file(root, content).write_bytes(content)


def own(git: Git) -> Path:
    """The directory of the repository's own objects."""
    return git.path / ".git/datareg"


def no_source(location: Location, rev: str | None) -> Source:
    """An opener of sources that must not be asked."""
    raise RepositoryNotFoundError(f"not to be asked: {location}")
