"""What this machine remembers of a place: short texts by name, in the cache.

Without them everything works; it is then asked, or tried, once more.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple

from git_datareg.digest import digest_of
from git_datareg.errors import UsageError
from git_datareg.files import write_atomically
from git_datareg.location import Location
from git_datareg.storage import Options

#: By which the same URL may be another place.
_VARIABLES = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_REGION")
_MAX_LENGTH = 1000
_GITS = "git"
_DAY = 24 * 3600


class Notes(NamedTuple):
    """The notes on one place."""

    #: None where there is no cache: nothing is remembered then.
    directory: str | None

    def read(self, name: str) -> str | None:
        """The note of that name, if there is one."""
        if self.directory is not None:
            path = os.path.join(self.directory, name)
            with suppress(OSError, UnicodeDecodeError), open(path, encoding="utf-8") as file:
                return file.read(_MAX_LENGTH)
        return None

    @property
    def is_gits(self) -> bool:
        """Whether git has read what is there as a repository, within a day."""
        text = (self.read(_GITS) or "").strip()
        return text.isdigit() and abs(time.time() - int(text)) < _DAY

    def note_gits(self) -> None:
        """Note that git has."""
        self.write(_GITS, f"{time.time():.0f}\n")

    def write(self, name: str, text: str) -> None:
        """Note a text; a cache that can't be written is no fault."""
        if self.directory is not None:
            with suppress(OSError):
                os.makedirs(self.directory, exist_ok=True)
                write_atomically(os.path.join(self.directory, name), text.encode(), sync=False)


def on(
    location: Location, options: Options, cache: str | None, environ: Mapping[str, str]
) -> Notes:
    """The notes on a place as it is reached with these options in this environment."""
    if cache is None:
        return Notes(None)
    reached = [location.url, options.endpoint or "", options.region or "", options.profile or ""]
    text = "\n".join([*reached, *(environ.get(name, "") for name in _VARIABLES)])
    return Notes(os.path.join(own_part(cache), "places", digest_of(os.fsencode(text)).hex))


def own_part(cache: str) -> str:
    """Where in a cache that is ours is what others may not write; git trusts no others' mirrors.

    Raises UsageError when somebody else has made it.
    """
    if _is_ours(os.path.realpath(cache)):
        return cache
    # A symlink to something of ours would be somebody else's.
    part = os.path.join(cache, f"user-{os.geteuid()}")
    if not _is_ours(part):
        raise UsageError(f"not a directory of yours: {part}", "set GIT_DATAREG_CACHE")
    return part


def _is_ours(directory: str) -> bool:
    """Whether a directory is the user's who runs us, or not there yet."""
    try:
        return os.lstat(directory).st_uid == os.geteuid()
    except FileNotFoundError:
        return True
