"""A storage in this process's memory: `memory://NAME`. The double for tests above it."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from typing import BinaryIO, ClassVar

from git_datareg.errors import IntegrityError, ObjectNotFoundError
from git_datareg.location import Location
from git_datareg.storage import Info, Properties, checked
from git_datareg.storage.place import Place


class MemoryStorage(Place):
    """Values in a dictionary, gone with the process."""

    #: The values of each name in use.
    _places: ClassVar[dict[str, dict[str, bytes]]] = {}
    _lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, location: Location, *, writable: bool = True) -> None:
        super().__init__(location, Properties(writable=writable, connections=4, is_remote=False))
        self._values: dict[str, bytes] = {}

    @classmethod
    def shared(cls, location: Location, *, writable: bool = True) -> MemoryStorage:
        """A storage with the values that all storages of that name in this process have."""
        storage = cls(location, writable=writable)
        storage._values = cls._places.setdefault(location.url, storage._values)
        return storage

    def info(self, key: str) -> Info | None:
        """See Storage."""
        value = self._values.get(checked(key))
        return None if value is None else Info(key, len(value))

    def open(self, key: str, offset: int = 0, length: int | None = None) -> BinaryIO:
        """See Storage."""
        value = self._values.get(checked(key))
        if value is None:
            raise ObjectNotFoundError(f"not in {self.location}: {key}")
        return io.BytesIO(value[offset : None if length is None else offset + length])

    def put(self, key: str, source: BinaryIO, size: int) -> bool:
        """See Storage."""
        self._check_writable()
        if checked(key) in self._values:
            return False
        value = bytearray()
        while len(value) <= size and (chunk := source.read(size + 1 - len(value))):
            value += chunk
        if len(value) != size:
            raise IntegrityError(f"not {size} bytes, as promised for {self.url(key)}")
        with self._lock:
            if key in self._values:
                return False
            self._values[key] = bytes(value)
        return True

    def replace(self, key: str, value: bytes) -> None:
        """See Storage."""
        self._check_writable()
        self._values[checked(key)] = value

    def list(self, prefix: str) -> Iterator[Info]:
        """See Storage."""
        for key, value in sorted(self._values.copy().items()):
            if key.startswith(prefix):
                yield Info(key, len(value))

    def delete(self, key: str) -> None:
        """See Storage."""
        self._check_writable()
        self._values.pop(checked(key), None)
