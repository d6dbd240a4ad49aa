"""Digests: the names of objects.

The only importer of `blake3`. Knows no files and no storage.
"""

from __future__ import annotations

from typing import NamedTuple

from blake3 import blake3

#: The name of the one hash in use, as pointers spell it.
ALGORITHM = "blake3"
HEX_LENGTH = 64
#: Bytes of a file that are mapped at once.
_MAPPED = 32 * 1024 * 1024
_HEX_DIGITS = frozenset("0123456789abcdef")


class Digest(NamedTuple):
    """The BLAKE3 of an object's bytes, as 64 lower-case hex digits.

    Made by `Digest.parse` or a `Hasher`; the constructor itself checks nothing.
    """

    hex: str

    @classmethod
    def parse(cls, text: str) -> Digest:
        """The digest that `text` spells.

        Raises ValueError unless it is 64 lower-case hex digits.
        """
        if len(text) != HEX_LENGTH or not _HEX_DIGITS.issuperset(text):
            raise ValueError(f"not a BLAKE3 in lower-case hex: {text[:80]!r}")
        return cls(text)

    @property
    def key(self) -> str:
        """Where the object lies below `objects/` in every storage and cache."""
        return f"{self.hex[:2]}/{self.hex[2:]}"

    def __str__(self) -> str:
        return self.hex


class Hasher:
    """BLAKE3 of bytes that come in pieces; counts them too."""

    def __init__(self) -> None:
        self._hash = blake3()
        #: Bytes seen so far.
        self.size = 0

    def update(self, data: bytes | bytearray | memoryview) -> None:
        """Take the next piece."""
        self._hash.update(data)
        self.size += len(data)

    def digest(self) -> Digest:
        """The digest of all pieces so far; more may follow."""
        return Digest(self._hash.hexdigest())


def digest_of(data: bytes | bytearray) -> Digest:
    """The digest of bytes that are at hand."""
    return Digest(blake3(data).hexdigest())


def digest_of_file(descriptor: int, size: int) -> Digest:
    """The digest of the first `size` bytes of an open file, read by all cores.

    It is mapped, so nobody may cut it meanwhile. Raises OSError.
    """
    # Takes time to load, and is for large files only.
    from mmap import ACCESS_READ, mmap

    hasher = blake3(max_threads=blake3.AUTO)
    # Part by part: what is mapped counts as memory of ours.
    for start in range(0, size, _MAPPED):
        length = min(_MAPPED, size - start)
        with mmap(descriptor, length, access=ACCESS_READ, offset=start) as part:
            hasher.update(part)
    return Digest(hasher.hexdigest())
