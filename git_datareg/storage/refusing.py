"""A storage that is not asked: every request is the fault that keeps us from it.

So a place that must not be reached, or has no back end here, is told where it matters:
when no other storage has what is wanted.
"""

from __future__ import annotations

from typing import NoReturn

from git_datareg.errors import StorageError
from git_datareg.location import Location
from git_datareg.storage import Properties
from git_datareg.storage.wrapping import Wrapper


class RefusingStorage(Wrapper):
    """Raises the same fault for every request."""

    properties = Properties(writable=False, connections=1, is_remote=False)

    def __init__(self, location: Location, fault: StorageError) -> None:
        super().__init__(self._refuse)
        self._location = location
        self._fault = fault

    @property
    def location(self) -> Location:
        """See Storage."""
        return self._location

    def file(self, key: str) -> str | None:
        """See Storage: none."""
        return None

    def _refuse(self) -> NoReturn:
        raise self._fault
