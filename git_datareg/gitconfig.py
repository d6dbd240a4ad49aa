"""Text in git-config syntax, as a list of items.

Knows the syntax of git-config(1), "Syntax", as dulwich reads it; the only
importer of dulwich, which is loaded on first use. Does not know what any key means.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Item(NamedTuple):
    """One `key = value` line: `[section "subsection"] key = value`.

    `section` and `key` are lower case, as git compares them.
    """

    section: str
    subsection: str | None
    key: str
    value: str


def parse(text: bytes) -> list[Item]:
    """The items of `text`, in order; a key without value has the value "true".

    Raises ValueError when it is not git-config syntax. Bytes that are not
    UTF-8 are kept by surrogate escapes.
    """
    from io import BytesIO

    from dulwich.config import ConfigFile

    # Text from a foreign repository must not make us read other files.
    config = ConfigFile.from_file(BytesIO(text), expand_includes=False)
    return [
        Item(
            _text(section[0]).lower(),
            _text(section[1]) if len(section) > 1 else None,
            _text(key).lower(),
            _text(value),
        )
        for section in config.sections()
        for key, value in config.items(section)
    ]


def encode(items: Iterable[Item]) -> bytes:
    """The text that `parse` reads back as these items, with one header per run of a section.

    Raises ValueError for what the syntax cannot hold (NUL, a line break in a name).
    """
    lines: list[str] = []
    header = None
    for item in items:
        if header != item[:2]:
            header = item[:2]
            lines.append(_header(item.section, item.subsection))
        lines.append(f"\t{item.key} = {_quoted(item.value)}")
    return "".join(line + "\n" for line in lines).encode("utf-8", "surrogateescape")


def _header(section: str, subsection: str | None) -> str:
    if subsection is None:
        return f"[{section}]"
    if "\n" in subsection or "\0" in subsection:
        raise ValueError(f"a section name cannot hold a line break or NUL: {subsection!r}")
    escaped = subsection.replace("\\", "\\\\").replace('"', '\\"')
    return f'[{section} "{escaped}"]'


def _quoted(value: str) -> str:
    if "\0" in value:
        raise ValueError(f"a value cannot hold NUL: {value!r}")
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    # Quotes also keep a trailing CR, which git would take for a line end (CVE-2025-48384).
    plain = value == value.strip() and not set(value) & set("#;\r\t\v\f")
    return escaped if plain else f'"{escaped}"'


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")
