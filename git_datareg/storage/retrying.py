"""A storage that asks again when its place fails, and reads on where a stream broke off.

Only StorageUnavailableError is tried again: anything else would come out the same. Knows
no protocol; how long a server wants us to wait is in the fault (`retry_after`).
"""

from __future__ import annotations

import io
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from copy import copy
from typing import BinaryIO, TypeVar, cast

from git_datareg.errors import StorageUnavailableError
from git_datareg.storage import Info, Storage
from git_datareg.storage.wrapping import Wrapper

#: How often one request is made at the most.
_ATTEMPTS = 6
#: Seconds to wait before the second attempt; twice as long before each later one.
_FIRST_WAIT = 0.25
_LONGEST_WAIT = 8.0
#: What a server may ask us to wait, seconds; who asks for more is not waited for.
_LONGEST_RETRY_AFTER = 60.0
#: For so many seconds a place that is down is not asked again.
_GIVEN_UP = 15.0
#: A place is down when so many requests in a row have failed for good: one may have the fault.
_MOST_FAILED = 2
#: What is read of a stream at once: no more of it comes again when it breaks off.
_CHUNK = 1024 * 1024

_Result = TypeVar("_Result")


class Retrying(Wrapper):
    """The same storage, with patience.

    Waits grow, and differ by chance, so that many clients don't come back at once.
    When two requests have failed in all their attempts, and none has come through
    in between, the place counts as down: for some seconds every request fails at
    once with that fault, or thousands of them would each wait in vain.
    """

    def __init__(
        self,
        storage: Storage,
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(lambda: storage)
        self._storage = storage
        self._sleep = sleep
        self._clock = clock
        self._lock = threading.Lock()
        #: How many requests have failed for good since the last one that came through.
        self._failed = 0
        self._fault: StorageUnavailableError | None = None
        self._down_until = 0.0

    def info(self, key: str) -> Info | None:
        """See Storage."""
        return self._again(lambda: self._storage.info(key))

    def open(self, key: str, offset: int = 0, length: int | None = None) -> BinaryIO:
        """See Storage; a stream that breaks off goes on with another request.

        With `length` so does one that ends early, unless it was asked for in vain.
        """
        stream = self._again(lambda: self._storage.open(key, offset, length))
        return cast(BinaryIO, _Resumed(self, key, offset, length, stream))

    def put(self, key: str, source: BinaryIO, size: int) -> bool:
        """See Storage; a source that can't be rewound has one attempt.

        False may mean that an attempt of ours had succeeded and its reply was lost.
        """
        if not source.seekable():
            return self._storage.put(key, source, size)
        start = source.tell()

        def attempt() -> bool:
            source.seek(start)
            return self._storage.put(key, source, size)

        return self._again(attempt)

    def replace(self, key: str, value: bytes) -> None:
        """See Storage."""
        self._again(lambda: self._storage.replace(key, value))

    def list(self, prefix: str) -> Iterator[Info]:
        """See Storage; a listing that breaks off goes on behind the last key."""
        last, attempt = "", 0
        self._check_up()
        while True:
            try:
                for info in self._storage.list(prefix):
                    if info.key > last:
                        last, attempt = info.key, 0
                        yield info
            except StorageUnavailableError as fault:
                attempt += 1
                self._wait(attempt, fault)
            else:
                self._has_come_through()
                return

    def delete(self, key: str) -> None:
        """See Storage."""
        self._again(lambda: self._storage.delete(key))

    def flush(self) -> None:
        """See Storage."""
        self._again(self._storage.flush)

    def _again(
        self, request: Callable[[], _Result], fault: StorageUnavailableError | None = None
    ) -> _Result:
        """The result of a request that may have to be made several times.

        With `fault` the first attempt has been made, and has failed so.
        """
        self._check_up()
        attempt = 0
        while True:
            if fault is None:
                try:
                    result = request()
                except StorageUnavailableError as error:
                    fault = error
                else:
                    self._has_come_through()
                    return result
            attempt += 1
            self._wait(attempt, fault)
            fault = None

    def _wait(self, attempt: int, fault: StorageUnavailableError) -> None:
        """Wait for the next attempt, after so many; raises the fault when there is none."""
        asked = fault.retry_after or 0.0
        if attempt == _ATTEMPTS or asked > _LONGEST_RETRY_AFTER:
            self._has_failed(fault)
            raise fault
        longest: float = min(_FIRST_WAIT * 2.0 ** (attempt - 1), _LONGEST_WAIT)
        self._sleep(asked + longest * (0.5 + random.random() / 2))
        self._check_up()

    def _has_come_through(self) -> None:
        with self._lock:
            self._failed = 0
            self._fault = None

    def _has_failed(self, fault: StorageUnavailableError) -> None:
        with self._lock:
            self._failed += 1
            if self._failed >= _MOST_FAILED:
                self._fault = fault
                self._down_until = self._clock() + _GIVEN_UP

    def _check_up(self) -> None:
        with self._lock:
            fault = self._fault if self._clock() < self._down_until else None
        if fault is not None:
            # Not itself: with each thread that raises it, it would hold more frames.
            raise copy(fault)


class _Resumed(io.BufferedIOBase):
    """A value's bytes; a stream that breaks off, or ends early, is asked for again."""

    def __init__(
        self, storage: Retrying, key: str, offset: int, length: int | None, stream: BinaryIO
    ) -> None:
        self._storage = storage
        self._key = key
        self._next = offset
        self._end = None if length is None else offset + length
        self._stream = stream
        #: How often it may end early, and where it did last.
        self._ends_left = _ATTEMPTS
        self._ended_at = -1

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> bytes:
        found: list[bytes] = []
        left = self._left(size)
        while left and (piece := self._piece(min(left, _CHUNK))):
            found.append(piece)
            left -= len(piece)
        return found[0] if len(found) == 1 else b"".join(found)

    def read1(self, size: int = -1) -> bytes:
        return self._piece(min(self._left(size), _CHUNK))

    def close(self) -> None:
        self._stream.close()
        super().close()

    def _left(self, size: int | None) -> int:
        """How many bytes may still come of so many that are wanted."""
        wanted = sys.maxsize if size is None or size < 0 else size
        return wanted if self._end is None else min(wanted, self._end - self._next)

    def _piece(self, size: int) -> bytes:
        """Some bytes, at most so many; none only at the end."""
        try:
            piece = self._stream.read(size)
        except StorageUnavailableError as error:
            fault = error
            piece = self._storage._again(lambda: self._reopened(size), fault)
        if not piece and size and self._may_go_on():
            piece = self._storage._again(lambda: self._reopened(size))
        self._next += len(piece)
        return piece

    def _may_go_on(self) -> bool:
        """Whether a stream that has ended here did so early, and asking again may help."""
        if self._end is None or self._ended_at == self._next or not self._ends_left:
            return False
        self._ended_at = self._next
        self._ends_left -= 1
        return True

    def _reopened(self, size: int) -> bytes:
        self._stream.close()
        length = None if self._end is None else self._end - self._next
        self._stream = self._storage._storage.open(self._key, self._next, length)
        return self._stream.read(size)
