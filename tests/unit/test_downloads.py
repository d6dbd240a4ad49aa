from __future__ import annotations

import errno
import io
import math
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest

from git_datareg import arriving, downloads, processes, workers
from git_datareg.arriving import Arrival
from git_datareg.downloads import Want, download, fetch
from git_datareg.errors import (
    CorruptError,
    IntegrityError,
    ObjectNotFoundError,
    StorageDeniedError,
    StorageUnavailableError,
)
from git_datareg.layout import MARKER_KEY, ObjectStorage, object_key
from git_datareg.location import Location
from git_datareg.objects import ObjectDirectory
from git_datareg.pointer import Pointer
from git_datareg.storage.local import LocalStorage
from tests.support.storages import (
    CONTENTS,
    LARGE,
    LARGE_POINTER,
    POINTERS,
    Memory,
    Progress,
    Request,
    noise,
    pointer_to,
    wants,
)

PART = 1000
#: An object of ten parts, the last of them short.
DATA = noise(9 * PART + 7)
POINTER = pointer_to(DATA)
KEY = object_key(POINTER.digest)
PARTS = [(start, min(PART, len(DATA) - start)) for start in range(0, len(DATA), PART)]
WHOLE = (0, None)
#: What would wait forever fails instead.
PATIENCE = 30


@pytest.fixture
def cache(tmp_path: Path) -> ObjectDirectory:
    return ObjectDirectory(str(tmp_path / "cache"))


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (arriving, downloads):
        monkeypatch.setattr(module, "PART", PART)


def left(cache: ObjectDirectory) -> list[str]:
    """The names of temporary files."""
    return os.listdir(cache.temporary) if os.path.exists(cache.temporary) else []


def content(cache: ObjectDirectory, pointer: Pointer) -> bytes | None:
    path = cache.find(pointer)
    return None if path is None else Path(path).read_bytes()


def is_idle() -> bool:
    return not [each for each in threading.enumerate() if each.name == "transfer"]


# Objects of all sizes


@pytest.mark.parametrize("jobs", [1, 3, 100])
def test_all_objects_come(cache: ObjectDirectory, jobs: int) -> None:
    progress = Progress()
    storage = Memory().holding(*CONTENTS, LARGE)
    asked = wants(storage, pointers=[*POINTERS, LARGE_POINTER])
    assert download(asked, cache, jobs=jobs, advance=progress) == []
    for data in (*CONTENTS, LARGE):
        assert content(cache, pointer_to(data)) == data
    assert progress.size == sum(map(len, CONTENTS)) + len(LARGE)
    assert progress.objects == len(CONTENTS) + 1
    assert len(storage.threads) <= min(jobs, storage.properties.connections)
    markers = [request for request in storage.requests if request.key == MARKER_KEY]
    assert len(markers) <= storage.properties.connections


def test_nothing_to_do_is_done_at_once(cache: ObjectDirectory) -> None:
    assert download([], cache, jobs=4) == []
    assert not os.path.exists(cache.root)


@pytest.mark.parametrize("is_large", [True, False])
def test_what_is_there_is_not_fetched_again(
    cache: ObjectDirectory, is_large: bool, small_parts: None
) -> None:
    pointers = [POINTER] if is_large else POINTERS
    storage = Memory().holding(*CONTENTS, DATA)
    assert download(wants(storage, pointers=pointers), cache, jobs=2) == []
    storage.requests.clear()
    progress = Progress()
    assert download(wants(storage, pointers=pointers), cache, jobs=2, advance=progress) == []
    for want in wants(storage, pointers=pointers):
        fetch(want, cache)
    assert storage.requests == []
    assert progress.size == sum(pointer.size for pointer in pointers)
    assert progress.objects == len(pointers)


def test_what_many_files_hold_is_fetched_once(cache: ObjectDirectory) -> None:
    storage = Memory().holding(*CONTENTS)
    assert download(wants(storage) * 3, cache, jobs=4) == []
    assert [storage.opened(pointer) for pointer in POINTERS] == [[WHOLE]] * len(POINTERS)


def test_one_failure_keeps_no_other_back_and_each_path_is_told(cache: ObjectDirectory) -> None:
    storage = Memory().holding(*CONTENTS[3:])
    storage.lie(POINTERS[5], b"something else")
    storage.faults[object_key(POINTERS[7].digest)] = StorageDeniedError("no")
    asked = [*wants(storage), wants(storage)[0]._replace(path=b"copy")]
    progress = Progress()
    failures = download(asked, cache, jobs=3, advance=progress)
    kinds = {failure.path: type(failure.error) for failure in failures}
    assert kinds == {
        **dict.fromkeys([b"f0", b"f1", b"f2", b"copy"], ObjectNotFoundError),
        b"f5": IntegrityError,
        b"f7": StorageDeniedError,
    }
    assert len(failures) == len(kinds)
    whole = [pointer for pointer in POINTERS if cache.find(pointer)]
    assert len(whole) == len(POINTERS) - 5 == progress.objects
    assert progress.size == sum(pointer.size for pointer in whole)
    assert left(cache) == []


def test_wants_of_one_object_ask_all_their_storages(cache: ObjectDirectory) -> None:
    first, second = wants(Memory("a")), wants(Memory("b").holding(*CONTENTS))
    for number, order in enumerate((first + second, second + first, first + second + first)):
        assert download(order, ObjectDirectory(f"{cache.root}{number}"), jobs=2) == []


def test_the_next_storage_is_asked_when_one_can_t_give(cache: ObjectDirectory) -> None:
    empty, broken, lying, good = Memory("1"), Memory("2"), Memory("3"), Memory("4")
    good.holding(*CONTENTS)
    for pointer in POINTERS:
        broken.faults[object_key(pointer.digest)] = StorageUnavailableError("down")
        lying.lie(pointer, b"x" * pointer.size)
    assert download(wants(empty, broken, lying, good), cache, jobs=2) == []


def test_a_storage_of_a_later_format_keeps_no_other_from_being_asked(
    cache: ObjectDirectory,
) -> None:
    later, good = Memory("1").holding(*CONTENTS), Memory("2").holding(*CONTENTS)
    later.put(MARKER_KEY, io.BytesIO(b'{"format": 2}'), 13)
    assert download(wants(later, good), cache, jobs=1) == []
    with pytest.raises(CorruptError, match="format 2"):
        fetch(wants(later)[0], ObjectDirectory(cache.root + "2"))


@pytest.mark.parametrize("is_last", [True, False])
@pytest.mark.parametrize("is_large", [True, False])
def test_of_several_faults_the_gravest_is_told(
    cache: ObjectDirectory, is_last: bool, is_large: bool, small_parts: None
) -> None:
    pointer = POINTER if is_large else POINTERS[0]
    lying, broken = Memory("lying"), Memory("broken")
    lying.lie(pointer, b"x")
    broken.faults[object_key(pointer.digest)] = StorageUnavailableError("down")
    storages = (broken, lying) if is_last else (lying, broken)
    with pytest.raises(IntegrityError, match="lying"):
        fetch(wants(*storages, pointers=[pointer])[0], cache)
    assert left(cache) == []


@pytest.mark.parametrize("pointer", [POINTER, POINTERS[0]], ids=["large", "small"])
def test_an_object_that_no_storage_has_is_not_found(
    cache: ObjectDirectory, pointer: Pointer, small_parts: None
) -> None:
    with pytest.raises(ObjectNotFoundError, match="memory://a, memory://b"):
        fetch(wants(Memory("a"), Memory("b"), pointers=[pointer])[0], cache)
    with pytest.raises(ObjectNotFoundError, match="none is configured"):
        fetch(wants(pointers=[pointer])[0], cache)


@pytest.mark.parametrize("pointer", [POINTER, POINTERS[0]], ids=["large", "small"])
def test_a_cache_that_can_t_take_it_is_named_and_no_other_storage_asked(
    tmp_path: Path, pointer: Pointer, small_parts: None
) -> None:
    (tmp_path / "cache").write_text("a file")
    first, second = Memory("1").holding(CONTENTS[0], DATA), Memory("2").holding(CONTENTS[0], DATA)
    cache = ObjectDirectory(str(tmp_path / "cache"))
    progress = Progress()
    asked = wants(first, second, pointers=[pointer])
    [failure] = download(asked, cache, jobs=1, advance=progress)
    assert isinstance(failure.error, StorageUnavailableError)
    assert str(tmp_path / "cache") in failure.error.message
    assert second.requests == []
    assert (progress.size, progress.objects) == (0, 0)


def test_a_fault_that_nobody_expects_ends_it(cache: ObjectDirectory) -> None:
    storage = Memory().holding(*CONTENTS)
    storage.faults[object_key(POINTERS[4].digest)] = ZeroDivisionError("a bug")
    with pytest.raises(ZeroDivisionError):
        download(wants(storage), cache, jobs=3)
    assert is_idle()


def test_a_progress_that_fails_ends_it(cache: ObjectDirectory) -> None:
    def stop(size: int, objects: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(wants(Memory().holding(*CONTENTS)), cache, jobs=2, advance=stop)
    assert is_idle()


@pytest.mark.parametrize(
    ("is_remote", "contents", "most"),
    [(True, CONTENTS, 3), (False, CONTENTS, 0), (False, [LARGE, noise(300_000)], 2)],
)
def test_small_objects_that_are_near_are_not_worth_a_thread(
    cache: ObjectDirectory, is_remote: bool, contents: list[bytes], most: int
) -> None:
    started: list[str] = []
    storage = Memory(connections=3, is_remote=is_remote).holding(*contents)
    real = threading.Thread.start

    def start(self: threading.Thread) -> None:
        started.append(self.name)
        real(self)

    pointers = [pointer_to(data) for data in contents]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        assert download(wants(storage, pointers=pointers), cache, jobs=8) == []
    assert bool(started) == bool(most)
    assert len(started) <= most


def test_many_small_objects_that_are_near_come_by_children(
    cache: ObjectDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "_threads", lambda: 1)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2})
    contents = [b"%d" % number for number in range(1600)]
    pointers = [pointer_to(data) for data in contents]
    storage = Memory(is_remote=False).holding(*contents)
    lost, wrong = pointers[3], pointers[4]
    storage.delete(object_key(lost.digest))
    storage.lie(wrong, b"?")
    progress = Progress()
    failures = download(wants(storage, pointers=pointers), cache, jobs=4, advance=progress)
    assert {(each.pointer, type(each.error)) for each in failures} == {
        (lost, ObjectNotFoundError),
        (wrong, IntegrityError),
    }
    rest = [pointer for pointer in pointers if pointer not in (lost, wrong)]
    assert all(cache.find(pointer) for pointer in rest)
    assert (progress.size, progress.objects) == (sum(each.size for each in rest), len(rest))
    # Only the part with the failures was looked at here.
    assert storage.count("open") < len(pointers) / 2


# Which go in parts


@pytest.mark.parametrize(
    ("size", "count"),
    [(1, 0), (PART - 1, 0), (PART, 0), (PART + 1, 2), (2 * PART, 2), (2 * PART + 1, 3)],
)
def test_what_is_larger_than_a_part_comes_in_parts(
    cache: ObjectDirectory, size: int, count: int, small_parts: None
) -> None:
    data = noise(size)
    storage = Memory().holding(data)
    pointer = pointer_to(data)
    progress = Progress()
    assert download(wants(storage, pointers=[pointer]), cache, jobs=2, advance=progress) == []
    assert content(cache, pointer) == data
    expected = [(n * PART, min(PART, size - n * PART)) for n in range(count)] or [WHOLE]
    assert sorted(storage.opened(pointer)) == expected
    assert (progress.size, progress.objects) == (size, 1)
    assert left(cache) == []


def near(tmp_path: Path, *contents: bytes) -> ObjectStorage:
    """A storage on this machine."""
    storage = ObjectStorage(LocalStorage(Location(str(tmp_path / "near"))))
    storage.prepare()
    for data in contents:
        storage.upload(pointer_to(data), io.BytesIO(data))
    return storage


def test_what_is_near_comes_whole_and_nothing_else_is_asked(
    cache: ObjectDirectory, tmp_path: Path, small_parts: None
) -> None:
    far = Memory().holding(DATA)
    asked = [Want(POINTER, b"f", [near(tmp_path, DATA), ObjectStorage(far)])]
    assert download(asked, cache, jobs=4) == []
    assert content(cache, POINTER) == DATA
    assert far.requests == []


def test_what_is_not_near_comes_in_parts_from_elsewhere(
    cache: ObjectDirectory, tmp_path: Path, small_parts: None
) -> None:
    far = Memory().holding(DATA)
    asked = [Want(POINTER, b"f", [near(tmp_path), ObjectStorage(far)])]
    assert download(asked, cache, jobs=4) == []
    assert content(cache, POINTER) == DATA
    assert sorted(far.opened(POINTER)) == PARTS


def test_a_storage_without_ranges_is_asked_for_all(
    cache: ObjectDirectory, small_parts: None
) -> None:
    storage = Memory(has_ranges=False).holding(DATA)
    assert download(wants(storage, pointers=[POINTER]), cache, jobs=4) == []
    assert storage.opened(POINTER) == [WHOLE]
    assert content(cache, POINTER) == DATA


@pytest.mark.parametrize("size", [1 << 62, 50_000 * PART])
def test_a_size_that_is_a_lie_costs_little(
    cache: ObjectDirectory, size: int, small_parts: None
) -> None:
    pointer = Pointer(POINTER.digest, size)
    storage = Memory().holding(DATA)
    progress = Progress()
    [failure] = download(wants(storage, pointers=[pointer]), cache, jobs=4, advance=progress)
    assert isinstance(failure.error, IntegrityError)
    assert storage.count("open") < 40
    assert (progress.size, progress.objects) == (0, 0)
    assert left(cache) == []


# How many at once


class Gauge:
    """Counts requests that run at once, and holds them up until so many do."""

    def __init__(self, number: int) -> None:
        self.most = 0
        self._running = 0
        self._lock = threading.Lock()
        self._together = threading.Barrier(number)

    def __call__(self, request: Request, data: bytes) -> BinaryIO:
        if request.key != MARKER_KEY:
            with self._lock:
                self._running += 1
                self.most = max(self.most, self._running)
            self._together.wait(PATIENCE)
            with self._lock:
                self._running -= 1
        return io.BytesIO(data)


@pytest.mark.parametrize(("jobs", "most"), [(2, 2), (5, 5), (100, 8)])
def test_parts_of_one_object_come_at_once_but_not_too_many(
    cache: ObjectDirectory, jobs: int, most: int, small_parts: None
) -> None:
    data = noise(40 * PART)
    storage = Memory(connections=32).holding(data)
    storage.on_stream = gauge = Gauge(most)
    asked = wants(storage, pointers=[pointer_to(data)])
    assert download(asked, cache, jobs=jobs) == []
    assert gauge.most == most
    assert content(cache, pointer_to(data)) == data


def test_fetch_brings_parts_at_once_too(cache: ObjectDirectory, small_parts: None) -> None:
    data = noise(16 * PART)
    storage = Memory(connections=32).holding(data)
    storage.on_stream = gauge = Gauge(8)
    fetch(wants(storage, pointers=[pointer_to(data)])[0], cache)
    assert gauge.most == 8
    assert content(cache, pointer_to(data)) == data


def test_downloads_at_once_keep_no_more_parts_in_memory(
    cache: ObjectDirectory, small_parts: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = [noise(8 * PART, number) for number in range(4)]
    all_want_to = threading.Barrier(4 * 8 + 8)
    running: list[Request] = []
    most: list[int] = []

    class Slots(threading.BoundedSemaphore):
        def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
            # So many threads wait to begin, while the first of them have begun.
            threading.Thread(target=all_want_to.wait, args=[PATIENCE]).start()
            return super().acquire(blocking, timeout)

    def on_stream(request: Request, data: bytes) -> BinaryIO:
        if request.key != MARKER_KEY:
            running.append(request)
            most.append(len(running))
            if len(most) <= 8:
                all_want_to.wait(PATIENCE)
            running.pop()
        return io.BytesIO(data)

    monkeypatch.setattr(downloads, "_part_slots", Slots(8))
    storage = Memory(connections=32).holding(*contents)
    storage.on_stream = on_stream
    threads = [
        threading.Thread(target=fetch, args=[want, cache])
        for want in wants(storage, pointers=[pointer_to(data) for data in contents])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert max(most) == 8
    assert [content(cache, pointer_to(data)) for data in contents] == contents


def test_small_objects_come_beside_a_large_one(
    cache: ObjectDirectory, small_parts: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "_BUSY", math.inf)
    data = noise(20 * PART)
    pointer = pointer_to(data)
    storage = Memory(connections=9).holding(data, *CONTENTS)
    is_done = threading.Event()
    left_over = set(POINTERS)

    def wait(request: Request) -> None:
        # The first parts go through, so that there are more threads than parts at once.
        if request.key == object_key(pointer.digest) and request.offset >= 4 * PART:
            assert is_done.wait(PATIENCE)

    def advance(size: int, objects: int) -> None:
        if objects:
            left_over.difference_update(each for each in POINTERS if cache.find(each))
        if not left_over:
            is_done.set()

    storage.on_request = wait
    asked = wants(storage, pointers=[pointer, *POINTERS])
    assert download(asked, cache, jobs=9, advance=advance) == []
    assert content(cache, pointer) == data


# Parts and several storages


def breaks_at(*offsets: int, fault: Exception) -> Callable[[Request], None]:
    def on_request(request: Request) -> None:
        if request.key == KEY and request.offset in offsets and request.length is not None:
            raise fault

    return on_request


def test_a_part_that_one_storage_can_t_give_comes_from_the_next(
    cache: ObjectDirectory, small_parts: None
) -> None:
    first, second = Memory("1").holding(DATA), Memory("2").holding(DATA)
    first.on_request = breaks_at(3 * PART, fault=StorageUnavailableError("down"))
    progress = Progress()
    asked = wants(first, second, pointers=[POINTER])
    assert download(asked, cache, jobs=1, advance=progress) == []
    assert content(cache, POINTER) == DATA
    assert first.opened(POINTER) == PARTS[:4]
    # Who served last is asked first.
    assert second.opened(POINTER) == PARTS[3:]
    assert (progress.size, progress.objects) == (len(DATA), 1)
    assert (progress.least, progress.most) == (0, len(DATA))


def test_storages_that_each_give_some_parts_give_all(
    cache: ObjectDirectory, small_parts: None
) -> None:
    data = noise(200 * PART)
    pointer = pointer_to(data)
    even, odd = Memory("1", connections=8).holding(data), Memory("2").holding(data)

    def refuse(rest: int) -> Callable[[Request], None]:
        def on_request(request: Request) -> None:
            if request.length is not None and request.offset // PART % 2 == rest:
                raise StorageUnavailableError("down")

        return on_request

    even.on_request, odd.on_request = refuse(1), refuse(0)
    assert download(wants(even, odd, pointers=[pointer]), cache, jobs=8) == []
    assert content(cache, pointer) == data
    assert WHOLE not in [*even.opened(pointer), *odd.opened(pointer)]


def short(request: Request, data: bytes) -> BinaryIO:
    return io.BytesIO(data[:-1] if request.offset == 2 * PART else data)


def test_a_short_part_comes_from_the_next_storage(
    cache: ObjectDirectory, small_parts: None
) -> None:
    first, second = Memory("1").holding(DATA), Memory("2").holding(DATA)
    first.on_stream = short
    assert download(wants(first, second, pointers=[POINTER]), cache, jobs=1) == []
    assert content(cache, POINTER) == DATA
    assert second.opened(POINTER) == PARTS[2:]
    assert left(cache) == []


def test_a_part_that_is_short_everywhere_is_corrupt(
    cache: ObjectDirectory, small_parts: None
) -> None:
    storage = Memory()
    storage.lie(POINTER, DATA[: 2 * PART + 10])
    progress = Progress()
    asked = wants(storage, pointers=[POINTER])
    [failure] = download(asked, cache, jobs=1, advance=progress)
    assert isinstance(failure.error, IntegrityError)
    assert "memory://a" in failure.error.message
    assert (progress.size, progress.objects, progress.least) == (0, 0, 0)
    assert cache.find(POINTER) is None
    assert left(cache) == []


def test_bytes_behind_the_object_are_not_asked_for(
    cache: ObjectDirectory, small_parts: None
) -> None:
    storage = Memory()
    storage.lie(POINTER, DATA + b"more")
    assert download(wants(storage, pointers=[POINTER]), cache, jobs=2) == []
    assert content(cache, POINTER) == DATA


@pytest.mark.parametrize("jobs", [1, 8])
def test_of_wrong_bytes_nothing_is_kept_and_the_next_storage_is_asked_for_all(
    cache: ObjectDirectory, jobs: int, small_parts: None
) -> None:
    first, second = Memory("1"), Memory("2").holding(DATA)
    first.lie(POINTER, DATA[:5500] + b"?" + DATA[5501:])
    progress = Progress()
    asked = wants(first, second, pointers=[POINTER])
    assert download(asked, cache, jobs=jobs, advance=progress) == []
    assert content(cache, POINTER) == DATA
    assert sorted(first.opened(POINTER), key=str) == sorted([*PARTS, WHOLE], key=str)
    assert second.opened(POINTER) == [WHOLE]
    assert (progress.size, progress.objects) == (len(DATA), 1)
    assert progress.most <= len(DATA)
    assert left(cache) == []


def test_wrong_bytes_everywhere_are_told_with_the_storage(
    cache: ObjectDirectory, small_parts: None
) -> None:
    storage = Memory()
    storage.lie(POINTER, DATA[::-1])
    progress = Progress()
    asked = wants(storage, pointers=[POINTER])
    [failure] = download(asked, cache, jobs=4, advance=progress)
    assert isinstance(failure.error, IntegrityError)
    assert f"{POINTER.digest} in memory://a" in failure.error.message
    assert (progress.size, progress.objects) == (0, 0)
    assert left(cache) == []


# Going on


def test_parts_that_came_before_a_fault_are_not_fetched_again(
    cache: ObjectDirectory, small_parts: None
) -> None:
    first, second = Memory("1").holding(DATA), Memory("2").holding(DATA)
    for storage in (first, second):
        storage.on_request = breaks_at(3000, 5000, fault=StorageUnavailableError("down"))
    progress = Progress()
    asked = wants(first, second, pointers=[POINTER])
    [failure] = download(asked, cache, jobs=1, advance=progress)
    assert isinstance(failure.error, StorageUnavailableError)
    assert (progress.size, progress.objects, progress.least) == (0, 0, 0)
    assert left(cache) == [f"object-part-{POINTER.digest}"]
    # After the first fault no more is asked for.
    assert first.opened(POINTER) == PARTS[:4]

    third = Memory("3").holding(DATA)
    assert download(wants(third, pointers=[POINTER]), cache, jobs=4, advance=progress) == []
    assert sorted(third.opened(POINTER)) == PARTS[3:]
    assert (progress.size, progress.objects) == (len(DATA), 1)
    assert content(cache, POINTER) == DATA
    assert left(cache) == []


def test_an_object_of_which_all_parts_are_there_needs_no_storage(
    cache: ObjectDirectory, small_parts: None
) -> None:
    arrival = Arrival(POINTER, cache)
    for number, (start, length) in enumerate(PARTS):
        arrival.put(number, [DATA[start : start + length]])
    arrival.close()
    storage = Memory()
    assert download(wants(storage, pointers=[POINTER]), cache, jobs=4) == []
    assert storage.requests == []
    assert content(cache, POINTER) == DATA


def test_damaged_parts_from_before_are_found_out_and_all_is_fetched(
    cache: ObjectDirectory, small_parts: None
) -> None:
    arrival = Arrival(POINTER, cache)
    arrival.put(4, [bytes(PART)])
    arrival.close()
    storage = Memory().holding(DATA)
    progress = Progress()
    asked = wants(storage, pointers=[POINTER])
    assert download(asked, cache, jobs=1, advance=progress) == []
    assert storage.opened(POINTER) == [*PARTS[:4], *PARTS[5:], WHOLE]
    assert (progress.size, progress.objects) == (len(DATA), 1)
    assert content(cache, POINTER) == DATA
    assert left(cache) == []


@pytest.mark.parametrize("jobs", [1, 4])
@pytest.mark.parametrize("kind", [KeyboardInterrupt, ZeroDivisionError])
def test_after_a_sudden_end_this_process_goes_on_too(
    cache: ObjectDirectory,
    jobs: int,
    kind: type[BaseException],
    small_parts: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # As in a notebook, where someone interrupts and tries again.
    monkeypatch.setattr(workers, "_PATIENCE", float(PATIENCE))
    storage = Memory().holding(DATA)
    storage.on_request = breaks_at(6 * PART, fault=kind("now"))  # type: ignore[arg-type]
    with pytest.raises(kind):
        download(wants(storage, pointers=[POINTER]), cache, jobs=jobs)
    came = set(PARTS) & set(storage.opened(POINTER)) - {PARTS[6]}
    assert left(cache) == [f"object-part-{POINTER.digest}"]
    again = Memory().holding(DATA)
    assert download(wants(again, pointers=[POINTER]), cache, jobs=jobs) == []
    assert set(again.opened(POINTER)) == set(PARTS) - came
    assert content(cache, POINTER) == DATA


@pytest.mark.parametrize("jobs", [2, 8])
def test_parts_that_hang_when_it_is_interrupted_do_no_harm(
    cache: ObjectDirectory, jobs: int, small_parts: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "_PATIENCE", 0.01)
    is_over, waited_in_vain = threading.Event(), list[Request]()
    together = threading.Barrier(jobs, action=lambda: os.kill(os.getpid(), signal.SIGINT))
    storage = Memory(connections=jobs).holding(DATA)

    def hang(request: Request) -> None:
        if request.key != MARKER_KEY:
            together.wait(PATIENCE)
            if not is_over.wait(PATIENCE):
                waited_in_vain.append(request)

    storage.on_request = hang
    with pytest.raises(KeyboardInterrupt):
        download(wants(storage, pointers=[POINTER]), cache, jobs=jobs)
    hanging = [each for each in threading.enumerate() if each.name == "transfer"]
    assert hanging
    again = Memory(connections=jobs).holding(DATA)
    assert download(wants(again, pointers=[POINTER]), cache, jobs=jobs) == []
    assert waited_in_vain == []
    # What comes now is too late, and the rest is never asked for.
    is_over.set()
    for thread in hanging:
        thread.join(PATIENCE)
    assert content(cache, POINTER) == DATA
    assert left(cache) == []
    assert len(storage.opened(POINTER)) == jobs
    assert downloads._part_slots._value == downloads._PARTS  # type: ignore[attr-defined]


def test_after_its_end_no_part_is_begun(cache: ObjectDirectory, small_parts: None) -> None:
    storage = Memory().holding(DATA)
    [want] = wants(storage, pointers=[POINTER])
    large = downloads._InParts(want, cache, Progress())
    large.close()
    for number in range(9):
        large.bring(number)
    with pytest.raises(StorageUnavailableError, match="broken off"):
        large.bring(9)
    assert storage.requests == []
    assert left(cache) == []


def test_of_the_faults_of_many_parts_the_first_is_told(
    cache: ObjectDirectory, small_parts: None
) -> None:
    storage = Memory().holding(DATA)
    [want] = wants(storage, pointers=[POINTER])
    large = downloads._InParts(want, cache, Progress())

    def fail(request: Request) -> None:
        if request.offset == PART:
            # While this one waits, another thread's part comes to nothing.
            large.bring(0)
            raise StorageUnavailableError("second")
        if request.length is not None:
            raise StorageDeniedError("first")

    storage.on_request = fail
    for number in range(1, 9):
        large.bring(number)
    with pytest.raises(StorageDeniedError, match="first"):
        large.bring(9)


# Faults of this machine


def test_a_full_disk_is_a_fault_that_names_the_file_and_leaves_nothing(
    cache: ObjectDirectory, small_parts: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.pwrite

    def full(descriptor: int, data: bytes, offset: int) -> int:
        if offset >= 3 * PART and len(data) > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", full)
    first, second = Memory("1").holding(DATA), Memory("2").holding(DATA)
    progress = Progress()
    asked = wants(first, second, pointers=[POINTER])
    [failure] = download(asked, cache, jobs=1, advance=progress)
    assert isinstance(failure.error, StorageUnavailableError)
    path = os.path.join(cache.temporary, f"object-part-{POINTER.digest}")
    assert failure.error.message == f"No space left on device: {path}"
    assert (progress.size, progress.objects) == (0, 0)
    assert left(cache) == []
    assert second.requests == []


def test_a_place_that_can_t_be_given_is_a_fault(cache: ObjectDirectory, small_parts: None) -> None:
    Path(cache.root).mkdir()
    (Path(cache.root) / "objects").write_text("a file")
    progress = Progress()
    asked = wants(Memory().holding(DATA), pointers=[POINTER])
    [failure] = download(asked, cache, jobs=2, advance=progress)
    assert isinstance(failure.error, StorageUnavailableError)
    assert cache.root in failure.error.message
    assert (progress.size, progress.objects) == (0, 0)
    assert left(cache) == []
