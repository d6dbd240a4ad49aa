"""Where a web server may send us: the rule for redirects. Pure."""

from __future__ import annotations

from git_datareg.errors import StorageError, UsageError
from git_datareg.storage.weburl import WebUrl

#: So many may follow each other.
MOST = 5
CODES = frozenset((301, 302, 303, 307, 308))


def target(url: WebUrl, reference: str | None) -> WebUrl:
    """Where the redirect leads that a request for `url` got.

    Raises StorageError for one that leads nowhere or from https to http, where
    others could read and change what is sent.
    """
    try:
        found = url.joined(reference or "")
    except UsageError as error:
        raise StorageError(f"the server redirects to what is no URL of a web server: {url}") from (
            error
        )
    if not reference:
        raise StorageError(f"the server redirects, but does not say where to: {url}")
    if url.origin.scheme == "https" and found.origin.scheme != "https":
        raise StorageError(
            f"the server redirects from https to http, which is refused: {url} to {found}"
        )
    return found


def is_to_folder(url: WebUrl, found: WebUrl) -> bool:
    """Whether a redirect only adds a slash: so web servers answer for a directory."""
    return found.path == url.path + "/"
