"""Pruning: what this machine holds of objects, and can have again or does not need, is deleted.

A repository's own objects go when a storage has been asked and has them, and no commit that
is not pushed needs them; those that nothing in Git names go when they are old. The cache
can be filled again, so age and size alone decide there. docs/design.md, "Cleaning up".
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from typing import NamedTuple

from git_datareg import lookups, needs, pushing
from git_datareg.digest import Digest
from git_datareg.files import make_directories, move_new, temporary_name
from git_datareg.git import bare, objects
from git_datareg.layout import ObjectStorage, is_marked
from git_datareg.notes import own_part
from git_datareg.objects import PREFIX, ObjectDirectory, Stored, last_used, stored
from git_datareg.pointer import MAX_LENGTH
from git_datareg.projects import Project
from git_datareg.storage import Info
from git_datareg.transfer import Advance

#: Seconds for which what nothing in Git names stays, as git-gc(1) keeps unreachable objects.
_ORPHANED = 14 * 24 * 3600.0
#: A mirror is read without its lock: what was used within an hour may be in use.
_IN_USE = 3600.0


class Policy(NamedTuple):
    """What is to go."""

    #: Seconds for which what was not used stays.
    older_than: float
    #: Bytes that the cache may have, oldest first; None for any number.
    max_size: int | None


def find(project: Project | None, cache: ObjectDirectory, policy: Policy, jobs: int) -> list[Info]:
    """What may be deleted on this machine, by paths; of a project's own objects, too.

    Asks storages for what would be deleted here. Raises PointerError and GitError when it
    can't be told what is needed.
    """
    now = time.time()
    kept = _unpushed(project) if project is not None else frozenset[Digest]()
    found = _own(project, kept, now, policy, jobs) if project is not None else []
    with suppress(FileNotFoundError):
        found += _cached(cache, kept, now, policy)
        found += _mirrors(own_part(cache.root), now - max(policy.older_than, _IN_USE))
    return found


def remove(found: Iterable[Info], advance: Advance) -> Iterator[Info]:
    """Delete these; yields each that is gone. What was used meanwhile stays.

    Raises OSError.
    """
    for info in found:
        is_gone = _remove_mirror(info) if os.path.isdir(info.key) else _remove_object(info)
        if is_gone:
            advance(info.size, 1)
            yield info


def _unpushed(project: Project) -> frozenset[Digest]:
    """The objects that something in Git needs and no remote-tracking ref.

    Of all refs, of what they were (stashes, too), and of the indexes of all work trees.
    """
    repository = project.repository
    blobs = objects.small_blobs_unpushed(repository, limit=MAX_LENGTH + 1)
    found = pushing.pointers_in(repository, {blob.id: blob.path for blob in blobs})
    return frozenset(pointer.digest for pointer in found.values())


def _own(
    project: Project, kept: frozenset[Digest], now: float, policy: Policy, jobs: int
) -> list[Info]:
    """Of a project's own objects those that a storage has, or nothing needs."""
    own = project.local.own
    # Where others store, too, they may count on whatever is there.
    if own is None or is_marked(own.root):
        return []
    old = {
        each.digest: each
        for each in stored(own)
        if each.digest not in kept and each.used <= now - policy.older_than
    }
    if not old:
        return []
    needed = needs.of(project, everything=True)
    here = {os.path.realpath(own.root), os.path.realpath(project.settings.cache or own.root)}
    named = {
        pointer.digest: each.want._replace(storages=_elsewhere(each.want.storages, here))
        for pointer, each in needed.found.items()
    }
    wants = [named[digest] for digest in old if digest in named]
    lacking = {pointer.digest for pointer in lookups.sought(wants, jobs=jobs)}
    return [
        _info(each)
        for digest, each in old.items()
        if (digest not in lacking if digest in named else each.used <= now - _ORPHANED)
    ]


def _elsewhere(storages: Iterable[ObjectStorage], here: Collection[str]) -> list[ObjectStorage]:
    """Those of some storages that are not the directories from which things are deleted.

    A Git remote may be this very repository, and somebody may store in their cache.
    """
    places = [(each, each.storage.location.path) for each in storages]
    return [each for each, path in places if path is None or os.path.realpath(path) not in here]


def _cached(
    cache: ObjectDirectory, kept: frozenset[Digest], now: float, policy: Policy
) -> list[Info]:
    """Of the cache what is too old and, if it still is too large, what was not used longest."""
    left = policy.max_size
    found = []
    for each in sorted(stored(cache), key=lambda each: each.used, reverse=True):
        if left is not None:
            left -= each.size
        is_over = each.used <= now - policy.older_than or (left is not None and left < 0)
        if is_over and each.digest not in kept:
            found.append(_info(each))
    return found[::-1]


def _mirrors(cache: str, before: float) -> list[Info]:
    """The mirrors of registries that were used last before a time."""
    found = []
    for entry in os.scandir(os.path.join(cache, "mirrors")):
        lock = entry.path + bare.LOCK
        if entry.is_dir(follow_symlinks=False) and os.path.exists(lock):
            used = os.stat(lock).st_mtime
            if used < before:
                found.append(Info(entry.path, _size(entry.path), used))
    return sorted(found)


def _size(directory: str) -> int:
    size = 0
    for top, _, names in os.walk(directory):
        for name in names:
            with suppress(FileNotFoundError):
                size += os.lstat(os.path.join(top, name)).st_size
    return size


def _info(each: Stored) -> Info:
    return Info(each.path, each.size, each.used)


def _remove_mirror(info: Info) -> bool:
    """Delete a mirror that nobody has begun to use."""
    with bare.idle(info.key) as is_idle:
        if not is_idle or os.stat(info.key + bare.LOCK).st_mtime != info.modified:
            return False
        # In one step, so that nobody finds the half of one.
        aside = os.fsencode(info.key) + temporary_name(b".")
        os.rename(info.key, aside)
    shutil.rmtree(aside)
    return True


def _remove_object(info: Info) -> bool:
    """Delete an object, unless who adds the same counts on it since it was looked at."""
    path = os.fsencode(info.key)
    root = os.path.dirname(os.path.dirname(os.path.dirname(path)))
    aside = os.path.join(root, b"tmp", temporary_name(PREFIX))
    make_directories(os.path.dirname(aside))
    try:
        if last_used(os.lstat(path)) != info.modified:
            return False
        os.rename(path, aside)
    except FileNotFoundError:
        return False
    # Who comes now finds nothing, and stores it again; who came before has touched it.
    # Another process may take an old file there for what was left over.
    with suppress(FileNotFoundError):
        if last_used(os.lstat(aside)) != info.modified:
            with suppress(FileExistsError):
                move_new(aside, path)
                return False
        os.unlink(aside)
    return True
