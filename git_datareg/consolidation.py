"""Packs of a serverless registry, made fewer: every push brings one more.

So that a clone asks for few, and that what a push costs does not grow with those before it,
small ones are put together again and again, and large ones rarely ("geometric", as
git-repack(1) has it).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence

from git_datareg import incoming
from git_datareg.digest import digest_of_file
from git_datareg.generation import Pack
from git_datareg.git import bare, objects, packs
from git_datareg.git.packs import PackFile
from git_datareg.git.repository import Repository
from git_datareg.history import History, State

#: A clone asks for so many, a third of a second's worth where each takes a tenth.
MOST_PACKS = 32
#: A pack stays by itself that is so many times as large as all smaller ones together.
_FACTOR = 2


def due(packs: Sequence[Pack], most: int = MOST_PACKS) -> list[Pack]:
    """Which packs are to become one; none while there are at most so many."""
    if len(packs) <= most:
        return []
    ordered = sorted(packs, key=lambda pack: pack.size, reverse=True)
    left = sum(pack.size for pack in ordered)
    for place, pack in enumerate(ordered):
        left -= pack.size
        if pack.size < _FACTOR * left:
            return ordered[place:]
    return ordered[-2:]


def consolidate(history: History, state: State, repository: Repository) -> State | None:
    """Make fewer packs of those that a state has too many of; the new state.

    None where there is nothing to do, garbage is collected, or somebody else was quicker.
    `repository` is asked which commits come after which. Raises StorageError, CorruptError
    and GitError.
    """
    some = due(state.generation.packs)
    if not some or state.generation.collection is not None:
        return None
    merged = _merged(history, some, state.generation.object_format, repository)
    while set(some) <= set(state.generation.packs):
        kept = tuple(pack for pack in state.generation.packs if pack not in some)
        new = state.following()._replace(packs=(*kept, merged))
        history.storage.flush()
        if history.append(new):
            return history.told(new, state)
        newest = history.newest()
        if newest is None or newest.generation.collection is not None:
            # What we stored may have been there, as garbage.
            break
        state = newest
    return None


def repack(history: History, state: State, repository: Repository) -> State | None:
    """Have a state with one pack of just what its refs reach; the new state.

    `repository` has all of that. None where the state is so already, or somebody else was
    quicker. Raises StorageError and GitError.
    """
    generation = state.generation
    ids = sorted(set(generation.refs.values()))
    reached = objects.count_reached(repository, ids) if ids else 0
    if len(generation.packs) <= 1 and sum(pack.objects for pack in generation.packs) == reached:
        return None
    whole: tuple[Pack, ...] = ()
    if ids:
        with tempfile.TemporaryDirectory(prefix="datareg-packs-") as directory:
            made = packs.write(repository, ids, [], directory, show=False)
            assert made is not None, "refs have objects"
            tips = tuple(objects.independent(repository, ids))
            whole = (put(history, made, tips, generation.object_format),)
    new = state.following()._replace(packs=whole)
    history.storage.flush()
    return history.told(new, state) if history.append(new) else None


def put(history: History, made: PackFile, tips: tuple[str, ...], object_format: str) -> Pack:
    """Store a pack that was made here, and its index."""
    with open(made.content, "rb") as content, open(made.idx, "rb") as index:
        size = os.fstat(content.fileno()).st_size
        count = packs.count(content.read(packs.HEADER))
        pack = Pack(digest_of_file(content.fileno(), size), size, count, tips)
        history.put_pack(pack, object_format, content, index)
    return pack


def _merged(
    history: History, some: Sequence[Pack], object_format: str, repository: Repository
) -> Pack:
    """One pack of several, stored."""
    tips = objects.independent(repository, [tip for pack in some for tip in pack.tips])
    with tempfile.TemporaryDirectory(prefix="datareg-packs-") as directory:
        scratch = os.path.join(directory, "scratch")
        bare.create(scratch, object_format, "refs/heads/main")
        incoming.take_in(history, bare.opened(scratch), some)
        made = packs.merge(bare.opened(scratch), directory)
        return put(history, made, tuple(tips), object_format)
