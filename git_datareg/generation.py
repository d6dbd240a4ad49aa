"""Generations: the states that the refs of a serverless registry went through, one after the other.

Each is a record, a text that is written once; normative text: docs/format.md,
"Serverless registries". What is read is anybody's, so it is checked whole before
anything of it is used.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from git_datareg.digest import Digest, digest_of
from git_datareg.errors import CorruptError, DataregError

#: Bytes of one record: some 100 for each ref, and there are repositories with 100,000. S3 has
#: no parts below, and servers that create a value of parts in no one step.
MAX_LENGTH = 16 * 1024 * 1024 - 1
_KIND = b"git-datareg generation "
_VERSION = b"1"
_MAX_NUMBER = 10**20 - 1
_MAX_PACKS = 100_000
_MAX_SIZE = 2**63 - 1
_NONCE_LENGTH = 32
_ID_LENGTHS = {"sha1": 40, "sha256": 64}
_HEX_DIGITS = frozenset("0123456789abcdef")
_BRANCHES = "refs/heads/"
#: What no name of a ref holds, besides control characters (git-check-ref-format(1)).
_NOT_IN_REFS = frozenset(" ~^:?*[\\\x7f")
_SHOWN = 80


class Pack(NamedTuple):
    """A pack of Git objects in the registry, complete in itself."""

    digest: Digest
    #: Bytes.
    size: int
    #: How many objects it holds.
    objects: int
    #: Who has these objects, with all that they reach, has no need of the pack.
    tips: tuple[str, ...]


class Collection(NamedTuple):
    """A garbage collection that may be under way: nobody may count on what it deletes."""

    #: Of the list of the keys that it deletes.
    digest: Digest
    #: When it began, by its clock: ISO 8601, UTC.
    time: str


class Generation(NamedTuple):
    """What a registry holds at one moment: its refs, and the packs that all of them are in."""

    #: 1 is the first.
    number: int
    #: The digest of the record before; None before the first.
    parent: Digest | None
    #: Tells our record from another's for the same number: 32 hex digits by chance.
    nonce: str
    #: When it was written, by its writer's clock: ISO 8601, UTC.
    time: str
    #: "sha1" or "sha256".
    object_format: str
    #: The branch that HEAD means, "refs/heads/...", there or not.
    head: str
    #: The id of each ref, by its full name.
    refs: Mapping[str, str]
    #: What the annotated tags among them finally point to.
    peeled: Mapping[str, str]
    packs: tuple[Pack, ...]
    collection: Collection | None = None

    def encode(self) -> bytes:
        """The record's text."""
        fields = {
            "number": self.number,
            "parent": self.parent.hex if self.parent is not None else None,
            "nonce": self.nonce,
            "time": self.time,
            "object_format": self.object_format,
            "head": self.head,
            "refs": dict(self.refs),
            "peeled": dict(self.peeled),
            "packs": [
                {
                    "digest": pack.digest.hex,
                    "size": pack.size,
                    "objects": pack.objects,
                    "tips": list(pack.tips),
                }
                for pack in self.packs
            ],
            "collection": {"digest": self.collection.digest.hex, "time": self.collection.time}
            if self.collection is not None
            else None,
        }
        body = json.dumps(fields, indent=1, sort_keys=True).encode() + b"\n"
        return _head(body) + body


def parse(text: bytes, name: str) -> Generation:
    """The generation that a record's text says; `name` says in messages where it is.

    Raises CorruptError for what is not a whole record of this version.
    """
    first, _, rest = text.partition(b"\n")
    if not first.startswith(_KIND):
        raise CorruptError(f"not a record of refs: {name}")
    version = first.removeprefix(_KIND)
    if version != _VERSION:
        raise CorruptError(
            f"a record of version {os.fsdecode(version)!r:.{_SHOWN}}, "
            f"but only {os.fsdecode(_VERSION)} is known here: {name}",
            "upgrade git-datareg",
        )
    body = rest.partition(b"\n")[2]
    if text != _head(body) + body:
        raise CorruptError(f"a record that is damaged, or not whole: {name}")
    try:
        found = _generation(json.loads(body))
    except CorruptError as error:
        raise CorruptError(f"{error}: {name}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, DataregError) as error:
        raise CorruptError(f"not a record of refs: {name}") from error
    return found


def pack_name(pack: Digest, object_format: str) -> str:
    """What a pack is called, without a suffix.

    As long as Git has it for this hash function (the whole digest is in the record).
    """
    return f"pack-{pack.hex[: _ID_LENGTHS[object_format]]}"


def is_ref_name(name: str) -> bool:
    """Whether it can be the full name of a ref, "refs/...", as git-check-ref-format(1) has it."""
    try:
        name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    parts = name.split("/")
    return (
        len(parts) > 1
        and parts[0] == "refs"
        and ".." not in name
        and "@{" not in name
        and not name.endswith(".")
        and _NOT_IN_REFS.isdisjoint(name)
        and all(char >= " " for char in name)
        and not any(part[:1] in ("", ".") or part.endswith(".lock") for part in parts)
    )


def in_the_way(name: str, others: Iterable[str]) -> str | None:
    """Which of the other refs leaves no room for a ref of that name: none is another's folder."""
    parts = name.split("/")
    for end in range(2, len(parts)):
        above = "/".join(parts[:end])
        if above in others:
            return above
    return next((each for each in others if each.startswith(f"{name}/")), None)


def _head(body: bytes) -> bytes:
    """The lines before a record's JSON, of which the second one vouches for it."""
    return b"%s%s\nblake3 %s\n" % (_KIND, _VERSION, digest_of(body).hex.encode())


def _generation(fields: Mapping[str, object]) -> Generation:
    object_format = _text(fields["object_format"])
    if object_format not in _ID_LENGTHS:
        raise CorruptError(f"an unknown hash function, {object_format!r:.{_SHOWN}}")
    length = _ID_LENGTHS[object_format]
    number = _number(fields["number"], 1, _MAX_NUMBER)
    parent = fields["parent"]
    if (parent is None) != (number == 1):
        raise CorruptError("only the first record has none before it")
    nonce, head = _text(fields["nonce"]), _text(fields["head"])
    if len(nonce) != _NONCE_LENGTH or not _HEX_DIGITS.issuperset(nonce):
        raise CorruptError("no nonce")
    if not head.startswith(_BRANCHES) or not is_ref_name(head):
        raise CorruptError(f"HEAD is no branch: {head!r:.{_SHOWN}}")
    refs = _ids(fields["refs"], length)
    peeled = _ids(fields["peeled"], length)
    if not peeled.keys() <= refs.keys():
        raise CorruptError("a tag that is no ref")
    _check_folders(refs)
    return Generation(
        number,
        Digest.parse(_text(parent)) if parent is not None else None,
        nonce,
        _time(fields["time"]),
        object_format,
        head,
        refs,
        peeled,
        _packs(fields["packs"], length),
        _collection(fields["collection"]),
    )


def _ids(value: object, length: int) -> dict[str, str]:
    if not isinstance(value, dict):
        raise CorruptError("refs that are no refs")
    for name, id in value.items():
        if not is_ref_name(name):
            raise CorruptError(f"not the name of a ref: {name!r:.{_SHOWN}}")
        _check_id(id, length)
    return value


def _check_folders(refs: Iterable[str]) -> None:
    names = set(refs)
    for name in names:
        parts = name.split("/")
        above = next((end for end in range(2, len(parts)) if "/".join(parts[:end]) in names), None)
        if above is not None:
            raise CorruptError(f"a ref that is the folder of another: {name!r:.{_SHOWN}}")


def _packs(value: object, length: int) -> tuple[Pack, ...]:
    if not isinstance(value, list) or len(value) > _MAX_PACKS:
        raise CorruptError("packs that are no packs")
    found = []
    for fields in value:
        tips = fields["tips"]
        if not isinstance(tips, list):
            raise CorruptError("a pack without tips")
        for tip in tips:
            _check_id(tip, length)
        found.append(
            Pack(
                Digest.parse(_text(fields["digest"])),
                _number(fields["size"], 1, _MAX_SIZE),
                _number(fields["objects"], 1, 2**32 - 1),
                tuple(tips),
            )
        )
    if len({pack.digest for pack in found}) != len(found):
        raise CorruptError("a pack that is there twice")
    return tuple(found)


def _collection(value: object) -> Collection | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise CorruptError("a collection that is none")
    return Collection(Digest.parse(_text(value["digest"])), _time(value["time"]))


def _check_id(value: object, length: int) -> None:
    text = _text(value)
    if len(text) != length or not _HEX_DIGITS.issuperset(text) or not text.strip("0"):
        raise CorruptError(f"not the id of an object: {text!r:.{_SHOWN}}")


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise CorruptError("not a text where one belongs")
    return value


def _time(value: object) -> str:
    text = _text(value)
    if len(text) > _NONCE_LENGTH or not text.isascii() or not text.isprintable():
        raise CorruptError("no time")
    return text


def _number(value: object, least: int, most: int) -> int:
    # `True` equals 1 in Python.
    if type(value) is not int or not least <= value <= most:
        raise CorruptError("not a number where one belongs")
    return value
