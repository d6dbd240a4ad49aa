"""What git means when it fails to fetch, told from its words (with LC_ALL=C.UTF-8)."""

from __future__ import annotations

from collections.abc import Iterable

from git_datareg.errors import GitError

#: What git says of a ref or a commit that the remote does not have, or not give.
UNKNOWN = ("couldn't find remote ref", "not our ref", "unadvertised object", "no such remote ref")
#: What it says of a remote that is served as plain files.
DUMB = ("does not support shallow", "does not support --depth", "dumb http")
#: What git says when there is no repository at a URL, rather than no way to it.
ABSENT = (
    "does not appear to be a git repository",
    "not found",
    "does not exist",
    "repository not exported",
)
#: What git says of a repository that a killed git, or a failing disk, left.
BROKEN = (
    ".lock': file exists",
    "not a git repository",
    "corrupt",
    "bad object",
    "unable to read",
    "unable to parse",
    "missing blob",
    "missing tree",
    "did not send all necessary objects",
)


def says(error: GitError, phrases: Iterable[str]) -> bool:
    """Whether git said any of these."""
    said = error.stderr.lower()
    return any(words in said for words in phrases)
