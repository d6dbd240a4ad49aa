"""The storage behind http(s)://, with a real nginx, servers that lie, and a bad network."""

from __future__ import annotations

import io
import os
import shutil
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from git_datareg import downloads
from git_datareg.digest import Hasher
from git_datareg.downloads import Want
from git_datareg.errors import (
    CorruptError,
    DataregError,
    IntegrityError,
    ObjectNotFoundError,
    StorageDeniedError,
    StorageError,
    StorageNotFoundError,
    StorageReadOnlyError,
    StorageUnavailableError,
    UsageError,
)
from git_datareg.git.credentials import GitCredentials
from git_datareg.layout import ObjectStorage, object_key
from git_datareg.location import Location
from git_datareg.login import Login
from git_datareg.objects import ObjectDirectory
from git_datareg.pointer import Pointer
from git_datareg.storage import Info, Options, open_storage
from git_datareg.storage.connections import Timeouts
from git_datareg.storage.credentials import Netrc
from git_datareg.storage.http import HttpStorage
from git_datareg.storage.retrying import Retrying
from tests.support import badproxy, nginx, registries, webserver
from tests.support.badproxy import Answer, BadProxy, Corrupt, Cut, CutRequest, Lost, Refuse, Stall
from tests.support.gitrun import Git
from tests.support.webserver import Request, WebServer

KEY = "objects/ab/cdef"
VALUE = b"0123456789"
LARGE = os.urandom(1024) * 2000
#: For what is meant to time out.
SHORT = Timeouts(connect=0.5, idle=0.5)


def http(url: str, options: Options | None = None, **settings: Any) -> HttpStorage:
    return HttpStorage(Location.parse(url), options, **settings)


def put(storage: HttpStorage, key: str, value: bytes) -> bool:
    return storage.put(key, io.BytesIO(value), len(value))


def read(storage: HttpStorage | Retrying, key: str = KEY, *part: int) -> bytes:
    with storage.open(key, *part) as stream:
        return stream.read()


class Folder:
    """A folder of one test on the server, by whatever way it is served."""

    def __init__(self, server: nginx.Nginx) -> None:
        self.server = server
        self.name = str(uuid.uuid4())
        self.path = server.root / self.name
        self.path.mkdir()

    def holds(self, value: bytes, key: str = KEY) -> None:
        (self.path / key).parent.mkdir(parents=True, exist_ok=True)
        (self.path / key).write_bytes(value)

    def url(self, way: str) -> str:
        return self.server.url(f"{way}/{self.name}")


@pytest.fixture
def folder(web: nginx.Nginx) -> Folder:
    made = Folder(web)
    made.holds(VALUE)
    return made


# Reading


def test_what_a_directory_storage_wrote_any_web_server_serves(
    folder: Folder, tmp_path: Path
) -> None:
    values = [b"", b"small", LARGE]
    pointers = [
        Pointer(hasher.digest(), len(value)) for value in values for hasher in [hashed(value)]
    ]
    written = ObjectStorage(open_storage(Location(str(folder.path))))
    written.prepare()
    for pointer, value in zip(pointers, values, strict=True):
        written.upload(pointer, io.BytesIO(value))
    into = ObjectDirectory(str(tmp_path / "cache"))
    for way in ("static", "listed", "gzip", "whole"):
        storage = ObjectStorage(open_storage(Location.parse(folder.url(way))))
        for pointer, value in zip(pointers, values, strict=True):
            assert storage.has(pointer)
            storage.download(pointer, into)
            path = into.find(pointer)
            assert path is not None
            assert Path(path).read_bytes() == value


def hashed(value: bytes) -> Hasher:
    hasher = Hasher()
    hasher.update(value)
    return hasher


PARTS = [(0,), (3,), (10,), (11,), (0, 4), (3, 4), (3, 100), (10, 5), (99, 5), (3, 0)]


@pytest.mark.parametrize("way", ["static", "listed", "gzip", "whole"])
def test_a_part_of_a_value_is_the_same_by_every_server(folder: Folder, way: str) -> None:
    storage = http(folder.url(way))
    for part in PARTS:
        offset, length = part[0], part[1] if len(part) > 1 else None
        found = read(storage, KEY, *part)
        expected = VALUE[offset:]
        # A server without ranges gives the rest, too.
        assert found == expected if length is None else found[:length] == expected[:length]
    assert storage.info(KEY) == Info(KEY, len(VALUE))


def test_an_empty_value_has_no_parts(folder: Folder) -> None:
    folder.holds(b"")
    storage = http(folder.url("static"))
    assert storage.info(KEY) == Info(KEY, 0)
    assert [read(storage, KEY, *part) for part in [(0,), (0, 5), (3,), (3, 5)]] == [b""] * 4


@pytest.mark.parametrize("way", ["static", "listed"])
@pytest.mark.parametrize("key", ["absent", "objects", "objects/ab", KEY + "/x"])
def test_what_is_no_file_is_no_value(folder: Folder, way: str, key: str) -> None:
    storage = http(folder.url(way))
    assert storage.info(key) is None
    for part in ((0,), (1, 2), (1, 0)):
        with pytest.raises(ObjectNotFoundError, match=key):
            storage.open(key, *part)


def test_a_connection_is_used_again(folder: Folder) -> None:
    with badproxy.before(folder.server.port) as proxy:
        storage = http(f"{proxy.url}/static/{folder.name}")
        for _ in range(5):
            assert read(storage) == VALUE
            assert storage.info(KEY) is not None
            assert storage.info("absent") is None
            with storage.open(KEY) as stream:
                # The rest is read by us: little is left.
                assert stream.read(3) == VALUE[:3]
        assert len(proxy.requests) == 20
        assert proxy.connections == 1


def test_a_reader_that_stops_early_is_no_harm(folder: Folder) -> None:
    folder.holds(LARGE)
    storage = http(folder.url("static"))
    for _ in range(3):
        with storage.open(KEY) as stream:
            assert stream.read(10) == LARGE[:10]
    stream = storage.open(KEY)
    stream.close()
    stream.close()
    assert read(storage) == LARGE


def test_odd_names_are_escaped(folder: Folder) -> None:
    key = "objects/a b/c?d#e%20f&+[x]"
    folder.holds(b"odd", key)
    storage = http(folder.url("static"))
    assert read(storage, key) == b"odd"
    assert storage.url(key) == folder.url("static") + "/objects/a%20b/c%3Fd%23e%2520f&+%5Bx%5D"


FORKED = """
import os, sys
from git_datareg.location import Location
from git_datareg.storage.http import HttpStorage
def read():
    with storage.open(sys.argv[2]) as stream:
        return stream.read()
storage = HttpStorage(Location(sys.argv[1]))
found = [read()]
receiving, sending = os.pipe()
if os.fork() == 0:
    os.write(sending, read())
    os._exit(0)
os.close(sending)
found += [open(receiving, "rb").read(), read()]
os.wait()
print(found)
"""


def test_a_child_that_was_forked_opens_a_connection_of_its_own(folder: Folder) -> None:
    with badproxy.before(folder.server.port) as proxy:
        url = f"{proxy.url}/static/{folder.name}"
        done = subprocess.run([sys.executable, "-c", FORKED, url, KEY], capture_output=True)
        assert done.stdout.decode() == f"{[VALUE] * 3}\n", done.stderr
        assert proxy.connections == 2


def test_a_clone_takes_its_data_from_a_web_server(
    folder: Folder, home: Path, tmp_path: Path
) -> None:
    registry = registries.publish(tmp_path)
    shutil.move(registry.storage, folder.path / "storage")
    with badproxy.before(folder.server.port) as proxy:
        with (home / "gitconfig").open("a") as file:
            file.write(f'[datareg "web"]\n\turl = {proxy.url}/static/{folder.name}/storage\n')
            file.write("[datareg]\n\tstorage = web\n")
        proxy.plan(Refuse(), Answer(503, {"Retry-After": "0"}), Cut(after=10))
        env = {"GIT_DATAREG_CACHE": str(tmp_path / "cache")}
        Git(tmp_path).run("clone", f"datareg::{registry.path}", "copy", env=env)
        assert registries.files_of(Git(tmp_path / "copy")) == registries.FILES
        assert proxy.count("GET /static/") >= 3 + 3


# What servers say


@pytest.mark.parametrize(
    ("way", "fault", "words", "retry_after"),
    [
        ("busy", StorageUnavailableError, "503 Service Unavailable", nginx.RETRY_AFTER),
        ("forbidden", StorageDeniedError, "403 Forbidden", None),
        ("basic", StorageDeniedError, "401 Unauthorized", None),
        ("loop", StorageError, "more than 5 redirects", None),
    ],
)
def test_a_server_that_refuses_is_heard(
    folder: Folder, way: str, fault: type[StorageError], words: str, retry_after: float | None
) -> None:
    storage = http(folder.url(way))
    for use in (lambda: storage.info(KEY), lambda: storage.open(KEY)):
        with pytest.raises(fault, match=words) as caught:
            use()
        assert type(caught.value) is fault
        assert f"{folder.url(way)}/{KEY}" in caught.value.message
        assert getattr(caught.value, "retry_after", None) == retry_after
        assert caught.value.hints or fault is not StorageDeniedError


def test_a_server_that_limits_requests_says_when_to_come_again(folder: Folder) -> None:
    storage = http(folder.url("limited"))
    with pytest.raises(StorageUnavailableError, match="429 Too Many Requests") as caught:
        for _ in range(3):
            read(storage)
    assert caught.value.retry_after == nginx.RETRY_AFTER


@pytest.mark.parametrize("port", ["closed", "not HTTP"])
def test_who_is_no_web_server_can_t_be_reached(port: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number = listener.getsockname()[1]
        if port == "closed":
            listener.close()
        else:
            threading.Thread(target=_say_nonsense, args=(listener,), daemon=True).start()
        expected = "connection refused" if port == "closed" else "the connection broke"
        with pytest.raises(StorageUnavailableError, match=expected) as caught:
            http(f"http://u:SECRET@127.0.0.1:{number}/x?SECRET").info(KEY)
    assert f"http://127.0.0.1:{number}/x/{KEY}" in caught.value.message
    assert "SECRET" not in caught.value.message


def _say_nonsense(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.recv(1024)
        connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")


def test_a_name_that_nobody_has_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def lookup(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    with pytest.raises(StorageUnavailableError, match="no such host, or no network: https://x"):
        http("https://x.invalid/").info(KEY)


@pytest.mark.parametrize(
    "url", ["http://", "http://exa mple/", "https://a:b:c/", "http://a%0ab:c@example.org/"]
)
def test_what_is_no_url_is_refused_at_once(url: str) -> None:
    with pytest.raises(UsageError):
        open_storage(Location(url))


# Servers that lie


@pytest.fixture
def lying() -> Iterator[Callable[[Callable[[Request], webserver.Answer]], WebServer]]:
    """Starts servers that answer as they are told."""
    from contextlib import ExitStack

    with ExitStack() as stack:
        yield lambda answer: stack.enter_context(webserver.serve(answer))


Lying = Callable[[Callable[[Request], webserver.Answer]], WebServer]


def partly(first: int, last: int, total: int | str, body: bytes, status: int = 206) -> Any:
    said = f"bytes {first}-{last}/{total}"
    return lambda request: webserver.Answer.of(body, status, Content_Range=said)


@pytest.mark.parametrize(
    "answer",
    [
        partly(2, 5, 10, VALUE[2:6]),
        partly(3, 6, 10, VALUE[3:5]),
        partly(3, 7, 10, VALUE[3:8]),
        partly(0, 9, 10, VALUE, 200),
        lambda request: webserver.Answer.of(VALUE[3:7], 206),
        lambda request: webserver.Answer.of(VALUE[3:7], 206, Content_Range="bytes */10"),
        lambda request: webserver.Answer.of(VALUE[3:7], 206, Content_Range="lines 3-6/10"),
    ],
)
def test_another_part_than_was_asked_for_is_not_taken(lying: Lying, answer: Any) -> None:
    with pytest.raises(StorageUnavailableError, match="another part"):
        http(lying(answer).url).open(KEY, 3, 4)


@pytest.mark.parametrize("total", [10, "*"])
@pytest.mark.parametrize("status", [206, 200])
def test_the_right_part_is_taken_whatever_the_status(
    lying: Lying, status: int, total: int | str
) -> None:
    storage = http(lying(partly(3, 6, total, VALUE[3:7], status)).url)
    assert read(storage, KEY, 3, 4) == VALUE[3:7]


def test_where_a_server_without_ranges_would_take_too_long_all_is_to_be_asked_for(
    folder: Folder, tmp_path: Path
) -> None:
    value = b"x" * (100 * 1024 * 1024)
    pointer = Pointer(hashed(value).digest(), len(value))
    folder.holds(value, object_key(pointer.digest))
    storage = open_storage(Location.parse(folder.url("whole")))
    with storage.open(object_key(pointer.digest), 64 * 1024 * 1024, 5) as stream:
        assert stream.read(5) == b"xxxxx"
    with pytest.raises(CorruptError, match="all where a part was asked for") as caught:
        storage.open(object_key(pointer.digest), 65 * 1024 * 1024, 5)
    assert "stream=False" in caught.value.hints[0]
    into = ObjectDirectory(str(tmp_path / "cache"))
    want = Want(pointer, b"x", [ObjectStorage(storage)])
    assert downloads.download([want], into, jobs=2) == []
    assert into.find(pointer) is not None


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate, identity"])
def test_what_is_compressed_against_our_wish_is_a_fault_that_says_so(
    lying: Lying, encoding: str
) -> None:
    server = lying(lambda request: webserver.Answer.of(b"\x1f\x8b", Content_Encoding=encoding))
    storage = http(server.url)
    for use in (lambda: storage.info(KEY), lambda: storage.open(KEY)):
        with pytest.raises(StorageError, match=f"sends '{encoding}' where"):
            use()
    assert server.requests[-1].headers["accept-encoding"] == "identity"


def test_a_body_that_is_shorter_than_it_says_is_a_fault(lying: Lying) -> None:
    headers = {"Content-Length": "10", "Connection": "close"}

    def answer(request: Request) -> webserver.Answer:
        return webserver.Answer(200, headers, VALUE[:4])

    with pytest.raises(StorageUnavailableError, match="the answer ends early"):
        read(http(lying(answer).url))


def test_a_body_without_a_length_ends_with_the_connection(lying: Lying) -> None:
    storage = http(lying(lambda request: webserver.Answer(200, {}, VALUE)).url)
    assert read(storage) == VALUE
    assert read(storage, KEY, 3)[:2] == VALUE[3:5]


def test_a_body_in_chunks_is_read(lying: Lying) -> None:
    headers = {"Transfer-Encoding": "chunked"}
    body = b"4\r\n0123\r\n6;x=y\r\n456789\r\n0\r\nTrailer: x\r\n\r\n"
    storage = http(lying(lambda request: webserver.Answer(200, headers, body)).url)
    assert [read(storage) for _ in range(2)] == [VALUE, VALUE]
    cut = body[:20]
    storage = http(
        lying(lambda request: webserver.Answer(200, {**headers, "Connection": "close"}, cut)).url
    )
    with pytest.raises(StorageUnavailableError):
        read(storage)


def test_a_page_in_place_of_an_object_never_gets_its_name(lying: Lying, tmp_path: Path) -> None:
    page = b"<html>Please log in to this hotel's network</html>"
    storage = ObjectStorage(http(lying(lambda request: webserver.Answer.of(page)).url))
    pointer = Pointer(hashed(VALUE).digest(), len(VALUE))
    into = ObjectDirectory(str(tmp_path / "cache"))
    with pytest.raises(DataregError, match="not the marker of a storage"):
        storage.download(pointer, into)
    assert into.find(pointer) is None


def without_head(status: int) -> Callable[[Request], webserver.Answer]:
    def answer(request: Request) -> webserver.Answer:
        if request.method == "HEAD":
            return webserver.Answer.of(b"", status)
        if "absent" in request.target:
            return webserver.Answer.of(b"", 404)
        if "empty" in request.target:
            return webserver.Answer.of(b"", 416, Content_Range="bytes */0")
        if "whole" in request.target:
            return webserver.Answer.of(VALUE)
        return webserver.Answer.of(VALUE[:1], 206, Content_Range="bytes 0-0/10")

    return answer


@pytest.mark.parametrize("status", [405, 501])
def test_a_server_without_head_tells_the_size_by_a_byte(lying: Lying, status: int) -> None:
    server = lying(without_head(status))
    storage = http(server.url)
    for _ in range(2):
        assert storage.info(KEY) == Info(KEY, 10)
        assert storage.info("whole") == Info("whole", 10)
        assert storage.info("empty") == Info("empty", 0)
        assert storage.info("absent") is None
    assert server.asked.count(f"HEAD /{KEY}") == 1
    assert [request.method for request in server.requests].count("HEAD") == 1


@pytest.mark.parametrize("is_told", [True, False])
def test_a_head_without_a_length_is_followed_by_a_get(lying: Lying, is_told: bool) -> None:
    def answer(request: Request) -> webserver.Answer:
        if request.method == "GET" and is_told:
            return webserver.Answer.of(VALUE[:1], 206, Content_Range="bytes 0-0/10")
        return webserver.Answer(200, {"Transfer-Encoding": "chunked"}, b"0\r\n\r\n")

    storage = http(lying(answer).url)
    if is_told:
        assert storage.info(KEY) == Info(KEY, 10)
    else:
        with pytest.raises(StorageError, match="does not tell the size"):
            storage.info(KEY)


@pytest.mark.parametrize(
    ("status", "fault"),
    [
        *((400, StorageError), (414, StorageError), (451, StorageError), (304, StorageError)),
        *((407, StorageDeniedError), (405, StorageError)),
        *((408, StorageUnavailableError), (500, StorageUnavailableError)),
        *((502, StorageUnavailableError), (520, StorageUnavailableError)),
    ],
)
def test_every_status_is_a_fault_or_none(
    lying: Lying, status: int, fault: type[StorageError]
) -> None:
    storage = http(lying(lambda request: webserver.Answer.of(b"", status)).url)
    with pytest.raises(fault, match=f"the server says {status}") as caught:
        storage.open(KEY)
    assert type(caught.value) is fault


def test_a_server_s_own_words_are_not_shown(lying: Lying) -> None:
    escape = "\x1b]0;owned\x07"
    with badproxy.before(lying(without_head(405)).port) as proxy:
        proxy.plan(Answer(503, reason=escape), Answer(200, {"Content-Encoding": escape}))
        for _ in range(2):
            with pytest.raises(StorageError) as caught:
                http(proxy.url).open(KEY)
            assert "\x1b" not in caught.value.message


@pytest.mark.parametrize("status", [404, 410])
def test_what_is_gone_is_absent(lying: Lying, status: int) -> None:
    storage = http(lying(lambda request: webserver.Answer.of(b"gone", status)).url)
    assert storage.info(KEY) is None
    with pytest.raises(ObjectNotFoundError):
        storage.open(KEY)


# A bad network


@pytest.fixture
def proxy(folder: Folder) -> Iterator[BadProxy]:
    folder.holds(LARGE)
    with badproxy.before(folder.server.port) as made:
        yield made


def behind(proxy: BadProxy, folder: Folder, way: str = "static", **settings: Any) -> HttpStorage:
    return http(f"{proxy.url}/{way}/{folder.name}", **settings)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Refuse(), "connection reset by peer"),
        (Cut(after=1000), "the answer ends early"),
        (Cut(after=1000, is_reset=True), "(connection reset by peer|ends early)"),
        (Cut(after=0), "ends early"),
        (Lost(), "the connection broke"),
        (Stall(after=1000), "nothing came for 0.5 seconds"),
        (Answer(503, {"Retry-After": "3"}), "the server says 503"),
        (Answer(429, {"Retry-After": "Fri, 01 Jan 2100 00:00:00 GMT"}), "the server says 429"),
    ],
)
def test_a_network_that_fails_is_unavailable(
    proxy: BadProxy, folder: Folder, fault: badproxy.Fault, words: str
) -> None:
    storage = behind(proxy, folder, timeouts=SHORT)
    proxy.plan(fault)
    with pytest.raises(StorageUnavailableError, match=words) as caught:
        read(storage)
    assert (caught.value.retry_after is not None) == isinstance(fault, Answer)
    assert read(storage) == LARGE


def test_a_server_that_says_nothing_is_given_up(proxy: BadProxy, folder: Folder) -> None:
    storage = behind(proxy, folder, timeouts=SHORT)
    proxy.plan(badproxy.Delay(60))
    with pytest.raises(StorageUnavailableError, match=r"nothing came for 0\.5 seconds"):
        storage.info(KEY)


def test_who_can_t_be_connected_to_is_given_up() -> None:
    # A listener whose queue is full answers nobody.
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = []
        for _ in range(4):
            each = socket.socket()
            each.setblocking(False)
            each.connect_ex(listener.getsockname())
            waiting.append(each)
        with pytest.raises(StorageUnavailableError, match=r"no connection in time|nothing came"):
            http(f"http://127.0.0.1:{listener.getsockname()[1]}", timeouts=SHORT).info(KEY)
        for each in waiting:
            each.close()


def test_a_download_goes_on_where_it_broke_off(proxy: BadProxy, folder: Folder) -> None:
    waits: list[float] = []
    storage = Retrying(behind(proxy, folder), sleep=waits.append)
    proxy.plan(Cut(after=500_000), Cut(after=500_000, is_reset=True), Answer(503), Refuse())
    with storage.open(KEY, 0, len(LARGE)) as stream:
        found = bytearray()
        while piece := stream.read(64 * 1024):
            found += piece
    assert bytes(found) == LARGE
    assert len(waits) == 4
    assert len(proxy.requests) == 5


def test_a_busy_server_is_waited_for_as_long_as_it_says(proxy: BadProxy, folder: Folder) -> None:
    waits: list[float] = []
    storage = Retrying(behind(proxy, folder), sleep=waits.append)
    proxy.plan(Answer(429, {"Retry-After": "9"}), Answer(503, {"Retry-After": "5"}))
    assert storage.info(KEY) == Info(KEY, len(LARGE))
    # A little more, differing by chance, so that many clients don't come back at once.
    assert [int(wait) for wait in waits] == [9, 5]


def test_wrong_bytes_are_found_by_who_verifies(proxy: BadProxy, folder: Folder) -> None:
    proxy.plan(Corrupt(at=1234))
    storage = behind(proxy, folder)
    found = read(storage)
    assert [at for at, byte in enumerate(found) if byte != LARGE[at]] == [1234]
    assert read(storage) == LARGE


def test_a_connection_that_was_closed_meanwhile_is_opened_again(
    proxy: BadProxy, folder: Folder
) -> None:
    storage = behind(proxy, folder)
    assert read(storage) == LARGE
    proxy.disconnect()
    assert read(storage) == LARGE
    assert proxy.connections == 2


# Redirects


def test_redirects_are_followed(folder: Folder) -> None:
    for way in ("moved", "static"):
        storage = http(folder.url(way))
        assert read(storage) == VALUE
        assert read(storage, KEY, 3, 4) == VALUE[3:7]
        assert storage.info(KEY) == Info(KEY, 10)
        assert storage.info("absent") is None


def test_a_redirect_from_http_to_https_is_followed(folder: Folder) -> None:
    server = folder.server

    def answer(request: Request) -> webserver.Answer:
        target = server.tls_url(f"static/{folder.name}{request.target}")
        return webserver.Answer.of(b"", 307, Location=target)

    with webserver.serve(answer) as first:
        storage = http(first.url, Options(ca_file=str(server.authority)))
        assert read(storage) == VALUE


def test_a_redirect_from_https_to_http_is_refused(folder: Folder) -> None:
    url = folder.server.tls_url(f"downgraded/{folder.name}")
    storage = http(url, Options(ca_file=str(folder.server.authority)))
    with pytest.raises(StorageError, match="redirects from https to http, which is refused"):
        storage.open(KEY)


@pytest.mark.parametrize("number", [5, 6])
def test_so_many_redirects_and_no_more(lying: Lying, number: int) -> None:
    def answer(request: Request) -> webserver.Answer:
        left = int(request.target.rpartition("/")[2])
        if left == 0:
            return webserver.Answer.of(VALUE)
        return webserver.Answer.of(b"", 302, Location=f"/{left - 1}")

    storage = http(lying(answer).url)
    if number == 5:
        assert read(storage, str(number)) == VALUE
    else:
        with pytest.raises(StorageError, match="more than 5 redirects"):
            read(storage, str(number))


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://127.0.0.1/", "http://a b/", ""])
def test_a_redirect_to_what_is_no_web_server_is_refused(lying: Lying, location: str) -> None:
    server = lying(lambda request: webserver.Answer.of(b"", 302, Location=location))
    with pytest.raises(StorageError, match="redirects"):
        http(server.url).open(KEY)


SECRETS = ("authorization", "cookie", "proxy-authorization", "referer")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("source", ["url", "netrc", "helper"])
def test_another_origin_gets_no_login_and_asks_in_vain(
    lying: Lying, home: Path, source: str, status: int
) -> None:
    asked: list[str] = []

    def of_other(request: Request) -> webserver.Answer:
        if request.target.endswith("open"):
            return webserver.Answer.of(VALUE)
        return webserver.Answer.of(b"", 401, WWW_Authenticate='Basic realm="evil"')

    other = lying(of_other)

    def of_first(request: Request) -> webserver.Answer:
        if request.headers.get("authorization") != Login("ada", "secret").header:
            return webserver.Answer.of(b"", 401, WWW_Authenticate='Basic realm="data"')
        headers = {"Location": f"{other.url}{request.target}", "Content-Length": "0"}
        return webserver.Answer(status, {**headers, "Set-Cookie": "a=b"})

    class Asked:
        def fill(self, url: str) -> Login | None:
            asked.append(url)
            return Login("ada", "secret")

        def approve(self, url: str, login: Login) -> None:
            asked.append("approved")

        def reject(self, url: str, login: Login) -> None:
            raise AssertionError

    first = lying(of_first)
    (home / ".netrc").write_text("machine 127.0.0.1 login ada password secret\n")
    url = first.url.replace("//", "//ada:secret@") if source == "url" else first.url
    sources = {"url": Asked(), "helper": Asked(), "netrc": Netrc(str(home / ".netrc"))}
    storage = http(url, Options(credentials=(sources[source],)))
    assert read(storage, "open") == VALUE
    with pytest.raises(StorageDeniedError, match=f"401.*: {other.url}/closed"):
        read(storage, "closed")
    assert [request.headers.keys() & set(SECRETS) for request in other.requests] == [set()] * 2
    assert asked == ([first.url + "/", "approved"] if source == "helper" else [])


# Addresses that what others named must not lead to


FOREIGN = Options(is_trusted=False)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "10.0.0.1", "169.254.169.254", "[::1]", "0x7f.1", "[fe80::1]"],
)
def test_a_foreign_url_to_a_private_address_is_refused(host: str) -> None:
    storage = http(f"https://{host}/x", FOREIGN)
    with pytest.raises(StorageDeniedError, match="private address") as caught:
        storage.info(KEY)
    assert "allowPrivate" in caught.value.hints[0]
    assert f"https://{host}/x/{KEY}" in caught.value.message


def test_the_user_may_allow_private_addresses(folder: Folder) -> None:
    options = Options(is_trusted=False, allow_private=True)
    assert read(http(folder.url("moved"), options)) == VALUE
    assert read(http(folder.url("static"), Options(is_trusted=True))) == VALUE


def resolve(monkeypatch: pytest.MonkeyPatch, name: str, *addresses: list[str]) -> Callable[[], int]:
    """Have a name's lookups give these addresses, one list each; tells how many there were."""
    lookup, answers = socket.getaddrinfo, iter(addresses)
    count = 0

    def fake(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal count
        if host != name:
            return lookup(host, port, *args, **kwargs)
        count += 1
        family = socket.AF_INET
        return [(family, socket.SOCK_STREAM, 6, "", (each, port)) for each in next(answers)]

    monkeypatch.setattr(socket, "getaddrinfo", fake)
    return lambda: count


@pytest.fixture(params=["http", "https"])
def named(request: pytest.FixtureRequest, folder: Folder) -> Iterator[tuple[BadProxy, str]]:
    """A server with a name that can be looked up in the tests only, and its URL."""
    server = folder.server
    with badproxy.before(server.port if request.param == "http" else server.tls_port) as proxy:
        yield proxy, f"{request.param}://data.example.org:{proxy.port}/static/{folder.name}"


def test_a_foreign_name_of_a_private_address_is_refused(
    named: tuple[BadProxy, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy, url = named
    for addresses in (["127.0.0.1"], ["8.8.8.8", "10.1.2.3"]):
        resolve(monkeypatch, "data.example.org", addresses)
        with pytest.raises(StorageDeniedError, match=f"private address {addresses[-1]}"):
            http(url, FOREIGN).info(KEY)
    assert proxy.connections == 0


def test_a_name_that_changes_its_address_gets_no_request(
    named: tuple[BadProxy, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy, url = named
    count = resolve(monkeypatch, "data.example.org", ["8.8.8.8"], ["127.0.0.1"])
    with pytest.raises(StorageDeniedError, match=r"private address 127\.0\.0\.1"):
        http(url, FOREIGN).info(KEY)
    assert count() == 2
    assert proxy.requests == []


def test_a_foreign_name_of_a_public_address_is_reached(
    folder: Folder, named: tuple[BadProxy, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve(monkeypatch, "data.example.org", *[["127.0.0.1"]] * 2)
    monkeypatch.setattr("git_datareg.trust.is_private", lambda host: False)
    options = FOREIGN._replace(ca_file=str(folder.server.authority))
    storage = http(named[1], options)
    assert read(storage) == VALUE
    assert storage.info(KEY) is not None


def test_a_foreign_redirect_to_a_private_address_is_refused(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Its first server counts as public here; only what it redirects to is checked.
    secret = folder.url("static")
    with webserver.serve(
        lambda request: webserver.Answer.of(b"", 302, Location=f"{secret}{request.target}")
    ) as first:
        checked: list[str] = []

        def is_private(host: str) -> bool:
            checked.append(host)
            return len(checked) > 3

        monkeypatch.setattr("git_datareg.trust.is_private", is_private)
        with pytest.raises(StorageDeniedError, match=r"private address 127\.0\.0\.1") as caught:
            http(first.url, FOREIGN).open(KEY)
        assert secret in caught.value.message
        assert len(first.requests) == 1


def test_nobody_is_asked_for_a_foreign_place_and_its_own_login_is_used(
    folder: Folder, home: Path
) -> None:
    class Never:
        def fill(self, url: str) -> Login | None:
            raise AssertionError("asked")

        approve = reject = fill

    for options in (
        Options(is_trusted=False, allow_private=True, credentials=(Never(),)),
        Options(is_anonymous=True, credentials=(Never(),)),
    ):
        with pytest.raises(StorageDeniedError, match="401"):
            http(folder.url("basic"), options).open(KEY)
    own = folder.url("basic").replace("//", "//ada:secret@")
    assert read(http(own, Options(is_trusted=False, allow_private=True))) == VALUE
    with pytest.raises(StorageDeniedError, match="401"):
        http(own, Options(is_anonymous=True)).open(KEY)


# Logins


def helper(home: Path, password: str) -> Path:
    """A credential helper for the user; what it hears is in the file that is returned."""
    log = home / "heard"
    program = home / "helper"
    program.write_text(
        f'#!/bin/sh\necho "$1" >>{log}\n'
        f'[ "$1" != get ] || printf "username=ada\\npassword={password}\\n"\n'
    )
    program.chmod(0o755)
    with (home / "gitconfig").open("a") as file:
        file.write(f"[credential]\n\thelper = {program}\n")
    return log


def by_git() -> Options:
    return Options(credentials=(GitCredentials(may_ask=False),))


def test_git_s_helpers_are_asked_once(folder: Folder, home: Path) -> None:
    log = helper(home, "secret")
    storage = http(folder.url("basic"), by_git())
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: read(storage), range(20))) == [VALUE] * 20
    assert log.read_text().split() == ["get", "store"]


def test_what_is_open_to_all_needs_no_login(folder: Folder, home: Path) -> None:
    log = helper(home, "secret")
    assert read(http(folder.url("static"), by_git())) == VALUE
    assert not log.exists()


def test_a_wrong_password_is_told_to_the_helper_and_denied(folder: Folder, home: Path) -> None:
    log = helper(home, "WRONG")
    storage = http(folder.url("basic"), by_git())
    for _ in range(3):
        with pytest.raises(StorageDeniedError, match="401 Unauthorized") as caught:
            storage.open(KEY)
        assert "WRONG" not in str(caught.value)
        assert "credential helper" in caught.value.hints[0]
    assert log.read_text().split() == ["get", "erase"]


def test_a_login_is_sent_at_once_when_it_is_known(lying: Lying) -> None:
    def answer(request: Request) -> webserver.Answer:
        if "authorization" in request.headers:
            return webserver.Answer.of(VALUE)
        return webserver.Answer.of(b"", 401, WWW_Authenticate="Basic")

    server = lying(answer)
    source = Netrc(os.path.join(os.environ["HOME"], ".netrc"))
    Path(os.environ["HOME"], ".netrc").write_text("machine 127.0.0.1 login ada password secret\n")
    storage = http(server.url, Options(credentials=(source,)))
    for _ in range(3):
        assert read(storage) == VALUE
    assert len(server.requests) == 4
    server.requests.clear()
    assert read(http(server.url.replace("//", "//ada:x@"))) == VALUE
    assert len(server.requests) == 1


def test_the_user_of_the_url_is_who_a_password_is_wanted_for(lying: Lying) -> None:
    asked = []

    class Asked:
        def fill(self, url: str) -> Login | None:
            asked.append(url)
            return None

        def approve(self, url: str, login: Login) -> None: ...

        def reject(self, url: str, login: Login) -> None: ...

    server = lying(lambda request: webserver.Answer.of(b"", 401))
    url = server.url.replace("//", "//a%40b@") + "/music?sig=SECRET"
    with pytest.raises(StorageDeniedError) as caught:
        http(url, Options(credentials=(Asked(),))).open(KEY)
    assert asked == [server.url.replace("//", "//a%40b@") + "/music"]
    assert "SECRET" not in caught.value.message


def test_a_server_that_wants_no_password_is_not_given_one(lying: Lying, home: Path) -> None:
    log = helper(home, "secret")
    server = lying(lambda request: webserver.Answer.of(b"", 401, WWW_Authenticate="Negotiate"))
    with pytest.raises(StorageDeniedError, match="401"):
        http(server.url, by_git()).open(KEY)
    assert not log.exists()
    assert len(server.requests) == 1


def test_without_a_terminal_nobody_waits_for_a_password(folder: Folder) -> None:
    with pytest.raises(StorageDeniedError, match="401"):
        http(folder.url("basic"), by_git()).open(KEY)


def test_the_query_goes_with_every_request_and_is_never_shown(lying: Lying) -> None:
    def answer(request: Request) -> webserver.Answer:
        if request.target.endswith("?sig=SECRET%2B"):
            return webserver.Answer.of(VALUE) if "absent" not in request.target else gone
        return webserver.Answer.of(b"", 403)

    gone = webserver.Answer.of(b"", 404)
    server = lying(answer)
    storage = http(f"{server.url}/base/?sig=SECRET%2B")
    assert read(storage) == VALUE
    assert storage.info("absent") is None
    assert server.asked == [
        f"GET /base/{KEY}?sig=SECRET%2B",
        "HEAD /base/absent?sig=SECRET%2B",
    ]
    with pytest.raises(ObjectNotFoundError) as caught:
        storage.open("absent")
    told = [caught.value.message, storage.url(KEY), str(storage.location), repr(storage.location)]
    assert not [each for each in told if "SECRET" in each]


# TLS


def test_an_authority_of_one_s_own_is_trusted_by_name(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = folder.server
    url = server.tls_url(f"static/{folder.name}")
    authority = str(server.authority)
    assert read(http(url, Options(ca_file=authority))) == VALUE
    assert read(
        http(server.tls_url(f"static/{folder.name}", "localhost"), Options(ca_file=authority))
    )
    monkeypatch.setenv("SSL_CERT_FILE", authority)
    assert read(http(url)) == VALUE


@pytest.mark.parametrize("case", ["other authority", "system's", "other name", "directory"])
def test_a_certificate_that_is_not_trusted_is_told_and_not_tried_again(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    server = folder.server
    host = "127.0.0.1"
    options = Options()
    if case == "other authority":
        options = Options(ca_file=str(server.other_authority))
    elif case == "other name":
        options, host = Options(ca_file=str(server.authority)), "other.example.org"
        resolve(monkeypatch, host, ["127.0.0.1"])
    elif case == "directory":
        options = Options(ca_file=str(folder.path))
    waits: list[float] = []
    storage = Retrying(http(server.tls_url("static", host), options), sleep=waits.append)
    with pytest.raises(StorageError, match=r"certificate is not trusted \(") as caught:
        storage.info(KEY)
    assert not isinstance(caught.value, StorageUnavailableError)
    assert "http.sslCAInfo" in caught.value.hints[0]
    assert waits == []


def test_certificates_that_can_t_be_read_are_told(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_text("x")
    for path in (broken, tmp_path / "missing"):
        with pytest.raises(StorageError, match=f"can't read certificates: {path}"):
            http("https://127.0.0.1/", Options(ca_file=str(path))).info(KEY)


def test_who_speaks_no_tls_is_told(folder: Folder) -> None:
    with pytest.raises(StorageUnavailableError, match="no secure connection"):
        http(folder.url("static").replace("http:", "https:")).info(KEY)


# Proxies


@pytest.fixture
def forwarding(folder: Folder) -> Iterator[WebServer]:
    """A proxy that wants a login, answers for others by itself, and makes tunnels."""

    def answer(request: Request) -> webserver.Answer:
        if request.headers.get("proxy-authorization") != Login("pat", "hidden").header:
            return webserver.Answer.of(b"", 407)
        return webserver.Answer(200) if request.method == "CONNECT" else webserver.Answer.of(VALUE)

    with webserver.serve(answer) as server:
        yield server


@pytest.mark.parametrize("variable", ["http_proxy", "all_proxy"])
def test_the_environment_s_proxy_is_asked(
    forwarding: WebServer, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, forwarding.url.replace("//", "//pat:hidden@"))
    storage = http("http://ada:secret@data.example.org:8080/music?x=y")
    assert read(storage) == VALUE
    [request] = forwarding.requests
    assert request.target == f"http://data.example.org:8080/music/{KEY}?x=y"
    assert request.headers["host"] == "data.example.org:8080"
    assert request.headers["authorization"] == Login("ada", "secret").header


def test_https_goes_through_a_tunnel(
    folder: Folder, forwarding: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", forwarding.url.replace("//", "//pat:hidden@"))
    server = folder.server
    url = server.tls_url(f"basic/{folder.name}").replace("//", "//ada:secret@")
    assert read(http(url, Options(ca_file=str(server.authority)))) == VALUE
    assert forwarding.asked == [f"CONNECT 127.0.0.1:{server.tls_port}"]
    assert "authorization" not in forwarding.requests[0].headers


def test_what_is_not_for_the_proxy_goes_past_it(
    folder: Folder, forwarding: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", forwarding.url)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert read(http(folder.url("static"))) == VALUE
    assert forwarding.requests == []


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_refuses_is_told_without_its_password(
    folder: Folder, forwarding: WebServer, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    monkeypatch.setenv(f"{scheme}_proxy", forwarding.url.replace("//", "//pat:SECRET@"))
    with pytest.raises(StorageError, match=r"407|by the proxy") as caught:
        http(f"{scheme}://data.example.org/").info(KEY)
    assert "SECRET" not in str([caught.value.message, *caught.value.hints])
    assert "proxy" in caught.value.hints[0]


@pytest.mark.parametrize("url", ["http://u:SECRET@127.0.0.1:9", "socks5://u:SECRET@127.0.0.1:9"])
def test_a_proxy_that_can_t_be_used_is_told(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("all_proxy", url)
    with pytest.raises(StorageError, match="proxy") as caught:
        http("http://data.example.org/").info(KEY)
    assert "SECRET" not in str([caught.value.message, *caught.value.hints])


# Writing


WRITER = Options(put=True)


def test_a_web_server_is_only_read_unless_the_user_says_so(folder: Folder) -> None:
    for storage in (
        open_storage(Location.parse(folder.url("dav"))),
        open_storage(Location.parse(folder.url("dav")), WRITER, writable=False),
    ):
        assert not storage.properties.writable
        with pytest.raises(StorageReadOnlyError, match=folder.url("dav")) as caught:
            storage.put("new", io.BytesIO(b"x"), 1)
        assert "put true" in caught.value.hints[0]
        with pytest.raises(StorageReadOnlyError):
            storage.delete(KEY)
    assert read(http(folder.url("dav"))) == VALUE


def test_a_listing_is_not_to_be_had(folder: Folder) -> None:
    storage = open_storage(Location.parse(folder.url("listed")))
    assert not storage.properties.can_list
    with pytest.raises(StorageError, match="does not tell what it has"):
        list(storage.list(""))


def test_folders_are_made_once_and_then_no_more(folder: Folder) -> None:
    with badproxy.before(folder.server.port) as proxy:
        storage = behind(proxy, folder, "dav", options=WRITER)
        for number in range(3):
            assert put(storage, f"objects/00/{number}", b"x")
        base = f"/dav/{folder.name}/"
        made = [line for line in proxy.requests if line.startswith("MKCOL")]
        assert made == [f"MKCOL {base}{part}" for part in ("", "objects/", "objects/00/")]
        for method, number in {"HEAD": 6, "PUT": 3}.items():
            assert proxy.count(f"{method} ") == number


def test_a_value_that_breaks_off_on_its_way_is_not_stored(folder: Folder) -> None:
    with badproxy.before(folder.server.port) as proxy:
        proxy.skip = lambda line: not line.startswith("PUT")
        proxy.plan(CutRequest(after=500_000))
        storage = behind(proxy, folder, "dav", options=WRITER)
        with pytest.raises(StorageUnavailableError):
            put(storage, "objects/new", LARGE)
        assert storage.info("objects/new") is None
        assert folder.server.is_tidy()
        assert put(storage, "objects/new", LARGE)
        assert read(storage, "objects/new") == LARGE


def test_an_answer_that_is_lost_is_found_out_by_looking(folder: Folder) -> None:
    waits: list[float] = []
    with badproxy.before(folder.server.port) as proxy:
        proxy.skip = lambda line: not line.startswith("PUT")
        proxy.plan(Lost())
        storage = Retrying(behind(proxy, folder, "dav", options=WRITER), sleep=waits.append)
        # By an attempt of ours, as Retrying says.
        assert storage.put("objects/new", io.BytesIO(LARGE), len(LARGE)) is False
        assert read(storage, "objects/new") == LARGE
        assert len(waits) == 1


def test_a_value_that_can_t_be_rewound_needs_only_one_attempt(folder: Folder) -> None:
    # Both the folders and the login are found out before it is read.
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    login = Login(nginx.USER, nginx.PASSWORD)

    class Known:
        def fill(self, url: str) -> Login | None:
            return login

        def approve(self, url: str, login: Login) -> None: ...

        def reject(self, url: str, login: Login) -> None: ...

    options = Options(put=True, credentials=(Known(),))
    storage = open_storage(Location.parse(folder.url("dav-basic")), options)
    assert storage.put("objects/cd/x", Pipe(LARGE), len(LARGE))
    assert (folder.path / "objects/cd/x").read_bytes() == LARGE
    storage.delete("objects/cd/x")
    assert not (folder.path / "objects/cd/x").exists()


def test_writers_without_a_login_are_denied(folder: Folder) -> None:
    storage = http(folder.url("dav-basic"), WRITER)
    with pytest.raises(StorageDeniedError, match="401"):
        put(storage, "objects/new", b"x")
    with pytest.raises(StorageDeniedError, match="401"):
        storage.delete(KEY)
    assert read(storage) == VALUE


def test_a_server_that_takes_no_put_is_read_only(folder: Folder) -> None:
    with pytest.raises(StorageReadOnlyError, match="405"):
        put(http(folder.url("static"), WRITER), "objects/new", b"x")


def test_a_value_that_is_too_large_for_the_server_is_told(folder: Folder) -> None:
    storage = http(folder.url("dav-small"), WRITER)
    assert put(storage, "objects/small", b"x" * 1000)
    with pytest.raises(StorageError, match=r"413|the connection broke|reset"):
        put(storage, "objects/large", LARGE)
    assert storage.info("objects/large") is None


def test_deleting_a_folder_is_not_tried(folder: Folder) -> None:
    # Apache would delete all that is in it.
    with badproxy.before(folder.server.port) as proxy:
        storage = behind(proxy, folder, "dav", options=WRITER)
        storage.delete("objects")
        storage.delete("absent")
        assert proxy.count("DELETE") == 0
        storage.delete(KEY)
        assert proxy.count("DELETE") == 1
    assert not (folder.path / KEY).exists()


class DavServer:
    """A writable server of a kind that nginx is not; its values are in `values`."""

    def __init__(self, *, keeps_condition: bool, put_status: int = 201, cut: int | None = None):
        self.values: dict[str, bytes] = {}
        self._keeps_condition = keeps_condition
        self._put_status = put_status
        self._cut = cut

    def __call__(self, request: Request) -> webserver.Answer:
        path, method = request.target, request.method
        if method == "MKCOL":
            return webserver.Answer.of(b"", 405)
        if method == "PUT":
            condition = request.headers.get("if-none-match")
            if self._keeps_condition and condition == "*" and path in self.values:
                return webserver.Answer.of(b"", 412)
            status = self._put_status if path not in self.values else 204
            if 200 <= status < 300:
                self.values[path] = request.body[: self._cut]
            return webserver.Answer.of(b"", status)
        if path not in self.values:
            return webserver.Answer.of(b"", 404)
        return webserver.Answer.of(self.values[path])


@pytest.mark.parametrize("keeps_condition", [True, False])
def test_who_comes_while_we_send_was_first(lying: Lying, keeps_condition: bool) -> None:
    dav = DavServer(keeps_condition=keeps_condition)
    storage = http(lying(dav).url, WRITER)

    class Slow(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            dav.values.setdefault("/x", b"winner")
            return super().read(size)

    assert storage.put("x", Slow(b"loser!"), 6) is False
    assert dav.values["/x"] == (b"winner" if keeps_condition else b"loser!")
    assert storage.put("x", Slow(b"third!"), 6) is False
    assert dav.values["/x"] != b"third!"


def test_a_server_that_kept_less_than_was_sent_is_found_out(lying: Lying) -> None:
    storage = http(lying(DavServer(keeps_condition=True, cut=3)).url, WRITER)
    with pytest.raises(StorageUnavailableError, match="after a PUT of 6 bytes has 3 bytes"):
        put(storage, "x", b"123456")


@pytest.mark.parametrize(
    ("status", "fault"),
    [
        (409, StorageNotFoundError),
        (404, StorageNotFoundError),
        (507, StorageUnavailableError),
        (403, StorageDeniedError),
        (413, StorageDeniedError),
        (501, StorageReadOnlyError),
        (422, StorageError),
    ],
)
def test_a_put_that_is_refused_is_told(
    lying: Lying, status: int, fault: type[StorageError]
) -> None:
    storage = http(lying(DavServer(keeps_condition=True, put_status=status)).url, WRITER)
    with pytest.raises(fault) as caught:
        put(storage, "x", b"123456")
    assert type(caught.value) is fault


def test_a_write_is_never_redirected(lying: Lying) -> None:
    other = lying(DavServer(keeps_condition=True))

    def answer(request: Request) -> webserver.Answer:
        return webserver.Answer.of(b"", 308, Location=f"{other.url}{request.target}")

    storage = http(lying(answer).url, WRITER)
    with pytest.raises(StorageError, match=f"to be written to {other.url}/") as caught:
        put(storage, "x", b"1")
    assert caught.value.hints
    assert not [line for line in other.asked if not line.startswith("HEAD")]


def test_a_source_that_is_wrong_or_fails_leaves_the_connection_usable(folder: Folder) -> None:
    storage = http(folder.url("dav"), WRITER)

    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() > 100_000:
                raise BrokenPipeError(32, "Broken pipe")
            return super().read(size)

    for _ in range(3):
        with pytest.raises(BrokenPipeError):
            storage.put("objects/new", Failing(LARGE), len(LARGE))
        with pytest.raises(IntegrityError):
            storage.put("objects/new", io.BytesIO(LARGE), len(LARGE) - 1)
        assert storage.info("objects/new") is None
        assert read(storage) == VALUE
    assert folder.server.is_tidy()
