"""What every storage promises (`git_datareg.storage.Storage`), for each back end.

A new back end is a function that makes a `Place` and a line in `PLACES`.
"""

from __future__ import annotations

import io
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

import pytest

from git_datareg.errors import (
    IntegrityError,
    ObjectNotFoundError,
    StorageDeniedError,
    StorageError,
    StorageNotConfiguredError,
    StorageNotFoundError,
    StorageReadOnlyError,
    StorageUnavailableError,
    TargetExistsError,
)
from git_datareg.location import Location
from git_datareg.storage import Info, Options, Storage, checked, open_storage
from git_datareg.storage.retrying import Retrying
from git_datareg.storage.tracing import Tracing
from tests.support import clouds, nginx, sshd, webdav
from tests.support.s3server import S3Servers

KEY = "objects/ab/cdef"
LARGE = os.urandom(1024) * 3000  # three chunks, the last one short


class Place(NamedTuple):
    """Where an empty storage is to be, and whether other processes can reach it."""

    location: Location
    is_shared: bool
    options: Options = Options()
    #: What goes around each storage that is opened there.
    wrapper: Callable[[Storage], Storage] | None = None
    #: Whether its server looks and stores in one step, as is_exclusive has it.
    is_atomic: bool = True

    def open(self, *, writable: bool = True) -> Storage:
        storage = open_storage(self.location, self.options, writable=writable)
        return storage if self.wrapper is None else self.wrapper(storage)

    @property
    def decides(self) -> bool:
        """Whether of several who put one value at once it lets one win."""
        return self.is_atomic and self.open().properties.is_exclusive

    @property
    def words(self) -> list[str]:
        """For a child, which makes its storage of them: see OPENED."""
        return [self.location.url, repr(self.options)]


def in_memory(directory: Path, request: pytest.FixtureRequest) -> Place:
    return Place(Location(f"memory://{uuid.uuid4()}"), is_shared=False)


def in_directory(directory: Path, request: pytest.FixtureRequest) -> Place:
    return Place(Location(str(directory / "storage")), is_shared=True)


def in_file_url(directory: Path, request: pytest.FixtureRequest) -> Place:
    return Place(Location.parse(f"file://{directory}/a%20storage%25"), is_shared=True)


def on_nginx(directory: Path, request: pytest.FixtureRequest) -> Place:
    server: nginx.Nginx = request.getfixturevalue("web")
    location = Location.parse(server.url(f"dav/{uuid.uuid4()}"))
    return Place(location, is_shared=True, options=Options(put=True))


def in_directory_retrying(directory: Path, request: pytest.FixtureRequest) -> Place:
    return in_directory(directory, request)._replace(wrapper=Retrying)


def in_directory_traced(directory: Path, request: pytest.FixtureRequest) -> Place:
    return in_directory(directory, request)._replace(wrapper=Tracing)


PLACES: dict[str, Callable[[Path, pytest.FixtureRequest], Place]] = {
    "memory": in_memory,
    "local": in_directory,
    "file-url": in_file_url,
    "http-nginx-dav": on_nginx,
    "retrying": in_directory_retrying,
    "tracing": in_directory_traced,
}


@pytest.fixture(scope="module")
def ssh_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sshd.Sshd]:
    with sshd.serve(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@pytest.fixture
def over_sftp(ssh_server: sshd.Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv("GIT_SSH_COMMAND", ssh_server.command)
    return Place(Location.parse(ssh_server.url(tmp_path / "a storage")), is_shared=True)


@pytest.fixture(scope="module")
def webdav_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Options]:
    with webdav.serve(tmp_path_factory.mktemp("webdav")) as options:
        yield options


@pytest.fixture
def over_webdav(webdav_server: Options) -> Place:
    location = Location.parse(f"webdav://a storage {uuid.uuid4()}")
    return Place(location, is_shared=True, options=webdav_server)


#: Places on an S3 server: the server's name by that of the place.
S3_PLACES = {"s3-seaweedfs": "seaweedfs", "s3-moto": "moto"}
if os.environ.get("DATAREG_TEST_CEPH"):
    S3_PLACES["s3-ceph"] = "ceph"


@pytest.fixture
def on_s3(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Place]:
    def make(name: str) -> Place:
        servers: S3Servers = request.getfixturevalue("s3_servers")
        server = servers.get(S3_PLACES[name])
        for variable, value in server.environ.items():
            monkeypatch.setenv(variable, value)
        # moto looks whether there is a value, and then stores its own.
        is_atomic = S3_PLACES[name] != "moto"
        return Place(Location(server.new_place()), is_shared=True, is_atomic=is_atomic)

    return make


@pytest.fixture(scope="module")
def google() -> Iterator[Options]:
    with clouds.google() as options, pytest.MonkeyPatch.context() as patch:
        # It would ask for the kind of each bucket, in a way that the emulator doesn't know.
        patch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
        yield options


@pytest.fixture
def over_gs(google: Options) -> Place:
    location = Location.parse(f"gs://{clouds.BUCKET}/a prefix/{uuid.uuid4()}")
    return Place(location, is_shared=True, options=google)


@pytest.fixture(scope="module")
def azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Options]:
    with clouds.azure(tmp_path_factory.mktemp("azurite")) as options:
        yield options


@pytest.fixture
def over_az(azure: Options) -> Place:
    location = Location.parse(f"az://{clouds.BUCKET}/a prefix/{uuid.uuid4()}")
    return Place(location, is_shared=True, options=azure)


#: Places that need a server, by the fixtures that give them.
SERVED = {"sftp": "over_sftp", "webdav": "over_webdav"}
if clouds.has_google():
    SERVED["gs"] = "over_gs"
if clouds.has_azure():
    SERVED["az"] = "over_az"


@pytest.fixture(params=[*PLACES, *SERVED, *S3_PLACES])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param in SERVED:
        place: Place = request.getfixturevalue(SERVED[request.param])
        return place
    if request.param in S3_PLACES:
        make: Callable[[str], Place] = request.getfixturevalue("on_s3")
        return make(request.param)
    return PLACES[request.param](tmp_path, request)


@pytest.fixture
def storage(place: Place) -> Storage:
    return place.open()


@pytest.fixture
def shared_place(place: Place) -> Place:
    if not place.is_shared:
        pytest.skip("no other process can reach it")
    return place


def put(storage: Storage, key: str, value: bytes) -> bool:
    return storage.put(key, io.BytesIO(value), len(value))


def read(storage: Storage, key: str, offset: int = 0) -> bytes:
    with storage.open(key, offset) as stream:
        return stream.read()


def assert_has_only(storage: Storage, *keys: str) -> None:
    """Check that these are all the keys, where a storage tells what it has."""
    if storage.properties.can_list:
        assert [info.key for info in storage.list("")] == sorted(keys)
    for key in keys:
        assert storage.info(key) is not None


class Source(io.RawIOBase):
    """Gives `data` in pieces of `step` bytes, and then raises `fault` if there is one."""

    def __init__(self, data: bytes, step: int = 7, fault: BaseException | None = None) -> None:
        self._stream = io.BytesIO(data)
        self._step = step
        self._fault = fault

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        piece = self._stream.read(self._step if size < 0 else min(size, self._step))
        if not piece and self._fault is not None:
            raise self._fault
        return piece

    def as_stream(self) -> BinaryIO:
        return cast(BinaryIO, self)


def unmeasured() -> dict[str, str]:
    """An environment for children that can't finish a measurement of coverage."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}


# What is there, and what is not.


@pytest.mark.parametrize("value", [b"", b"x", b"line\r\nline\0", LARGE], ids=len)
def test_a_value_that_was_put_is_read_back(place: Place, storage: Storage, value: bytes) -> None:
    assert put(storage, KEY, value) is True
    for each in (storage, place.open(writable=False)):
        assert read(each, KEY) == value
        assert each.info(KEY) == Info(KEY, len(value))


def test_an_absent_key_is_told_from_a_present_one(storage: Storage) -> None:
    for is_empty in (True, False):
        assert storage.info(KEY) is None
        assert storage.file(KEY) is None
        with pytest.raises(ObjectNotFoundError, match=KEY):
            storage.open(KEY)
        if is_empty:
            put(storage, "objects/other", b"x")


def test_a_key_may_be_part_of_another_without_being_there(storage: Storage) -> None:
    put(storage, KEY, b"x")
    for other in ("objects", "objects/ab", KEY + "/x", KEY[:-1], KEY + "0"):
        assert storage.info(other) is None
        assert storage.file(other) is None
        with pytest.raises(ObjectNotFoundError):
            storage.open(other)


@pytest.mark.parametrize("offset", [0, 1, 1024 * 1024, len(LARGE) - 1, len(LARGE)])
def test_reading_begins_at_the_offset(storage: Storage, offset: int) -> None:
    put(storage, KEY, LARGE)
    assert read(storage, KEY, offset) == LARGE[offset:]


@pytest.mark.parametrize("length", [0, 1, 1500, len(LARGE)])
@pytest.mark.parametrize("offset", [0, 1000, len(LARGE) - 7])
def test_a_reader_of_a_part_gets_it(storage: Storage, offset: int, length: int) -> None:
    put(storage, KEY, LARGE)
    with storage.open(KEY, offset, length) as stream:
        assert stream.read(length) == LARGE[offset : offset + length]
    with pytest.raises(ObjectNotFoundError):
        storage.open(KEY + "/x", offset, length)


@pytest.mark.parametrize(
    "key", ["", "/x", "x/", "a//b", ".", "..", "../x", "a/../b", ".hidden", "a/.b", "\u00e9"]
)
def test_a_key_that_could_lead_out_is_refused(storage: Storage, key: str) -> None:
    for use in (
        lambda: storage.info(key),
        lambda: storage.open(key),
        lambda: put(storage, key, b"x"),
        lambda: storage.delete(key),
        lambda: storage.file(key),
        lambda: storage.url(key),
    ):
        with pytest.raises(ValueError, match="not a key"):
            use()


def test_a_key_that_is_one_is_given_back() -> None:
    assert checked(KEY) == KEY


# put


def test_what_is_there_is_never_replaced(storage: Storage) -> None:
    assert put(storage, KEY, b"first") is True
    assert put(storage, KEY, b"other") is False
    assert put(storage, KEY, b"") is False
    assert read(storage, KEY) == b"first"


def test_the_same_value_again_is_not_new(storage: Storage) -> None:
    assert [put(storage, KEY, b"") for _ in range(3)] == [True, False, False]


@pytest.mark.parametrize("step", [1, 7, 10**9])
def test_a_source_may_give_its_bytes_in_pieces(storage: Storage, step: int) -> None:
    assert storage.put(KEY, Source(b"0123456789", step).as_stream(), 10)
    assert read(storage, KEY) == b"0123456789"


@pytest.mark.parametrize(
    ("data", "size"),
    [(b"", 1), (b"x" * 9, 10), (b"x" * 11, 10), (b"x", 0), (LARGE, len(LARGE) + 1), (LARGE, 5)],
    ids=["empty", "short", "long", "not empty", "short by one", "much too long"],
)
def test_a_source_of_another_length_stores_nothing(
    storage: Storage, data: bytes, size: int
) -> None:
    with pytest.raises(IntegrityError):
        storage.put(KEY, Source(data, 10**6).as_stream(), size)
    assert storage.info(KEY) is None
    assert_has_only(storage)
    assert put(storage, KEY, b"right") is True


FAULTS = [OSError(5, "Input/output error"), ObjectNotFoundError("gone"), TargetExistsError("x")]
FAULTS += [IntegrityError("corrupt"), StorageDeniedError("no"), KeyboardInterrupt()]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
def test_a_source_that_fails_is_heard_and_stores_nothing(
    storage: Storage, fault: BaseException
) -> None:
    put(storage, "objects/other", b"x")
    with pytest.raises(type(fault)) as caught:
        storage.put(KEY, Source(b"12345", fault=fault).as_stream(), 10)
    assert caught.value is fault
    assert storage.info(KEY) is None
    assert_has_only(storage, "objects/other")
    assert put(storage, KEY, b"right") is True


def test_a_winner_that_comes_while_we_copy_stays(place: Place, storage: Storage) -> None:
    class Slow(Source):
        def read(self, size: int = -1) -> bytes:
            put(place.open(), KEY, b"winner")
            return super().read(size)

    if storage.properties.is_exclusive:
        assert storage.put(KEY, Slow(b"loser").as_stream(), 5) is False
        assert read(storage, KEY) == b"winner"
    else:
        storage.put(KEY, Slow(b"loser").as_stream(), 5)
        assert read(storage, KEY) in (b"winner", b"loser")


def test_of_many_threads_that_put_one_key_one_wins(place: Place) -> None:
    number, together = 8, threading.Barrier(8)

    def race(key: str, value: bytes) -> bool:
        storage = place.open()
        together.wait()
        return put(storage, key, value)

    values = [bytes([each]) * 1000 for each in range(number)]
    with ThreadPoolExecutor(number) as pool:
        for turn in range(10 if place.decides else 2):
            key = f"objects/{turn:02}/x"
            won = list(pool.map(lambda value, key=key: race(key, value), values))
            winners = [value for value, is_first in zip(values, won, strict=True) if is_first]
            check_race(place, key, winners, values)


def check_race(place: Place, key: str, winners: list[bytes], values: list[bytes]) -> None:
    """What is there is whole, and of one who won, the only one where that can be had."""
    found = read(place.open(), key)
    assert found in values and winners
    if place.decides:
        assert winners == [found]


OPENED = """
import io, os, signal, sys
from git_datareg.location import Location
from git_datareg.storage import Options, open_storage
storage = open_storage(Location(sys.argv[1]), eval(sys.argv[2]))
"""

RACE = """
value = sys.argv[3].encode() * 1000
print("ready", flush=True)
sys.stdin.readline()
turns = range(int(sys.argv[4]))
print(*[turn for turn in turns if storage.put(f"objects/{turn}", io.BytesIO(value), 1000)])
"""


def test_of_many_processes_that_put_one_key_one_wins(shared_place: Place) -> None:
    # Where none may win alone, there is less to be seen.
    turns = 50 if shared_place.decides else 5
    code = OPENED + RACE
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", code, *shared_place.words, str(number), str(turns)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(4)
    ]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    told = [worker.communicate(timeout=60)[0].split() for worker in workers]
    for turn in map(str, range(turns)):
        winners = [b"%d" % number * 1000 for number, turns in enumerate(told) if turn in turns]
        check_race(
            shared_place, f"objects/{turn}", winners, [b"%d" % each * 1000 for each in range(4)]
        )


def test_a_reader_sees_a_value_whole_or_not_at_all(place: Place) -> None:
    seen = set()
    is_over = threading.Event()

    def look() -> None:
        storage = place.open()
        while not is_over.is_set():
            for turn in range(5):
                info = storage.info(f"objects/{turn}")
                seen.add(None if info is None else info.size)

    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(look)
        storage = place.open()
        for turn in range(5):
            storage.put(f"objects/{turn}", Source(LARGE[:100_000], 999).as_stream(), 100_000)
        is_over.set()
        looking.result()
    assert seen <= {None, 100_000}


KILLED = """
class Source(io.RawIOBase):
    def __init__(self): self.left = 3
    def read(self, size=-1):
        self.left -= 1
        if not self.left: os.kill(os.getpid(), signal.SIGKILL)
        return b"x" * min(size, 1024 * 1024)
storage.put(sys.argv[3], Source(), 10 * 1024 * 1024)
"""


def test_a_writer_that_is_killed_leaves_nothing_under_the_key(shared_place: Place) -> None:
    put(shared_place.open(), "objects/other", b"x")
    command = [sys.executable, "-c", OPENED + KILLED, *shared_place.words, KEY]
    assert subprocess.run(command, env=unmeasured()).returncode == -signal.SIGKILL
    storage = shared_place.open()
    assert storage.info(KEY) is None
    assert_has_only(storage, "objects/other")
    assert put(storage, KEY, b"right") is True


# list, delete, and the rest


def test_a_list_is_sorted_by_key_and_has_what_begins_so(storage: Storage) -> None:
    keys = ["a-b", "a/b", "a/b-c", "a/c/d", "a0", "datareg.json", "objects/00/1", "objects/ab"]
    for key in reversed(keys):
        put(storage, key, key.encode())
    if not storage.properties.can_list:
        with pytest.raises(StorageError, match=str(storage.location)):
            list(storage.list(""))
        return
    found = list(storage.list(""))
    assert [each[:2] for each in found] == [(key, len(key)) for key in keys]
    # By the storage's clock, which for ours is this machine's.
    assert all(each.modified is None or abs(time.time() - each.modified) < 60 for each in found)
    for prefix in ("a", "a/", "a/b", "a/c/", "a/c/d", "objects/", "objects/0", "x", "x/y", "a0/"):
        expected = [key for key in keys if key.startswith(prefix)]
        assert [info.key for info in storage.list(prefix)] == expected


def test_an_empty_storage_lists_nothing(storage: Storage) -> None:
    assert_has_only(storage)
    if not storage.properties.can_list:
        return
    assert list(storage.list("objects/")) == []


@pytest.mark.parametrize("before", [None, b"longer than the new one"])
def test_a_replaced_value_is_the_new_one(storage: Storage, before: bytes | None) -> None:
    if before is not None:
        put(storage, KEY, before)
    storage.replace(KEY, b"the new one")
    assert read(storage, KEY) == b"the new one"
    assert_has_only(storage, KEY)


def test_a_value_is_replaced_again_and_again(place: Place, storage: Storage) -> None:
    for number in range(5):
        storage.replace(KEY, b"%d" % number)
        assert read(place.open(), KEY) == b"%d" % number


def test_a_deleted_value_is_gone_and_may_come_again(storage: Storage) -> None:
    put(storage, KEY, b"x")
    storage.delete(KEY)
    storage.delete(KEY)
    assert storage.info(KEY) is None
    assert put(storage, KEY, b"y") is True
    assert read(storage, KEY) == b"y"


@pytest.mark.parametrize("key", [KEY, KEY + "/x", "objects/zz/x"])
def test_deleting_what_is_not_there_is_no_fault(storage: Storage, key: str) -> None:
    storage.delete(key)
    put(storage, KEY.removesuffix("ef"), b"x")
    storage.delete(key)


def test_what_is_only_read_can_t_be_written(place: Place) -> None:
    put(place.open(), KEY, b"x")
    reader = place.open(writable=False)
    assert not reader.properties.writable
    assert place.open().properties.writable
    with pytest.raises(StorageReadOnlyError, match=str(place.location)):
        put(reader, "objects/new", b"x")
    with pytest.raises(StorageReadOnlyError, match=str(place.location)):
        reader.delete(KEY)
    with pytest.raises(StorageReadOnlyError, match=str(place.location)):
        reader.replace(KEY, b"y")
    assert read(reader, KEY) == b"x"


def test_a_flush_may_come_at_any_time(storage: Storage) -> None:
    storage.flush()
    put(storage, KEY, b"x")
    storage.flush()
    storage.flush()
    assert read(storage, KEY) == b"x"


def test_a_storage_says_where_it_is_and_serves_some_at_once(place: Place, storage: Storage) -> None:
    assert storage.location == place.location
    assert storage.properties.connections >= 1
    assert storage.properties == storage.properties


def test_a_url_names_the_key_below_the_location(place: Place, storage: Storage) -> None:
    assert storage.url(KEY) == f"{place.location.url}/{KEY}"
    with_slash = open_storage(Location(place.location.url + "/"), place.options)
    assert with_slash.url(KEY) == storage.url(KEY)


def test_a_file_of_a_value_has_its_bytes(storage: Storage) -> None:
    put(storage, KEY, b"bytes")
    path = storage.file(KEY)
    assert path is None or Path(path).read_bytes() == b"bytes"


def test_many_threads_may_use_one_storage(storage: Storage) -> None:
    def use(number: int) -> bytes:
        key = f"objects/{number % 4:02}/{number}"
        put(storage, key, b"%d" % number)
        if storage.properties.can_list:
            list(storage.list("objects/"))
        found = read(storage, key)
        storage.delete(key)
        return found

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(use, range(80))) == [b"%d" % number for number in range(80)]
    assert_has_only(storage)


def test_a_scheme_that_nobody_serves_is_refused_by_its_name() -> None:
    with pytest.raises(StorageNotConfiguredError, match="gopher") as caught:
        open_storage(Location.parse("gopher://u:SECRET@host/x"))
    assert "SECRET" not in caught.value.message


# Directories


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "storage"


def local(directory: Path, *, writable: bool = True) -> Storage:
    return open_storage(Location(str(directory)), writable=writable)


def test_a_directory_is_made_by_the_first_put_only(directory: Path) -> None:
    storage = local(directory)
    assert storage.info(KEY) is None
    assert list(storage.list("")) == []
    storage.delete(KEY)
    storage.flush()
    assert not directory.exists()
    put(storage, KEY, b"x")
    assert (directory / KEY).read_bytes() == b"x"


def uses(storage: Storage) -> Iterator[Callable[[], object]]:
    yield lambda: storage.info(KEY)
    yield lambda: storage.open(KEY)
    yield lambda: list(storage.list(""))
    if storage.properties.writable:
        yield lambda: put(storage, KEY, b"x")
        yield lambda: storage.delete(KEY)


@pytest.mark.parametrize("case", ["only read", "parent missing", "a file", "dangling link"])
def test_a_directory_that_is_not_there_is_not_an_empty_one(directory: Path, case: str) -> None:
    if case == "parent missing":
        directory = directory / "below"
    elif case == "a file":
        directory.write_text("x")
    elif case == "dangling link":
        directory.symlink_to("nowhere")
    for use in uses(local(directory, writable=case != "only read")):
        with pytest.raises(StorageNotFoundError, match=str(directory)) as caught:
            use()
        assert caught.value.hints
    assert not directory.is_dir()


def test_a_file_where_a_directory_should_be_is_a_fault(directory: Path) -> None:
    directory.mkdir()
    (directory / "objects").write_text("in the way")
    storage = local(directory)
    assert storage.info(KEY) is None
    with pytest.raises(StorageUnavailableError, match=str(directory)):
        put(storage, KEY, b"x")
    assert (directory / "objects").read_text() == "in the way"
    assert list((directory / ".incoming").iterdir()) == []


@pytest.mark.parametrize("kind", ["directory", "fifo", "dangling link"])
def test_what_is_not_a_file_is_no_value_and_stays(directory: Path, kind: str) -> None:
    path = directory / KEY
    path.parent.mkdir(parents=True)
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to("nowhere")
    storage = local(directory)
    assert storage.info(KEY) is None
    assert storage.file(KEY) is None
    with pytest.raises(ObjectNotFoundError):
        storage.open(KEY)
    assert list(storage.list("")) == []
    with pytest.raises(StorageUnavailableError, match="not a file"):
        put(storage, KEY, b"x")
    assert os.path.lexists(path)


def test_what_killed_writers_left_is_removed_after_a_day(directory: Path) -> None:
    put(local(directory), KEY, b"x")
    old, new = directory / ".incoming/value-old", directory / ".incoming/value-new"
    old.write_text("x")
    new.write_text("x")
    os.utime(old, (0, 0))
    put(local(directory), "objects/other", b"x")
    assert (old.exists(), new.exists()) == (False, True)


def test_files_of_a_storage_can_be_read_by_those_the_umask_lets(directory: Path) -> None:
    put(local(directory), KEY, b"x")
    assert (directory / KEY).stat().st_mode & 0o777 == 0o644


def test_names_that_begin_with_a_dot_are_not_values(directory: Path) -> None:
    put(local(directory), KEY, b"x")
    (directory / ".DS_Store").write_text("x")
    (directory / "objects/.nfs0001").write_text("x")
    assert [info.key for info in local(directory).list("")] == [KEY]


@pytest.mark.parametrize("name", ["x" * 300, "objects/" + "x" * 300 + "/y"])
def test_what_the_file_system_can_t_name_is_a_fault(directory: Path, name: str) -> None:
    put(local(directory), KEY, b"x")
    storage = local(directory)
    for use in (
        lambda: storage.info(name),
        lambda: storage.open(name),
        lambda: put(storage, name, b"x"),
        lambda: list(storage.list(name + "/")),
        lambda: storage.delete(name),
    ):
        with pytest.raises(StorageUnavailableError, match="name too long"):
            use()


def test_a_place_for_new_values_that_can_t_be_used_is_a_fault(directory: Path) -> None:
    directory.mkdir()
    (directory / ".incoming").write_text("in the way")
    with pytest.raises(StorageUnavailableError, match="incoming"):
        put(local(directory), KEY, b"x")


def as_other_user(action: str, directory: Path) -> str:
    """What an action gives for a user who is not us; the name of its fault, if it has one."""
    code = (
        "import io, sys\n"
        "from git_datareg.errors import DataregError\n"
        "from git_datareg.location import Location\n"
        "from git_datareg.storage import open_storage\n"
        "storage = open_storage(Location(sys.argv[1]))\n"
        "try:\n"
        f"    print({action})\n"
        "except DataregError as error:\n"
        "    print(type(error).__name__, error, *error.hints)\n"
    )
    root = Path(__file__).resolve().parents[2]
    switch = ["setpriv", "--reuid", "1000", "--regid", "1000", "--clear-groups"]
    command = [sys.executable, "-c", code, str(directory)]
    # What the other user may not read of ours, Python has to find elsewhere.
    environ = {**unmeasured(), "PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [*switch, *command], cwd="/", env=environ, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


ACTIONS = {
    "put": "storage.put('objects/new', io.BytesIO(b'x'), 1)",
    "open": f"storage.open({KEY!r})",
    "info": f"storage.info({KEY!r})",
    "list": "list(storage.list(''))",
    "delete": f"storage.delete({KEY!r})",
    "flush": "storage.flush()",
}


@pytest.fixture
def open_directory(directory: Path) -> Iterator[Path]:
    """A storage whose way there is open to all."""
    if os.getuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("only root can be another user")
    for parent in directory.parents:
        if parent.stat().st_mode & 0o005 != 0o005:
            parent.chmod(parent.stat().st_mode | 0o055)
    put(local(directory), KEY, b"x")
    yield directory
    for folder, _, _ in os.walk(directory):
        os.chmod(folder, 0o755)


@pytest.mark.parametrize("action", list(ACTIONS))
def test_a_directory_that_is_shut_to_us_is_denied(open_directory: Path, action: str) -> None:
    for folder in (open_directory / "objects/ab", open_directory / "objects", open_directory):
        folder.chmod(0o700)
    told = as_other_user(ACTIONS[action], open_directory)
    assert told.startswith("StorageDeniedError Permission denied: ")
    assert str(open_directory) in told
    assert "permissions" in told


@pytest.mark.parametrize("action", ["put", "delete"])
def test_a_directory_that_we_only_read_is_denied_to_writers(
    open_directory: Path, action: str
) -> None:
    assert as_other_user(ACTIONS[action], open_directory).startswith("StorageDeniedError")
    assert as_other_user(ACTIONS["info"], open_directory) == str(Info(KEY, 1))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(path)]
    if os.getuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("no file system can be mounted here")
    yield path
    subprocess.run(["umount", str(path)], check=True)


def assert_full(storage: Storage, path: Path) -> None:
    put(storage, "objects/before", b"x")
    with pytest.raises(StorageUnavailableError, match=str(path)):
        put(storage, KEY, LARGE)
    assert storage.info(KEY) is None
    assert list((path / ".incoming").iterdir()) == []
    assert [info.key for info in storage.list("")] == ["objects/before"]


def test_a_full_disk_is_a_fault_that_leaves_nothing(small_disk: Path) -> None:
    assert_full(local(small_disk), small_disk)
    assert put(local(small_disk), KEY, b"small") is True


@pytest.fixture
def short_files() -> Iterator[None]:
    """No file of this process can grow beyond 100,000 bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def test_a_file_that_may_not_grow_is_a_fault_that_leaves_nothing(
    directory: Path, short_files: None
) -> None:
    assert_full(local(directory), directory)


def test_a_sync_that_fails_is_heard(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Library:
        @staticmethod
        def syncfs(descriptor: int) -> int:
            return -1

    put(local(directory), KEY, b"x")
    monkeypatch.setattr("ctypes.CDLL", lambda *_, **__: Library)
    monkeypatch.setattr("ctypes.get_errno", lambda: 5)
    with pytest.raises(StorageUnavailableError, match=f"Input/output error: {directory}"):
        local(directory).flush()


def test_where_one_file_system_can_t_be_synced_all_are(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []
    put(local(directory), KEY, b"x")
    monkeypatch.setattr("ctypes.CDLL", lambda *_, **__: object())
    monkeypatch.setattr("os.sync", lambda: synced.append(True))
    local(directory).flush()
    assert synced == [True]


def test_a_directory_that_became_a_file_can_t_be_flushed(directory: Path) -> None:
    directory.write_text("x")
    with pytest.raises(StorageError, match=str(directory)):
        local(directory).flush()
