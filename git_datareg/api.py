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
from typing import IO, Any, BinaryIO, Literal, TextIO, overload

from git_datareg import delivery, importing, imports, registry, standing, streaming, working
from git_datareg.delivery import Delivered
from git_datareg.errors import (
    DataregError,
    IsDirectoryError,
    NotFoundError,
    PathNotFoundError,
    PointerError,
    StorageError,
    StorageNotConfiguredError,
    UsageError,
)
from git_datareg.git.repository import open_foreign
from git_datareg.importing import Changes
from git_datareg.location import Location
from git_datareg.pointer import MAX_LENGTH, Pointer
from git_datareg.reading import SourceReader
from git_datareg.registries import is_serverless
from git_datareg.registry import Entry, Source
from git_datareg.sources import Sources
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

_BINARY = frozenset(("rb", "br"))
_TEXT = frozenset(("r", "rt", "tr"))
_BinaryMode = Literal["rb", "br"]
_TextMode = Literal["r", "rt", "tr"]


@overload
def open(
    path: str,
    repo: Repo | None = ...,
    rev: str | None = ...,
    mode: _TextMode = ...,
    encoding: str | None = ...,
    errors: str | None = ...,
    newline: str | None = ...,
    *,
    stream: bool = ...,
) -> TextIO: ...
@overload
def open(
    path: str,
    repo: Repo | None,
    rev: str | None,
    mode: _BinaryMode,
    *,
    stream: bool = ...,
) -> BinaryIO: ...
@overload
def open(
    path: str,
    repo: Repo | None = ...,
    rev: str | None = ...,
    *,
    mode: _BinaryMode,
    stream: bool = ...,
) -> BinaryIO: ...
@overload
def open(
    path: str,
    repo: Repo | None = ...,
    rev: str | None = ...,
    mode: str = ...,
    encoding: str | None = ...,
    errors: str | None = ...,
    newline: str | None = ...,
    *,
    stream: bool = ...,
) -> IO[Any]: ...
def open(
    path: str,
    repo: Repo | None = None,
    rev: str | None = None,
    mode: str = "r",
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    *,
    stream: bool = True,
) -> IO[Any]:
    """A file of a registry, open for reading; the caller closes it, or drops it.

    `mode` is "r" for text or "rb" for bytes; `encoding` (by default UTF-8),
    `errors` and `newline` are those of `builtins.open`. The stream can seek,
    and its methods may be called from several threads.

    An object that is on this machine, or small (up to 8 MiB), is verified
    before this returns. A larger one comes as it is read: what was read is not
    fetched again, and stays in the cache if all of it was. Who reads all of it
    gets an IntegrityError instead of the last bytes if they are not the
    object's; single parts can't be verified. With `stream=False` all of it is
    here and verified before this returns.

    Raises PathNotFoundError, IsDirectoryError, ObjectNotFoundError,
    StorageError, and UsageError for modes that write; reading raises
    StorageError and IntegrityError.

    >>> with api.open("songs/a.txt", repo=music, rev="v1") as file:
    ...     print(file.readline(), end="")
    do re mi
    >>> with api.open("songs/b.bin", repo=music, mode="rb") as file:
    ...     position = file.seek(-4, os.SEEK_END)
    ...     file.read()
    b'tail'
    """
    if mode not in _BINARY | _TEXT:
        raise UsageError(f"a registry is only read: mode {mode!r}", 'use "r" or "rb"')
    arguments = {"encoding": encoding, "errors": errors, "newline": newline}
    if mode in _BINARY:
        for name, value in arguments.items():
            if value is not None:
                raise UsageError(f"binary mode {mode!r} takes no {name}", 'use mode "r" for text')
        return _open_bytes(path, repo, rev, whole=not stream)
    encoding = encoding or "utf-8"
    # What can't be meant is told before anything is fetched.
    io.TextIOWrapper(io.BytesIO(), encoding, errors, newline).close()
    return io.TextIOWrapper(
        _open_bytes(path, repo, rev, whole=not stream), encoding, errors, newline
    )


@overload
def read(
    path: str,
    repo: Repo | None = ...,
    rev: str | None = ...,
    mode: _TextMode = ...,
    encoding: str | None = ...,
    errors: str | None = ...,
    newline: str | None = ...,
) -> str: ...
@overload
def read(path: str, repo: Repo | None, rev: str | None, mode: _BinaryMode) -> bytes: ...
@overload
def read(
    path: str, repo: Repo | None = ..., rev: str | None = ..., *, mode: _BinaryMode
) -> bytes: ...
@overload
def read(
    path: str,
    repo: Repo | None = ...,
    rev: str | None = ...,
    mode: str = ...,
    encoding: str | None = ...,
    errors: str | None = ...,
    newline: str | None = ...,
) -> str | bytes: ...
def read(
    path: str,
    repo: Repo | None = None,
    rev: str | None = None,
    mode: str = "r",
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
) -> str | bytes:
    """The whole content of a file of a registry, verified: bytes for mode "rb", else text.

    Takes and raises what `open` does.

    >>> api.read("songs/a.txt", repo=music)
    'do re mi fa\\n'
    >>> api.read("songs/a.txt", repo=music, rev="v1", mode="rb")
    b'do re mi\\n'
    """
    with open(path, repo, rev, mode, encoding, errors, newline) as stream:
        content: str | bytes = stream.read()
    return content


def get_url(
    path: str, repo: Repo | None = None, rev: str | None = None, presign: int | None = None
) -> str:
    """The URL of a data file's object in its storage; whether it is there is not checked.

    It begins with s3://, https:// or what else the storage's own URL begins with; a
    file's is its path. With `presign`, anybody may GET it for so many seconds: then a
    storage that has no such URLs (only S3 has) raises StorageError. Also raises
    PathNotFoundError, IsDirectoryError, NotFoundError for a file that is plain in
    Git, and StorageNotConfiguredError when no storage is known.

    >>> api.get_url("songs/b.bin", repo=music).startswith(f"{music}/datareg/objects/")
    True
    """
    workspace = _workspace()
    source = workspace.open_source(_location(repo), rev)
    return object_url(source, path, presign)


def list(
    repo: Repo, path: str = "", rev: str | None = None, recursive: bool = False
) -> builtins.list[Entry]:
    """What a registry holds at `path`, sorted: a directory's entries, or a file itself.

    With `recursive`, all files below and no directories. No data is downloaded.
    Raises PathNotFoundError.

    >>> [each.path for each in api.list(music, rev="v1")]
    ['.datareg', '.gitattributes', 'songs']
    >>> [(each.path, each.size, each.is_data) for each in api.list(music, "songs", rev="v1")]
    [('songs/a.txt', 9, True), ('songs/b.bin', 3004, True)]
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

    >>> done = api.get(music, "songs", "copy", include=["a.*"])
    >>> done.target, done.files, os.listdir("copy")
    ('copy', 1, ['a.txt'])
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

    >>> api.import_(music, "songs", rev="v1").added
    2
    """
    workspace = _workspace()
    source = workspace.open_source(_location(repo), rev)
    target = imports.target_for(workspace.project, delivery.target_of(source, path, out))
    return importing.add(
        workspace.project,
        source,
        path,
        target,
        opener=workspace.open_source,
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

    >>> changes = api.import_(music, "songs", rev="v1")
    >>> api.update("songs", rev="v2")
    Changes(added=1, changed=1, removed=0, fetched=2)
    """
    workspace = _workspace()
    found = imports.find(workspace.project, target)
    state = standing.examine(found, workspace.open_source, rev)
    return importing.update(
        workspace.project,
        state,
        opener=workspace.open_source,
        replace=force,
        jobs=jobs or workspace.settings.jobs,
    )


def object_url(source: Source, path: str, presign: int | None = None) -> str:
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
    if presign is None:
        return storages[0].url(file.pointer.digest)
    for storage in storages:
        url = storage.presign(file.pointer.digest, presign)
        if url is not None:
            return url
    raise StorageError(f"no URL can be signed for {storages[0]}", "only S3 storages have them")


def open_source(repo: Repo | None, rev: str | None, directory: str) -> SourceReader:
    """The registry `repo` at `rev`; a path without one means its HEAD. Raises as `list` does.

    `directory` is what relative paths, and no `repo`, go by.
    """
    workspace = Workspace(directory, os.environ)
    return _reader(workspace, workspace.open_source(_location(repo, directory), rev))


def _reader(workspace: Workspace, source: Source) -> SourceReader:
    return SourceReader(source, workspace.reading_objects, workspace.settings.jobs)


def _open_bytes(path: str, repo: Repo | None, rev: str | None, *, whole: bool) -> BinaryIO:
    workspace = _workspace()
    location = _location(repo)
    if rev is None and location.path is not None and not is_serverless(location.path):
        repository = open_foreign(location.path) if repo is not None else workspace.repository
        if repository.work_tree is not None:
            return _open_in_work_tree(path, location, repository.work_tree, whole=whole)
    source = workspace.open_source(location, rev)
    return _reader(workspace, source).open(registry.file(source, path), whole=whole)


def _open_in_work_tree(path: str, location: Location, top: str, *, whole: bool) -> BinaryIO:
    name = os.fsdecode(registry.normal(path))
    try:
        stream = streaming.open_file(os.path.join(top, name))
    except (FileNotFoundError, NotADirectoryError):
        raise PathNotFoundError(f"no such file: {path} in the work tree of {location}") from None
    except IsADirectoryError:
        what = "a directory" if os.path.isdir(os.path.join(top, name)) else "not a file"
        raise IsDirectoryError(f"is {what}: {path or '.'} in {location}") from None
    try:
        pointer = _pointer_in(stream, path)
        if pointer is None:
            return stream
    except BaseException:
        stream.close()
        raise
    stream.close()
    return _open_object_of(DataFile(os.fsencode(name), "", pointer), top, whole=whole)


def _pointer_in(stream: BinaryIO, path: str) -> Pointer | None:
    """The pointer that an open file is; its position stays at the start."""
    if os.fstat(stream.fileno()).st_size > MAX_LENGTH:
        return None
    try:
        return Pointer.parse(os.pread(stream.fileno(), MAX_LENGTH + 1, 0))
    except PointerError as error:
        raise PointerError(f"{path}: {error.message}", *error.hints) from error


def _open_object_of(file: DataFile, top: str, *, whole: bool) -> BinaryIO:
    """The object of a pointer in a work tree."""
    workspace = Workspace(top, os.environ)
    project = workspace.project
    local = project.local
    here = streaming.open_local(file.pointer, local)
    if here is not None:
        return here
    want = Sources(project).want(file.pointer, file.path)
    try:
        return streaming.open_stored(want, local.cache, whole=whole)
    except DataregError:
        # The object of an import may be where its source has it now.
        failures = working.fetch(project, [file], opener=workspace.open_source)
        if failures:
            raise delivery.combined(failures, f"from {top}") from None
        return streaming.open_file(local.cache.path(file.pointer.digest))


def _workspace() -> Workspace:
    return Workspace(os.getcwd(), os.environ)


def _location(repo: Repo | None, directory: str | None = None) -> Location:
    directory = directory or os.getcwd()
    if repo is None:
        return Location(Workspace(directory, os.environ).repository.top)
    return Location.parse(os.fspath(repo)).absolute(directory)
