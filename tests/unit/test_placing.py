"""git_datareg.placing: files into the work tree, stat data into the index, notes on disk."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from git_datareg import placing, processes
from git_datareg.digest import Digest
from git_datareg.errors import GitError, ObjectNotFoundError, RefusedError, UnsafePathError
from git_datareg.filtering import Smudged, fingerprint
from git_datareg.git import repository
from git_datareg.pointer import Pointer
from tests.support.gitrun import Git

CONTENT = b"content of a data file"
TEXT = fingerprint(CONTENT).encode()


@pytest.fixture
def git(tmp_path: Path) -> Git:
    return Git(tmp_path / "work").init()


@pytest.fixture
def find(tmp_path: Path) -> Callable[[Pointer], str | None]:
    """One object is at hand."""
    object_file = tmp_path / "object"
    object_file.write_bytes(CONTENT)

    def find(pointer: Pointer) -> str | None:
        return str(object_file) if pointer == fingerprint(CONTENT) else None

    return find


def smudged(git: Git, path: str, content: bytes = CONTENT, *, deferred: bool = True) -> Smudged:
    """A file as git leaves it: written, and in the index."""
    held = fingerprint(content).encode() if deferred else content
    git.write(path, held)
    git.run("add", "--", path)
    blob = git.out("rev-parse", f":{path}")
    return Smudged(os.fsencode(path), blob, fingerprint(content), deferred)


def place(git: Git, files: list[Smudged], find: Callable[[Pointer], str | None]) -> placing.Outcome:
    index = git.path / ".git/index"
    return placing.place(str(git.path), str(index), files, find, lock_seconds=0)


def known_size(git: Git, path: str) -> str:
    return git.out("ls-files", "--debug", "--", path).split("size: ")[1].split()[0]


def test_a_deferred_file_gets_its_content(git: Git, find: Callable[[Pointer], str | None]) -> None:
    file = smudged(git, "sub/a.dat")
    (git.path / "sub/a.dat").chmod(0o755)
    assert place(git, [file], find) == (1, [], [], frozenset())
    written = git.path / "sub/a.dat"
    assert written.read_bytes() == CONTENT
    assert written.stat().st_mode & 0o777 == 0o755
    assert written.stat().st_mtime_ns < (git.path / ".git/index").stat().st_mtime_ns - 10**9
    assert known_size(git, "sub/a.dat") == str(len(CONTENT))


def test_a_whole_file_gets_only_its_times(git: Git, find: Callable[[Pointer], str | None]) -> None:
    file = smudged(git, "a.dat", deferred=False)
    os.utime(git.path / "a.dat")
    inode = (git.path / "a.dat").stat().st_ino
    assert place(git, [file], find) == (1, [], [], frozenset())
    assert (git.path / "a.dat").stat().st_ino == inode
    assert git.run("diff-files").stdout == ""


@pytest.mark.parametrize("lost", ["no child", "one child", "both children"])
def test_many_whole_files_are_seen_to_by_children(
    git: Git,
    find: Callable[[Pointer], str | None],
    monkeypatch: pytest.MonkeyPatch,
    lost: str,
) -> None:
    files = [smudged(git, f"{n}/a.dat", b"whole %d" % n, deferred=False) for n in range(8)]
    (git.path / "2/a.dat").write_bytes(b"mine  2")
    (git.path / "3/a.dat").unlink()
    monkeypatch.setattr(processes, "shares", lambda items: [items[:4], items[4:]])
    started: list[int] = []
    fork = os.fork

    def fork_and_lose() -> int:
        started.append(fork())
        if not started[-1] and lost != "no child" and (lost != "one child" or len(started) == 2):
            os._exit(1)
        return started[-1]

    monkeypatch.setattr(os, "fork", fork_and_lose)
    assert place(git, files, find) == (6, [b"2/a.dat", b"3/a.dat"], [], frozenset())
    assert len(started) == 2
    assert git.run("diff-files", "--name-only").stdout == "2/a.dat\n3/a.dat\n"
    for n in (0, 1, 4, 5, 6, 7):
        there = (git.path / f"{n}/a.dat").stat().st_mtime_ns
        assert there < (git.path / ".git/index").stat().st_mtime_ns - 10**9


def become_a_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("deferred", [True, False])
@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.write_bytes(TEXT + b"x"),
        lambda path: path.write_bytes(b""),
        lambda path: path.unlink(),
        lambda path: (path.unlink(), path.mkdir()),
        lambda path: (path.unlink(), path.symlink_to("elsewhere")),
        lambda path: become_a_fifo(path),
        lambda path: (path.unlink(), path.parent.rmdir()),
        lambda path: (path.unlink(), path.parent.rmdir(), path.parent.write_bytes(b"file")),
        lambda path: (path.parent.rename(path.parent.with_name("b")), path.parent.symlink_to("b")),
    ],
    ids=["longer", "empty", "gone", "directory", "symlink", "fifo", "no parent", "file", "link"],
)
def test_what_is_not_gits_any_more_is_left_alone(
    git: Git,
    find: Callable[[Pointer], str | None],
    change: Callable[[Path], object],
    deferred: bool,
) -> None:
    file = smudged(git, "sub/a.dat", deferred=deferred)
    other = smudged(git, "other.dat")
    change(git.path / "sub/a.dat")
    before = sorted(str(path) for path in git.path.rglob("*") if ".git" not in path.parts)
    assert place(git, [file, other], find) == (1, [b"sub/a.dat"], [], frozenset())
    assert (git.path / "other.dat").read_bytes() == CONTENT
    after = sorted(str(path) for path in git.path.rglob("*") if ".git" not in path.parts)
    assert after == before


def test_a_failure_does_not_keep_the_others_back(
    git: Git, find: Callable[[Pointer], str | None]
) -> None:
    files = [smudged(git, "a.dat", b"nobody has this"), smudged(git, "b.dat")]
    outcome = place(git, files, find)
    [(path, error)] = outcome.failures
    assert path == b"a.dat"
    assert isinstance(error, ObjectNotFoundError)
    assert error.hints == ("git datareg pull",)
    assert (git.path / "b.dat").read_bytes() == CONTENT


def test_a_path_that_leads_out_of_the_work_tree_is_refused(
    git: Git, find: Callable[[Pointer], str | None]
) -> None:
    outside = git.path.parent / "a.dat"
    outside.write_bytes(TEXT)
    for path in (b"../a.dat", b".git/a.dat", os.fsencode(outside)):
        file = Smudged(path, "0" * 40, fingerprint(CONTENT), deferred=True)
        [(named, error)] = place(git, [file], find).failures
        assert named == path
        assert isinstance(error, UnsafePathError)
    assert outside.read_bytes() == TEXT


def test_an_object_that_can_not_be_read_is_a_failure(git: Git) -> None:
    file = smudged(git, "a.dat")
    outcome = place(git, [file], lambda pointer: str(git.path / "missing"))
    [(_, error)] = outcome.failures
    assert error.message == "can't write a.dat: No such file or directory"
    assert (git.path / "a.dat").read_bytes() == TEXT


def test_a_permission_that_lacks_is_a_refusal(git: Git, monkeypatch: pytest.MonkeyPatch) -> None:
    def find(pointer: Pointer) -> str:
        raise PermissionError(13, "Permission denied")

    [(_, error)] = place(git, [smudged(git, "a.dat")], find).failures
    assert isinstance(error, RefusedError)


def test_an_entry_with_another_blob_is_stale(
    git: Git, find: Callable[[Pointer], str | None]
) -> None:
    file = smudged(git, "a.dat")._replace(blob="1" * 40)
    outcome = place(git, [file], find)
    assert outcome.placed == 1
    assert outcome.stale == {b"a.dat"}
    before = git.out("ls-files", "--debug")
    placing.forget_stat(repository.find(str(git.path)), [file])
    assert git.out("ls-files", "--debug") == before


@pytest.mark.parametrize("count", [1, 150])
def test_stale_entries_can_be_made_to_be_compared(
    git: Git, find: Callable[[Pointer], str | None], count: int
) -> None:
    files = [smudged(git, f"{number}.dat") for number in range(count)]
    bystander = smudged(git, "bystander.dat")
    git.run("update-index", "--split-index")
    outcome = place(git, files, find)
    assert outcome.stale == {file.path for file in files}
    placing.forget_stat(repository.find(str(git.path)), files)
    assert known_size(git, "0.dat") == "0"
    assert known_size(git, os.fsdecode(bystander.path)) == str(len(TEXT))


def test_a_held_lock_leaves_entries_stale_and_the_lock_alone(
    git: Git, find: Callable[[Pointer], str | None]
) -> None:
    file = smudged(git, "a.dat")
    lock = git.path / ".git/index.lock"
    lock.touch()
    assert place(git, [file], find).stale == {b"a.dat"}
    assert (git.path / "a.dat").read_bytes() == CONTENT
    with pytest.raises(GitError):
        placing.forget_stat(repository.find(str(git.path)), [file])
    assert lock.exists()


def test_an_index_that_can_not_be_written_leaves_entries_stale(
    git: Git, find: Callable[[Pointer], str | None]
) -> None:
    file = smudged(git, "a.dat")
    (git.path / ".git/index").unlink()
    (git.path / ".git/index").mkdir()
    assert place(git, [file], find).stale == {b"a.dat"}


def test_a_lock_is_told_from_the_next_one(git: Git) -> None:
    index = str(git.path / ".git/index")
    assert placing.index_lock(index) is None
    lock = Path(index + ".lock")
    lock.touch()
    first = placing.index_lock(index)
    assert first is not None
    assert placing.index_lock(index) == first
    (git.path / "another").touch()
    (git.path / "another").rename(lock)
    assert placing.index_lock(index) not in (None, first)


def test_times_are_older_than_the_index(git: Git, tmp_path: Path) -> None:
    index = tmp_path / "index"
    index.touch()
    os.utime(index, (1000, 1000))
    assert placing.safe_mtime(str(index)) == 998 * 10**9
    index.unlink()
    assert placing.safe_mtime(str(index)) > 10**18


# Notes


def file(number: int, path: bytes | None = None) -> Smudged:
    blob = f"{number:040x}"
    pointer = Pointer(Digest(f"{number:064x}"), number)
    return Smudged(path or b"%d.dat" % number, blob, pointer, deferred=True)


NOTES = "datareg/pending"


def test_notes_are_kept_until_forgotten(tmp_path: Path) -> None:
    assert placing.noted(str(tmp_path)) == []
    placing.forget(str(tmp_path))
    for number in range(3):
        placing.note(str(tmp_path), file(number))
    assert placing.noted(str(tmp_path)) == [file(0), file(1), file(2)]
    placing.forget(str(tmp_path), {b"1.dat", b"unknown"})
    assert placing.noted(str(tmp_path)) == [file(0), file(2)]
    placing.forget(str(tmp_path), set())
    assert placing.noted(str(tmp_path)) == [file(0), file(2)]
    placing.forget(str(tmp_path), {b"0.dat", b"2.dat"})
    assert not (tmp_path / NOTES).exists()


def test_everything_can_be_forgotten(tmp_path: Path) -> None:
    placing.note(str(tmp_path), file(1))
    placing.forget(str(tmp_path))
    assert not (tmp_path / NOTES).exists()


def test_the_last_note_of_a_path_counts(tmp_path: Path) -> None:
    for number in (1, 2):
        placing.note(str(tmp_path), file(number, b"same"))
    assert placing.noted(str(tmp_path)) == [file(2, b"same")]
    placing.forget(str(tmp_path), {b"same"})
    assert not (tmp_path / NOTES).exists()


def test_any_path_can_be_noted(tmp_path: Path) -> None:
    paths = [b"line\nbreak", b"\xff\xfe", b" ", b"a" * 4000, b"git-datareg pointer 1\n"]
    for number, path in enumerate(paths):
        placing.note(str(tmp_path), file(number, path))
    assert [each.path for each in placing.noted(str(tmp_path))] == paths


def test_a_note_that_was_cut_short_hides_no_other(tmp_path: Path) -> None:
    placing.note(str(tmp_path), file(1))
    one = (tmp_path / NOTES).read_bytes()
    placing.note(str(tmp_path), file(2))
    two = (tmp_path / NOTES).read_bytes()[len(one) :]
    for end in range(len(two)):
        (tmp_path / NOTES).write_bytes(one + two[:end])
        placing.note(str(tmp_path), file(3))
        assert placing.noted(str(tmp_path)) == [file(1), file(3)], end
        placing.forget(str(tmp_path), {b"1.dat"})
        assert placing.noted(str(tmp_path)) == [file(3)], end


@pytest.mark.parametrize("junk", [b"", b"\0\0\0\0\0", b"text", b"\0\0path\0blob\0text"])
def test_what_is_no_note_is_passed_over(tmp_path: Path, junk: bytes) -> None:
    (tmp_path / "datareg").mkdir()
    (tmp_path / NOTES).write_bytes(junk)
    assert placing.noted(str(tmp_path)) == []
    placing.note(str(tmp_path), file(1))
    assert placing.noted(str(tmp_path)) == [file(1)]
    placing.forget(str(tmp_path), {b"1.dat"})
    assert not (tmp_path / NOTES).exists()


def test_a_note_of_a_later_version_is_left_to_it(tmp_path: Path) -> None:
    placing.note(str(tmp_path), file(1))
    text = (tmp_path / NOTES).read_bytes()
    (tmp_path / NOTES).write_bytes(text.replace(b"pointer 1", b"pointer 9"))
    assert placing.noted(str(tmp_path)) == []


def test_processes_note_and_forget_at_the_same_time(tmp_path: Path) -> None:
    code = """
import sys
from git_datareg import placing, processes
from git_datareg.digest import Digest
from git_datareg.filtering import Smudged
from git_datareg.pointer import Pointer
directory, name = sys.argv[1:]
for number in range(100):
    path = f"{name}-{number}".encode()
    placing.note(directory, Smudged(path, "0" * 40, Pointer(Digest("0" * 64), 1), True))
    if number % 10:
        placing.forget(directory, {path})
"""
    running = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path), name]) for name in "abc"
    ]
    assert [process.wait(60) for process in running] == [0, 0, 0]
    left = {each.path for each in placing.noted(str(tmp_path))}
    assert left == {b"%c-%d" % (name, at) for name in b"abc" for at in range(0, 100, 10)}
