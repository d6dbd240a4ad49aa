"""Import metafiles: `<out>.datareg`, which says where imported files came from.

Format: docs/format.md, "Import metafile". Pure: text in, value out.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import NamedTuple

from git_datareg import gitconfig
from git_datareg.errors import MetafileError, UsageError
from git_datareg.gitconfig import Item
from git_datareg.location import Location

#: What an import metafile's name ends in; the rest is the name of what was imported.
SUFFIX = ".datareg"
_ID_LENGTHS = (40, 64)
_SINGLE = ("url", "path", "commit", "rev", "storage", "endpoint", "region", "vendor")


class Metafile(NamedTuple):
    """What one import is: where from, which revision, which part."""

    #: The source registry, as the user named it, without credentials.
    url: str
    #: What was imported, relative to the source's root; "." is all of it.
    path: str
    #: The commit of the source that we have now, as a full id.
    commit: str
    #: What to follow; None is the source's default branch.
    rev: str | None = None
    #: Where the objects were at that commit; a hint.
    storage: str | None = None
    #: The server of that storage and its region, where its URL does not say.
    endpoint: str | None = None
    region: str | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    #: Whether the objects are pushed to our own storage too.
    vendor: bool = False

    @classmethod
    def parse(cls, text: bytes, name: str) -> Metafile:
        """The metafile with this text; `name` is for messages. Unknown keys are left aside.

        Raises MetafileError when it is not one, or names what can't be meant:
        it may come from anybody, and git gets to see its url and rev.
        """
        try:
            items = [item for item in gitconfig.parse(text) if item[:2] == ("import", None)]
            single = {item.key: item.value for item in items if item.key in _SINGLE}
            _check(single)
            vendor = gitconfig.is_true(single.get("vendor", "false"))
        except (ValueError, UsageError) as error:
            raise MetafileError(f"not an import metafile: {name}: {error}") from error
        return cls(
            url=single["url"],
            path=single["path"],
            commit=single["commit"],
            rev=single.get("rev") or None,
            storage=single.get("storage") or None,
            endpoint=single.get("endpoint") or None,
            region=single.get("region") or None,
            include=tuple(item.value for item in items if item.key == "include"),
            exclude=tuple(item.value for item in items if item.key == "exclude"),
            vendor=vendor,
        )

    def encode(self) -> bytes:
        """The text of the metafile; `parse` reads it back to an equal value.

        Raises ValueError for a text with NUL.
        """
        pairs = [("url", self.url), ("path", self.path)]
        if self.rev is not None:
            pairs.append(("rev", self.rev))
        pairs.append(("commit", self.commit))
        hint = (("storage", self.storage), ("endpoint", self.endpoint), ("region", self.region))
        pairs += [(key, value) for key, value in hint if value is not None]
        pairs += [("include", glob) for glob in self.include]
        pairs += [("exclude", glob) for glob in self.exclude]
        if self.vendor:
            pairs.append(("vendor", "true"))
        return gitconfig.encode(Item("import", None, key, value) for key, value in pairs)


def is_metafile(path: bytes) -> bool:
    """Whether a path in a repository is that of an import metafile (not of `.datareg`)."""
    name = path.rpartition(b"/")[2]
    return name.endswith(b".datareg") and name != b".datareg"


def is_imported(path: bytes, targets: Set[bytes]) -> bool:
    """Whether a file is one of those that were imported, or below one."""
    while path:
        if path in targets:
            return True
        path = path.rpartition(b"/")[0]
    return False


def _check(single: Mapping[str, str]) -> None:
    """Raise ValueError or UsageError unless these values can be meant."""
    for key in ("url", "path", "commit"):
        if not single.get(key):
            raise ValueError(f"no {key!r} in it")
    Location.parse(single["url"])
    for key in ("storage", "endpoint"):
        if single.get(key):
            Location.parse(single[key])
    path = single["path"]
    if path.startswith("/") or ".." in path.split("/"):
        raise ValueError(f"not a path inside a registry: {path!r}")
    commit = single["commit"]
    if len(commit) not in _ID_LENGTHS or commit.strip("0123456789abcdef"):
        raise ValueError(f"its commit is not a full id: {commit!r}")
    rev = single.get("rev", "")
    if rev.startswith("-") or any(ord(char) < 32 or ord(char) == 127 for char in rev):
        raise ValueError(f"not a revision: {rev!r}")
