"""Where repositories and storages are: URLs and paths as users and files spell them.

Pure text work; nothing is opened or resolved here. What may be secret in a URL
is never shown: `str()` and `repr()` leave it out.
"""

from __future__ import annotations

import os
from typing import NamedTuple
from urllib.parse import unquote

from git_datareg.errors import UsageError

#: The prefix by which Git picks our remote helper: `datareg::<url>`.
HELPER_PREFIX = "datareg::"
#: What git can reach; a foreign `ext::` would run commands.
_GIT_SCHEMES = frozenset(
    ("file", "ssh", "git", "http", "https", "git+ssh", "ssh+git", "ftp", "ftps")
)
#: Before the "@" stands what a place can't be told by without: for the cloud, a container.
_WITH_USER = frozenset(("ssh", "sftp", "abfs", "abfss", "az"))
_FILE = "file://"
_SCHEME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-.")


class Location(NamedTuple):
    """A storage or a Git repository, by its URL or path."""

    #: As it was spelled, without `datareg::`. May hold credentials: for opening only.
    url: str

    @classmethod
    def parse(cls, text: str) -> Location:
        """The location that `text` names, with or without `datareg::`.

        Raises UsageError for what git, ssh or we could take for an option or a
        second line (an empty text, a leading dash, also of a user or a host,
        control characters, also where they are escaped), and for a `file:` URL
        that names no directory on this machine.
        """
        location = cls(text.removeprefix(HELPER_PREFIX))
        if not location.url or location.url.startswith("-") or _has_control(location.url):
            raise UsageError(f"not a URL or path: {str(location)!r}")
        if location.path is None:
            location._check_parts()
        if location._is_file_url and not (location.path or "").startswith("/"):
            raise UsageError(
                f"not a directory on this machine: {location}",
                "write a path, or file:// and an absolute path: file:///srv/data",
            )
        if _has_control(location.path or ""):
            raise UsageError(f"control characters in the path of {location}")
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
        rest = self.url[len(_FILE) :]
        # RFC 8089, section 2: no host, or this one.
        if rest.lower().startswith("localhost/"):
            rest = rest[len("localhost") :]
        return unquote(rest, errors="surrogateescape")

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
        root, path = _split(base)
        parts = path.removesuffix("/").split("/")
        rest = f"{self.url}/" if self.url in (".", "..") else self.url
        while rest.startswith(("./", "../")):
            step, _, rest = rest.partition("/")
            if step == ".." and (parts in ([], ["."]) or parts.pop() in ("", "..")):
                raise UsageError(f"{self} leads out of {base}")
        below = "/".join([*parts, rest]).removeprefix("./").removesuffix("/")
        return Location.parse(root + below)

    def absolute(self, directory: str) -> Location:
        """The same place spelled so that it holds from any directory."""
        if self.scheme != "file" or self._is_file_url:
            return self
        return Location(os.path.normpath(os.path.join(directory, self.url)))

    def _check_parts(self) -> None:
        """Raise UsageError for parts that a program which is handed them would not take as meant.

        git hands ssh the host, and credential helpers the parts a line each,
        both after their escapes are gone.
        """
        decoded = unquote(self.url) if "://" in self.url else self.url
        if _has_control(decoded):
            raise UsageError(f"control characters in {self}")
        parts = [*user_and_host(self.url), *user_and_host(decoded)]
        if "://" not in self.url:
            parts.append(_split(self)[1])
        if any(part.lstrip("[").startswith("-") for part in parts):
            raise UsageError(f"a user, host or path that begins with a dash: {self}")

    @property
    def _is_file_url(self) -> bool:
        return self.url[: len(_FILE)].lower() == _FILE

    def __str__(self) -> str:
        head, separator, rest = self.url.partition("://")
        if not separator or self.path is not None:
            return self.url
        end = _end_of_user(rest)
        user = rest[:end].partition(":")[0].rstrip("@")
        shown = f"{user}@" if user and self.scheme in _WITH_USER else ""
        # A query may hold a token or a signature.
        return f"{head}{separator}{shown}{rest[end:].partition('?')[0]}"

    def __repr__(self) -> str:
        return f"Location({str(self)!r})"


def is_gits(location: Location) -> bool:
    """Whether git may be run on this URL."""
    return location.scheme in _GIT_SCHEMES


def is_storages(location: Location) -> bool:
    """Whether this URL can be that of a storage, and of nothing for git."""
    return not is_gits(location) and location.url.lower().startswith(f"{location.scheme}://")


def check_repository(location: Location) -> None:
    """Raise UsageError unless git may be run on this URL."""
    if not is_gits(location):
        raise UsageError(
            f"not a URL of a Git repository: {HELPER_PREFIX}{location}",
            "datareg:: takes what git clone takes (a path, file://, https:// or ssh://), "
            "and storages, such as s3://bucket/prefix",
        )


def check_registry(location: Location) -> None:
    """Raise UsageError for a URL that can't be that of a registry, of whatever kind."""
    if not is_storages(location):
        check_repository(location)


def user_and_host(url: str) -> tuple[str, str]:
    """The user's part and the host of a URL, or of ssh's `user@host:path`; lower case."""
    _, separator, rest = url.partition("://")
    if separator:
        authority = min((rest.partition(char)[0] for char in "/?#"), key=len)
        user, _, host = authority.rpartition("@")
        name, colon, port = host.rpartition(":")
        if colon and not port.strip("0123456789"):
            host = name
    else:
        # git takes the first colon outside of brackets.
        user, _, host = url.partition("/")[0].rpartition("@")
        name, bracket, _ = host.partition("]:")
        host = name + "]" if bracket else host.partition(":")[0]
    return user, host.lower()


def _has_control(text: str) -> bool:
    return any(ord(char) < 32 or ord(char) == 127 for char in text)


def _split(location: Location) -> tuple[str, str]:
    """The part of a URL that names a machine, and the path there."""
    url = location.url
    if location.scheme == "file" and location.path == url:
        return "", url
    head, separator, rest = url.partition("://")
    if separator:
        host, slash, path = rest.partition("/")
        return head + separator + host, slash + path
    host, colon, path = url.partition(":")
    return host + colon, path


def _end_of_user(rest: str) -> int:
    """Where the user's part of a URL ends that goes on like this behind its "://"."""
    authority = min((rest.partition(char)[0] for char in "/?#"), key=len)
    port = authority.rpartition(":")[2] if ":" in authority else ""
    if "@" in authority or not port or port.isdigit() or port.endswith("]"):
        return authority.rfind("@") + 1
    # Not a port: a password with a "/" that nobody escaped.
    return rest.rfind("@") + 1
