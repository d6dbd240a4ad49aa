"""A directory as storage: a path or `file://`.

A value is a file; a new one appears under its name by a link or a rename that
never replaces, so that a reader (or any static web server over the directory)
sees it whole or not at all.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from io import FileIO
from typing import BinaryIO, cast

from git_datareg import files
from git_datareg.errors import (
    IntegrityError,
    ObjectNotFoundError,
    StorageDeniedError,
    StorageError,
    StorageNotFoundError,
    StorageUnavailableError,
)
from git_datareg.location import Location
from git_datareg.storage import Info, Properties, checked
from git_datareg.storage.place import Place

_CHUNK = 1024 * 1024
#: Where new values grow, below the storage's directory; no key begins with a dot.
_INCOMING = ".incoming"
_PREFIX = "value-"
#: What killed writers left there is removed when it is older than this.
_STALE_SECONDS = 24 * 3600
#: What says that there is no file, or something else than a file, under a name.
_ABSENT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


class LocalStorage(Place):
    """Values as files below one directory, which the first `put` makes in an existing one."""

    def __init__(self, location: Location, *, writable: bool = True) -> None:
        assert location.path is not None, "only paths and file:// come here"
        super().__init__(location, Properties(writable=writable, connections=4, is_remote=False))
        self._root = location.path
        self._is_tidy = False

    def info(self, key: str) -> Info | None:
        """See Storage."""
        try:
            found = os.stat(self._path(key))
        except _ABSENT:
            self._check_root()
            return None
        except OSError as error:
            raise self._fault(error) from error
        return Info(key, found.st_size) if stat.S_ISREG(found.st_mode) else None

    def open(self, key: str, offset: int = 0, length: int | None = None) -> BinaryIO:
        """See Storage; a file has no need of `length`."""
        try:
            # Readers take large pieces: a buffer would only cost system calls.
            stream = FileIO(_open_file(self._path(key), os.O_RDONLY))
        except _ABSENT:
            self._check_root()
            raise ObjectNotFoundError(f"not in {self.location}: {key}") from None
        except OSError as error:
            raise self._fault(error) from error
        if offset:
            stream.seek(offset)
        return cast(BinaryIO, stream)

    def put(self, key: str, source: BinaryIO, size: int) -> bool:
        """See Storage."""
        self._check_writable()
        path = self._path(key)
        if os.path.isfile(path):
            return False
        with self._incoming() as file:
            self._copy(source, file, size, key)
            mode = files.shared_mode(os.path.dirname(file.path), 0o644)
            try:
                # Without sync: `flush` does it for all of them at once.
                file.commit(path, replace=False, mode=mode, sync=False, make_directory=True)
            except FileExistsError as error:
                if self.info(key) is None:
                    raise StorageUnavailableError(f"not a file: {path}") from error
                return False
            except OSError as error:
                raise self._fault(error) from error
        return True

    def replace(self, key: str, value: bytes) -> None:
        """See Storage."""
        self._check_writable()
        path = self._path(key)
        with self._incoming() as file:
            try:
                file.write(value)
                mode = files.shared_mode(os.path.dirname(file.path), 0o644)
                file.commit(path, mode=mode, sync=False, make_directory=True)
            except OSError as error:
                raise self._fault(error) from error

    def list(self, prefix: str) -> Iterator[Info]:
        """See Storage."""
        directory = prefix.rpartition("/")[0]
        try:
            found = sorted(self._values(checked(directory) if directory else ""))
        except OSError as error:
            raise self._fault(error) from error
        if not found:
            self._check_root()
        yield from (info for info in found if info.key.startswith(prefix))

    def delete(self, key: str) -> None:
        """See Storage."""
        self._check_writable()
        try:
            os.unlink(self._path(key))
        except (FileNotFoundError, NotADirectoryError):
            self._check_root()
        except OSError as error:
            raise self._fault(error) from error

    def flush(self) -> None:
        """See Storage: one sync of the whole file system is cheaper than one per file."""
        try:
            descriptor = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            # Nothing was ever put.
            return
        except OSError as error:
            raise self._fault(error) from error
        try:
            _sync_file_system(descriptor, self._root)
        except OSError as error:
            raise self._fault(error) from error
        finally:
            os.close(descriptor)

    def file(self, key: str) -> str | None:
        """See Storage."""
        path = self._path(key)
        return path if os.path.isfile(path) else None

    def url(self, key: str) -> str:
        """See Storage."""
        if self.location.url != self._root:
            return f"{self.location.url.rstrip('/')}/{checked(key)}"
        return os.path.abspath(self._path(key))

    def _path(self, key: str) -> str:
        return os.path.join(self._root, checked(key))

    def _check_root(self) -> None:
        """Tell a storage that is empty (and made by the first put) from one that is not there."""
        parent = os.path.dirname(os.path.abspath(self._root))
        can_be_made = os.path.isdir(parent) and not os.path.lexists(self._root)
        # Looked at last: another's first put may just have made it.
        if not (self.properties.writable and can_be_made) and not os.path.isdir(self._root):
            # A disk that is not mounted looks like this; do not fill the one below it.
            raise StorageNotFoundError(
                f"storage is not there: {self.location}",
                "mount or create it, or change its URL: git datareg storage list",
            )

    def _incoming(self) -> files.TemporaryFile:
        """A new file for a value that is to come."""
        directory = os.path.join(self._root, _INCOMING)
        try:
            if not self._is_tidy:
                self._make_directory(directory)
                with suppress(OSError):
                    files.remove_stale(directory, _PREFIX, _STALE_SECONDS)
                # Last: a thread that sees it counts on the directory.
                self._is_tidy = True
            return files.new_file(directory, _PREFIX, mode=0o666)
        except OSError as error:
            raise self._fault(error) from error

    def _make_directory(self, path: str) -> None:
        """Make a directory below the root, and the root; almost always it is there."""
        if not os.path.isdir(path):
            if not os.path.isdir(self._root):
                self._check_root()
            files.make_directories(path)

    def _values(self, directory: str) -> Iterator[Info]:
        """The values below a directory, in no order."""
        try:
            with os.scandir(os.path.join(self._root, directory)) as entries:
                for entry in entries:
                    key = f"{directory}/{entry.name}" if directory else entry.name
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir():
                        yield from self._values(key)
                    elif entry.is_file():
                        found = entry.stat()
                        yield Info(key, found.st_size, found.st_mtime)
        except (FileNotFoundError, NotADirectoryError):
            # Deleted since its parent was read.
            return

    def _copy(self, source: BinaryIO, file: files.TemporaryFile, size: int, key: str) -> None:
        left = size
        while left and (chunk := source.read(min(left, _CHUNK))):
            try:
                file.write(chunk)
            except OSError as error:
                raise self._fault(error) from error
            left -= len(chunk)
        if left or source.read(1):
            raise IntegrityError(f"not {size} bytes, as promised for {self.url(key)}")

    def _fault(self, error: OSError) -> StorageError:
        where = os.fsdecode(error.filename) if error.filename else str(self.location)
        message = f"{error.strerror or error}: {where}"
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return StorageDeniedError(message, "check the permissions of the storage")
        return StorageUnavailableError(message)


def _sync_file_system(descriptor: int, path: str) -> None:
    sync = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if sync is None:
        # Only Linux has it; sync(2) takes longer, and keeps its faults to itself.
        os.sync()
    elif sync(descriptor) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), path)


def _open_file(path: str, flags: int) -> int:
    # To open a FIFO would wait for a writer.
    descriptor = os.open(path, flags | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileNotFoundError(errno.ENOENT, "not a regular file", path)
    return descriptor
