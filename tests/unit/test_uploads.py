from __future__ import annotations

import io
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from git_datareg import uploads
from git_datareg.errors import (
    IntegrityError,
    ObjectNotFoundError,
    StorageUnavailableError,
)
from git_datareg.layout import ObjectStorage, object_key
from git_datareg.objects import LocalObjects, ObjectDirectory
from git_datareg.pointer import Pointer
from git_datareg.storage.retrying import Retrying
from git_datareg.transfer import Failure
from git_datareg.uploads import upload
from tests.support.storages import (
    CONTENTS,
    LARGE,
    LARGE_POINTER,
    POINTERS,
    Memory,
    Progress,
    named,
    noise,
    pointer_to,
)

#: What would wait forever fails instead.
PATIENCE = 30


def add(objects: ObjectDirectory, *contents: bytes) -> None:
    for data in contents:
        with objects.writer() as writer:
            writer.write(data)
            writer.commit()


@pytest.fixture
def cache(tmp_path: Path) -> ObjectDirectory:
    return ObjectDirectory(str(tmp_path / "cache"))


@pytest.fixture
def local(tmp_path: Path, cache: ObjectDirectory) -> LocalObjects:
    own = ObjectDirectory(str(tmp_path / "own"))
    add(own, *CONTENTS, LARGE)
    return LocalObjects(own, cache)


def sizes(pointers: list[Pointer]) -> int:
    return sum(pointer.size for pointer in pointers)


# What is stored


@pytest.mark.parametrize("is_remote", [True, False])
@pytest.mark.parametrize("jobs", [1, 4])
def test_all_objects_are_stored_and_flushed(
    local: LocalObjects, jobs: int, is_remote: bool
) -> None:
    progress = Progress()
    storage = Memory(is_remote=is_remote)
    pointers = [*POINTERS, LARGE_POINTER]
    done = upload(named(pointers), local, ObjectStorage(storage), jobs=jobs, advance=progress)
    assert done == (21, [])
    assert storage.requests[-1].method == "flush"
    assert storage.count("flush") == 1
    assert [storage.object(each) for each in pointers] == [*CONTENTS, LARGE]
    assert (progress.size, progress.objects) == (sizes(pointers), 21)
    assert progress.least == 0


@pytest.mark.parametrize("is_remote", [True, False])
def test_what_another_push_stored_is_flushed_too(local: LocalObjects, is_remote: bool) -> None:
    storage = Memory(is_remote=is_remote).holding(*CONTENTS)
    progress = Progress()
    asked = named(POINTERS)
    assert upload(asked, local, ObjectStorage(storage), jobs=2, advance=progress) == (0, [])
    assert (progress.size, progress.objects) == (sizes(POINTERS), 20)
    assert storage.count("flush") == 1
    assert upload([], local, ObjectStorage(storage), jobs=2) == (0, [])
    assert storage.count("flush") == 1


@pytest.mark.parametrize("is_remote", [True, False])
def test_what_is_stored_need_not_be_here(cache: ObjectDirectory, is_remote: bool) -> None:
    storage = Memory(is_remote=is_remote).holding(*CONTENTS)
    nothing = LocalObjects(None, cache)
    progress = Progress()
    asked = named(POINTERS)
    assert upload(asked, nothing, ObjectStorage(storage), jobs=2, advance=progress) == (0, [])
    assert (progress.size, progress.objects) == (sizes(POINTERS), 20)
    assert storage.count("put") == 0


def test_objects_from_the_cache_are_stored_too(local: LocalObjects, cache: ObjectDirectory) -> None:
    assert local.own is not None
    objects = LocalObjects(ObjectDirectory(cache.root + "-none"), local.own)
    assert upload(named(POINTERS), objects, ObjectStorage(Memory()), jobs=1) == (20, [])


def test_an_object_that_is_nowhere_is_told_with_its_path(cache: ObjectDirectory) -> None:
    stored, failures = upload(
        named(POINTERS[:1]), LocalObjects(None, cache), ObjectStorage(Memory()), jobs=1
    )
    assert (stored, [failure.path for failure in failures]) == (0, [b"f0"])
    assert isinstance(failures[0].error, ObjectNotFoundError)
    assert failures[0].error.hints


def test_a_flush_that_fails_is_a_fault(local: LocalObjects) -> None:
    class Failing(Memory):
        def flush(self) -> None:
            raise StorageUnavailableError("disk gone")

    with pytest.raises(StorageUnavailableError, match="disk gone"):
        upload(named(POINTERS), local, ObjectStorage(Failing()), jobs=1)


def test_where_some_failed_these_are_told_though_a_flush_would_fail_too(
    local: LocalObjects,
) -> None:
    class Down(Memory):
        def put(self, key: str, source: BinaryIO, size: int) -> bool:
            raise StorageUnavailableError("down")

        def flush(self) -> None:
            raise StorageUnavailableError("down")

    stored, failures = upload(named(POINTERS), local, ObjectStorage(Down()), jobs=1)
    assert (stored, len(failures)) == (0, len(POINTERS))


# What is asked for


def test_small_objects_are_sent_unasked(local: LocalObjects) -> None:
    # Half as many requests as to ask first.
    storage = Memory()
    assert upload(named(POINTERS), local, ObjectStorage(storage), jobs=2) == (20, [])
    assert (storage.count("put"), storage.count("info"), storage.count("list")) == (20, 0, 0)


def test_small_objects_that_were_there_are_looked_at(local: LocalObjects) -> None:
    storage = Memory(is_remote=False).holding(*CONTENTS[:5])
    assert upload(named(POINTERS), local, ObjectStorage(storage), jobs=2) == (15, [])
    assert (storage.count("put"), storage.count("info")) == (20, 5)


@pytest.mark.parametrize(("size", "infos"), [(64 * 1024, 0), (64 * 1024 + 1, 1)])
def test_larger_ones_are_asked_for_first(local: LocalObjects, size: int, infos: int) -> None:
    assert local.own is not None
    add(local.own, noise(size))
    pointer = pointer_to(noise(size))
    storage = Memory()
    assert upload(named([pointer]), local, ObjectStorage(storage), jobs=2) == (1, [])
    assert (storage.count("info"), storage.count("put")) == (infos, 1)


def test_of_many_objects_a_listing_tells_what_is_there(local: LocalObjects, tmp_path: Path) -> None:
    contents = [b"object %d" % number for number in range(300)]
    pointers = [pointer_to(data) for data in contents]
    objects = LocalObjects(None, ObjectDirectory(str(tmp_path / "many")))
    add(objects.cache, *contents)
    storage = Memory(connections=16).holding(*contents[:200])
    progress = Progress()
    stored = upload(named(pointers), objects, ObjectStorage(storage), jobs=32, advance=progress)
    assert stored == (100, [])
    assert (progress.size, progress.objects) == (sizes(pointers), 300)
    assert (storage.count("put"), storage.count("info")) == (100, 0)
    assert storage.count("list") <= 2
    storage.requests.clear()
    assert upload(named(pointers), objects, ObjectStorage(storage), jobs=32) == (0, [])
    assert len(storage.requests) <= 3


@pytest.mark.parametrize("is_listed", [True, False])
def test_one_object_of_a_wrong_size_there_keeps_no_other_back(
    local: LocalObjects, is_listed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads.presence, "_WORTH", 0 if is_listed else 1000)
    storage = Memory()
    storage.lie(POINTERS[3], b"short")
    progress = Progress()
    asked = named(POINTERS)
    stored, [failure] = upload(asked, local, ObjectStorage(storage), jobs=3, advance=progress)
    assert stored == 19
    assert isinstance(failure, Failure)
    assert failure.path == b"f3"
    assert isinstance(failure.error, IntegrityError)
    assert "5 bytes instead of" in failure.error.message
    assert storage.object(POINTERS[3]) == b"short"
    assert (progress.size, progress.objects) == (sizes(POINTERS) - POINTERS[3].size, 19)
    assert (storage.count("list") > 0) == is_listed


def test_what_was_there_and_is_gone_again_is_not_taken_for_stored(local: LocalObjects) -> None:
    class Forgetful(Memory):
        def put(self, key: str, source: BinaryIO, size: int) -> bool:
            source.read()
            return False

    progress = Progress()
    storage = ObjectStorage(Forgetful())
    stored, [failure] = upload(named(POINTERS[:1]), local, storage, jobs=1, advance=progress)
    assert stored == 0
    assert isinstance(failure.error, StorageUnavailableError)
    assert "is gone" in failure.error.message
    assert (progress.size, progress.objects) == (0, 0)


# How many at once


def test_what_the_storage_sends_in_parts_goes_one_by_one_beside_the_rest(
    local: LocalObjects,
) -> None:
    assert local.own is not None
    contents = [noise(70_000, number) for number in range(4)]
    add(local.own, *contents)
    large = [pointer_to(data) for data in contents]
    keys = {object_key(pointer.digest) for pointer in large}
    small_ones_are_done = threading.Event()
    running: list[int] = []
    seen: list[int] = []

    class Splitting(Memory):
        def put(self, key: str, source: BinaryIO, size: int) -> bool:
            if key in keys:
                running.append(1)
                seen.append(len(running))
                assert small_ones_are_done.wait(PATIENCE)
                running.pop()
            done = super().put(key, source, size)
            if all(self.object(pointer) is not None for pointer in POINTERS):
                small_ones_are_done.set()
            return done

    storage = Splitting(connections=8, splits_above=65_536)
    asked = named([*large, *POINTERS])
    assert upload(asked, local, ObjectStorage(storage), jobs=8) == (24, [])
    assert seen == [1] * 4
    # What is only as large is none of them.
    assert upload(asked, local, ObjectStorage(Memory(splits_above=70_000)), jobs=8) == (24, [])


@pytest.mark.parametrize("jobs", [2, 7])
def test_no_more_go_at_once_than_are_asked_for(local: LocalObjects, jobs: int) -> None:
    storage = Memory(connections=16)
    together = threading.Barrier(jobs)
    storage.on_request = lambda request: request.method == "put" and together.wait(PATIENCE)
    count = len(POINTERS) // jobs * jobs
    asked = named(POINTERS[:count])
    assert upload(asked, local, ObjectStorage(storage), jobs=jobs) == (count, [])
    assert len(storage.threads - {threading.get_ident()}) == jobs


# Damage


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
    progress = Progress()
    stored, [failure] = upload(asked, local, ObjectStorage(storage), jobs=2, advance=progress)
    assert stored == 19
    assert isinstance(failure.error, IntegrityError)
    assert str(path) in failure.error.message
    assert storage.object(pointer) is None
    assert (progress.size, progress.objects) == (sizes(POINTERS[1:]), 19)


def test_an_object_that_grows_while_it_is_read_is_not_stored(
    local: LocalObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = corrupt(local, POINTERS[0], lambda data: data + b"x")
    monkeypatch.setattr(ObjectDirectory, "find", lambda self, pointer: str(path))
    storage = Memory()
    _, [failure] = upload(named(POINTERS[:1]), local, ObjectStorage(storage), jobs=1)
    assert isinstance(failure.error, IntegrityError)
    assert storage.object(POINTERS[0]) is None


def test_a_file_of_ours_that_can_t_be_read_is_named(
    local: LocalObjects, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert local.own is not None
    large = noise(64 * 1024 + 1)
    add(local.own, large)
    monkeypatch.setattr(ObjectDirectory, "find", lambda self, pointer: str(tmp_path))
    _, [failure] = upload(named([pointer_to(large)]), local, ObjectStorage(Memory()), jobs=1)
    assert isinstance(failure.error, StorageUnavailableError)
    assert failure.error.message == f"Is a directory: {tmp_path}"


# Again


class Breaking(Memory):
    """Fails now and then after it has read so much of a source, and has stored it or not."""

    def __init__(self, *reads: int, stores: bool = False) -> None:
        super().__init__("breaking")
        self._reads = list(reads)
        self._stores = stores
        self.read: list[bytes] = []

    def put(self, key: str, source: BinaryIO, size: int) -> bool:
        if not self._reads:
            return super().put(key, source, size)
        read = self._reads.pop(0)
        if self._stores:
            assert super().put(key, source, size)
        else:
            self.read.append(source.read(read))
        raise StorageUnavailableError("connection lost")


@pytest.mark.parametrize(
    "reads", [(0,), (1,), (10,), (2_000_000,), (3_000_000,), (5, 2_999_999, 1 << 20)]
)
def test_an_upload_that_is_tried_again_reads_from_the_start(
    local: LocalObjects, reads: tuple[int, ...]
) -> None:
    for pointer, data in ((LARGE_POINTER, LARGE), (POINTERS[0], CONTENTS[0])):
        breaking = Breaking(*reads)
        progress = Progress()
        storage = ObjectStorage(Retrying(breaking, sleep=lambda seconds: None))
        asked = named([pointer])
        assert upload(asked, local, storage, jobs=1, advance=progress) == (1, [])
        assert breaking.read == [data[:read] for read in reads]
        assert breaking.object(pointer) == data
        assert (progress.size, progress.objects) == (len(data), 1)
        assert progress.most <= len(data)
        assert progress.least == 0


def test_damage_is_found_in_the_second_reading_too(local: LocalObjects) -> None:
    path = corrupt(local, LARGE_POINTER, lambda data: b"?" + data[1:])
    storage = Breaking(2_000_000)
    again = ObjectStorage(Retrying(storage, sleep=lambda seconds: None))
    _, [failure] = upload(named([LARGE_POINTER]), local, again, jobs=1)
    assert isinstance(failure.error, IntegrityError)
    assert str(path) in failure.error.message
    assert storage.object(LARGE_POINTER) is None


def test_an_upload_whose_answer_was_lost_is_stored_and_not_new(local: LocalObjects) -> None:
    storage = Breaking(1, stores=True)
    again = ObjectStorage(Retrying(storage, sleep=lambda seconds: None))
    progress = Progress()
    assert upload(named([LARGE_POINTER]), local, again, jobs=1, advance=progress) == (0, [])
    assert storage.object(LARGE_POINTER) == LARGE
    assert (progress.size, progress.objects) == (len(LARGE), 1)
    # Before and after.
    assert storage.count("info") == 2


def test_an_upload_that_fails_counts_for_nothing(local: LocalObjects) -> None:
    storage = Breaking(*[2_000_000] * 6)
    again = ObjectStorage(Retrying(storage, sleep=lambda seconds: None))
    progress = Progress()
    stored, [failure] = upload(named([LARGE_POINTER]), local, again, jobs=1, advance=progress)
    assert stored == 0
    assert failure.error.message == "connection lost"
    assert len(storage.read) == 6
    assert (progress.size, progress.objects, progress.least) == (0, 0, 0)


def test_a_source_is_read_on_or_from_the_start_and_no_other_way(local: LocalObjects) -> None:
    found: list[Any] = []

    class Curious(Memory):
        def put(self, key: str, source: BinaryIO, size: int) -> bool:
            assert source.seekable()
            found.append((source.tell(), source.read(1_200_000), source.tell()))
            for offset, whence in ((5, io.SEEK_SET), (0, io.SEEK_END)):
                with pytest.raises(io.UnsupportedOperation):
                    source.seek(offset, whence)
            assert source.seek(0) == source.tell() == 0
            return super().put(key, source, size)

    assert upload(named([LARGE_POINTER]), local, ObjectStorage(Curious()), jobs=1) == (1, [])
    assert found == [(0, LARGE[:1_200_000], 1_200_000)]
