from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from git_datareg import presence
from git_datareg.errors import StorageDeniedError, StorageUnavailableError
from git_datareg.layout import ObjectStorage, object_key
from git_datareg.pointer import Pointer
from git_datareg.storage import Storage
from tests.support.storages import Memory, Request, noise, pointer_to

CONTENTS = [b"object %d" % number for number in range(600)]
POINTERS = [pointer_to(data) for data in CONTENTS]
MANY = POINTERS[:400]


def listed(
    storage: Storage, pointers: Sequence[Pointer] = MANY, most: int = 8
) -> dict[str, int] | None:
    return presence.listed(ObjectStorage(storage), pointers, most=most)


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "_PAGE", 10)


def filled(each: int) -> Memory:
    """A storage with so many other objects in each of the 256 folders."""
    storage = Memory()
    for folder in range(256):
        for number in range(each):
            storage._values[f"objects/{folder:02x}/{number:062x}"] = b"x"
    return storage


def folder(pointer: Pointer) -> str:
    return object_key(pointer.digest)[: len("objects/00/")]


def test_few_objects_are_asked_for_one_by_one() -> None:
    storage = Memory().holding(*CONTENTS)
    assert listed(storage, POINTERS[:63]) is None
    assert listed(storage, []) is None
    assert storage.requests == []


def test_a_storage_that_can_t_list_is_not_asked_to() -> None:
    storage = Memory(can_list=False).holding(*CONTENTS)
    assert listed(storage) is None
    assert storage.requests == []


def test_where_little_is_stored_one_listing_tells_it() -> None:
    storage = Memory().holding(*CONTENTS[:300])
    found = listed(storage)
    assert found is not None
    for pointer in MANY:
        size = pointer.size if pointer in POINTERS[:300] else None
        assert found.get(object_key(pointer.digest)) == size
    assert [request.key for request in storage.requests] == [min(map(folder, MANY)), "objects/"]


def test_an_empty_storage_has_nothing() -> None:
    assert listed(Memory()) == {}


def test_where_more_is_stored_the_folders_are_listed_that_matter(
    small_pages: None,
) -> None:
    storage = filled(7).holding(*CONTENTS[:300])
    found = listed(storage, most=32)
    assert found is not None
    assert [each for each in MANY if object_key(each.digest) in found] == MANY[:300]
    folders = {folder(pointer) for pointer in MANY}
    assert sorted(request.key for request in storage.requests) == sorted(folders)


def test_a_storage_with_very_much_is_asked_object_by_object(
    small_pages: None,
) -> None:
    storage = filled(25)
    assert listed(storage) is None
    # One look told that.
    assert storage.count("list") == 1


def test_folders_are_listed_at_once(small_pages: None) -> None:
    storage = filled(7)
    folders = sorted({folder(pointer) for pointer in POINTERS})[:9]
    together = threading.Barrier(4)

    def wait(request: Request) -> None:
        if request.key != folders[0]:
            together.wait(30)

    storage.on_request = wait
    pointers = [pointer for pointer in POINTERS if folder(pointer) in folders] * 10
    assert listed(storage, pointers, most=4) is not None
    assert sorted(request.key for request in storage.requests) == folders


@pytest.mark.parametrize("first", [True, False])
def test_who_may_not_list_asks_object_by_object(first: bool, small_pages: None) -> None:
    storage = filled(7)

    def deny(request: Request) -> None:
        if first or storage.count("list") > 3:
            raise StorageDeniedError("no")

    storage.on_request = deny
    assert listed(storage) is None


@pytest.mark.parametrize("first", [True, False])
def test_other_faults_are_told(first: bool, small_pages: None) -> None:
    storage = filled(7)

    def fail(request: Request) -> None:
        if first or storage.count("list") > 3:
            raise StorageUnavailableError("down")

    storage.on_request = fail
    with pytest.raises(StorageUnavailableError, match="down"):
        listed(storage)


def test_sizes_are_told_as_they_are() -> None:
    storage = Memory().holding(*CONTENTS)
    storage.lie(POINTERS[0], noise(3))
    found = listed(storage)
    assert found is not None
    assert found[object_key(POINTERS[0].digest)] == 3
