"""The imports of a repository: where each one is, and what its metafile says."""

from __future__ import annotations

import os
from typing import NamedTuple

from git_datareg.errors import MetafileError, PathNotFoundError, UnsafePathError, UsageError
from git_datareg.files import read_regular
from git_datareg.filtering import is_data
from git_datareg.git import index
from git_datareg.git.repository import Repository
from git_datareg.metafile import SUFFIX, Metafile, is_metafile
from git_datareg.projects import Project
from git_datareg.worktree import check_relative_path


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

    Raises UnsafePathError outside of the work tree, and for names that mean
    something to Git or to us; UsageError in a bare repository.
    """
    repository = project.repository
    if repository.work_tree is None:
        raise UsageError(f"a bare repository has no imports: {repository.top}")
    absolute = os.path.abspath(out)
    parent = os.path.realpath(os.path.dirname(absolute))
    relative = os.path.relpath(
        os.path.join(parent, os.path.basename(absolute)), os.path.realpath(repository.work_tree)
    )
    path = os.fsencode(relative)
    if path.split(b"/")[0] in (b".", b".."):
        raise UnsafePathError(f"not below the repository's top: {out}", "name another with -o")
    check_relative_path(path)
    if not is_data(path):
        raise UnsafePathError(f"a name with a meaning of its own: {out}", "name another with -o")
    return Target(repository, path)


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
    """All imports in the index, by path; what an import brought with it is not one of ours."""
    suffix = SUFFIX.encode()
    found: list[bytes] = []
    paths = {each.path for each in index.entries(project.repository) if is_metafile(each.path)}
    # With a slash at its end each directory stands right before what lies in it.
    for path in sorted((each.removesuffix(suffix) for each in paths), key=lambda each: each + b"/"):
        if not found or not path.startswith(found[-1] + b"/"):
            found.append(path)
    return [Target(project.repository, path) for path in sorted(found)]


def enclosing(target: Target) -> bytes | None:
    """The import that a target lies in, by its path, or None."""
    path = target.path.rpartition(b"/")[0]
    top = os.fsencode(target.repository.top)
    while path:
        if os.path.isfile(os.path.join(top, path + SUFFIX.encode())):
            return path
        path = path.rpartition(b"/")[0]
    return None


def read(target: Target) -> Metafile:
    """The metafile as it lies in the work tree; raises MetafileError."""
    name = os.fsdecode(target.metafile)
    try:
        return Metafile.parse(read_regular(target.file + SUFFIX), name)
    except OSError as error:
        raise MetafileError(f"can't read {name}: {error.strerror}") from error
