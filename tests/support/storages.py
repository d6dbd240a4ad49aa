"""Storages for tests of what moves objects: in memory, noting what they are asked, and failing.

With objects to move, and their pointers.
"""

from __future__ import annotations

import io
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO, NamedTuple

from git_datareg.digest import digest_of
from git_datareg.downloads import Want
from git_datareg.layout import ObjectStorage, object_key
from git_datareg.location import Location
from git_datareg.pointer import Pointer
from git_datareg.storage import Info, Properties
from git_datareg.storage.memory import MemoryStorage


class Request(NamedTuple):
    """What a storage was asked; `offset` and `length` are those of `open`."""

    method: str
    key: str = ""
    offset: int = 0
    length: int | None = None


class Memory(MemoryStorage):
    """A storage that notes what it is asked, and fails where it is told to."""

    def __init__(
        self,
        name: str = "a",
        *,
        connections: int = 4,
        is_remote: bool = True,
        has_ranges: bool = True,
        splits_above: int | None = None,
        can_list: bool = True,
    ) -> None:
        super().__init__(Location(f"memory://{name}"))
        self.properties = Properties(
            True, connections, is_remote, has_ranges, splits_above, can_list
        )
        #: In the order in which they came.
        self.requests: list[Request] = []
        #: What `open` and `info` raise, by key.
        self.faults: dict[str, Exception] = {}
        #: Is called for each request before it is answered; may wait, or raise.
        self.on_request: Callable[[Request], object] = lambda request: None
        #: What a stream of `open` becomes.
        self.on_stream: Callable[[Request, bytes], BinaryIO] = lambda request, data: io.BytesIO(
            data
        )
        #: The threads that asked.
        self.threads: set[int] = set()

    def open(self, key: str, offset: int = 0, length: int | None = None) -> BinaryIO:
        """See Storage."""
        request = self._asked(Request("open", key, offset, length))
        with super().open(key, offset, length) as stream:
            return self.on_stream(request, stream.read())

    def info(self, key: str) -> Info | None:
        """See Storage."""
        self._asked(Request("info", key))
        return super().info(key)

    def put(self, key: str, source: BinaryIO, size: int) -> bool:
        """See Storage."""
        self._asked(Request("put", key))
        return super().put(key, source, size)

    def list(self, prefix: str) -> Iterator[Info]:
        """See Storage."""
        self._asked(Request("list", prefix))
        return super().list(prefix)

    def flush(self) -> None:
        """See Storage."""
        self._asked(Request("flush"))

    def _asked(self, request: Request) -> Request:
        self.requests.append(request)
        self.threads.add(threading.get_ident())
        self.on_request(request)
        if request.method in ("open", "info") and request.key in self.faults:
            raise self.faults[request.key]
        return request

    def count(self, method: str) -> int:
        """How many requests there were of that kind."""
        return sum(request.method == method for request in self.requests)

    def opened(self, pointer: Pointer) -> Sequence[tuple[int, int | None]]:
        """Offset and length of each request for an object's bytes."""
        key = object_key(pointer.digest)
        return [each[2:] for each in self.requests if each[:2] == ("open", key)]

    def holding(self, *contents: bytes) -> Memory:
        """Itself, with these objects."""
        for data in contents:
            self.lie(pointer_to(data), data)
        return self

    def lie(self, pointer: Pointer, data: bytes) -> None:
        """Have these bytes under an object's name."""
        self._values[object_key(pointer.digest)] = data

    def object(self, pointer: Pointer) -> bytes | None:
        """The bytes under an object's name."""
        return self._values.get(object_key(pointer.digest))


def pointer_to(data: bytes) -> Pointer:
    """The pointer to an object."""
    return Pointer(digest_of(data), len(data))


def noise(size: int, seed: object = "noise") -> bytes:
    """Bytes of which no two parts are the same; the same with each call."""
    return random.Random(repr(seed)).randbytes(size)


#: Small objects, and one that is not.
CONTENTS = [b"content %d" % number for number in range(20)]
POINTERS = [pointer_to(data) for data in CONTENTS]
LARGE = noise(3_000_000, "large")
LARGE_POINTER = pointer_to(LARGE)


def wants(*storages: Memory, pointers: Sequence[Pointer] = POINTERS) -> list[Want]:
    """A file for each of the objects, from these storages."""
    asked = [ObjectStorage(storage) for storage in storages]
    return [Want(pointer, b"f%d" % number, asked) for number, pointer in enumerate(pointers)]


def named(pointers: Sequence[Pointer]) -> list[tuple[Pointer, bytes]]:
    """The same files, for an upload."""
    return [(pointer, b"f%d" % number) for number, pointer in enumerate(pointers)]


class Progress:
    """An `Advance` that adds up."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.size = 0
        self.objects = 0
        #: The fewest and the most bytes that it ever showed.
        self.least = self.most = 0

    def __call__(self, size: int, objects: int) -> None:
        """See Advance."""
        with self._lock:
            self.size += size
            self.objects += objects
            self.least, self.most = min(self.least, self.size), max(self.most, self.size)
