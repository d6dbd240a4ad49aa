"""What fsspec opens, as storage: `gs://`, `az://`, `abfs://`, `webdav://`, `hdfs://`, ...

fsspec's file systems agree on little but the names of their methods. Here only
those are used that all have; what differs and matters is in tables. Where one can
create without replacing, by itself, that is used; elsewhere a value is put under
another name first, and renamed if its own is still free.
"""

from __future__ import annotations

import json
import os
import posixpath
import threading
import time
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from importlib.util import find_spec
from typing import Any, BinaryIO, cast

from git_datareg.errors import (
    DataregError,
    ObjectNotFoundError,
    StorageDeniedError,
    StorageNotConfiguredError,
    StorageNotFoundError,
    StorageUnavailableError,
)
from git_datareg.location import Location
from git_datareg.storage import Info, Options, Properties, checked, dialects
from git_datareg.storage.exceptions import fault_of, is_absent
from git_datareg.storage.pieces import Blocks, Passing, Source
from git_datareg.storage.place import Place

#: What the part of a URL may have that names a machine or a bucket, so that all read the same.
_AUTHORITY = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_@")
_CONNECTIONS = 8
_INCOMING = ".incoming"
#: Up to this size a value is sent in one piece, from memory.
_SMALL = 4 * 1024 * 1024
_BLOCK = 8 * 1024 * 1024


class FileSystemStorage(Place):
    """Values as files of a file system that fsspec knows by the URL's scheme."""

    def __init__(self, location: Location, options: Options, *, writable: bool = True) -> None:
        self._scheme = location.scheme
        # They know their schemes in lower case only.
        self._url = self._scheme + location.url[len(self._scheme) :]
        super().__init__(
            location,
            Properties(
                writable=writable,
                connections=options.connections or _CONNECTIONS,
                is_exclusive=self._scheme in dialects.CREATING,
            ),
        )
        self._options = options
        self._arguments = {name: _value(text) for name, text in options.arguments}
        #: What is in no message: any of the arguments may be one.
        self._secrets = sorted(_texts(self._arguments), key=len, reverse=True)
        self._lock = threading.Lock()
        #: By process, and by thread where each must have its own.
        self._systems: dict[tuple[int, int], Any] = {}
        self._has_place = False
        self._made: set[str] = set()

    def info(self, key: str) -> Info | None:
        """See Storage."""
        checked(key)
        with self._system() as (system, root):
            return self._info(system, root, key)

    def open(self, key: str, offset: int = 0, length: int | None = None) -> BinaryIO:
        """See Storage."""
        found = self.info(key)
        if found is None:
            raise ObjectNotFoundError(f"not in {self.location}: {key}")
        end = found.size if length is None else min(found.size, offset + length)

        def fetch(start: int, stop: int) -> bytes:
            with self._system() as (system, root):
                return bytes(system.cat_file(_path(root, key), start=start, end=stop))

        return cast(BinaryIO, Blocks(fetch, offset, end))

    def put(self, key: str, source: BinaryIO, size: int) -> bool:
        """See Storage. Unless it `is_exclusive`, another's put at this moment may be replaced."""
        checked(key)
        self._check_writable()
        value = Source(source, size, self.url(key))
        try:
            with self._system() as (system, root):
                if self._info(system, root, key) is not None:
                    return False
                if self._scheme in dialects.BUCKETS:
                    return self._create(system, root, key, value)
                return self._rename(system, root, key, value)
        except Passing as passing:
            raise passing.fault from None

    def replace(self, key: str, value: bytes) -> None:
        """See Storage."""
        checked(key)
        self._check_writable()
        with self._system() as (system, root):
            if self._scheme in dialects.BUCKETS:
                system.pipe_file(_path(root, key), value)
                return
        super().replace(key, value)

    def list(self, prefix: str) -> Iterator[Info]:
        """See Storage."""
        directory = prefix.rpartition("/")[0]
        with self._system() as (system, root):
            top = _path(root, checked(directory)) if directory else root
            system.invalidate_cache()
            # What they find below a file, each finds otherwise.
            if _kind(system, top) != "directory":
                entries: Iterable[Mapping[str, Any]] = ()
            elif self._scheme in dialects.BUCKETS:
                entries = system.find(top, detail=True).values()
            else:
                entries = _files(system, top)
            found = sorted(info for info in _infos(root, entries) if info.key.startswith(prefix))
            if not found:
                self._check_place(system, root)
        yield from found

    def delete(self, key: str) -> None:
        """See Storage."""
        checked(key)
        self._check_writable()
        with self._system() as (system, root):
            try:
                system.rm_file(_path(root, key))
            except Exception:
                # How they say that there is nothing differs.
                if self._info(system, root, key) is not None:
                    raise

    @contextmanager
    def _system(self) -> Iterator[tuple[Any, str]]:
        """The file system, and the path there of the storage; its exceptions become our faults."""
        try:
            system = self._opened()
            yield system, self._root(system)
        except (DataregError, Passing):
            raise
        # Each file system raises what its libraries do: there is no list of them, and no
        # base class. A fault that nobody expects would otherwise end as a traceback.
        except Exception as error:
            fault = fault_of(error, self.location, self._secrets)
            if isinstance(fault, StorageUnavailableError):
                # It may hold a connection that is broken.
                self._systems.pop(self._owner(), None)
            raise fault from error

    def _owner(self) -> tuple[int, int]:
        # A fork can't use what its parent has.
        return os.getpid(), threading.get_ident() if self._scheme in dialects.PER_THREAD else 0

    def _opened(self) -> Any:
        owner = self._owner()
        system = self._systems.get(owner)
        if system is None:
            with self._lock:
                system = self._systems.get(owner)
                if system is None:
                    system = self._systems[owner] = self._new()
        return system

    def _new(self) -> Any:
        import fsspec

        dialects.hush(self._scheme)
        try:
            kind = fsspec.get_filesystem_class(self._scheme)
            arguments = kind._get_kwargs_from_urls(self._url)
            arguments |= dialects.ARGUMENTS.get(self._scheme, {})
            if self._options.is_anonymous:
                arguments |= dialects.ANONYMOUS.get(self._scheme, {})
            arguments |= self._arguments
            # Others in this process may have one of the same arguments, with its caches.
            system = kind(**arguments, skip_instance_cache=True)
        except (ImportError, TypeError, ValueError) as error:
            raise StorageNotConfiguredError(
                fault_of(error, self.location, self._secrets).message,
                "its arguments are configured by datareg.<storage>.option, each name=value",
            ) from error
        close = dialects.closer(self._scheme, system)
        if close is not None:
            weakref.finalize(system, close)
        # What others put has to be seen.
        if hasattr(system, "dircache"):
            system.dircache.use_listings_cache = False
        return system

    def _root(self, system: Any) -> str:
        root: str = system._strip_protocol(self._url)
        return root.rstrip("/")

    def _info(self, system: Any, root: str, key: str) -> Info | None:
        try:
            found = system.info(_path(root, key))
        except Exception as error:
            if not is_absent(error):
                raise
            self._check_place(system, root)
            return None
        if found["type"] != "file":
            return None
        if found.get("size") is None:
            raise StorageUnavailableError(f"the server tells no size: {self.url(key)}")
        return Info(key, int(found["size"]))

    def _check_place(self, system: Any, root: str) -> None:
        """Tell a storage that is empty (and made by the first put) from one that is not there."""
        if self._has_place:
            return
        if self._scheme in dialects.BUCKETS:
            is_there = self._has_bucket(system, root.partition("/")[0])
        else:
            can_be_made = self.properties.writable and _kind(system, root) is None
            is_there = can_be_made and _kind(system, posixpath.dirname(root)) == "directory"
            # Looked at last: another's first put may just have made it.
            is_there = is_there or _kind(system, root) == "directory"
        if not is_there:
            raise StorageNotFoundError(
                f"storage is not there: {self.location}",
                "create it, or change its URL: git datareg storage list",
            )
        self._has_place = True

    def _has_bucket(self, system: Any, bucket: str) -> bool:
        try:
            system.info(bucket)
        except Exception as error:
            # Who may read a bucket's objects may often not ask for the bucket.
            return not is_absent(error)
        return True

    def _make_directories(self, system: Any, root: str, key: str) -> None:
        if not self._made:
            self._check_place(system, root)
            self._make_directory(system, root)
            self._remove_stale(system, _path(root, _INCOMING))
        for name in (_INCOMING, key.rpartition("/")[0]):
            if name and name not in self._made:
                self._make_directory(system, _path(root, name))
                self._made.add(name)

    def _remove_stale(self, system: Any, incoming: str) -> None:
        """Remove what killed writers left: their day is in its name, since clocks differ."""
        with suppress(Exception):
            for path in system.ls(incoming, detail=False):
                parts = posixpath.basename(path).split("-")
                if len(parts) == 3 and parts[1].isdigit() and int(parts[1]) < _today() - 1:
                    system.rm_file(path)

    def _make_directory(self, system: Any, path: str) -> None:
        if path.strip("/"):
            try:
                system.makedirs(path, exist_ok=True)
            except Exception:
                # Another may have made it meanwhile.
                if _kind(system, path) != "directory":
                    raise

    def _create(self, system: Any, root: str, key: str, value: Source) -> bool:
        """Write a value that nobody sees before it is whole; False when another was quicker."""
        path, creates = _path(root, key), self._scheme in dialects.CREATING
        try:
            if value.size <= _SMALL:
                system.pipe_file(path, value.all(), **({"mode": "create"} if creates else {}))
                return True
            file = system.open(path, "xb" if creates else "wb", block_size=_BLOCK)
            try:
                value.copy(file)
            except BaseException:
                with suppress(Exception):
                    dialects.abandon(self._scheme, file)
                raise
            file.close()
            return True
        except Passing:
            raise
        except Exception:
            if self._info(system, root, key) is not None:
                return False
            raise

    def _rename(self, system: Any, root: str, key: str, value: Source) -> bool:
        """Write a value under another name first; False when its own is taken by then."""
        self._make_directories(system, root, key)
        path = _path(root, key)
        temporary = _path(root, f"{_INCOMING}/value-{_today()}-{os.urandom(8).hex()}")
        is_named = False
        try:
            if value.size <= _SMALL:
                dialects.write(self._scheme, system, temporary, value.all())
            else:
                with system.open(temporary, "wb", block_size=_BLOCK) as file:
                    value.copy(file)
            # Where a rename replaces, another's put from here on is lost.
            if self._info(system, root, key) is None:
                try:
                    dialects.rename(self._scheme, system, temporary, path)
                    is_named = True
                except Exception:
                    if self._info(system, root, key) is None:
                        raise
            return is_named
        finally:
            if not is_named:
                with suppress(Exception):
                    system.rm_file(temporary)


def serves(location: Location, options: Options) -> bool:
    """Whether fsspec knows the scheme, and may be used for it.

    Raises StorageNotConfiguredError when a package for it is missing, or when it
    is never used, and StorageDeniedError for what a repository may not name.
    """
    scheme = location.scheme
    if "::" in location.url or scheme in dialects.REFUSED:
        raise StorageNotConfiguredError(f"{scheme}: can't be used for storage: {location}")
    if scheme in dialects.OURS or find_spec("fsspec") is None:
        return False
    from fsspec.registry import known_implementations, registry

    package = dialects.PACKAGES.get(scheme)
    if scheme in known_implementations:
        package = known_implementations[scheme]["class"].partition(".")[0]
    if package is None and scheme not in registry:
        return False
    if not options.is_trusted:
        authority = location.url.partition("://")[2].partition("/")[0]
        if scheme not in dialects.FOREIGN or not _AUTHORITY.issuperset(authority):
            raise StorageDeniedError(f"a repository may not name this place: {location}")
    if package is not None and scheme not in registry and find_spec(package) is None:
        raise StorageNotConfiguredError(
            f"{scheme}: needs the package {package}, which is not installed: {location}",
            f"pip install {package}",
        )
    return True


def _today() -> int:
    return int(time.time()) // (24 * 3600)


def _value(text: str) -> object:
    """A number, a truth, a list or a mapping if it is spelled as one in JSON; else the text."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    # For most libraries a pair, say of user and password, is a tuple.
    return tuple(value) if isinstance(value, list) else value


def _texts(value: object) -> Iterator[str]:
    """All the texts in a value."""
    if isinstance(value, Mapping):
        value = tuple(value.values())
    if isinstance(value, tuple | list):
        for each in value:
            yield from _texts(each)
    elif not isinstance(value, bool):
        yield str(value)


def _path(root: str, name: str) -> str:
    return f"{root}/{name}" if root else name


def _kind(system: Any, path: str) -> str | None:
    """ "file", "directory" or another kind; None where nothing is.

    fsspec's own `exists` and `isdir` say no when the server can't be reached.
    """
    if not path.strip("/"):
        return "directory"
    try:
        return str(system.info(path)["type"])
    except Exception as error:
        if not is_absent(error):
            raise
        return None


def _files(system: Any, top: str) -> Iterator[Mapping[str, Any]]:
    """What lies below a directory. fsspec's own `find` leaves out what it fails to list."""
    todo = [top]
    while todo:
        directory = todo.pop()
        try:
            entries = system.ls(directory, detail=True)
        except Exception as error:
            if not is_absent(error):
                raise
            # Deleted since its parent was listed.
            continue
        for entry in entries:
            if entry["type"] != "directory":
                yield entry
            elif entry["name"].strip("/") != directory.strip("/"):
                todo.append(entry["name"].rstrip("/"))


def _infos(root: str, entries: Iterable[Mapping[str, Any]]) -> Iterator[Info]:
    """The values among what is found below the root."""
    start = f"{root}/" if root else ""
    for entry in entries:
        name = entry["name"]
        key = name.removeprefix(start).removeprefix("/")
        is_key = name.startswith(start) and key.isascii() and "/." not in f"/{key}"
        if is_key and entry["type"] == "file" and entry.get("size") is not None:
            yield Info(key, int(entry["size"]), _time(entry))


def _time(entry: Mapping[str, Any]) -> float | None:
    """When a file was written; each file system has a word of its own for it."""
    for word in ("mtime", "last_modified", "LastModified", "modified", "updated"):
        found = entry.get(word)
        if isinstance(found, datetime):
            return found.timestamp()
        if isinstance(found, int | float):
            return float(found)
    return None
