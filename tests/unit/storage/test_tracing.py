from __future__ import annotations

import io
import re
import uuid
from collections.abc import Iterator

import pytest

from git_datareg.errors import ObjectNotFoundError, StorageDeniedError, StorageUnavailableError
from git_datareg.location import Location
from git_datareg.storage import Storage, open_storage, tracing
from git_datareg.storage.tracing import Tracing
from tests.support.storages import Memory, Request

KEY = "objects/ab/cdef"


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """What is told, with the seconds left out."""
    found: list[str] = []
    tracing.listen(lambda line: found.append(re.sub(r"\d+\.\d{3} s$", "N s", line)))
    yield found
    tracing.listen(None)


@pytest.fixture
def place() -> Memory:
    place = Memory()
    place._values[KEY] = b"0123456789"
    return place


@pytest.fixture
def storage(place: Memory) -> Storage:
    return Tracing(place)


def test_each_request_is_a_line_with_what_was_asked(storage: Storage, lines: list[str]) -> None:
    assert storage.info(KEY)
    with storage.open(KEY) as stream:
        assert stream.read() == b"0123456789"
    storage.open(KEY, 3).close()
    storage.open(KEY, 3, 5).close()
    storage.open(KEY, 0, 5).close()
    assert storage.put("new", io.BytesIO(b"x"), 1)
    assert len(list(storage.list("objects/"))) == 1
    storage.delete("new")
    storage.flush()
    assert lines == [
        f"memory://a: {what}: done after N s"
        for what in (
            f"info {KEY}",
            f"open {KEY}",
            f"open {KEY} 3+",
            f"open {KEY} 3+5",
            f"open {KEY} 0+5",
            "put new (1 bytes)",
            "list objects/",
            "delete new",
            "flush",
        )
    ]


@pytest.mark.parametrize(
    "fault", [StorageUnavailableError("down"), StorageDeniedError("no"), KeyboardInterrupt()]
)
def test_a_fault_is_told_by_its_kind_and_comes_through(
    storage: Storage, place: Memory, lines: list[str], fault: BaseException
) -> None:
    def on_request(request: Request) -> None:
        raise fault

    place.on_request = on_request
    with pytest.raises(type(fault)) as caught:
        storage.info(KEY)
    assert caught.value is fault
    assert lines == [f"memory://a: info {KEY}: {type(fault).__name__} after N s"]


def test_an_absent_key_is_told(storage: Storage, lines: list[str]) -> None:
    with pytest.raises(ObjectNotFoundError):
        storage.open("nowhere")
    assert lines == ["memory://a: open nowhere: ObjectNotFoundError after N s"]


def test_a_list_of_which_no_more_is_wanted_is_done(
    storage: Storage, place: Memory, lines: list[str]
) -> None:
    place._values["objects/other"] = b""
    listing = storage.list("objects/")
    assert next(listing).key == KEY
    assert lines == []
    listing.close()  # type: ignore[attr-defined]
    assert lines == ["memory://a: list objects/: done after N s"]


def test_no_secret_of_a_url_is_told(lines: list[str]) -> None:
    place = Memory()
    place.location = Location.parse("https://ada:SECRET@example.org/data?signature=SECRET")
    Tracing(place).info(KEY)
    assert lines == [f"https://example.org/data: info {KEY}: done after N s"]


def test_storages_that_are_opened_tell_only_who_listens(lines: list[str]) -> None:
    location = Location(f"memory://{uuid.uuid4()}")
    heard = open_storage(location)
    heard.info(KEY)
    tracing.listen(None)
    assert not tracing.is_on()
    open_storage(location).info(KEY)
    heard.info(KEY)
    assert lines == [f"{location}: info {KEY}: done after N s"]


def test_the_rest_is_the_storage_s_own(storage: Storage, place: Memory, lines: list[str]) -> None:
    assert storage.location == place.location
    assert storage.properties is place.properties
    assert storage.url(KEY) == place.url(KEY)
    assert storage.file(KEY) is None
    assert lines == []
