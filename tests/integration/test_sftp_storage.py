"""A storage behind a real sshd, reached by the real ssh: what the contract suite can't show."""

from __future__ import annotations

import hashlib
import io
import os
import pty
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, cast

import pytest

from git_datareg.errors import (
    DataregError,
    StorageDeniedError,
    StorageError,
    StorageNotConfiguredError,
    StorageNotFoundError,
    StorageUnavailableError,
    UsageError,
)
from git_datareg.location import Location
from git_datareg.storage import Info, Options, Storage, open_storage
from git_datareg.storage.sftp import SftpStorage
from tests.support import sshd
from tests.support.sshd import Sshd

KEY = "objects/ab/cdef"
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with sshd.serve(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@pytest.fixture
def server(shared_server: Sshd, monkeypatch: pytest.MonkeyPatch) -> Sshd:
    monkeypatch.setenv("GIT_SSH_COMMAND", shared_server.command)
    return shared_server


Serve = Callable[..., Sshd]


@pytest.fixture
def starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Sshd], Path]:
    """Has each start of ssh write a line to the file that it gives."""

    def starts(server: Sshd) -> Path:
        path = tmp_path / "starts"
        path.write_text("")
        command = f'f() {{ echo x >>{path}; exec {server.command} "$@"; }}; f'
        monkeypatch.setenv("GIT_SSH_COMMAND", command)
        return path

    return starts


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Starts a server of one's own, which may be broken and set up as one likes."""
    started = []

    def serve(more: str = sshd.SFTP) -> Sshd:
        directory = tmp_path / f"sshd{len(started)}"
        directory.mkdir()
        server = Sshd(directory, more)
        started.append(server)
        server.start()
        monkeypatch.setenv("GIT_SSH_COMMAND", server.command)
        return server

    yield serve
    for server in started:
        server.kill()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "with space" / "storage"


def opened(server: Sshd, directory: Path, **options: object) -> Storage:
    """The storage, the directory above it made."""
    directory.parent.mkdir(exist_ok=True)
    writable = bool(options.pop("writable", True))
    chosen = Options(**options)  # type: ignore[arg-type]
    return open_storage(Location.parse(server.url(directory)), chosen, writable=writable)


def bare(server: Sshd, directory: Path) -> SftpStorage:
    """As `opened`, without patience."""
    directory.parent.mkdir(exist_ok=True)
    return SftpStorage(Location(server.url(directory)), Options())


def put(storage: Storage, key: str, value: bytes) -> bool:
    return storage.put(key, io.BytesIO(value), len(value))


def read(storage: Storage, key: str) -> bytes:
    with storage.open(key) as stream:
        return stream.read()


def run(code: str, *arguments: str, **environ: str) -> subprocess.Popen[str]:
    """A Python that runs this code, which finds a storage at the URL that comes first."""
    start = (
        "import io, os, signal, sys\n"
        "from git_datareg.location import Location\n"
        "from git_datareg.storage import Options, open_storage\n"
        "storage = open_storage(Location(sys.argv[1]))\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", start + code, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environ},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


# What a server holds


def test_a_large_value_comes_back_as_it_went(server: Sshd, directory: Path) -> None:
    # Random enough that pieces in a wrong order would show.
    value = b"".join(hashlib.sha256(b"%d" % number).digest() * 1024 for number in range(2048))
    assert len(value) == 64 * 1024 * 1024
    storage = opened(server, directory)
    assert put(storage, KEY, value)
    storage.flush()
    assert (directory / KEY).read_bytes() == value
    assert read(storage, KEY) == value
    with storage.open(KEY, 40_000_001, 1_000_000) as stream:
        assert stream.read(1_000_000) == value[40_000_001:41_000_001]


BOTH = """
names = [f"objects/{number % 7:02}/{number}" for number in range(60)]
order = names if sys.argv[2] == "up" else names[::-1]
print(sum(storage.put(name, io.BytesIO(name.encode() * 999), len(name) * 999) for name in order))
storage.flush()
for name in order:
    with storage.open(name) as stream:
        assert stream.read() == name.encode() * 999
"""


def test_two_processes_store_and_read_the_same_at_once(server: Sshd, directory: Path) -> None:
    storage = opened(server, directory)
    put(storage, "datareg.json", b"{}")
    children = [run(BOTH, server.url(directory), way) for way in ("up", "down")]
    told = [child.communicate(timeout=120) for child in children]
    assert [child.returncode for child in children] == [0, 0], told
    assert sum(int(output) for output, _ in told) == 60
    assert len(list(storage.list("objects/"))) == 60
    assert list((directory / ".incoming").iterdir()) == []


def test_a_directory_can_be_used_from_its_own_machine_too(server: Sshd, directory: Path) -> None:
    far, near = opened(server, directory), open_storage(Location(str(directory)))
    assert put(far, KEY, b"far")
    assert put(near, KEY, b"near") is False
    assert put(near, "objects/near", b"near")
    assert put(far, "objects/near", b"far") is False
    listed = [[each[:2] for each in side.list("")] for side in (far, near)]
    assert listed[0] == listed[1]
    assert (read(far, "objects/near"), read(near, KEY)) == (b"near", b"far")
    # No more than the umask of the server's user lets.
    assert (directory / KEY).stat().st_mode & 0o777 == 0o644


def test_a_value_that_is_cut_short_while_it_is_read_ends_there(
    server: Sshd, directory: Path
) -> None:
    value = os.urandom(1024) * 1024
    storage = bare(server, directory)
    put(storage, KEY, value)
    with storage.open(KEY) as stream:
        # Within the second packet.
        os.truncate(directory / KEY, 300_000)
        assert stream.read() == value[:300_000]
        assert stream.read() == b""


def test_a_directory_is_made_by_the_first_put_only(server: Sshd, directory: Path) -> None:
    storage = opened(server, directory)
    assert storage.info(KEY) is None
    assert list(storage.list("")) == []
    storage.delete(KEY)
    storage.flush()
    assert not directory.exists()
    assert put(storage, KEY, b"x")
    assert directory.is_dir()


@pytest.mark.parametrize("case", ["only read", "parent missing", "a file", "dangling link"])
def test_a_directory_that_is_not_there_is_not_an_empty_one(
    server: Sshd, directory: Path, case: str
) -> None:
    directory.parent.mkdir()
    if case == "parent missing":
        directory = directory / "below" / "it"
    elif case == "a file":
        directory.write_text("x")
    elif case == "dangling link":
        directory.symlink_to("nowhere")
    location = Location.parse(server.url(directory))
    uses: list[Callable[[Storage], object]] = [
        lambda storage: storage.info(KEY),
        lambda storage: storage.open(KEY),
        lambda storage: list(storage.list("")),
    ]
    if case != "only read":
        uses += [lambda storage: put(storage, KEY, b"x"), lambda storage: storage.delete(KEY)]
    for use in uses:
        with pytest.raises(StorageNotFoundError, match="with%20space/storage") as caught:
            use(open_storage(location, writable=case != "only read"))
        assert caught.value.hints
    assert not directory.is_dir()


@pytest.mark.parametrize("kind", ["directory", "dangling link"])
def test_what_is_not_a_file_is_no_value_and_stays(server: Sshd, directory: Path, kind: str) -> None:
    path = directory / KEY
    path.parent.mkdir(parents=True)
    if kind == "directory":
        path.mkdir()
    else:
        path.symlink_to("nowhere")
    storage = bare(server, directory)
    assert storage.info(KEY) is None
    with pytest.raises(DataregError, match=f"not in {storage.location}"):
        storage.open(KEY)
    with pytest.raises(StorageUnavailableError):
        put(storage, KEY, b"x")
    assert os.path.lexists(path)
    assert list((directory / ".incoming").iterdir()) == []


def test_a_list_follows_links_and_leaves_out_what_no_key_names(
    server: Sshd, directory: Path
) -> None:
    storage = opened(server, directory)
    put(storage, KEY, b"12345")
    put(storage, "elsewhere/x", b"1")
    (directory / "objects/link").symlink_to("ab/cdef")
    (directory / "objects/folder").symlink_to("../elsewhere")
    (directory / "objects/dangling").symlink_to("nowhere")
    (directory / "objects/.nfs0001").write_text("x")
    (directory / "objects/\u00e9").write_text("x")
    expected = [Info(KEY, 5), Info("objects/folder/x", 1), Info("objects/link", 5)]
    found = list(storage.list("objects/"))
    assert [each._replace(modified=None) for each in found] == expected
    assert all(each.modified is not None for each in found)


def test_a_directory_of_very_many_values_is_listed_whole(server: Sshd, directory: Path) -> None:
    for number in range(70):
        (directory / f"objects/{number:02}").mkdir(parents=True)
    for number in range(1000):
        (directory / f"objects/00/{number}").write_bytes(b"x")
    (directory / "objects/69/last").write_bytes(b"x")
    found = [info.key for info in opened(server, directory).list("objects/")]
    assert found == sorted([f"objects/00/{number}" for number in range(1000)] + ["objects/69/last"])


def test_what_killed_writers_left_is_removed_after_a_day(server: Sshd, directory: Path) -> None:
    put(opened(server, directory), KEY, b"x")
    incoming = directory / ".incoming"
    old, new, other = incoming / "value-old", incoming / "value-new", incoming / "other"
    for path in (old, new, other):
        path.write_text("x")
    for path in (old, other):
        os.utime(path, (0, 0))
    storage = opened(server, directory)
    put(storage, "objects/other", b"x")
    # A later request on the same connection: the server works in order.
    assert [storage.info("objects/other")] == [Info("objects/other", 1)]
    assert sorted(path.name for path in incoming.iterdir()) == ["other", "value-new"]


def test_a_directory_of_keys_that_vanishes_is_made_anew(server: Sshd, directory: Path) -> None:
    storage = opened(server, directory)
    put(storage, KEY, b"x")
    storage.delete(KEY)
    (directory / "objects/ab").rmdir()
    assert put(storage, KEY, b"y")
    assert read(storage, KEY) == b"y"


def test_a_home_is_where_the_server_says(
    serve: Serve, directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(f"Subsystem sftp internal-sftp -d {tmp_path}")
    directory.mkdir(parents=True)
    put(open_storage(Location(str(directory))), KEY, b"x")
    below = f"{server.user}@127.0.0.1:{server.port}"
    home = os.path.expanduser(f"~{server.user}")
    for url in (
        f"ssh://{below}/~/with%20space/storage",
        f"sftp://{below}/~/with%20space/./storage/",
        f"[{below}]:with space/storage".replace(f"[{server.user}@", f"{server.user}@["),
        f"ssh://{below}/~{server.user}/{os.path.relpath(directory, home).replace(' ', '%20')}",
    ):
        storage = open_storage(Location.parse(url), writable=False)
        assert read(storage, KEY) == b"x", url
        assert storage.url(KEY) == f"{url.rstrip('/')}/{KEY}"
    with pytest.raises(StorageNotFoundError, match="nobody-of-that-name"):
        open_storage(Location(f"ssh://{below}/~nobody-of-that-name/x")).info(KEY)


@pytest.mark.parametrize("url", ["ssh://-oProxyCommand=x/y", "ssh://a:b@host/x", "ssh://a b/x"])
def test_what_ssh_could_take_for_something_else_is_not_given_to_it(url: str) -> None:
    with pytest.raises(UsageError):
        open_storage(Location.parse(url))


# Durability


SERVER = "/usr/lib/openssh/sftp-server"


@pytest.mark.skipif(not os.path.exists(SERVER), reason="OpenSSH has its server elsewhere")
def test_a_flush_syncs_new_files_and_their_directories(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"
    # It writes down what it is asked before it answers.
    command = f"f() {{ exec {SERVER} -e -l DEBUG3 2>>{log}; }}; f"
    monkeypatch.setenv("GIT_SSH_COMMAND", command)
    directory.mkdir(parents=True)

    def synced(use: Callable[[], object]) -> int:
        log.write_text("")
        use()
        return log.read_text().count(": fsync (handle")

    storage = open_storage(Location(f"ssh://host{directory}".replace(" ", "%20")))
    assert synced(lambda: put(storage, KEY, b"x")) == 0
    # The file, and the directories ab, objects, storage, and the one that holds it.
    assert synced(storage.flush) == 5
    assert synced(storage.flush) == 0
    # It may be there only now.
    assert synced(lambda: put(storage, KEY, b"x")) == 0
    assert synced(storage.flush) == 5
    os.utime(directory / KEY, (0, 0))
    assert synced(lambda: put(storage, KEY, b"x")) == 0
    assert synced(storage.flush) == 0


def test_a_sync_that_fails_is_heard_until_it_does_not(server: Sshd, directory: Path) -> None:
    storage = bare(server, directory)
    put(storage, KEY, b"x")
    path = directory / KEY
    path.unlink()
    # What the kernel makes up can't be synced.
    path.symlink_to("/proc/version")
    for _ in range(2):
        with pytest.raises(StorageUnavailableError, match="cdef"):
            storage.flush()
    path.unlink()
    storage.flush()


def test_a_server_that_can_t_sync_is_not_asked_to(serve: Serve, directory: Path) -> None:
    storage = opened(serve("Subsystem sftp internal-sftp -P fsync"), directory)
    put(storage, KEY, b"x")
    storage.flush()


# Faults of the place


def test_a_place_that_is_only_read_is_denied_to_writers(serve: Serve, directory: Path) -> None:
    directory.mkdir(parents=True)
    put(open_storage(Location(str(directory))), KEY, b"x")
    server = serve("Subsystem sftp internal-sftp -R")
    storage = opened(server, directory)
    assert read(storage, KEY) == b"x"
    with pytest.raises(StorageDeniedError, match="Permission denied"):
        put(storage, "objects/new", b"x")
    with pytest.raises(StorageDeniedError, match="Permission denied"):
        storage.delete(KEY)


@pytest.mark.parametrize(
    ("denied", "use"),
    [
        ("stat", lambda storage: storage.info(KEY)),
        ("open", lambda storage: storage.open(KEY)),
        ("opendir", lambda storage: list(storage.list(""))),
        ("readdir", lambda storage: list(storage.list(""))),
        ("write", lambda storage: put(storage, "objects/new", b"x")),
        ("close", lambda storage: put(storage, "objects/new", b"x")),
        ("rename", lambda storage: put(storage, "objects/new", b"x")),
        ("read", lambda storage: read(storage, KEY)),
    ],
)
def test_a_request_that_the_server_denies_is_a_fault(
    serve: Serve, directory: Path, denied: str, use: Callable[[Storage], object]
) -> None:
    directory.mkdir(parents=True)
    put(open_storage(Location(str(directory))), KEY, b"x")
    server = serve(f"Subsystem sftp internal-sftp -P {denied}")
    storage = opened(server, directory)
    with pytest.raises(StorageDeniedError, match="Permission denied"):
        use(storage)
    assert not (directory / "objects/new").exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(path)]
    if os.getuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("no file system can be mounted here")
    yield path
    subprocess.run(["umount", str(path)], check=True)


def test_a_full_disk_is_a_fault_that_leaves_nothing(server: Sshd, small_disk: Path) -> None:
    storage = bare(server, small_disk / "storage")
    put(storage, "objects/before", b"x")
    with pytest.raises(StorageUnavailableError, match="could not"):
        put(storage, KEY, bytes(1024 * 1024))
    assert [info.key for info in storage.list("")] == ["objects/before"]
    assert list((small_disk / "storage/.incoming").iterdir()) == []
    assert put(storage, KEY, b"small") is True


# Who is let in


def test_a_host_key_that_is_not_known_is_refused(serve: Serve, directory: Path) -> None:
    server = serve()
    (server.directory / "known_hosts").write_text("")
    with pytest.raises(StorageDeniedError, match="host key is not known") as caught:
        opened(server, directory).info(KEY)
    assert f"ssh -p {server.port} {server.user}@127.0.0.1" in caught.value.hints[0]


def test_a_host_key_that_is_another_is_refused(serve: Serve, directory: Path) -> None:
    server = serve()
    sshd.make_key(server.directory / "other")
    server.know("other")
    with pytest.raises(StorageDeniedError, match="not the one that ssh knows"):
        opened(server, directory).info(KEY)


def test_a_user_who_is_not_known_is_refused_at_once(server: Sshd, directory: Path) -> None:
    url = server.url(directory).replace(f"{server.user}@", "somebody@")
    with pytest.raises(StorageDeniedError, match="Permission denied") as caught:
        open_storage(Location.parse(url)).info(KEY)
    assert "somebody@127.0.0.1" in caught.value.hints[0]


def test_a_key_that_is_not_known_is_refused_and_not_tried_by_each_thread(
    serve: Serve, starts: Callable[[Sshd], Path], directory: Path
) -> None:
    server = serve()
    count = starts(server)
    sshd.make_key(server.directory / "user_key")
    storage = opened(server, directory)

    def use(number: int) -> str:
        with pytest.raises(StorageDeniedError) as caught:
            storage.info(f"objects/{number}")
        return caught.value.message

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(use, range(20)))) == 1
    assert count.read_text() == "x\n"


ASKED = """
try:
    print(storage.info("x"))
except Exception as error:
    print(type(error).__name__, error)
"""


def on_a_terminal(code: str, answer: bytes, *arguments: str) -> str:
    """What a program says whose user sits at a terminal and answers each question so."""
    ours, theirs = pty.openpty()
    # The first terminal that the leader of a session opens is the one it has (tty(4)).
    start = (
        "import os, sys\n"
        "os.open(sys.argv[-1], os.O_RDWR)\n"
        "from git_datareg.location import Location\n"
        "from git_datareg.storage import Options, open_storage\n"
    )
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    del environ["GIT_TERMINAL_PROMPT"]
    child = subprocess.Popen(
        [sys.executable, "-c", start + code, *arguments, os.ttyname(theirs)],
        env=environ,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    said = b""
    try:
        while select.select([ours], [], [], 60)[0]:
            said += os.read(ours, 1024)
            if said.endswith((b"? ", b": ")):
                os.write(ours, answer + b"\n")
    except OSError:
        # Linux's word for: nobody has it open any more.
        pass
    finally:
        os.close(ours)
        child.kill()
        child.wait()
    return said.decode()


def test_a_user_at_a_terminal_is_asked_about_an_unknown_host(serve: Serve, directory: Path) -> None:
    server = serve()
    directory.mkdir(parents=True)
    (server.directory / "known_hosts").write_text("")
    code = "storage = open_storage(Location(sys.argv[1]))\n" + ASKED
    said = on_a_terminal(code, b"no", server.url(directory))
    assert "authenticity" in said
    assert "StorageDeniedError the host key is not known" in said
    said = on_a_terminal(code, b"yes", server.url(directory))
    assert "authenticity" in said
    assert said.rstrip().endswith("None")


def test_nobody_is_asked_for_a_place_that_is_not_the_user_s(serve: Serve, directory: Path) -> None:
    server = serve()
    directory.mkdir(parents=True)
    (server.directory / "known_hosts").write_text("")
    code = "storage = open_storage(Location(sys.argv[1]), Options(is_trusted=False))\n" + ASKED
    said = on_a_terminal(code, b"yes", server.url(directory))
    assert "authenticity" not in said
    assert "StorageDeniedError the host key is not known" in said


# Servers that are none


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("", "subsystem request failed"),
        (sshd.SFTP + "\nForceCommand echo This account is closed.", "This account is closed"),
        ("Subsystem sftp /nonexistent/sftp-server", "No such file|exit code 127|not found"),
        (sshd.SFTP + "\nForceCommand exit 3", "exit code 3"),
    ],
    ids=["no subsystem", "other words", "no program", "silence"],
)
def test_a_server_without_sftp_is_told_as_such(
    serve: Serve, directory: Path, more: str, said: str
) -> None:
    server = serve(more)
    with pytest.raises(StorageError, match=said) as caught:
        opened(server, directory).info(KEY)
    assert caught.value.hints


def test_nobody_there_is_a_fault_that_may_pass(serve: Serve, directory: Path) -> None:
    server = serve()
    server.kill()
    with pytest.raises(StorageUnavailableError, match="Connection refused"):
        bare(server, directory).info(KEY)
    server.start()
    assert bare(server, directory).info(KEY) is None


@pytest.mark.parametrize(
    ("command", "fault"),
    [
        ("nonexistent-ssh", "nonexistent-ssh.*not found"),
        ("/opt/putty/plink -batch", "only OpenSSH"),
        ("ssh -oNoSuchOption=1", "Bad configuration option"),
    ],
)
def test_an_ssh_that_can_t_be_used_is_named(
    directory: Path, monkeypatch: pytest.MonkeyPatch, command: str, fault: str
) -> None:
    monkeypatch.setenv("GIT_SSH_COMMAND", command)
    with pytest.raises(StorageNotConfiguredError, match=fault):
        open_storage(Location("ssh://127.0.0.1:1/x")).info(KEY)


# Broken connections


class Breaking(io.RawIOBase):
    """A value that calls `then` when half of it has been read, the first time."""

    def __init__(self, value: bytes, then: Callable[[], None]) -> None:
        self._stream = io.BytesIO(value)
        self._half = len(value) // 2
        self._then: Callable[[], None] | None = then

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._stream.seek(offset, whence)

    def read(self, size: int = -1) -> bytes:
        if self._then is not None and self._stream.tell() >= self._half:
            then, self._then = self._then, None
            then()
        return self._stream.read(size)


def broken(value: bytes, then: Callable[[], None]) -> BinaryIO:
    return cast(BinaryIO, Breaking(value, then))


def restart(server: Sshd) -> None:
    server.kill()
    server.start()


VALUE = os.urandom(1024) * 16 * 1024


def test_a_connection_that_breaks_while_we_read_is_a_fault(serve: Serve, directory: Path) -> None:
    server = serve()
    storage = bare(server, directory)
    put(storage, KEY, VALUE)
    with storage.open(KEY) as stream:
        assert stream.read(1000) == VALUE[:1000]
        server.kill()
        with pytest.raises(StorageUnavailableError, match=str(server.port)):
            stream.read()
    server.start()
    assert read(storage, KEY) == VALUE


def test_a_connection_that_breaks_while_we_write_leaves_nothing(
    serve: Serve, directory: Path
) -> None:
    server = serve()
    storage = bare(server, directory)
    put(storage, "objects/other", b"x")
    with pytest.raises(StorageUnavailableError, match=str(server.port)):
        storage.put(KEY, broken(VALUE, server.kill), len(VALUE))
    server.start()
    assert [info.key for info in storage.list("")] == ["objects/other"]
    assert put(storage, KEY, VALUE) is True


def test_what_breaks_off_goes_on_when_the_server_is_back(serve: Serve, directory: Path) -> None:
    server = serve()
    storage = opened(server, directory)
    assert storage.put(KEY, broken(VALUE, lambda: restart(server)), len(VALUE)) is True
    with storage.open(KEY, 5, len(VALUE) - 5) as stream:
        assert stream.read(1000) == VALUE[5:1005]
        restart(server)
        assert stream.read(len(VALUE)) == VALUE[1005:]
    restart(server)
    assert storage.info(KEY) == Info(KEY, len(VALUE))


def test_a_server_that_falls_silent_is_given_up(
    serve: Serve, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve()
    storage = bare(server, directory)
    put(storage, KEY, VALUE)

    def freeze() -> None:
        server.freeze()
        monkeypatch.setattr("git_datareg.storage.channel._IDLE", 0.1)

    freeze()
    with pytest.raises(StorageUnavailableError, match="no word for"):
        storage.info(KEY)
    monkeypatch.setattr("git_datareg.storage.channel._IDLE", 60.0)
    with pytest.raises(StorageUnavailableError, match=r"(no word|nothing taken) for"):
        storage.put("objects/new", broken(VALUE, freeze), len(VALUE))
    monkeypatch.setattr("git_datareg.storage.channel._IDLE", 60.0)
    assert [info.key for info in storage.list("")] == [KEY]


KILLED = """
class Source(io.RawIOBase):
    left = 20
    def read(self, size=-1):
        self.left -= 1
        if not self.left: os.kill(os.getpid(), signal.SIGKILL)
        return b"x" * size
storage.put(sys.argv[2], Source(), 100 * 1024 * 1024)
"""


def test_a_writer_that_is_killed_leaves_what_nobody_sees(server: Sshd, directory: Path) -> None:
    put(opened(server, directory), "objects/other", b"x")
    # What a killed program can't finish, coverage of it for one, is not waited for.
    with run(KILLED, server.url(directory), KEY, COVERAGE_PROCESS_CONFIG="") as child:
        assert child.wait(60) == -signal.SIGKILL
    storage = opened(server, directory)
    assert storage.info(KEY) is None
    assert [info.key for info in storage.list("")] == ["objects/other"]
    [left] = (directory / ".incoming").iterdir()
    assert left.stat().st_size > 0


# Connections


def together(storage: Storage, threads: int) -> None:
    """Read as many values at once, so that each reader needs the others to go on."""
    for number in range(threads):
        put(storage, f"objects/{number}", b"%d" % number * 10)
    streams = [storage.open(f"objects/{number}") for number in range(threads)]
    assert [stream.read() for stream in streams] == [b"%d" % each * 10 for each in range(threads)]
    for stream in streams:
        stream.close()


def test_connections_are_made_as_they_are_needed_and_not_too_many(
    server: Sshd, starts: Callable[[Sshd], Path], directory: Path
) -> None:
    count = starts(server)
    storage = opened(server, directory)
    put(storage, KEY, b"x")
    assert count.read_text() == "x\n" * 1
    together(storage, 12)
    assert count.read_text() == "x\n" * 4
    # Another storage of that machine has them, too.
    together(opened(server, directory.with_name("other")), 12)
    assert count.read_text() == "x\n" * 4


def test_as_few_connections_as_configured(
    server: Sshd, starts: Callable[[Sshd], Path], directory: Path
) -> None:
    count = starts(server)
    storage = opened(server, directory, connections=1)
    assert storage.properties.connections == 1
    together(storage, 5)
    assert count.read_text() == "x\n" * 1


def test_a_server_that_allows_one_connection_is_used_by_one(
    server: Sshd, directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = tmp_path / "once"
    command = f'f() {{ mkdir {once} || exit 255; exec {server.command} "$@"; }}; f'
    monkeypatch.setenv("GIT_SSH_COMMAND", command)
    together(opened(server, directory), 5)
    assert once.is_dir()


FORKED = """
storage.put("objects/before", io.BytesIO(b"x"), 1)
child = os.fork()
name = "child" if not child else "parent"
for number in range(50):
    key = f"objects/{name}{number}"
    assert storage.put(key, io.BytesIO(key.encode()), len(key))
    with storage.open(key) as stream:
        assert stream.read() == key.encode()
if not child:
    os._exit(0)
print(os.waitpid(child, 0)[1])
"""


def test_a_forked_process_has_a_connection_of_its_own(server: Sshd, directory: Path) -> None:
    storage = opened(server, directory)
    put(storage, "datareg.json", b"{}")
    # Python warns of forks beside threads; ours hold nothing that the child needs.
    child = run(FORKED, server.url(directory), PYTHONWARNINGS="ignore")
    assert child.communicate(timeout=60) == ("0\n", "")
    assert len(list(storage.list("objects/"))) == 101


def test_no_ssh_outlives_us(server: Sshd, directory: Path) -> None:
    directory.mkdir(parents=True)
    code = "print(storage.info('x'))"
    # A name of its own for this server tells its connections from ours.
    url = server.url(directory).replace("127.0.0.1", "127.0.0.2")
    with (server.directory / "config").open("a") as config:
        config.write("Host 127.0.0.2\n    HostName 127.0.0.1\n")
    child = run(code, url)
    assert child.communicate(timeout=60) == ("None\n", "")
    running = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            running.append(path.read_bytes())
    assert not [words for words in running if b"127.0.0.2" in words and url.encode() not in words]
