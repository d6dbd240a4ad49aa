"""Logins for web servers: where users keep them, and which one a server takes.

A back end gets its sources by `Options.credentials` and asks them only when a
server wants to know who we are.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Protocol
from urllib.parse import urlsplit

from git_datareg.errors import StorageDeniedError
from git_datareg.login import Login


class Credentials(Protocol):
    """Where logins are kept: a file, a program that knows them, a user who is asked.

    URLs are of the place that wants a login; they may name its user, never a password.
    """

    def fill(self, url: str) -> Login | None:
        """The login for the URL, if it is known here."""
        ...

    def approve(self, url: str, login: Login) -> None:
        """Be told that the server took the login."""
        ...

    def reject(self, url: str, login: Login) -> None:
        """Be told that the server refused the login."""
        ...


class Netrc:
    """The logins of a netrc file, which names hosts; it may be missing."""

    def __init__(self, path: str) -> None:
        self._path = path

    def fill(self, url: str) -> Login | None:
        """See Credentials. Raises StorageDeniedError for a file that can't be understood."""
        from netrc import NetrcParseError, netrc

        parts = urlsplit(url)
        try:
            found = netrc(self._path).authenticators(parts.hostname or "")
        except NetrcParseError as error:
            # The error's own words may quote a password.
            where = f"{self._path}, line {error.lineno}"
            raise StorageDeniedError(f"not a netrc file: {where}") from None
        except (OSError, UnicodeError):
            return None
        if found is None or (parts.username and parts.username != found[0]):
            return None
        user, _, password = found
        return Login(user or "", password or "")

    def approve(self, url: str, login: Login) -> None:
        """See Credentials: the file is the user's own business."""

    def reject(self, url: str, login: Login) -> None:
        """See Credentials: the file is the user's own business."""


class Logins:
    """The login for one place: found once, by one thread, for all of them.

    When no source had one that the server takes, none is asked again.
    """

    def __init__(self, url: str, sources: Sequence[Credentials], known: Login | None) -> None:
        self._url = url
        self._sources = sources
        self._lock = threading.Lock()
        self._has_failed = False
        #: The one to send; None until there is one.
        self.current = known

    def find(self, refused: Login | None, attempt: Callable[[Login], bool]) -> None:
        """Make the attempt with one login after the other until the server takes one.

        `refused` is what it had been asked with, if any. `attempt` says whether
        the server took the login; the last one it was called with counts.
        """
        with self._lock:
            known, has_failed = self.current, self._has_failed
            if known in (None, refused) and not has_failed:
                self._ask(refused, attempt)
                return
        if known is not None and known != refused:
            # Another thread was quicker.
            attempt(known)

    def _ask(self, refused: Login | None, attempt: Callable[[Login], bool]) -> None:
        for source in self._sources:
            login = source.fill(self._url)
            if login is None:
                continue
            if login != refused and attempt(login):
                source.approve(self._url, login)
                self.current = login
                return
            source.reject(self._url, login)
        self.current, self._has_failed = None, True
