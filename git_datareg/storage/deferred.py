"""A storage whose place is found out by its first request, since to ask for it costs one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import BinaryIO

from git_datareg.errors import StorageError
from git_datareg.location import Location
from git_datareg.storage import Info, Properties, Storage

_CONNECTIONS = 8


class DeferredStorage:
    """What `find` gives, once it is needed. `location` names the place until then.

    A StorageError of `find` is that of every request; it is called once.
    """

    def __init__(self, location: Location, find: Callable[[], Storage]) -> None:
        self.properties = Properties(writable=False, connections=_CONNECTIONS)
        self._location = location
        self._find = find
        self._lock = threading.Lock()
        self._storage: Storage | None = None
        self._fault: StorageError | None = None

    @property
    def location(self) -> Location:
        """See Storage."""
        return self._location if self._storage is None else self._storage.location

    def info(self, key: str) -> Info | None:
        """See Storage."""
        return self._found.info(key)

    def open(self, key: str, offset: int = 0, length: int | None = None) -> BinaryIO:
        """See Storage."""
        return self._found.open(key, offset, length)

    def put(self, key: str, source: BinaryIO, size: int) -> bool:
        """See Storage."""
        return self._found.put(key, source, size)

    def list(self, prefix: str) -> Iterator[Info]:
        """See Storage."""
        return self._found.list(prefix)

    def delete(self, key: str) -> None:
        """See Storage."""
        self._found.delete(key)

    def flush(self) -> None:
        """See Storage."""
        self._found.flush()

    def file(self, key: str) -> str | None:
        """See Storage: it is elsewhere."""
        return None

    def url(self, key: str) -> str:
        """See Storage."""
        return self._found.url(key)

    def presign(self, key: str, seconds: int) -> str | None:
        """See Storage."""
        return self._found.presign(key, seconds)

    @property
    def _found(self) -> Storage:
        with self._lock:
            if self._fault is not None:
                raise self._fault
            if self._storage is None:
                try:
                    self._storage = self._find()
                except StorageError as fault:
                    self._fault = fault
                    raise
            return self._storage
