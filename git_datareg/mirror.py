"""Git repositories of registries, ready to be read: in place, or mirrored in the cache.

A repository on this machine is read where it is. Any other has one bare mirror
per URL, below the cache, which git brings up to date: so the user's credential
helpers, ssh configuration and proxies count. Mirrors can be deleted at any time.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from git_datareg.digest import digest_of
from git_datareg.errors import (
    DataregError,
    GitError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    StorageUnavailableError,
)
from git_datareg.git import process
from git_datareg.git.repository import Repository, open_foreign
from git_datareg.location import Location
from git_datareg.remote import check

#: Where a mirror keeps what the remote's HEAD was.
_HEAD = "refs/datareg/HEAD"
_REFSPECS = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*", f"+HEAD:{_HEAD}")
_ID_LENGTHS = (40, 64)
#: What git says when there is no repository at a URL, rather than no way to it.
_ABSENT = ("does not appear to be a git repository", "not found", "does not exist")


def open_revision(location: Location, rev: str | None, cache: str) -> tuple[Repository, str]:
    """The repository at `location`, and the full id of its commit `rev` (None: its HEAD).

    What the answer needs is fetched; a full commit id that is in the mirror
    already needs no network. Raises RepositoryNotFoundError,
    RevisionNotFoundError, and StorageUnavailableError when git can't get there.
    """
    check(location)
    if location.path is not None:
        repository = open_foreign(_existing(location.path))
        return repository, _resolve(repository, rev or "HEAD", rev, location)
    directory = os.path.join(cache, "mirrors", digest_of(location.url.encode()).hex + ".git")
    with _locked(directory):
        if os.path.isdir(directory) and rev is not None and _is_id(rev):
            mirror = open_foreign(directory)
            if _has(mirror, rev):
                return mirror, rev
        mirror = _bring_up_to_date(directory, location)
    return mirror, _resolve(mirror, rev or _HEAD, rev, location)


def _resolve(repository: Repository, spelled: str, rev: str | None, location: Location) -> str:
    try:
        return repository.resolve(spelled)
    except RevisionNotFoundError:
        if rev is None:
            raise RevisionNotFoundError(f"no commits yet in {location}") from None
        raise RevisionNotFoundError(f"no such revision: {rev} in {location}") from None


def _existing(path: str) -> str:
    """The directory that git would take for `path`, as `git clone` does."""
    if not os.path.isdir(path) and os.path.isdir(path.rstrip("/") + ".git"):
        return path.rstrip("/") + ".git"
    return path


def _bring_up_to_date(directory: str, location: Location) -> Repository:
    if not os.path.isdir(directory):
        _create(directory, "sha1")
    try:
        _fetch(directory, location)
    except GitError as error:
        if "mismatched algorithms" not in error.stderr:
            raise _unreachable(location, error) from error
        _create(directory, "sha256")
        try:
            _fetch(directory, location)
        except GitError as second:
            raise _unreachable(location, second) from second
    return open_foreign(directory)


def _create(directory: str, object_format: str) -> None:
    """Make an empty mirror, in place of one that can't be used."""
    if os.path.isdir(directory):
        os.rename(directory, f"{directory}.unused-{os.getpid()}")
    os.makedirs(os.path.dirname(directory), exist_ok=True)
    process.run(
        ["init", "--quiet", "--bare", "--template=", f"--object-format={object_format}", directory],
        own=False,
    )


def _fetch(directory: str, location: Location) -> None:
    process.run(
        [
            f"--git-dir={directory}",
            "fetch",
            "--quiet",
            "--force",
            "--prune",
            "--no-tags",
            "--no-write-fetch-head",
            "--no-auto-maintenance",
            "--no-recurse-submodules",
            "--",
            location.url,
            *_REFSPECS,
        ],
        own=False,
    )


def _unreachable(location: Location, error: GitError) -> DataregError:
    said = error.stderr.lower()
    if "couldn't find remote ref head" in said:
        return RepositoryNotFoundError(f"no commits yet in {location}")
    if any(words in said for words in _ABSENT):
        return RepositoryNotFoundError(f"no Git repository at {location}: {error.message}")
    return StorageUnavailableError(f"can't read {location}: {error.message}")


def _has(repository: Repository, id: str) -> bool:
    code, _, _ = repository.run_unchecked("cat-file", "-e", f"{id}^{{commit}}")
    return code == 0


def _is_id(rev: str) -> bool:
    return len(rev) in _ID_LENGTHS and not rev.strip("0123456789abcdef")


@contextmanager
def _locked(directory: str) -> Iterator[None]:
    """Hold the mirror for ourselves; a lock that does not work costs a second fetch, no more."""
    os.makedirs(os.path.dirname(directory), exist_ok=True)
    descriptor = os.open(directory + ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
