from __future__ import annotations

import errno
import os
import resource
import shutil
import socket
import stat
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from git_datareg import worktree
from git_datareg.errors import UnsafePathError
from git_datareg.worktree import Directory, check_relative_path
from tests.support.gitrun import Git

MIB = 1 << 20


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "root"
    path.mkdir()
    return path


@pytest.fixture
def tree(root: Path) -> Iterator[Directory]:
    before = open_descriptors()
    with Directory.open(str(root)) as directory:
        yield directory
    assert open_descriptors() == before


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """What no write below the root may reach."""
    path = tmp_path / "outside"
    path.mkdir()
    (path / "file").write_bytes(b"theirs")
    return path


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def files_below(root: Path) -> set[str]:
    """Every file and symlink, so that a forgotten temporary file shows."""
    return {
        str(path.relative_to(root))
        for path in root.rglob("*")
        if path.is_symlink() or not path.is_dir()
    }


def holds(content: bytes) -> object:
    return lambda descriptor: os.read(descriptor, 1000) == content


# Names.

SAFE = [
    b"a",
    b"a/b/c",
    b"...",
    b".gitignore",
    b".gitattributes",
    b".github/x",
    b"git",
    b"git~2",
    b"git~10",
    b".git2",
    b"x.git",
    b".gi",
    b"a.git/b",
    b"new\nline",
    b" ",
    b"-",
    b"\xff\xfe",
    b".git\xff",
    "über/ﬁ".encode(),
    ".g\u0131t".encode(),
    b"a\\b",
    b"c:",
    b"..a",
    b"~",
]

UNSAFE = [
    b"",
    b"/",
    b"/a",
    b"//a",
    b"a//b",
    b"a/",
    b".",
    b"./a",
    b"a/.",
    b"..",
    b"../a",
    b"a/../b",
    b"a/..",
    b"a\0b",
    b".git",
    b".git/config",
    b"a/.git",
    b"a/.git/config",
    b".GIT",
    b".gIt/x",
    b".git ",
    b".git.",
    b".git. . .",
    b".git...",
    b"git~1",
    b"GIT~1/x",
    b"git~1.",
    b".git::$INDEX_ALLOCATION/config",
    b".git:x",
    b".git :x",
    b"git~1:x",
    b"a\\.git",
    b"a\\.git\\config",
    b".git\\config",
    b"a/b\\GIT~1",
    ".g\u200cit".encode(),
    "\u200d.git".encode(),
    ".git\ufeff".encode(),
    ".\u206aG\u202eI\u200fT/x".encode(),
]


@pytest.mark.parametrize("path", SAFE)
def test_ordinary_names_are_allowed(path: bytes) -> None:
    check_relative_path(path)


@pytest.mark.parametrize("path", UNSAFE)
def test_names_that_lead_elsewhere_are_refused_with_the_name(path: bytes) -> None:
    with pytest.raises(UnsafePathError) as fault:
        check_relative_path(path)
    assert repr(os.fsdecode(path)) in fault.value.message
    assert "\n" not in fault.value.message


@pytest.mark.parametrize("path", SAFE + UNSAFE)
def test_nothing_is_allowed_that_git_refuses(tmp_path: Path, path: bytes) -> None:
    if b"\0" in path:
        pytest.skip("git can't be given a NUL")
    git = Git(tmp_path / "repo").init()
    git.run("config", "core.protectHFS", "true")
    git.run("config", "core.protectNTFS", "true")
    oid = git.run("hash-object", "-w", "--stdin", input=b"x").stdout.strip().encode()
    line = b"100644 %s 0\t%s\0" % (oid, path)
    taken = git.run("update-index", "-z", "--index-info", input=line, check=False).returncode == 0
    taken = taken and bool(git.out("ls-files"))
    # Git goes by the UTF-8 alone and ends a name at what is not.
    assert taken == (path in SAFE and path != b".git\xff")


@given(st.binary(max_size=20) | st.text(alphabet="./\\ :giGIT~1\u200c", max_size=12))
def test_what_is_allowed_stays_below_the_root(path: bytes | str) -> None:
    raw = os.fsencode(path) if isinstance(path, str) else path
    try:
        check_relative_path(raw)
    except UnsafePathError:
        return
    full = os.path.normpath(b"/base/" + raw)
    assert full == b"/base/" + raw
    assert b".git" not in raw.lower().split(b"/")


@pytest.mark.parametrize("path", [b"../outside/file", b"/etc/passwd", b".git/config", b"a\0b"])
def test_every_method_checks_the_name(root: Path, tree: Directory, path: bytes) -> None:
    for write in (
        lambda: tree.place(path, b"ours", mode=0o644),
        lambda: tree.symlink(path, b"target"),
        lambda: tree.remove(path),
    ):
        with pytest.raises(UnsafePathError):
            write()
    assert os.listdir(root) == []


# Placing files.


def test_a_file_is_placed_with_mode_and_mtime(root: Path, tree: Directory) -> None:
    placed = tree.place(b"a/b/file", b"content", mode=0o755, mtime_ns=1_234_567_890_123_456_789)
    found = (root / "a/b/file").lstat()
    assert placed == found
    assert (root / "a/b/file").read_bytes() == b"content"
    assert stat.S_IMODE(found.st_mode) == 0o755
    assert found.st_mtime_ns == 1_234_567_890_123_456_789
    assert files_below(root) == {"a/b/file"}


def test_a_file_is_copied_from_a_descriptor(root: Path, tree: Directory, tmp_path: Path) -> None:
    content = os.urandom(3 * MIB + 1)
    (tmp_path / "source").write_bytes(content)
    with open(tmp_path / "source", "rb") as source:
        placed = tree.place(b"file", source.fileno(), mode=0o644)
    assert placed is not None and placed.st_size == len(content)
    assert placed == (root / "file").lstat()
    assert (root / "file").read_bytes() == content


def test_a_name_of_255_bytes_that_is_not_utf8_is_placed(root: Path, tree: Directory) -> None:
    name = b"\xff" * 255
    tree.place(name, b"content", mode=0o644)
    assert os.listdir(os.fsencode(root)) == [name]


def test_a_present_file_or_symlink_gives_way(root: Path, tree: Directory, outside: Path) -> None:
    (root / "file").write_bytes(b"old")
    (root / "link").symlink_to(outside / "file")
    os.link(outside / "file", root / "hard")
    for name in ("file", "link", "hard"):
        tree.place(name.encode(), b"new", mode=0o644)
        assert (root / name).read_bytes() == b"new"
        assert not (root / name).is_symlink()
    assert (outside / "file").read_bytes() == b"theirs"
    assert files_below(root) == {"file", "link", "hard"}


def test_without_replace_a_present_file_stays(root: Path, tree: Directory) -> None:
    (root / "file").write_bytes(b"old")
    (root / "dangling").symlink_to("nowhere")
    for name in (b"file", b"dangling"):
        with pytest.raises(FileExistsError):
            tree.place(name, b"new", mode=0o644, replace=False)
        with pytest.raises(FileExistsError):
            tree.symlink(name, b"new", replace=False)
    assert (root / "file").read_bytes() == b"old"
    tree.place(b"free", b"new", mode=0o640, replace=False)
    tree.symlink(b"free-link", b"free", replace=False)
    assert (root / "free-link").read_bytes() == b"new"
    assert (root / "free").stat().st_nlink == 1
    assert files_below(root) == {"file", "dangling", "free", "free-link"}


def test_a_directory_is_never_replaced(root: Path, tree: Directory) -> None:
    (root / "directory").mkdir()
    with pytest.raises(IsADirectoryError):
        tree.place(b"directory", b"new", mode=0o644)
    with pytest.raises(IsADirectoryError):
        tree.symlink(b"directory", b"new")
    with pytest.raises((IsADirectoryError, PermissionError)):
        tree.remove(b"directory")
    assert os.listdir(root) == ["directory"]


def test_missing_directories_are_made_only_when_asked(root: Path, tree: Directory) -> None:
    with pytest.raises(FileNotFoundError):
        tree.place(b"a/file", b"x", mode=0o644, create_parents=False)
    with pytest.raises(FileNotFoundError):
        tree.symlink(b"a/link", b"x", create_parents=False)
    assert os.listdir(root) == []
    tree.symlink(b"a/link", b"x")
    assert os.readlink(root / "a/link") == "x"


def test_threads_make_the_same_directories_at_once(root: Path, tree: Directory) -> None:
    barrier = threading.Barrier(8)

    def place(n: int) -> None:
        for turn in range(20):
            barrier.wait()
            tree.place(b"%d/a/b/c/%d" % (turn, n), b"x", mode=0o644)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(place, range(8)))
    assert len(files_below(root)) == 160


def test_a_file_in_the_way_of_a_directory_is_an_ordinary_fault(root: Path, tree: Directory) -> None:
    (root / "a").write_bytes(b"file")
    with pytest.raises(NotADirectoryError):
        tree.place(b"a/b/c", b"x", mode=0o644)
    assert files_below(root) == {"a"}


# Symlinks on the way.


@pytest.mark.parametrize("path", [b"link/file", b"link/new/file", b"dir/link/file"])
@pytest.mark.parametrize("absolute", [True, False])
def test_a_symlink_on_the_way_is_not_followed(
    root: Path, tree: Directory, outside: Path, path: bytes, absolute: bool
) -> None:
    (root / "dir").mkdir()
    (root / "link").symlink_to(outside if absolute else "../outside")
    (root / "dir/link").symlink_to(outside if absolute else "../../outside")
    for write in (
        lambda: tree.place(path, b"ours", mode=0o644),
        lambda: tree.place(path, b"ours", mode=0o644, expect=lambda _: True),
        lambda: tree.symlink(path, b"ours"),
        lambda: tree.remove(path),
    ):
        with pytest.raises(UnsafePathError, match="symlink"):
            write()
    assert files_below(outside) == {"file"}
    assert (outside / "file").read_bytes() == b"theirs"


def test_a_symlink_to_a_directory_inside_is_not_followed_either(
    root: Path, tree: Directory
) -> None:
    (root / "dir").mkdir()
    (root / "link").symlink_to("dir")
    (root / "dangling").symlink_to("none")
    for path in (b"link/file", b"dangling/file"):
        with pytest.raises(UnsafePathError):
            tree.place(path, b"x", mode=0o644)
    assert files_below(root) == {"link", "dangling"}


def test_the_root_itself_may_be_a_symlink(tmp_path: Path, root: Path) -> None:
    (tmp_path / "link").symlink_to(root)
    with Directory.open(os.fsencode(tmp_path / "link")) as tree:
        tree.place(b"file", b"x", mode=0o644)
    assert files_below(root) == {"file"}


def test_the_root_is_the_opened_directory_wherever_its_name_leads(
    tmp_path: Path, root: Path, tree: Directory, outside: Path
) -> None:
    root.rename(tmp_path / "moved")
    root.symlink_to(outside)
    tree.place(b"file", b"ours", mode=0o644)
    assert (outside / "file").read_bytes() == b"theirs"
    assert (tmp_path / "moved/file").read_bytes() == b"ours"


def test_a_directory_swapped_for_a_symlink_at_any_moment_is_not_followed(
    root: Path, tree: Directory, outside: Path
) -> None:
    (root / "a").mkdir()
    (root / "b").symlink_to(outside)
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            for one, two in (("a", "c"), ("b", "a"), ("a", "b"), ("c", "a")):
                os.rename(root / one, root / two)

    swapper = threading.Thread(target=swap)
    swapper.start()
    refused = placed = 0
    try:
        for _ in range(100_000):
            try:
                # Made anew, "a" would be in the swapper's way.
                tree.place(b"a/new", b"ours", mode=0o644, create_parents=False)
                placed += 1
            except (UnsafePathError, NotADirectoryError, FileNotFoundError):
                refused += 1
            if min(refused, placed) >= 50:
                break
    finally:
        stop.set()
        swapper.join()
    assert files_below(outside) == {"file"}
    assert (outside / "file").read_bytes() == b"theirs"
    assert min(refused, placed) >= 50


def test_a_directory_swapped_while_the_file_is_copied_is_not_followed(
    root: Path, tree: Directory, outside: Path
) -> None:
    (root / "a").mkdir()
    (root / "a/file").write_bytes(b"old")

    def swap(descriptor: int) -> bool:
        if not (root / "moved").exists():
            (root / "a").rename(root / "moved")
            (root / "a").symlink_to(outside)
        return True

    tree.place(b"a/file", b"ours", mode=0o644, expect=swap)
    assert (outside / "file").read_bytes() == b"theirs"
    assert (root / "moved/file").read_bytes() == b"ours"


# What is expected there.


def test_the_expected_file_is_replaced(root: Path, tree: Directory) -> None:
    (root / "file").write_bytes(b"pointer")
    placed = tree.place(b"file", b"data", mode=0o644, expect=holds(b"pointer"))
    assert placed == (root / "file").lstat()
    assert (root / "file").read_bytes() == b"data"


def test_another_file_is_left_as_it_is(root: Path, tree: Directory) -> None:
    (root / "file").write_bytes(b"the user's")
    before = (root / "file").lstat()
    assert tree.place(b"file", b"data", mode=0o644, expect=holds(b"pointer")) is None
    assert (root / "file").read_bytes() == b"the user's"
    after = (root / "file").lstat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert files_below(root) == {"file"}


def test_what_is_no_regular_file_is_left_and_not_waited_for(root: Path, tree: Directory) -> None:
    (root / "pointer").write_bytes(b"pointer")
    (root / "link").symlink_to("pointer")
    (root / "directory").mkdir()
    os.mkfifo(root / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(root / "socket"))
    for name in (b"link", b"directory", b"fifo", b"socket", b"missing", b"no/such/directory"):
        assert tree.place(name, b"data", mode=0o644, expect=lambda _: True) is None
    assert sorted(os.listdir(root)) == ["directory", "fifo", "link", "pointer", "socket"]
    assert (root / "pointer").read_bytes() == b"pointer"


def test_a_file_changed_during_the_copy_is_left(root: Path, tree: Directory) -> None:
    (root / "file").write_bytes(b"pointer")
    answers = []

    def expect(descriptor: int) -> bool:
        answers.append(os.read(descriptor, 100) == b"pointer")
        if len(answers) == 1:
            (root / "file").write_bytes(b"the user's")
        return answers[-1]

    assert tree.place(b"file", b"data", mode=0o644, expect=expect) is None
    assert answers == [True, False]
    assert (root / "file").read_bytes() == b"the user's"
    assert files_below(root) == {"file"}


def test_a_fault_of_expect_leaves_nothing_behind(root: Path, tree: Directory) -> None:
    (root / "file").write_bytes(b"pointer")
    calls = []

    def expect(descriptor: int) -> bool:
        calls.append(descriptor)
        if len(calls) == 2:
            raise KeyError
        return True

    with pytest.raises(KeyError):
        tree.place(b"file", b"data", mode=0o644, expect=expect)
    assert files_below(root) == {"file"}


def test_a_present_file_that_can_not_be_opened_is_a_fault(
    root: Path, tree: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "file").write_bytes(b"pointer")
    real = os.open

    def deny(path: bytes, flags: int, *args: int, **kwargs: int) -> int:
        if path == b"file":
            raise PermissionError(errno.EACCES, "denied")
        return real(path, flags, *args, **kwargs)

    # Root is never denied.
    monkeypatch.setattr(os, "open", deny)
    with pytest.raises(PermissionError):
        tree.place(b"file", b"data", mode=0o644, expect=lambda _: True)
    with pytest.raises(PermissionError):
        tree.touch(b"file", 8, lambda _: True, 10**18)


@pytest.mark.parametrize("change", [b"other", b"same siz"])
def test_the_stat_data_does_not_fit_a_file_that_was_written_to_at_once(
    root: Path, tree: Directory, change: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = worktree._rename

    def rename_and_write(parent: int, source: bytes, target: bytes, replace: bool) -> None:
        real(parent, source, target, replace)
        with open(root / "file", "r+b") as file:
            file.write(change)

    monkeypatch.setattr(worktree, "_rename", rename_and_write)
    placed = tree.place(b"file", b"our data", mode=0o644, mtime_ns=10**18)
    found = (root / "file").lstat()
    assert placed is not None
    assert placed.st_mtime_ns == 10**18 != found.st_mtime_ns


# Files that are right already.


def test_the_expected_file_gets_the_mtime(root: Path, tree: Directory) -> None:
    (root / "a").mkdir()
    (root / "a/file").write_bytes(b"data")
    touched = tree.touch(b"a/file", 4, holds(b"data"), 10**18)
    assert touched == (root / "a/file").lstat()
    assert touched.st_mtime_ns == 10**18


def test_what_is_not_expected_is_not_touched(root: Path, tree: Directory) -> None:
    (root / "file").write_bytes(b"the user's")
    (root / "link").symlink_to("file")
    (root / "directory").mkdir()
    before = (root / "file").lstat()
    assert tree.touch(b"file", 4, holds(b"data"), 10**18) is None
    for name in (b"link", b"directory", b"missing", b"no/such/directory"):
        assert tree.touch(name, 10, lambda _: True, 10**18) is None
    assert (root / "file").lstat() == before


def test_another_file_of_that_size_counts_as_written_now(root: Path, tree: Directory) -> None:
    (root / "file").write_bytes(b"user")
    os.utime(root / "file", ns=(10**17, 10**17))
    assert tree.touch(b"file", 4, holds(b"data"), 10**18) is None
    assert (root / "file").read_bytes() == b"user"
    assert (root / "file").lstat().st_mtime_ns > 10**18


@pytest.mark.parametrize("is_before", [True, False])
def test_a_write_while_a_file_is_looked_at_keeps_git_from_trusting_it(
    root: Path, tree: Directory, is_before: bool
) -> None:
    (root / "file").write_bytes(b"data")
    os.utime(root / "file", ns=(10**17, 10**17))

    def expect(descriptor: int) -> bool:
        if is_before:
            (root / "file").write_bytes(b"user")
        right = os.read(descriptor, 100) == b"data"
        if not is_before:
            (root / "file").write_bytes(b"user")
        return right

    assert tree.touch(b"file", 4, expect, 10**18) is None
    assert (root / "file").lstat().st_mtime_ns > 10**18


def test_a_write_that_loses_its_mtime_is_found_by_its_content(
    root: Path, tree: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "file").write_bytes(b"data")
    real = os.utime

    def write_and_touch(*args: object, **kwargs: object) -> None:
        (root / "file").write_bytes(b"user")
        real(*args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(os, "utime", write_and_touch)
        assert tree.touch(b"file", 4, holds(b"data"), 10**18) is None
    assert (root / "file").lstat().st_mtime_ns > 10**18


def test_the_mode_is_that_of_a_regular_file(root: Path, tree: Directory) -> None:
    (root / "a").mkdir()
    (root / "a/file").touch(mode=0o600)
    (root / "link").symlink_to("a/file")
    assert tree.mode(b"a/file") == 0o600
    assert [tree.mode(name) for name in (b"link", b"a", b"none", b"none/none")] == [None] * 4


# Faults.


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("can't mount a small tmpfs")
    try:
        (place / "file").write_bytes(b"pointer")
        with Directory.open(str(place)) as tree, pytest.raises(OSError) as fault:
            tree.place(b"file", bytes(2 * MIB), mode=0o644)
        assert fault.value.errno == errno.ENOSPC
        assert (place / "file").read_bytes() == b"pointer"
        assert files_below(place) == {"file"}
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    root: Path, tree: Directory, tmp_path: Path
) -> None:
    (root / "file").write_bytes(b"pointer")
    (tmp_path / "source").write_bytes(bytes(2 * MIB))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with open(tmp_path / "source", "rb") as source:
        resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, hard))
        try:
            for content in (source.fileno(), bytes(2 * MIB)):
                with pytest.raises(OSError, match="File too large"):
                    tree.place(b"file", content, mode=0o644)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (root / "file").read_bytes() == b"pointer"
    assert files_below(root) == {"file"}


def test_a_source_that_gets_shorter_is_a_fault(
    root: Path, tree: Directory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "source").write_bytes(b"0123456789")
    real = worktree.copy_into

    def cut_and_copy(source: int, target: int, size: int) -> int:
        os.truncate(tmp_path / "source", 5)
        return real(source, target, size)

    monkeypatch.setattr(worktree, "copy_into", cut_and_copy)
    with open(tmp_path / "source", "rb") as source, pytest.raises(OSError, match="shorter"):
        tree.place(b"file", source.fileno(), mode=0o644)
    assert os.listdir(root) == []


def test_a_closed_directory_writes_nowhere(root: Path) -> None:
    tree = Directory.open(str(root))
    tree.close()
    tree.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        tree.place(b"file", b"x", mode=0o644)


def test_a_root_that_is_no_directory_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        Directory.open(str(tmp_path / "file"))


# Symlinks and removal.


def test_a_symlink_is_placed_and_replaces(root: Path, tree: Directory) -> None:
    (root / "present").write_bytes(b"old")
    for path in (b"a/link", b"present"):
        made = tree.symlink(path, b"../\xff target")
        assert os.readlink(os.fsencode(root) + b"/" + path) == b"../\xff target"
        assert made == os.lstat(os.fsencode(root) + b"/" + path)
    assert files_below(root) == {"a/link", "present"}


@pytest.mark.parametrize(
    "path", [b".gitmodules", b"a/.GITMODULES", b".gitmodules .", b"gitmod~1", b"GI7EBA~1"]
)
def test_a_symlink_is_never_gitmodules(root: Path, tree: Directory, path: bytes) -> None:
    with pytest.raises(UnsafePathError, match="gitmodules"):
        tree.symlink(path, b"target")
    tree.place(path, b"an ordinary file may", mode=0o644)
    assert len(files_below(root)) == 1


def test_remove_takes_empty_directories_along(root: Path, tree: Directory) -> None:
    for path in (b"a/b/c/file", b"a/other"):
        tree.place(path, b"x", mode=0o644)
    assert tree.remove(b"a/b/c/file") is True
    assert os.listdir(root / "a") == ["other"]
    assert tree.remove(b"a/other") is True
    assert os.listdir(root) == []
    assert root.is_dir()


def test_remove_can_leave_the_directories(root: Path, tree: Directory) -> None:
    tree.place(b"a/file", b"x", mode=0o644)
    assert tree.remove(b"a/file", prune_empty_parents=False) is True
    assert os.listdir(root / "a") == []


def test_remove_of_a_symlink_leaves_what_it_names(
    root: Path, tree: Directory, outside: Path
) -> None:
    (root / "link").symlink_to(outside / "file")
    assert tree.remove(b"link") is True
    assert (outside / "file").read_bytes() == b"theirs"


def test_remove_of_nothing_says_so(root: Path, tree: Directory) -> None:
    (root / "a").mkdir()
    assert tree.remove(b"a/none") is False
    assert tree.remove(b"none/none") is False
    assert os.listdir(root) == ["a"]
