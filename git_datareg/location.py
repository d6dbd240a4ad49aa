"""Where repositories and storages are: URLs and paths as users and files spell them.

Pure text work; nothing is opened or resolved here. Credentials in a URL are
never shown: `str()` and `repr()` leave them out.
"""

from __future__ import annotations

import os
from typing import NamedTuple
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from git_datareg.errors import UsageError

#: The prefix by which Git picks our remote helper: `datareg::<url>`.
HELPER_PREFIX = "datareg::"


class Location(NamedTuple):
    """A storage or a Git repository, by its URL or path."""

    #: As it was spelled, without `datareg::`. May hold credentials: for opening only.
    url: str

    @classmethod
    def parse(cls, text: str) -> Location:
        """The location that `text` names, with or without `datareg::`.

        Raises UsageError for what git or we could take for an option or a
        second line: an empty text, a leading dash, control characters.
        """
        url = text.removeprefix(HELPER_PREFIX)
        if (
            not url
            or url.startswith("-")
            or any(ord(char) < 32 or ord(char) == 127 for char in url)
        ):
            raise UsageError(f"not a URL or path: {text!r}")
        return cls(url)

    @property
    def scheme(self) -> str:
        """ "file" for paths, "ssh" for `host:path`, else the URL's scheme in lower case."""
        head, separator, _ = self.url.partition("://")
        if separator and head.replace("+", "").replace("-", "").isalnum():
            return head.lower()
        transport, helper, _ = self.url.partition("::")
        if helper and transport.isalnum():
            return transport.lower()
        colon, slash = self.url.find(":"), self.url.find("/")
        return "ssh" if colon > 0 and (slash < 0 or colon < slash) else "file"

    @property
    def path(self) -> str | None:
        """The directory on this machine, or None when it is elsewhere."""
        if self.scheme != "file":
            return None
        if not self.url.lower().startswith("file://"):
            return self.url
        return unquote(urlsplit(self.url).path, errors="surrogateescape")

    @property
    def is_relative(self) -> bool:
        """Whether it is to be read against a Git remote's URL, as in .gitmodules."""
        return self.url.startswith(("./", "../")) or self.url in (".", "..")

    def resolve(self, base: Location) -> Location:
        """This location read against `base`, if it is relative; else itself."""
        if not self.is_relative:
            return self
        root = base.url.rstrip("/")
        if base.path is not None and "://" not in base.url:
            return Location(os.path.normpath(os.path.join(base.path, self.url)))
        head, separator, path = _split_path(root)
        return Location(head + separator + os.path.normpath(os.path.join(path, self.url)))

    def absolute(self, directory: str) -> Location:
        """The same place spelled so that it holds from any directory."""
        if self.path is None or "://" in self.url:
            return self
        return Location(os.path.normpath(os.path.join(directory, self.url)))

    def file_url(self, name: str) -> str:
        """The `file://` URL of `name` below this directory; only for local places."""
        return "file://" + quote(os.path.join(self.path or "", name), errors="surrogateescape")

    def __str__(self) -> str:
        if "@" not in self.url or "://" not in self.url:
            return self.url
        parts = urlsplit(self.url)
        user, _, host = parts.netloc.rpartition("@")
        shown = f"{user.partition(':')[0]}@{host}" if parts.scheme == "ssh" and user else host
        return urlunsplit(parts._replace(netloc=shown))

    def __repr__(self) -> str:
        return f"Location({str(self)!r})"


def _split_path(url: str) -> tuple[str, str, str]:
    head, separator, rest = url.partition("://")
    if separator:
        host, slash, path = rest.partition("/")
        return head + separator + host, slash or "/", path
    host, colon, path = url.partition(":")
    return host, colon, path
