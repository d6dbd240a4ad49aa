"""Large values on S3 servers: in parts, resumed, and nothing left behind."""

from __future__ import annotations

import io
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO, cast

import pytest

from git_datareg.errors import (
    IntegrityError,
    ObjectNotFoundError,
    StorageDeniedError,
    StorageError,
    StorageUnavailableError,
)
from git_datareg.location import Location
from git_datareg.storage import Options, Storage, open_storage
from git_datareg.storage.s3 import S3Storage
from tests.support import s3proxy
from tests.support.s3proxy import Answer, Proxy, Request, error
from tests.support.s3server import S3Server, S3Servers, credentials

MIB = 1024 * 1024
PART = 8 * MIB
LARGE = random.Random(0).randbytes(3 * PART + 1)
OTHER = bytes(reversed(LARGE))


@pytest.fixture(autouse=True)
def with_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in credentials().items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def server(request: pytest.FixtureRequest, s3_servers: S3Servers) -> S3Server:
    return s3_servers.get(getattr(request, "param", "seaweedfs"))


SERVERS = ["seaweedfs", "moto"]
WITH_CEPH = [*SERVERS, "ceph"] if os.environ.get("DATAREG_TEST_CEPH") else SERVERS
each_server = pytest.mark.parametrize("server", WITH_CEPH, indirect=True)


@pytest.fixture
def place(server: S3Server) -> str:
    return server.new_place()


@pytest.fixture
def proxy(server: S3Server) -> Iterator[Proxy]:
    with s3proxy.serve(server.endpoint) as proxy:
        yield proxy


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    assert not [each for each in threading.enumerate() if "(_part)" in each.name]


def once(server: S3Server | Proxy, place: str, **options: str) -> S3Storage:
    """A storage that tries nothing again."""
    return S3Storage(Location(place), Options(endpoint=server.endpoint, **options))  # type: ignore[arg-type]


def patient(server: S3Server | Proxy, place: str) -> Storage:
    return open_storage(Location(place), Options(endpoint=server.endpoint))


def put(storage: Storage, value: bytes, key: str = "a") -> bool:
    return storage.put(key, io.BytesIO(value), len(value))


def assert_stored(server: S3Server, place: str, value: bytes) -> None:
    """The value is there whole, and nothing else."""
    with once(server, place).open("a") as stream:
        assert stream.read() == value
    assert len(server.keys(place)) == 1
    assert server.unfinished(place) == []


def assert_nothing(server: S3Server, place: str) -> None:
    assert server.keys(place) == []
    assert server.unfinished(place) == []


class Source(io.RawIOBase):
    """A stream over bytes that does something once so many were read."""

    def __init__(self, data: bytes, at: int, action: object) -> None:
        self._stream = io.BytesIO(data)
        self._at = at
        self._action = action

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if self._stream.tell() >= self._at and self._action is not None:
            action, self._action = self._action, None
            if isinstance(action, BaseException):
                raise action
            action()  # type: ignore[operator]
        return self._stream.read(min(size, MIB))

    def as_stream(self) -> BinaryIO:
        return cast(BinaryIO, self)


@each_server
@pytest.mark.parametrize("size", [2 * PART - 1, 2 * PART, 2 * PART + 1, 3 * PART])
def test_a_large_value_is_stored_once(server: S3Server, place: str, size: int) -> None:
    storage = once(server, place)
    assert put(storage, LARGE[:size]) is True
    assert put(storage, OTHER[:size]) is False
    assert_stored(server, place, LARGE[:size])


@each_server
def test_until_it_is_whole_nothing_is_there(server: S3Server, place: str) -> None:
    storage = once(server, place)
    seen = []

    def look() -> None:
        seen.append((storage.info("a"), list(storage.list(""))))
        with pytest.raises(ObjectNotFoundError):
            storage.open("a")

    assert storage.put("a", Source(LARGE, 2 * PART, look).as_stream(), len(LARGE))
    assert seen == [(None, [])]


# Faults


@each_server
@pytest.mark.parametrize(
    ("data", "size"),
    [(LARGE, len(LARGE) + 1), (LARGE, len(LARGE) - 1), (LARGE, 2 * PART), (b"", 3 * PART)],
    ids=["short", "long", "long at a part's end", "empty"],
)
def test_a_source_of_another_length_leaves_nothing(
    server: S3Server, place: str, data: bytes, size: int
) -> None:
    storage = patient(server, place)
    with pytest.raises(IntegrityError, match=place):
        storage.put("a", io.BytesIO(data), size)
    assert_nothing(server, place)
    assert put(storage, LARGE) is True


FAULTS = [OSError(5, "Input/output error"), IntegrityError("corrupt"), StorageDeniedError("no")]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
def test_a_source_that_fails_is_heard_and_leaves_nothing(
    server: S3Server, place: str, fault: Exception
) -> None:
    with pytest.raises(type(fault)) as caught:
        source = Source(LARGE, 2 * PART, fault).as_stream()
        patient(server, place).put("a", source, len(LARGE))
    assert caught.value is fault
    assert_nothing(server, place)


def fails_at(part: int, answer: Answer) -> s3proxy.Rule:
    return lambda request: answer if request.part == part else None


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (error(400, "BadDigest", "The MD5 is wrong."), StorageError),
        (error(403, "AccessDenied", "Access Denied."), StorageDeniedError),
    ],
    ids=["refused", "denied"],
)
def test_a_part_that_is_refused_ends_it_and_leaves_nothing(
    server: S3Server, proxy: Proxy, place: str, answer: Answer, kind: type[Exception]
) -> None:
    proxy.rule = fails_at(2, answer)
    with pytest.raises(kind, match=place) as caught:
        put(patient(proxy, place), LARGE)
    assert type(caught.value) is kind
    assert_nothing(server, place)


# Resuming


@pytest.mark.parametrize("cut", [None, 0], ids=["status 503", "broken off"])
def test_after_a_connection_that_failed_only_the_rest_is_sent(
    server: S3Server, proxy: Proxy, place: str, cut: int | None
) -> None:
    proxy.rule = fails_at(2, error(503, "SlowDown")._replace(cut=cut))
    storage = once(proxy, place)
    with pytest.raises(StorageUnavailableError, match=place):
        put(storage, LARGE)
    assert server.keys(place) == []
    assert len(server.unfinished(place)) == 1
    # One more attempt for a part is botocore's.
    assert sorted(set(proxy.parts())) == [1, 2, 3, 4]
    assert proxy.parts().count(2) == 2
    proxy.rule = None
    proxy.requests.clear()
    assert put(storage, LARGE) is True
    assert proxy.parts() == [2]
    assert_stored(server, place, LARGE)


def test_behind_open_storage_it_goes_on_by_itself(
    server: S3Server, proxy: Proxy, place: str
) -> None:
    faults = iter([error(503, "SlowDown")] * 2)
    proxy.rule = lambda request: next(faults, None) if request.part == 4 else None
    assert put(patient(proxy, place), LARGE) is True
    assert sorted(proxy.parts()) == [1, 2, 3, 4, 4, 4]
    assert_stored(server, place, LARGE)


PUT = """
import sys
from git_datareg.location import Location
from git_datareg.storage import open_storage
with open(sys.argv[2], "rb") as file:
    size = file.seek(0, 2)
    file.seek(0)
    print(open_storage(Location(sys.argv[1])).put("a", file, size))
"""


@each_server
def test_after_a_kill_only_what_was_not_sent_is_sent(
    server: S3Server,
    proxy: Proxy,
    place: str,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path_factory.mktemp("source") / "value"
    path.write_bytes(LARGE)
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
    is_killed = threading.Event()

    def rule(request: Request) -> Answer | None:
        if (request.part or 0) <= 2:
            return None
        is_killed.wait(60)
        return Answer(500)

    proxy.rule = rule
    environ = {name: value for name, value in os.environ.items() if "COVERAGE" not in name}
    child = subprocess.Popen([sys.executable, "-c", PUT, place, str(path)], env=environ)
    proxy.wait_until(lambda: sum(each.part in (1, 2) for each in proxy.answered) == 2)
    child.kill()
    assert child.wait() == -signal.SIGKILL
    is_killed.set()
    assert server.keys(place) == []
    proxy.rule = None
    proxy.requests.clear()
    assert put(patient(proxy, place), LARGE) is True
    assert sorted(proxy.parts()) == [3, 4]
    assert_stored(server, place, LARGE)


def test_an_interrupt_leaves_the_parts_for_the_next_try(
    server: S3Server, proxy: Proxy, place: str
) -> None:
    with pytest.raises(KeyboardInterrupt):
        source = Source(LARGE, 2 * PART, KeyboardInterrupt()).as_stream()
        patient(proxy, place).put("a", source, len(LARGE))
    proxy.requests.clear()
    assert put(once(proxy, place), LARGE) is True
    assert sorted(proxy.parts()) == [3, 4]
    assert_stored(server, place, LARGE)


def test_parts_of_another_value_are_not_taken(server: S3Server, proxy: Proxy, place: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        source = Source(OTHER, 2 * PART, KeyboardInterrupt()).as_stream()
        once(proxy, place).put("a", source, len(OTHER))
    proxy.requests.clear()
    assert put(once(proxy, place), LARGE) is True
    assert sorted(proxy.parts()) == [1, 2, 3, 4]
    with once(server, place).open("a") as stream:
        assert stream.read() == LARGE
    # The other's upload is still there, for whoever has that value.
    assert len(server.unfinished(place)) == 1


def test_an_upload_of_a_key_that_only_begins_so_is_left_alone(
    server: S3Server, proxy: Proxy, place: str
) -> None:
    with pytest.raises(KeyboardInterrupt):
        source = Source(LARGE, 2 * PART, KeyboardInterrupt()).as_stream()
        once(proxy, place).put("a2", source, len(LARGE))
    proxy.requests.clear()
    assert put(once(proxy, place), LARGE) is True
    assert sorted(proxy.parts()) == [1, 2, 3, 4]
    assert len(server.unfinished(place)) == 1


def test_parts_of_another_storage_class_are_not_taken(s3_servers: S3Servers) -> None:
    # It says the class of an upload, as AWS does.
    server = s3_servers.get("moto")
    place = server.new_place()
    with s3proxy.serve(server.endpoint) as proxy:
        with pytest.raises(KeyboardInterrupt):
            source = Source(LARGE, 2 * PART, KeyboardInterrupt()).as_stream()
            once(proxy, place).put("a", source, len(LARGE))
        proxy.requests.clear()
        assert put(once(proxy, place, storage_class="STANDARD_IA"), LARGE) is True
        assert sorted(proxy.parts()) == [1, 2, 3, 4]


@pytest.mark.parametrize("answer", [error(403, "AccessDenied"), error(501, "NotImplemented")])
def test_where_uploads_can_t_be_listed_all_is_sent(
    server: S3Server, proxy: Proxy, place: str, answer: Answer
) -> None:
    proxy.rule = lambda each: answer if each.method == "GET" and "uploads" in each.query else None
    assert put(once(proxy, place), LARGE) is True
    assert_stored(server, place, LARGE)


def test_where_parts_have_no_md5_for_a_tag_nothing_is_looked_for(
    server: S3Server, proxy: Proxy, place: str
) -> None:
    def listed() -> list[Request]:
        return [each for each in proxy.requests if each.method == "GET" and "uploads" in each.query]

    put(once(proxy, place), LARGE)
    assert len(listed()) == 1
    proxy.requests.clear()
    proxy.rule = lambda each: error(403, "AccessDenied") if each.method == "POST" else None
    with pytest.raises(StorageDeniedError):
        put(once(proxy, place, encryption="aws:kms"), LARGE, "b")
    assert listed() == []


# Others at the same key


def raced(server: S3Server, place: str, values: list[bytes]) -> list[bool]:
    """What those are told who put one of the values each, all at once."""
    together = threading.Barrier(len(values))

    def race(value: bytes) -> bool:
        storage = patient(server, place)
        together.wait()
        return put(storage, value)

    with ThreadPoolExecutor(len(values)) as pool:
        return list(pool.map(race, values))


@each_server
@pytest.mark.parametrize(
    "values", [[LARGE] * 4, [LARGE, OTHER, LARGE[1:]]], ids=["same", "different"]
)
def test_of_many_that_put_one_large_value_a_winner_s_is_there(
    server: S3Server, place: str, values: list[bytes]
) -> None:
    # Only AWS promises that there is one: to the others the look at the key and the end of
    # an upload are two steps, and ending one upload twice may be twice a success.
    won = raced(server, place, values)
    assert True in won
    with once(server, place).open("a") as stream:
        found = stream.read()
    assert found in [value for value, has_won in zip(values, won, strict=True) if has_won]
    assert_stored(server, place, found)


def test_a_winner_that_comes_meanwhile_stays(server: S3Server, place: str) -> None:
    source = Source(LARGE, 2 * PART, lambda: put(once(server, place), b"winner"))
    assert once(server, place).put("a", source.as_stream(), len(LARGE)) is False
    assert_stored(server, place, b"winner")


# Ceph 16 takes the condition and ignores it.
@pytest.mark.parametrize("server", SERVERS, indirect=True)
def test_the_server_itself_sees_that_the_key_is_taken(
    server: S3Server, proxy: Proxy, place: str
) -> None:
    # As if the winner came between our last look and the end.
    proxy.rule = lambda request: Answer(404) if request.method == "HEAD" else None
    put(once(server, place), b"winner")
    assert put(once(proxy, place), LARGE) is False
    assert_stored(server, place, b"winner")


def test_an_upload_that_another_process_ends_is_not_ours(s3_servers: S3Servers) -> None:
    # To moto, as to AWS, the same end twice is twice a success.
    server = s3_servers.get("seaweedfs")
    place = server.new_place()
    is_ended = []

    def rule(request: Request) -> Answer | None:
        if request.method == "POST" and "uploadId" in request.query and not is_ended:
            # Another one has taken the same upload up, and is first.
            is_ended.append(put(once(server, place), LARGE))
        return None

    with s3proxy.serve(server.endpoint, rule) as proxy:
        assert put(once(proxy, place), LARGE) is False
    assert is_ended == [True]
    assert_stored(server, place, LARGE)


@each_server
@pytest.mark.parametrize("when", [2, None], ids=["before a part", "before the end"])
def test_an_upload_that_is_given_up_by_another_is_begun_anew(
    server: S3Server, proxy: Proxy, place: str, when: int | None
) -> None:
    aborted = []

    def rule(request: Request) -> Answer | None:
        is_end = request.method == "POST" and "uploadId" in request.query
        if not aborted and (request.part == when if when else is_end):
            aborted.append(True)
            bucket, key = request.path[1:].split("/", 1)
            upload = request.query["uploadId"]
            server.client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload)
        return None

    proxy.rule = rule
    with pytest.raises(StorageUnavailableError, match=place):
        put(once(proxy, place), LARGE)
    aborted.clear()
    assert put(patient(proxy, place), LARGE) is True
    assert_stored(server, place, LARGE)


def test_a_part_that_another_replaced_is_sent_again(
    server: S3Server, proxy: Proxy, place: str
) -> None:
    answers = iter([error(400, "InvalidPart", "One or more of the parts could not be found.")])

    def rule(request: Request) -> Answer | None:
        is_end = request.method == "POST" and "uploadId" in request.query
        return next(answers, None) if is_end else None

    proxy.rule = rule
    assert put(patient(proxy, place), LARGE) is True
    assert_stored(server, place, LARGE)


def test_an_end_whose_answer_is_lost_is_an_end(server: S3Server, proxy: Proxy, place: str) -> None:
    ends: list[Answer] = []

    def spoil(request: Request, answer: Answer) -> Answer:
        if request.method != "POST" or "uploadId" not in request.query or ends:
            return answer
        ends.append(answer)
        return answer._replace(cut=0)

    proxy.spoil = spoil
    # That it was ours nobody can say.
    assert put(patient(proxy, place), LARGE) is False
    assert ends[0].status == 200
    assert_stored(server, place, LARGE)


# Memory


def test_only_so_much_is_in_memory(s3_servers: S3Servers) -> None:
    server = s3_servers.get("seaweedfs")
    place = server.new_place()
    count = 14
    read = [0]
    held = []

    class Counting(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            size = min(size, count * PART - read[0])
            read[0] += size
            return bytes(size)

    with s3proxy.serve(server.endpoint) as proxy:

        def rule(request: Request) -> Answer | None:
            done = sum(each.part is not None for each in proxy.answered)
            held.append(read[0] - done * PART)
            return None

        proxy.rule = rule
        source = cast(BinaryIO, Counting())
        assert once(proxy, place).put("a", source, count * PART) is True
    assert max(held) <= 64 * MIB
    # More than one at a time, that is.
    assert max(held) > PART
