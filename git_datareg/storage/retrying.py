"""A storage that asks again when its place fails, and reads on where a stream broke off.

Only StorageUnavailableError is tried again: anything else would come out the same. Knows
no protocol; how long a server wants us to wait is in the fault (`retry_after`).
"""

from __future__ import annotations

import io
import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, TypeVar, cast

from git_datareg.errors import StorageUnavailableError
from git_datareg.location import Location
from git_datareg.storage import Info, Properties, Storage

#: How often one request is made at the most.
_ATTEMPTS = 6
#: Seconds to wait before the second attempt; twice as long before each later one.
_FIRST_WAIT = 0.25
_LONGEST_WAIT = 8.0
#: What a server may ask us to wait, seconds; who asks for more is not waited for.
_LONGEST_RETRY_AFTER = 60.0
#: For so many seconds a place that failed in all attempts is not asked again.
_GIVEN_UP = 15.0

_Result = TypeVar("_Result")


class Retrying:
    """The same storage, with patience.

    Waits grow, and differ by chance, so that many clients don't come back at once.
    When one request has failed in all its attempts and none has come through
    meanwhile, the place counts as down: for some seconds every request fails at
    once with that fault, or thousands of them would each wait in vain.
    """

    def __init__(
        self,
        storage: Storage,
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._storage = storage
        self._sleep = sleep
        self._clock = clock
        self._lock = threading.Lock()
        #: How many requests have come through.
        self._successes = 0
        self._fault: StorageUnavailableError | None = None
        self._down_until = 0.0

    @property
    def location(self) -> Location:
        """See Storage."""
        return self._storage.location

    @property
    def properties(self) -> Properties:
        """See Storage."""
        return self._storage.properties

    def info(self, key: str) -> Info | None:
        """See Storage."""
        return self._again(lambda: self._storage.info(key))

    def open(self, key: str, offset: int = 0, length: int | None = None) -> BinaryIO:
        """See Storage; with `length` a stream that breaks off goes on with another request."""
        stream = self._again(lambda: self._storage.open(key, offset, length))
        if length is None:
            return stream
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

    def list(self, prefix: str) -> Iterator[Info]:
        """See Storage; a listing that breaks off goes on behind the last key."""
        last, attempt = "", 0
        while True:
            try:
                for info in self._storage.list(prefix):
                    if info.key > last:
                        yield info
                        last, attempt = info.key, 0
                return
            except StorageUnavailableError as fault:
                attempt += 1
                if attempt == _ATTEMPTS or not _is_worth_waiting(fault):
                    raise
                self._sleep(_wait(attempt, fault))

    def delete(self, key: str) -> None:
        """See Storage."""
        self._again(lambda: self._storage.delete(key))

    def flush(self) -> None:
        """See Storage."""
        self._again(self._storage.flush)

    def file(self, key: str) -> str | None:
        """See Storage."""
        return self._storage.file(key)

    def url(self, key: str) -> str:
        """See Storage."""
        return self._storage.url(key)

    def presign(self, key: str, seconds: int) -> str | None:
        """See Storage."""
        return self._storage.presign(key, seconds)

    def _again(
        self, request: Callable[[], _Result], fault: StorageUnavailableError | None = None
    ) -> _Result:
        """The result of a request that may have to be made several times.

        With `fault` the first attempt has been made, and has failed so.
        """
        self._check_up()
        before, attempt = self._successes, 0
        while True:
            if fault is None:
                try:
                    result = request()
                except StorageUnavailableError as error:
                    fault = error
                else:
                    self._succeeded()
                    return result
            attempt += 1
            if attempt == _ATTEMPTS or not _is_worth_waiting(fault):
                if self._successes == before:
                    self._give_up(fault)
                raise fault
            self._sleep(_wait(attempt, fault))
            self._check_up()
            fault = None

    def _succeeded(self) -> None:
        with self._lock:
            self._successes += 1
            self._fault = None

    def _give_up(self, fault: StorageUnavailableError) -> None:
        with self._lock:
            self._fault = fault
            self._down_until = self._clock() + _GIVEN_UP

    def _check_up(self) -> None:
        with self._lock:
            if self._fault is not None and self._clock() < self._down_until:
                raise self._fault


def _is_worth_waiting(fault: StorageUnavailableError) -> bool:
    return fault.retry_after is None or fault.retry_after <= _LONGEST_RETRY_AFTER


def _wait(attempt: int, fault: StorageUnavailableError) -> float:
    longest: float = min(_FIRST_WAIT * 2.0 ** (attempt - 1), _LONGEST_WAIT)
    wait = longest * (0.5 + random.random() / 2)
    return max(wait, fault.retry_after or 0.0)


class _Resumed(io.RawIOBase):
    """`length` bytes of a value; a stream that breaks off or ends before is asked for again."""

    def __init__(
        self, storage: Retrying, key: str, offset: int, length: int, stream: BinaryIO
    ) -> None:
        self._storage = storage
        self._key = key
        self._next = offset
        self._end = offset + length
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")[: self._end - self._next]
        if not view:
            return 0
        data = self._read(len(view))
        view[: len(data)] = data
        self._next += len(data)
        return len(data)

    def _read(self, size: int) -> bytes:
        try:
            return self._stream.read(size)
        except StorageUnavailableError as error:
            fault = error
        return self._storage._again(lambda: self._reopened(size), fault)

    def _reopened(self, size: int) -> bytes:
        self._stream.close()
        self._stream = self._storage._storage.open(self._key, self._next, self._end - self._next)
        return self._stream.read(size)

    def close(self) -> None:
        self._stream.close()
        super().close()
