"""Roots: which objects the repositories that share a storage need, as each of them has said.

A push says it before it looks what is there, so that a garbage collection, which says that
it begins before it reads what was said, never deletes what a push counts on: at least one
of the two sees the other. Normative text: docs/format.md, "Roots".
"""

from __future__ import annotations

import io
import re
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

from git_datareg import workers
from git_datareg.digest import Digest, digest_of
from git_datareg.errors import (
    CorruptError,
    DataregError,
    ObjectNotFoundError,
    StorageUnavailableError,
)
from git_datareg.location import Location
from git_datareg.storage import Storage

_HEAD = b"git-datareg roots 1\n"
_KEY = re.compile(r"roots/([0-9a-f]{64})/[0-9a-f]{32}")
_RUNNING_KEY = "gc/running"
#: Seconds after which a collection that says that it runs was killed: it stops long before.
_LONGEST = 3600.0
_MAX_LENGTH = 1024 * 1024 * 1024


class Root(NamedTuple):
    """What a repository needed at a moment, or a part of it."""

    key: str
    #: Whose it is; see `repository_id`.
    repository: str
    #: When it was said, in seconds since the epoch by the storage's clock.
    modified: float | None
    digests: frozenset[Digest]


def repository_id(remote: Location) -> str:
    """What tells a Git remote from others that store in the same place: 64 hex digits."""
    spelled = str(remote).rstrip("/").removesuffix(".git").rstrip("/")
    return digest_of(spelled.encode("utf-8", "surrogateescape")).hex


def publish(storage: Storage, repository: str, digests: Iterable[Digest]) -> None:
    """Say that a repository needs objects, before it is looked which are there.

    Raises StorageUnavailableError while what nothing needs is deleted there.
    """
    put(storage, repository, digests)
    if _is_running(storage):
        raise StorageUnavailableError(
            f"garbage is just collected in {storage.location}", "push again when that is done"
        )


def put(storage: Storage, repository: str, digests: Iterable[Digest]) -> None:
    """Store a root; raises any StorageError."""
    lines = "".join(f"{each}\n" for each in sorted(digest.hex for digest in digests))
    key, text = f"roots/{repository}/{secrets.token_hex(16)}", _HEAD + lines.encode()
    storage.put(key, io.BytesIO(text), len(text))


def read(storage: Storage) -> list[Root]:
    """All roots in a storage. Raises CorruptError for what is none, and any StorageError."""
    keys = [(info, _KEY.fullmatch(info.key)) for info in storage.list("roots/")]
    found = [(info, match) for info, match in keys if match is not None]
    texts = workers.each(
        found, lambda each: _digests(storage, each[0].key), most=storage.properties.connections
    )
    return [Root(info.key, match[1], info.modified, digests) for (info, match), digests in texts]


@contextmanager
def collecting(storage: Storage) -> Iterator[None]:
    """Say meanwhile that garbage is collected: pushes wait.

    Raises StorageUnavailableError when another collection runs.
    """
    text = f"{time.time():.0f} {secrets.token_hex(16)}\n".encode()
    if not storage.put(_RUNNING_KEY, io.BytesIO(text), len(text)):
        if _is_running(storage):
            raise StorageUnavailableError(
                f"another collection is under way in {storage.location}",
                "if it was killed, try again in an hour",
            )
        storage.delete(_RUNNING_KEY)
        if not storage.put(_RUNNING_KEY, io.BytesIO(text), len(text)):
            raise StorageUnavailableError(f"another collection has begun in {storage.location}")
    try:
        yield
    finally:
        with suppress(DataregError):
            if _text(storage, _RUNNING_KEY, len(text) + 1) == text:
                storage.delete(_RUNNING_KEY)


def _is_running(storage: Storage) -> bool:
    """Whether a collection has begun that may still run."""
    try:
        text = _text(storage, _RUNNING_KEY, 100)
    except ObjectNotFoundError:
        return False
    first = text.split(b" ")[0]
    begun = float(first) if first.isdigit() else time.time()
    return abs(time.time() - begun) < _LONGEST


def _digests(storage: Storage, key: str) -> frozenset[Digest]:
    text = _text(storage, key, _MAX_LENGTH)
    if not text.startswith(_HEAD):
        raise CorruptError(f"not the roots of a repository: {key} in {storage.location}")
    try:
        return frozenset(Digest.parse(each) for each in text[len(_HEAD) :].decode().split())
    except ValueError as error:
        raise CorruptError(f"not the roots of a repository: {key} in {storage.location}") from error


def _text(storage: Storage, key: str, most: int) -> bytes:
    with storage.open(key) as stream:
        return stream.read(most)
