from __future__ import annotations

import io
from collections.abc import Iterator
from typing import BinaryIO

import pytest

from git_datareg.digest import digest_of
from git_datareg.downloads import Want
from git_datareg.errors import (
    CorruptError,
    IntegrityError,
    ObjectNotFoundError,
    StorageUnavailableError,
)
from git_datareg.layout import MARKER_KEY, ObjectStorage, object_key
from git_datareg.location import Location
from git_datareg.lookups import CORRUPT, MISSING, UNREADABLE, WRONG_SIZE, Flaw, sought
from git_datareg.pointer import Pointer
from git_datareg.storage import Info, Properties
from git_datareg.storage.memory import MemoryStorage

CONTENTS = [b"content %d" % number for number in range(300)]
POINTERS = [Pointer(digest_of(data), len(data)) for data in CONTENTS]
LARGE = bytes(range(256)) * 8192 + b"end"
LARGE_POINTER = Pointer(digest_of(LARGE), len(LARGE))


class Memory(MemoryStorage):
    """A storage that notes what it is asked, and fails where it is told to."""

    def __init__(self, name: str = "a", *, is_remote: bool = True) -> None:
        super().__init__(Location(f"memory://{name}"))
        self.properties = Properties(True, 4, is_remote)
        self.faults: dict[str, Exception] = {}
        self.asked: list[str] = []
        self.listed: list[str] = []
        self.opened: list[str] = []

    def info(self, key: str) -> Info | None:
        self.asked.append(key)
        self._fail(key)
        return super().info(key)

    def list(self, prefix: str) -> Iterator[Info]:
        self.listed.append(prefix)
        self._fail("list")
        return super().list(prefix)

    def open(self, key: str, offset: int = 0, length: int | None = None) -> BinaryIO:
        self.opened.append(key)
        self._fail(key)
        return super().open(key, offset, length)

    def _fail(self, key: str) -> None:
        if key in self.faults:
            raise self.faults[key]

    def holding(self, *contents: bytes) -> Memory:
        for data in contents:
            self.put(object_key(digest_of(data)), io.BytesIO(data), len(data))
        return self

    def lie(self, pointer: Pointer, data: bytes) -> None:
        self._values[object_key(pointer.digest)] = data


def wants(*storages: Memory, pointers: list[Pointer] = POINTERS) -> list[Want]:
    asked = [ObjectStorage(storage) for storage in storages]
    return [Want(pointer, b"f%d" % number, asked) for number, pointer in enumerate(pointers)]


def kinds(flaws: dict[Pointer, Flaw]) -> dict[Pointer, str]:
    return {pointer: flaw.kind for pointer, flaw in flaws.items()}


def test_what_is_there_has_no_flaw() -> None:
    storage = Memory().holding(*CONTENTS, LARGE)
    for reads in (False, True):
        asked = wants(storage, pointers=[*POINTERS, LARGE_POINTER])
        assert sought(asked, jobs=4, reads=reads) == {}
    assert sought([], jobs=4) == {}


@pytest.mark.parametrize("is_remote", [False, True])
@pytest.mark.parametrize("reads", [False, True])
def test_each_flaw_is_told_by_its_kind(is_remote: bool, reads: bool) -> None:
    storage = Memory(is_remote=is_remote).holding(*CONTENTS[4:])
    missing, short, long, other, broken = POINTERS[:5]
    storage.lie(short, CONTENTS[1][:-1])
    storage.lie(long, CONTENTS[2] + b"xy")
    storage.lie(other, CONTENTS[3][::-1])
    storage.faults[object_key(broken.digest)] = StorageUnavailableError("no")
    # Few of them: each is asked for by itself.
    flaws = sought(wants(storage, pointers=POINTERS[:8]), jobs=3, reads=reads)
    expected = {missing: MISSING, short: WRONG_SIZE, long: WRONG_SIZE, broken: UNREADABLE}
    is_read = reads or not is_remote
    assert kinds(flaws) == expected | ({other: CORRUPT} if is_read else {})
    size = len(CONTENTS[2])
    how = "more" if is_read else str(size + 2)
    message = f"corrupt object {long.digest} in memory://a: {how} bytes instead of {size}"
    assert flaws[long].error.message == message
    assert isinstance(flaws[long].error, IntegrityError)
    assert isinstance(flaws[missing].error, ObjectNotFoundError)
    assert isinstance(flaws[broken].error, StorageUnavailableError)


def test_many_are_found_by_listing() -> None:
    storage = Memory().holding(*CONTENTS[2:])
    storage.lie(POINTERS[1], b"x")
    flaws = sought(wants(storage), jobs=4)
    assert kinds(flaws) == {POINTERS[0]: MISSING, POINTERS[1]: WRONG_SIZE}
    assert storage.listed and storage.asked == []


def test_what_is_near_is_read() -> None:
    storage = Memory(is_remote=False).holding(*CONTENTS)
    assert sought(wants(storage), jobs=4) == {}
    assert storage.listed == storage.asked == []
    assert len(storage.opened) == len(CONTENTS) + 1


def test_what_is_to_be_read_is_not_asked_for_before() -> None:
    storage = Memory().holding(*CONTENTS)
    assert sought(wants(storage), jobs=4, reads=True) == {}
    assert storage.listed == storage.asked == []


def test_a_listing_that_fails_tells_nothing_of_any() -> None:
    storage = Memory().holding(*CONTENTS)
    storage.faults["list"] = StorageUnavailableError("no")
    flaws = sought(wants(storage), jobs=4)
    assert set(kinds(flaws).values()) == {UNREADABLE} and len(flaws) == len(POINTERS)


def test_a_storage_of_another_format_is_not_asked() -> None:
    storage = Memory().holding(*CONTENTS[:3])
    storage.put(MARKER_KEY, io.BytesIO(b'{"format": 2}'), 13)
    flaws = sought(wants(storage, pointers=POINTERS[:3]), jobs=4)
    assert set(kinds(flaws).values()) == {UNREADABLE}
    assert all(isinstance(flaw.error, CorruptError) for flaw in flaws.values())
    assert storage.asked == []


def test_one_storage_is_asked_after_the_other() -> None:
    first, second = Memory("a").holding(*CONTENTS[:2]), Memory("b").holding(*CONTENTS[1:4])
    flaws = sought(wants(first, second, pointers=POINTERS[:5]), jobs=4)
    assert kinds(flaws) == {POINTERS[4]: MISSING}
    assert sorted(second.asked) == sorted(object_key(each.digest) for each in POINTERS[2:5])
    message = f"object {POINTERS[4].digest} is not in memory://a, memory://b"
    assert flaws[POINTERS[4]].error.message == message


def test_the_worst_of_what_storages_have_is_told() -> None:
    storages = [Memory(name) for name in "abcd"]
    _, down, short, other = storages
    key = object_key(POINTERS[0].digest)
    down.faults[key] = StorageUnavailableError("no")
    short.lie(POINTERS[0], b"x")
    other.lie(POINTERS[0], CONTENTS[0][::-1])
    for count, kind in enumerate((MISSING, UNREADABLE, WRONG_SIZE, CORRUPT), 1):
        for order in (storages[:count], storages[:count][::-1]):
            asked = wants(*order, pointers=POINTERS[:1])
            assert kinds(sought(asked, jobs=2, reads=True)) == {POINTERS[0]: kind}
    whole = Memory("e").holding(*CONTENTS)
    assert sought(wants(*storages, whole, pointers=POINTERS[:1]), jobs=2, reads=True) == {}


def test_without_a_storage_an_object_is_missing() -> None:
    [flaw] = sought(wants(pointers=POINTERS[:1]), jobs=1).values()
    assert flaw.kind == MISSING
    assert "any storage: none is configured" in flaw.error.message


def test_storages_differ_from_object_to_object() -> None:
    first, second = Memory("a").holding(CONTENTS[0]), Memory("b").holding(CONTENTS[1])
    asked = [*wants(first, pointers=POINTERS[:1]), *wants(second, pointers=POINTERS[1:3])]
    assert kinds(sought(asked, jobs=2)) == {POINTERS[2]: MISSING}
    assert object_key(POINTERS[1].digest) not in first.asked


def test_what_is_read_is_in_pieces_and_counted() -> None:
    moved: list[tuple[int, int]] = []
    storage = Memory().holding(LARGE, CONTENTS[0])
    asked = wants(storage, pointers=[LARGE_POINTER, POINTERS[0]])
    sought(asked, jobs=1, reads=True, advance=lambda size, count: moved.append((size, count)))
    assert sum(size for size, _ in moved) == len(LARGE) + len(CONTENTS[0])
    assert sum(count for _, count in moved) == 2
    assert max(size for size, _ in moved) == 1024 * 1024


def test_a_stream_that_breaks_off_is_a_flaw() -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise ConnectionResetError(104, "reset")

    class Breaking(Memory):
        def open(self, key: str, offset: int = 0, length: int | None = None) -> BinaryIO:
            return super().open(key, offset, length) if key == MARKER_KEY else Broken()

    [flaw] = sought(wants(Breaking(), pointers=POINTERS[:1]), jobs=1, reads=True).values()
    assert (flaw.kind, flaw.error.message) == (UNREADABLE, "reset: memory://a")
