"""A storage in this process's memory: `memory://NAME`. The double for tests above it."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from typing import BinaryIO, ClassVar

from git_datareg.errors import IntegrityError, ObjectNotFoundError
from git_datareg.location import Location
from git_datareg.storage import Info, Properties


class MemoryStorage:
    """Values in a dictionary, gone with the process."""

    _shared: ClassVar[dict[str, MemoryStorage]] = {}

    def __init__(self, location: Location) -> None:
        self.location = location
        self.properties = Properties(writable=True, connections=4)
        self._values: dict[str, bytes] = {}
        self._lock = threading.Lock()

    @classmethod
    def shared(cls, location: Location) -> MemoryStorage:
        """The one storage of that name in this process."""
        return cls._shared.setdefault(location.url, cls(location))

    def info(self, key: str) -> Info | None:
        """See Storage."""
        value = self._values.get(key)
        return None if value is None else Info(key, len(value))

    def open(self, key: str, offset: int = 0) -> BinaryIO:
        """See Storage."""
        if key not in self._values:
            raise ObjectNotFoundError(f"not in {self.location}: {key}")
        return io.BytesIO(self._values[key][offset:])

    def put(self, key: str, source: BinaryIO, size: int) -> bool:
        """See Storage."""
        value = source.read()
        if len(value) != size:
            raise IntegrityError(f"{len(value)} bytes instead of {size} for {self.url(key)}")
        with self._lock:
            return self._values.setdefault(key, value) is value

    def list(self, prefix: str) -> Iterator[Info]:
        """See Storage."""
        for key in sorted(self._values):
            if key.startswith(prefix):
                yield Info(key, len(self._values[key]))

    def delete(self, key: str) -> None:
        """See Storage."""
        self._values.pop(key, None)

    def flush(self) -> None:
        """See Storage: memory survives nothing, so there is nothing to do."""

    def file(self, key: str) -> str | None:
        """See Storage: never a file."""
        return None

    def url(self, key: str) -> str:
        """See Storage."""
        return f"{self.location.url}/{key}"
