"""URLs of web servers, in the parts that requests and rules about them need. Pure."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import quote, unquote, urljoin, urlsplit

from git_datareg.errors import UsageError
from git_datareg.login import has_control

_DEFAULT_PORTS = {"http": 80, "https": 443}
#: What may stand in a path as it is (RFC 3986, "pchar"), apart from letters and digits.
_IN_PATH = "/:@!$&'()*+,;=~-._"
_IN_QUERY = _IN_PATH + "?%[]"
_NAME = re.compile(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_.])?")
_ADDRESS6 = re.compile(r"\[[0-9a-f:.]+\]")
_HOST_AND_PORT = re.compile(r"(\[[^\[\]]*\]|[^\[\]:]*)(?::([0-9]*))?")


class Origin(NamedTuple):
    """Where requests go, and all that may see what is meant for it (RFC 6454)."""

    scheme: str
    #: In lower case; an IPv6 address in brackets.
    host: str
    port: int

    def __str__(self) -> str:
        is_default = self.port == _DEFAULT_PORTS[self.scheme]
        return f"{self.scheme}://{self.host}" + ("" if is_default else f":{self.port}")


class WebUrl(NamedTuple):
    """An http or https URL, escaped as it is sent. It names no user.

    `str()` leaves out the query, which may hold a token.
    """

    origin: Origin
    path: str
    #: With its "?", or empty.
    query: str

    @classmethod
    def parse(cls, text: str) -> WebUrl:
        """The URL that `text` spells; a user in it is dropped, a fragment too.

        Raises UsageError, which shows nothing secret, for what is no such URL
        or could be read in two ways.
        """
        try:
            parts = urlsplit(text)
            found = _HOST_AND_PORT.fullmatch(parts.netloc.rpartition("@")[2])
            host = _ascii(found[1]) if found is not None else ""
            port = int((found and found[2]) or _DEFAULT_PORTS[parts.scheme])
        except (ValueError, KeyError):
            raise UsageError("not a URL of a web server") from None
        # Some programs take a backslash for a slash, and so another host.
        if has_control(text) or "\\" in parts.netloc:
            raise UsageError("not a URL of a web server")
        if not (_NAME.fullmatch(host) or _ADDRESS6.fullmatch(host)) or not 0 < port < 65536:
            raise UsageError("a URL whose host is none")
        origin = Origin(parts.scheme, host, port)
        query = "?" + quote(parts.query, safe=_IN_QUERY) if parts.query else ""
        # Escapes that are there stay as they are.
        return cls(origin, quote(parts.path or "/", safe=_IN_PATH + "%"), query)

    @property
    def target(self) -> str:
        """What a request asks its origin for."""
        return self.path + self.query

    @property
    def text(self) -> str:
        """All of it, for requests; it may hold a secret."""
        return f"{self.origin}{self.target}"

    def below(self, key: str) -> WebUrl:
        """The URL of a key below this one; the query stays."""
        return self._replace(path=f"{self.path.rstrip('/')}/{quote(key, safe=_IN_PATH)}")

    def joined(self, reference: str) -> WebUrl:
        """What a reference in an answer of this URL means. Raises UsageError as `parse`."""
        try:
            return WebUrl.parse(urljoin(self.text, reference))
        except ValueError:
            raise UsageError("not a URL of a web server") from None

    def __str__(self) -> str:
        return f"{self.origin}{self.path}"


def user_of(text: str) -> tuple[str, str | None] | None:
    """The user and the password, if there is one, that a URL names.

    Raises UsageError for control characters in them.
    """
    user, found, _ = urlsplit(text).netloc.rpartition("@")
    if not found:
        return None
    name, has_password, password = user.partition(":")
    decoded = unquote(name), unquote(password) if has_password else None
    if has_control(decoded[0] + (decoded[1] or "")):
        raise UsageError("control characters in the user's part of a URL")
    return decoded if decoded[0] or has_password else None


def _ascii(host: str) -> str:
    """A host as it is looked up; raises ValueError (UnicodeError) for what can't be one."""
    return host.lower() if host.isascii() else host.encode("idna").decode().lower()
