"""A user's name and password for a server, as HTTP's "Basic" scheme sends them. Pure."""

from __future__ import annotations

from typing import NamedTuple

from git_datareg.errors import UsageError


class Login(NamedTuple):
    """Who to be for a server; `repr()` and `str()` don't show the password."""

    user: str
    password: str

    @property
    def header(self) -> str:
        """The value of `Authorization` (RFC 7617).

        Raises UsageError for what can't be sent so: a colon in the user's name,
        control characters.
        """
        from base64 import b64encode

        if ":" in self.user or has_control(self.user + self.password):
            raise UsageError("a user's name or password with characters that HTTP can't send")
        return "Basic " + b64encode(f"{self.user}:{self.password}".encode()).decode()

    def __repr__(self) -> str:
        return f"Login({self.user!r}, ...)"


def has_control(text: str) -> bool:
    """Whether there are control characters, which end or split what is sent by lines."""
    return any(ord(char) < 32 or ord(char) == 127 for char in text)
