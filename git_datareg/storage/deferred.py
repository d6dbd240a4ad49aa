"""A storage whose place is found out by its first request, since to ask for it costs one."""

from __future__ import annotations

import threading
from collections.abc import Callable

from git_datareg.errors import StorageError
from git_datareg.location import Location
from git_datareg.storage import Properties, Storage
from git_datareg.storage.wrapping import Wrapper


class DeferredStorage(Wrapper):
    """What `find` gives, once it is needed. `location` names the place until then.

    A StorageError of `find` is that of every request; it is called once.
    """

    properties = Properties(writable=False, connections=8)

    def __init__(self, location: Location, find: Callable[[], Storage]) -> None:
        super().__init__(self._found)
        self._location = location
        self._find = find
        self._lock = threading.Lock()
        self._storage: Storage | None = None
        self._fault: StorageError | None = None

    @property
    def location(self) -> Location:
        """See Storage."""
        return self._location if self._storage is None else self._storage.location

    def file(self, key: str) -> str | None:
        """See Storage: it is elsewhere."""
        return None

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
