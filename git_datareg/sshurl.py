"""Places that ssh reaches, as git spells them: `ssh://host/path`, `host:path`. Pure.

Also `sftp://`, which means the same where files are meant.
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import quote, unquote_to_bytes

from git_datareg.errors import UsageError
from git_datareg.location import Location

SCHEMES = frozenset(("ssh", "sftp", "ssh+git", "git+ssh"))
_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_")
#: An IPv6 address, with its zone.
_ADDRESS = _NAME | {":", "%"}
#: What a user's name may have besides; nothing of it means something to a shell.
_USER = _NAME | {"@", "+", "\\"}
_SAFE = "/~!$&'()*+,;=:@"


class SshUrl(NamedTuple):
    """A path on a machine that ssh reaches."""

    user: str | None
    #: As ssh takes it: a name of its configuration too, no brackets.
    host: str
    port: int | None
    #: Absolute, or relative to the user's home, or beginning with "~user/".
    path: bytes

    @classmethod
    def parse(cls, location: Location) -> SshUrl:
        """The place; raises UsageError for what ssh could take for an option, or can't reach."""
        _, separator, rest = location.url.partition("://")
        if separator:
            authority, slash, path = rest.partition("/")
            # As git does it (url_decode in its connect.c), in such URLs only.
            user, host, port = _parts(unquote_to_bytes(authority).decode("utf-8", "replace"))
            raw = unquote_to_bytes(slash + path)
            # "/~user" and "/~/" mean a home, as with git.
            raw = raw[1:] if raw.startswith(b"/~") else raw
        else:
            authority, path = _split_short(location.url)
            user, host, port = _parts(authority)
            raw = path.encode("utf-8", "surrogateescape")
        if not _is_fit(user, host):
            raise UsageError(f"not a host that ssh can be given: {location}")
        # git reads an empty port as none.
        if port and not (port.isascii() and port.isdigit() and 0 < int(port[:9]) < 65536):
            raise UsageError(f"not a port: {port} in {location}")
        return cls(user, host, int(port) if port else None, _normal(raw))

    @property
    def destination(self) -> str:
        """What ssh is given: the host, and the user if one is named."""
        return self.host if self.user is None else f"{self.user}@{self.host}"

    @property
    def location(self) -> Location:
        """The same as a URL `ssh://`."""
        host = f"[{quote(self.host, safe=':')}]" if ":" in self.host else self.host
        user = "" if self.user is None else quote(self.user, safe="+") + "@"
        port = "" if self.port is None else f":{self.port}"
        path = self.path
        if not path.startswith(b"/"):
            path = b"/" + path if path.startswith(b"~") else b"/~/" + path
        return Location(f"ssh://{user}{host}{port}{quote(path, safe=_SAFE)}")

    def below(self, suffix: str) -> SshUrl:
        """The place whose path ends with this, too."""
        return self._replace(path=self.path + suffix.encode())


def _split_short(url: str) -> tuple[str, str]:
    """Host and path of `host:path`; brackets may be around an address, or a host and its port."""
    start = url.rfind("@", 0, url.find("[")) + 1
    if url[start : start + 1] == "[" and "]:" in url:
        authority, _, path = url.partition("]:")
        inside = authority[start + 1 :]
        if inside.count(":") > 1:
            return f"{authority}]", path
        return url[:start] + inside, path
    authority, _, path = url.partition(":")
    return authority, path


def _parts(authority: str) -> tuple[str | None, str, str]:
    """User, host and port, as they are written there."""
    user, at, host = authority.rpartition("@")
    name, colon, port = host.rpartition(":")
    if colon and not host.endswith("]") and (name.endswith("]") or ":" not in name):
        host = name
    else:
        port = ""
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    return user if at else None, host, port


def _is_fit(user: str | None, host: str) -> bool:
    is_address = host.count(":") > 1
    is_host = bool(host) and (_ADDRESS if is_address else _NAME).issuperset(host)
    is_user = user is None or (bool(user) and _USER.issuperset(user) and user[0] != "-")
    return is_host and host[0] != "-" and is_user


def _normal(path: bytes) -> bytes:
    """The path without needless parts; an empty one is the home."""
    parts = [part for part in path.split(b"/") if part not in (b"", b".")]
    if path.startswith(b"/"):
        return b"/" + b"/".join(parts)
    if parts[:1] == [b"~"]:
        del parts[0]
    return b"/".join(parts) or b"."
