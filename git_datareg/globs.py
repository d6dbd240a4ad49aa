"""Include and exclude globs, as `-I` and `-X` take them. Pure."""

from __future__ import annotations

import os
from collections.abc import Sequence
from fnmatch import fnmatchcase


def is_chosen(path: bytes, include: Sequence[str], exclude: Sequence[str]) -> bool:
    """Whether a path matches any of `include` (none: all do) and none of `exclude`.

    A glob matches the whole path, a directory above the file, or, without
    a slash, the file's name. `*` matches slashes too.
    """
    text = os.fsdecode(path)
    included = not include or any(_matches(text, glob) for glob in include)
    return included and not any(_matches(text, glob) for glob in exclude)


def _matches(path: str, glob: str) -> bool:
    name = path.rpartition("/")[2]
    return (
        fnmatchcase(path, glob)
        or fnmatchcase(path, glob.rstrip("/") + "/*")
        or ("/" not in glob and fnmatchcase(name, glob))
    )
