"""Text in git-config syntax, as a list of items.

Knows the syntax as git reads it (git-config(1), "Syntax"): git edits the same
files, so a text that git refuses or takes otherwise must not pass here. Does
not know what any key means. Nothing is included, whatever `[include]` says.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_NAME = _LETTERS | frozenset("0123456789-")
#: What git takes for white space: not form feed, not vertical tab.
_SPACE = frozenset(" \t\r\n")
_ESCAPES = {"n": "\n", "t": "\t", "b": "\b", "\\": "\\", '"': '"', "\n": ""}
_UTF8_MARK = b"\xef\xbb\xbf"
_TRUE = frozenset(("true", "yes", "on"))
_FALSE = frozenset(("false", "no", "off", ""))


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

    `[a.B]`, the old spelling, is section `a` with the subsection `b`. Bytes
    that are not UTF-8 are kept by surrogate escapes. Raises ValueError when
    git would not read the text, or when it holds NUL.
    """
    if b"\0" in text:
        raise ValueError("it holds a NUL byte")
    return list(_Parser(text.removeprefix(_UTF8_MARK).replace(b"\r\n", b"\n")).items())


def encode(items: Iterable[Item]) -> bytes:
    """The text that `parse` and git read back as these items, one header per run of a section.

    Raises ValueError for what the syntax cannot hold: NUL, a line break in a
    subsection, other characters than letters, digits and "-" in a name.
    """
    lines: list[str] = []
    header = None
    for item in items:
        if header != item[:2]:
            header = item[:2]
            lines.append(_header(item.section, item.subsection))
        if not _is_key(item.key):
            raise ValueError(f"not the name of a key: {item.key!r}")
        lines.append(f"\t{item.key} = {_quoted(item.value)}")
    return "".join(line + "\n" for line in lines).encode("utf-8", "surrogateescape")


def is_true(value: str) -> bool:
    """The boolean that git sees in a value (git-config(1), "Values").

    Raises ValueError when it is none.
    """
    word = value.lower()
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    if value.isascii() and value.isdigit():
        return value.strip("0") != ""
    raise ValueError(f"neither true nor false: {value!r}")


class _Parser:
    """Goes through a text once; `_at` is the next character."""

    def __init__(self, text: bytes) -> None:
        # Git reads a line end at the end of the file, and again after a backslash there.
        self._text = text.decode("utf-8", "surrogateescape") + "\n\n"
        self._at = 0

    def items(self) -> Iterable[Item]:
        section: tuple[str, str | None] | None = None
        while self._skip_blank():
            if self._text[self._at] == "[":
                section = self._section()
            elif section is None:
                raise self._fault()
            else:
                yield Item(*section, *self._setting())

    def _skip_blank(self) -> bool:
        """Go to the next header or key; False at the end."""
        while self._at < len(self._text):
            char = self._text[self._at]
            if char in "#;":
                self._at = self._text.index("\n", self._at)
            elif char not in _SPACE:
                return True
            self._at += 1
        return False

    def _section(self) -> tuple[str, str | None]:
        self._at += 1
        name = self._name(_NAME | {"."}).lower()
        subsection = None
        if self._take(" \t\r"):
            subsection = self._subsection()
        if not name or self._text[self._at] != "]":
            raise self._fault()
        self._at += 1
        first, dot, rest = name.partition(".")
        if dot:
            subsection = rest if subsection is None else f"{rest}.{subsection}"
        return first, subsection

    def _subsection(self) -> str:
        found = []
        if self._text[self._at] != '"':
            raise self._fault()
        self._at += 1
        while (char := self._next()) != '"':
            if char == "\\":
                char = self._next()
            if char == "\n":
                self._at -= 1
                raise self._fault()
            found.append(char)
        return "".join(found)

    def _setting(self) -> tuple[str, str]:
        if self._text[self._at] not in _LETTERS:
            raise self._fault()
        key = self._name(_NAME).lower()
        self._take(" \t")
        sign = self._next()
        if sign not in "=\n":
            self._at -= 1
            raise self._fault()
        return key, self._value() if sign == "=" else "true"

    def _value(self) -> str:
        value, kept, quoted = "", 0, False
        while (char := self._next()) != "\n":
            if not quoted and char in "#;":
                self._at = self._text.index("\n", self._at)
                continue
            if not quoted and char in _SPACE:
                # At the start it is left out; at the end it is cut off.
                value += char if value else ""
                continue
            if char == '"':
                quoted = not quoted
            else:
                value += self._escaped() if char == "\\" else char
            kept = len(value)
        if quoted:
            self._at -= 1
            raise self._fault()
        return value[:kept]

    def _escaped(self) -> str:
        found = _ESCAPES.get(self._next())
        if found is None:
            raise self._fault()
        return found

    def _name(self, characters: frozenset[str]) -> str:
        start = self._at
        self._take(characters)
        return self._text[start : self._at]

    def _take(self, characters: Iterable[str]) -> bool:
        """Go past all of these characters; whether there were any."""
        start, wanted = self._at, frozenset(characters)
        while self._text[self._at] in wanted:
            self._at += 1
        return self._at > start

    def _next(self) -> str:
        self._at += 1
        return self._text[self._at - 1]

    def _fault(self) -> ValueError:
        line = self._text.count("\n", 0, self._at) + 1
        return ValueError(f"bad syntax in line {line}")


def _header(section: str, subsection: str | None) -> str:
    if not section or not _NAME.issuperset(section):
        raise ValueError(f"not the name of a section: {section!r}")
    if subsection is None:
        return f"[{section}]"
    if "\n" in subsection or "\0" in subsection:
        raise ValueError(f"a subsection cannot hold a line break or NUL: {subsection!r}")
    escaped = subsection.replace("\\", "\\\\").replace('"', '\\"')
    return f'[{section} "{escaped}"]'


def _is_key(name: str) -> bool:
    return name[:1] in _LETTERS and _NAME.issuperset(name)


def _quoted(value: str) -> str:
    if "\0" in value:
        raise ValueError(f"a value cannot hold NUL: {value!r}")
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    # Quotes also keep a trailing CR, which git would take for a line end (CVE-2025-48384).
    plain = value != "" and value == value.strip() and not set(value) & set("#;\r\t\v\f")
    return escaped if plain else f'"{escaped}"'
