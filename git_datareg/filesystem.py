"""The fsspec file system `datareg://`: a registry at one commit, to be read.

    import fsspec

    with fsspec.open("datareg://music/a.flac", repo="https://example.org/music.git") as f:
        ...

It is found by fsspec through an entry point, and so by pandas, pyarrow and Dask
for paths that begin with `datareg://`, with `storage_options={"repo": ...}`. The
only importer of fsspec.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from math import inf
from threading import RLock
from typing import Any, NoReturn
from weakref import WeakValueDictionary

from fsspec.callbacks import DEFAULT_CALLBACK
from fsspec.spec import AbstractFileSystem, make_instance
from fsspec.utils import isfilelike

from git_datareg import api, registry
from git_datareg.errors import (
    DataregError,
    IsDirectoryError,
    PathNotFoundError,
    StorageReadOnlyError,
    UnsafePathError,
)
from git_datareg.listing import Info, Listing, listed
from git_datareg.reading import SourceReader
from git_datareg.registry import SourceFile
from git_datareg.streaming import SMALL, Reader

#: Files of which ranges are read at once.
_THREADS = 8
_CHUNK = 1024 * 1024
#: Those in use, by registry and commit: fsspec makes an instance for each thread.
_listings: WeakValueDictionary[tuple[str, str], Listing] = WeakValueDictionary()


def _refusing(what: str) -> Callable[..., NoReturn]:
    def refuse(self: AbstractFileSystem, *args: Any, **kwargs: Any) -> NoReturn:
        raise StorageReadOnlyError(
            f"a registry is only read; can't {what}: {', '.join(map(str, args[:2]))}",
            "in a clone of it: git add, git commit, git push",
        )

    return refuse


class _ReadOnly(AbstractFileSystem):  # type: ignore[misc]
    """Refuses whatever would write, with a fault that is an OSError (EROFS), too."""

    mkdir = makedirs = _refusing("make a directory")
    rmdir = rm = rm_file = _rm = _refusing("remove")
    copy = cp_file = _refusing("copy")
    mv = _refusing("move")
    put = put_file = pipe_file = touch = _refusing("write")
    _write_mode = _refusing("open for writing")


class _Here:
    """The current directory, which relative paths, and no `repo`, go by."""

    def __get__(self, instance: object, owner: type) -> str:
        return os.getcwd()


class _Listed(_ReadOnly):
    """What a commit holds: listed once, by one look into Git, since it never changes."""

    protocol = "datareg"
    root_marker = ""
    #: What tells instances apart, besides their arguments.
    _extra_tokenize_attributes = ("_here",)
    _here = _Here()

    def __init__(
        self,
        repo: str | os.PathLike[str] | None = None,
        rev: str | None = None,
        **storage_options: Any,
    ) -> None:
        super().__init__(repo=repo, rev=rev, **storage_options)
        self._repo = repo
        self._rev = rev
        self._directory = self._here
        self._lock = RLock()
        self._opened: SourceReader | None = None
        self._listed: Listing | None = None
        self._was_asked = False

    @property
    def _reader(self) -> SourceReader:
        with self._lock:
            if self._opened is None:
                self._opened = api.open_source(self._repo, self._rev, self._directory)
            return self._opened

    @property
    def _listing(self) -> Listing:
        with self._lock:
            if self._listed is None:
                source = self._reader.source
                key = (source.location.url, source.commit)
                self._listed = _listings.get(key) or listed(source)
                _listings[key] = self._listed
            return self._listed

    @property
    def commit(self) -> str:
        """The full id of the commit that is read."""
        return self._reader.source.commit

    @property
    def fsid(self) -> str:
        """Another for each registry and commit."""
        return f"datareg_{self._reader.source.location}_{self.commit}"

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        stripped = super()._strip_protocol(path)
        if not isinstance(stripped, str):
            return stripped
        stripped = stripped.lstrip("/")
        return "" if stripped == "." else stripped.removeprefix("./")

    def invalidate_cache(self, path: str | None = None) -> None:
        """Look at the registry anew when next asked: `rev` may mean another commit by then."""
        with self._lock:
            self._opened = self._listed = None
        super().invalidate_cache(path)

    def info(self, path: str, **kwargs: Any) -> Info:
        """One file or directory; raises PathNotFoundError.

        A dictionary of `name`, `size` (bytes; 0 for directories) and `type`
        ("file", "directory" or "link"), for files also `id` (the BLAKE3 of
        tracked data, else Git's id), `data` (whether it is tracked data) and
        `executable`. A symlink to a file is that file, with `islink` and
        `destination`; one that leads to a directory, or nowhere, is a "link".
        """
        name = self._strip_protocol(path)
        found = self._listing.info(name, _key(name))
        if found is None:
            raise self._missing(path)
        return found

    def ls(self, path: str, detail: bool = True, **kwargs: Any) -> list[Any]:
        """What is in a directory, sorted, or a file itself; raises PathNotFoundError."""
        name = self._strip_protocol(path)
        real = self._listing.real(_key(name))
        if real in self._listing.children:
            prefix = name + "/" if name else ""
            cut = len(real) + 1 if real else 0
            found = [(prefix + each[cut:], each) for each in self._listing.children[real]]
        elif real in self._listing.files:
            found = [(name, _key(name))]
        else:
            raise self._missing(path)
        if not detail:
            return [each for each, _ in found]
        return [self._listing.info(*each) for each in found]

    def find(
        self,
        path: str,
        maxdepth: int | None = None,
        withdirs: bool = False,
        detail: bool = False,
        **kwargs: Any,
    ) -> Any:
        """All files below a path, sorted, or the file itself; nothing for what is not there.

        Symlinks to directories are not followed.
        """
        if maxdepth is not None and maxdepth < 1:
            raise ValueError("maxdepth must be at least 1")
        name = self._strip_protocol(path)
        real = self._listing.real(_key(name))
        out = {}
        for each in self._listing.find(real, maxdepth, folders=withdirs):
            shown = (name + each[len(real) :]).lstrip("/")
            info = self._listing.info(shown, each)
            if info is not None and info["type"] != "link":
                out[shown] = info
        return {each: out[each] for each in sorted(out)} if detail else sorted(out)

    def exists(self, path: str, **kwargs: Any) -> bool:
        """Whether there is such a path; raises what keeps the registry from being read."""
        try:
            self.info(path)
        except (PathNotFoundError, UnsafePathError):
            return False
        return True

    def isfile(self, path: str) -> bool:
        """Whether there is a file, or a symlink to one; raises as `exists`."""
        return self.exists(path) and self.info(path)["type"] == "file"

    def isdir(self, path: str) -> bool:
        """Whether there is a directory; raises as `exists`."""
        return self.exists(path) and self.info(path)["type"] == "directory"

    def ukey(self, path: str) -> str:
        """Another for each content of a file; equal contents have the same."""
        return str(self.info(path).get("id", self.commit))

    def expand_path(
        self, path: Any, recursive: bool = False, maxdepth: int | None = None, **kwargs: Any
    ) -> list[str]:
        """The paths that globs (and with `recursive` directories) mean; PathNotFoundError if none.

        What has no glob need not be there.
        """
        try:
            return list(super().expand_path(path, recursive, maxdepth, **kwargs))
        except FileNotFoundError as error:
            if isinstance(error, DataregError):
                raise
            raise self._missing(path) from None

    def _missing(self, path: object) -> PathNotFoundError:
        source = self._reader.source
        rev = source.rev or "the default branch"
        return PathNotFoundError(f"no such path: {path} in {source.location} at {rev}")

    def _source_file(self, path: str) -> SourceFile:
        """The file at a path, through symlinks; raises as `registry.file`."""
        key = _key(self._strip_protocol(path))
        with self._lock:
            is_first, self._was_asked = not self._was_asked, True
        if is_first and self._listed is None:
            # One look at one file is cheaper than a list of a million.
            return registry.file(self._reader.source, key)
        real = self._listing.real(key)
        if real in self._listing.children:
            raise IsDirectoryError(f"is a directory: {path} in {self._reader.source.location}")
        if real not in self._listing.files:
            raise self._missing(path)
        return self._listing.files[real]


def _key(name: str) -> str:
    return os.fsdecode(registry.normal(name))


class DataregFileSystem(_Listed):
    """A registry at one commit, as a read-only file system; paths begin at its root.

    `repo` is the URL or path of a Git repository, None the one around the
    current directory; `rev` is a branch, tag or commit, None the default branch
    (for a path the commit that is checked out, and never the work tree). What
    commit that is, is looked up once, at the first use; copies made by pickle,
    for Dask's workers say, read the same commit, and need no look at the
    registry for it. fsspec hands out one instance for equal arguments:
    `invalidate_cache` makes it look again. With `stream=False` files are opened
    only when they are here as a whole and verified, as by `api.open`.

    Faults are DataregErrors, which are also the FileNotFoundError,
    IsADirectoryError and so on that users of files expect. Everything may be
    used from several threads.

    >>> import fsspec
    >>> fs = fsspec.filesystem("datareg", repo=music, rev="v1")
    >>> fs.ls("songs", detail=False)
    ['songs/a.txt', 'songs/b.bin']
    >>> fs.cat("songs/a.txt")
    b'do re mi\\n'
    >>> fs.info("songs/b.bin")["size"]
    3004
    """

    def __init__(
        self,
        repo: str | os.PathLike[str] | None = None,
        rev: str | None = None,
        stream: bool = True,
        **storage_options: Any,
    ) -> None:
        super().__init__(repo=repo, rev=rev, **storage_options)
        self._stream = stream

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        source = self._reader.source
        options = {**self.storage_options, "repo": source.location.url, "rev": source.commit}
        if not self._stream:
            options["stream"] = False
        return make_instance, (type(self), (), options)

    def _open(
        self,
        path: str,
        mode: str = "rb",
        block_size: int | None = None,
        stream: bool | None = None,
        **kwargs: Any,
    ) -> Reader:
        if mode != "rb":
            self._write_mode(path, mode)
        whole = not (self._stream if stream is None else stream)
        return self._reader.open(self._source_file(path), whole=whole)

    def cat_file(
        self, path: str, start: int | None = None, end: int | None = None, **kwargs: Any
    ) -> bytes:
        """Bytes of a file from `start` up to `end`, which count from its end when negative."""
        with self.open(path, "rb", **kwargs) as stream:
            return _part(stream, start, end)

    def cat(
        self, path: Any, recursive: bool = False, on_error: str = "raise", **kwargs: Any
    ) -> Any:
        """The contents of files: of one, or by path for several, which are fetched at once."""
        paths = self.expand_path(path, recursive=recursive)
        if not isinstance(path, list) and paths == [self._strip_protocol(path)]:
            return self.cat_file(paths[0], **kwargs)
        chosen = [each for each in paths if not recursive or not self.isdir(each)]
        plain = self._reader.plain(self._bring(chosen, strict=on_error == "raise"))
        out: dict[str, Any] = {}
        for each in chosen:
            try:
                content = plain.get(self._source_file(each).blob)
                out[each] = self.cat_file(each, **kwargs) if content is None else content
            except Exception as error:
                if on_error == "raise":
                    raise
                if on_error == "return":
                    out[each] = error
        return out

    def cat_ranges(
        self,
        paths: list[str],
        starts: Any,
        ends: Any,
        max_gap: int | None = None,
        on_error: str = "return",
        **kwargs: Any,
    ) -> list[Any]:
        """Ranges of files, in the order in which they are asked for; each file is opened once.

        A fault stands in place of the bytes, or is raised if `on_error` is "raise".
        """
        if not isinstance(paths, list):
            raise TypeError("paths must be a list")
        starts = starts if isinstance(starts, list) else [starts] * len(paths)
        ends = ends if isinstance(ends, list) else [ends] * len(paths)
        if not len(starts) == len(ends) == len(paths):
            raise ValueError("not as many starts and ends as paths")
        numbers: dict[str, list[int]] = {}
        for number, path in enumerate(paths):
            numbers.setdefault(path, []).append(number)
        self._bring(numbers, strict=False, most=SMALL)
        out: list[Any] = [None] * len(paths)

        def one(path: str) -> None:
            todo = sorted(numbers[path], key=lambda number: starts[number] or 0)
            try:
                with self.open(path, "rb", **kwargs) as stream:
                    for number in todo:
                        out[number] = _part(stream, starts[number], ends[number])
            except Exception as error:
                for number in todo:
                    out[number] = error if out[number] is None else out[number]

        with ThreadPoolExecutor(_THREADS, thread_name_prefix="datareg") as pool:
            for _ in pool.map(one, numbers):
                pass
        if on_error == "raise":
            for each in out:
                if isinstance(each, Exception):
                    raise each
        return out

    def get(
        self,
        rpath: Any,
        lpath: Any,
        recursive: bool = False,
        callback: Any = DEFAULT_CALLBACK,
        maxdepth: int | None = None,
        **kwargs: Any,
    ) -> None:
        """Copy files to this machine; see `get_file`. Their data is fetched at once, first."""
        paths = self.expand_path(rpath, recursive=recursive, maxdepth=maxdepth)
        plain = self._reader.plain(self._bring(paths, strict=True))
        super().get(rpath, lpath, recursive, callback, maxdepth, plain=plain, **kwargs)

    def get_file(
        self,
        rpath: str,
        lpath: Any,
        callback: Any = DEFAULT_CALLBACK,
        outfile: Any = None,
        plain: Mapping[str, bytes] | None = None,
        **kwargs: Any,
    ) -> None:
        """Copy one file to `lpath`, verified; a reader of that path sees all of it or what was.

        Missing directories are made. `lpath` or `outfile` may be an open file instead.
        """
        target = lpath if outfile is None and isfilelike(lpath) else outfile
        if target is None and self.isdir(rpath):
            os.makedirs(lpath, exist_ok=True)
            return
        file = self._source_file(rpath)
        callback.set_size(file.size)
        content = (plain or {}).get(file.blob)
        if target is not None:
            with self._reader.open(file, whole=True) as stream:
                shutil.copyfileobj(stream, target, _CHUNK)
        else:
            os.makedirs(os.path.dirname(os.fspath(lpath)) or ".", exist_ok=True)
            self._reader.copy(file, os.fspath(lpath), content)
        callback.relative_update(file.size)

    def _bring(self, paths: Iterable[str], *, strict: bool, most: float = inf) -> list[SourceFile]:
        """The files among the paths, of up to `most` bytes, whose data is now here.

        As far as it can be had, unless `strict`.
        """
        wanted = []
        for path in paths:
            with suppress(DataregError):
                wanted.append(self._source_file(path))
        wanted = [each for each in wanted if each.size <= most]
        with nullcontext() if strict else suppress(DataregError):
            self._reader.bring(wanted)
        return wanted


def _part(stream: Reader, start: int | None, end: int | None) -> bytes:
    first, last, _ = slice(start, end).indices(stream.size)
    stream.seek(first)
    return stream.read() if last == stream.size else stream.read(max(0, last - first))
