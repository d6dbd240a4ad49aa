"""Adds data files in bulk: what `git add` would make of them, by our own processes.

Of all that `git add` would stage this stages what becomes a pointer, in one go:
objects, one pack of pointers, index entries and their stat data. Whoever calls it runs
`git add` after that, which finds those done and does the rest. So a file that is
left out here, for whatever reason, takes longer and is not lost.
"""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from git_datareg import gitindex, processes
from git_datareg.digest import Digest
from git_datareg.errors import PointerError
from git_datareg.filtering import is_data
from git_datareg.git import config, index, objects, process
from git_datareg.git.repository import Repository
from git_datareg.gitindex import EntryStat
from git_datareg.metafile import SUFFIX, is_imported
from git_datareg.objects import ObjectDirectory, Unless
from git_datareg.pointer import MAX_LENGTH, Pointer

#: A file that was written to so shortly before may be written to again without a change of
#: its mtime, which moves in ticks; nanoseconds.
_SETTLED_NS = 20_000_000
#: So many files of this second are worth waiting for its end: Git would read them all again.
_WORTH_WAITING = 500
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


#: Of a file that was stored: its number, its digest, and what `_Added` has.
_Told = tuple[int, str, tuple[int, ...], bool, bool]


class Selection(NamedTuple):
    """What is to be added, as `git add` is told."""

    #: Pathspecs, from the current directory.
    pathspecs: Sequence[str]
    #: Whether files that are ignored count, too (`--force`).
    with_ignored: bool = False
    #: Whether only files count that Git has already (`--update`).
    only_tracked: bool = False


class _Added(NamedTuple):
    """A file that was stored: its path, its pointer, and its stat data while it was read."""

    path: bytes
    pointer: Pointer
    was: EntryStat
    is_executable: bool
    #: Whether its stat data tells it from what may be written to it later.
    is_settled: bool

    @classmethod
    def of(
        cls, path: bytes, digest: str, was: Sequence[int], is_executable: bool, is_settled: bool
    ) -> _Added:
        """As it is told from a child."""
        known = EntryStat("", *was)
        return cls(path, Pointer(Digest(digest), known.size), known, is_executable, is_settled)


def add(
    repository: Repository,
    own: ObjectDirectory,
    selection: Selection,
    threshold: int,
    unless: Unless,
) -> int:
    """Stage the data files that were selected; returns how many.

    Their objects are put into `own`, `unless` they need not be.

    Files of fewer bytes than `threshold`, and all that is not sure to become a pointer
    as it is, are left to `git add`: files of imports, pointers, what is in another
    encoding. So is everything where `git add` would refuse, or where Git's index is not
    all that there is (sparse checkouts). Raises OSError, with the file's name,
    when objects can't be stored, and GitError.
    """
    if config.is_sparse(repository):
        return 0
    paths = _ours(repository, _selected(selection))
    if not paths:
        return 0
    top = os.fsencode(repository.top)
    added = _stored(paths, lambda part: _each_stored(top, part, own, max(threshold, 1), unless))
    written = objects.write_blobs(repository, [each.pointer.encode() for each in added])
    ids = {each.path: id for each, id in zip(added, written, strict=True)}
    modes = _modes(repository, added)
    index.stage(repository, [(modes[path], id, path) for path, id in ids.items()])
    _patch(repository, added, ids)
    return len(added)


def _selected(selection: Selection) -> list[bytes]:
    """The paths of files that Git does not know, or that have other stat data than it knows.

    None of them when a pathspec names nothing: then `git add` does nothing at all.
    """
    ignoring = () if selection.with_ignored else ("--exclude-standard",)
    others = () if selection.only_tracked else ("--others", *ignoring)
    end = ("--", *selection.pathspecs)
    listing = ("ls-files", "-z", "--full-name", *others)
    code, _, _ = process.run_unchecked([*listing, "--cached", "--error-unmatch", *end])
    if code != 0:
        return []
    changed = ("diff-files", "-z", "--name-only", "--diff-filter=M", "--ignore-submodules", *end)
    output = process.run(changed) + (process.run([*listing, *end]) if others else b"")
    return list(dict.fromkeys(filter(None, output.split(b"\0"))))


def _ours(repository: Repository, paths: Sequence[bytes]) -> list[bytes]:
    """Those of the paths that Git would give our filter, and that are no import's."""
    filtered = index.filtered(repository, paths)
    encoded = {path for path, _ in index.attributes(repository, paths, "working-tree-encoding")}
    metafiles = process.run(
        ["ls-files", "-z", "--cached", "--others", "--full-name", "--", f":(top,glob)**/*{SUFFIX}"]
    )
    imports = {path.removesuffix(SUFFIX.encode()) for path in metafiles.split(b"\0")}
    return [
        path
        for path in paths
        if path in filtered
        and path not in encoded
        and is_data(path)
        and not is_imported(path, imports)
    ]


def _stored(
    paths: Sequence[bytes], store: Callable[[Sequence[bytes]], Iterator[_Told]]
) -> list[_Added]:
    """Make objects of the files, of many in several processes; what was stored."""
    parts = processes.shares(paths)

    def work(part: Sequence[bytes]) -> bytes:
        return json.dumps(list(store(part))).encode()

    told = processes.told_by_children(parts, work) if len(parts) > 1 else [None]
    found: list[_Added] = []
    for part, text in zip(parts, told, strict=True):
        # What a child could not do shows its fault here.
        results = json.loads(text) if text else store(part)
        found += (_Added.of(part[number], *rest) for number, *rest in results)
    return found


def _each_stored(
    top: bytes, paths: Sequence[bytes], own: ObjectDirectory, threshold: int, unless: Unless
) -> Iterator[_Told]:
    """What to tell of each file that was stored."""
    for number, path in enumerate(paths):
        try:
            descriptor = os.open(os.path.join(top, path), _READ)
        except OSError:
            # git add says it in its own words.
            continue
        try:
            before = os.fstat(descriptor)
            now = time.time_ns()
            if not stat.S_ISREG(before.st_mode) or before.st_size < threshold:
                continue
            if before.st_size <= MAX_LENGTH and _is_pointer(os.pread(descriptor, MAX_LENGTH, 0)):
                continue
            pointer = own.add(descriptor, before.st_size, unless)
            known = EntryStat.from_stat("", before)
            if EntryStat.from_stat("", os.fstat(descriptor)) != known or pointer.size != known.size:
                # Somebody is writing to it. The object does no harm.
                continue
            is_executable = bool(before.st_mode & 0o100)
            is_settled = now - max(before.st_mtime_ns, before.st_ctime_ns) > _SETTLED_NS
            yield number, pointer.digest.hex, known[1:], is_executable, is_settled
        finally:
            os.close(descriptor)


def _is_pointer(data: bytes) -> bool:
    try:
        return Pointer.parse(data) is not None
    except PointerError:
        # A later git-datareg's: git add refuses it.
        return True


def _modes(repository: Repository, added: Sequence[_Added]) -> Mapping[bytes, str]:
    """The modes of the entries; where the file system keeps none, those that Git has."""
    if config.keeps_modes(repository):
        return {each.path: "100755" if each.is_executable else "100644" for each in added}
    known = {each.path: each.mode for each in index.entries(repository) if each.is_file}
    return {each.path: known.get(each.path, "100644") for each in added}


def _patch(repository: Repository, added: Sequence[_Added], ids: Mapping[bytes, str]) -> None:
    """Give the entries the stat data of their files, so that Git need not read them again.

    Those that were written to since, or just before, are left for Git to look at.
    """
    settled = [each for each in added if each.is_settled]
    now = time.time()
    racy = sum(each.was.mtime_ns // 10**9 >= int(now) for each in settled)
    if racy >= _WORTH_WAITING:
        # Git takes what is as new as its index for changed (technical/racy-git).
        time.sleep(int(now) + 1 - now)
    updates = {each.path: each.was._replace(oid=ids[each.path]) for each in settled}
    gitindex.patch_file(repository.places.index_file, updates)
