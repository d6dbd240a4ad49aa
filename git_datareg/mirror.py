"""Git repositories of registries, ready to be read: in place, or mirrored in the cache.

A repository on this machine is read where it is. Any other has one bare mirror
per URL, below the cache, which git brings up to date: so the user's credential
helpers, ssh configuration and proxies count. Mirrors can be deleted at any time.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

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

#: Where a mirror keeps what the remote's HEAD was; its own HEAD is a symbolic ref to it.
_HEAD = "refs/datareg/HEAD"
_REFSPECS = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
#: Where commits are kept that no branch or tag has.
_WANTED = "refs/datareg/wanted/"
_ID_LENGTHS = (40, 64)
#: What git says when there is no repository at a URL, rather than no way to it.
_ABSENT = (
    "does not appear to be a git repository",
    "not found",
    "does not exist",
    "repository not exported",
)
#: What git says of a repository that a killed git, or a failing disk, left.
_BROKEN = (
    ".lock': file exists",
    "not a git repository",
    "corrupt",
    "bad object",
    "unable to read",
    "unable to parse",
    "missing blob",
    "missing tree",
    "did not send all necessary objects",
)


def open_revision(location: Location, rev: str | None, cache: str) -> tuple[Repository, str]:
    """The repository at `location`, and the full id of its commit `rev` (None: its HEAD).

    What the answer needs is fetched; a full commit id that is in the mirror
    already needs no network. Raises RepositoryNotFoundError,
    RevisionNotFoundError, and StorageUnavailableError when git can't get there.
    """
    check(location)
    if location.path is not None:
        repository = open_foreign(_existing(location.path))
        return repository, _resolve(repository, rev, location)
    directory = os.path.join(cache, "mirrors", digest_of(location.url.encode()).hex + ".git")
    with _locked(directory):
        if rev is not None and _is_id(rev):
            present = _opened(directory)
            if present is not None and _has(present, rev):
                return present, rev
        mirror = _bring_up_to_date(directory, location)
        return mirror, _resolve_in_mirror(mirror, rev, location)


def _resolve(repository: Repository, rev: str | None, location: Location) -> str:
    try:
        return repository.resolve(rev or "HEAD")
    except RevisionNotFoundError:
        if rev is not None:
            raise RevisionNotFoundError(f"no such revision: {rev} in {location}") from None
    branches = repository.run("for-each-ref", "--count=5", "--format=%(refname:short)").split()
    if not branches:
        raise RevisionNotFoundError(f"no commits yet in {location}")
    raise RevisionNotFoundError(
        f"the default branch has no commits in {location}",
        f"name a revision with --rev: {b' '.join(branches).decode('utf-8', 'surrogateescape')}",
    )


def _resolve_in_mirror(mirror: Repository, rev: str | None, location: Location) -> str:
    """As `_resolve`; a commit or ref that no branch or tag has is asked for by itself."""
    try:
        return _resolve(mirror, rev, location)
    except RevisionNotFoundError:
        if rev is None or not (_is_id(rev) or rev.startswith("refs/")):
            raise
        try:
            _fetch(mirror.places.git_dir, location, [f"+{rev}:{_WANTED}{_name_of(rev)}"])
        except GitError as error:
            raise RevisionNotFoundError(f"no such revision: {rev} in {location}") from error
        return _resolve(mirror, _WANTED + _name_of(rev), location)


def _name_of(rev: str) -> str:
    return digest_of(rev.encode("utf-8", "surrogateescape")).hex


def _existing(path: str) -> str:
    """The directory that git would take for `path`, as `git clone` does."""
    if not os.path.isdir(path) and os.path.isdir(path.rstrip("/") + ".git"):
        return path.rstrip("/") + ".git"
    return path


def _opened(directory: str) -> Repository | None:
    """The mirror, unless there is none yet or it can't be used."""
    with suppress(DataregError):
        return open_foreign(directory)
    return None


def _bring_up_to_date(directory: str, location: Location) -> Repository:
    """The mirror with what the remote has now; a broken one is made again."""
    is_new = _opened(directory) is None
    if is_new:
        _create(directory, "sha1")
    try:
        _fetch_all(directory, location)
    except GitError as error:
        said = error.stderr.lower()
        if "mismatched algorithms" in said:
            other = open_foreign(directory).object_format == "sha1"
            _create(directory, "sha256" if other else "sha1")
        elif not is_new and _says(said, _BROKEN) and not _says(said, _ABSENT):
            _create(directory, "sha1")
        else:
            raise _unreachable(location, error) from error
        try:
            _fetch_all(directory, location)
        except GitError as second:
            raise _unreachable(location, second) from second
    return open_foreign(directory)


def _create(directory: str, object_format: str) -> None:
    """Make an empty mirror, in place of one that can't be used."""
    new = directory + ".new"
    for leftover in (new, directory):
        if os.path.isdir(leftover):
            shutil.rmtree(leftover)
        elif os.path.lexists(leftover):
            os.unlink(leftover)
    process.run(
        ["init", "--quiet", "--bare", "--template=", f"--object-format={object_format}", new],
        own=False,
    )
    # So that "HEAD" means the remote's, also when that is no branch.
    process.run([f"--git-dir={new}", "symbolic-ref", "HEAD", _HEAD], own=False)
    os.rename(new, directory)


def _fetch_all(directory: str, location: Location) -> None:
    """Fetch all branches and tags, and what the remote's HEAD is, if it is a commit."""
    try:
        _fetch(directory, location, [*_REFSPECS, f"+HEAD:{_HEAD}"])
    except GitError as error:
        if "couldn't find remote ref head" not in error.stderr.lower():
            raise
        _fetch(directory, location, _REFSPECS)
        process.run([f"--git-dir={directory}", "update-ref", "-d", _HEAD], own=False)


def _fetch(directory: str, location: Location, refspecs: Iterable[str]) -> None:
    process.run(
        [
            f"--git-dir={directory}",
            "fetch",
            "--quiet",
            "--force",
            "--prune",
            "--no-tags",
            "--update-shallow",
            "--no-write-fetch-head",
            "--no-auto-maintenance",
            "--no-recurse-submodules",
            "--",
            location.url,
            *refspecs,
        ],
        own=False,
        # What `git -c` gave us: proxies, credential helpers.
        extra=process.users_only(),
    )


def _unreachable(location: Location, error: GitError) -> DataregError:
    if _says(error.stderr.lower(), _ABSENT):
        return RepositoryNotFoundError(f"no Git repository at {location}: {error.message}")
    return StorageUnavailableError(f"can't read {location}: {error.message}")


def _says(said: str, phrases: Iterable[str]) -> bool:
    return any(words in said for words in phrases)


def _has(repository: Repository, id: str) -> bool:
    """Whether the commit is there with all that it holds: a killed fetch may leave a part."""
    code, _, _ = repository.run_unchecked("rev-list", "--objects", "--no-walk", "--quiet", id)
    return code == 0


def _is_id(rev: str) -> bool:
    return len(rev) in _ID_LENGTHS and not rev.strip("0123456789abcdef")


@contextmanager
def _locked(directory: str) -> Iterator[None]:
    """Hold the mirror for ourselves, where the file system has locks."""
    os.makedirs(os.path.dirname(directory), exist_ok=True)
    descriptor = os.open(directory + ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
