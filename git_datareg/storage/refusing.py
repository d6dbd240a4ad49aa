"""A storage that is not asked: every request is the fault that keeps us from it.

So a place that must not be reached, or has no back end here, is told where it matters:
when no other storage has what is wanted.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, NoReturn

from git_datareg.errors import StorageError
from git_datareg.location import Location
from git_datareg.storage import Info, Properties


class RefusingStorage:
    """Raises the same fault for every request."""

    def __init__(self, location: Location, fault: StorageError) -> None:
        self.location = location
        self.properties = Properties(writable=False, connections=1, is_remote=False)
        self._fault = fault

    def info(self, key: str) -> Info | None:
        """See Storage."""
        self._refuse()

    def open(self, key: str, offset: int = 0, length: int | None = None) -> BinaryIO:
        """See Storage."""
        self._refuse()

    def put(self, key: str, source: BinaryIO, size: int) -> bool:
        """See Storage."""
        self._refuse()

    def list(self, prefix: str) -> Iterator[Info]:
        """See Storage."""
        self._refuse()

    def delete(self, key: str) -> None:
        """See Storage."""
        self._refuse()

    def flush(self) -> None:
        """See Storage."""
        self._refuse()

    def file(self, key: str) -> str | None:
        """See Storage: none."""
        return None

    def url(self, key: str) -> str:
        """See Storage."""
        self._refuse()

    def presign(self, key: str, seconds: int) -> str | None:
        """See Storage."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise self._fault
