"""How revisions are spelled (gitrevisions(7), git-check-ref-format(1)). Pure."""

from __future__ import annotations

_HEX = "0123456789abcdef"
_ID_LENGTHS = (40, 64)
#: Shorter beginnings of an id may mean one commit in a part of a history, and many in the whole.
_ABBREVIATED = 7
#: What makes a revision more than the name of a ref.
_OPERATORS = frozenset("~^:@{}[]?*\\ \"'")


def is_id(rev: str) -> bool:
    """Whether it is a full object id."""
    return len(rev) in _ID_LENGTHS and is_hex(rev)


def is_hex(rev: str) -> bool:
    """Whether it may be an object id, or the beginning of one."""
    return not rev.strip(_HEX)


def is_abbreviated(rev: str) -> bool:
    """Whether it is an id, or enough of one to be looked for among some objects only."""
    return len(rev) >= _ABBREVIATED and is_hex(rev)


def is_ref_name(rev: str) -> bool:
    """Whether a remote can be asked for it by this name."""
    if not rev.isprintable() or rev.startswith("-") or not _OPERATORS.isdisjoint(rev):
        return False
    parts = rev.split("/")
    is_formed = all(part and part[0] != "." and not part.endswith(".lock") for part in parts)
    return is_formed and ".." not in rev and not rev.endswith(".")
