"""Packs of Git's objects: made of what is new, and taken into a repository, many at once.

gitformat-pack(5) is the source of what is known about their bytes here.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import IO, NamedTuple

from git_datareg.errors import CorruptError, GitError
from git_datareg.git.repository import Repository

_SIGNATURE = b"PACK"
_VERSIONS = (2, 3)
#: Bytes before the first object.
HEADER = 12
_TRAILER = {"sha1": 20, "sha256": 32}
_CHUNK = 1024 * 1024


class PackFile(NamedTuple):
    """A pack in a directory, and its index."""

    content: str
    idx: str


def write(
    repository: Repository, new: Iterable[str], old: Iterable[str], directory: str, *, show: bool
) -> PackFile | None:
    """Make a pack of all that `new` objects reach and `old` ones don't, checked as git-fsck does.

    Complete in itself: no delta has its base elsewhere. None when there is nothing. What
    git says goes to our stderr, its progress if it is to `show`. Raises GitError.
    """
    names = "".join([*(f"{id}\n" for id in new), *(f"^{id}\n" for id in old)])
    # By itself it would begin the pack in the repository, maybe on another file system.
    arguments = ["pack-objects", "--revs", "--delta-base-offset", "--non-empty", "--stdout"]
    path, index = (os.path.join(directory, f"new.{suffix}") for suffix in ("pack", "idx"))
    with open(path, "wb") as file:
        flag = "--progress" if show else "-q"
        _run(repository, [*arguments, flag], [names.encode()], file.write)
    if not os.path.getsize(path):
        return None
    # Who fetches checks it so, too, and would then be stuck with it.
    _run(repository, ["index-pack", "--fsck-objects", "-o", index, path], [], _drop)
    return PackFile(path, index)


def merge(repository: Repository, directory: str) -> PackFile:
    """One pack, in a directory, of all packs of a repository, each object once.

    They are taken to have been checked before.
    """
    store = os.path.join(repository.places.common_dir, "objects", "pack")
    names = sorted(name for name in os.listdir(store) if name.endswith(".pack"))
    arguments = [
        *("-c", "pack.packSizeLimit=0", "-c", "pack.writeReverseIndex=false"),
        *("pack-objects", "--stdin-packs", "--delta-base-offset", "-q"),
        os.path.join(directory, "new"),
    ]
    said = bytearray()
    _run(repository, arguments, [f"{each}\n".encode() for each in names], said.extend)
    path = os.path.join(directory, f"new-{said.decode().strip()}")
    return PackFile(f"{path}.pack", f"{path}.idx")


def take_in(
    repository: Repository,
    packs: Sequence[Callable[[], Iterator[bytes]]],
    objects: int,
    *,
    show: bool,
) -> None:
    """Put the objects of some packs into a repository, as one pack, checked as git-fsck does.

    Each pack is a function that gives its bytes in pieces, and that raises at its end, or
    before, when they are not what they should be. `objects` is how many all of them
    have. All or nothing: a fault, ours or git's, leaves the repository as it is.
    Raises CorruptError for what is no pack, GitError when git refuses; it has then said why
    on stderr.
    """
    arguments = ["index-pack", "--stdin", "--fsck-objects", *(["-v"] if show else [])]
    _run(repository, arguments, _joined(packs, objects, repository.object_format), _drop)


def count(header: bytes) -> int:
    """How many objects a pack has that begins so; raises CorruptError for what is no pack."""
    version, objects = int.from_bytes(header[4:8], "big"), int.from_bytes(header[8:12], "big")
    if len(header) < HEADER or header[:4] != _SIGNATURE or version not in _VERSIONS:
        raise CorruptError("not a pack of Git objects")
    return objects


def _joined(
    packs: Sequence[Callable[[], Iterator[bytes]]], objects: int, object_format: str
) -> Iterator[bytes]:
    """The bytes of one pack that has the entries of all.

    Deltas name their bases by how far before them they are, or by id: so entries may be
    moved together. The hash at the end comes only when all packs have been good.
    """
    hasher = hashlib.new(object_format)
    head = _SIGNATURE + (2).to_bytes(4, "big") + objects.to_bytes(4, "big")
    hasher.update(head)
    yield head
    found = 0
    for pack in packs:
        entries = _Entries(_TRAILER[object_format])
        for piece in pack():
            entry = entries.of(piece)
            if entry:
                hasher.update(entry)
                yield entry
        found += entries.objects
    if found != objects:
        raise CorruptError(f"packs of {found} objects, and not of {objects}")
    yield hasher.digest()


class _Entries:
    """What is between a pack's header and the hash at its end."""

    def __init__(self, trailer: int) -> None:
        self.objects = 0
        self._trailer = trailer
        self._held = b""
        self._has_header = False

    def of(self, piece: bytes) -> bytes:
        """What of the pack's next piece, and of those before, is sure to be entries."""
        held = self._held + piece
        if not self._has_header:
            if len(held) < HEADER:
                self._held = held
                return b""
            self.objects = count(held[:HEADER])
            self._has_header = True
            held = held[HEADER:]
        end = max(len(held) - self._trailer, 0)
        self._held = held[end:]
        return held[:end]


def _run(
    repository: Repository,
    arguments: Sequence[str],
    input: Iterable[bytes],
    take: Callable[[bytes], object],
) -> None:
    """Run a git that is fed piece by piece, may talk on our stderr, and prints to `take`.

    It must not print before it has all of its input.
    """
    child = repository.start(*arguments, aloud=True)
    assert child.stdin is not None and child.stdout is not None
    try:
        _feed(child.stdin, input)
        while piece := child.stdout.read(_CHUNK):
            take(piece)
    except BaseException:
        # What it has so far is not whole, and so nothing.
        child.kill()
        child.communicate()
        raise
    child.stdout.close()
    if child.wait() != 0:
        name = next(word for word in arguments if word.endswith(("-pack", "-objects")))
        raise GitError(f"git {name} failed in {repository.top}")


def _feed(pipe: IO[bytes], input: Iterable[bytes]) -> None:
    # It may have ended before, and says why by its exit code.
    with suppress(BrokenPipeError):
        for piece in input:
            pipe.write(piece)
    with suppress(BrokenPipeError):
        pipe.close()


def _drop(said: bytes) -> None:
    """Take what nobody asked for."""
