from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest

from git_datareg import processes
from git_datareg.digest import digest_of
from git_datareg.downloads import Want, download, fetch
from git_datareg.errors import (
    CorruptError,
    IntegrityError,
    ObjectNotFoundError,
    StorageDeniedError,
    StorageError,
    StorageUnavailableError,
)
from git_datareg.layout import MARKER_KEY, ObjectStorage, object_key
from git_datareg.location import Location
from git_datareg.objects import LocalObjects, ObjectDirectory
from git_datareg.pointer import Pointer
from git_datareg.storage import Info, Properties
from git_datareg.storage.memory import MemoryStorage
from git_datareg.transfer import Failure, no_progress, storage_faults
from git_datareg.uploads import upload

CONTENTS = [b"content %d" % number for number in range(20)]
POINTERS = [Pointer(digest_of(data), len(data)) for data in CONTENTS]
LARGE = os.urandom(1024) * 3000
LARGE_POINTER = Pointer(digest_of(LARGE), len(LARGE))


class Memory(MemoryStorage):
    """A storage that counts what it is asked, and fails where it is told to."""

    def __init__(self, name: str = "a", *, connections: int = 4, is_remote: bool = True) -> None:
        super().__init__(Location(f"memory://{name}"))
        self.properties = Properties(True, connections, is_remote)
        self.faults: dict[str, Exception] = {}
        self.opened: list[str] = []
        self.flushes = 0
        self.threads: set[str] = set()

    def open(self, key: str, offset: int = 0, length: int | None = None) -> BinaryIO:
        self.opened.append(key)
        self.threads.add(threading.current_thread().name)
        if key in self.faults:
            raise self.faults[key]
        return super().open(key, offset, length)

    def info(self, key: str) -> Info | None:
        if key in self.faults:
            raise self.faults[key]
        return super().info(key)

    def flush(self) -> None:
        self.flushes += 1

    def holding(self, *contents: bytes) -> Memory:
        for data in contents:
            self.put(object_key(digest_of(data)), io.BytesIO(data), len(data))
        return self

    def lie(self, pointer: Pointer, data: bytes) -> None:
        self._values[object_key(pointer.digest)] = data


@pytest.fixture
def cache(tmp_path: Path) -> ObjectDirectory:
    return ObjectDirectory(str(tmp_path / "cache"))


@pytest.fixture
def local(tmp_path: Path, cache: ObjectDirectory) -> LocalObjects:
    own = ObjectDirectory(str(tmp_path / "own"))
    for data in (*CONTENTS, LARGE):
        with own.writer() as writer:
            writer.write(data)
            writer.commit()
    return LocalObjects(own, cache)


def wants(*storages: Memory, pointers: list[Pointer] = POINTERS) -> list[Want]:
    asked = [ObjectStorage(storage) for storage in storages]
    return [Want(pointer, b"f%d" % number, asked) for number, pointer in enumerate(pointers)]


def named(pointers: list[Pointer]) -> list[tuple[Pointer, bytes]]:
    return [(pointer, b"f%d" % number) for number, pointer in enumerate(pointers)]


# download


@pytest.mark.parametrize("jobs", [1, 3, 100])
def test_all_objects_come(cache: ObjectDirectory, jobs: int) -> None:
    moved: list[int] = []
    storage = Memory().holding(*CONTENTS, LARGE)
    asked = wants(storage, pointers=[*POINTERS, LARGE_POINTER])
    assert download(asked, cache, jobs=jobs, advance=moved.append) == []
    for data in (*CONTENTS, LARGE):
        assert Path(cache.path(digest_of(data))).read_bytes() == data
    assert sum(moved) == sum(pointer.size for pointer in POINTERS) + len(LARGE)
    assert storage.opened.count(MARKER_KEY) <= storage.properties.connections


def test_nothing_to_do_is_done_at_once(cache: ObjectDirectory) -> None:
    assert download([], cache, jobs=4) == []
    assert not os.path.exists(cache.root)


def test_what_is_there_is_not_fetched_again(cache: ObjectDirectory) -> None:
    storage = Memory().holding(*CONTENTS)
    assert download(wants(storage), cache, jobs=2) == []
    storage.opened.clear()
    assert download(wants(storage), cache, jobs=2) == []
    assert storage.opened == []


def test_what_many_files_hold_is_fetched_once(cache: ObjectDirectory) -> None:
    storage = Memory().holding(*CONTENTS)
    assert download(wants(storage) * 3, cache, jobs=4) == []
    assert len([key for key in storage.opened if key != MARKER_KEY]) == len(POINTERS)


def test_one_failure_keeps_no_other_back_and_each_path_is_told(cache: ObjectDirectory) -> None:
    storage = Memory().holding(*CONTENTS[3:])
    storage.lie(POINTERS[5], b"something else")
    storage.faults[object_key(POINTERS[7].digest)] = StorageDeniedError("no")
    asked = [*wants(storage), wants(storage)[0]._replace(path=b"copy")]
    failures = download(asked, cache, jobs=3)
    kinds = {failure.path: type(failure.error) for failure in failures}
    assert kinds == {
        **dict.fromkeys([b"f0", b"f1", b"f2", b"copy"], ObjectNotFoundError),
        b"f5": IntegrityError,
        b"f7": StorageDeniedError,
    }
    assert len(failures) == len(kinds)
    whole = [pointer for pointer in POINTERS if cache.find(pointer)]
    assert len(whole) == len(POINTERS) - 5


def test_wants_of_one_object_ask_all_their_storages(cache: ObjectDirectory) -> None:
    first, second = wants(Memory("a")), wants(Memory("b").holding(*CONTENTS))
    for order in (first + second, second + first, first + second + first):
        assert download(order, cache, jobs=2) == []


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
def test_of_several_faults_the_gravest_is_told(cache: ObjectDirectory, is_last: bool) -> None:
    lying, broken = Memory("lying"), Memory("broken")
    lying.lie(POINTERS[0], b"x")
    broken.faults[object_key(POINTERS[0].digest)] = StorageUnavailableError("down")
    storages = (broken, lying) if is_last else (lying, broken)
    with pytest.raises(IntegrityError, match="lying"):
        fetch(wants(*storages)[0], cache)


def test_an_object_that_no_storage_has_is_not_found(cache: ObjectDirectory) -> None:
    with pytest.raises(ObjectNotFoundError, match="memory://a, memory://b"):
        fetch(wants(Memory("a"), Memory("b"))[0], cache)
    with pytest.raises(ObjectNotFoundError, match="none is configured"):
        fetch(wants()[0], cache)


def test_a_cache_that_can_t_take_it_is_named_and_no_other_storage_asked(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    first, second = Memory("1").holding(*CONTENTS), Memory("2").holding(*CONTENTS)
    cache = ObjectDirectory(str(tmp_path / "cache"))
    [failure] = download(wants(first, second)[:1], cache, jobs=1)
    assert isinstance(failure.error, StorageUnavailableError)
    assert str(tmp_path / "cache") in failure.error.message
    assert second.opened == []


def test_a_fault_that_nobody_expects_ends_it(cache: ObjectDirectory) -> None:
    storage = Memory().holding(*CONTENTS)
    storage.faults[object_key(POINTERS[4].digest)] = ZeroDivisionError("a bug")
    with pytest.raises(ZeroDivisionError):
        download(wants(storage), cache, jobs=3)
    assert "transfer" not in str(threading.enumerate())


def test_a_progress_that_fails_ends_it(cache: ObjectDirectory) -> None:
    def stop(size: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(wants(Memory().holding(*CONTENTS)), cache, jobs=2, advance=stop)
    assert "transfer" not in str(threading.enumerate())


@pytest.mark.parametrize(
    ("is_remote", "pointers", "most"),
    [(True, POINTERS, 3), (False, POINTERS, 0), (False, [LARGE_POINTER], 3)],
)
def test_small_objects_that_are_near_are_not_worth_a_thread(
    cache: ObjectDirectory, is_remote: bool, pointers: list[Pointer], most: int
) -> None:
    started: list[str] = []
    storage = Memory(connections=3, is_remote=is_remote).holding(*CONTENTS, LARGE)
    real = threading.Thread.start

    def start(self: threading.Thread) -> None:
        started.append(self.name)
        real(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        assert download(wants(storage, pointers=pointers), cache, jobs=8) == []
    assert started == ["transfer"] * most


def test_many_small_objects_that_are_near_come_by_children(
    cache: ObjectDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "_threads", lambda: 1)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2})
    contents = [b"%d" % number for number in range(1600)]
    pointers = [Pointer(digest_of(data), len(data)) for data in contents]
    storage = Memory(is_remote=False).holding(*contents)
    lost, wrong = pointers[3], pointers[4]
    storage.delete(object_key(lost.digest))
    storage.lie(wrong, b"?")
    moved: list[int] = []
    failures = download(wants(storage, pointers=pointers), cache, jobs=4, advance=moved.append)
    assert {(each.pointer, type(each.error)) for each in failures} == {
        (lost, ObjectNotFoundError),
        (wrong, IntegrityError),
    }
    rest = [pointer for pointer in pointers if pointer not in (lost, wrong)]
    assert all(cache.find(pointer) for pointer in rest)
    assert sorted(moved) == sorted(pointer.size for pointer in rest)
    # Only the part with the failures was looked at here.
    assert len(storage.opened) < len(pointers) / 2


# upload


@pytest.mark.parametrize("jobs", [1, 4])
def test_all_objects_are_stored_and_flushed(local: LocalObjects, jobs: int) -> None:
    moved: list[int] = []
    storage = Memory()
    pointers = named([*POINTERS, LARGE_POINTER])
    stored, failures = upload(
        pointers, local, ObjectStorage(storage), jobs=jobs, advance=moved.append
    )
    assert (stored, failures, storage.flushes) == (21, [], 1)
    assert sum(moved) == sum(pointer.size for pointer, _ in pointers)
    assert storage.info(object_key(LARGE_POINTER.digest)) is not None


def test_what_another_push_stored_is_flushed_too(local: LocalObjects) -> None:
    storage = Memory().holding(*CONTENTS)
    assert upload(named(POINTERS), local, ObjectStorage(storage), jobs=2) == (0, [])
    assert storage.flushes == 1
    assert upload([], local, ObjectStorage(storage), jobs=2) == (0, [])
    assert storage.flushes == 1


def test_what_is_stored_need_not_be_here(cache: ObjectDirectory) -> None:
    storage = Memory().holding(*CONTENTS)
    nothing = LocalObjects(None, cache)
    assert upload(named(POINTERS), nothing, ObjectStorage(storage), jobs=2) == (0, [])


def test_objects_from_the_cache_are_stored_too(local: LocalObjects, cache: ObjectDirectory) -> None:
    assert local.own is not None
    storage = Memory()
    objects = LocalObjects(ObjectDirectory(cache.root + "-none"), local.own)
    assert upload(named(POINTERS), objects, ObjectStorage(storage), jobs=1) == (20, [])


def test_an_object_that_is_nowhere_is_told_with_its_path(cache: ObjectDirectory) -> None:
    stored, failures = upload(
        named(POINTERS[:1]), LocalObjects(None, cache), ObjectStorage(Memory()), jobs=1
    )
    assert (stored, [failure.path for failure in failures]) == (0, [b"f0"])
    assert isinstance(failures[0].error, ObjectNotFoundError)
    assert failures[0].error.hints


def corrupt(local: LocalObjects, pointer: Pointer, change: Callable[[bytes], bytes]) -> Path:
    assert local.own is not None
    path = Path(local.own.path(pointer.digest))
    path.chmod(0o644)
    path.write_bytes(change(path.read_bytes()))
    return path


@pytest.mark.parametrize("pointer", [POINTERS[0], LARGE_POINTER], ids=["small", "large"])
def test_a_damaged_object_is_never_stored(local: LocalObjects, pointer: Pointer) -> None:
    path = corrupt(local, pointer, lambda data: data[:-1] + bytes([data[-1] ^ 1]))
    storage = Memory()
    asked = named([pointer, *POINTERS[1:]])
    stored, [failure] = upload(asked, local, ObjectStorage(storage), jobs=2)
    assert stored == 19
    assert isinstance(failure.error, IntegrityError)
    assert str(path) in failure.error.message
    assert storage.info(object_key(pointer.digest)) is None


def test_an_object_that_grows_while_it_is_read_is_not_stored(
    local: LocalObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = corrupt(local, POINTERS[0], lambda data: data + b"x")
    monkeypatch.setattr(ObjectDirectory, "find", lambda self, pointer: str(path))
    storage = Memory()
    _, [failure] = upload(named(POINTERS[:1]), local, ObjectStorage(storage), jobs=1)
    assert isinstance(failure.error, IntegrityError)
    assert storage.info(object_key(POINTERS[0].digest)) is None


def test_a_file_of_ours_that_can_t_be_read_is_named(
    local: LocalObjects, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(ObjectDirectory, "find", lambda self, pointer: str(tmp_path))
    _, [failure] = upload(named(POINTERS[:1]), local, ObjectStorage(Memory()), jobs=1)
    assert isinstance(failure.error, StorageUnavailableError)
    assert failure.error.message == f"Is a directory: {tmp_path}"


def test_one_object_of_a_wrong_size_there_keeps_no_other_back(local: LocalObjects) -> None:
    storage = Memory()
    storage.lie(POINTERS[3], b"short")
    stored, [failure] = upload(named(POINTERS), local, ObjectStorage(storage), jobs=3)
    assert stored == 19
    assert isinstance(failure, Failure)
    assert isinstance(failure.error, IntegrityError)


def test_a_flush_that_fails_is_a_fault(local: LocalObjects) -> None:
    class Failing(Memory):
        def flush(self) -> None:
            raise StorageUnavailableError("disk gone")

    with pytest.raises(StorageUnavailableError, match="disk gone"):
        upload(named(POINTERS), local, ObjectStorage(Failing()), jobs=1)


def test_progress_may_be_told_to_nobody() -> None:
    no_progress(5)


# storage_faults


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(28, "No space left on device"), "No space left on device: place"),
        (OSError(2, "No such file", "a.bin"), "No such file: a.bin"),
        (OSError(2, "No such file", b"a.bin"), "No such file: a.bin"),
        (TimeoutError("timed out"), "timed out: place"),
    ],
)
def test_a_fault_of_the_system_becomes_one_of_the_place(error: OSError, message: str) -> None:
    with pytest.raises(StorageUnavailableError) as caught, storage_faults("place"):
        raise error
    assert caught.value.message == message
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("error", [ObjectNotFoundError("x"), StorageError("x"), KeyError("x")])
def test_other_faults_come_through_as_they_are(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, storage_faults("place"):
        raise error
    assert caught.value is error
