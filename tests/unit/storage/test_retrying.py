from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, cast

import pytest

from git_datareg.errors import (
    DataregError,
    IntegrityError,
    ObjectNotFoundError,
    StorageDeniedError,
    StorageNotFoundError,
    StorageReadOnlyError,
    StorageUnavailableError,
)
from git_datareg.storage import Info, Storage, retrying
from git_datareg.storage.retrying import Retrying
from tests.support.storages import Memory, Request

KEY = "objects/ab/cdef"
VALUE = b"0123456789"


class Time:
    """A clock that goes on when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.waits: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def place() -> Memory:
    """What is served, and fails."""
    place = Memory()
    place._values[KEY] = VALUE
    return place


@pytest.fixture
def storage(place: Memory, time: Time) -> Retrying:
    return Retrying(place, sleep=time.sleep, clock=lambda: time.now)


def fail(place: Memory, count: int, fault: Exception | None = None) -> None:
    """Have the next requests fail, so many; each with a fault of its own unless one is given."""
    left = list(range(count))

    def on_request(request: Request) -> None:
        if left:
            raise fault or StorageUnavailableError(f"down, {left.pop(0)}")

    place.on_request = on_request


def busy(seconds: float) -> StorageUnavailableError:
    fault = StorageUnavailableError("busy")
    fault.retry_after = seconds
    return fault


METHODS: dict[str, Callable[[Storage], object]] = {
    "info": lambda storage: storage.info(KEY) == Info(KEY, 10),
    "open": lambda storage: storage.open(KEY).read() == VALUE,
    "open a part": lambda storage: storage.open(KEY, 2, 3).read() == b"234",
    "put": lambda storage: storage.put("new", io.BytesIO(b"x"), 1),
    "list": lambda storage: list(storage.list("objects/")) == [Info(KEY, 10)],
    "flush": lambda storage: storage.flush() is None,
}
each_method = pytest.mark.parametrize("ask", METHODS.values(), ids=METHODS.keys())


@each_method
def test_what_comes_through_at_once_waits_for_nothing(
    storage: Retrying, place: Memory, time: Time, ask: Callable[[Storage], object]
) -> None:
    assert ask(storage)
    assert len(place.requests) == 1
    assert time.waits == []


@each_method
@pytest.mark.parametrize("count", [1, 5])
def test_what_fails_is_asked_again(
    storage: Retrying, place: Memory, time: Time, ask: Callable[[Storage], object], count: int
) -> None:
    fail(place, count)
    assert ask(storage)
    assert len(place.requests) == count + 1
    assert len(time.waits) == count


@each_method
def test_after_six_attempts_the_last_fault_is_told(
    storage: Retrying, place: Memory, time: Time, ask: Callable[[Storage], object]
) -> None:
    fail(place, 7)
    with pytest.raises(StorageUnavailableError, match="down, 5"):
        ask(storage)
    assert len(place.requests) == 6
    assert len(time.waits) == 5


def test_deleting_is_tried_again(place: Memory, time: Time) -> None:
    class Failing(Memory):
        def delete(self, key: str) -> None:
            if not time.waits:
                raise StorageUnavailableError("down")
            super().delete(key)

    inner = Failing()
    inner._values[KEY] = VALUE
    Retrying(inner, sleep=time.sleep).delete(KEY)
    assert inner.info(KEY) is None


FAULTS = [
    StorageDeniedError("no"),
    StorageNotFoundError("no"),
    StorageReadOnlyError("no"),
    ObjectNotFoundError("no"),
    IntegrityError("no"),
    KeyError("no"),
]


@each_method
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
def test_what_would_come_out_the_same_is_told_at_once(
    storage: Retrying,
    place: Memory,
    time: Time,
    ask: Callable[[Storage], object],
    fault: Exception,
) -> None:
    fail(place, 1, fault)
    with pytest.raises(type(fault)) as caught:
        ask(storage)
    assert caught.value is fault
    assert len(place.requests) == 1
    assert time.waits == []


# How long


def test_waits_grow_and_differ(place: Memory, time: Time) -> None:
    for _ in range(50):
        fail(place, 5)
        Retrying(place, sleep=time.sleep).info(KEY)
    rounds = [time.waits[start : start + 5] for start in range(0, len(time.waits), 5)]
    for number, longest in enumerate([0.25, 0.5, 1.0, 2.0, 4.0]):
        waits = {waits[number] for waits in rounds}
        assert all(longest / 2 <= wait <= longest for wait in waits)
        assert len(waits) > 1


@pytest.mark.parametrize("seconds", [0.0, 3.0, 60.0])
def test_what_the_server_asks_for_is_waited(
    storage: Retrying, place: Memory, time: Time, seconds: float
) -> None:
    fail(place, 1, busy(seconds))
    place.on_request = once(place.on_request)
    assert storage.info(KEY) is not None
    assert len(time.waits) == 1
    assert seconds < time.waits[0] <= seconds + 0.25


@each_method
def test_a_server_that_asks_for_too_much_is_not_waited_for(
    storage: Retrying, place: Memory, time: Time, ask: Callable[[Storage], object]
) -> None:
    fault = busy(60.1)
    fail(place, 1, fault)
    with pytest.raises(StorageUnavailableError) as caught:
        ask(storage)
    assert caught.value is fault
    assert len(place.requests) == 1
    assert time.waits == []


def once(function: Callable[[Request], object]) -> Callable[[Request], object]:
    """The function for its first call; nothing for later ones."""
    calls = iter([function])

    def first(request: Request) -> None:
        for call in calls:
            call(request)

    return first


# A place that is down


def exhaust(storage: Storage, key: str = KEY) -> None:
    with pytest.raises(StorageUnavailableError, match="down"):
        storage.info(key)


@each_method
def test_a_place_that_is_down_is_not_asked_for_a_while(
    storage: Retrying, place: Memory, time: Time, ask: Callable[[Storage], object]
) -> None:
    fail(place, 10**6)
    exhaust(storage)
    exhaust(storage)
    place.requests.clear()
    place.on_request = lambda request: None
    waits = len(time.waits)
    for later in (0.0, 14.9):
        time.now += later
        with pytest.raises(StorageUnavailableError, match="down"):
            ask(storage)
    assert place.requests == []
    assert len(time.waits) == waits
    time.now += 0.2
    assert ask(storage)


def test_a_place_that_is_still_down_later_is_given_up_with_one_more_request(
    storage: Retrying, place: Memory, time: Time
) -> None:
    fail(place, 10**6)
    exhaust(storage)
    exhaust(storage)
    time.now += 20
    place.requests.clear()
    exhaust(storage)
    assert len(place.requests) == 6
    exhaust(storage)
    assert len(place.requests) == 6


def test_one_request_that_fails_for_good_is_no_sign(
    storage: Retrying, place: Memory, time: Time
) -> None:
    def on_request(request: Request) -> None:
        if request.key == "bad":
            raise StorageUnavailableError("down")

    place.on_request = on_request
    for _ in range(5):
        exhaust(storage, "bad")
        assert storage.info(KEY) is not None
        exhaust(storage, "bad")
        assert list(storage.list("objects/"))


def test_each_fault_of_a_place_that_is_down_is_one_of_its_own(
    storage: Retrying, place: Memory
) -> None:
    # One that is raised again and again would hold the frames of all who met it.
    fault = StorageUnavailableError("down", "a hint")
    fault.retry_after = 100.0
    fail(place, 10**6, fault)
    exhaust(storage)
    exhaust(storage)
    told = []
    for _ in range(2):
        with pytest.raises(StorageUnavailableError, match="down") as caught:
            storage.info(KEY)
        told.append(caught.value)
    assert len({id(each) for each in (*told, fault)}) == 3
    assert [(each.hints, each.retry_after) for each in told] == [(("a hint",), 100.0)] * 2


def test_who_waits_while_the_place_goes_down_gives_up(place: Memory, time: Time) -> None:
    others = iter(["b", "c"])

    def sleep(seconds: float) -> None:
        # Other threads meanwhile.
        for key in others:
            exhaust(storage, key)

    storage = Retrying(place, sleep=sleep, clock=lambda: time.now)
    fail(place, 10**6)
    exhaust(storage, "a")
    assert [request.key for request in place.requests].count("a") == 1


# Streams


class Breaking(io.BytesIO):
    """Gives its bytes, and then raises the fault, if there is one."""

    def __init__(self, data: bytes, fault: Exception | None) -> None:
        super().__init__(data)
        self._fault = fault

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        if not data and size and self._fault is not None:
            raise self._fault
        return data


def break_off(place: Memory, *ends: int, fault: Exception | None) -> list[BinaryIO]:
    """Have streams end after so many bytes, one after the other; returns them."""
    left = list(ends)
    streams: list[BinaryIO] = []

    def on_stream(request: Request, data: bytes) -> BinaryIO:
        stream = Breaking(data[: left.pop(0)], fault) if left else io.BytesIO(data)
        streams.append(stream)
        return stream

    place.on_stream = on_stream
    return streams


def asked(place: Memory) -> list[tuple[int, int | None]]:
    return [request[2:] for request in place.requests]


DOWN = StorageUnavailableError("down")
READERS: dict[str, Callable[[Any], Iterator[bytes]]] = {
    "all": lambda stream: iter([stream.read()]),
    "all, None": lambda stream: iter([stream.read(None)]),
    "exact": lambda stream: iter([stream.read(7)]),
    "more": lambda stream: iter([stream.read(100)]),
    "by one": lambda stream: iter(lambda: stream.read(1), b""),
    "by three": lambda stream: iter(lambda: stream.read(3), b""),
    "what comes": lambda stream: iter(stream.read1, b""),
    "what comes, by two": lambda stream: iter(lambda: stream.read1(2), b""),
    "in a buffer": lambda stream: read_into(stream, 4),
    "buffered": lambda stream: iter([io.BufferedReader(stream).read()]),
}


def read_into(stream: Any, size: int) -> Iterator[bytes]:
    buffer = bytearray(size)
    while count := stream.readinto(buffer):
        yield bytes(buffer[:count])


@pytest.mark.parametrize("chunk", [1, 4, 1 << 20])
@pytest.mark.parametrize("read", READERS.values(), ids=READERS.keys())
@pytest.mark.parametrize("fault", [DOWN, None], ids=["breaks", "ends"])
def test_a_stream_that_breaks_off_goes_on_where_it_was(
    storage: Retrying,
    place: Memory,
    fault: Exception | None,
    read: Callable[[Any], Iterator[bytes]],
    chunk: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(retrying, "_CHUNK", chunk)
    break_off(place, 4, 1, fault=fault)
    with storage.open(KEY, 2, 7) as stream:
        assert b"".join(read(stream)) == VALUE[2:9]
    assert asked(place) == [(2, 7), (6, 3), (7, 2)]


def test_where_a_stream_broke_off_nothing_comes_twice(storage: Retrying, place: Memory) -> None:
    break_off(place, 4, 1, 0, fault=DOWN)
    with storage.open(KEY, 2, 7) as stream:
        assert stream.read() == VALUE[2:9]
        assert stream.read() == stream.read(5) == b""
    assert asked(place) == [(2, 7), (6, 3), (7, 2), (7, 2)]


def test_a_stream_of_unknown_length_goes_on_to_its_end(storage: Retrying, place: Memory) -> None:
    break_off(place, 4, 0, 3, fault=DOWN)
    with storage.open(KEY, 1) as stream:
        assert stream.read() == VALUE[1:]
    assert asked(place) == [(1, None), (5, None), (5, None), (8, None)]


def test_a_stream_of_unknown_length_ends_where_it_ends(storage: Retrying, place: Memory) -> None:
    break_off(place, 4, fault=None)
    with storage.open(KEY) as stream:
        assert stream.read() == VALUE[:4]
    assert asked(place) == [(0, None)]


def test_a_value_that_is_short_is_asked_for_once_more(
    storage: Retrying, place: Memory, time: Time
) -> None:
    with storage.open(KEY, 4, 100) as stream:
        assert stream.read(100) == VALUE[4:]
        assert stream.read(100) == b""
    assert asked(place) == [(4, 100), (10, 94)]
    assert time.waits == []


def test_a_stream_that_ends_early_again_and_again_has_an_end(
    storage: Retrying, place: Memory
) -> None:
    break_off(place, *[1] * 9, fault=None)
    with storage.open(KEY, 0, 10) as stream:
        assert stream.read(10) == VALUE[:7]
    assert len(place.requests) == 7


def test_a_stream_that_breaks_off_for_good_is_a_fault(
    storage: Retrying, place: Memory, time: Time
) -> None:
    break_off(place, 4, *[0] * 20, fault=DOWN)
    with storage.open(KEY, 0, 10) as stream, pytest.raises(StorageUnavailableError, match="down"):
        stream.read(10)
    # The first attempt for those bytes was the stream that broke.
    assert asked(place) == [(0, 10), *[(4, 6)] * 5]
    assert len(time.waits) == 5


def test_a_value_that_is_gone_when_it_is_asked_for_again_is_not_found(
    storage: Retrying, place: Memory
) -> None:
    break_off(place, 4, fault=DOWN)
    with storage.open(KEY, 0, 10) as stream:
        assert stream.read(4) == b"0123"
        place.delete(KEY)
        with pytest.raises(ObjectNotFoundError):
            stream.read(4)


@pytest.mark.parametrize("fault", [OSError(5, "Input/output error"), StorageDeniedError("no")])
def test_other_faults_of_a_stream_are_told_at_once(
    storage: Retrying, place: Memory, fault: Exception
) -> None:
    break_off(place, 4, fault=fault)
    with storage.open(KEY, 0, 10) as stream, pytest.raises(type(fault)) as caught:
        stream.read(10)
    assert caught.value is fault
    assert len(place.requests) == 1


def test_every_stream_is_closed(storage: Retrying, place: Memory) -> None:
    streams = break_off(place, 4, 2, fault=DOWN)
    with storage.open(KEY, 0, 10) as stream:
        assert stream.readable()
        stream.read()
        assert [each.closed for each in streams] == [True, True, False]
    assert [each.closed for each in (*streams, stream)] == [True] * 4


def test_a_piece_that_comes_at_once_is_not_copied(storage: Retrying, place: Memory) -> None:
    piece = b"x" * 1000

    class One(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            return piece

    place.on_stream = lambda request, data: cast(BinaryIO, One())
    with storage.open(KEY, 0, 1000) as stream:
        assert stream.read(1000) is piece


# put


def test_each_attempt_to_put_reads_from_where_the_first_did(
    storage: Retrying, place: Memory
) -> None:
    read: list[bytes] = []

    class Failing(Memory):
        def put(self, key: str, source: BinaryIO, size: int) -> bool:
            read.append(source.read(3))
            if len(read) < 3:
                raise StorageUnavailableError("down")
            return True

    source = io.BytesIO(b"--value")
    source.seek(2)
    assert Retrying(Failing(), sleep=lambda seconds: None).put(KEY, source, 5)
    assert read == [b"val"] * 3


def test_a_source_that_can_t_be_rewound_has_one_attempt(
    storage: Retrying, place: Memory, time: Time
) -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def seek(self, offset: int, whence: int = 0) -> int:
            raise io.UnsupportedOperation

    assert storage.put("new", Pipe(b"value"), 5)
    fail(place, 1)
    with pytest.raises(StorageUnavailableError, match="down"):
        storage.put("newer", Pipe(b"value"), 5)
    assert time.waits == []


def test_a_put_whose_answer_was_lost_is_not_new(time: Time) -> None:
    class Losing(Memory):
        def put(self, key: str, source: BinaryIO, size: int) -> bool:
            is_new = super().put(key, source, size)
            if is_new:
                raise StorageUnavailableError("connection lost")
            return is_new

    place = Losing()
    assert Retrying(place, sleep=time.sleep).put(KEY, io.BytesIO(VALUE), 10) is False
    assert place._values[KEY] == VALUE


# list


class Listing(Memory):
    """Lists keys, and fails behind the ones that are named, each time once."""

    def __init__(self, *breaks: str) -> None:
        super().__init__()
        self.breaks = list(breaks)
        self.begun = 0
        for key in "abcdef":
            self._values[key] = b"x"

    def list(self, prefix: str) -> Iterator[Info]:
        self.begun += 1
        for info in super().list(prefix):
            yield info
            if info.key in self.breaks:
                self.breaks.remove(info.key)
                raise StorageUnavailableError("down")


def listed(place: Storage, time: Time) -> list[str]:
    return [info.key for info in Retrying(place, sleep=time.sleep).list("")]


@pytest.mark.parametrize("breaks", ["", "a", "c", "f", "ace", "ca", "abcdef" * 5, "aaaaa"])
def test_a_list_that_breaks_off_has_each_key_once(time: Time, breaks: str) -> None:
    place = Listing(*breaks)
    assert listed(place, time) == list("abcdef")
    assert place.begun == len(breaks) + 1


def test_a_list_that_comes_no_further_is_a_fault(time: Time) -> None:
    place = Listing(*"c" * 20)
    found = []
    with pytest.raises(DataregError, match="down"):
        found += [found.append(info.key) for info in Retrying(place, sleep=time.sleep).list("")]
    assert found == ["a", "b", "c"]
    assert place.begun == 6


def test_nothing_is_listed_before_it_is_read(storage: Retrying, place: Memory) -> None:
    storage.list("")
    assert place.requests == []


def test_the_rest_is_the_storage_s_own(storage: Retrying, place: Memory) -> None:
    assert storage.location == place.location
    assert storage.properties is place.properties
    assert storage.url(KEY) == place.url(KEY)
    assert storage.file(KEY) is None
