"""A directory as storage: a path or `file://`.

A value is a file; a new one appears under its name by a link or a rename that
never replaces, so that a reader (or any static web server over the directory)
sees it whole or not at all.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator
from typing import BinaryIO

from git_datareg import files
from git_datareg.errors import (
    IntegrityError,
    ObjectNotFoundError,
    StorageDeniedError,
    StorageError,
    StorageNotFoundError,
    StorageReadOnlyError,
    StorageUnavailableError,
)
from git_datareg.location import Location
from git_datareg.storage import Info, Properties

_CHUNK = 1024 * 1024
_PREFIX = ".incoming-"
_STALE_SECONDS = 24 * 3600


class LocalStorage:
    """Values as files below one directory, which the first `put` makes in an existing one."""

    def __init__(self, location: Location, *, writable: bool = True) -> None:
        assert location.path is not None, "only paths and file:// come here"
        self.location = location
        self.properties = Properties(writable=writable, connections=8)
        self._root = location.path

    def info(self, key: str) -> Info | None:
        """See Storage."""
        try:
            return Info(key, os.stat(self._path(key)).st_size)
        except (FileNotFoundError, NotADirectoryError):
            self._check_root()
            return None
        except OSError as error:
            raise self._fault(error) from error

    def open(self, key: str, offset: int = 0) -> BinaryIO:
        """See Storage."""
        try:
            stream = open(self._path(key), "rb")  # noqa: SIM115 - the caller closes it
        except (FileNotFoundError, NotADirectoryError):
            self._check_root()
            raise ObjectNotFoundError(f"not in {self.location}: {key}") from None
        except OSError as error:
            raise self._fault(error) from error
        stream.seek(offset)
        return stream

    def put(self, key: str, source: BinaryIO, size: int) -> bool:
        """See Storage."""
        if not self.properties.writable:
            raise StorageReadOnlyError(f"storage is read-only: {self.location}")
        if self._has(key):
            return False
        target = self._path(key)
        try:
            self._check_root()
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with files.new_file(os.path.dirname(target), prefix=_PREFIX, mode=0o666) as file:
                self._copy(source, file, size, key)
                # Without sync: `flush` does it for all of them at once.
                file.commit(target, replace=False, sync=False)
        except FileExistsError:
            return False
        except OSError as error:
            if isinstance(error, StorageError):
                raise
            raise self._fault(error) from error
        return True

    def list(self, prefix: str) -> Iterator[Info]:
        """See Storage."""
        directory, _, _ = prefix.rpartition("/")
        try:
            keys = sorted(self._keys(directory))
        except FileNotFoundError:
            self._check_root()
            return
        except OSError as error:
            raise self._fault(error) from error
        for key in keys:
            if key.startswith(prefix) and (info := self.info(key)) is not None:
                yield info

    def delete(self, key: str) -> None:
        """See Storage."""
        if not self.properties.writable:
            raise StorageReadOnlyError(f"storage is read-only: {self.location}")
        try:
            os.unlink(self._path(key))
        except FileNotFoundError:
            pass
        except OSError as error:
            raise self._fault(error) from error

    def flush(self) -> None:
        """See Storage: one sync of the whole file system is cheaper than one per file."""
        descriptor = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            if ctypes.CDLL(None, use_errno=True).syncfs(descriptor) != 0:
                code = ctypes.get_errno()
                raise self._fault(OSError(code, os.strerror(code), self._root))
        finally:
            os.close(descriptor)

    def file(self, key: str) -> str | None:
        """See Storage."""
        path = self._path(key)
        return path if os.path.isfile(path) else None

    def url(self, key: str) -> str:
        """See Storage."""
        if "://" in self.location.url:
            return f"{self.location.url.rstrip('/')}/{key}"
        return os.path.join(os.path.abspath(self._root), key)

    def _path(self, key: str) -> str:
        return os.path.join(self._root, key)

    def _has(self, key: str) -> bool:
        return os.path.lexists(self._path(key))

    def _check_root(self) -> None:
        """Tell a storage that is empty (and made by the first put) from one that is not there."""
        if os.path.isdir(self._root):
            return
        parent = os.path.dirname(os.path.abspath(self._root))
        if not self.properties.writable or not os.path.isdir(parent):
            # A disk that is not mounted looks like this; do not fill the one below it.
            raise StorageNotFoundError(
                f"storage is not there: {self.location}",
                "mount or create it, or change its URL: git datareg storage list",
            )

    def _keys(self, directory: str) -> Iterator[str]:
        top = os.path.join(self._root, directory)
        for folder, _, names in os.walk(top, onerror=_raise):
            inner = os.path.relpath(folder, self._root)
            for name in names:
                if not name.startswith(_PREFIX):
                    yield name if inner == "." else f"{inner}/{name}"

    def _copy(self, source: BinaryIO, file: files.TemporaryFile, size: int, key: str) -> None:
        left = size
        while left and (chunk := source.read(min(left, _CHUNK))):
            file.write(chunk)
            left -= len(chunk)
        if left or source.read(1):
            raise IntegrityError(f"not {size} bytes, as promised for {self.url(key)}")

    def _fault(self, error: OSError) -> StorageError:
        where = os.fsdecode(error.filename) if error.filename else str(self.location)
        message = f"{error.strerror or error}: {where}"
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return StorageDeniedError(message, "check the permissions of the storage")
        return StorageUnavailableError(message)


def _raise(error: OSError) -> None:
    raise error
