"""Garbage collection in serverless registries: what nothing needs any more is deleted.

Needed is what any generation needs that was the newest one within the grace period, and what
is younger than that: a push may be under way. Before anything is deleted a generation says
what will be, so that no push counts on it; docs/format.md, "Serverless registries".
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import groupby
from typing import NamedTuple

from git_datareg import consolidation, history, incoming, pushing, roots, workers
from git_datareg.digest import digest_of
from git_datareg.errors import (
    CorruptError,
    DataregError,
    StorageDeniedError,
    StorageUnavailableError,
)
from git_datareg.generation import Collection, Pack
from git_datareg.git import objects
from git_datareg.git.repository import Repository
from git_datareg.history import History, State
from git_datareg.layout import object_key
from git_datareg.pointer import MAX_LENGTH
from git_datareg.serverless import Registry
from git_datareg.storage import Info, Storage
from git_datareg.transfer import Advance

#: Seconds for which what is no longer needed is kept: as long as git-gc(1) keeps objects.
GRACE = 14 * 24 * 3600.0
#: Seconds after which a collection stops, half of what pushes wait for it.
_LONGEST = 30 * 60.0
#: Seconds by which the storage's clock may differ from ours.
_MOST_SKEW = 3600.0
_ATTEMPTS = 5
_PACK = re.compile(r"objects/pack/(pack-[0-9a-f]{40,64})\.(idx|pack)")
_DATA = re.compile(r"objects/[0-9a-f]{2}/[0-9a-f]{62}")
_RECORD = re.compile(r"git/refs/(\d{20})")
_PREFIXES = ("git/", "objects/", "probe/")


class Garbage(NamedTuple):
    """What a collection deletes, or would delete."""

    #: In the order in which it is deleted: first what names, then what is named.
    values: tuple[Info, ...]

    @property
    def size(self) -> int:
        """Bytes of it all."""
        return sum(each.size for each in self.values)


def find(registry: Registry, mirror: Repository, grace: float) -> Garbage:
    """What nothing in a registry needs that `mirror` is the mirror of.

    `grace` is in seconds. Brings history that the mirror lacks. Raises CorruptError,
    PointerError and GitError where what is needed can't be told, and any StorageError.
    """
    state = registry.history.newest()
    return _find(registry, mirror, state, grace) if state is not None else Garbage(())


def collect(
    registry: Registry,
    mirror: Repository,
    grace: float,
    advance: Advance,
) -> Garbage:
    """Delete what `find` finds; what was deleted.

    `advance` is told of each value that is gone. Packs are made one first
    where that is worth it. Raises as `find`, and StorageUnavailableError when pushes come
    faster than can be looked through.
    """
    # Other repositories may have their data there, too.
    with roots.collecting(registry.history.storage):
        return _collected(registry, mirror, grace, advance)


def _collected(registry: Registry, mirror: Repository, grace: float, advance: Advance) -> Garbage:
    past = registry.history
    for _ in range(_ATTEMPTS):
        state = past.newest()
        if state is None:
            return Garbage(())
        if history.is_under_way(state.generation.collection):
            begun = state.generation.collection.time
            raise StorageUnavailableError(
                f"a collection is under way in {past}, since {begun}",
                "if it was killed, try again in an hour",
            )
        state = _repacked(past, state, mirror) or state
        found = _find(registry, mirror, state, grace)
        if not found.values:
            return found
        collection = _announced(past, found)
        new = state.following()._replace(collection=collection)
        past.storage.flush()
        if past.append(new):
            past.told(new, state)
            gone = list(_deleted(past, found, advance))
            _end(past, collection)
            return Garbage(tuple(gone))
    raise StorageUnavailableError(f"too many pushes meanwhile: {past}", "try again later")


def _find(registry: Registry, mirror: Repository, state: State, grace: float) -> Garbage:
    past, cutoff = registry.history, time.time() - grace
    values = [info for prefix in _PREFIXES for info in past.storage.list(prefix)]
    first, kept = _kept(past, state, values, cutoff)
    needed_packs = {pack for each in kept for pack in each.generation.packs}
    ids = sorted({id for each in kept for id in each.generation.refs.values()})
    _bring(past, mirror, needed_packs, ids)
    keys = needed_keys(mirror, ids)
    for root in roots.read(past.storage):
        keys.update(map(object_key, root.digests))
    for pack in needed_packs:
        keys.update(history.pack_keys(pack.digest, state.generation.object_format))
    collections = {each.generation.collection for each in kept}
    keys.update(history.collection_key(each.digest) for each in collections if each is not None)

    def is_garbage(info: Info) -> bool:
        record = _RECORD.fullmatch(info.key)
        if record is not None:
            return int(record[1]) < first
        is_ours = (
            _PACK.fullmatch(info.key)
            or _DATA.fullmatch(info.key)
            or (info.key.startswith(("git/collections/", "probe/")))
        )
        is_old = info.modified is not None and info.modified < cutoff
        return bool(is_ours) and is_old and info.key not in keys

    return Garbage(tuple(sorted(filter(is_garbage, values), key=_order)))


def _order(info: Info) -> tuple[int, str]:
    """Records go first, the index of a pack before the pack, and data last."""
    if _RECORD.fullmatch(info.key):
        return 0, info.key
    found = _PACK.fullmatch(info.key)
    if found is not None:
        return 1 if found[2] == "idx" else 2, info.key
    return 3, info.key


def _kept(
    past: History, state: State, values: Sequence[Info], cutoff: float
) -> tuple[int, list[State]]:
    """The number of the first generation that is kept, and all that are.

    One is kept while it was the newest a grace period ago, or is younger.
    """
    written = {int(found[1]): info.modified for info in values if (found := _record(info))}
    first = state.generation.number
    while first - 1 in written:
        # It was the newest until this one came.
        replaced = written.get(first)
        if replaced is not None and replaced < cutoff:
            break
        first -= 1
    numbers, most = range(first, state.generation.number), past.storage.properties.connections
    before = [each for _, each in workers.each(numbers, past.at, most=most) if each is not None]
    return first, [*before, state]


def _record(info: Info) -> re.Match[str] | None:
    return _RECORD.fullmatch(info.key)


def _bring(past: History, mirror: Repository, wanted: set[Pack], ids: Sequence[str]) -> None:
    """Have the mirror hold all that the ids reach."""
    incoming.bring(past, mirror, wanted, ids)
    if ids and not objects.reaches_all(mirror, ids):
        raise CorruptError(
            f"parts of the history are missing in {past}: nothing is deleted",
            "push again from a clone that is whole",
        )


def needed_keys(mirror: Repository, ids: Sequence[str]) -> set[str]:
    """The keys of all data that the history of some commits needs.

    Raises PointerError for a pointer that is not understood.
    """
    blobs = objects.small_blobs_between(mirror, ids, [], limit=MAX_LENGTH + 1) if ids else []
    found = pushing.pointers_in(mirror, {blob.id: blob.path for blob in blobs})
    return {object_key(pointer.digest) for pointer in found.values()}


def _repacked(past: History, state: State, mirror: Repository) -> State | None:
    """The state with one pack of all that its refs reach, if that is less than it has."""
    _bring(past, mirror, set(state.generation.packs), sorted(state.generation.refs.values()))
    return consolidation.repack(past, state, mirror)


def _announced(past: History, found: Garbage) -> Collection:
    """The collection, its list stored; raises StorageDeniedError where clocks differ too much."""
    text = "".join(f"{info.key}\n" for info in found.values).encode()
    collection = Collection(digest_of(text), history.now())
    key = past.put_collection(collection, text)
    ages = [info.modified for info in past.storage.list(key)]
    if ages and ages[0] is not None and abs(ages[0] - time.time()) > _MOST_SKEW:
        raise StorageDeniedError(f"the clock here and that of {past} differ: nothing is deleted")
    return collection


def deleted(
    storage: Storage, values: Iterable[Info], advance: Advance, deadline: Deadline
) -> Iterator[Info]:
    """Delete values, several at once, until the deadline; those that are gone.

    Raises any StorageError.
    """
    most = storage.properties.connections
    todo = (info for info in values if not deadline.is_over)
    for info, _ in workers.each(todo, lambda info: storage.delete(info.key), most=most):
        advance(info.size, 1)
        yield info


def _deleted(past: History, found: Garbage, advance: Advance) -> Iterator[Info]:
    """Delete values in their order; those that are gone."""
    # By the records readers would look for the newest one, from the first on.
    has_hint, deadline = past.is_told(), Deadline()
    values = [info for info in found.values if has_hint or not _RECORD.fullmatch(info.key)]
    for _, group in groupby(values, key=lambda info: _order(info)[0]):
        yield from deleted(past.storage, group, advance, deadline)


def _end(past: History, collection: Collection) -> None:
    """Say that a collection is done; if that fails, it counts as done after an hour."""
    with suppress(DataregError):
        for _ in range(_ATTEMPTS):
            state = past.newest()
            if state is None or state.generation.collection != collection:
                return
            new = state.following()._replace(collection=None)
            if past.append(new):
                past.told(new, state)
                return


class Deadline:
    """Half an hour from now, in which the machine may have been asleep."""

    def __init__(self) -> None:
        self._end = time.clock_gettime(time.CLOCK_BOOTTIME) + _LONGEST

    @property
    def is_over(self) -> bool:
        """Whether that time is over."""
        return time.clock_gettime(time.CLOCK_BOOTTIME) > self._end
