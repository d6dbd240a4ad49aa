"""Include and exclude globs, as `-I` and `-X` take them. Pure."""

from __future__ import annotations

import os
from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import cache

_ANY_DEPTH = "**/"
#: So many of them may each stand for no directory; beyond, they are stars like others.
_MAX_ANY_DEPTH = 4


def is_chosen(path: bytes, include: Sequence[str], exclude: Sequence[str]) -> bool:
    """Whether a path matches any of `include` (none: all do) and none of `exclude`.

    A glob matches the whole path, a directory above the file, or, without
    a slash, the file's name. `*` matches slashes too, `**/` also no directory
    at all; a slash or `./` at the beginning ties a glob to the top.
    """
    if not include and not exclude:
        # As almost always, and for very many paths.
        return True
    text = os.fsdecode(path)
    included = not include or any(_matches(text, glob) for glob in include)
    return included and not any(_matches(text, glob) for glob in exclude)


def _matches(path: str, glob: str) -> bool:
    if "/" not in glob and fnmatchcase(path.rpartition("/")[2], glob):
        return True
    return any(
        fnmatchcase(path, each) or fnmatchcase(path, each.rstrip("/") + "/*")
        for each in _spellings(glob)
    )


@cache
def _spellings(glob: str) -> tuple[str, ...]:
    """The glob as fnmatch takes it: from the top, with and without each `**/`."""
    head, *rest = glob.removeprefix("./").lstrip("/").split(_ANY_DEPTH)
    found = [head]
    for number, part in enumerate(rest):
        without = [f"{each}{part}" for each in found if each == "" or each.endswith("/")]
        found = [f"{each}{_ANY_DEPTH}{part}" for each in found]
        if number < _MAX_ANY_DEPTH:
            found += without
    return tuple(found)
