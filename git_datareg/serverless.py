"""Serverless registries: what list, fetch and push mean where no Git runs on the other side.

Refs and packs are in a storage (`history`), and data objects are beside them. Fetching takes
the packs that the repository lacks; pushing adds one, and then one record of refs,
in the one moment that decides.
"""

from __future__ import annotations

import random
import tempfile
import time
import warnings
from collections.abc import Container, Iterable, Sequence
from contextlib import suppress

from git_datareg import consolidation, exclusive, incoming
from git_datareg.digest import Digest
from git_datareg.errors import (
    DataregError,
    GitError,
    RegistryWarning,
    RepositoryNotFoundError,
    StorageNotFoundError,
    StorageReadOnlyError,
    StorageUnavailableError,
)
from git_datareg.generation import Collection, Generation, Pack
from git_datareg.git import objects, packs
from git_datareg.git.repository import Repository
from git_datareg.history import History, State, is_under_way, pack_keys
from git_datareg.layout import ObjectStorage, object_key
from git_datareg.location import Location
from git_datareg.notes import Notes
from git_datareg.protocol.remote_helper import PushResult, PushSpec, Ref
from git_datareg.transfer import storage_faults
from git_datareg.updates import Update, following, planned, refusals

#: Seconds to wait, by chance up to so many, when somebody else was quicker.
_LONGEST_WAIT = 0.2
_AGAIN = "push again in an hour"
#: The note on the generation that this machine saw last: its number and its record's digest.
_SEEN = "seen"


class Registry:
    """A serverless registry, in the storage that it is in."""

    def __init__(self, storage: ObjectStorage, notes: Notes) -> None:
        self.storage = storage
        self._notes = notes
        self.history = History(storage.storage)
        self._state: State | None = None
        self._has_pushed = False
        #: The garbage collections that may have met what we found there.
        self._collections: set[Collection] = set()

    def __str__(self) -> str:
        return str(self.storage)

    @property
    def location(self) -> Location:
        """Where it is."""
        return self.storage.storage.location

    @property
    def digest(self) -> str | None:
        """What tells the generation that was looked at from all others."""
        return self._state.digest.hex if self._state is not None else None

    def look(self, *, for_push: bool = False) -> Generation | None:
        """Its newest generation; None before its first push.

        Raises RepositoryNotFoundError when there is no registry, unless it is looked at
        `for_push`, which makes one.
        """
        # Before we look: others on this machine may see more meanwhile.
        seen = (self._notes.read(_SEEN) or "").split()
        try:
            with storage_faults(str(self)):
                is_there = self.storage.check()
            self._state = self.history.newest()
            is_there = is_there or self._state is not None
        except StorageNotFoundError as error:
            if for_push:
                raise
            raise RepositoryNotFoundError(f"no registry: {error}", *error.hints) from error
        if not is_there and not for_push:
            raise RepositoryNotFoundError(f"no registry at {self}")
        self._compare(seen)
        if self._state is not None and is_under_way(self._state.generation.collection):
            self._collections.add(self._state.generation.collection)
        return self._state.generation if self._state is not None else None

    def fetch(self, repository: Repository, wants: Iterable[str], *, show: bool = False) -> None:
        """Bring the packs that the repository lacks; then it has all that the refs reach.

        Raises CorruptError for packs that are not what the record says, GitError when git
        refuses them, and any StorageError. A fault leaves the repository as it is.
        """
        if self._state is None:
            return
        _check_format(repository, self._state.generation, self)
        packs = self._state.generation.packs
        incoming.bring(self.history, repository, packs, wants, show=show)

    def prepare(self) -> None:
        """Make it ready to be pushed to; what is nowhere is made.

        Raises StorageReadOnlyError where nothing can be written, StorageDeniedError where
        two pushes at once could undo each other.
        """
        storage = self.storage.storage
        if not storage.properties.writable:
            raise StorageReadOnlyError(f"a registry that is only read: {self}")
        with storage_faults(str(self)):
            exclusive.check(storage, self._notes)
            self.storage.prepare()

    def push(
        self,
        repository: Repository,
        specs: Sequence[PushSpec],
        *,
        is_atomic: bool = False,
        is_dry: bool = False,
        leases: Container[str] = (),
        head: str | None = None,
        data: Iterable[Digest] = (),
        show: bool = False,
    ) -> list[PushResult]:
        """Push refs, whose `data` is stored already; one result for each.

        All that go, go at one moment. `leases` are refs for which the user has said what
        they must have; `head` is the branch that HEAD is to mean. Raises any StorageError:
        then nothing was pushed or, rarely, as it says, that is not known.
        """
        updates = planned(repository, specs, self._generation)
        with tempfile.TemporaryDirectory(prefix="datareg-push-") as directory:
            pusher = _Pusher(self, repository, updates, directory, show=show)
            while True:
                errors = refusals(self._generation, updates, leases, head)
                if is_atomic and errors:
                    errors = {
                        each.spec.dst: errors.get(each.spec.dst, "atomic push failed")
                        for each in updates
                    }
                accepted = [each for each in updates if each.spec.dst not in errors]
                if is_dry or not accepted or self._append(pusher, accepted, head, data):
                    return [PushResult(spec.dst, errors.get(spec.dst)) for spec in specs]
                time.sleep(random.random() * _LONGEST_WAIT)
                self._look_again()

    def _compare(self, seen: Sequence[str]) -> None:
        """Warn when the registry is not what became of the generation that was seen last."""
        now = self._state
        here = [str(now.generation.number), now.digest.hex] if now is not None else []
        if here == seen:
            return
        if len(seen) == 2 and not self._follows_on(*seen):
            at = f"is at generation {here[0]}" if here else "has no generation"
            warnings.warn(
                f"the registry went backwards: {self} {at}, "
                f"which does not follow on generation {seen[0]}, seen before",
                RegistryWarning,
                stacklevel=2,
            )
        self._notes.write(_SEEN, " ".join(here) + "\n")

    def _follows_on(self, number: str, digest: str) -> bool:
        """Whether what we see now came after a generation, as far as that is known."""
        if self._state is None or not number.isdigit():
            return False
        before = int(number)
        if before >= self._state.generation.number:
            return False
        # Long ago, it may be gone.
        then = self.history.at(before)
        return then is None or then.digest.hex == digest

    def _look_again(self) -> None:
        """Read the newest generation, when somebody was quicker than we."""
        before, self._state = self._state, self.history.newest()
        first = before.generation.number + 1 if before is not None else 1
        last = self._state.generation.number if self._state is not None else 0
        for number in range(first, last + 1):
            passed = self.history.at(number)
            if passed is None:
                raise StorageUnavailableError(f"old records were deleted meanwhile: {self}", _AGAIN)
            if passed.generation.collection is not None:
                self._collections.add(passed.generation.collection)

    def _check_stays(self, pack: Pack | None, data: Iterable[Digest]) -> None:
        """Raise StorageUnavailableError if what we push may just be deleted as garbage.

        It was there, and nothing needed it for long.
        """
        if not self._collections:
            return
        needed = {object_key(digest) for digest in data}
        if pack is not None and self._generation is not None:
            needed.update(pack_keys(pack.digest, self._generation.object_format))
        for each in self._collections:
            if not needed.isdisjoint(self.history.collected(each)):
                raise StorageUnavailableError(
                    f"what is pushed is just collected as garbage: {self}", _AGAIN
                )

    def tidy(self, repository: Repository) -> None:
        """Make fewer packs of many, after a push; what hinders that is no fault."""
        if self._has_pushed and self._state is not None:
            with suppress(DataregError), storage_faults(str(self)):
                consolidation.consolidate(self.history, self._state, repository)

    @property
    def object_format(self) -> str | None:
        """The hash function of its Git objects, as far as one was looked at."""
        return self._generation.object_format if self._generation is not None else None

    @property
    def _generation(self) -> Generation | None:
        return self._state.generation if self._state is not None else None

    def _append(
        self,
        pusher: _Pusher,
        accepted: Sequence[Update],
        head: str | None,
        data: Iterable[Digest],
    ) -> bool:
        """Push the updates on top of the newest generation that we know; whether it was that."""
        before, pack = self._state, pusher.pack(self._generation, accepted)
        self._check_stays(pack, data)
        new = following(before, pusher.repository, accepted, pack, head)
        self.history.storage.flush()
        if not self.history.append(new):
            return False
        self.history.storage.flush()
        self._state = self.history.told(new, before)
        self._has_pushed = True
        return True


class _Pusher:
    """Makes and stores the pack that a push needs: once, unless others are dropped meanwhile."""

    def __init__(
        self,
        registry: Registry,
        repository: Repository,
        updates: Sequence[Update],
        directory: str,
        *,
        show: bool,
    ) -> None:
        self.repository = repository
        self._registry = registry
        self._updates = updates
        self._directory = directory
        self._show = show
        self._made: Pack | None = None
        #: The packs that the one that we made counts on; None before that.
        self._base: frozenset[Pack] | None = None

    def pack(self, generation: Generation | None, accepted: Sequence[Update]) -> Pack | None:
        """The pack with all that the updates need and the registry lacks, stored there."""
        there = frozenset(generation.packs if generation is not None else ())
        if self._base is None or not self._base <= there:
            _check_format(self.repository, generation, self._registry)
            self._made = self._stored(generation, accepted)
            self._base = there
        return self._made

    def _stored(self, generation: Generation | None, accepted: Sequence[Update]) -> Pack | None:
        new = sorted({each.id for each in accepted if each.id is not None})
        refs = set(generation.refs.values()) if generation is not None else set()
        old = objects.existing(self.repository, sorted(refs)) if new else []
        if not new or refs.issuperset(new):
            return None
        objects.check_complete(self.repository, new, old)
        made = packs.write(self.repository, new, old, self._directory, show=self._show)
        if made is None:
            return None
        tips = tuple(id for id in new if id not in refs)
        history = self._registry.history
        return consolidation.put(history, made, tips, self.repository.object_format)


def refs_of(generation: Generation | None, *, for_push: bool) -> tuple[Ref, ...]:
    """The refs of a registry as git lists them; for a push what can be pushed."""
    if generation is None:
        return ()
    found = []
    if not for_push and generation.head in generation.refs:
        found.append(Ref("HEAD", symref=generation.head))
    for name in sorted(generation.refs):
        found.append(Ref(name, generation.refs[name]))
        if not for_push and name in generation.peeled:
            found.append(Ref(f"{name}^{{}}", generation.peeled[name]))
    return tuple(found)


def _check_format(
    repository: Repository, generation: Generation | None, registry: Registry
) -> None:
    if generation is not None and generation.object_format != repository.object_format:
        raise GitError(
            f"mismatched algorithms: {repository.object_format} here, "
            f"{generation.object_format} in {registry}"
        )
