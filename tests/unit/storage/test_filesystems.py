"""What fsspec opens, as storage, where the contract suite doesn't go: who may, and faults."""

from __future__ import annotations

import gc
import importlib.util
import io
import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from git_datareg.errors import (
    DataregError,
    IntegrityError,
    StorageDeniedError,
    StorageError,
    StorageNotConfiguredError,
    StorageNotFoundError,
    StorageReadOnlyError,
    StorageUnavailableError,
)
from git_datareg.location import Location
from git_datareg.storage import Info, Options, dialects, filesystems, open_storage
from git_datareg.storage.filesystems import FileSystemStorage
from tests.support import plainfs

KEY = "objects/ab/cdef"


def without_times(found: Iterable[Info]) -> list[Info]:
    return [each._replace(modified=None) for each in found]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "storage [1]"


def bare(directory: Path, *arguments: tuple[str, str], writable: bool = True) -> FileSystemStorage:
    """The storage without patience."""
    location = Location(f"plain://{directory}")
    return FileSystemStorage(location, Options(arguments=arguments), writable=writable)


def put(storage: FileSystemStorage, key: str, value: bytes) -> bool:
    return storage.put(key, io.BytesIO(value), len(value))


def read(storage: FileSystemStorage, key: str) -> bytes:
    with storage.open(key) as stream:
        return stream.read()


def failing(
    monkeypatch: pytest.MonkeyPatch, method: str, error: Callable[[str], Exception]
) -> list[str]:
    """Have a method of the file system fail; the paths that it was asked for."""
    asked: list[str] = []

    def before(name: str, path: str) -> None:
        if name == method:
            asked.append(path)
            raise error(path)

    def made(self: plainfs.PlainFileSystem, **options: Any) -> None:
        original(self, before=before, **options)

    original = plainfs.PlainFileSystem.__init__
    monkeypatch.setattr(plainfs.PlainFileSystem, "__init__", made)
    return asked


# Who may


@pytest.mark.parametrize(
    "url",
    [
        *("local:///etc", "zip://x", "tar://x", "reference://x", "simplecache://x", "dir://x"),
        *(
            "data://x",
            "jupyter://x",
            "dask://x",
            "git://x",
            "generic://x",
            "datareg://x",
            "dbfs://x",
        ),
        *("simplecache::gs://bucket", "zip://x::gs://bucket", "gs://bucket::file:///etc"),
    ],
)
def test_what_leads_here_or_around_others_is_refused(url: str) -> None:
    with pytest.raises(StorageNotConfiguredError, match="can't be used for storage"):
        open_storage(Location.parse(url))


def test_every_scheme_of_ours_is_left_to_us() -> None:
    for scheme in dialects.OURS:
        assert not filesystems.serves(Location(f"{scheme}://x/y"), Options())


def test_what_fsspec_does_not_know_by_itself_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.find_spec
    monkeypatch.setattr(
        filesystems, "find_spec", lambda name: spec(name) if name == "fsspec" else None
    )
    with pytest.raises(StorageNotConfiguredError, match="needs the package adlfs"):
        open_storage(Location("abfss://container@account.dfs.core.windows.net/x"))


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StorageNotConfiguredError, match="ossfs") as caught:
        open_storage(Location("oss://bucket/x"))
    assert caught.value.hints == ("pip install ossfs",)
    monkeypatch.setattr(filesystems, "find_spec", lambda name: None)
    with pytest.raises(StorageNotConfiguredError) as caught:
        open_storage(Location("oss://bucket/x"))
    assert "git-datareg[fsspec]" in caught.value.hints[0]


@pytest.mark.parametrize(
    ("url", "may"),
    [
        *((f"{scheme}://bucket/x", True) for scheme in ("gs", "gcs", "az", "abfs", "abfss")),
        ("abfss://container@account.dfs.core.windows.net/x", True),
        ("abfss://container@evil.example\\.dfs.core.windows.net/x", False),
        ("abfss://container@evil.example%2f.dfs.core.windows.net/x", False),
        ("abfss://container@evil.example?.dfs.core.windows.net/x", False),
        ("plain:///etc", False),
        ("ftp://host/x", False),
        ("webdav://x", False),
        ("github://x", False),
    ],
)
def test_a_repository_may_name_clouds_only(
    url: str, may: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whatever is installed here.
    monkeypatch.setattr(filesystems, "find_spec", lambda name: object())
    location = Location(url)
    assert filesystems.serves(location, Options())
    if may:
        assert filesystems.serves(location, Options(is_trusted=False))
    else:
        with pytest.raises(StorageDeniedError, match="may not name"):
            filesystems.serves(location, Options(is_trusted=False))


# What it is given


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("text", "text"), ("7", 7), ("1.5", 1.5), ("true", True), ("null", None), ("", "")),
        *(('"7"', "7"), ('["ada", "pw"]', ("ada", "pw")), ('{"a": 1}', {"a": 1}), ("a=b", "a=b")),
    ],
)
def test_arguments_are_what_their_text_says(
    directory: Path, monkeypatch: pytest.MonkeyPatch, text: str, value: object
) -> None:
    made: list[dict[str, Any]] = []
    original = plainfs.PlainFileSystem.__init__

    def init(self: plainfs.PlainFileSystem, **options: Any) -> None:
        made.append(options)
        original(self)

    monkeypatch.setattr(plainfs.PlainFileSystem, "__init__", init)
    assert bare(directory, ("name", text)).info(KEY) is None
    assert made == [{"name": value}]


def test_who_sends_no_credentials_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[dict[str, Any]] = []

    class Kind:
        def __init__(self, **options: Any) -> None:
            made.append(options)

        @staticmethod
        def _get_kwargs_from_urls(url: str) -> dict[str, Any]:
            return {"account": url}

        def _strip_protocol(self, path: str) -> str:
            return "bucket/x"

        def info(self, path: str) -> None:
            raise FileNotFoundError(path)

    monkeypatch.setattr("fsspec.get_filesystem_class", lambda scheme: Kind)
    for scheme, argument in (("gs", {"token": "anon"}), ("az", {"anon": True})):
        location = Location(f"{scheme.upper()}://bucket/x")
        with pytest.raises(StorageNotFoundError):
            FileSystemStorage(location, Options(is_anonymous=True)).info(KEY)
        expected = {"account": f"{scheme}://bucket/x", "skip_instance_cache": True, **argument}
        assert made.pop() == expected


def test_arguments_that_do_not_fit_are_told_without_what_they_say(directory: Path) -> None:
    for argument in (("secret", '["bad", "hunter2"]'), ("secret", '{"x": "hunter2"}')):
        with pytest.raises(StorageNotConfiguredError, match="not a secret") as caught:
            bare(directory, argument).info(KEY)
        assert "hunter2" not in caught.value.message
        assert "option" in caught.value.hints[0]
    with pytest.raises(StorageNotConfiguredError, match="unknown"):
        bare(directory, ("unknown", "1")).info(KEY)


# What lies there


def test_a_value_is_a_file_and_a_writer_leaves_nothing_else(directory: Path) -> None:
    storage = bare(directory)
    large = os.urandom(1000) * 6000
    assert put(storage, KEY, b"small")
    assert put(storage, "objects/large", large)
    assert (directory / KEY).read_bytes() == b"small"
    assert read(storage, "objects/large") == large
    assert list((directory / ".incoming").iterdir()) == []
    assert not storage.properties.is_exclusive


@pytest.mark.parametrize("case", ["only read", "parent missing", "a file"])
def test_a_directory_that_is_not_there_is_not_an_empty_one(directory: Path, case: str) -> None:
    if case == "parent missing":
        directory = directory / "below"
    elif case == "a file":
        directory.write_text("x")
    uses: list[Callable[[FileSystemStorage], object]] = [
        lambda storage: storage.info(KEY),
        lambda storage: storage.open(KEY),
        lambda storage: list(storage.list("")),
    ]
    if case != "only read":
        uses += [lambda storage: put(storage, KEY, b"x"), lambda storage: storage.delete(KEY)]
    for use in uses:
        with pytest.raises(StorageNotFoundError, match="not there"):
            use(bare(directory, writable=case != "only read"))
    assert not directory.is_dir()


def test_what_no_key_names_is_not_listed(directory: Path) -> None:
    storage = bare(directory)
    put(storage, KEY, b"x")
    for name in (".DS_Store", "objects/.nfs0001", "objects/\u00e9"):
        (directory / name).write_text("x")
    assert without_times(storage.list("")) == [Info(KEY, 1)]


def test_what_killed_writers_left_is_removed_after_a_day(directory: Path) -> None:
    put(bare(directory), KEY, b"x")
    today = filesystems._today()
    names = [f"value-{today - days}-0123" for days in (0, 1, 2, 100)] + ["other", "value-x-y"]
    for name in names:
        (directory / ".incoming" / name).write_text("x")
    put(bare(directory), "objects/other", b"x")
    left = {path.name for path in (directory / ".incoming").iterdir()}
    assert left == {names[0], names[1], "other", "value-x-y"}


# Clouds


@pytest.fixture(params=["creating", "replacing"])
def cloud(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> FileSystemStorage:
    """A storage in a bucket, the directory `bucket`; the cloud can create, or only replace."""
    (tmp_path / "bucket").mkdir()
    monkeypatch.setattr(plainfs.CloudFileSystem, "top", str(tmp_path))
    monkeypatch.setattr(dialects, "BUCKETS", frozenset(("cloud",)))
    if request.param == "creating":
        monkeypatch.setattr(dialects, "CREATING", frozenset(("cloud",)))
    return FileSystemStorage(Location("cloud://bucket/a prefix"), Options())


SIZES = pytest.mark.parametrize("size", [0, 10, 5 * 1024 * 1024], ids=["none", "few", "many"])


@SIZES
def test_a_cloud_keeps_values_under_their_keys_at_once(
    cloud: FileSystemStorage, tmp_path: Path, size: int
) -> None:
    value = os.urandom(size)
    assert put(cloud, KEY, value)
    assert put(cloud, KEY, b"other") is False
    assert read(cloud, KEY) == value
    assert without_times(cloud.list("objects/")) == [Info(KEY, size)]
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["cdef"]
    cloud.delete(KEY)
    cloud.delete(KEY)
    assert cloud.info(KEY) is None


@SIZES
def test_a_cloud_never_has_what_a_source_did_not_end(
    cloud: FileSystemStorage, tmp_path: Path, size: int
) -> None:
    with pytest.raises(IntegrityError):
        cloud.put(KEY, io.BytesIO(bytes(size)), size + 1)
    with pytest.raises(IntegrityError):
        cloud.put(KEY, io.BytesIO(bytes(size + 1)), size)
    # Files that are collected are closed, which may make values of them.
    gc.collect()
    assert cloud.info(KEY) is None
    assert put(cloud, KEY, b"right") is True


@pytest.mark.parametrize("size", [10, 5 * 1024 * 1024], ids=["few", "many"])
def test_a_cloud_that_can_create_has_one_winner(
    cloud: FileSystemStorage, tmp_path: Path, size: int
) -> None:
    class Late(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            path = tmp_path / "bucket/a prefix" / KEY
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"rival")
            return super().read(size)

    won = cloud.put(KEY, Late(bytes(size)), size)
    assert won is not cloud.properties.is_exclusive
    assert read(cloud, KEY) == (b"rival" if cloud.properties.is_exclusive else bytes(size))


@pytest.mark.parametrize("size", [10, 5 * 1024 * 1024], ids=["few", "many"])
def test_a_cloud_that_takes_nothing_is_a_fault(
    cloud: FileSystemStorage, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    def refused(self: plainfs.Upload, final: bool = False) -> bool:
        raise ConnectionResetError(104, "Connection reset by peer")

    monkeypatch.setattr(plainfs.Upload, "_upload_chunk", refused)
    with pytest.raises(StorageUnavailableError, match="reset"):
        put(cloud, KEY, bytes(size))
    monkeypatch.undo()
    gc.collect()


def test_a_bucket_that_is_not_there_is_told_from_an_empty_one(
    cloud: FileSystemStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cloud.info(KEY) is None
    for use in (
        lambda storage: storage.info(KEY),
        lambda storage: list(storage.list("")),
        lambda storage: put(storage, KEY, b"x"),
    ):
        with pytest.raises(StorageNotFoundError, match="cloud://none"):
            use(FileSystemStorage(Location("cloud://none/x"), Options()))
    assert not (tmp_path / "none").exists()


def test_who_may_not_ask_for_a_bucket_may_use_it(
    cloud: FileSystemStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = plainfs.CloudFileSystem.info

    def info(self: plainfs.CloudFileSystem, path: str, **kwargs: Any) -> dict[str, Any]:
        if path == "bucket":
            raise PermissionError(13, "Permission denied")
        return told(self, path)

    monkeypatch.setattr(plainfs.CloudFileSystem, "info", info)
    assert cloud.info(KEY) is None
    assert put(cloud, KEY, b"x")


# Faults


FAULTS: list[tuple[Exception, type[StorageError]]] = [
    (PermissionError(13, "Permission denied"), StorageDeniedError),
    (ConnectionResetError(104, "Connection reset by peer"), StorageUnavailableError),
    (TimeoutError("timed out"), StorageUnavailableError),
    (EOFError(), StorageUnavailableError),
    (RuntimeError("anything"), StorageUnavailableError),
    (KeyError("anything"), StorageUnavailableError),
    (NotImplementedError(), StorageReadOnlyError),
]


@pytest.mark.parametrize(("error", "fault"), FAULTS, ids=lambda each: type(each).__name__)
@pytest.mark.parametrize(
    ("method", "use"),
    [
        ("info", lambda storage: storage.info(KEY)),
        ("info", lambda storage: list(storage.list(""))),
        ("ls", lambda storage: list(storage.list("objects/"))),
        ("open", lambda storage: read(storage, KEY)),
        ("open", lambda storage: put(storage, "objects/new", b"x")),
        ("open", lambda storage: put(storage, "objects/new", bytes(5 * 1024 * 1024))),
        ("cp_file", lambda storage: put(storage, "objects/new", b"x")),
        ("makedirs", lambda storage: put(storage, "objects/new/x", b"x")),
        ("rm", lambda storage: storage.delete(KEY)),
    ],
)
def test_whatever_is_raised_is_a_fault_of_the_place(
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    use: Callable[[FileSystemStorage], object],
    error: Exception,
    fault: type[StorageError],
) -> None:
    put(bare(directory), KEY, b"x")
    asked = failing(monkeypatch, method, lambda path: error)
    with pytest.raises(fault) as caught:
        use(bare(directory))
    assert str(directory) in caught.value.message
    assert "\n" not in caught.value.message
    assert asked
    assert sorted(path.name for path in (directory / "objects").iterdir()) in (
        ["ab"],
        ["ab", "new"],
    )
    assert not (directory / "objects/new").is_file()
    assert list((directory / ".incoming").iterdir()) == []


def test_a_place_that_can_t_be_reached_is_not_an_empty_one(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # fsspec's isdir and exists say no to that.
    failing(monkeypatch, "info", lambda path: ConnectionRefusedError(111, "Connection refused"))
    for use in (
        lambda storage: storage.info(KEY),
        lambda storage: list(storage.list("")),
        lambda storage: put(storage, KEY, b"x"),
        lambda storage: storage.delete(KEY),
    ):
        with pytest.raises(StorageUnavailableError, match="Connection refused"):
            use(bare(directory))


def test_after_a_fault_it_is_reached_anew(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    original = plainfs.PlainFileSystem.__init__
    faults = [RuntimeError("connection lost")]

    def before(name: str, path: str) -> None:
        if faults:
            raise faults.pop()

    def init(self: plainfs.PlainFileSystem) -> None:
        made.append(self)
        original(self, before=before)

    monkeypatch.setattr(plainfs.PlainFileSystem, "__init__", init)
    storage = bare(directory)
    with pytest.raises(StorageUnavailableError, match="connection lost"):
        storage.info(KEY)
    assert storage.info(KEY) is None
    assert put(storage, KEY, b"x")
    assert len(made) == 2


def test_one_that_serves_a_single_thread_is_made_for_each(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialects, "PER_THREAD", frozenset(("plain",)))
    storage = bare(directory)
    used: set[int] = set()

    def use() -> None:
        for number in range(2):
            put(storage, f"objects/{number}", b"x")
            used.add(id(storage._opened()))

    use()
    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert len(used) == 2


@pytest.mark.parametrize("rival", [b"rival", b""])
def test_a_rival_who_comes_while_it_is_renamed_wins(
    directory: Path, monkeypatch: pytest.MonkeyPatch, rival: bytes
) -> None:
    def before(path: str) -> Exception:
        (directory / KEY).write_bytes(rival)
        return FileExistsError(17, "File exists")

    failing(monkeypatch, "cp_file", before)
    storage = bare(directory)
    assert put(storage, KEY, b"ours") is False
    assert (directory / KEY).read_bytes() == rival
    assert list((directory / ".incoming").iterdir()) == []


def test_a_server_that_tells_no_size_is_a_fault(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(bare(directory), KEY, b"x")
    told = plainfs.PlainFileSystem.info

    def info(self: plainfs.PlainFileSystem, path: str, **kwargs: Any) -> dict[str, Any]:
        return {**told(self, path), "size": None}

    monkeypatch.setattr(plainfs.PlainFileSystem, "info", info)
    with pytest.raises(DataregError, match="no size"):
        bare(directory).info(KEY)
