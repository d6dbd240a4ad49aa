from __future__ import annotations

import gc
import io
import os
import random
import signal
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from git_datareg import streaming
from git_datareg.digest import digest_of
from git_datareg.downloads import Want
from git_datareg.errors import (
    IntegrityError,
    ObjectNotFoundError,
    StorageDeniedError,
    StorageUnavailableError,
)
from git_datareg.layout import ObjectStorage, object_key
from git_datareg.location import Location
from git_datareg.objects import LocalObjects, ObjectDirectory
from git_datareg.pointer import Pointer
from git_datareg.storage.memory import MemoryStorage
from git_datareg.streaming import Reader, open_file, open_local, open_stored

#: Blocks are small here, so that a large object is one of a few kilobytes.
BLOCK = 100
DATA = random.Random("streaming").randbytes(20 * BLOCK + 7)
POINTER = Pointer(digest_of(DATA), len(DATA))
KEY = object_key(POINTER.digest)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "BLOCK", BLOCK)
    monkeypatch.setattr(streaming, "SMALL", 2 * BLOCK)
    monkeypatch.setattr(streaming, "_BUFFER", 10)


@pytest.fixture
def cache(tmp_path: Path) -> ObjectDirectory:
    return ObjectDirectory(str(tmp_path / "cache"))


class Place(MemoryStorage):
    """A storage that notes what of an object it is asked for, and may fail."""

    def __init__(self, data: bytes | None = DATA, name: str = "a", key: str = KEY) -> None:
        super().__init__(Location(f"memory://{name}"))
        if data is not None:
            self.put(key, io.BytesIO(data), len(data))
        #: Offset and length of each request.
        self.asked: list[tuple[int, int | None]] = []
        #: Where streams break, and what they break with; None ends them.
        self.breaks_at: int | None = None
        self.fault: OSError | None = OSError(5, "Input/output error")
        #: How often they do.
        self.breaks = 10**9

    def open(self, key: str, offset: int = 0, length: int | None = None) -> BinaryIO:
        stream = super().open(key, offset, length)
        self.asked.append((offset, length))
        at = self.breaks_at
        end = offset + (len(DATA) if length is None else length)
        if at is None or not self.breaks or not offset <= at < end:
            return stream
        self.breaks -= 1
        return Breaking(stream.read(at - offset), self.fault)  # type: ignore[return-value]


class Breaking(io.RawIOBase):
    def __init__(self, data: bytes, fault: OSError | None) -> None:
        self._data = io.BytesIO(data)
        self._fault = fault

    def read(self, size: int = -1) -> bytes:
        data = self._data.read(size)
        if not data and self._fault is not None:
            raise self._fault
        return data


def want(*places: MemoryStorage, pointer: Pointer = POINTER) -> Want:
    return Want(pointer, b"file", [ObjectStorage(place) for place in places])


def files_in(cache: ObjectDirectory) -> list[Path]:
    return [path for path in Path(cache.root).rglob("*") if path.is_file()]


def damaged(position: int) -> bytes:
    return DATA[:position] + bytes([DATA[position] ^ 1]) + DATA[position + 1 :]


# What is read


def test_a_large_object_is_read_from_the_start_and_then_cached(cache: ObjectDirectory) -> None:
    place = Place()
    with open_stored(want(place), cache) as stream:
        assert stream.read() == DATA
        assert stream.read() == b""
    assert Path(cache.path(POINTER.digest)).read_bytes() == DATA
    assert files_in(cache) == [Path(cache.path(POINTER.digest))]
    assert os.stat(cache.path(POINTER.digest)).st_mode & 0o777 == 0o444


def test_a_small_object_is_here_and_verified_before_its_first_byte(cache: ObjectDirectory) -> None:
    small = DATA[: 2 * BLOCK]
    pointer = Pointer(digest_of(small), len(small))
    place = Place(small, key=object_key(pointer.digest))
    with open_stored(want(place, pointer=pointer), cache) as stream:
        assert cache.find(pointer) is not None
        assert stream.read() == small
    wrong = Place(small[::-1], key=object_key(pointer.digest))
    with pytest.raises(IntegrityError, match="memory://a"):
        open_stored(want(wrong, pointer=pointer), ObjectDirectory(cache.root + "2"))


def test_any_object_is_here_and_verified_if_all_of_it_is_asked_for(cache: ObjectDirectory) -> None:
    with open_stored(want(Place()), cache, whole=True) as stream:
        assert cache.find(POINTER) is not None
        assert stream.read() == DATA
    with pytest.raises(IntegrityError):
        open_stored(want(Place(damaged(5))), ObjectDirectory(cache.root + "2"), whole=True)


def test_only_what_is_read_is_asked_for_and_only_once(cache: ObjectDirectory) -> None:
    place = Place()
    with open_stored(want(place), cache) as stream:
        for _ in range(3):
            stream.seek(-4, os.SEEK_END)
            assert stream.read(4) == DATA[-4:]
            stream.seek(5 * BLOCK + 50)
            assert stream.read(2 * BLOCK) == DATA[5 * BLOCK + 50 :][: 2 * BLOCK]
    asked = [each for each in place.asked if each[1] is not None]
    assert asked == [(20 * BLOCK, 7), (5 * BLOCK, 3 * BLOCK)]
    assert files_in(cache) == []


def test_a_short_read_asks_for_one_block_though_a_buffer_is_filled(cache: ObjectDirectory) -> None:
    place = Place()
    with open_stored(want(place), cache) as stream:
        stream.seek(6 * BLOCK - 3)
        assert stream.read(3) == DATA[6 * BLOCK - 3 :][:3]
    assert place.asked[-1] == (5 * BLOCK, BLOCK)


def test_who_reads_on_has_more_asked_for_with_each_request(cache: ObjectDirectory) -> None:
    place = Place()
    with open_stored(want(place), cache) as stream:
        while stream.read(5):
            pass
    asked = [each for each in place.asked if each[1] is not None]
    assert asked == [(0, 200), (200, 400), (600, 800), (1400, 607)]


def test_a_request_is_never_for_more_than_a_limit(
    cache: ObjectDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "_MOST_AHEAD", 4)
    place = Place()
    with open_stored(want(place), cache) as stream:
        while stream.read(5):
            pass
    assert max(length for _, length in place.asked if length is not None) == 4 * BLOCK


def test_what_is_here_is_not_asked_for_when_reading_comes_to_it(cache: ObjectDirectory) -> None:
    place = Place()
    with open_stored(want(place), cache) as stream:
        stream.seek(3 * BLOCK)
        stream.read(1)
        stream.seek(0)
        assert stream.read() == DATA
    asked = [(offset, offset + length) for offset, length in place.asked if length is not None]
    assert asked[0] == (300, 400)
    assert sum(end - start for start, end in asked) == len(DATA)
    assert cache.find(POINTER) is not None


def test_read_in_any_order_the_object_is_verified_and_cached_when_whole(
    cache: ObjectDirectory,
) -> None:
    order = random.Random(1).sample(range(21), 21)
    with open_stored(want(Place()), cache) as stream:
        for number in order:
            assert cache.find(POINTER) is None
            stream.seek(number * BLOCK)
            assert stream.read(1) == DATA[number * BLOCK :][:1]
        assert cache.find(POINTER) is not None
        stream.seek(0)
        assert stream.read() == DATA


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["read", "seek", "end", "on", "line", "into"]),
            st.integers(-3, len(DATA) + 50),
        ),
        max_size=12,
    )
)
def test_it_reads_as_a_file_does(cache: ObjectDirectory, steps: list[tuple[str, int]]) -> None:
    model = io.BytesIO(DATA)

    def step(stream: Any, what: str, number: int) -> object:
        if what == "seek":
            return stream.seek(max(0, number))
        if what == "end":
            return stream.seek(-min(len(DATA), max(0, number)), os.SEEK_END)
        if what == "on":
            return stream.seek(min(9, max(0, number)), os.SEEK_CUR)
        if what == "line":
            return stream.readline()
        if what == "into":
            buffer = bytearray(max(0, number) % 300)
            return stream.readinto(buffer), bytes(buffer)
        return stream.read(max(-1, number))

    with open_stored(want(Place()), ObjectDirectory(f"{cache.root}-x")) as stream:
        for what, number in steps:
            assert step(stream, what, number) == step(model, what, number)
            assert stream.tell() == model.tell()


def test_a_stream_is_what_python_wants_of_one(cache: ObjectDirectory) -> None:
    stream = open_stored(want(Place()), cache)
    assert stream.readable() and stream.seekable() and not stream.writable()
    assert (stream.mode, stream.size, stream.tell()) == ("rb", len(DATA), 0)
    assert stream.seek(10**9) == 10**9
    assert stream.read(1) == b""
    with pytest.raises(ValueError, match="negative"):
        stream.seek(-1)
    with pytest.raises(ValueError, match="negative"):
        stream.seek(-len(DATA) - 1, os.SEEK_END)
    with pytest.raises(io.UnsupportedOperation):
        stream.write(b"x")
    with pytest.raises(ValueError, match=r"whence|kind of seek"):
        stream.seek(0, 7)
    stream.close()
    stream.close()
    for use in (stream.read, stream.tell, lambda: stream.seek(0)):
        with pytest.raises(ValueError, match="closed"):
            use()


def test_text_is_read_from_it(cache: ObjectDirectory) -> None:
    text = ("grüße und zeilen\r\n" * 50).encode()
    pointer = Pointer(digest_of(text), len(text))
    place = Place(text, key=object_key(pointer.digest))
    with io.TextIOWrapper(open_stored(want(place, pointer=pointer), cache), "utf-8") as stream:
        assert list(stream) == ["grüße und zeilen\n"] * 50


# What is wrong


@pytest.mark.parametrize("position", [0, 7 * BLOCK, len(DATA) - 1])
def test_wrong_bytes_are_told_before_the_last_ones_are_given(
    cache: ObjectDirectory, position: int
) -> None:
    got = b""
    stream = open_stored(want(Place(damaged(position))), cache)
    with pytest.raises(IntegrityError, match=f"{POINTER.digest} in memory://a"):
        while piece := stream.read(10):
            got += piece
    assert len(got) == 20 * BLOCK
    for place in (0, 7 * BLOCK):
        stream.seek(place)
        with pytest.raises(IntegrityError):
            stream.read(BLOCK)
    stream.close()
    assert files_in(cache) == []


def test_wrong_bytes_are_told_whatever_the_order_of_reading(cache: ObjectDirectory) -> None:
    with open_stored(want(Place(damaged(3))), cache) as stream:
        for number in range(20, 0, -1):
            stream.seek(number * BLOCK)
            stream.read(1)
        stream.seek(0)
        with pytest.raises(IntegrityError):
            stream.read(1)


@pytest.mark.parametrize("data", [DATA[:-1], DATA + b"x", b""], ids=["short", "long", "empty"])
def test_a_wrong_length_is_told_at_once(cache: ObjectDirectory, data: bytes) -> None:
    with pytest.raises(IntegrityError, match=f"{len(data)} bytes instead of {len(DATA)}"):
        open_stored(want(Place(data)), cache)
    assert files_in(cache) == []


def test_what_no_storage_has_is_not_found_at_once(cache: ObjectDirectory) -> None:
    with pytest.raises(ObjectNotFoundError, match=r"memory://a, memory://b"):
        open_stored(want(Place(None), Place(None, "b")), cache)
    with pytest.raises(ObjectNotFoundError, match="none is configured"):
        open_stored(want(), cache)


class Denying(Place):
    def info(self, key: str) -> Any:
        raise StorageDeniedError("no: memory://a")


def test_of_several_faults_the_gravest_is_told(cache: ObjectDirectory) -> None:
    with pytest.raises(StorageDeniedError):
        open_stored(want(Denying(), Place(None, "b")), cache)
    with pytest.raises(IntegrityError):
        open_stored(want(Place(b"x"), Denying(), Place(None, "b")), cache)


@pytest.mark.parametrize(
    "first", [Place(None), Place(DATA[:-1]), Denying()], ids=["none", "short", "denying"]
)
def test_the_first_storage_that_has_it_is_taken(cache: ObjectDirectory, first: Place) -> None:
    with open_stored(want(first, Place(name="b")), cache) as stream:
        assert stream.read() == DATA
    assert first.asked == []


@pytest.mark.parametrize("fault", [OSError(5, "Input/output error"), None], ids=["error", "end"])
def test_where_one_storage_breaks_off_the_next_goes_on(
    cache: ObjectDirectory, fault: OSError | None
) -> None:
    first, second = Place(), Place(name="b")
    first.breaks_at, first.fault = 950, fault
    with open_stored(want(first, second), cache) as stream:
        assert stream.read() == DATA
    assert second.asked[0][0] == 900
    assert cache.find(POINTER) is not None


def test_a_storage_that_breaks_off_once_is_asked_again(cache: ObjectDirectory) -> None:
    place = Place()
    place.breaks_at, place.breaks = 950, 1
    with open_stored(want(place), cache) as stream:
        assert stream.read() == DATA


def test_a_fault_that_passes_leaves_the_stream_usable(cache: ObjectDirectory) -> None:
    place = Place()
    place.breaks_at = 950
    with open_stored(want(place), cache) as stream:
        with pytest.raises(StorageUnavailableError, match="Input/output error: memory://a"):
            stream.read()
        place.breaks_at = None
        stream.seek(0)
        assert stream.read() == DATA


def test_a_reader_that_is_interrupted_can_go_on(
    cache: ObjectDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = streaming._Arriving
    real = kind._length
    left = [1, 5, 9]

    def length(self: Any, number: int) -> int:
        # Between a block's arrival and the note that it came.
        if left and number == left[0]:
            left.pop(0)
            raise KeyboardInterrupt
        return real(self, number)

    monkeypatch.setattr(kind, "_length", length)
    got = b""
    with open_stored(want(Place()), cache) as stream:
        while len(got) < len(DATA):
            with suppress(KeyboardInterrupt):
                got += stream.read(5)
    assert (got, left) == (DATA, [])
    assert cache.find(POINTER) is not None


def test_what_could_not_be_hashed_is_not_given(
    cache: ObjectDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> bytes:
        raise OSError(5, "Input/output error")

    with open_stored(want(Place()), cache) as stream:
        for number in range(20, 0, -1):
            stream.seek(number * BLOCK)
            stream.read(1)
        stream.seek(0)
        with monkeypatch.context() as patch:
            patch.setattr(os, "pread", fail)
            with pytest.raises(StorageUnavailableError, match=cache.root):
                stream.read(1)
        with pytest.raises(StorageUnavailableError, match="broke off"):
            stream.read(1)
    assert cache.find(POINTER) is None


def test_an_object_that_is_cut_short_meanwhile_is_corrupt(cache: ObjectDirectory) -> None:
    place = Place()
    place.breaks_at, place.fault = 950, None
    with (
        open_stored(want(place), cache) as stream,
        pytest.raises(IntegrityError, match="ends after 950 of 2007 bytes"),
    ):
        stream.read()


def test_an_object_that_goes_away_meanwhile_is_not_found(cache: ObjectDirectory) -> None:
    place = Place()
    with open_stored(want(place), cache) as stream:
        stream.read(10)
        place.delete(KEY)
        stream.seek(-1, os.SEEK_END)
        with pytest.raises(ObjectNotFoundError):
            stream.read()


def test_a_cache_that_can_not_be_written_is_a_fault_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    cache = ObjectDirectory(str(tmp_path / "file/cache"))
    with pytest.raises(StorageUnavailableError, match="file/cache"):
        open_stored(want(Place()), cache)


# What is left


def open_files() -> set[str]:
    gc.collect()
    found = set()
    for number in os.listdir("/proc/self/fd"):
        # The one that lists them is gone by now.
        with suppress(FileNotFoundError):
            found.add(os.readlink(f"/proc/self/fd/{number}"))
    return found


@pytest.mark.parametrize("count", [0, 1, len(DATA)])
def test_a_stream_that_is_dropped_leaves_nothing(
    cache: ObjectDirectory, count: int, recwarn: pytest.WarningsRecorder
) -> None:
    stream: Reader | None = open_stored(want(Place()), cache)
    assert stream is not None
    stream.read(count)
    del stream
    assert not [each for each in open_files() if cache.root in each]
    stream = open_stored(want(Place()), cache, whole=True)
    stream = open_file(cache.path(POINTER.digest))
    stream.read(1)
    stream = None
    assert not [each for each in open_files() if cache.root in each]
    assert not list(recwarn)


KILLED = """
import io, os, signal, sys
from git_datareg import streaming
from git_datareg.layout import ObjectStorage, object_key
from git_datareg.location import Location
from git_datareg.digest import digest_of
from git_datareg.objects import ObjectDirectory
from git_datareg.pointer import Pointer
from git_datareg.storage.memory import MemoryStorage
from git_datareg.downloads import Want
data = os.urandom(10_000_000)
pointer = Pointer(digest_of(data), len(data))
place = MemoryStorage(Location("memory://a"))
place.put(object_key(pointer.digest), io.BytesIO(data), len(data))
stream = streaming.open_stored(
    Want(pointer, b"x", [ObjectStorage(place)]), ObjectDirectory(sys.argv[1])
)
assert stream.read(9_000_000) == data[:9_000_000]
if sys.argv[2] == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(("way", "code"), [("kill", -signal.SIGKILL), ("exit", 0)])
def test_a_process_that_ends_leaves_nothing(cache: ObjectDirectory, way: str, code: int) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    command = [sys.executable, "-W", "error", "-c", KILLED, cache.root, way]
    done = subprocess.run(command, env=env, capture_output=True)
    assert (done.returncode, done.stderr) == (code, b"")
    assert os.listdir(os.path.join(cache.root, "tmp")) == []
    assert files_in(cache) == []


@pytest.fixture
def plain_file_system(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A file system without files that have no name."""
    real = os.open

    def open(path: Any, flags: int, mode: int = 0o777, **kwargs: Any) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(95, "Operation not supported")
        return real(path, flags, mode, **kwargs)

    monkeypatch.setattr(os, "open", open)
    yield


def test_it_works_where_files_need_a_name(cache: ObjectDirectory, plain_file_system: None) -> None:
    with open_stored(want(Place()), cache) as stream:
        stream.read(10)
        assert files_in(cache) == []
        stream.read()
    assert files_in(cache) == [Path(cache.path(POINTER.digest))]
    assert Path(cache.path(POINTER.digest)).read_bytes() == DATA


def test_an_object_that_came_into_the_cache_meanwhile_stays(cache: ObjectDirectory) -> None:
    with open_stored(want(Place()), cache) as stream:
        ObjectStorage(Place()).download(POINTER, cache)
        before = os.stat(cache.path(POINTER.digest))
        assert stream.read() == DATA
    assert os.stat(cache.path(POINTER.digest)).st_ino == before.st_ino
    assert len(files_in(cache)) == 1


def test_memory_stays_small_however_large_the_object_is(
    cache: ObjectDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    data = bytes(48 * 1024 * 1024)
    pointer = Pointer(digest_of(data), len(data))
    place = Place(data, key=object_key(pointer.digest))

    class Lean(Place):
        """Gives slices as they are read, as a storage elsewhere does."""

        def open(self, key: str, offset: int = 0, length: int | None = None) -> BinaryIO:
            stream = io.BytesIO(data)
            stream.seek(offset)
            return stream

    lean = Lean(None)
    monkeypatch.setattr(lean, "info", place.info)
    monkeypatch.setattr(ObjectStorage, "check", lambda self: None)
    tracemalloc.start()
    with open_stored(want(lean, pointer=pointer), cache) as stream:
        while stream.read(100_000):
            pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6 * 1024 * 1024
    assert cache.find(pointer) is not None


# Threads


def test_threads_can_share_a_stream(cache: ObjectDirectory) -> None:
    lock = threading.Lock()
    with open_stored(want(Place()), cache) as stream, ThreadPoolExecutor(8) as pool:

        def part(number: int) -> bool:
            position = number * 37 % len(DATA)
            with lock:
                stream.seek(position)
                got = stream.read(25)
            return got == DATA[position : position + 25]

        assert all(pool.map(part, range(400)))
    assert cache.find(POINTER) is not None


def test_many_streams_of_one_object_go_on_at_once(cache: ObjectDirectory) -> None:
    def read(_: int) -> bytes:
        with open_stored(want(Place()), cache) as stream:
            return b"".join(iter(lambda: stream.read(33), b""))

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(read, range(40))) == {DATA}
    assert files_in(cache) == [Path(cache.path(POINTER.digest))]


# What is here


def test_what_is_here_is_opened_verified(cache: ObjectDirectory) -> None:
    local = LocalObjects(None, cache)
    assert open_local(POINTER, local) is None
    ObjectStorage(Place()).download(POINTER, cache)
    with open_local(POINTER, local) or io.BytesIO() as stream:
        assert stream.read() == DATA
        assert stream.fileno() > 0


def test_what_is_damaged_here_is_not_opened(cache: ObjectDirectory) -> None:
    local = LocalObjects(None, cache)
    open_stored(want(Place()), cache).read()
    path = Path(cache.path(POINTER.digest))
    for _ in range(2):
        with open_local(POINTER, local) or io.BytesIO() as stream:
            assert stream.read(5) == DATA[:5]
    path.chmod(0o644)
    path.write_bytes(damaged(9))
    assert open_local(POINTER, local) is None
    assert not path.exists()


def test_a_file_reads_as_any_other(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(DATA)
    with open_file(str(tmp_path / "x")) as stream:
        assert (stream.size, stream.mode) == (len(DATA), "rb")
        assert stream.seekable() and stream.readable() and not stream.writable()
        assert stream.seek(-3, os.SEEK_END) == len(DATA) - 3
        assert stream.read() == DATA[-3:]
    with pytest.raises(FileNotFoundError):
        open_file(str(tmp_path / "y"))
