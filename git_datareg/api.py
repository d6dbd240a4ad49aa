"""The Python API: data files of any registry, straight from its storage.

    from git_datareg import api

    with api.open("music/a.flac", repo="https://example.org/music.git", rev="v2") as f:
        ...

`repo` is the URL or path of a Git repository; None is the one around the
current directory. `rev` is a branch, tag or commit. Without it a URL means its
default branch; a path means, for `open` and `read`, the work tree as it lies
there, and for the rest the commit that is checked out. Paths are relative to
the repository's root. Everything that is read is verified. Every expected fault
is a `git_datareg.DataregError`, and also the `FileNotFoundError`,
`IsADirectoryError`, `FileExistsError` or `PermissionError` that Python people
expect.

This is where the parts are put together; it is the one place below the
programs that looks at the process's environment and current directory.
"""

from __future__ import annotations

import builtins
import io
import os
from collections.abc import Sequence
from typing import IO, Any, BinaryIO

from git_datareg import delivery, importing, imports, registry, working
from git_datareg.delivery import Delivered
from git_datareg.errors import (
    IsDirectoryError,
    NotFoundError,
    PathNotFoundError,
    PointerError,
    StorageNotConfiguredError,
    UsageError,
)
from git_datareg.git.repository import open_foreign
from git_datareg.importing import Changes
from git_datareg.location import Location
from git_datareg.pointer import MAX_LENGTH, Pointer
from git_datareg.registry import Entry, Source
from git_datareg.transfer import fetch
from git_datareg.working import DataFile
from git_datareg.workspace import Workspace

__all__ = [
    "Changes",
    "Delivered",
    "Entry",
    "get",
    "get_url",
    "import_",
    "list",
    "open",
    "read",
    "update",
]

#: A Git URL, or a path.
Repo = str | os.PathLike[str]

_MODES = frozenset(("r", "rt", "rb"))


def open(
    path: str,
    repo: Repo | None = None,
    rev: str | None = None,
    mode: str = "r",
    encoding: str | None = None,
) -> IO[Any]:
    """A file of a registry, open for reading; the caller closes it.

    `mode` is "r" (text, in `encoding`, default UTF-8) or "rb". The stream can
    seek. Its bytes were verified before this returns. Raises PathNotFoundError,
    IsDirectoryError, ObjectNotFoundError, StorageError, and UsageError for
    modes that write.
    """
    if mode not in _MODES:
        raise UsageError(f"a registry is only read: mode {mode!r}", 'use "r" or "rb"')
    stream = _open_bytes(path, repo, rev)
    if mode == "rb":
        return stream
    try:
        return io.TextIOWrapper(stream, encoding=encoding or "utf-8")
    except LookupError:
        stream.close()
        raise


def read(
    path: str,
    repo: Repo | None = None,
    rev: str | None = None,
    mode: str = "r",
    encoding: str | None = None,
) -> str | bytes:
    """The whole content of a file of a registry: bytes for mode "rb", else text. See `open`."""
    with open(path, repo, rev, mode, encoding) as stream:
        content: str | bytes = stream.read()
    return content


def get_url(path: str, repo: Repo | None = None, rev: str | None = None) -> str:
    """The URL of a data file's object in its storage; whether it is there is not checked.

    Raises PathNotFoundError, IsDirectoryError, NotFoundError for a file that is
    plain in Git, and StorageNotConfiguredError when no storage is known.
    """
    workspace = _workspace()
    source = workspace.open_source(_location(repo), rev)
    return object_url(source, path)


def list(
    repo: Repo, path: str = "", rev: str | None = None, recursive: bool = False
) -> builtins.list[Entry]:
    """What a registry holds at `path`, sorted: a directory's entries, or a file itself.

    With `recursive`, all files below and no directories. No data is downloaded.
    """
    source = _workspace().open_source(_location(repo), rev)
    return registry.entries(source, path, recursive=recursive)


def get(
    repo: Repo,
    path: str,
    out: str | None = None,
    rev: str | None = None,
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    force: bool = False,
    jobs: int | None = None,
) -> Delivered:
    """Download a file or a directory of a registry to `out` (default: its name, here).

    All or nothing. An existing target raises TargetExistsError unless `force`.
    """
    workspace = _workspace()
    return delivery.get(
        workspace.open_source(_location(repo), rev),
        path,
        out,
        workspace.reading_objects,
        include=include,
        exclude=exclude,
        replace=force,
        jobs=jobs or workspace.settings.jobs,
    )


def import_(
    repo: Repo,
    path: str,
    out: str | None = None,
    rev: str | None = None,
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    force: bool = False,
    download: bool = True,
    vendor: bool = False,
    jobs: int | None = None,
) -> Changes:
    """Import a file or directory of a registry into the repository around us, and stage it.

    All or nothing. See `git datareg import`.
    """
    workspace = _workspace()
    source = workspace.open_source(_location(repo), rev)
    target = imports.target_for(workspace.project, delivery.target_of(source, path, out))
    return importing.add(
        workspace.project,
        source,
        path,
        target,
        include=include,
        exclude=exclude,
        replace=force,
        download=download,
        vendor=vendor,
        jobs=jobs or workspace.settings.jobs,
    )


def update(
    target: str, rev: str | None = None, *, force: bool = False, jobs: int | None = None
) -> Changes:
    """Bring an import (named by its path or metafile) to what its source is now.

    All or nothing; no change at the source is no change here. Raises
    LocalChangesError for files that were changed here, unless `force`.
    """
    workspace = _workspace()
    found = imports.find(workspace.project, target)
    state = importing.examine(found, workspace.open_source, rev)
    return importing.update(
        workspace.project, state, replace=force, jobs=jobs or workspace.settings.jobs
    )


def object_url(source: Source, path: str) -> str:
    """The URL of the object of one file of a source; see `get_url`."""
    file = registry.file(source, path)
    if file.pointer is None:
        raise NotFoundError(
            f"plain in Git, so there is no URL of its own: {path} in {source.location}",
            "git datareg get downloads it",
        )
    storages = source.sources().storages(file.source_path)
    if not storages:
        raise StorageNotConfiguredError(f"no storage is known for {source.location}")
    return storages[0].url(file.pointer.digest)


def _open_bytes(path: str, repo: Repo | None, rev: str | None) -> BinaryIO:
    workspace = _workspace()
    location = _location(repo)
    if rev is None and location.path is not None:
        repository = open_foreign(location.path) if repo is not None else workspace.repository
        if repository.work_tree is not None:
            return _open_in_work_tree(path, location, repository.work_tree)
    source = workspace.open_source(location, rev)
    file = registry.file(source, path)
    if file.pointer is None:
        return io.BytesIO(registry.content(source, file))
    local = workspace.reading_objects
    found = local.find_whole(file.pointer)
    if found is None:
        fetch(source.sources().want(file.pointer, file.source_path), local.cache)
        found = local.cache.path(file.pointer.digest)
    return builtins.open(found, "rb")


def _open_in_work_tree(path: str, location: Location, top: str) -> BinaryIO:
    name = os.fsdecode(registry.normal(path))
    try:
        stream = builtins.open(os.path.join(top, name), "rb")  # noqa: SIM115 - the caller closes it
    except (FileNotFoundError, NotADirectoryError):
        raise PathNotFoundError(f"no such file: {path} in the work tree of {location}") from None
    except IsADirectoryError:
        raise IsDirectoryError(f"is a directory: {path or '.'} in {location}") from None
    try:
        pointer = _pointer_in(stream, path)
        if pointer is None:
            return stream
        found = _object_of(DataFile(os.fsencode(name), "", pointer), top)
    except BaseException:
        stream.close()
        raise
    stream.close()
    return builtins.open(found, "rb")


def _pointer_in(stream: BinaryIO, path: str) -> Pointer | None:
    """The pointer that an open file is; its position stays at the start."""
    if os.fstat(stream.fileno()).st_size > MAX_LENGTH:
        return None
    try:
        return Pointer.parse(os.pread(stream.fileno(), MAX_LENGTH + 1, 0))
    except PointerError as error:
        raise PointerError(f"{path}: {error.message}", *error.hints) from error


def _object_of(file: DataFile, top: str) -> str:
    """The object's file for a pointer in a work tree, fetched if need be."""
    workspace = Workspace(top, os.environ)
    project = workspace.project
    found = project.local.find_whole(file.pointer)
    if found is None:
        failures = working.fetch(project, [file], opener=workspace.open_source)
        if failures:
            raise delivery.combined(failures, f"from {top}")
        found = project.local.cache.path(file.pointer.digest)
    return found


def _workspace() -> Workspace:
    return Workspace(os.getcwd(), os.environ)


def _location(repo: Repo | None) -> Location:
    spelled = os.fspath(repo) if repo is not None else _workspace().repository.top
    return Location.parse(spelled).absolute(os.getcwd())
