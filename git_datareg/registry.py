"""Registries as sources: what they hold at a revision, and where its objects are.

Any Git repository is one. Nothing is downloaded here but Git's own objects.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from git_datareg import mirror, served
from git_datareg.errors import (
    CorruptError,
    IsDirectoryError,
    PathNotFoundError,
    PointerError,
    UnsafePathError,
)
from git_datareg.git import objects
from git_datareg.git.objects import TreeEntry
from git_datareg.git.reader import ObjectReader
from git_datareg.git.repository import Repository
from git_datareg.globs import is_chosen
from git_datareg.location import Location
from git_datareg.pointer import MAX_LENGTH, Pointer
from git_datareg.projects import Project, Remote, open_project
from git_datareg.sources import Sources

_KINDS = {"tree": "dir", "commit": "submodule"}
_KIND_OF_MODE = {"040000": "tree", "160000": "commit"}
_SYMLINK = "120000"
#: As many as Linux follows for one path (path_resolution(7)).
_MAX_SYMLINKS = 40
#: Bytes of blobs that are read at once, or a single one.
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
    #: Answers what is asked one by one.
    reader: ObjectReader
    #: The cache's directory, where its mirror is if it is elsewhere.
    cache: str | None
    #: The user's environment, for registries that this one names.
    environ: Mapping[str, str]
    #: Whether not the user named it, but a registry elsewhere.
    is_foreign: bool

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
        return Sources(self.project, self.commit, self.reader)

    def later_sources(self) -> Sources:
        """Where its objects are as its default branch has it now: the storage may have moved."""
        repository, commit = self.opened(None)
        project = open_project(repository, self.environ, commit)
        project = project._replace(remotes=self.project.remotes)
        return Sources(project, self.commit, self.reader)

    def open_other(self, location: Location, rev: str | None) -> Source:
        """Another registry, which this one names; raises as `open_source`."""
        is_foreign = self.location.path is None
        return open_source(location, rev, self.cache, self.environ, is_foreign=is_foreign)

    def opened(self, rev: str | None) -> tuple[Repository, str]:
        """Its Git repository, with a revision at hand; raises as `mirror.open_revision`."""
        return served.open_revision(
            self.location, rev, self.cache, self.environ, is_foreign=self.is_foreign
        )


def open_source(
    location: Location,
    rev: str | None,
    cache: str | None,
    environ: Mapping[str, str],
    *,
    is_foreign: bool = False,
) -> Source:
    """The registry at `location`, at a revision (None: its default branch).

    `is_foreign`: another registry, elsewhere, named it. Raises RepositoryNotFoundError,
    RevisionNotFoundError, or StorageUnavailableError when it can't be reached.
    """
    place = (location, rev, cache, environ)
    repository, commit = served.open_revision(*place, is_foreign=is_foreign)
    reader = ObjectReader(repository)
    project = open_project(repository, environ, commit, reader)
    is_served = served.is_mirror(repository)
    if location.path is None or is_served:
        # The mirror's own configuration names no remote; relative storages are the URL's.
        project = project._replace(remotes=(Remote("origin", location, is_served, is_foreign),))
    elif project.default_remote is None:
        # As git has it for .gitmodules: a repository without a remote is its own.
        own = Remote("origin", Location(os.path.abspath(location.path)))
        project = project._replace(remotes=(own, *project.remotes))
    return Source(location, project, commit, rev, reader, cache, environ, is_foreign)


def at(source: Source, commit: str) -> Source:
    """The same registry at another commit, by its full id, fetched if it is not at hand.

    Its project is that of `source`. Raises RevisionNotFoundError when the
    registry no longer has the commit, StorageUnavailableError when it can't be
    reached.
    """
    if commit == source.commit:
        return source
    repository, found = source.opened(commit)
    project, reader = source.project._replace(repository=repository), ObjectReader(repository)
    return source._replace(project=project, commit=found, rev=commit, reader=reader)


def commits_since(source: Source, commit: str) -> int | None:
    """How many commits the source's commit has that `commit` does not have.

    None when `commit` is no ancestor of it: history was rewritten. May fetch
    commits; raises StorageUnavailableError when it can't.
    """
    repository, location, cache = source.repository, source.location, source.cache
    return served.commits_between(repository, location, commit, source.commit, cache)


def entries(source: Source, path: str = "", *, recursive: bool = False) -> list[Entry]:
    """What lies at `path`, sorted: a directory's entries, or a file itself.

    With `recursive`, all files below and no directories. To know their sizes,
    large plain files of a remote registry are fetched. Raises PathNotFoundError.
    """
    found = _with_sizes(source, _tree(source, normal(path), recursive=recursive))
    pointers = _pointers(source.reader, found)
    return [_entry(each, pointers.get(each.id)) for each in found]


def names(source: Source, path: str = "", *, recursive: bool = False) -> list[str]:
    """The paths of `entries`, without a look at the files themselves."""
    wanted = normal(path)
    if recursive:
        _kind_at(source, wanted)
        found = objects.tree_paths(source.repository, source.commit, wanted)
        return os.fsdecode(found).split("\0")[:-1]
    return [os.fsdecode(each.path) for each in _tree(source, wanted, recursive=False)]


def data_entries(source: Source, path: str = "", *, recursive: bool = False) -> list[Entry]:
    """As `entries`, but only tracked data, and directories that hold some."""
    found = _tree(source, normal(path), recursive=True)
    pointers = _pointers(source.reader, found)
    files = [_entry(each, pointers[each.id]) for each in found if each.id in pointers]
    if recursive:
        return files
    prefix = f"{os.fsdecode(normal(path))}/" if normal(path) else ""
    shown: dict[str, Entry] = {}
    for each in files:
        first, slash, _ = each.path.removeprefix(prefix).partition("/")
        if slash:
            top = prefix + first
            if top not in shown:
                tree = source.reader.entry(source.commit, os.fsencode(top))
                shown[top] = Entry(top, "dir", None, False, False, tree.id if tree else "")
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
    return described(source, taken(source, path, include, exclude))


def taken(
    source: Source, path: str, include: Sequence[str] = (), exclude: Sequence[str] = ()
) -> dict[bytes, TreeEntry]:
    """The entries of what `files` gives, by path relative to `path`; no file is fetched for them.

    Raises PathNotFoundError as `files` does.
    """
    wanted = normal(path)
    found = [each for each in _tree(source, wanted, recursive=True) if each.kind == "blob"]
    matching = {
        relative: each
        for each in found
        for relative in [_relative(each.path, wanted)]
        if is_chosen(relative or posixpath.basename(each.path), include, exclude)
    }
    if not matching:
        what = "no file matches" if found else "no files of its own"
        raise PathNotFoundError(f"{what}: {path or '.'} in {source.location}")
    return matching


def described(source: Source, taken: Mapping[bytes, TreeEntry]) -> list[SourceFile]:
    """What `taken` gave, as files with their pointers; what a mirror lacks of them is fetched."""
    sized = _with_sizes(source, list(taken.values()))
    pointers = _pointers(source.reader, sized)
    return [
        SourceFile(relative, each.path, each.mode, each.id, pointers.get(each.id), each.size or 0)
        for relative, each in zip(taken, sized, strict=True)
    ]


def file(source: Source, path: str) -> SourceFile:
    """The one file at `path`, through symlinks.

    Raises IsDirectoryError for a directory, and what `followed` raises.
    """
    wanted = followed(source, path)
    kind = _kind_at(source, wanted, spelled=path)
    if kind != "blob":
        what = "a directory" if kind == "tree" else "a submodule"
        raise IsDirectoryError(f"is {what}: {path or '.'} in {source.location}")
    [entry] = _with_sizes(source, _tree(source, wanted, recursive=False))
    pointer = _pointers(source.reader, [entry]).get(entry.id)
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
        at, id = link
        [(_, target)] = source.reader.read([id])
        rest = wanted.removeprefix(at).removeprefix(b"/")
        wanted = posixpath.normpath(posixpath.join(posixpath.dirname(at), target, rest))
        wanted = b"" if wanted == b"." else wanted
        if wanted.startswith((b"/", b"../")) or wanted == b"..":
            raise UnsafePathError(
                f"symlink leads out of the registry: {os.fsdecode(at)} -> {os.fsdecode(target)}"
            )
    raise PathNotFoundError(f"too many symlinks: {path} in {source.location}")


def content(source: Source, file: SourceFile) -> bytes:
    """What Git holds for a file: its content, its pointer, or a symlink's target."""
    [(_, found)] = source.reader.read([file.blob])
    return found


def contents(source: Source, files: Iterable[SourceFile]) -> Iterator[tuple[str, bytes]]:
    """What Git holds for files, by blob, each once; a part at a time is in memory."""
    part: list[str] = []
    size = 0
    for blob, blob_size in {each.blob: each.blob_size for each in files}.items():
        if part and size + blob_size > _PART:
            yield from source.reader.read(part)
            part, size = [], 0
        part.append(blob)
        size += blob_size
    yield from source.reader.read(part)


def blob_ids(source: Source, files: Iterable[SourceFile], object_format: str) -> dict[str, str]:
    """The ids that a repository of `object_format` has for the files' blobs, by those here."""
    if object_format == source.repository.object_format:
        return {each.blob: each.blob for each in files}
    return {
        blob: objects.blob_id(content, object_format) for blob, content in contents(source, files)
    }


def ids_in(object_format: str, source: Source, taken: Mapping[bytes, TreeEntry]) -> dict[str, str]:
    """As `blob_ids`, for what `taken` gave; files are fetched only for another format."""
    if object_format == source.repository.object_format:
        return {each.id: each.id for each in taken.values()}
    return blob_ids(source, described(source, taken), object_format)


def normal(path: str) -> bytes:
    """A path of a registry as Git spells it; the root is b"".

    Raises PathNotFoundError for what leads out of it.
    """
    cleaned = posixpath.normpath(path) if path else "."
    if cleaned.startswith(("/", "../")) or cleaned == "..":
        raise PathNotFoundError(f"not a path inside a registry: {path}")
    return b"" if cleaned == "." else os.fsencode(cleaned)


def is_file(source: Source, path: str) -> bool:
    """Whether a file or a symlink lies at `path`; raises PathNotFoundError for nothing."""
    return _kind_at(source, normal(path)) == "blob"


def state_of(source: Source, commit: str, path: str) -> str | None:
    """What lies at `path` in a commit, as a text that is equal for equal content and modes.

    None when there is nothing, or no such commit at hand.
    """
    entry = source.reader.entry(commit, normal(path))
    return f"{entry.mode} {entry.id}" if entry is not None else None


def _kind_at(source: Source, path: bytes, spelled: str | None = None) -> str:
    """What lies at `path`: "blob", "tree" or "commit"; raises PathNotFoundError for nothing."""
    entry = source.reader.entry(source.commit, path)
    if entry is None:
        rev = source.rev or "the default branch"
        raise PathNotFoundError(
            f"no such path: {spelled or os.fsdecode(path)} in {source.location} at {rev}",
            f"git datareg list {source.location}",
        )
    return _KIND_OF_MODE.get(entry.mode, "blob")


def _first_symlink(source: Source, path: bytes) -> tuple[bytes, str] | None:
    """Path and blob of the first symlink on the way to `path`, itself included."""
    names = path.split(b"/") if path else []
    for count in range(1, len(names) + 1):
        at = b"/".join(names[:count])
        entry = source.reader.entry(source.commit, at)
        if entry is None or not entry.is_tree:
            return (at, entry.id) if entry is not None and entry.mode == _SYMLINK else None
    return None


def _tree(source: Source, path: bytes, *, recursive: bool) -> list[TreeEntry]:
    """The entries at `path`, sorted; PathNotFoundError when nothing is there."""
    below = path + b"/" if path and _kind_at(source, path) == "tree" else path
    found = objects.tree_entries(source.repository, source.commit, below, recursive=recursive)
    return found if recursive else sorted(found, key=lambda each: each.path)


def _with_sizes(source: Source, found: Sequence[TreeEntry]) -> Sequence[TreeEntry]:
    """The same entries; files that a mirror left at its remote are fetched, all at once."""
    absent = [each for each in found if each.kind == "blob" and each.size is None]
    if not absent:
        return found
    ids = list(dict.fromkeys(each.id for each in absent))
    if source.location.path is None:
        mirror.fetch_blobs(source.location, ids, source.cache, is_foreign=source.is_foreign)
    sizes = objects.sizes(source.repository, ids)
    for each in absent:
        if each.id not in sizes:
            raise CorruptError(
                f"the registry lacks a file: {os.fsdecode(each.path)} in {source.location}",
                "a partial clone can't be read in place: name the URL that it was cloned from",
            )
    return [each._replace(size=sizes.get(each.id, each.size)) for each in found]


def _pointers(reader: ObjectReader, found: Iterable[TreeEntry]) -> dict[str, Pointer]:
    paths = {
        each.id: each.path
        for each in found
        if each.mode.startswith("100") and each.size is not None and each.size <= MAX_LENGTH
    }
    return dict(_parsed(reader, paths))


def _parsed(reader: ObjectReader, paths: Mapping[str, bytes]) -> Iterator[tuple[str, Pointer]]:
    for id, content in reader.read(paths):
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
