"""Lookups: whether storages have objects, and have them whole, without bringing them here.

Where a listing is cheaper than a request for each object it is made; what is read is
hashed as it comes, and nothing is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from git_datareg import presence
from git_datareg.digest import Hasher
from git_datareg.downloads import Want
from git_datareg.errors import (
    CorruptError,
    DataregError,
    IntegrityError,
    ObjectNotFoundError,
)
from git_datareg.layout import ObjectStorage, not_found, object_key
from git_datareg.pointer import Pointer
from git_datareg.transfer import Advance, no_progress, outcomes, threads_for
from git_datareg.workers import Lane

#: Bytes of an object that are in memory at once, for each that is read.
_CHUNK = 1024 * 1024

MISSING = "missing"
#: Other bytes than its name says.
CORRUPT = "corrupt"
WRONG_SIZE = "wrong-size"
#: It could not be told: the place failed.
UNREADABLE = "unreadable"
#: Of several, the one to tell.
_WORST = (MISSING, UNREADABLE, WRONG_SIZE, CORRUPT)


class Flaw(NamedTuple):
    """What is wrong with an object: a word for it, and the whole story."""

    kind: str
    error: DataregError


def sought(
    wants: Iterable[Want], *, jobs: int, reads: bool = False, advance: Advance = no_progress
) -> dict[Pointer, Flaw]:
    """What is wrong with those of the objects that none of their storages has whole.

    One that is there has the right size; on this machine, and with `reads` anywhere, it was
    read, too, and is what its name says. Each object is asked of one storage after the other.
    Of what is wrong the worst is told: other bytes before a wrong size, that before a
    storage that failed, and only if none did that it is missing.
    """
    left = {want.pointer: want for want in wants}
    flaws = {
        pointer: Flaw(MISSING, not_found(pointer, list(want.storages)))
        for pointer, want in left.items()
    }
    turn = 0
    while left:
        groups: dict[ObjectStorage, list[Pointer]] = {}
        for pointer, want in tuple(left.items()):
            if turn < len(want.storages):
                groups.setdefault(want.storages[turn], []).append(pointer)
            else:
                del left[pointer]
        for storage, pointers in groups.items():
            for pointer, flaw in _looked(storage, pointers, jobs, reads, advance):
                if flaw is None:
                    del left[pointer], flaws[pointer]
                elif _WORST.index(flaw.kind) > _WORST.index(flaws[pointer].kind):
                    flaws[pointer] = flaw
        turn += 1
    return flaws


def _looked(
    storage: ObjectStorage, pointers: Sequence[Pointer], jobs: int, reads: bool, advance: Advance
) -> Iterator[tuple[Pointer, Flaw | None]]:
    """What is wrong with each object in one storage, in no order."""
    threads, most = threads_for(jobs, [storage], pointers)
    reads = reads or not storage.storage.properties.is_remote
    sizes = None
    try:
        storage.check()
        if not reads:
            sizes = presence.listed(storage, pointers, most=most)
    except DataregError as error:
        flaw = Flaw(UNREADABLE, error)
        yield from ((pointer, flaw) for pointer in pointers)
        return
    tried = [_Lookup(pointer, storage, reads, sizes, advance) for pointer in pointers]
    for job, outcome in outcomes([Lane(tried, most)], threads, most):
        yield job.pointer, _flaw(outcome) if isinstance(outcome, DataregError) else outcome


def _flaw(error: DataregError) -> Flaw:
    if isinstance(error, ObjectNotFoundError):
        return Flaw(MISSING, error)
    return Flaw(CORRUPT if isinstance(error, CorruptError) else UNREADABLE, error)


class _Lookup(NamedTuple):
    """A job: one object in one storage."""

    pointer: Pointer
    storage: ObjectStorage
    reads: bool
    #: The sizes of the objects that are there, by key; None when it is not known.
    sizes: dict[str, int] | None
    advance: Advance

    def run(self) -> Flaw | None:
        """What is wrong with it; raises DataregError when the storage fails."""
        flaw = self._read() if self.reads else self._look()
        self.advance(0, 1)
        return flaw

    def _look(self) -> Flaw | None:
        key = object_key(self.pointer.digest)
        if self.sizes is not None:
            size = self.sizes.get(key)
        else:
            info = self.storage.storage.info(key)
            size = info.size if info is not None else None
        if size is None:
            return Flaw(MISSING, not_found(self.pointer, [self.storage]))
        return self._wrong_size(str(size)) if size != self.pointer.size else None

    def _read(self) -> Flaw | None:
        hasher = Hasher()
        # One byte more than promised is enough to know that it is wrong.
        for piece in self.storage.pieces(self.pointer, 0, self.pointer.size + 1, _CHUNK):
            hasher.update(piece)
            self.advance(len(piece), 0)
        if hasher.size != self.pointer.size:
            is_longer = hasher.size > self.pointer.size
            return self._wrong_size("more" if is_longer else str(hasher.size))
        if hasher.digest() != self.pointer.digest:
            message = f"corrupt object {self.pointer.digest} in {self.storage}"
            return Flaw(CORRUPT, IntegrityError(message))
        return None

    def _wrong_size(self, size: str) -> Flaw:
        message = f"corrupt object {self.pointer.digest} in {self.storage}: {size} bytes"
        return Flaw(WRONG_SIZE, IntegrityError(f"{message} instead of {self.pointer.size}"))
