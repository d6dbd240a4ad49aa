"""The layout of objects in a storage, version 1: which key holds what.

Normative text: docs/format.md, "Storage". Works on any `Storage`; checks what
it reads before anybody sees it under an object's name.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Generator
from contextlib import suppress
from typing import BinaryIO

from git_datareg.digest import Digest
from git_datareg.errors import (
    CorruptError,
    DataregError,
    IntegrityError,
    ObjectNotFoundError,
    StorageUnavailableError,
)
from git_datareg.objects import ObjectDirectory
from git_datareg.pointer import Pointer
from git_datareg.storage import Options, Storage

MARKER_KEY = "datareg.json"
MARKER = b'{"format": 1, "features": []}\n'
_FORMAT = 1
_MAX_MARKER = 64 * 1024
_MAX_SHOWN = 100
_CHUNK = 1024 * 1024


def object_key(digest: Digest) -> str:
    """The key of an object."""
    return "objects/" + digest.key


def is_marked(directory: str) -> bool:
    """Whether a directory on this machine is a storage that has its marker."""
    return os.path.isfile(os.path.join(directory, MARKER_KEY))


class ObjectStorage:
    """Objects in a storage of layout 1."""

    def __init__(self, storage: Storage, options: Options | None = None) -> None:
        self.storage = storage
        #: How it was opened.
        self.options = options or Options()
        #: Whether it has a marker, and a good one; None until it was looked at.
        self._marked: bool | None = None

    def __str__(self) -> str:
        return str(self.storage.location)

    def prepare(self) -> None:
        """Make it ready for writing: an empty place gets its marker.

        Raises CorruptError when the marker names a format or a feature that
        is not known here, and whatever the storage raises when it is not there.
        """
        if not self._marked and not self._has_marker() and not self._put_marker():
            # Somebody else was quicker, maybe with a later format.
            self._has_marker()
        self._marked = True

    def has(self, pointer: Pointer) -> bool:
        """Whether the object is there; raises IntegrityError when its size is wrong."""
        info = self.storage.info(object_key(pointer.digest))
        if info is not None:
            self.check_size(pointer, info.size)
        return info is not None

    def check_size(self, pointer: Pointer, size: int) -> None:
        """Raise IntegrityError for an object that is there with another size."""
        if size != pointer.size:
            raise IntegrityError(
                f"corrupt object {pointer.digest} in {self}: "
                f"{size} bytes instead of {pointer.size}",
                "in a repository that has it: git datareg fsck --storage --repair",
            )

    def upload(self, pointer: Pointer, source: BinaryIO) -> bool:
        """Store an object from a stream; False when it is there already."""
        return self.storage.put(object_key(pointer.digest), source, pointer.size)

    def download(self, pointer: Pointer, into: ObjectDirectory) -> None:
        """Copy an object into a directory, verified; there it is whole or absent.

        Raises ObjectNotFoundError when the storage has no such object,
        IntegrityError when what it has under that name is something else, and
        OSError when the directory can't take it.
        """
        self.check()
        key = object_key(pointer.digest)
        path = self.storage.file(key) if pointer.size > _CHUNK else None
        try:
            if path is not None:
                # It may be gone by now, as everything in a storage.
                with suppress(FileNotFoundError):
                    into.copy(pointer, path)
                    return
            with self.storage.open(key) as source:
                self._copy(source, pointer, into)
        except IntegrityError as error:
            raise IntegrityError(
                f"corrupt object {pointer.digest} in {self}", *error.hints
            ) from error

    def _copy(self, source: BinaryIO, pointer: Pointer, into: ObjectDirectory) -> None:
        # One byte more than promised is enough to know that it is wrong.
        left = pointer.size + 1
        if left <= _CHUNK:
            into.put(pointer, self._read_all(source, left))
            return
        with into.writer() as writer:
            while left and (chunk := self._read(source, min(left, _CHUNK))):
                writer.write(chunk)
                left -= len(chunk)
            writer.commit(pointer)

    def pieces(
        self, pointer: Pointer, offset: int, length: int, step: int
    ) -> Generator[bytes, None, None]:
        """A range of an object's bytes in pieces of `step` bytes (the last may have less).

        Nothing is verified, and it ends early where the storage does: callers
        check both. At most one piece is in memory. To close the iterator, or to
        drop it, ends the request. Raises ObjectNotFoundError when the storage
        has no such object; what it raises comes with the first piece.
        """
        self.check()
        with self.storage.open(object_key(pointer.digest), offset, length) as source:
            while length and (piece := self._read_all(source, min(step, length))):
                length -= len(piece)
                yield piece

    def url(self, digest: Digest) -> str:
        """A URL that names the object; nothing is looked up."""
        return self.storage.url(object_key(digest))

    def presign(self, digest: Digest, seconds: int) -> str | None:
        """A URL by which anybody may GET the object for so long, where the place has such."""
        return self.storage.presign(object_key(digest), seconds)

    def _read(self, source: BinaryIO, size: int) -> bytes:
        try:
            return source.read(size)
        except DataregError:
            raise
        except OSError as error:
            raise StorageUnavailableError(f"{error.strerror or error}: {self}") from error

    def _read_all(self, source: BinaryIO, size: int) -> bytes:
        """So many bytes, also from a stream that gives less at a time; less only at its end."""
        first = self._read(source, size)
        if not first or len(first) == size:
            return first
        found = bytearray(first)
        while len(found) < size and (more := self._read(source, size - len(found))):
            found += more
        return bytes(found)

    def _put_marker(self) -> bool:
        return self.storage.put(MARKER_KEY, io.BytesIO(MARKER), len(MARKER))

    def check(self) -> bool:
        """Whether the storage has its marker, which a reader does not need; it is asked once.

        Raises CorruptError for one of a format or with features that are not known here.
        """
        if self._marked is None:
            self._marked = self._has_marker()
        return self._marked

    def _has_marker(self) -> bool:
        try:
            with self.storage.open(MARKER_KEY) as stream:
                text = self._read_all(stream, _MAX_MARKER)
        except ObjectNotFoundError:
            return False
        check_marker(text, str(self))
        return True


def check_marker(text: bytes, name: str) -> None:
    """Raise CorruptError unless `text` is the marker of a storage that we understand."""
    try:
        marker = json.loads(text)
        version, features = marker["format"], marker.get("features", [])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CorruptError(f"not the marker of a storage: {MARKER_KEY} in {name}") from error
    # `True` and 1.0 equal 1 in Python.
    if type(version) is not int or version != _FORMAT:
        raise CorruptError(
            f"storage of format {_shown(version)}, but only {_FORMAT} is known here: {name}",
            "upgrade git-datareg",
        )
    if features != []:
        raise CorruptError(
            f"storage with features that are not known here: {_shown(features)}: {name}",
            "upgrade git-datareg",
        )


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "..."


def not_found(pointer: Pointer, storages: list[ObjectStorage]) -> ObjectNotFoundError:
    """The fault that an object is in none of the storages."""
    where = ", ".join(str(storage) for storage in storages) or "any storage: none is configured"
    return ObjectNotFoundError(f"object {pointer.digest} is not in {where}")
