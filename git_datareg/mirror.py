"""Git repositories of registries, ready to be read: in place, or mirrored in the cache.

A repository on this machine is read where it is. Any other has one bare mirror
per URL, below the cache, which git brings up to date: so the user's credential
helpers, ssh configuration and proxies count. A mirror holds the commits that
were asked for, each without its history and without large files, which come
when they are wanted. Mirrors can be deleted at any time.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import NamedTuple

from git_datareg.digest import digest_of
from git_datareg.errors import (
    DataregError,
    GitError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    StorageUnavailableError,
)
from git_datareg.git import bare, config, faults, objects, process, revisions, unattended
from git_datareg.git.repository import Repository, open_foreign
from git_datareg.location import Location, check_repository, user_and_host
from git_datareg.notes import own_part
from git_datareg.objects import cache_at

#: Plain files of more bytes are left at the remote until somebody wants them.
BLOB_LIMIT = 32 * 1024
#: What a mirror calls its remote; the URL, which may hold a password, is in no file.
_REMOTE = "datareg-source"
#: Where a mirror notes each commit that it holds whole, but for large files.
_COMMITS = "refs/datareg/commits/"
#: Where that what was asked for arrives.
_ASKED = "refs/datareg/asked"
#: What the remote's HEAD was; the HEAD of a repository of ours is a symbolic ref to it, so that
#: it means the remote's, also when that is no branch.
_HEAD = "refs/datareg/HEAD"
_ALL = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
_SHALLOW = ("--depth=1", f"--filter=blob:limit={BLOB_LIMIT}")
#: git's own number for "all of it".
_DEEP = ("--depth=2147483647", f"--filter=blob:limit={BLOB_LIMIT}")
#: Not without the depth, which a server of plain files refuses before anything else is done.
_NO_CONTENT = ("--depth=2147483647", "--filter=tree:0")
_QUIETLY = (
    "--quiet",
    "--force",
    "--no-tags",
    "--update-shallow",
    "--no-write-fetch-head",
    "--no-auto-maintenance",
    "--no-recurse-submodules",
)
#: So many fetches, each a pack, make reading slow; then they become one.
_MAX_PACKS = 40


def open_revision(
    location: Location, rev: str | None, cache: str | None, *, is_foreign: bool = False
) -> tuple[Repository, str]:
    """The repository at `location`, and the full id of its commit `rev` (None: its HEAD).

    `is_foreign`: not the user named it, but a registry; then git asks nobody for
    a password, and goes no other way than https and ssh. What the answer needs
    is fetched, in one go for a branch, a tag or a full id; a commit's id that is
    in the mirror already needs no network. Raises RepositoryNotFoundError,
    RevisionNotFoundError, StorageUnavailableError when git can't get there, and
    UsageError for a registry elsewhere without a cache.
    """
    check_repository(location)
    if location.path is not None:
        repository = open_foreign(_existing(location.path))
        return repository, resolved(repository, rev, location)
    mirror = _Mirror(location, directory_for(location, cache), is_foreign)
    with bare.locked(mirror.directory):
        commit = (mirror.held(rev) if rev is not None else None) or mirror.fetch(rev)
        return mirror.reader, commit


def fetch_blobs(
    location: Location, ids: Iterable[str], cache: str | None, *, is_foreign: bool = False
) -> None:
    """Have the mirror of a remote registry hold these files, in one go.

    Raises StorageUnavailableError when git can't get there, and GitError for
    what the registry does not give. `is_foreign` is as in `open_revision`.
    """
    mirror = _Mirror(location, directory_for(location, cache), is_foreign)
    with bare.locked(mirror.directory):
        mirror.fetch_objects(ids)


def all_of(location: Location, cache: str | None) -> Repository:
    """A repository with all refs of a registry, and all that they reach.

    Raises as `open_revision`.
    """
    check_repository(location)
    if location.path is not None:
        return open_foreign(_existing(location.path))
    mirror = _Mirror(location, directory_for(location, cache, ".all"))
    with bare.locked(mirror.directory):
        mirror.fetch_everything()
        return bare.opened(mirror.directory)


def commits_between(location: Location, old: str, new: str, cache: str | None) -> int | None:
    """How many commits the commit `new` of a registry has that its commit `old` has not.

    None when `old` is not among the ancestors of `new`. May need the network,
    but fetches commits only. Raises as `open_revision`.
    """
    if location.path is not None:
        return distance(open_foreign(_existing(location.path)), old, new)
    mirror = _Mirror(location, directory_for(location, cache))
    with bare.locked(mirror.directory):
        return distance(mirror.history(old, new), old, new)


def distance(repository: Repository, old: str, new: str) -> int | None:
    """How many commits `new` has that `old`, one of its ancestors, has not; None if it is none."""
    if repository.run_unchecked("merge-base", "--is-ancestor", old, new)[0] != 0:
        return None
    return int(repository.run("rev-list", "--count", f"{old}..{new}"))


def directory_for(location: Location, cache: str | None, suffix: str = ".git") -> str:
    """Where the mirror of a registry is; raises UsageError without a cache."""
    name = digest_of(os.fsencode(location.url)).hex + suffix
    return os.path.join(own_part(cache_at(cache).root), "mirrors", name)


class _Mirror(NamedTuple):
    """The mirror of one remote registry; whoever changes it holds its lock.

    Git may fetch by itself, one by one, what a repository lacks that is marked
    as partial. So the mirror is read through another repository that borrows
    its objects and has no such mark: what is not there is missing there.
    """

    location: Location
    directory: str
    is_foreign: bool = False

    @property
    def reader(self) -> Repository:
        """The repository to read it by."""
        return bare.opened(os.path.join(self.directory, bare.READER))

    def held(self, rev: str) -> str | None:
        """The full id of a commit that is here, `rev` being that or its beginning."""
        if not revisions.is_abbreviated(rev) or not bare.is_made(self.directory):
            return None
        # To tell its tree, git looks at the commit, and not only at the ref.
        arguments = ("for-each-ref", "--format=%(objectname) %(tree)", f"{_COMMITS}{rev}*")
        code, output, _ = bare.opened(self.directory).run_unchecked(*arguments)
        found = output.decode().split()
        return found[0] if code == 0 and len(found) == 2 else None

    def fetch(self, rev: str | None) -> str:
        """The full id of a commit that the remote has; the commit is here then."""
        name = rev if rev not in (None, "", "@") else "HEAD"
        assert name is not None
        if not os.path.exists(self._dumb):
            try:
                return self._fetch_shallow(name)
            except GitError as error:
                if not faults.says(error, faults.DUMB):
                    raise
        self._bring_whole()
        return self._note(resolved(bare.opened(self.directory), rev, self.location))

    @property
    def _dumb(self) -> str:
        """The file that marks the mirror of plain files behind a web server."""
        return os.path.join(self.directory, "dumb")

    def _bring_whole(self) -> None:
        """Fetch all from a server of plain files: no part of a history can be asked for.

        Not into a repository that is marked as partial: there git would look for
        each object that it does not have yet by a fetch of its own, and so on.
        """
        if not os.path.exists(self._dumb):
            bare.create(self.directory, bare.opened(self.directory).object_format, _HEAD)
            with open(self._dumb, "x"):
                pass
        self._bring_all(self.directory)

    def _fetch_shallow(self, name: str) -> str:
        """As `fetch`, without the commit's history."""
        if revisions.is_ref_name(name) or revisions.is_id(name):
            if self._ask(name):
                return self._note(_ASKED)
            if name == "HEAD":
                raise _headless(self._branches(), self.location)
            elif not revisions.is_hex(name) or revisions.is_id(name):
                return self._fetch_deep(name)
        commit = self._resolved_in_history(name)
        if self.held(commit) is not None:
            return commit
        return self._note(_ASKED) if self._ask(commit) else self._fetch_deep(commit)

    def _branches(self) -> list[str]:
        """The branches of the remote, from a mirror that was just used."""
        output = self._git("ls-remote", "--heads", "--", _REMOTE)
        lines = output.decode("utf-8", "surrogateescape").splitlines()
        return [line.rpartition("\t")[2].removeprefix("refs/heads/") for line in lines]

    def _fetch_deep(self, name: str) -> str:
        """A commit that some servers give with its branch only."""
        if not revisions.is_id(name):
            raise _unknown(name, self.location)
        self._bring_all(self.directory, *_DEEP)
        return self._note(resolved(bare.opened(self.directory), name, self.location))

    def _ask(self, name: str) -> bool:
        """Fetch one ref, or commit; whether the remote has it."""
        try:
            self._bring(self.directory, [f"+{name}:{_ASKED}"], *_SHALLOW)
        except GitError as error:
            if not faults.says(error, faults.UNKNOWN):
                raise
            return False
        return True

    def _note(self, name: str) -> str:
        """Note that the commit `name` is here; its full id."""
        mirror = bare.opened(self.directory)
        try:
            commit = mirror.resolve(name)
        except RevisionNotFoundError:
            raise RevisionNotFoundError(
                f"what was asked for is no commit: {self.location}"
            ) from None
        mirror.run("update-ref", _COMMITS + commit, commit)
        consolidate(mirror)
        return commit

    def fetch_everything(self) -> None:
        """Fetch all refs, not only branches and tags, whole."""
        self._bring(self.directory, ["+refs/*:refs/*"], "--prune", "--no-write-fetch-head")

    def fetch_objects(self, ids: Iterable[str]) -> None:
        """Fetch objects by their ids."""
        self._bring(
            self.directory,
            (),
            "--filter=blob:none",
            "--stdin",
            input="".join(f"{id}\n" for id in ids).encode(),
            # As git does it itself: what we have says nothing of what we lack.
            settings=[("fetch.negotiationAlgorithm", "noop")],
        )

    @property
    def _history(self) -> str:
        """A repository with all commits and without their content."""
        return os.path.join(self.directory, "history")

    def history(self, *commits: str) -> Repository:
        """A repository with all commits; brought up to date if it lacks one of these."""
        if os.path.exists(self._dumb):
            self._bring_whole()
            return bare.opened(self.directory)
        if not self._has_history(commits):
            self._bring_all(self._history, *_NO_CONTENT)
        if not self._has_history(commits[-1:]):
            # No branch or tag has it.
            with suppress(GitError):
                refspec = f"+{commits[-1]}:{_COMMITS}{commits[-1]}"
                self._bring(self._history, [refspec], *_NO_CONTENT)
        return bare.opened(self._history)

    def _has_history(self, commits: Sequence[str]) -> bool:
        if not bare.is_made(self._history):
            return False
        found = objects.existing(bare.opened(self._history), commits)
        return len(found) == len(commits)

    def _resolved_in_history(self, rev: str) -> str:
        if not rev.isprintable():
            raise _unknown(rev, self.location)
        self._bring_all(self._history, *_NO_CONTENT)
        return resolved(bare.opened(self._history), rev, self.location)

    def _bring_all(self, directory: str, *options: str) -> None:
        """Fetch all branches and tags, and what the remote's HEAD is, if it is a commit."""
        try:
            self._bring(directory, [*_ALL, f"+HEAD:{_HEAD}"], "--prune", *options)
        except GitError as error:
            if "couldn't find remote ref head" not in error.stderr.lower():
                raise
            self._bring(directory, _ALL, "--prune", *options)
            bare.opened(directory).run("update-ref", "-d", _HEAD)

    def _git(
        self,
        *arguments: str,
        directory: str | None = None,
        input: bytes = b"",
        settings: Sequence[tuple[str, str]] = (),
    ) -> bytes:
        """What git prints that talks to the remote."""
        url = (f"remote.{_REMOTE}.url", self.location.url)
        # What `git -c` gave us counts: proxies, credential helpers.
        extra = {**process.users_only(), **process.with_config([url, *settings])}
        if self.is_foreign:
            host = user_and_host(self.location.url)[1] if self.location.scheme == "ssh" else None
            extra |= unattended.environment(config.read(None) if host else (), host)
        command = [f"--git-dir={directory or self.directory}", *arguments]
        return process.run(command, own=False, input=input, extra=extra)

    def _bring(
        self,
        directory: str,
        refspecs: Iterable[str],
        *options: str,
        input: bytes = b"",
        settings: Sequence[tuple[str, str]] = (),
    ) -> None:
        """Fetch into one of our repositories; a broken one is made again.

        Raises GitError for what the remote does not have or can't do, else what
        `open_revision` does.
        """

        arguments = ("fetch", *_QUIETLY, *options, "--", _REMOTE, *refspecs)

        def fetch() -> None:
            self._git(*arguments, directory=directory, input=input, settings=settings)

        is_new = not bare.is_made(directory)
        if is_new:
            bare.create(directory, "sha1", _HEAD)
        try:
            fetch()
        except GitError as error:
            if "mismatched algorithms" in error.stderr.lower():
                other = bare.opened(directory).object_format == "sha1"
                bare.create(directory, "sha256" if other else "sha1", _HEAD)
            elif (
                not is_new
                and faults.says(error, faults.BROKEN)
                and not faults.says(error, faults.ABSENT)
            ):
                bare.create(directory, bare.opened(directory).object_format, _HEAD)
            else:
                raise _explained(self.location, error) from error
            try:
                fetch()
            except GitError as second:
                raise _explained(self.location, second) from second


def resolved(repository: Repository, rev: str | None, location: Location) -> str:
    """The full id of a registry's commit; raises RevisionNotFoundError that names the registry."""
    try:
        return repository.resolve(rev or "HEAD")
    except RevisionNotFoundError:
        if rev not in (None, "", "HEAD", "@"):
            assert rev is not None
            raise _unknown(rev, location) from None
    output = repository.run("for-each-ref", "--count=5", "--format=%(refname:short)")
    raise _headless(os.fsdecode(output).split(), location)


def _headless(branches: Sequence[str], location: Location) -> RevisionNotFoundError:
    if not branches:
        return RevisionNotFoundError(f"no commits yet in {location}")
    return RevisionNotFoundError(
        f"the default branch has no commits in {location}",
        f"name a revision with --rev: {' '.join(branches[:5])}",
    )


def _unknown(rev: str, location: Location) -> RevisionNotFoundError:
    return RevisionNotFoundError(f"no such revision: {rev} in {location}")


def _existing(path: str) -> str:
    """The directory that git would take for `path`, as `git clone` does."""
    if not os.path.isdir(path) and os.path.isdir(path.rstrip("/") + ".git"):
        return path.rstrip("/") + ".git"
    return path


def consolidate(mirror: Repository) -> None:
    """Make one pack of many; each fetch brings one."""
    packs = os.listdir(os.path.join(mirror.top, "objects", "pack"))
    if sum(name.endswith(".pack") for name in packs) > _MAX_PACKS:
        mirror.run("repack", "-a", "-d", "-q")


def _is_broken(error: GitError) -> bool:
    return faults.says(error, faults.BROKEN) and not faults.says(error, faults.ABSENT)


def _explained(location: Location, error: GitError) -> DataregError:
    if faults.says(error, faults.UNKNOWN) or faults.says(error, faults.DUMB):
        return error
    if faults.says(error, faults.ABSENT):
        return RepositoryNotFoundError(f"no Git repository at {location}: {error.message}")
    return StorageUnavailableError(f"can't read {location}: {error.message}")
