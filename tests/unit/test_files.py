from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from git_datareg import files
from git_datareg.files import (
    move_new,
    new_file,
    remove_stale,
    sync_directory,
    temporary_name,
    write_atomically,
)
from tests.support.disks import file_size_limit, other_disk, small_disk

__all__ = ["other_disk", "small_disk"]

PACKAGE_ROOT = Path(files.__file__).parents[1]
MIB = 1 << 20


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def run_python(code: str, *args: str | Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, args)],
        cwd=PACKAGE_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


# Writing a whole file.


def test_a_new_file_has_the_content_and_the_umask(tmp_path: Path) -> None:
    for umask in (0o022, 0o077):
        old = os.umask(umask)
        try:
            write_atomically(str(tmp_path / f"{umask}"), b"content")
        finally:
            os.umask(old)
        assert (tmp_path / f"{umask}").read_bytes() == b"content"
        assert mode_of(tmp_path / f"{umask}") == 0o666 & ~umask


@pytest.mark.parametrize("sync", [True, False])
def test_a_replaced_file_keeps_its_mode(tmp_path: Path, sync: bool) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")
    target.chmod(0o750)
    write_atomically(str(target), b"new", sync=sync)
    assert target.read_bytes() == b"new"
    assert mode_of(target) == 0o750


def test_a_given_mode_overrules_the_old_one_and_the_umask(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")
    write_atomically(os.fsencode(target), b"new", mode=0o666)
    assert mode_of(target) == 0o666


@pytest.mark.parametrize("known_by", ["argument", "old file"])
def test_a_secret_is_at_no_time_readable_for_others(
    tmp_path: Path, known_by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "file"
    if known_by == "old file":
        target.touch(mode=0o600)
    modes = []
    real = os.write

    def look_and_write(descriptor: int, data: memoryview) -> int:
        modes.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        return real(descriptor, data)

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", look_and_write)
        write_atomically(str(target), b"secret", mode=0o600 if known_by == "argument" else None)
    assert modes == [0o600]
    assert mode_of(target) == 0o600


@pytest.mark.parametrize("replace", [True, False])
def test_content_is_synced_before_its_name_and_the_name_before_the_return(
    tmp_path: Path, replace: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = []
    sync, rename, link = os.fsync, os.rename, os.link

    def note_sync(descriptor: int) -> None:
        steps.append("directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "content")
        sync(descriptor)

    def note_name(act: Callable[..., None]) -> Callable[..., None]:
        return lambda *args, **kwargs: (steps.append("name"), act(*args, **kwargs))[1]

    with monkeypatch.context() as patched, new_file(str(tmp_path)) as file:
        patched.setattr(os, "fsync", note_sync)
        patched.setattr(os, "rename", note_name(rename))
        patched.setattr(os, "link", note_name(link))
        file.commit(str(tmp_path / "final"), replace=replace)
    assert steps == ["content", "name", "directory"]


def test_a_file_in_the_current_directory_needs_no_directory_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_atomically("file", b"content")
    assert Path("file").read_bytes() == b"content"
    assert os.listdir() == ["file"]


def test_a_symlink_is_replaced_and_what_it_names_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "victim").write_bytes(b"old")
    (tmp_path / "victim").chmod(0o600)
    (tmp_path / "link").symlink_to("victim")
    write_atomically(str(tmp_path / "link"), b"new")
    assert (tmp_path / "victim").read_bytes() == b"old"
    assert not (tmp_path / "link").is_symlink()
    assert mode_of(tmp_path / "link") == 0o644


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")
    with file_size_limit(MIB), pytest.raises(OSError, match="File too large"):
        write_atomically(str(target), bytes(2 * MIB))
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_full_disk_leaves_the_old_file_and_nothing_else(small_disk: Path) -> None:
    target = small_disk / "file"
    target.write_bytes(b"old")
    with pytest.raises(OSError) as fault:
        write_atomically(str(target), b"x" * (2 * MIB))
    assert fault.value.errno == errno.ENOSPC
    assert target.read_bytes() == b"old"
    assert os.listdir(small_disk) == ["file"]


def test_a_failed_rename_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    with pytest.raises(IsADirectoryError):
        write_atomically(str(tmp_path / "directory"), b"new")
    assert os.listdir(tmp_path) == ["directory"]


def test_a_write_to_a_missing_directory_is_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_atomically(str(tmp_path / "none" / "file"), b"new")


KILLED = """
import sys
from git_datareg.files import write_atomically
contents = [letter.encode() * (1 << 20) for letter in "ab"]
print("ready", flush=True)
while True:
    for content in contents:
        write_atomically(sys.argv[1], content, sync=False)
"""


def test_kill_at_any_moment_leaves_the_old_or_the_new_content(tmp_path: Path) -> None:
    target = tmp_path / "file"
    for _ in range(12):
        child = run_python(KILLED, target)
        assert child.stdout and child.stdin
        assert child.stdout.readline() == b"ready\n"
        # Somewhere in the loop: once a first version of this child is there.
        before = target.stat().st_ino if target.exists() else None
        while not target.exists() or target.stat().st_ino == before:
            pass
        child.send_signal(signal.SIGKILL)
        child.communicate()
        assert target.read_bytes() in (b"a" * MIB, b"b" * MIB)


STOPPED = """
import os, signal, sys
from git_datareg.files import new_file
file = new_file(os.path.dirname(sys.argv[1]))
file.write(b"half of the n")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_kill_in_the_middle_leaves_a_temporary_file_that_is_found_later(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")
    child = run_python(STOPPED, target)
    child.communicate()
    assert child.returncode == -signal.SIGKILL
    assert target.read_bytes() == b"old"
    (left,) = [name for name in os.listdir(tmp_path) if name != "file"]
    os.utime(tmp_path / left, (1, 1))
    assert remove_stale(str(tmp_path), files.TEMPORARY_PREFIX, 3600) == 1
    assert os.listdir(tmp_path) == ["file"]


# Temporary files.


def test_pieces_are_committed_as_one_file(tmp_path: Path) -> None:
    with new_file(os.fsencode(tmp_path), b"mine-") as file:
        assert os.path.basename(file.path).startswith(b"mine-")
        assert file.write(b"one ") == 4
        assert file.write(bytearray(b"two ")) == 4
        assert file.write(memoryview(b"three")) == 5
        assert os.pread(file.fileno(), 7, 0) == b"one two"
        file.commit(str(tmp_path / "final"), mode=0o444)
    assert (tmp_path / "final").read_bytes() == b"one two three"
    assert mode_of(tmp_path / "final") == 0o444
    assert os.listdir(tmp_path) == ["final"]


def test_an_uncommitted_file_is_discarded(tmp_path: Path) -> None:
    with pytest.raises(KeyError), new_file(str(tmp_path)) as file:
        descriptor = file.fileno()
        raise KeyError
    assert os.listdir(tmp_path) == []
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)
    file.discard()


def test_discard_bears_that_the_file_is_gone(tmp_path: Path) -> None:
    file = new_file(str(tmp_path))
    os.unlink(file.path)
    file.discard()
    assert os.listdir(tmp_path) == []


def test_discard_after_commit_touches_nothing(tmp_path: Path) -> None:
    file = new_file(str(tmp_path))
    file.commit(str(tmp_path / "final"))
    file.discard()
    assert os.listdir(tmp_path) == ["final"]


def test_what_is_unfinished_at_the_end_is_removed(tmp_path: Path) -> None:
    done = files.new_file(tmp_path)
    done.commit(tmp_path / "done")
    files.new_file(tmp_path).discard()
    kept = files.continued_file(tmp_path / "kept")
    assert kept is not None
    with files.new_file(tmp_path), files.new_file(tmp_path) as gone:
        os.unlink(gone.path)
        assert len(os.listdir(tmp_path)) == 3
        files.remove_unfinished()
        assert sorted(os.listdir(tmp_path)) == ["done", "kept"]
    files.remove_unfinished()
    kept.keep()
    assert sorted(os.listdir(tmp_path)) == ["done", "kept"]


def test_a_file_that_is_kept_can_be_continued_by_one_at_a_time(tmp_path: Path) -> None:
    first = files.continued_file(str(tmp_path / "x"))
    assert first is not None
    assert mode_of(tmp_path / "x") == 0o600
    first.write(b"some")
    assert files.continued_file(tmp_path / "x") is None
    first.keep()
    first.discard()
    second = files.continued_file(tmp_path / "x")
    assert second is not None
    assert os.pread(second.fileno(), 10, 0) == b"some"
    second.commit(tmp_path / "y")
    assert (tmp_path / "y").read_bytes() == b"some"
    assert not (tmp_path / "x").exists()


def test_a_file_that_can_t_be_made_is_not_continued(tmp_path: Path) -> None:
    assert files.continued_file(tmp_path / "no/x") is None


def test_data_is_written_where_it_belongs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with files.new_file(tmp_path) as file:
        write = os.pwrite
        # As the system may do it.
        monkeypatch.setattr(os, "pwrite", lambda fd, data, at: write(fd, data[:3], at))
        files.write_all_at(file.fileno(), b"0123456789", 4)
        files.write_all_at(file.fileno(), bytearray(b"abcd"), 0)
        files.write_all_at(file.fileno(), b"", 99)
        assert Path(os.fsdecode(file.path)).read_bytes() == b"abcd0123456789"


def test_create_only_never_replaces(tmp_path: Path) -> None:
    (tmp_path / "final").write_bytes(b"old")
    (tmp_path / "dangling").symlink_to("nowhere")
    for name in ("final", "dangling"):
        with new_file(str(tmp_path)) as file:
            file.write(b"new")
            with pytest.raises(FileExistsError):
                file.commit(str(tmp_path / name), replace=False)
    assert (tmp_path / "final").read_bytes() == b"old"
    assert sorted(os.listdir(tmp_path)) == ["dangling", "final"]


@pytest.mark.parametrize("replace", [True, False])
def test_a_missing_directory_is_made_when_asked(tmp_path: Path, replace: bool) -> None:
    target = tmp_path / "a/b/c"
    with files.new_file(tmp_path) as file, pytest.raises(FileNotFoundError):
        file.commit(os.fsencode(target), replace=replace, sync=False)
    assert os.listdir(tmp_path) == []
    for name in (target, target.with_name("d")):
        with files.new_file(tmp_path) as file:
            file.write(b"data")
            file.commit(os.fsencode(name), replace=replace, sync=False, make_directory=True)
        assert name.read_bytes() == b"data"
    assert os.listdir(tmp_path) == ["a"]


def test_create_only_creates(tmp_path: Path) -> None:
    with new_file(str(tmp_path)) as file:
        file.write(b"new")
        file.commit(str(tmp_path / "final"), replace=False, mode=0o444)
    assert (tmp_path / "final").read_bytes() == b"new"
    assert (tmp_path / "final").stat().st_nlink == 1
    assert os.listdir(tmp_path) == ["final"]


RACER = """
import os, sys
from git_datareg import files
if sys.argv[2] == "no links":
    def link(*args, **kwargs):
        raise PermissionError(1, "no links here")
    os.link = link
directory = os.path.dirname(sys.argv[1])
for n in range(50):
    file = files.new_file(directory)
    file.write(str(os.getpid()).encode() * 1000)
    print("ready", flush=True)
    sys.stdin.readline()
    try:
        file.commit(sys.argv[1] + str(n), replace=False, sync=False)
    except FileExistsError:
        print("lost", flush=True)
    else:
        print("won", flush=True)
"""


@pytest.mark.parametrize("links", ["links", "no links"])
def test_of_eight_processes_exactly_one_creates(tmp_path: Path, links: str) -> None:
    racers = [run_python(RACER, tmp_path / "final", links) for _ in range(8)]
    for n in range(50):
        assert [one.stdout.readline() for one in racers] == [b"ready\n"] * 8
        for racer in racers:
            racer.stdin.write(b"go\n")
            racer.stdin.flush()
        results = [racer.stdout.readline() for racer in racers]
        assert sorted(results) == [b"lost\n"] * 7 + [b"won\n"]
        winner = racers[results.index(b"won\n")]
        assert (tmp_path / f"final{n}").read_bytes() == str(winner.pid).encode() * 1000
    for racer in racers:
        racer.communicate()
        assert racer.returncode == 0
    assert len(os.listdir(tmp_path)) == 50


@pytest.fixture
def no_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on exFAT, which can't be mounted everywhere."""

    def link(*args: object, **kwargs: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)


def test_without_hard_links_create_only_still_never_replaces(
    tmp_path: Path, no_links: None
) -> None:
    (tmp_path / "source").write_bytes(b"new")
    (tmp_path / "taken").write_bytes(b"old")
    descriptor = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(FileExistsError):
        move_new(b"source", b"taken", dir_fd=descriptor)
    assert (tmp_path / "taken").read_bytes() == b"old"
    move_new(b"source", b"free", dir_fd=descriptor)
    move_new(os.fsencode(tmp_path / "free"), os.fsencode(tmp_path / "free2"))
    os.close(descriptor)
    assert (tmp_path / "free2").read_bytes() == b"new"
    assert sorted(os.listdir(tmp_path)) == ["free2", "taken"]


def test_without_hard_links_and_exclusive_rename_create_only_is_refused(
    tmp_path: Path, no_links: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "source").write_bytes(b"new")
    where = os.fsencode(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(files, "_RENAME_NOREPLACE", 1 << 30)  # a flag no kernel knows
        with pytest.raises(PermissionError):
            move_new(where + b"/source", where + b"/final")
    with monkeypatch.context() as patched:
        patched.setattr("ctypes.CDLL", lambda *args, **kwargs: object())  # an old C library
        with pytest.raises(PermissionError):
            move_new(where + b"/source", where + b"/final")
    assert os.listdir(tmp_path) == ["source"]


def test_a_create_only_fault_other_than_links_is_raised(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        move_new(os.fsencode(tmp_path / "none"), os.fsencode(tmp_path / "final"))


def test_a_temporary_name_fits_and_is_never_the_same() -> None:
    assert len({temporary_name() for _ in range(1000)}) == 1000
    assert len(temporary_name("é" * 300)) == 255
    assert temporary_name(b"\xff-").startswith(b"\xff-")


# Copying.


# Leftovers and directories.


def test_only_old_regular_files_with_the_prefix_are_removed(tmp_path: Path) -> None:
    (tmp_path / "tmp-directory").mkdir()
    (tmp_path / "tmp-link").symlink_to("other-old")
    for name in ("tmp-old", "tmp-new", "other-old"):
        (tmp_path / name).touch()
    now = time.time()
    for name in ("tmp-old", "other-old", "tmp-directory", "tmp-link"):
        os.utime(tmp_path / name, (now - 100, now - 100), follow_symlinks=False)
    assert remove_stale(str(tmp_path), "tmp-", 200) == 0
    assert remove_stale(str(tmp_path), "tmp-", 50) == 1
    assert sorted(os.listdir(tmp_path)) == ["other-old", "tmp-directory", "tmp-link", "tmp-new"]


def test_a_missing_directory_has_no_leftovers(tmp_path: Path) -> None:
    assert remove_stale(str(tmp_path / "none"), "tmp-", 0) == 0


def test_leftovers_that_another_process_removes_meanwhile_are_not_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tmp-1").touch()
    os.utime(tmp_path / "tmp-1", (1, 1))
    real = os.unlink

    def lose(path: bytes) -> None:
        real(path)
        real(path)

    with monkeypatch.context() as patched:
        patched.setattr(os, "unlink", lose)
        assert remove_stale(str(tmp_path), "tmp-", 50) == 0
    assert os.listdir(tmp_path) == []


def test_leftovers_that_are_gone_before_they_are_looked_at_are_passed_over(
    tmp_path: Path,
) -> None:
    (tmp_path / "tmp-1").touch()
    with os.scandir(os.fsencode(tmp_path)) as entries:
        (entry,) = entries
    (tmp_path / "tmp-1").unlink()
    assert files._is_older(entry, time.time() + 100) is False


def test_what_can_not_be_synced_is_passed_over_and_faults_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync_directory(str(tmp_path))
    with pytest.raises(NotADirectoryError):
        (tmp_path / "file").touch()
        sync_directory(str(tmp_path / "file"))
    for number in (errno.EINVAL, errno.EIO):

        def fail(descriptor: int, number: int = number) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "fsync", fail)
        if number == errno.EINVAL:
            sync_directory(str(tmp_path))
        else:
            with pytest.raises(OSError, match="Input/output error"):
                sync_directory(str(tmp_path))
            with pytest.raises(OSError, match="Input/output error"):
                write_atomically(str(tmp_path / "new"), b"x")
    assert os.listdir(tmp_path) == ["file"]


def test_a_regular_file_is_read_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    assert files.read_regular(str(tmp_path / "file")) == b"content"
    assert files.read_regular(os.fsencode(tmp_path / "link")) == b"content"
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "device").symlink_to("/dev/zero")
    for name in (".", "fifo", "device"):
        with pytest.raises(IsADirectoryError) as caught:
            files.read_regular(str(tmp_path / name))
        assert caught.value.filename == str(tmp_path / name)
        assert caught.value.strerror == "not a regular file"
    for name in ("nothing", "file/below"):
        with pytest.raises((FileNotFoundError, NotADirectoryError)):
            files.read_regular(str(tmp_path / name))


def test_a_file_that_becomes_a_fifo_before_it_is_opened_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "fifo")
    look = os.stat
    monkeypatch.setattr(os, "stat", lambda path: look(tmp_path / "file"))
    before = os.listdir("/proc/self/fd")
    with pytest.raises(IsADirectoryError):
        files.open_regular(str(tmp_path / "fifo"))
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_zeros_are_written_as_a_hole(tmp_path: Path) -> None:
    pieces = [b"x" * MIB, bytes(MIB), b"y", bytes(3 * MIB), bytes(3)]
    with files.new_file(str(tmp_path)) as file:
        for piece in pieces:
            assert file.write(memoryview(piece)) == len(piece)
        file.commit(str(tmp_path / "a"))
    assert (tmp_path / "a").read_bytes() == b"".join(pieces)
    assert (tmp_path / "a").stat().st_blocks * 512 < 2 * MIB
