from __future__ import annotations

import errno
import os
import random
import signal
import stat
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from git_datareg import arriving, files, objects
from git_datareg.arriving import Arrival
from git_datareg.errors import IntegrityError
from git_datareg.objects import ObjectDirectory, remove_leftovers
from git_datareg.pointer import Pointer
from tests.support.storages import noise, pointer_to

PART = 1000
COUNT = 5
DATA = noise((COUNT - 1) * PART + 7)
POINTER = pointer_to(DATA)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arriving, "PART", PART)
    monkeypatch.setattr(arriving, "_CHUNK", 300)


@pytest.fixture
def cache(tmp_path: Path) -> ObjectDirectory:
    return ObjectDirectory(str(tmp_path / "cache"))


def part(number: int, data: bytes = DATA) -> bytes:
    return data[number * PART : (number + 1) * PART]


def put(arrival: Arrival, numbers: Sequence[int] = range(COUNT), data: bytes = DATA) -> None:
    for number in numbers:
        arrival.put(number, [part(number, data)])


def left(cache: ObjectDirectory) -> list[str]:
    """The names of temporary files."""
    return sorted(os.listdir(cache.temporary))


def part_file(cache: ObjectDirectory, pointer: Pointer = POINTER) -> Path:
    return Path(cache.temporary) / f"object-part-{pointer.digest}"


def assert_whole(cache: ObjectDirectory, data: bytes = DATA) -> None:
    pointer = pointer_to(data)
    path = Path(cache.path(pointer.digest))
    assert path.read_bytes() == data
    assert stat.S_IMODE(path.stat().st_mode) == 0o444
    assert cache.is_whole(pointer)


# What arrives


ORDERS = {
    "in order": list(range(COUNT)),
    "reverse": list(reversed(range(COUNT))),
    "last first": [COUNT - 1, *range(COUNT - 1)],
    "mixed": random.Random(1).sample(range(COUNT), COUNT),
}


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS.keys())
def test_parts_may_come_in_any_order(cache: ObjectDirectory, order: list[int]) -> None:
    arrival = Arrival(POINTER, cache)
    assert len(arrival) == COUNT
    for number in order:
        assert not arrival.has(number)
        arrival.put(number, [part(number)])
        assert arrival.has(number)
        assert cache.find(POINTER) is None
    arrival.finish()
    arrival.close()
    assert_whole(cache)
    assert left(cache) == []


@pytest.mark.parametrize("size", [1, PART - 1, PART, PART + 1, 2 * PART - 1, 2 * PART])
def test_objects_of_all_sizes_arrive(cache: ObjectDirectory, size: int) -> None:
    data = noise(size)
    arrival = Arrival(pointer_to(data), cache)
    lengths = [arrival.range(number) for number in range(len(arrival))]
    assert [start for start, _ in lengths] == [n * PART for n in range(len(arrival))]
    assert sum(length for _, length in lengths) == size
    assert all(0 < length <= PART for _, length in lengths)
    put(arrival, range(len(arrival)), data)
    arrival.finish()
    assert_whole(cache, data)


def test_a_part_of_another_length_is_refused(cache: ObjectDirectory) -> None:
    arrival = Arrival(POINTER, cache)
    for data in (b"", DATA[: PART - 1], DATA[: PART + 1]):
        for pieces in ([data], [data[:300], data[300:]]):
            with pytest.raises(ValueError, match="bytes for a part"):
                arrival.put(0, pieces)
    with pytest.raises(ValueError, match="more than 7 bytes for a part"):
        arrival.put(COUNT - 1, [DATA[:PART]])
    assert not arrival.has(0) and not arrival.has(COUNT - 1)
    arrival.close()
    assert left(cache) == []


def test_a_part_may_come_in_pieces_and_only_when_all_have_come_it_is_there(
    cache: ObjectDirectory,
) -> None:
    arrival = Arrival(POINTER, cache)

    def pieces(data: bytes) -> Iterator[bytes]:
        for start in range(0, PART, 301):
            assert not arrival.has(1)
            yield data[start : start + 301]

    def broken() -> Iterator[bytes]:
        yield bytes(500)
        raise ConnectionError("broken off")

    with pytest.raises(ConnectionError, match="broken off") as caught:
        arrival.put(1, broken())
    # It is no fault of the file.
    assert caught.value.filename is None
    assert not arrival.has(1)
    arrival.put(1, pieces(part(1)))
    assert arrival.has(1)
    put(arrival, [0, 2, 3, 4])
    arrival.finish()
    assert_whole(cache)


def test_parts_may_come_from_many_threads(cache: ObjectDirectory) -> None:
    data = noise(200 * PART)
    arrival = Arrival(pointer_to(data), cache)
    order = random.Random(3).sample(range(200), 200)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: arrival.put(number, [part(number, data)]), order))
    arrival.finish()
    assert_whole(cache, data)


def test_nobody_waits_for_another_s_hashing(
    cache: ObjectDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_hashing, is_over = threading.Event(), threading.Event()

    class Slow(arriving.Hasher):
        def update(self, data: bytes | bytearray | memoryview) -> None:
            is_hashing.set()
            assert is_over.wait(30)
            super().update(data)

    monkeypatch.setattr(arriving, "Hasher", Slow)
    arrival = Arrival(POINTER, cache)
    with ThreadPoolExecutor(1) as pool:
        hashing = pool.submit(arrival.put, 0, [part(0)])
        assert is_hashing.wait(30)
        put(arrival, range(1, COUNT))
        assert not hashing.done()
        is_over.set()
        hashing.result()
    arrival.finish()
    assert_whole(cache)


def test_a_part_that_is_there_is_not_written_again(cache: ObjectDirectory) -> None:
    arrival = Arrival(POINTER, cache)
    put(arrival)
    # It was hashed already, so nobody would notice.
    arrival.put(0, [bytes(PART)])
    arrival.finish()
    assert_whole(cache)


def test_of_two_threads_with_one_part_one_writes_it(
    cache: ObjectDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_writing, is_over = threading.Event(), threading.Event()
    write = files.write_all_at

    def slow(descriptor: int, data: bytes, offset: int) -> None:
        is_writing.set()
        assert is_over.wait(30)
        write(descriptor, data, offset)

    arrival = Arrival(POINTER, cache)
    monkeypatch.setattr(files, "write_all_at", slow)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(arrival.put, 0, [part(0)])
        assert is_writing.wait(30)
        arrival.put(0, [bytes(PART)])
        assert not arrival.has(0)
        is_over.set()
        first.result()
    put(arrival, range(1, COUNT))
    arrival.finish()
    assert_whole(cache)


def test_no_more_than_a_chunk_is_in_memory(
    cache: ObjectDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arriving, "PART", 1 << 20)
    monkeypatch.setattr(arriving, "_CHUNK", 1 << 18)
    data = noise(16 << 20)
    pointer = pointer_to(data)
    arrival = Arrival(pointer, cache)
    tracemalloc.start()
    for number in reversed(range(16)):
        arrival.put(number, [memoryview(data)[number << 20 : (number + 1) << 20]])  # type: ignore[arg-type]
    arrival.finish()
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 1 << 20
    assert cache.is_whole(pointer)


def test_wrong_bytes_are_told_and_not_kept(cache: ObjectDirectory) -> None:
    arrival = Arrival(POINTER, cache)
    put(arrival, range(COUNT - 1))
    arrival.put(COUNT - 1, [b"another"])
    with pytest.raises(IntegrityError, match=f"corrupt object {POINTER.digest}"):
        arrival.finish()
    arrival.close()
    assert left(cache) == []
    assert cache.find(POINTER) is None


# Going on


def test_the_next_arrival_goes_on_with_what_is_there(cache: ObjectDirectory) -> None:
    first = Arrival(POINTER, cache)
    put(first, [1, 4])
    first.close()
    second = Arrival(POINTER, cache)
    assert [second.has(number) for number in range(COUNT)] == [False, True, False, False, True]
    put(second, [0, 2])
    second.close()
    third = Arrival(POINTER, cache)
    put(third, [3])
    third.finish()
    assert_whole(cache)
    assert left(cache) == []


def test_all_parts_may_be_there_already(cache: ObjectDirectory) -> None:
    first = Arrival(POINTER, cache)
    put(first)
    first.close()
    assert cache.find(POINTER) is None
    second = Arrival(POINTER, cache)
    assert all(map(second.has, range(COUNT)))
    second.finish()
    assert_whole(cache)


def test_of_an_arrival_without_parts_nothing_is_left(cache: ObjectDirectory) -> None:
    Arrival(POINTER, cache).close()
    assert left(cache) == []


def test_parts_that_are_not_to_be_kept_are_not(cache: ObjectDirectory) -> None:
    arrival = Arrival(POINTER, cache)
    put(arrival, [0])
    arrival.close(keep=False)
    assert left(cache) == []


def test_each_object_has_parts_of_its_own(cache: ObjectDirectory) -> None:
    other = noise(len(DATA), "other")
    arrivals = [Arrival(POINTER, cache), Arrival(pointer_to(other), cache)]
    put(arrivals[0])
    put(arrivals[1], data=other)
    for arrival in arrivals:
        arrival.finish()
    assert_whole(cache)
    assert_whole(cache, other)


CHILD = """
import os, signal, sys
from git_datareg import arriving, files
from git_datareg.arriving import Arrival
from git_datareg.digest import Digest
from git_datareg.objects import ObjectDirectory
from git_datareg.pointer import Pointer
arriving.PART = 1000
root, digest, source, *numbers = sys.argv[1:]
data = open(source, "rb").read()
arrival = Arrival(Pointer(Digest(digest), len(data)), ObjectDirectory(root))
def part(number):
    return data[number * 1000 : (number + 1) * 1000]
for number in map(int, numbers[:-1]):
    arrival.put(number, [part(number)])
write, left = files.write_all_at, [1]
def killed(descriptor, data, offset):
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    left.pop()
    write(descriptor, data, offset)
{end}
"""
#: Dies between the two writes of a part.
KILLED = """
files.write_all_at = killed
arrival.put(int(numbers[-1]), [part(int(numbers[-1]))])
"""
#: Holds the file until it is told to end.
HOLDING = """
print("ready", flush=True)
sys.stdin.readline()
"""


def child(cache: ObjectDirectory, end: str, source: Path, *numbers: int) -> subprocess.Popen[bytes]:
    source.write_bytes(DATA)
    words = [cache.root, POINTER.digest.hex, str(source), *map(str, numbers)]
    # A child that is killed can't finish a measurement of coverage.
    env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    return subprocess.Popen(
        [sys.executable, "-c", CHILD.format(end=end), *words],
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def test_a_kill_leaves_the_parts_that_were_noted(cache: ObjectDirectory, tmp_path: Path) -> None:
    with child(cache, KILLED, tmp_path / "data", 0, 3, 2) as killed:
        killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    arrival = Arrival(POINTER, cache)
    assert [arrival.has(number) for number in range(COUNT)] == [True, False, False, True, False]
    put(arrival, [1, 2, 4])
    arrival.finish()
    assert_whole(cache)


def test_what_another_process_holds_is_left_to_it(cache: ObjectDirectory, tmp_path: Path) -> None:
    with child(cache, HOLDING, tmp_path / "data", 0, 3, 3) as holding:
        assert holding.stdout is not None
        assert holding.stdout.readline() == b"ready\n"
        arrival = Arrival(POINTER, cache)
        assert not any(map(arrival.has, range(COUNT)))
        put(arrival)
        # One that nobody could go on with is not kept.
        other = Arrival(POINTER, cache)
        put(other, [0])
        assert len(left(cache)) == 3
        other.close()
        arrival.finish()
        assert_whole(cache)
        assert left(cache) == [part_file(cache).name]
        holding.communicate(b"go\n")
    late = Arrival(POINTER, cache)
    assert [late.has(number) for number in range(COUNT)] == [True, False, False, True, False]
    late.close()


def test_an_arrival_in_the_same_process_is_another_one(cache: ObjectDirectory) -> None:
    first, second = Arrival(POINTER, cache), Arrival(POINTER, cache)
    put(first)
    assert not second.has(0)
    put(second)
    for arrival in (first, second):
        arrival.finish()
        arrival.close()
    assert_whole(cache)
    assert left(cache) == []


# What else may lie at the name


def put_back(cache: ObjectDirectory, content: bytes) -> None:
    """Have this at the temporary name, after an arrival of parts 0 and 1."""
    arrival = Arrival(POINTER, cache)
    put(arrival, [0, 1])
    arrival.close()
    part_file(cache).write_bytes(content)


WHOLE_NOTE = DATA[: 2 * PART] + bytes(len(DATA) - 2 * PART) + b"\1\1\0\0\0"


@pytest.mark.parametrize(
    ("content", "has"),
    [
        (WHOLE_NOTE, [0, 1]),
        (b"", []),
        (DATA, []),
        (WHOLE_NOTE[:-1], []),
        (WHOLE_NOTE + b"\1", []),
        (bytes(10), []),
        (WHOLE_NOTE[:-5] + b"\1\2\xff\x10\0", [0]),
    ],
    ids=["whole", "empty", "no note", "short note", "long note", "short", "garbage"],
)
def test_a_file_that_is_not_as_we_write_it_begins_anew(
    cache: ObjectDirectory, content: bytes, has: list[int]
) -> None:
    put_back(cache, content)
    arrival = Arrival(POINTER, cache)
    assert [number for number in range(COUNT) if arrival.has(number)] == has
    put(arrival)
    arrival.finish()
    assert_whole(cache)


def test_a_part_that_is_not_what_it_is_said_to_be_is_found_out(cache: ObjectDirectory) -> None:
    put_back(cache, WHOLE_NOTE[:-5] + b"\1\1\1\0\0")
    arrival = Arrival(POINTER, cache)
    put(arrival)
    with pytest.raises(IntegrityError):
        arrival.finish()
    arrival.close()
    assert left(cache) == []


def test_a_kill_between_two_steps_of_the_beginning_does_no_harm(
    cache: ObjectDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_back(cache, DATA[:-1] + b"\1\1\1\1\1")
    cut = os.ftruncate

    def killed(descriptor: int, size: int) -> None:
        cut(descriptor, size)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "ftruncate", killed)
        patch.setattr(files.TemporaryFile, "discard", files.TemporaryFile.keep)
        with pytest.raises(KeyboardInterrupt):
            Arrival(POINTER, cache)
    assert part_file(cache).stat().st_size == 0
    arrival = Arrival(POINTER, cache)
    assert not any(map(arrival.has, range(COUNT)))
    arrival.close()


def symlink(path: Path) -> None:
    path.symlink_to("target")
    (path.parent / "target").write_bytes(b"mine")


def dangling_symlink(path: Path) -> None:
    path.symlink_to("target")


def hard_link(path: Path) -> None:
    (path.parent / "target").write_bytes(b"mine")
    path.hardlink_to(path.parent / "target")


def of_another_user(path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    path.write_bytes(WHOLE_NOTE)
    os.chown(path, 12345, 12345)


def open_to_others(path: Path) -> None:
    path.write_bytes(WHOLE_NOTE)
    path.chmod(0o666)


STRANGE = [symlink, dangling_symlink, hard_link, of_another_user, open_to_others]
STRANGE += [Path.mkdir, os.mkfifo]


@pytest.mark.parametrize("make", STRANGE, ids=lambda make: make.__name__)
def test_what_is_not_ours_at_the_name_is_neither_used_nor_touched(
    cache: ObjectDirectory, make: Callable[[Path], object]
) -> None:
    Path(cache.temporary).mkdir(parents=True)
    path = part_file(cache)
    make(path)
    before = path.lstat()
    arrival = Arrival(POINTER, cache)
    assert not any(map(arrival.has, range(COUNT)))
    put(arrival)
    arrival.finish()
    assert_whole(cache)
    assert (path.lstat().st_ino, path.lstat().st_size) == (before.st_ino, before.st_size)
    target = path.parent / "target"
    assert not target.exists() or target.read_bytes() == b"mine"


@pytest.mark.parametrize("is_begun_anew", [True, False])
def test_a_file_that_got_its_name_before_it_was_locked_is_not_gone_on_with(
    cache: ObjectDirectory, monkeypatch: pytest.MonkeyPatch, is_begun_anew: bool
) -> None:
    first = Arrival(POINTER, cache)
    put(first)
    lock = files.fcntl.flock

    def late(descriptor: int, how: int) -> None:
        # The other process ends just now, and lets go of the lock; a third one begins.
        first.finish()
        if is_begun_anew:
            part_file(cache).touch()
        lock(descriptor, how)

    monkeypatch.setattr(files.fcntl, "flock", late)
    second = Arrival(POINTER, cache)
    assert not any(map(second.has, range(COUNT)))
    second.close()
    assert_whole(cache)


def test_without_locks_nobody_goes_on(
    cache: ObjectDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_back(cache, WHOLE_NOTE)

    def lock(descriptor: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(files.fcntl, "flock", lock)
    arrival = Arrival(POINTER, cache)
    assert not arrival.has(0)
    arrival.close()


# Faults of the directory


@contextmanager
def failing_writes(number: int) -> Iterator[None]:
    def write(descriptor: int, data: bytes, offset: int) -> int:
        raise OSError(number, os.strerror(number))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "pwrite", write)
        yield


@pytest.mark.parametrize(
    ("number", "is_kept"), [(errno.ENOSPC, False), (errno.EDQUOT, False), (errno.EIO, True)]
)
def test_a_fault_names_the_file_and_a_full_disk_gets_its_space_back(
    cache: ObjectDirectory, number: int, is_kept: bool
) -> None:
    arrival = Arrival(POINTER, cache)
    put(arrival, [0])
    with failing_writes(number), pytest.raises(OSError, match=os.strerror(number)) as caught:
        put(arrival, [1])
    assert caught.value.filename == str(part_file(cache))
    assert not arrival.has(1)
    arrival.close()
    assert left(cache) == ([part_file(cache).name] if is_kept else [])


def test_a_part_that_could_not_be_written_may_be_tried_again(cache: ObjectDirectory) -> None:
    arrival = Arrival(POINTER, cache)
    with failing_writes(errno.EIO), pytest.raises(OSError, match="Input/output"):
        put(arrival, [0])
    put(arrival)
    arrival.finish()
    assert_whole(cache)


def test_an_object_that_no_file_can_hold_is_a_fault_that_names_the_file(
    cache: ObjectDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(descriptor: int, size: int) -> None:
        raise OSError(errno.EFBIG, "File too large")

    monkeypatch.setattr(os, "ftruncate", cut)
    with pytest.raises(OSError, match="File too large") as caught:
        Arrival(POINTER, cache)
    assert caught.value.filename == str(part_file(cache))
    assert left(cache) == []


def test_a_directory_that_can_t_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(NotADirectoryError) as caught:
        Arrival(POINTER, ObjectDirectory(str(tmp_path / "cache")))
    assert str(tmp_path / "cache") in caught.value.filename


def test_a_file_that_somebody_cuts_is_not_taken_for_the_object(cache: ObjectDirectory) -> None:
    arrival = Arrival(POINTER, cache)
    put(arrival, [1, 2, 3, 4])
    os.truncate(part_file(cache), PART + 10)
    put(arrival, [0])
    with pytest.raises(IntegrityError):
        arrival.finish()
    arrival.close()
    assert left(cache) == []


def test_parts_are_kept_for_a_day(cache: ObjectDirectory) -> None:
    arrival = Arrival(POINTER, cache)
    put(arrival, [0])
    arrival.close()
    for age, is_there in (
        (objects._STALE_SECONDS - 600, True),
        (objects._STALE_SECONDS + 1, False),
    ):
        then = time.time() - age
        os.utime(part_file(cache), (then, then))
        remove_leftovers(cache)
        assert part_file(cache).exists() == is_there


# Closing


def test_after_close_nothing_is_written(cache: ObjectDirectory) -> None:
    arrival = Arrival(POINTER, cache)
    put(arrival, [0])
    arrival.close()
    arrival.close()
    for use in (lambda: put(arrival, [1]), arrival.finish):
        with pytest.raises(ValueError, match="closed"):
            use()
    again = Arrival(POINTER, cache)
    assert [again.has(0), again.has(1)] == [True, False]
    again.close()


def test_close_leaves_the_file_to_who_is_writing(
    cache: ObjectDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Its number must not become that of another file meanwhile.
    is_writing, is_over = threading.Event(), threading.Event()
    write = files.write_all_at

    def slow(descriptor: int, data: bytes, offset: int) -> None:
        is_writing.set()
        assert is_over.wait(30)
        write(descriptor, data, offset)

    arrival = Arrival(POINTER, cache)
    monkeypatch.setattr(files, "write_all_at", slow)
    with ThreadPoolExecutor(1) as pool:
        late = pool.submit(arrival.put, 2, [part(2)])
        assert is_writing.wait(30)
        arrival.close()
        held = Arrival(POINTER, cache)
        assert not held.has(2)
        held.close()
        is_over.set()
        # What it had begun it may end, but no more.
        with pytest.raises(ValueError, match="closed"):
            late.result()
    again = Arrival(POINTER, cache)
    assert not again.has(2)
    again.close()
