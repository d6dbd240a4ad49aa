"""Import metafiles: `<out>.datareg`, which says where imported files came from.

Format: docs/format.md, "Import metafile". Pure: text in, value out.
"""

from __future__ import annotations

from typing import NamedTuple

from git_datareg import gitconfig
from git_datareg.errors import MetafileError
from git_datareg.gitconfig import Item

#: What an import metafile's name ends in; the rest is the name of what was imported.
SUFFIX = ".datareg"
_ID_LENGTHS = (40, 64)
_SINGLE = ("url", "path", "commit", "rev", "storage", "vendor")


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
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    #: Whether the objects are pushed to our own storage too.
    vendor: bool = False

    @classmethod
    def parse(cls, text: bytes, name: str) -> Metafile:
        """The metafile with this text; `name` is for messages. Unknown keys are left aside.

        Raises MetafileError when it is not one.
        """
        try:
            items = [item for item in gitconfig.parse(text) if item[:2] == ("import", None)]
        except ValueError as error:
            raise MetafileError(f"not an import metafile: {name}: {error}") from error
        single = {item.key: item.value for item in items if item.key in _SINGLE}
        for key in ("url", "path", "commit"):
            if not single.get(key):
                raise MetafileError(f"import metafile without {key!r}: {name}")
        commit = single["commit"]
        if len(commit) not in _ID_LENGTHS or commit.strip("0123456789abcdef"):
            raise MetafileError(f"import metafile whose commit is not a full id: {name}")
        return cls(
            url=single["url"],
            path=single["path"],
            commit=commit,
            rev=single.get("rev") or None,
            storage=single.get("storage") or None,
            include=tuple(item.value for item in items if item.key == "include"),
            exclude=tuple(item.value for item in items if item.key == "exclude"),
            vendor=single.get("vendor", "false").lower() in ("true", "yes", "on", "1"),
        )

    def encode(self) -> bytes:
        """The text of the metafile; `parse` reads it back to an equal value."""
        pairs = [("url", self.url), ("path", self.path)]
        if self.rev is not None:
            pairs.append(("rev", self.rev))
        pairs.append(("commit", self.commit))
        if self.storage is not None:
            pairs.append(("storage", self.storage))
        pairs += [("include", glob) for glob in self.include]
        pairs += [("exclude", glob) for glob in self.exclude]
        if self.vendor:
            pairs.append(("vendor", "true"))
        return gitconfig.encode(Item("import", None, key, value) for key, value in pairs)


def is_metafile(path: bytes) -> bool:
    """Whether a path in a repository is that of an import metafile (not of `.datareg`)."""
    name = path.rpartition(b"/")[2]
    return name.endswith(b".datareg") and name != b".datareg"
