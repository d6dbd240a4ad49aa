"""A repository on this machine, and how git is run on it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from git_datareg.errors import GitError, RepositoryNotFoundError, RevisionNotFoundError
from git_datareg.git import process
from git_datareg.git.places import Places

#: A repository that is not the user's own may be a partial clone, whose configuration
#: says how what it lacks is fetched, by which program: so nothing is. The second one is
#: for gits before 2.44; it beats all configuration of protocols.
_NO_FETCHING = {"GIT_NO_LAZY_FETCH": "1", "GIT_ALLOW_PROTOCOL": "none"}
#: What `git rev-parse` says of each repository, apart from its work tree.
_FACTS = 4


class Repository(NamedTuple):
    """One Git repository: where it is, and whose it is.

    `own` repositories are those that the user (or git) works in: git's
    environment variables count. Others are foreign: they are named by their
    path alone, and no variable of ours leads git elsewhere.
    """

    places: Places
    #: The work tree's top, absolute; None in a bare repository.
    work_tree: str | None
    #: "sha1" or "sha256".
    object_format: str
    own: bool
    #: Whether git fetches what a partial clone lacks when it comes to it; in foreign ones never.
    is_lazy: bool = True

    def run(
        self,
        *arguments: str,
        input: bytes | Iterable[bytes] | None = None,
        accept: Sequence[int] = (0,),
        extra: Mapping[str, str] | None = None,
    ) -> bytes:
        """What `git <arguments>` prints when run on this repository, at its top.

        Raises GitError when git exits with a code that is not in `accept`.
        """
        return process.run(
            self._addressed(arguments),
            own=self.own,
            cwd=self.top,
            input=input,
            accept=accept,
            extra=self._environment(extra),
        )

    def run_unchecked(
        self, *arguments: str, input: bytes | Iterable[bytes] | None = None
    ) -> tuple[int, bytes, str]:
        """Exit code, output and error text of git on this repository."""
        return process.run_unchecked(
            self._addressed(arguments),
            own=self.own,
            cwd=self.top,
            input=input,
            extra=self._environment(None),
        )

    def start(self, *arguments: str, aloud: bool = False) -> subprocess.Popen[bytes]:
        """A running git on this repository, with pipes to and from it.

        The caller ends it and waits for it. What it says is lost, or, `aloud`, goes to our
        stderr.
        """
        addressed = self._addressed(arguments)
        process.tell(addressed, "begun")
        return process.start(
            addressed,
            own=self.own,
            cwd=self.top,
            extra=self._environment(None),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if aloud else subprocess.DEVNULL,
        )

    @property
    def top(self) -> str:
        """Where git runs: the work tree's top, or the bare repository."""
        return self.work_tree or self.places.git_dir

    @property
    def at_hand(self) -> Repository:
        """The same repository, where what a partial clone lacks is missing and not fetched."""
        return self._replace(is_lazy=False)

    @property
    def is_shallow(self) -> bool:
        """Whether it has parts of histories only (gitrepository-layout(5), "shallow")."""
        return os.path.exists(os.path.join(self.places.common_dir, "shallow"))

    def resolve(self, revision: str) -> str:
        """The full id of the commit that `revision` names.

        Raises RevisionNotFoundError when there is none.
        """
        code, output, _ = self.run_unchecked(
            "rev-parse", "--verify", "--quiet", "--end-of-options", revision + "^{commit}"
        )
        if code != 0:
            raise RevisionNotFoundError(f"no such revision: {revision} in {self.top}")
        # git 2.39 echoes the marker that ends its options.
        found = output.decode().split()[-1]
        if found.startswith("^"):
            # "^main": for git a revision, not to be had.
            raise RevisionNotFoundError(f"no such revision: {revision} in {self.top}")
        return found

    def _environment(self, extra: Mapping[str, str] | None) -> Mapping[str, str] | None:
        fetches = self.own and self.is_lazy
        return extra if fetches else {**_NO_FETCHING, **(extra or {})}

    def _addressed(self, arguments: Sequence[str]) -> list[str]:
        where = [f"--git-dir={self.places.git_dir}"]
        if self.work_tree is not None:
            where.append(f"--work-tree={self.work_tree}")
        if not self.own:
            # Nothing that a foreign repository configures may run a program of its choice.
            where += ["-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null"]
            # A commit that was agreed on stays that one.
            where.append("--no-replace-objects")
        return [*where, *arguments]


def find(directory: str | None = None) -> Repository:
    """The user's own repository around `directory` (default: the current one).

    Raises RepositoryNotFoundError when there is none.
    """
    return _described(_rev_parse(directory or ".", own=True), own=True)


def open_foreign(directory: str) -> Repository:
    """The repository whose top (or git directory) is exactly `directory`.

    Raises RepositoryNotFoundError when there is none there.
    """
    parent = os.path.dirname(os.path.abspath(directory))
    if not os.path.isdir(directory):
        raise RepositoryNotFoundError(f"no such repository: {directory}")
    extra = {"GIT_CEILING_DIRECTORIES": parent}
    return _described(_rev_parse(directory, own=False, extra=extra), own=False)


def _rev_parse(directory: str, *, own: bool, extra: Mapping[str, str] | None = None) -> list[str]:
    """What git says about the repository, a line each; without a work tree a line less."""
    code, output, errors = process.run_unchecked(
        [
            "rev-parse",
            "--path-format=absolute",
            "--git-dir",
            "--git-common-dir",
            "--git-path",
            "index",
            "--show-object-format",
            # Last, since git ends here when there is none.
            "--show-toplevel",
        ],
        own=own,
        cwd=directory,
        extra=extra,
    )
    lines = os.fsdecode(output).split("\n")[:-1]
    if code == 0 or (lines and "must be run in a work tree" in errors):
        if len(lines) != _FACTS + (code == 0):
            raise GitError(f"a repository whose path holds line breaks can't be used: {directory}")
        return lines
    if "not a git repository" in errors:
        raise RepositoryNotFoundError(f"not a git repository: {os.path.abspath(directory)}")
    raise process.failure(["rev-parse"], errors)


def _described(lines: Sequence[str], *, own: bool) -> Repository:
    git_dir, common_dir, index, object_format, *work_tree = lines
    top = work_tree[0] if work_tree else None
    return Repository(Places(git_dir, common_dir, index), top, object_format, own)
