"""A storage around another one: what a wrapper does not change, it hands on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import BinaryIO

from git_datareg.location import Location
from git_datareg.storage import Info, Properties, Storage


class Wrapper:
    """The same storage as `inner` gives, which is called for each request."""

    def __init__(self, inner: Callable[[], Storage]) -> None:
        self._inner = inner

    @property
    def location(self) -> Location:
        """See Storage."""
        return self._inner().location

    @property
    def properties(self) -> Properties:
        """See Storage."""
        return self._inner().properties

    def info(self, key: str) -> Info | None:
        """See Storage."""
        return self._inner().info(key)

    def open(self, key: str, offset: int = 0, length: int | None = None) -> BinaryIO:
        """See Storage."""
        return self._inner().open(key, offset, length)

    def put(self, key: str, source: BinaryIO, size: int) -> bool:
        """See Storage."""
        return self._inner().put(key, source, size)

    def replace(self, key: str, value: bytes) -> None:
        """See Storage."""
        self._inner().replace(key, value)

    def list(self, prefix: str) -> Iterator[Info]:
        """See Storage."""
        return self._inner().list(prefix)

    def delete(self, key: str) -> None:
        """See Storage."""
        self._inner().delete(key)

    def flush(self) -> None:
        """See Storage."""
        self._inner().flush()

    def file(self, key: str) -> str | None:
        """See Storage."""
        return self._inner().file(key)

    def url(self, key: str) -> str:
        """See Storage."""
        return self._inner().url(key)

    def presign(self, key: str, seconds: int) -> str | None:
        """See Storage."""
        return self._inner().presign(key, seconds)
