"""The imports of a repository: where each one is, and what its metafile says."""

from __future__ import annotations

import os
from typing import NamedTuple

from git_datareg.errors import MetafileError, PathNotFoundError, UnsafePathError, UsageError
from git_datareg.git import index
from git_datareg.git.repository import Repository
from git_datareg.metafile import SUFFIX, Metafile, is_metafile
from git_datareg.sources import Project


class Target(NamedTuple):
    """An import's place in a repository; paths from its root, as Git spells them."""

    repository: Repository
    path: bytes

    @property
    def metafile(self) -> bytes:
        """The path of the metafile."""
        return self.path + SUFFIX.encode()

    @property
    def file(self) -> str:
        """The target on this machine."""
        return os.path.join(self.repository.top, os.fsdecode(self.path))

    def path_of(self, relative: bytes) -> bytes:
        """The path of one of the import's files (b"" is the import itself, if it is a file)."""
        return self.path + b"/" + relative if relative else self.path


def target_for(project: Project, out: str) -> Target:
    """The target for `out`, a path from the current directory.

    Raises UnsafePathError outside of the work tree.
    """
    repository = project.repository
    if repository.work_tree is None:
        raise UsageError(f"a bare repository can't import: {repository.top}")
    parent = os.path.realpath(os.path.dirname(os.path.abspath(out)))
    absolute = os.path.join(parent, os.path.basename(os.path.abspath(out)))
    relative = os.path.relpath(absolute, repository.work_tree)
    if relative == "." or relative.startswith(".."):
        raise UnsafePathError(f"not below the repository's top: {out}", "name another with -o")
    return Target(repository, os.fsencode(relative))


def find(project: Project, spelled: str) -> Target:
    """The import that the user means by its target or its metafile.

    Raises PathNotFoundError when there is none.
    """
    name = spelled.rstrip("/").removesuffix(SUFFIX)
    target = target_for(project, name) if name else None
    if target is None or not os.path.isfile(target.file + SUFFIX):
        raise PathNotFoundError(f"not an import: {spelled}", "git datareg status lists imports")
    return target


def find_all(project: Project) -> list[Target]:
    """All imports in the index, by path."""
    suffix = SUFFIX.encode()
    found = [each.path for each in index.entries(project.repository) if is_metafile(each.path)]
    return [Target(project.repository, path.removesuffix(suffix)) for path in sorted(set(found))]


def read(target: Target) -> Metafile:
    """The metafile as it lies in the work tree; raises MetafileError."""
    name = os.fsdecode(target.metafile)
    try:
        with open(target.file + SUFFIX, "rb") as file:
            return Metafile.parse(file.read(), name)
    except OSError as error:
        raise MetafileError(f"can't read {name}: {error.strerror}") from error
