"""Registries as sources: what they hold at a revision, and where its objects are.

Any Git repository is one. Nothing is downloaded here but Git's own objects.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from git_datareg import mirror
from git_datareg.errors import (
    IsDirectoryError,
    PathNotFoundError,
    PointerError,
    UnsafePathError,
)
from git_datareg.git import objects
from git_datareg.git.objects import TreeEntry
from git_datareg.git.repository import Repository
from git_datareg.globs import is_chosen
from git_datareg.location import Location
from git_datareg.pointer import MAX_LENGTH, Pointer
from git_datareg.sources import Project, Remote, Sources, open_project

_KINDS = {"tree": "dir", "commit": "submodule"}
_SYMLINK = "120000"
#: As many as Linux follows for one path (path_resolution(7)).
_MAX_SYMLINKS = 40
#: Blobs that are read by one git: as many, or as many bytes.
_MANY = 10_000
_PART = 64 * 1024 * 1024


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
    #: Bytes of the blob, which for tracked data is the pointer.
    blob_size: int

    @property
    def size(self) -> int:
        """Bytes of the file where it arrives."""
        return self.pointer.size if self.pointer is not None else self.blob_size

    @property
    def is_symlink(self) -> bool:
        """Whether it is a symbolic link; the blob is its target."""
        return self.mode == _SYMLINK


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
        """What a clone of it would be called, as git-clone(1) has it."""
        path = self.location.path
        text = os.path.abspath(path) if path is not None else self.location.url
        last = text.rstrip("/").removesuffix("/.git").replace(":", "/").rpartition("/")[2]
        return last.removesuffix(".git") or "registry"

    def sources(self) -> Sources:
        """Where its objects are, as the commit has it."""
        return Sources(self.project, self.commit)

    def later_sources(self) -> Sources:
        """Where its objects are as its default branch has it now: the storage may have moved."""
        # Only the storages count here, so there is no cache to be found in the environment.
        project = open_project(self.repository, {"HOME": "/"}, "HEAD")
        return Sources(project._replace(remotes=self.project.remotes), self.commit)


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
    elif project.default_remote is None:
        # As git has it for .gitmodules: a repository without a remote is its own.
        own = Remote("origin", Location(os.path.abspath(location.path)))
        project = project._replace(remotes=(own, *project.remotes))
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
    matching = [
        (relative, each)
        for each in found
        for relative in [_relative(each.path, wanted)]
        if is_chosen(relative or posixpath.basename(each.path), include, exclude)
    ]
    if not matching:
        what = "no file matches" if found else "no files of its own"
        raise PathNotFoundError(f"{what}: {path or '.'} in {source.location}")
    pointers = _pointers(source.repository, (each for _, each in matching))
    return [
        SourceFile(relative, each.path, each.mode, each.id, pointers.get(each.id), each.size or 0)
        for relative, each in matching
    ]


def file(source: Source, path: str) -> SourceFile:
    """The one file at `path`, through symlinks.

    Raises IsDirectoryError for a directory, and what `followed` raises.
    """
    wanted = followed(source, path)
    entry = _entry_at(source, wanted)
    if entry is None:
        _tree(source, normal(path), recursive=False)
        raise IsDirectoryError(f"is a directory: {path or '.'} in {source.location}")
    if entry.kind != "blob":
        raise IsDirectoryError(f"is a submodule: {path} in {source.location}")
    pointer = _pointers(source.repository, [entry]).get(entry.id)
    return SourceFile(b"", entry.path, entry.mode, entry.id, pointer, entry.size or 0)


def followed(source: Source, path: str) -> bytes:
    """The path that `path` means when the registry's symlinks on it are followed.

    What is not there is left as it is. Raises UnsafePathError for a symlink
    that leads out of the registry, PathNotFoundError when they go in circles.
    """
    wanted = normal(path)
    for _ in range(_MAX_SYMLINKS):
        link = _first_symlink(source, wanted)
        if link is None:
            return wanted
        [(_, target)] = objects.read_blobs(source.repository, [link.id])
        rest = wanted.removeprefix(link.path).removeprefix(b"/")
        wanted = posixpath.normpath(posixpath.join(posixpath.dirname(link.path), target, rest))
        wanted = b"" if wanted == b"." else wanted
        if wanted.startswith((b"/", b"../")) or wanted == b"..":
            raise UnsafePathError(
                f"symlink leads out of the registry: {os.fsdecode(link.path)} -> "
                f"{os.fsdecode(target)}"
            )
    raise PathNotFoundError(f"too many symlinks: {path} in {source.location}")


def content(source: Source, file: SourceFile) -> bytes:
    """What Git holds for a file: its content, its pointer, or a symlink's target."""
    [(_, found)] = objects.read_blobs(source.repository, [file.blob])
    return found


def contents(source: Source, files: Iterable[SourceFile]) -> Iterator[tuple[str, bytes]]:
    """What Git holds for files, by blob, each once; a part at a time is in memory."""
    part: list[str] = []
    size = 0
    for blob, blob_size in {each.blob: each.blob_size for each in files}.items():
        if part and (size + blob_size > _PART or len(part) == _MANY):
            yield from objects.read_blobs(source.repository, part)
            part, size = [], 0
        part.append(blob)
        size += blob_size
    yield from objects.read_blobs(source.repository, part)


def blob_ids(source: Source, files: Iterable[SourceFile], object_format: str) -> dict[str, str]:
    """The ids that a repository of `object_format` has for the files' blobs, by those here."""
    if object_format == source.repository.object_format:
        return {each.blob: each.blob for each in files}
    return {
        blob: objects.blob_id(content, object_format) for blob, content in contents(source, files)
    }


def normal(path: str) -> bytes:
    """A path of a registry as Git spells it; the root is b"".

    Raises PathNotFoundError for what leads out of it.
    """
    cleaned = posixpath.normpath(path) if path else "."
    if cleaned.startswith(("/", "../")) or cleaned == "..":
        raise PathNotFoundError(f"not a path inside a registry: {path}")
    return b"" if cleaned == "." else os.fsencode(cleaned)


def state_of(source: Source, commit: str, path: str) -> str | None:
    """What lies at `path` in a commit, as a text that is equal for equal content and modes.

    None when there is nothing, or no such commit.
    """
    wanted = normal(path)
    id = objects.tree_id(source.repository, commit, wanted)
    entry = _entry_at(source._replace(commit=commit), wanted) if id is not None else None
    return f"{entry.mode} {id}" if entry is not None else id


def _entry_at(source: Source, path: bytes) -> TreeEntry | None:
    """The one entry at `path`, if it is not a directory."""
    if not path:
        return None
    found = objects.tree_entries(source.repository, source.commit, path, recursive=False)
    return found[0] if len(found) == 1 and found[0].path == path else None


def _first_symlink(source: Source, path: bytes) -> TreeEntry | None:
    """The first symlink on the way to `path`, itself included."""
    if not path or objects.tree_id(source.repository, source.commit, path) is not None:
        # Git's trees know no way through a symlink: it can only be the last one.
        entry = _entry_at(source, path)
        return entry if entry is not None and entry.mode == _SYMLINK else None
    names = path.split(b"/")
    for count in range(1, len(names)):
        entry = _entry_at(source, b"/".join(names[:count]))
        if entry is not None:
            return entry if entry.mode == _SYMLINK else None
    return None


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
        "link" if each.mode == _SYMLINK else _KINDS.get(each.kind, "file"),
        pointer.size if pointer is not None else each.size,
        pointer is not None,
        each.mode == "100755",
        pointer.digest.hex if pointer is not None else each.id,
    )


def _relative(path: bytes, top: bytes) -> bytes:
    return path.removeprefix(top).removeprefix(b"/") if top else path
