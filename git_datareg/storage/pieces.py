"""Values in pieces, as back ends take and give them."""

from __future__ import annotations

import io
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, BinaryIO

from git_datareg.errors import IntegrityError

_PIECE = 1024 * 1024
_FIRST_BLOCK = 1024 * 1024
_LARGEST_BLOCK = 8 * 1024 * 1024


class Pieces(io.RawIOBase):
    """A stream of pieces that come one after the other."""

    def __init__(self) -> None:
        self._data = memoryview(b"")

    @abstractmethod
    def _fetched(self) -> bytes:
        """The next piece; an empty one at the end."""

    def readable(self) -> bool:
        """See io.RawIOBase."""
        return True

    def readinto(self, buffer: Any) -> int:
        """See io.RawIOBase. As with a file, it is less than asked for only at the end."""
        view = memoryview(buffer).cast("B")
        done = 0
        while done < len(view):
            if not self._data:
                self._data = memoryview(self._fetched())
                if not self._data:
                    break
            size = min(len(view) - done, len(self._data))
            view[done : done + size] = self._data[:size]
            self._data = self._data[size:]
            done += size
        return done


class Blocks(Pieces):
    """The bytes from `start` to `end`, fetched in blocks that grow: from each to where it ends."""

    def __init__(self, fetch: Callable[[int, int], bytes], start: int, end: int) -> None:
        super().__init__()
        self._fetch = fetch
        self._next, self._end = start, end
        self._size = _FIRST_BLOCK

    def _fetched(self) -> bytes:
        stop = min(self._end, self._next + self._size)
        data = self._fetch(self._next, stop) if stop > self._next else b""
        self._next += len(data)
        self._size = min(2 * self._size, _LARGEST_BLOCK)
        return data


class Passing(Exception):
    """Carries what a source raises through what would make something else of it."""

    def __init__(self, fault: Exception) -> None:
        super().__init__()
        self.fault = fault


class Source:
    """The bytes of a value that is put. What is wrong with them is raised as Passing."""

    def __init__(self, stream: BinaryIO, size: int, name: str) -> None:
        self._stream = stream
        self._name = name
        self.size = size

    def all(self) -> bytes:
        """All of them."""
        found = io.BytesIO()
        self.copy(found)
        return found.getvalue()

    def copy(self, file: Any) -> None:
        """Write them to a file; that there are as many as promised shows at the end."""
        left = self.size
        while left and (data := self._read(min(left, _PIECE))):
            file.write(data)
            left -= len(data)
        if left or self._read(1):
            raise Passing(IntegrityError(f"not {self.size} bytes, as promised for {self._name}"))

    def _read(self, size: int) -> bytes:
        try:
            return self._stream.read(size)
        except Exception as error:
            raise Passing(error) from error
