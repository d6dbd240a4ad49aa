"""Where repositories and storages are: URLs and paths as users and files spell them.

Pure text work; nothing is opened or resolved here. What may be secret in a URL
is never shown: `str()` and `repr()` leave it out.
"""

from __future__ import annotations

import os
from typing import NamedTuple
from urllib.parse import quote, unquote

from git_datareg.errors import UsageError

#: The prefix by which Git picks our remote helper: `datareg::<url>`.
HELPER_PREFIX = "datareg::"
_FILE = "file://"
_SCHEME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-.")


class Location(NamedTuple):
    """A storage or a Git repository, by its URL or path."""

    #: As it was spelled, without `datareg::`. May hold credentials: for opening only.
    url: str

    @classmethod
    def parse(cls, text: str) -> Location:
        """The location that `text` names, with or without `datareg::`.

        Raises UsageError for what git or we could take for an option or a
        second line (an empty text, a leading dash, control characters), and
        for a `file:` URL that names no directory on this machine.
        """
        location = cls(text.removeprefix(HELPER_PREFIX))
        if not location.url or location.url.startswith("-") or _has_control(location.url):
            raise UsageError(f"not a URL or path: {str(location)!r}")
        if not location._is_file_url:
            return location
        if not (location.path or "").startswith("/"):
            raise UsageError(
                f"not the URL of a directory on this machine: {location}",
                "write a path, or file:// and an absolute path: file:///srv/data",
            )
        if _has_control(location.path or ""):
            raise UsageError(f"control characters in a path: {location}")
        return location

    @property
    def scheme(self) -> str:
        """ "file" for paths, "ssh" for `host:path`, else the URL's scheme in lower case."""
        for separator in ("://", "::"):
            head, found, _ = self.url.partition(separator)
            if found and head and _SCHEME.issuperset(head) and head[0] not in "+-.":
                return head.lower()
        colon, slash = self.url.find(":"), self.url.find("/")
        return "ssh" if colon > 0 and (slash < 0 or colon < slash) else "file"

    @property
    def path(self) -> str | None:
        """The directory on this machine, or None when it is elsewhere."""
        if not self._is_file_url:
            return self.url if self.scheme == "file" else None
        # RFC 8089, section 2: the host may be empty or this one.
        rest = self.url[len(_FILE) :].removeprefix("localhost/")
        slash = "/" if len(rest) < len(self.url) - len(_FILE) else ""
        return slash + unquote(rest, errors="surrogateescape")

    @property
    def is_relative(self) -> bool:
        """Whether it is to be read against a Git remote's URL, as in .gitmodules."""
        return self.url.startswith(("./", "../")) or self.url in (".", "..")

    def resolve(self, base: Location) -> Location:
        """This location read against `base`, if it is relative; else itself.

        As git does for .gitmodules: each `../` takes the last part off the base.
        Raises UsageError when nothing but the base's host or root is left to take.
        """
        if not self.is_relative:
            return self
        root, colon, path = _split(base.url)
        path = path.removesuffix("/")
        rest = self.url + "/" if self.url in (".", "..") else self.url
        while rest.startswith(("./", "../")):
            if rest.startswith("../"):
                if not path or path in (".", "..") or path.endswith("/.."):
                    raise UsageError(f"{self} leads out of {base}")
                path = path.rpartition("/")[0]
            rest = rest.partition("/")[2]
        slash = "" if colon and not path else "/"
        return Location((root + path + slash + rest).removesuffix("/") or "/")

    def absolute(self, directory: str) -> Location:
        """The same place spelled so that it holds from any directory."""
        if self.scheme != "file" or self._is_file_url:
            return self
        return Location(os.path.normpath(os.path.join(directory, self.url)))

    def file_url(self, name: str) -> str:
        """The `file://` URL of `name` below this directory; only for local absolute places."""
        return _FILE + quote(os.path.join(self.path or "", name), errors="surrogateescape")

    @property
    def _is_file_url(self) -> bool:
        return self.url[: len(_FILE)].lower() == _FILE

    def __str__(self) -> str:
        head, separator, rest = self.url.partition("://")
        if not separator or self.path is not None:
            return self.url
        user, at, host = rest[: _end_of_user(rest)].rpartition("@")
        place = rest[len(user + at + host) :]
        shown = f"{user.partition(':')[0]}@" if user and self.scheme == "ssh" else ""
        # Signatures and tokens stand in queries.
        return f"{head}{separator}{shown}{place.partition('?')[0]}"

    def __repr__(self) -> str:
        return f"Location({str(self)!r})"
