"""The files by which Git reads a repository from a server of plain files ("dumb http").

Derived from a generation, never read back. Sources: gitrepository-layout(5) and
git-update-server-info(1), whose files they are.
"""

from __future__ import annotations

from collections.abc import Iterator

from git_datareg.generation import Generation, pack_name


def changed(new: Generation, old: Generation | None) -> Iterator[tuple[str, bytes]]:
    """Key and content of each file that is another than for the generation before, in order.

    Refs come last: what they need is named before.
    """
    if old is None or new.packs != old.packs:
        names = [pack_name(pack.digest, new.object_format) for pack in new.packs]
        lines = "".join(f"P {name}.pack\n" for name in names)
        yield "objects/info/packs", f"{lines}\n".encode()
    if old is None or new.head != old.head:
        yield "HEAD", _encoded(f"ref: {new.head}\n")
    yield "info/refs", _encoded("".join(_lines(new)))


def _lines(generation: Generation) -> Iterator[str]:
    for name in sorted(generation.refs):
        yield f"{generation.refs[name]}\t{name}\n"
        if name in generation.peeled:
            yield f"{generation.peeled[name]}\t{name}^{{}}\n"


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
