from __future__ import annotations

import io
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest

from git_datareg.digest import digest_of
from git_datareg.errors import (
    CorruptError,
    IntegrityError,
    ObjectNotFoundError,
    StorageNotFoundError,
    StorageUnavailableError,
)
from git_datareg.layout import (
    MARKER,
    MARKER_KEY,
    ObjectStorage,
    check_marker,
    not_found,
    object_key,
)
from git_datareg.location import Location
from git_datareg.objects import ObjectDirectory
from git_datareg.pointer import Pointer
from git_datareg.storage import Storage, open_storage
from git_datareg.storage.memory import MemoryStorage

DATA = b"content of an object"
POINTER = Pointer(digest_of(DATA), len(DATA))
KEY = object_key(POINTER.digest)


@pytest.fixture
def storage() -> Storage:
    return MemoryStorage(Location("memory://a"))


@pytest.fixture
def cache(tmp_path: Path) -> ObjectDirectory:
    return ObjectDirectory(str(tmp_path / "cache"))


def put(storage: Storage, key: str, value: bytes) -> None:
    assert storage.put(key, io.BytesIO(value), len(value))


def read(storage: Storage, key: str) -> bytes:
    with storage.open(key) as stream:
        return stream.read()


def stored_files(directory: ObjectDirectory) -> list[Path]:
    return [path for path in Path(directory.root).rglob("*") if path.is_file()]


def test_an_object_lies_under_its_digest() -> None:
    assert (
        object_key(POINTER.digest) == f"objects/{POINTER.digest.hex[:2]}/{POINTER.digest.hex[2:]}"
    )


def test_an_empty_place_gets_its_marker_once(storage: Storage) -> None:
    for _ in range(2):
        ObjectStorage(storage).prepare()
        assert read(storage, MARKER_KEY) == MARKER


BAD_MARKERS = {
    b'{"format": 2}': "format 2,",
    b'{"format": [1]}': r"format \[1\]",
    b'{"format": 1, "features": ["packs", "x"]}': r'\["packs", "x"\]',
    b'{"format": 1, "features": null}': "null",
    b"{}": "not the marker",
    b"null": "not the marker",
    b"": "not the marker",
    b"[" * 60_000: "not the marker",
    b'{"format": 1}' + b" " * 70_000 + b"x": "",
    b'{"x": "' + b"x" * 70_000 + b'", "format": 1}': "not the marker",
    b'{"format": ' + b"9" * 5000 + b"}": "not the marker",
}


@pytest.mark.parametrize("marker", list(BAD_MARKERS), ids=lambda marker: str(marker[:30]))
def test_a_storage_that_we_don_t_understand_is_neither_read_nor_written(
    storage: Storage, cache: ObjectDirectory, marker: bytes
) -> None:
    put(storage, KEY, DATA)
    put(storage, MARKER_KEY, marker)
    if not BAD_MARKERS[marker]:
        # What is behind the limit is not looked at.
        ObjectStorage(storage).prepare()
        return
    with pytest.raises(CorruptError, match=BAD_MARKERS[marker]) as writing:
        ObjectStorage(storage).prepare()
    with pytest.raises(CorruptError, match="memory://a"):
        ObjectStorage(storage).download(POINTER, cache)
    assert stored_files(cache) == []
    assert len(writing.value.message) < 200


@pytest.mark.parametrize("value", ['"' + "x" * 9999 + '"', "[" + "7," * 9999 + "7]"])
def test_what_a_marker_says_is_shown_in_short(value: str) -> None:
    for text in (f'{{"format": {value}}}', f'{{"format": 1, "features": {value}}}'):
        with pytest.raises(CorruptError) as caught:
            check_marker(text.encode(), "here")
        assert len(caught.value.message) < 200
        assert caught.value.hints == ("upgrade git-datareg",)


class Raced(MemoryStorage):
    """A storage into which another puts its marker just before ours."""

    def put(self, key: str, source: BinaryIO, size: int) -> bool:
        other = b'{"format": 2}\n'
        super().put(key, io.BytesIO(other), len(other))
        return super().put(key, source, size)


def test_a_later_format_that_wins_the_race_is_refused() -> None:
    with pytest.raises(CorruptError, match="format 2"):
        ObjectStorage(Raced(Location("memory://a"))).prepare()


def test_a_storage_without_a_marker_can_be_read(storage: Storage, cache: ObjectDirectory) -> None:
    put(storage, KEY, DATA)
    ObjectStorage(storage).download(POINTER, cache)
    assert cache.find(POINTER) is not None
    assert storage.info(MARKER_KEY) is None


def test_an_object_goes_up_and_comes_back(storage: Storage, cache: ObjectDirectory) -> None:
    there = ObjectStorage(storage)
    assert not there.has(POINTER)
    assert there.upload(POINTER, io.BytesIO(DATA)) is True
    assert there.upload(POINTER, io.BytesIO(DATA)) is False
    assert there.has(POINTER)
    there.download(POINTER, cache)
    assert Path(cache.path(POINTER.digest)).read_bytes() == DATA
    assert there.url(POINTER.digest) == f"memory://a/{KEY}"


@pytest.mark.parametrize(
    "data", [b"", DATA[:-1], DATA + b"x", DATA.upper(), DATA * 100_000], ids=lambda data: data[:30]
)
def test_what_is_not_the_object_is_not_kept(
    storage: Storage, cache: ObjectDirectory, data: bytes
) -> None:
    put(storage, KEY, data)
    with pytest.raises(IntegrityError, match=f"{POINTER.digest} in memory://a"):
        ObjectStorage(storage).download(POINTER, cache)
    assert stored_files(cache) == []


def test_no_more_than_the_promised_bytes_are_taken(cache: ObjectDirectory) -> None:
    class Endless(io.RawIOBase):
        taken = 0

        def read(self, size: int = -1) -> bytes:
            assert size > 0
            Endless.taken += size
            return b"x" * size

    class Lying(MemoryStorage):
        def open(self, key: str, offset: int = 0, length: int | None = None) -> BinaryIO:
            if key == MARKER_KEY:
                return super().open(key, offset)
            return cast(BinaryIO, Endless())

    with pytest.raises(IntegrityError):
        ObjectStorage(Lying(Location("memory://a"))).download(POINTER, cache)
    assert Endless.taken == POINTER.size + 1


def pieces(storage: Storage, offset: int, length: int, step: int = 6) -> list[bytes]:
    return list(ObjectStorage(storage).pieces(POINTER, offset, length, step))


def test_a_part_of_an_object_comes_in_pieces(storage: Storage) -> None:
    put(storage, KEY, DATA)
    assert pieces(storage, 0, len(DATA)) == [b"conten", b"t of a", b"n obje", b"ct"]
    assert pieces(storage, 3, 7) == [DATA[3:9], DATA[9:10]]
    assert pieces(storage, 3, 6) == [DATA[3:9]]
    assert pieces(storage, 3, 0) == []
    assert pieces(storage, 15, 10**6) == [DATA[15:]]


def test_pieces_are_full_also_from_a_storage_that_gives_less_at_a_time(storage: Storage) -> None:
    class Slow(io.BytesIO):
        def read(self, size: Any = -1) -> bytes:
            return super().read(min(size, 4))

    class Trickling(MemoryStorage):
        def open(self, key: str, offset: int = 0, length: int | None = None) -> BinaryIO:
            return Slow(super().open(key, offset, length).read())

    trickling = Trickling(Location("memory://a"))
    put(trickling, KEY, DATA)
    assert pieces(trickling, 0, len(DATA), 15) == [DATA[:15], DATA[15:]]


def test_only_the_part_is_asked_for_and_let_go_of_early() -> None:
    asked = []

    class Noting(MemoryStorage):
        def open(self, key: str, offset: int = 0, length: int | None = None) -> BinaryIO:
            stream = super().open(key, offset, length)
            asked.append((offset, length, stream))
            return stream

    place = Noting(Location("memory://a"))
    put(place, KEY, DATA)
    parts = ObjectStorage(place).pieces(POINTER, 3, 9, 4)
    assert asked == []
    assert next(parts) == DATA[3:7]
    [(offset, length, stream)] = asked
    assert (offset, length, stream.closed) == (3, 9, False)
    parts.close()
    assert stream.closed


def test_pieces_of_what_is_not_there_or_not_understood_are_a_fault(storage: Storage) -> None:
    with pytest.raises(ObjectNotFoundError):
        pieces(storage, 0, 5)
    put(storage, KEY, DATA)
    put(storage, MARKER_KEY, b'{"format": 2}')
    with pytest.raises(CorruptError, match="format 2"):
        pieces(storage, 0, 5)


def test_an_object_of_another_size_is_told_before_anything_is_moved(storage: Storage) -> None:
    put(storage, KEY, DATA[:-1])
    with pytest.raises(IntegrityError, match="19 bytes instead of 20") as caught:
        ObjectStorage(storage).has(POINTER)
    assert caught.value.hints


def test_a_missing_object_is_not_found(storage: Storage, cache: ObjectDirectory) -> None:
    with pytest.raises(ObjectNotFoundError):
        ObjectStorage(storage).download(POINTER, cache)


def test_a_storage_that_is_not_there_is_a_fault(tmp_path: Path, cache: ObjectDirectory) -> None:
    gone = ObjectStorage(open_storage(Location(str(tmp_path / "a/b"))))
    for use in (gone.prepare, lambda: gone.has(POINTER), lambda: gone.download(POINTER, cache)):
        with pytest.raises(StorageNotFoundError, match="a/b"):
            use()


@pytest.mark.parametrize("fault", [OSError(5, "Input/output error"), OSError("strange")])
def test_a_read_that_fails_is_laid_to_the_storage(cache: ObjectDirectory, fault: OSError) -> None:
    class Broken(io.BytesIO):
        def read(self, size: Any = -1) -> bytes:
            raise fault

    class Failing(MemoryStorage):
        def open(self, key: str, offset: int = 0, length: int | None = None) -> BinaryIO:
            return Broken()

    with pytest.raises(StorageUnavailableError, match="memory://a"):
        ObjectStorage(Failing(Location("memory://a"))).download(POINTER, cache)
    assert stored_files(cache) == []


def test_a_fault_of_ours_comes_through_a_read_as_it_is(cache: ObjectDirectory) -> None:
    class Broken(io.BytesIO):
        def read(self, size: Any = -1) -> bytes:
            raise ObjectNotFoundError("gone meanwhile")

    class Failing(MemoryStorage):
        def open(self, key: str, offset: int = 0, length: int | None = None) -> BinaryIO:
            return Broken() if key == KEY else super().open(key)

    with pytest.raises(ObjectNotFoundError, match="gone meanwhile"):
        ObjectStorage(Failing(Location("memory://a"))).download(POINTER, cache)


def test_what_is_nowhere_is_told_with_the_places_that_were_asked(storage: Storage) -> None:
    assert "memory://a" in not_found(POINTER, [ObjectStorage(storage)]).message
    assert "none is configured" in not_found(POINTER, []).message
