from __future__ import annotations

import errno
import os
import shutil
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from git_datareg import files, objects
from git_datareg.digest import digest_of
from git_datareg.errors import IntegrityError, UsageError
from git_datareg.objects import (
    LocalObjects,
    ObjectDirectory,
    cache_at,
    is_object,
    remove_leftovers,
)
from git_datareg.pointer import Pointer

DATA = b"some data\r\n\0"
POINTER = Pointer(digest_of(DATA), len(DATA))


@pytest.fixture
def directory(tmp_path: Path) -> ObjectDirectory:
    return ObjectDirectory(str(tmp_path / "deep/root"))


def store(directory: ObjectDirectory, data: bytes = DATA) -> Path:
    with directory.writer() as writer:
        writer.write(data)
        return Path(directory.path(writer.commit().digest))


def damage(path: Path, data: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(data)


def everything(directory: ObjectDirectory) -> list[str]:
    return sorted(str(path) for path in Path(directory.root).rglob("*") if path.is_file())


def test_nothing_is_created_before_the_first_write(directory: ObjectDirectory) -> None:
    assert directory.find(POINTER) is None
    remove_leftovers(directory)
    assert not os.path.exists(directory.root)


def test_an_object_is_found_where_its_digest_says(directory: ObjectDirectory) -> None:
    path = store(directory)
    assert directory.find(POINTER) == directory.path(POINTER.digest) == str(path)
    assert path == Path(directory.root, "objects", POINTER.digest.hex[:2], POINTER.digest.hex[2:])
    assert path.read_bytes() == DATA
    assert stat.S_IMODE(path.stat().st_mode) == 0o444
    assert everything(directory) == [str(path)]


@settings(max_examples=30)
@given(st.lists(st.binary(max_size=100), max_size=5))
def test_pieces_make_one_object(
    tmp_path_factory: pytest.TempPathFactory, data: list[bytes]
) -> None:
    directory = ObjectDirectory(str(tmp_path_factory.getbasetemp() / "pieces"))
    with directory.writer() as writer:
        for piece in data:
            writer.write(memoryview(piece))
        assert writer.size == len(b"".join(data))
        assert b"".join(writer.content(7)) == b"".join(data)
        pointer = writer.commit()
    assert pointer == Pointer(digest_of(b"".join(data)), len(b"".join(data)))
    assert directory.find(pointer) is not None


def test_without_a_commit_nothing_stays(directory: ObjectDirectory) -> None:
    with directory.writer() as writer:
        writer.write(DATA)
    with pytest.raises(KeyError), directory.writer() as writer:
        writer.write(DATA)
        raise KeyError
    assert everything(directory) == []


@pytest.mark.parametrize("data", [b"", DATA[:-1], DATA + b"x", DATA.upper()])
def test_other_bytes_than_expected_leave_nothing(directory: ObjectDirectory, data: bytes) -> None:
    with pytest.raises(IntegrityError, match=POINTER.digest.hex), directory.writer() as writer:
        writer.write(data)
        writer.commit(POINTER)
    assert everything(directory) == []


def test_a_whole_object_that_is_there_stays(directory: ObjectDirectory) -> None:
    number = store(directory).stat().st_ino
    assert store(directory).stat().st_ino == number
    assert len(everything(directory)) == 1


def test_a_file_of_another_size_counts_as_absent_and_is_replaced(
    directory: ObjectDirectory,
) -> None:
    path = store(directory)
    damage(path, DATA[:3])
    assert directory.find(POINTER) is None
    store(directory)
    assert path.read_bytes() == DATA


@pytest.mark.parametrize("kind", ["directory", "symlink"])
def test_only_a_file_is_an_object(directory: ObjectDirectory, kind: str, tmp_path: Path) -> None:
    path = Path(directory.path(POINTER.digest))
    path.parent.mkdir(parents=True)
    (tmp_path / "other").write_bytes(DATA)
    path.mkdir() if kind == "directory" else path.symlink_to(tmp_path / "other")
    assert directory.find(POINTER) is None


def test_many_writers_of_one_object_all_succeed(directory: ObjectDirectory) -> None:
    with ThreadPoolExecutor(8) as pool:
        paths = set(pool.map(lambda _: store(directory), range(50)))
    assert everything(directory) == [str(path) for path in paths]


def test_a_fault_names_the_file_that_could_not_be_written(
    directory: ObjectDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int, data: object) -> int:
        raise OSError(28, "No space left on device")

    with directory.writer() as writer:
        monkeypatch.setattr("os.write", full)
        with pytest.raises(OSError, match="No space left") as caught:
            writer.write(DATA)
    assert str(caught.value.filename).startswith(directory.root)
    assert everything(directory) == []


def test_leftovers_go_after_a_day(directory: ObjectDirectory) -> None:
    store(directory)
    tmp = Path(directory.root, "tmp")
    for name, age in (("object-old", 25), ("object-new", 23), ("other", 25)):
        (tmp / name).write_text("x")
        then = os.stat(tmp).st_mtime - age * 3600
        os.utime(tmp / name, (then, then))
    remove_leftovers(directory)
    assert sorted(path.name for path in tmp.iterdir()) == ["object-new", "other"]


@pytest.mark.parametrize(
    ("data", "answer"), [(DATA, True), (DATA[:-1], False), (DATA.upper(), False), (b"", False)]
)
def test_a_file_is_an_object_or_not(tmp_path: Path, data: bytes, answer: bool) -> None:
    (tmp_path / "f").write_bytes(data)
    with open(tmp_path / "f", "rb") as file:
        assert is_object(file.fileno(), POINTER) is answer


def test_small_objects_are_read_and_put_in_one_go(directory: ObjectDirectory) -> None:
    assert directory.read(POINTER) is None
    directory.put(POINTER, DATA)
    assert directory.read(POINTER) == DATA
    path = directory.path(POINTER.digest)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o444
    assert everything(directory) == [path]
    empty = Pointer(digest_of(b""), 0)
    directory.put(empty, b"")
    assert directory.read(empty) == b""


@pytest.mark.parametrize("size", [0, 1, 3000, 1 << 20, (1 << 20) + 1, 3 << 20])
def test_a_file_is_added(directory: ObjectDirectory, tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    (tmp_path / "file").write_bytes(content + b"more")
    pointer = Pointer(digest_of(content), size)
    with (tmp_path / "file").open("rb") as file:
        for _ in range(2):
            assert directory.add(file.fileno(), size) == pointer
            assert Path(directory.path(pointer.digest)).read_bytes() == content
        os.truncate(tmp_path / "file", size // 2)
        assert directory.add(file.fileno(), size).size == size // 2
    assert stat.S_IMODE(os.stat(directory.path(pointer.digest)).st_mode) == 0o444
    assert os.listdir(directory.temporary) == []


@pytest.mark.parametrize("size", [3000, 3 << 20])
def test_a_full_disk_is_named_when_a_file_is_added(
    directory: ObjectDirectory, tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "file").write_bytes(bytes(size))
    monkeypatch.setattr(objects, "copy_into", full)
    monkeypatch.setattr(files, "write_all", full)
    with (tmp_path / "file").open("rb") as file, pytest.raises(OSError) as caught:
        directory.add(file.fileno(), size)
    assert caught.value.filename.startswith(directory.temporary)
    assert everything(directory) == []


@pytest.mark.parametrize("data", [b"", DATA[:-1], DATA + b"x", DATA.upper()])
def test_other_bytes_are_neither_put_nor_read(directory: ObjectDirectory, data: bytes) -> None:
    with pytest.raises(IntegrityError, match=POINTER.digest.hex):
        directory.put(POINTER, data)
    assert not os.path.exists(directory.root)
    damage(store(directory), data)
    with pytest.raises(IntegrityError, match=POINTER.digest.hex):
        directory.read(POINTER)


def test_what_is_no_file_is_not_read_and_not_waited_for(directory: ObjectDirectory) -> None:
    path = Path(directory.path(POINTER.digest))
    path.parent.mkdir(parents=True)
    os.mkfifo(path)
    with pytest.raises(IntegrityError, match=POINTER.digest.hex):
        directory.read(POINTER)
    path.unlink()
    path.mkdir()
    with pytest.raises(IntegrityError, match=POINTER.digest.hex):
        directory.read(POINTER)


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
@pytest.mark.parametrize(
    ("mode", "expected"), [(0o755, None), (0o2775, 0o444), (0o2770, 0o440), (0o2700, 0o400)]
)
def test_objects_are_as_open_as_the_directory_that_a_group_shares(
    directory: ObjectDirectory,
    mask: int,
    mode: int,
    expected: int | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("git_datareg.files.umask", lambda: mask)
    os.makedirs(directory.root)
    os.chmod(directory.root, mode)
    before = os.umask(mask)
    try:
        directory.put(POINTER, DATA)
    finally:
        os.umask(before)
    path = directory.path(POINTER.digest)
    found = stat.S_IMODE(os.stat(path).st_mode)
    if mask != 0o077:
        # What the umask lets others read is behind a directory that they may not enter.
        assert found == 0o444
    else:
        assert found == (0o444 & ~mask if expected is None else expected)
    if expected is not None:
        assert stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode) == mode


def test_a_cache_that_goes_meanwhile_is_made_again(directory: ObjectDirectory) -> None:
    store(directory)
    shutil.rmtree(directory.root)
    directory.put(POINTER, DATA)
    assert directory.read(POINTER) == DATA


@pytest.fixture
def local(tmp_path: Path) -> LocalObjects:
    return LocalObjects(
        ObjectDirectory(str(tmp_path / "own")), ObjectDirectory(str(tmp_path / "cache"))
    )


def own_of(local: LocalObjects) -> ObjectDirectory:
    assert local.own is not None
    return local.own


def test_our_own_objects_come_first_then_the_cache(local: LocalObjects) -> None:
    assert local.find(POINTER) is local.find_whole(POINTER) is None
    cached = store(local.cache)
    assert local.find(POINTER) == local.find_whole(POINTER) == str(cached)
    own = store(own_of(local))
    assert local.find(POINTER) == local.find_whole(POINTER) == str(own)


def test_outside_repositories_there_is_only_the_cache(local: LocalObjects) -> None:
    outside = local._replace(own=None)
    assert outside.find(POINTER) is outside.find_whole(POINTER) is None
    cached = store(local.cache)
    assert outside.find(POINTER) == outside.find_whole(POINTER) == str(cached)


def test_a_damaged_object_in_the_cache_goes_so_that_it_is_fetched_again(
    local: LocalObjects,
) -> None:
    path = store(local.cache)
    damage(path, DATA.upper())
    assert local.find_whole(POINTER) is None
    assert not path.exists()


def test_small_objects_are_read_from_where_they_are_whole(local: LocalObjects) -> None:
    assert local.read_whole(POINTER) is None
    own = store(own_of(local))
    assert local.read_whole(POINTER) == DATA
    damage(own, DATA.upper())
    with pytest.raises(IntegrityError, match=str(own)):
        local.read_whole(POINTER)
    cached = store(local.cache)
    assert local.read_whole(POINTER) == DATA
    own.unlink()
    assert local.read_whole(POINTER) == DATA
    damage(cached, DATA.upper())
    assert local.read_whole(POINTER) is None
    assert not cached.exists()


def test_a_large_object_is_not_read_again_until_its_file_changes(
    local: LocalObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = bytes(2 * 1024 * 1024)
    pointer = Pointer(digest_of(data), len(data))
    path = store(local.cache, data)
    with monkeypatch.context() as patch:
        patch.setattr("git_datareg.objects.is_object", lambda *_: False)
        assert local.find_whole(pointer) == str(path)
    os.utime(path, ns=(1, 1))
    assert local.find_whole(pointer) == str(path)
    damage(path, data[:-1] + b"x")
    os.utime(path, ns=(2, 2))
    assert local.find_whole(pointer) is None
    assert not path.exists()
    assert local.find_whole(pointer) is None


def test_another_writer_of_a_large_object_reads_it(local: LocalObjects) -> None:
    data = bytes(2 * 1024 * 1024)
    pointer = Pointer(digest_of(data), len(data))
    damage(store(local.cache, data), data[:-1] + b"x")
    again = ObjectDirectory(local.cache.root)
    assert local._replace(cache=again).find_whole(pointer) is None


def test_a_damaged_object_of_our_own_stays_and_is_told(local: LocalObjects) -> None:
    path = store(own_of(local))
    damage(path, DATA.upper())
    with pytest.raises(IntegrityError, match=str(path)) as caught:
        local.find_whole(POINTER)
    assert caught.value.hints
    assert path.read_bytes() == DATA.upper()


def test_a_whole_object_in_the_cache_stands_in_for_a_damaged_one(local: LocalObjects) -> None:
    own, cached = store(own_of(local)), store(local.cache)
    damage(own, DATA.upper())
    assert local.find_whole(POINTER) == str(cached)
    damage(cached, DATA.lower()[::-1])
    with pytest.raises(IntegrityError, match=str(own)):
        local.find_whole(POINTER)
    assert (own.exists(), cached.exists()) == (True, False)


def test_a_cache_without_a_place_is_empty_and_takes_nothing(local: LocalObjects) -> None:
    without = local._replace(cache=cache_at(None))
    assert without.find(POINTER) is without.read_whole(POINTER) is None
    assert without.find_whole(POINTER) is None
    for use in (
        lambda: without.cache.put(POINTER, DATA),
        without.cache.writer,
        lambda: without.cache.path(POINTER.digest),
        lambda: without.cache.root,
    ):
        with pytest.raises(UsageError, match="HOME is not set") as caught:
            use()
        assert caught.value.hints == ("set GIT_DATAREG_CACHE",)
    assert without.find(POINTER) is None
    path = store(own_of(local))
    assert without.find_whole(POINTER) == str(path)
    assert cache_at(local.cache.root).root == local.cache.root


def test_an_object_that_goes_while_it_is_read_is_absent(
    local: LocalObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = store(local.cache)
    monkeypatch.setattr(ObjectDirectory, "find", lambda self, pointer: self.path(pointer.digest))
    path.unlink()
    with pytest.raises(IntegrityError):
        local.find_whole(POINTER)
    assert local._replace(own=None).find_whole(POINTER) is None
