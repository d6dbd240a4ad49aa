"""Puts data files in the work tree, and has Git's index know them.

Git waits for its filter to end, with index and work tree written and no lock
held (docs/design.md, "Deferred checkout"). Files that are placed here get an
mtime older than the index's, and the stat data in their entries: so
`git status` neither reads them again nor asks the filter.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from git_datareg import gitindex
from git_datareg.errors import (
    DataregError,
    ObjectNotFoundError,
    RefusedError,
    StorageUnavailableError,
)
from git_datareg.filtering import Smudged
from git_datareg.git import index
from git_datareg.git.repository import Repository
from git_datareg.gitindex import EntryStat
from git_datareg.objects import is_object
from git_datareg.pointer import Pointer
from git_datareg.worktree import Directory

#: Older by more than one tick of the coarsest clock in use (FAT: two seconds).
_OLDER_NS = 2_000_000_000


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
) -> Outcome:
    """Give each of the files its content and its index entry its stat data.

    A file is replaced only while it holds exactly what Git wrote there. Each
    is whole or untouched at any moment; one that fails does not keep the
    others back.
    """
    mtime_ns = _safe_mtime(index_file)
    updates: dict[bytes, EntryStat] = {}
    changed: list[bytes] = []
    failures: list[tuple[bytes, DataregError]] = []
    with Directory.open(work_tree) as root:
        for file in files:
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
    stale = gitindex.patch_file(index_file, updates) if updates else frozenset()
    return Outcome(len(updates), changed, failures, stale)


def _place_one(
    root: Directory, file: Smudged, find: Callable[[Pointer], str | None], mtime_ns: int
) -> os.stat_result | None:
    if not file.deferred:
        return root.touch(file.path, lambda fd: is_object(fd, file.content), mtime_ns)
    mode = root.mode(file.path)
    if mode is None:
        return None
    path = find(file.content)
    if path is None:
        raise ObjectNotFoundError(f"object {file.content.digest} is not on this machine any more")
    text = file.content.encode()
    with open(path, "rb") as source:
        return root.place(
            file.path,
            source.fileno(),
            mode=mode,
            mtime_ns=mtime_ns,
            expect=lambda fd: os.pread(fd, len(text) + 1, 0) == text,
        )


def note(git_dir: str, file: Smudged) -> None:
    """Remember on disk that a file is to follow, for hooks and for a git that is killed."""
    path = _notes(git_dir)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "ab") as notes:
        notes.write(b"%s\0%s\0%s\0" % (file.path, file.blob.encode(), file.content.encode()))


def noted(git_dir: str) -> list[Smudged]:
    """The files that were noted and not forgotten, each once, as last noted."""
    try:
        with open(_notes(git_dir), "rb") as notes:
            fields = notes.read().split(b"\0")
    except FileNotFoundError:
        return []
    files = {}
    # A writer that was killed may have left a record cut short.
    for path, blob, text in zip(fields[0::3], fields[1::3], fields[2::3], strict=False):
        pointer = Pointer.parse(text)
        if pointer is not None:
            files[path] = Smudged(path, blob.decode("ascii", "replace"), pointer, deferred=True)
    return list(files.values())


def forget(git_dir: str) -> None:
    """Forget the notes: what they named is in place."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(_notes(git_dir))


def _notes(git_dir: str) -> str:
    return os.path.join(git_dir, "datareg", "pending")


def _safe_mtime(index_file: str) -> int:
    """An mtime that is older than the index's, which may keep the one it has."""
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
    file's pointer are left: there the file is changed indeed.
    """
    blobs = {file.path: file.blob for file in files}
    entries = index.entries(repository, list(blobs))
    index.stage(
        repository,
        [
            (entry.mode, entry.id, entry.path)
            for entry in entries
            if entry.stage == 0 and blobs.get(entry.path) == entry.id
        ],
    )
