"""The Git history of a serverless registry in its storage: generations of refs, and packs.

Which key holds what, and how a generation is added so that none is ever lost; normative
text: docs/format.md, "Serverless registries". Works on any `Storage`. Knows no repository.
"""

from __future__ import annotations

import io
import secrets
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import BinaryIO, NamedTuple, TypeGuard

from git_datareg import generation, plainfiles
from git_datareg.digest import Digest, digest_of
from git_datareg.errors import (
    CorruptError,
    ObjectNotFoundError,
    StorageDeniedError,
    StorageError,
    StorageUnavailableError,
)
from git_datareg.generation import MAX_LENGTH, Collection, Generation, Pack, pack_name
from git_datareg.storage import Storage

_RECORDS = "git/refs/"
#: A copy of the newest record that somebody has told of: where to begin to look.
HINT_KEY = "git/latest"
_CHUNK = 1024 * 1024
#: So long nobody counts on what a collection deletes.
_WAIT = timedelta(hours=1)
#: Bytes of a list of keys, of which each has some 70: ten million.
_MAX_KEYS = 1024 * 1024 * 1024


class State(NamedTuple):
    """A generation that a registry has, and the digest of its record."""

    generation: Generation
    digest: Digest

    def following(self) -> Generation:
        """The next generation, in which nothing has changed yet."""
        number = self.generation.number + 1
        return self.generation._replace(
            number=number, parent=self.digest, nonce=_nonce(), time=now()
        )


def first(object_format: str) -> Generation:
    """The first generation of a registry, of which there is nothing yet."""
    return Generation(1, None, _nonce(), now(), object_format, "refs/heads/main", {}, {}, ())


def now() -> str:
    """This moment, as records have it."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def is_under_way(collection: Collection | None) -> TypeGuard[Collection]:
    """Whether a collection may still delete; it stops long before this says that it does not."""
    if collection is None:
        return False
    try:
        begun = datetime.fromisoformat(collection.time)
        return abs(datetime.now(UTC) - begun) < _WAIT
    except (ValueError, TypeError):
        return True


def collection_key(keys: Digest) -> str:
    """The key of the list of keys that a collection deletes."""
    return f"git/collections/{keys.hex}"


def record_key(number: int) -> str:
    """The key of a generation's record."""
    return f"{_RECORDS}{number:020d}"


def pack_keys(pack: Digest, object_format: str) -> tuple[str, str]:
    """The keys of a pack and of its index.

    They are where Git looks on a server of plain files (gitrepository-layout(5)).
    """
    name = f"objects/pack/{pack_name(pack, object_format)}"
    return f"{name}.pack", f"{name}.idx"


class History:
    """The history of the registry in a storage."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage

    def __str__(self) -> str:
        return str(self.storage.location)

    def newest(self) -> State | None:
        """The registry's newest generation; None when it has none yet.

        Never older than what was acknowledged before the call. Raises CorruptError for
        a record that can't be, or does not follow on the one before, and any
        StorageError.
        """
        return self._last(self._hinted() or self._listed())

    def at(self, number: int) -> State | None:
        """A generation by its number; None when there is none, or none any more.

        Raises CorruptError and any StorageError.
        """
        return self._record(number)

    def is_told(self) -> bool:
        """Whether there is a hint: the sign of a registry that a web server publishes."""
        return self._hinted() is not None

    def append(self, new: Generation) -> bool:
        """Make this the newest generation; False when another has its number.

        The one moment at which a push takes place: nothing of it is seen before, and all of it
        after. Raises StorageError when that could not be done or, rarely, is not known.
        """
        key, text = record_key(new.number), new.encode()
        if len(text) > MAX_LENGTH:
            raise StorageDeniedError(f"more refs and packs than a record can hold: {self}")
        try:
            if self.storage.put(key, io.BytesIO(text), len(text)):
                return True
        except StorageUnavailableError:
            with suppress(StorageError):
                if self._text(key) == text:
                    return True
            raise
        # Another's, or ours, whose first reply was lost: the nonce tells.
        return self._text(key) == text

    def told(self, new: Generation, before: State | None) -> State:
        """The state that a generation is which was appended, after the one `before`.

        Readers are left a hint by which they find it at once, and plain files by which a Git
        without us can read it: neither is needed, so a fault of the storage is none.
        """
        state = State(new, digest_of(new.encode()))
        with suppress(StorageError, CorruptError):
            self._tell(state, before)
            # Whoever came after us may have told of it before us.
            last = self._last(state)
            if last is not None and last != state:
                self._tell(last, None)
        return state

    def _tell(self, state: State, before: State | None) -> None:
        self.storage.replace(HINT_KEY, state.generation.encode())
        old = before.generation if before is not None else None
        for key, content in plainfiles.changed(state.generation, old):
            self.storage.replace(key, content)

    def put_pack(self, pack: Pack, object_format: str, content: BinaryIO, index: BinaryIO) -> None:
        """Store a pack and its index, each unless it is there; streams are read from their start.

        Raises StorageUnavailableError where something else is under their keys.
        """
        keys = pack_keys(pack.digest, object_format)
        for key, stream in zip(keys, (content, index), strict=True):
            size = stream.seek(0, io.SEEK_END)
            stream.seek(0)
            if not self.storage.put(key, stream, size):
                found = self.storage.info(key)
                if found is None or found.size != size:
                    raise StorageUnavailableError(f"not what was stored there: {key} in {self}")

    def open_pack(self, pack: Pack, object_format: str) -> BinaryIO:
        """The bytes of a pack, as a stream that the caller verifies and closes.

        Raises ObjectNotFoundError when it is gone.
        """
        return self.storage.open(pack_keys(pack.digest, object_format)[0])

    def put_collection(self, collection: Collection, keys: bytes) -> str:
        """Store the list of a collection's keys; its own key. Raises any StorageError."""
        key = collection_key(collection.digest)
        self.storage.put(key, io.BytesIO(keys), len(keys))
        return key

    def collected(self, collection: Collection) -> frozenset[str]:
        """The keys that a collection deletes; raises CorruptError without that list."""
        key = collection_key(collection.digest)
        try:
            with self.storage.open(key) as stream:
                text = stream.read(_MAX_KEYS)
        except ObjectNotFoundError:
            text = b""
        if digest_of(text) != collection.digest:
            raise CorruptError(f"not the list of a garbage collection: {key} in {self}")
        return frozenset(text.decode().split("\n"))

    def _last(self, state: State | None) -> State | None:
        """The last generation that follows on a state."""
        while True:
            number = state.generation.number + 1 if state is not None else 1
            following = self._record(number)
            if following is None:
                return state
            if state is not None and following.generation.parent != state.digest:
                raise CorruptError(
                    f"the history of {self} is broken: record {number} does not follow "
                    f"on {number - 1}",
                    "somebody has put back, or mixed, parts of it: restore git/ from a copy",
                )
            state = following

    def _hinted(self) -> State | None:
        try:
            text = self._text(HINT_KEY)
            return _state(text, f"{HINT_KEY} in {self}") if text is not None else None
        except CorruptError:
            # Written in place, where a storage can do no better.
            return None

    def _listed(self) -> State | None:
        """The newest record that a listing has, where there is no hint."""
        if not self.storage.properties.can_list:
            return None
        last = ""
        for info in self.storage.list(_RECORDS):
            last = info.key
        number = last.removeprefix(_RECORDS)
        return self._record(int(number)) if number.isdigit() else None

    def _record(self, number: int) -> State | None:
        key = record_key(number)
        try:
            text = self._text(key)
        except StorageDeniedError:
            # So a bucket answers for what it lacks to somebody who may not list it.
            if self.storage.properties.writable:
                raise
            return None
        if text is None:
            return None
        state = _state(text, f"{key} in {self}")
        if state.generation.number != number:
            raise CorruptError(f"not the record of this number: {key} in {self}")
        return state

    def _text(self, key: str) -> bytes | None:
        """A value that is a text of limited length, or None."""
        try:
            stream = self.storage.open(key)
        except ObjectNotFoundError:
            return None
        found = bytearray()
        with stream:
            while len(found) <= MAX_LENGTH and (piece := stream.read(_CHUNK)):
                found += piece
        if len(found) > MAX_LENGTH:
            raise CorruptError(f"more than {MAX_LENGTH} bytes: {key} in {self}")
        return bytes(found)


def _state(text: bytes, name: str) -> State:
    return State(generation.parse(text, name), digest_of(text))


def _nonce() -> str:
    return secrets.token_hex(16)
