"""Lines of `.gitattributes` that say what is tracked.

Pure edits of the file's text (gitattributes(5)): what is not ours stays byte
for byte. Which attributes a path really has is Git's to say.
"""

from __future__ import annotations

#: What `track` writes behind a pattern. `-merge`: a text merge would put
#: conflict marks into pointers; `-text`: line ends of data are data.
TRACKED = b"filter=datareg -text -merge -diff"
#: What keeps a file below a tracked pattern as it would be without it.
PLAIN = b"!filter !text !merge !diff"
_BOM = b"\xef\xbb\xbf"


def patterns(text: bytes) -> list[str]:
    """The patterns that the file tracks, in the file's order, unquoted."""
    return [
        pattern for line in text.splitlines() if (pattern := _tracked_pattern(line)) is not None
    ]


def track(text: bytes, pattern: str) -> bytes:
    """The text with `pattern` tracked; unchanged when it already is."""
    if pattern in patterns(text):
        return text
    if text and not text.endswith(b"\n"):
        text += b"\n"
    return text + _quoted(pattern) + b" " + TRACKED + b"\n"


def untrack(text: bytes, pattern: str) -> bytes:
    """The text without the lines that track exactly `pattern`."""
    lines = text.splitlines(keepends=True)
    return b"".join(line for line in lines if _tracked_pattern(line) != pattern)


def literal(path: str) -> str:
    """The pattern that matches exactly the file `path`, from the repository's root."""
    escaped = "".join("\\" + char if char in "*?[\\" else char for char in path)
    return "/" + escaped


def with_import(text: bytes, name: str, data: list[str], plain: list[str]) -> bytes:
    """The text with the lines that the import `name`, which lies beside the file, needs.

    `data` and `plain` are the paths of its files, relative to it; "" is the
    import itself. The filter is set for the data and kept off the plain files.
    """
    top = literal(name)
    lines = [
        line
        for line in text.splitlines(keepends=True)
        if not ((pattern := _pattern(line)) == top or (pattern or "").startswith(top + "/"))
    ]
    if data:
        if lines and not lines[-1].endswith(b"\n"):
            lines[-1] += b"\n"
        lines.append(_quoted(top if data == [""] else top + "/**") + b" " + TRACKED + b"\n")
        lines += [_quoted(literal(f"{name}/{path}")) + b" " + PLAIN + b"\n" for path in plain]
    return b"".join(lines)


def _tracked_pattern(line: bytes) -> str | None:
    pattern, rest = _split(line)
    return pattern if b"filter=datareg" in rest.split() else None


def _pattern(line: bytes) -> str | None:
    return _split(line)[0]


def _split(line: bytes) -> tuple[str | None, bytes]:
    """A line's pattern, unquoted, and its attributes; no pattern for anything else."""
    # Git passes over a byte order mark at the start of the file.
    line = line.removeprefix(_BOM).strip()
    if not line or line.startswith((b"#", b"[attr]")):
        return None, b""
    if line.startswith(b'"'):
        pattern, rest = _unquoted(line)
    else:
        pattern, _, rest = line.replace(b"\t", b" ").partition(b" ")
    return pattern.decode("utf-8", "surrogateescape"), rest


def _quoted(pattern: str) -> bytes:
    raw = pattern.encode("utf-8", "surrogateescape")
    if not raw.startswith((b'"', b"#", b"!", b"[attr]", _BOM)) and not any(
        byte <= 32 or byte == 127 for byte in raw
    ):
        return raw
    return b'"' + b"".join(_escape(byte) for byte in raw) + b'"'


def _escape(byte: int) -> bytes:
    if byte in b'"\\':
        return b"\\" + bytes([byte])
    return b"\\%03o" % byte if byte < 32 or byte == 127 else bytes([byte])


_ESCAPES = {
    ord("n"): 10,
    ord("t"): 9,
    ord("r"): 13,
    ord("a"): 7,
    ord("b"): 8,
    ord("v"): 11,
    ord("f"): 12,
}


def _unquoted(line: bytes) -> tuple[bytes, bytes]:
    """The C-quoted string at the start of `line`, and what follows it."""
    out = bytearray()
    at = 1
    while at < len(line) and line[at] != ord('"'):
        if line[at] == ord("\\") and at + 1 < len(line):
            at += 1
            octal = line[at : at + 3]
            if len(octal) == 3 and not octal.strip(b"01234567"):
                out.append(int(octal, 8) & 255)
                at += 3
                continue
            out.append(_ESCAPES.get(line[at], line[at]))
        else:
            out.append(line[at])
        at += 1
    return bytes(out), line[at + 1 :]
