"""A storage that tells what it is asked and how long that takes, for `GIT_DATAREG_TRACE`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

from git_datareg.storage import Info, Storage
from git_datareg.storage.wrapping import Wrapper

_listener: Callable[[str], None] | None = None


def listen(listener: Callable[[str], None] | None) -> None:
    """Have every storage that is opened from now on tell this listener, a line each time."""
    global _listener
    _listener = listener


def is_on() -> bool:
    """Whether anybody listens."""
    return _listener is not None


class Tracing(Wrapper):
    """The same storage; a line goes to the listener when a request is over."""

    def __init__(self, storage: Storage) -> None:
        super().__init__(lambda: storage)

    def info(self, key: str) -> Info | None:
        """See Storage."""
        with self._told(f"info {key}"):
            return super().info(key)

    def open(self, key: str, offset: int = 0, length: int | None = None) -> BinaryIO:
        """See Storage; what is told is the time to the first byte."""
        part = f" {offset}+{'' if length is None else length}" if offset or length else ""
        with self._told(f"open {key}{part}"):
            return super().open(key, offset, length)

    def put(self, key: str, source: BinaryIO, size: int) -> bool:
        """See Storage."""
        with self._told(f"put {key} ({size} bytes)"):
            return super().put(key, source, size)

    def replace(self, key: str, value: bytes) -> None:
        """See Storage."""
        with self._told(f"replace {key} ({len(value)} bytes)"):
            super().replace(key, value)

    def list(self, prefix: str) -> Iterator[Info]:
        """See Storage."""
        with self._told(f"list {prefix}"):
            yield from super().list(prefix)

    def delete(self, key: str) -> None:
        """See Storage."""
        with self._told(f"delete {key}"):
            super().delete(key)

    def flush(self) -> None:
        """See Storage."""
        with self._told("flush"):
            super().flush()

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        start, outcome = time.monotonic(), "done"
        try:
            yield
        except GeneratorExit:
            # Whoever read a list has had enough.
            raise
        except BaseException as error:
            outcome = type(error).__name__
            raise
        finally:
            if _listener is not None:
                took = time.monotonic() - start
                _listener(f"{self.location}: {what}: {outcome} after {took:.3f} s")
