"""Serverless registries: what list, fetch and push mean where no Git runs on the other side.

Refs and packs are in a storage (`history`), and data objects are beside them. Fetching takes
the packs that the repository lacks; pushing adds one, and then one record of refs,
in the one moment that decides.
"""

from __future__ import annotations

import os
import random
import secrets
import tempfile
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple

from git_datareg.digest import Hasher, digest_of_file
from git_datareg.errors import (
    GitError,
    IntegrityError,
    RepositoryNotFoundError,
    StorageDeniedError,
    StorageNotFoundError,
    StorageReadOnlyError,
)
from git_datareg.generation import Generation, Pack, in_the_way, is_ref_name
from git_datareg.git import objects, packs
from git_datareg.git.packs import PackFile
from git_datareg.git.repository import Repository
from git_datareg.history import History, State
from git_datareg.layout import MARKER_KEY, ObjectStorage
from git_datareg.location import Location
from git_datareg.protocol.remote_helper import PushResult, PushSpec, Ref
from git_datareg.transfer import storage_faults

_CHUNK = 1024 * 1024
#: Packs of at most so many bytes come several at once, and are held in memory meanwhile.
_SMALL = 4 * 1024 * 1024
_AHEAD = 32
#: Seconds to wait, by chance up to so many, when somebody else was quicker.
_LONGEST_WAIT = 0.2
_BRANCHES = "refs/heads/"
_DEFAULT_BRANCHES = ("refs/heads/main", "refs/heads/master")


class Update(NamedTuple):
    """One ref that is to be pushed."""

    spec: PushSpec
    #: The object that it is to have; None deletes it.
    id: str | None
    #: What the object is, "commit" or another.
    kind: str | None
    #: What it had when we were asked for the refs.
    before: str | None
    #: Why it can't be pushed without force, in git's words.
    objection: str | None


class Registry:
    """A serverless registry, in the storage that it is in."""

    def __init__(self, storage: ObjectStorage) -> None:
        self.storage = storage
        self.history = History(storage.storage)
        self._state: State | None = None

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
        try:
            self.storage.check()
            self._state = self.history.newest()
            is_there = self._state is not None or self._has_marker()
        except StorageNotFoundError as error:
            if for_push:
                raise
            raise RepositoryNotFoundError(f"no registry: {error}", *error.hints) from error
        if not is_there and not for_push:
            raise RepositoryNotFoundError(f"no registry at {self}")
        return self._state.generation if self._state is not None else None

    def fetch(self, repository: Repository, wants: Collection[str], *, show: bool = False) -> None:
        """Bring the packs that the repository lacks; then it has all that the refs reach.

        Raises CorruptError for packs that are not what the record says, GitError when git
        refuses them, and any StorageError. A fault leaves the repository as it is.
        """
        if self._state is None:
            return
        known = self._state.generation.packs
        _check_format(repository, self._state.generation, self)
        tips = {tip for pack in known for tip in pack.tips}
        here = set(objects.existing(repository, sorted(tips))) if tips else set()
        lacking = [pack for pack in known if not here.issuperset(pack.tips)]
        self._take_in(repository, lacking, show=show)
        if len(lacking) < len(known) and not objects.reaches_all(repository, wants):
            # Git has thrown out parts of what no ref needed.
            rest = [pack for pack in known if pack not in lacking]
            self._take_in(repository, rest, show=show)

    def prepare(self) -> None:
        """Make it ready to be pushed to; what is nowhere is made.

        Raises StorageReadOnlyError where nothing can be written.
        """
        properties = self.storage.storage.properties
        if not properties.writable:
            raise StorageReadOnlyError(f"a registry that is only read: {self}")
        if not properties.is_exclusive:
            raise StorageDeniedError(
                f"no pushes to {self}: of two at once, the one could undo the other there",
                "its file system creates no file in one step; reading works",
            )
        with storage_faults(str(self)):
            self.storage.prepare()

    def push(
        self,
        repository: Repository,
        specs: Sequence[PushSpec],
        *,
        is_atomic: bool = False,
        is_dry: bool = False,
        leases: Collection[str] = (),
        show: bool = False,
    ) -> list[PushResult]:
        """Push refs, whose data is stored already; one result for each.

        All that go, go at one moment. `leases` are refs for which the user has said what
        they must have. Raises any StorageError: then nothing was pushed, or rarely, as it says,
        that is not known.
        """
        updates = self._updates(repository, specs)
        with tempfile.TemporaryDirectory(prefix="datareg-push-") as directory:
            pusher = _Pusher(self, repository, updates, directory, show=show)
            while True:
                errors = _refusals(self._generation, updates, leases)
                if is_atomic and errors:
                    errors = {
                        each.spec.dst: errors.get(each.spec.dst, "atomic push failed")
                        for each in updates
                    }
                accepted = [each for each in updates if each.spec.dst not in errors]
                if is_dry or not accepted or self._append(pusher, accepted):
                    return [PushResult(spec.dst, errors.get(spec.dst)) for spec in specs]
                time.sleep(random.random() * _LONGEST_WAIT)
                self._state = self.history.newest()

    @property
    def object_format(self) -> str | None:
        """The hash function of its Git objects, as far as one was looked at."""
        return self._generation.object_format if self._generation is not None else None

    @property
    def _generation(self) -> Generation | None:
        return self._state.generation if self._state is not None else None

    def _append(self, pusher: _Pusher, accepted: Sequence[Update]) -> bool:
        """Push the updates on top of the newest generation that we know; whether it was that."""
        before, pack = self._state, pusher.pack(self._generation, accepted)
        new = _following(before, pusher.repository, accepted, pack)
        self.history.storage.flush()
        if not self.history.append(new):
            return False
        self.history.storage.flush()
        self._state = self.history.told(new, before)
        return True

    def _updates(self, repository: Repository, specs: Sequence[PushSpec]) -> list[Update]:
        refs = self._generation.refs if self._generation is not None else {}
        found = objects.named(repository, [spec.src for spec in specs if spec.src])
        named = iter(found)
        updates = []
        for spec in specs:
            object = next(named) if spec.src else None
            if spec.src and object is None:
                raise GitError(f"no such object to push: {spec.src}")
            id, kind = object if object is not None else (None, None)
            updates.append(Update(spec, id, kind, refs.get(spec.dst), None))
        return list(_looked_at(repository, updates))

    def _has_marker(self) -> bool:
        with storage_faults(str(self)):
            return self.storage.storage.info(MARKER_KEY) is not None

    def _take_in(self, repository: Repository, wanted: Sequence[Pack], *, show: bool) -> None:
        if not wanted:
            return
        with ThreadPoolExecutor(self.storage.storage.properties.connections) as pool:
            source = _Incoming(self.history, repository.object_format, wanted, pool)
            try:
                total = sum(pack.objects for pack in wanted)
                packs.take_in(repository, source.packs(), total, show=show)
            finally:
                pool.shutdown(wait=False, cancel_futures=True)


class _Incoming:
    """Packs on their way here, verified; small ones several at once."""

    def __init__(
        self,
        history: History,
        object_format: str,
        wanted: Sequence[Pack],
        pool: ThreadPoolExecutor,
    ) -> None:
        self._history = history
        self._object_format = object_format
        self._todo = deque(pack for pack in wanted if pack.size <= _SMALL)
        self._wanted = wanted
        self._pool = pool
        self._coming: dict[Pack, Future[bytes]] = {}

    def packs(self) -> list[Callable[[], Iterator[bytes]]]:
        """The packs, as `git.packs.take_in` has them."""
        return [partial(self._pieces, pack) for pack in self._wanted]

    def _pieces(self, pack: Pack) -> Iterator[bytes]:
        while self._todo and len(self._coming) < _AHEAD:
            following = self._todo.popleft()
            self._coming[following] = self._pool.submit(self._whole, following)
        coming = self._coming.pop(pack, None)
        if coming is None:
            yield from self._verified(pack)
        else:
            yield coming.result()

    def _whole(self, pack: Pack) -> bytes:
        return b"".join(self._verified(pack))

    def _verified(self, pack: Pack) -> Iterator[bytes]:
        hasher = Hasher()
        with storage_faults(str(self._history)):
            stream = self._history.open_pack(pack, self._object_format)
        with stream:
            while hasher.size <= pack.size:
                with storage_faults(str(self._history)):
                    piece = stream.read(min(_CHUNK, pack.size + 1 - hasher.size))
                if not piece:
                    break
                hasher.update(piece)
                yield piece
        if (hasher.size, hasher.digest()) != (pack.size, pack.digest):
            raise IntegrityError(
                f"corrupt pack {pack.digest} in {self._history}",
                "restore it from a copy, or push again from a clone that is whole",
            )


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
        return self._put(made, tips)

    def _put(self, made: PackFile, tips: tuple[str, ...]) -> Pack:
        with open(made.content, "rb") as content, open(made.idx, "rb") as index:
            size = os.fstat(content.fileno()).st_size
            count = packs.count(content.read(packs.HEADER))
            pack = Pack(digest_of_file(content.fileno(), size), size, count, tips)
            self._registry.history.put_pack(pack, self.repository.object_format, content, index)
        return pack


def _looked_at(repository: Repository, updates: Sequence[Update]) -> Iterator[Update]:
    """The updates, with git's objections to those that are not forced.

    All but two of them it has made itself (transport-helper.c, push_refs_with_push), and
    has not told us of such a ref.
    """
    moved = [
        each
        for each in updates
        if None not in (each.id, each.before) and each.before != each.id and not each.spec.force
    ]
    names = [f"{id}{end}" for each in moved for id in (each.before, each.id) for end in ("", "^{}")]
    found = iter(objects.named(repository, names))
    objections: dict[str, str] = {}
    for each, (old, old_peeled, _, new_peeled) in zip(
        moved, zip(*[found] * 4, strict=True), strict=True
    ):
        if old is None:
            objections[each.spec.dst] = "fetch first"
        elif {old_peeled and old_peeled[1], new_peeled and new_peeled[1]} != {"commit"}:
            objections[each.spec.dst] = "needs force"
    for each in updates:
        yield each._replace(objection=objections.get(each.spec.dst))


def _refusals(
    generation: Generation | None, updates: Sequence[Update], leases: Collection[str]
) -> dict[str, str]:
    """Why refs can't be pushed on top of a generation, in the words that git knows or uses."""
    refs = dict(generation.refs) if generation is not None else {}
    errors: dict[str, str] = {}
    for each in updates:
        name = each.spec.dst
        if refs.get(name) != each.before:
            errors[name] = "stale info" if name in leases else "fetch first"
        elif each.objection is not None:
            errors[name] = each.objection
        elif not is_ref_name(name):
            errors[name] = "funny refname"
        elif each.id is None and generation is not None and name == generation.head:
            if not each.spec.force:
                errors[name] = "deletion of the current branch prohibited"
        elif name.startswith(_BRANCHES) and each.kind not in (None, "commit"):
            errors[name] = "a branch must be a commit"
        if name not in errors and each.id is None:
            refs.pop(name, None)
    for each in updates:
        if each.id is None or each.spec.dst in errors:
            continue
        other = in_the_way(each.spec.dst, refs)
        if other is not None:
            errors[each.spec.dst] = f"{other} exists"
        else:
            refs[each.spec.dst] = each.id
    return errors


def _following(
    before: State | None, repository: Repository, accepted: Sequence[Update], pack: Pack | None
) -> Generation:
    """The generation that the updates make of the one before."""
    old = before.generation if before is not None else None
    refs = dict(old.refs) if old is not None else {}
    peeled = dict(old.peeled) if old is not None else {}
    targets = objects.peeled(
        repository, [each.id for each in accepted if each.id is not None and each.kind == "tag"]
    )
    for each in accepted:
        name = each.spec.dst
        refs.pop(name, None)
        peeled.pop(name, None)
        if each.id is not None:
            refs[name] = each.id
            if each.id in targets:
                peeled[name] = targets[each.id]
    known = old.packs if old is not None else ()
    if pack is not None and pack.digest not in {each.digest for each in known}:
        known = (*known, pack)
    return Generation(
        number=old.number + 1 if old is not None else 1,
        parent=before.digest if before is not None else None,
        nonce=secrets.token_hex(16),
        time=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        object_format=repository.object_format,
        head=_head(old, refs, repository),
        refs=refs,
        peeled=peeled,
        packs=known,
    )


def _head(old: Generation | None, refs: Collection[str], repository: Repository) -> str:
    """The branch that HEAD is to mean: the same while it is there, else the likeliest one."""
    if old is not None and old.head in refs:
        return old.head
    current = repository.run_unchecked("symbolic-ref", "-q", "HEAD")[1]
    here = current.decode("utf-8", "surrogateescape").strip()
    branches = sorted(name for name in refs if name.startswith(_BRANCHES))
    likely = [here, *_DEFAULT_BRANCHES, *branches]
    fallback = old.head if old is not None else here if is_ref_name(here) else _DEFAULT_BRANCHES[0]
    return next((each for each in likely if each in branches), fallback)


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
