"""Registries as sources: what they hold at a revision, and where its objects are.

Any Git repository is one. Nothing is downloaded here but Git's own objects.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from git_datareg import mirror
from git_datareg.errors import IsDirectoryError, PathNotFoundError, PointerError
from git_datareg.git import objects
from git_datareg.git.objects import TreeEntry
from git_datareg.git.repository import Repository
from git_datareg.globs import is_chosen
from git_datareg.location import Location
from git_datareg.pointer import MAX_LENGTH, Pointer
from git_datareg.sources import Project, Remote, Sources, open_project

_KINDS = {"tree": "dir", "commit": "submodule"}


class Entry(NamedTuple):
    """One file or directory of a registry."""

    #: From the registry's root, with "/" between names; not UTF-8 as surrogate escapes.
    path: str
    #: "file", "dir", "link" or "submodule".
    type: str
    #: Bytes of a file (of the data, for tracked data), None for what has none.
    size: int | None
    #: Whether it is tracked data: a pointer in Git.
    is_data: bool
    is_executable: bool
    #: The BLAKE3 of tracked data, else the Git object's id.
    id: str


class SourceFile(NamedTuple):
    """A file of a source, as it is to arrive somewhere else."""

    #: Relative to what was asked for; b"" when that is this very file.
    path: bytes
    #: From the source's root.
    source_path: bytes
    #: Git's mode: 100644, 100755 or 120000.
    mode: str
    blob: str
    #: None for files that are plain in Git.
    pointer: Pointer | None

    @property
    def is_symlink(self) -> bool:
        """Whether it is a symbolic link; the blob is its target."""
        return self.mode == "120000"


class Source(NamedTuple):
    """A registry at one commit, open for reading."""

    location: Location
    project: Project
    #: The full id.
    commit: str
    #: As it was asked for; None is the default branch.
    rev: str | None

    @property
    def repository(self) -> Repository:
        """The Git repository that is read: the registry itself, or its mirror."""
        return self.project.repository

    @property
    def name(self) -> str:
        """What a clone of it would be called."""
        return posixpath.basename(self.location.url.rstrip("/")).removesuffix(".git") or "registry"

    def sources(self) -> Sources:
        """Where its objects are."""
        return Sources(self.project, self.commit)


def open_source(
    location: Location, rev: str | None, cache: str, environ: Mapping[str, str]
) -> Source:
    """The registry at `location`, at a revision (None: its default branch).

    Raises RepositoryNotFoundError, RevisionNotFoundError, or
    StorageUnavailableError when it can't be reached.
    """
    repository, commit = mirror.open_revision(location, rev, cache)
    project = open_project(repository, environ, commit)
    if location.path is None:
        # The mirror's own configuration names no remote; relative storages are the URL's.
        project = project._replace(remotes=(Remote("origin", location),))
    return Source(location, project, commit, rev)


def entries(source: Source, path: str = "", *, recursive: bool = False) -> list[Entry]:
    """What lies at `path`, sorted: a directory's entries, or a file itself.

    With `recursive`, all files below and no directories. Raises PathNotFoundError.
    """
    wanted = normal(path)
    found = _tree(source, wanted, recursive=recursive)
    pointers = _pointers(source.repository, found)
    return [_entry(each, pointers.get(each.id)) for each in found]


def names(source: Source, path: str = "", *, recursive: bool = False) -> list[str]:
    """The paths of `entries`, without a look at the files' contents."""
    return [os.fsdecode(each.path) for each in _tree(source, normal(path), recursive=recursive)]


def data_entries(source: Source, path: str = "", *, recursive: bool = False) -> list[Entry]:
    """As `entries`, but only tracked data, and directories that hold some."""
    files = [each for each in entries(source, path, recursive=True) if each.is_data]
    if recursive:
        return files
    prefix = f"{os.fsdecode(normal(path))}/" if normal(path) else ""
    shown: dict[str, Entry] = {}
    for each in files:
        first, slash, _ = each.path.removeprefix(prefix).partition("/")
        if slash:
            top = prefix + first
            shown[top] = Entry(top, "dir", None, False, False, "")
        else:
            shown[each.path] = each
    return [shown[key] for key in sorted(shown)]


def files(
    source: Source, path: str, include: Sequence[str] = (), exclude: Sequence[str] = ()
) -> list[SourceFile]:
    """The files at `path` that the globs let through, with their pointers.

    Globs see paths relative to `path`. Submodules are left out. Raises
    PathNotFoundError when there is no such path, or no file that matches.
    """
    wanted = normal(path)
    found = [each for each in _tree(source, wanted, recursive=True) if each.kind == "blob"]
    pointers = _pointers(source.repository, found)
    chosen = [
        SourceFile(relative, each.path, each.mode, each.id, pointers.get(each.id))
        for each in found
        for relative in [_relative(each.path, wanted)]
        if is_chosen(relative or posixpath.basename(each.path), include, exclude)
    ]
    if not chosen and (include or exclude):
        raise PathNotFoundError(f"no file matches: {path or '.'} in {source.location}")
    return chosen


def file(source: Source, path: str) -> SourceFile:
    """The one file at `path`; raises IsDirectoryError for a directory, PathNotFoundError."""
    found = files(source, path)
    if len(found) != 1 or found[0].path:
        raise IsDirectoryError(f"is a directory: {path} in {source.location}")
    return found[0]


def content(source: Source, file: SourceFile) -> bytes:
    """What Git holds for a file: its content, its pointer, or a symlink's target."""
    [(_, found)] = objects.read_blobs(source.repository, [file.blob])
    return found


def normal(path: str) -> bytes:
    """A path of a registry as Git spells it; the root is b"".

    Raises PathNotFoundError for what leads out of it.
    """
    cleaned = posixpath.normpath(path) if path else "."
    if cleaned.startswith(("/", "../")) or cleaned == "..":
        raise PathNotFoundError(f"not a path inside a registry: {path}")
    return b"" if cleaned == "." else os.fsencode(cleaned)


def object_id(source: Source, path: str) -> str | None:
    """The Git id of whatever lies at `path`: equal ids mean equal content."""
    return objects.tree_id(source.repository, source.commit, normal(path))


def _tree(source: Source, path: bytes, *, recursive: bool) -> list[TreeEntry]:
    found = objects.tree_entries(source.repository, source.commit, path, recursive=recursive)
    if not found and path:
        rev = source.rev or "the default branch"
        raise PathNotFoundError(
            f"no such path: {os.fsdecode(path)} in {source.location} at {rev}",
            f"git datareg list {source.location}",
        )
    return sorted(found, key=lambda each: each.path)


def _pointers(repository: Repository, found: Iterable[TreeEntry]) -> dict[str, Pointer]:
    paths = {
        each.id: each.path
        for each in found
        if each.mode.startswith("100") and each.size is not None and each.size <= MAX_LENGTH
    }
    return dict(_parsed(repository, paths))


def _parsed(repository: Repository, paths: Mapping[str, bytes]) -> Iterator[tuple[str, Pointer]]:
    for id, content in objects.read_blobs(repository, paths):
        try:
            pointer = Pointer.parse(content)
        except PointerError as error:
            shown = os.fsdecode(paths[id])
            raise PointerError(f"{shown}: {error.message}", *error.hints) from error
        if pointer is not None:
            yield id, pointer


def _entry(each: TreeEntry, pointer: Pointer | None) -> Entry:
    return Entry(
        os.fsdecode(each.path),
        "link" if each.mode == "120000" else _KINDS.get(each.kind, "file"),
        pointer.size if pointer is not None else each.size,
        pointer is not None,
        each.mode == "100755",
        pointer.digest.hex if pointer is not None else each.id,
    )


def _relative(path: bytes, top: bytes) -> bytes:
    return path.removeprefix(top).removeprefix(b"/") if top else path
