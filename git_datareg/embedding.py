"""The embedded storage of a Git remote that ssh reaches: `datareg` in its Git directory.

Of a remote on this machine, `git_datareg.git.places` finds that directory.
"""

from __future__ import annotations

from git_datareg.location import Location, is_gits
from git_datareg.sshurl import SCHEMES, SshUrl
from git_datareg.storage import Options

#: What git puts behind a path that names a repository, in this order (enter_repo in its path.c).
_SUFFIXES = ("/.git", "", ".git/.git", ".git")


def may_be_over_ssh(remote: Location) -> bool:
    """Whether git goes to a remote by ssh."""
    return remote.scheme in SCHEMES and is_gits(remote)


def over_ssh(remote: Location, options: Options | None = None) -> Location | None:
    """The embedded storage of a Git remote; None unless ssh reaches a repository there.

    Asks that machine, by SFTP. Raises UsageError for a URL that ssh can't be
    given, and any StorageError: StorageNotFoundError where there is no SFTP.
    """
    if not may_be_over_ssh(remote):
        return None
    from git_datareg.storage import sftp

    url = SshUrl.parse(remote)
    found = sftp.existing(url, [f"{suffix}/HEAD" for suffix in _SUFFIXES], options or Options())
    for suffix in _SUFFIXES:
        if f"{suffix}/HEAD" in found:
            return url.below(f"{suffix}/datareg").location
    return None
