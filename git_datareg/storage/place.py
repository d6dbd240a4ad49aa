"""What most storages have in common: the members that their place gives no other answer to."""

from __future__ import annotations

import io
from typing import cast

from git_datareg.errors import StorageReadOnlyError
from git_datareg.location import Location
from git_datareg.storage import Properties, Storage, checked

#: How often others may be quicker; then a value of theirs is as good.
_REPLACEMENTS = 3


class Place:
    """A place of values: it has no files on this machine, and nothing to sync or to sign."""

    def __init__(self, location: Location, properties: Properties) -> None:
        self.location = location
        self.properties = properties

    def flush(self) -> None:
        """See Storage: what was acknowledged is as safe as the place makes it."""

    def file(self, key: str) -> str | None:
        """See Storage: never a file."""
        checked(key)
        return None

    def replace(self, key: str, value: bytes) -> None:
        """See Storage: for places that have no way to do it in one step."""
        storage = cast(Storage, self)
        for _ in range(_REPLACEMENTS):
            storage.delete(key)
            if storage.put(key, io.BytesIO(value), len(value)):
                return

    def url(self, key: str) -> str:
        """See Storage."""
        return f"{self.location.url.rstrip('/')}/{checked(key)}"

    def presign(self, key: str, seconds: int) -> str | None:
        """See Storage: there is no such URL."""
        checked(key)
        return None

    def _check_writable(self, *hints: str) -> None:
        if not self.properties.writable:
            raise StorageReadOnlyError(f"storage is read-only: {self.location}", *hints)
