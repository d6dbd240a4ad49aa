"""Pointers: the small blobs that stand in Git for data files.

Format: docs/format.md, "Pointer". Pure: text in, value out.
"""

from __future__ import annotations

from typing import NamedTuple

from git_datareg.digest import ALGORITHM, HEX_LENGTH, Digest
from git_datareg.errors import PointerError

_MAGIC = b"git-datareg pointer "
_HEAD = _MAGIC + b"1\n" + ALGORITHM.encode() + b" "
_HEX_END = len(_HEAD) + HEX_LENGTH
_SIZE_START = _HEX_END + len(b"\nsize ")
#: No pointer of any version is longer; what is, is data.
MAX_LENGTH = 1024
_MAX_SIZE = 2**63 - 1


class Pointer(NamedTuple):
    """What a pointer says: which object a file holds and how many bytes it has."""

    digest: Digest
    size: int

    @classmethod
    def parse(cls, data: bytes) -> Pointer | None:
        """The pointer that `data` is, or None when it is ordinary data.

        Exactly one encoding is a pointer; a byte more or less and it is data.
        Raises PointerError for what only a later git-datareg can have written:
        a well-formed pointer of another version, or with another hash.
        """
        if len(data) > MAX_LENGTH or not data.startswith(_MAGIC):
            return None
        # Almost every pointer is of this version, and there may be very many.
        value, size = data[len(_HEAD) : _HEX_END], data[_SIZE_START:-1]
        if data == b"%b%b\nsize %b\n" % (_HEAD, value, size) and _is_size(size):
            return cls(Digest(value.decode()), int(size)) if _is_hex(value, HEX_LENGTH) else None
        return cls._parse_other(data)

    @classmethod
    def _parse_other(cls, data: bytes) -> None:
        """Tell what is no pointer of this version from one that a later git-datareg wrote."""
        first, *rest = data.split(b"\n")
        version = first.removeprefix(_MAGIC)
        if not rest or not _is_number(version):
            return
        if version != b"1":
            raise PointerError(
                f"pointer of version {version.decode()}, but only version 1 is known here",
                "upgrade git-datareg",
            )
        if len(rest) != 3 or rest[2]:
            return
        algorithm, _, value = rest[0].partition(b" ")
        name, _, size = rest[1].partition(b" ")
        is_one = name == b"size" and _is_size(size) and _is_name(algorithm) and _is_hex(value)
        if is_one and algorithm != ALGORITHM.encode():
            raise PointerError(
                f"pointer with the hash {algorithm.decode()}, but only {ALGORITHM} is known here",
                "upgrade git-datareg",
            )

    def encode(self) -> bytes:
        """The one encoding, as Git stores it."""
        return b"%s%s\nsize %d\n" % (_HEAD, self.digest.hex.encode(), self.size)


def looks_like_pointer(head: bytes) -> bool:
    """Whether data that begins with `head` may be a pointer; cheap, never a wrong no."""
    return head[: len(_MAGIC)] == _MAGIC[: len(head)]


def _is_number(text: bytes) -> bool:
    return text.isdigit() and len(text) <= 19 and (text == b"0" or not text.startswith(b"0"))


def _is_size(text: bytes) -> bool:
    return _is_number(text) and int(text) <= _MAX_SIZE


def _is_hex(text: bytes, length: int = 0) -> bool:
    return bool(text) and not text.strip(b"0123456789abcdef") and length in (0, len(text))


def _is_name(text: bytes) -> bool:
    return bool(text) and not text.strip(b"abcdefghijklmnopqrstuvwxyz0123456789-")
