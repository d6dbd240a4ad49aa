"""What list, fetch and push mean on a Git remote that is wrapped: `datareg::<git url>`.

Git itself talks to the remote; here its objects and refs are asked for by the
git program, so that every transport, credential helper and protocol setting
counts. What we add: objects are stored before any ref moves, and a repository
that fetches is set up for our filter.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping, Sequence

from git_datareg import installing
from git_datareg.errors import GitError, RepositoryNotFoundError, UsageError
from git_datareg.git import config, objects, process
from git_datareg.git.repository import Repository
from git_datareg.location import Location
from git_datareg.protocol.remote_helper import PushResult, PushSpec, Ref, Want

#: What git can reach; an inner `ext::` would run commands.
_SCHEMES = frozenset(("file", "ssh", "git", "http", "https", "git+ssh", "ssh+git", "ftp", "ftps"))
#: git's words for a refusal, where a remote helper spells them otherwise
#: (`push_update_ref_status` in git's transport-helper.c).
_REASONS = {"non-fast-forward": "non-fast forward"}
#: Refspecs for one `git push`, far below what a command line holds.
_REFSPECS = 500

#: Options of git that a git of ours takes as they are, by their name in the helper protocol.
_FETCH_OPTIONS = {
    "depth": "--depth={}",
    "deepen-since": "--shallow-since={}",
    "deepen-not": "--shallow-exclude={}",
    "filter": "--filter={}",
}
_FETCH_FLAGS = {"update-shallow": "--update-shallow", "refetch": "--refetch"}
_PUSH_FLAGS = {"dry-run": "--dry-run", "atomic": "--atomic", "force": "--force"}
#: Options that are only looked at here.
_OTHER = frozenset(("verbosity", "progress", "cloning", "object-format", "deepen-relative"))
#: Options that may come several times.
_REPEATED = frozenset(("deepen-not", "cas", "push-option"))


class Options:
    """The options that git set for this conversation."""

    def __init__(self) -> None:
        self._values: dict[str, list[str]] = {}

    def set(self, name: str, value: str) -> bool:
        """Take an option; whether it is one that is honoured here."""
        known = {*_FETCH_OPTIONS, *_FETCH_FLAGS, *_PUSH_FLAGS, *_OTHER, *_REPEATED}
        if name not in known:
            return False
        if name in _REPEATED:
            self._values.setdefault(name, []).append(value)
        else:
            self._values[name] = [value]
        return True

    def is_set(self, name: str) -> bool:
        """Whether a yes-or-no option is on."""
        return self._values.get(name, ["false"]) == ["true"]

    @property
    def verbosity(self) -> int:
        """0 is quiet, 1 ordinary, more is more."""
        value = self._values.get("verbosity", ["1"])[0]
        return int(value) if value.isdigit() else 1

    def for_fetch(self) -> Iterator[str]:
        """What `git fetch` is to be given."""
        for name, spelled in _FETCH_OPTIONS.items():
            for value in self._values.get(name, []):
                yield spelled.format(value)
        if self.is_set("deepen-relative") and "depth" in self._values:
            yield f"--deepen={self._values['depth'][0]}"
        yield from (flag for name, flag in _FETCH_FLAGS.items() if self.is_set(name))
        yield from self._talk()

    def for_push(self) -> Iterator[str]:
        """What `git push` is to be given."""
        yield from (flag for name, flag in _PUSH_FLAGS.items() if self.is_set(name))
        yield from (f"--force-with-lease={value}" for value in self._values.get("cas", []))
        yield from (f"--push-option={value}" for value in self._values.get("push-option", []))
        yield from self._talk()

    def _talk(self) -> Iterator[str]:
        if self.verbosity == 0:
            yield "--quiet"
        yield from ["--verbose"] * (self.verbosity - 1)
        if "progress" in self._values:
            yield "--progress" if self.is_set("progress") else "--no-progress"


def check(location: Location) -> None:
    """Raise UsageError unless git may be run on this URL."""
    if location.scheme not in _SCHEMES:
        raise UsageError(
            f"not a URL of a Git repository: datareg::{location}",
            "datareg:: takes what git clone takes: a path, file://, https:// or ssh://",
        )


def refs(location: Location) -> tuple[Ref, ...]:
    """The refs of the remote, HEAD as the symbolic ref that it is.

    Raises RepositoryNotFoundError when there is nothing on this machine,
    GitError when git can't read it; git has then said why on stderr.
    """
    child = process.start(["ls-remote", "--symref", "--", location.url], stdout=subprocess.PIPE)
    output, _ = child.communicate()
    if child.returncode != 0:
        if location.path is not None:
            raise RepositoryNotFoundError(f"no Git repository can be read at {location}")
        raise GitError(f"git can't read {location}")
    found = []
    symbolic = set()
    for line in output.decode("utf-8", "surrogateescape").split("\n"):
        value, tab, name = line.partition("\t")
        if tab and value.startswith("ref: "):
            symbolic.add(name)
            found.append(Ref(name, symref=value.removeprefix("ref: ")))
        elif tab and name not in symbolic:
            found.append(Ref(name, oid=value))
    return tuple(found)


def fetch(location: Location, wants: Sequence[Want], options: Options) -> None:
    """Bring Git's objects into the repository that git set us on; no ref is written.

    Raises GitError when git could not; it has then said why on stderr.
    """
    ids = list(dict.fromkeys(want.oid for want in wants))
    arguments = [
        "fetch",
        "--no-tags",
        "--no-prune",
        "--refmap=",
        "--no-write-fetch-head",
        "--no-auto-maintenance",
        "--no-recurse-submodules",
        "--stdin",
        *options.for_fetch(),
        "--",
        location.url,
    ]
    child = process.start(arguments, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    child.communicate("".join(f"{id}\n" for id in ids).encode())
    if child.returncode != 0:
        raise GitError(f"git can't fetch from {location}")


def push(location: Location, specs: Sequence[PushSpec], options: Options) -> list[PushResult]:
    """Have git push the refs; one result for each, as the remote answered.

    What they need must be stored already. Raises GitError when git could not
    even ask; it has then said why on stderr.
    """
    step = len(specs) if options.is_set("atomic") else _REFSPECS
    results: dict[str, PushResult] = {}
    for start in range(0, len(specs), step):
        part = specs[start : start + step]
        refspecs = [f"{'+' if spec.force else ''}{spec.src}:{spec.dst}" for spec in part]
        child = process.start(
            [
                "push",
                "--porcelain",
                "--no-verify",
                "--no-recurse-submodules",
                *options.for_push(),
                "--",
                location.url,
                *refspecs,
            ],
            stdout=subprocess.PIPE,
        )
        output, _ = child.communicate()
        answered = list(_parse_porcelain(output.decode("utf-8", "surrogateescape")))
        if child.returncode != 0 and not answered:
            raise GitError(f"git can't push to {location}")
        results |= {result.dst: result for result in answered}
    unknown = "git push said nothing about it"
    return [results.get(spec.dst, PushResult(spec.dst, unknown)) for spec in specs]


def pushed_commits(repository: Repository, specs: Sequence[PushSpec]) -> list[str]:
    """The ids of what is pushed, deletions left out."""
    return objects.existing(repository, [spec.src for spec in specs if spec.src])


def set_up(repository: Repository) -> None:
    """Configure our filter and hooks, unless that is done already or the repository is bare."""
    values: Mapping[str, str] = {each.key: each.value for each in config.read(repository)}
    if values.get("core.bare") == "true":
        return
    if f"{installing.SECTION}.process" not in values:
        installing.configure(repository, "local")
    installing.install_hooks(repository)


def _parse_porcelain(output: str) -> Iterator[PushResult]:
    """The results in what `git push --porcelain` prints (git-push(1), OUTPUT)."""
    for line in output.split("\n"):
        fields = line.split("\t")
        if len(fields) != 3 or len(fields[0]) != 1:
            continue
        flag, refs, summary = fields
        dst = refs.rpartition(":")[2]
        if flag == "!":
            reason = summary.rpartition("(")[2].removesuffix(")")
            yield PushResult(dst, _REASONS.get(reason, reason))
        elif flag == "=":
            yield PushResult(dst, "up to date")
        else:
            yield PushResult(dst)
