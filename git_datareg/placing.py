"""Puts data files in the work tree, and has Git's index know them.

Git waits for its filter to end, with index and work tree written and no lock
held (docs/design.md, "Deferred checkout"). Files that are placed here get an
mtime older than the index's, and the stat data in their entries: so
`git status` neither reads them again nor asks the filter.

What is to be placed is also noted on disk, for the hooks, which run before
that, and for a filter that does not live to the end.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import NamedTuple

from git_datareg import gitindex, processes, signals
from git_datareg.errors import (
    DataregError,
    ObjectNotFoundError,
    RefusedError,
    StorageUnavailableError,
    UnsafePathError,
)
from git_datareg.files import write_all, write_atomically
from git_datareg.filtering import Smudged
from git_datareg.git import index
from git_datareg.git.repository import Repository
from git_datareg.gitindex import EntryStat
from git_datareg.objects import is_object
from git_datareg.pointer import Pointer
from git_datareg.worktree import Directory, check_relative_path

#: Older by more than one tick of the coarsest clock in use (FAT: two seconds).
_OLDER_NS = 2_000_000_000
#: Seconds in which another git is through with the index.
LOCK_SECONDS = 5.0
#: Begins a note: no path holds a NUL, so it is found again behind a note cut short.
_NOTE = b"\0\0"
#: More paths are not handed to git one by one: a command line has its limits.
_MANY = 100


class Outcome(NamedTuple):
    """What came of placing files."""

    placed: int
    #: Paths whose file is no longer what Git wrote; left alone.
    changed: list[bytes]
    #: What went wrong, by path.
    failures: list[tuple[bytes, DataregError]]
    #: Placed paths whose index entries could not be brought up to date.
    stale: frozenset[bytes]


def place(
    work_tree: str,
    index_file: str,
    files: Iterable[Smudged],
    find: Callable[[Pointer], str | None],
    *,
    lock_seconds: float = LOCK_SECONDS,
) -> Outcome:
    """Give each of the files its content and its index entry its stat data.

    A file is replaced only while it holds exactly what Git wrote there. Each
    is whole or untouched at any moment; one that fails does not keep the
    others back. Waits for the index at most `lock_seconds`.
    """
    mtime_ns = safe_mtime(index_file)
    changed: list[bytes] = []
    failures: list[tuple[bytes, DataregError]] = []
    files = list(files)
    updates = _touched_by_children(work_tree, files, mtime_ns)
    with Directory.open(work_tree) as root:
        for file in files:
            if file.path in updates:
                continue
            try:
                result = _place_one(root, file, find, mtime_ns)
            except DataregError as error:
                failures.append((file.path, error))
            except OSError as error:
                failures.append((file.path, _unwritable(file.path, error)))
            else:
                if result is None:
                    changed.append(file.path)
                else:
                    updates[file.path] = EntryStat.from_stat(file.blob, result)
    stale = _patch(index_file, updates, lock_seconds)
    return Outcome(len(updates), changed, failures, stale)


def _touched_by_children(
    work_tree: str, files: Sequence[Smudged], mtime_ns: int
) -> dict[bytes, EntryStat]:
    """What the index is to know of complete files, where several processes touched them."""
    parts = processes.shares([file for file in files if not file.deferred])
    if len(parts) < 2:
        return {}

    def work(part: Sequence[Smudged]) -> None:
        with Directory.open(work_tree) as root:
            for file in part:
                _touch(root, file, mtime_ns)

    top = os.path.join(os.fsencode(work_tree), b"")
    found: dict[bytes, EntryStat] = {}
    for part, is_done in zip(parts, processes.in_children(parts, work), strict=True):
        for file in part if is_done else ():
            with suppress(OSError):
                now = os.lstat(top + file.path)
                # Nothing but a child of ours, which has seen the content, gave it this one.
                if stat.S_ISREG(now.st_mode) and now.st_mtime_ns == mtime_ns:
                    found[file.path] = EntryStat.from_stat(file.blob, now)
    return found


def _touch(root: Directory, file: Smudged, mtime_ns: int) -> os.stat_result | None:
    """Give a complete file its mtime; None when it is not as Git wrote it."""
    size = file.content.size
    try:
        return root.touch(file.path, size, lambda fd: is_object(fd, file.content), mtime_ns)
    except (OSError, UnsafePathError):
        # The file is complete; all that is lost is that git reads it once more.
        return None


def _place_one(
    root: Directory, file: Smudged, find: Callable[[Pointer], str | None], mtime_ns: int
) -> os.stat_result | None:
    if not file.deferred:
        return _touch(root, file, mtime_ns)
    mode = _mode(root, file.path)
    if mode is None:
        return None
    path = find(file.content)
    if path is None:
        raise ObjectNotFoundError(
            f"object {file.content.digest} is not on this machine any more", "git datareg pull"
        )
    text = file.content.encode()
    with open(path, "rb") as source:
        return root.place(
            file.path,
            source.fileno(),
            mode=mode,
            mtime_ns=mtime_ns,
            expect=lambda fd: os.pread(fd, len(text) + 1, 0) == text,
        )


def _mode(root: Directory, path: bytes) -> int | None:
    """The permissions of the file that git wrote at `path`; None when it is not there."""
    check_relative_path(path)
    try:
        return root.mode(path)
    except (NotADirectoryError, UnsafePathError):
        # Where git had made a directory there is now a file or a symlink: another
        # commit of a rebase put it there, or the user did.
        return None


def _patch(
    index_file: str, updates: dict[bytes, EntryStat], lock_seconds: float
) -> frozenset[bytes]:
    if not updates:
        return frozenset()
    try:
        # A lock left behind would stop every git after us.
        with signals.held():
            return gitindex.patch_file(index_file, updates, timeout=lock_seconds)
    except OSError:
        return frozenset(updates)


def index_lock(index_file: str) -> tuple[int, int | None] | None:
    """Which lock on the index there is now; None without one.

    File systems give a number again at once, so a lock counts as the same
    only as long as the index is.
    """
    try:
        lock = os.stat(index_file + ".lock").st_ino
    except OSError:
        return None
    try:
        return lock, os.stat(index_file).st_ctime_ns
    except OSError:
        return lock, None


def note(git_dir: str, file: Smudged) -> None:
    """Remember on disk that a file is to follow; several processes may do so at once."""
    path = _notes(git_dir)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    record = _NOTE + b"\0".join((file.path, file.blob.encode(), file.content.encode()))
    with _locked(path) as notes:
        write_all(notes, record)


def noted(git_dir: str) -> list[Smudged]:
    """The files that were noted and not forgotten, each once, as last noted."""
    try:
        with open(_notes(git_dir), "rb") as notes:
            found = [_parse(record) for record in notes.read().split(_NOTE)]
    except FileNotFoundError:
        return []
    return list({file.path: file for file in found if file is not None}.values())


def forget(git_dir: str, paths: Collection[bytes] | None = None) -> None:
    """Forget what is noted of `paths`, or everything: it is in place or not Git's any more."""
    path = _notes(git_dir)
    if not os.path.exists(path):
        return
    with _locked(path) as notes:
        left = [] if paths is None else _records_without(notes, paths)
        if left:
            write_atomically(path, b"".join(_NOTE + record for record in left), sync=False)
        else:
            with suppress(FileNotFoundError):
                os.unlink(path)


def _records_without(notes: int, paths: Collection[bytes]) -> list[bytes]:
    with open(notes, "rb", closefd=False) as file:
        file.seek(0)
        records = file.read().split(_NOTE)
    gone = frozenset(paths)
    kept = ((record, _parse(record)) for record in records)
    return [record for record, file in kept if file is not None and file.path not in gone]


def _parse(record: bytes) -> Smudged | None:
    """What a note says; None for one that a killed writer, or a full disk, cut short."""
    # What was cut short may end in a NUL, which then stands before the next note.
    fields = record.strip(b"\0").split(b"\0")
    if len(fields) != 3:
        return None
    path, blob, text = fields
    try:
        pointer = Pointer.parse(text)
    except DataregError:
        # A later git-datareg's; it will see to it.
        return None
    is_whole = pointer is not None and path and len(blob) in (40, 64) and blob.isalnum()
    return Smudged(path, blob.decode(), pointer, deferred=True) if is_whole and pointer else None


@contextmanager
def _locked(path: str) -> Iterator[int]:
    """The notes, open for appending; other processes that do this wait."""
    import fcntl

    while True:
        notes = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            # A file system without locks: two gits at once in one work tree are rare.
            with suppress(OSError):
                fcntl.flock(notes, fcntl.LOCK_EX)
            if _is_at(notes, path):
                yield notes
                return
        finally:
            os.close(notes)


def _is_at(descriptor: int, path: str) -> bool:
    """Whether the file is still there under its name: the last owner may have replaced it."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _notes(git_dir: str) -> str:
    return os.path.join(git_dir, "datareg", "pending")


def safe_mtime(index_file: str) -> int:
    """An mtime (ns) that is older than the index's, which may keep the one it has."""
    try:
        index_ns = os.stat(index_file).st_mtime_ns
    except FileNotFoundError:
        index_ns = time.time_ns()
    return min(index_ns, time.time_ns()) - _OLDER_NS


def _unwritable(path: bytes, error: OSError) -> DataregError:
    message = f"can't write {os.fsdecode(path)}: {error.strerror or error}"
    if isinstance(error, PermissionError):
        return RefusedError(message)
    return StorageUnavailableError(message)


def forget_stat(repository: Repository, files: Iterable[Smudged]) -> None:
    """Empty the stat data of entries that could not be patched (a split index, say).

    Git compares their content at its next look. With stat data of the pointer
    it would call the file changed without a look. Entries that are not the
    file's pointer are left: there the file is changed indeed. Raises GitError
    when git can't write the index.
    """
    blobs = {file.path: file.blob for file in files}
    entries = index.entries(repository, list(blobs) if len(blobs) <= _MANY else ())
    index.stage(
        repository,
        [
            (entry.mode, entry.id, entry.path)
            for entry in entries
            if entry.stage == 0 and blobs.get(entry.path) == entry.id
        ],
    )
