"""What list, fetch and push mean on a Git remote that is wrapped: `datareg::<git url>`.

Git itself talks to the remote; here its objects and refs are asked for by the
git program, so that every transport, credential helper and protocol setting
counts. What we add: objects are stored before any ref moves, and a repository
that fetches is set up for our filter.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from git_datareg.digest import Digest
from git_datareg.errors import DataregError, GitError, RepositoryNotFoundError
from git_datareg.git import config, objects, process
from git_datareg.git.repository import Repository, open_foreign
from git_datareg.location import HELPER_PREFIX, Location, check_registry
from git_datareg.protocol.remote_helper import PushResult, PushSpec, Ref, Want
from git_datareg.storages import embedded

#: Set for the gits that we start: the URL that they talk to.
INNER_VARIABLE = "GIT_DATAREG_INNER_URL"
#: What stands for the URL where naming it would lead back to us.
_ALIAS = "git-datareg-inner:"
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
_OTHER = frozenset(
    (
        "verbosity",
        "progress",
        "family",
        "cloning",
        "followtags",
        "object-format",
        "deepen-relative",
        # Git itself looks at what it includes, with the refs that we list.
        "force-if-includes",
    )
)
#: Options that may come several times.
_REPEATED = frozenset(("deepen-not", "cas", "push-option"))


class Remote(NamedTuple):
    """The remote that git calls us for: how git spells it, and what is behind the prefix."""

    #: Its name in the repository's configuration, or its URL again.
    name: str
    #: Its URL as git gave it, without `datareg::`.
    url: str
    location: Location
    #: What to call it to a git of ours.
    inner: str
    #: Where git called us.
    directory: str
    #: What our gits are told beyond what git told us.
    environment: Mapping[str, str]
    #: Whether `name` is one that the repository configures with just this URL.
    is_configured: bool
    #: Whether a git of ours can be given the name for the URL (see `fetch`).
    can_filter: bool
    #: Whether it is the very repository that git set us on; `git clone` makes a
    #: directory that may have the name of one that is not there.
    is_itself: bool


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
            is_relative = name == "depth" and self.is_set("deepen-relative")
            for value in self._values.get(name, []):
                yield f"--deepen={value}" if is_relative else spelled.format(value)
        yield from (flag for name, flag in _FETCH_FLAGS.items() if self.is_set(name))
        if self.verbosity == 0:
            yield "--quiet"
        yield from self._talk()

    def for_push(self) -> Iterator[str]:
        """What `git push` is to be given; never --quiet, which keeps it from saying what it did."""
        yield from (flag for name, flag in _PUSH_FLAGS.items() if self.is_set(name))
        yield from (f"--force-with-lease={value}" for value in self._values.get("cas", []))
        yield from (f"--push-option={value}" for value in self._values.get("push-option", []))
        yield from self._talk()

    @property
    def shows_progress(self) -> bool:
        """Whether git's user is to see how far we are."""
        return self.is_set("progress") and self.verbosity > 0

    @property
    def leased(self) -> frozenset[str]:
        """The refs for which the user has said what the remote must have."""
        return frozenset(each.partition(":")[0] for each in self._values.get("cas", []))

    @property
    def push_options(self) -> Sequence[str]:
        """What the user says to the remote with `git push -o`."""
        return self._values.get("push-option", [])

    @property
    def asks_object_format(self) -> bool:
        """Whether the refs are to come with their hash function; git before 2.45 gives no value."""
        return "object-format" in self._values

    @property
    def is_for_part(self) -> bool:
        """Whether not all of a history is wanted."""
        return any(name in self._values for name in (*_FETCH_OPTIONS, *_FETCH_FLAGS))

    @property
    def has_filter(self) -> bool:
        """Whether a partial clone is made or served."""
        return "filter" in self._values

    def _talk(self) -> Iterator[str]:
        yield from (f"--{family}" for family in self._values.get("family", []))
        yield from ["--verbose"] * (self.verbosity - 1)
        if "progress" in self._values:
            yield "--progress" if self.is_set("progress") else "--no-progress"


def find(name: str, url: str, directory: str, repository: Repository | None) -> Remote:
    """The remote that git, in `directory`, calls us for with this name and URL.

    Raises UsageError for a URL that git may not be run on, and that is no storage's.
    """
    location = Location.parse(url).absolute(directory)
    check_registry(location)
    values = config.read(repository)
    configured = next((each.value for each in values if each.key == f"remote.{name}.url"), None)
    spelled = name if configured is None else configured
    is_same = config.rewritten(spelled, values) == HELPER_PREFIX + url
    rules = {each.value for each in values if each.key.startswith(f"url.{HELPER_PREFIX}")}
    # Where the user has git put our prefix before some URLs, the inner one may be
    # among them; git rewrites only once.
    inner = _ALIAS if rules else location.url
    # The longest rule wins, of two the first.
    can_filter = is_same and spelled not in rules
    settings = [(f"url.{location.url}.insteadOf", _ALIAS)] if rules else []
    if can_filter:
        # See `fetch`.
        settings.append((f"url.{location.url}.insteadOf", spelled))
    environment = {**process.with_config(settings), INNER_VARIABLE: url}
    is_configured = is_same and configured is not None
    return Remote(
        name,
        url,
        location,
        inner,
        directory,
        environment,
        is_configured=is_configured,
        can_filter=can_filter,
        is_itself=repository is not None and _is_at(location, repository),
    )


def refs(remote: Remote, *, for_push: bool) -> tuple[Ref, ...]:
    """The refs of the remote, HEAD as the symbolic ref that it is; for a push what can be pushed.

    Raises RepositoryNotFoundError when there is nothing on this machine,
    GitError when git can't read it; git has then said why on stderr.
    """
    # What is only shown (HEAD, peeled tags) `git push --mirror` would delete.
    kind = "--refs" if for_push else "--symref"
    code, output = _run(remote, ["ls-remote", kind, "--", remote.inner])
    if code != 0:
        if remote.location.path is not None:
            raise RepositoryNotFoundError(f"no Git repository can be read at {remote.location}")
        raise GitError(f"git can't read {remote.location}")
    if not output and remote.is_itself:
        raise RepositoryNotFoundError(f"no such repository: {remote.location}")
    found = []
    symbolic = set()
    for line in output.split("\n"):
        value, tab, name = line.partition("\t")
        if tab and value.startswith("ref: "):
            symbolic.add(name)
            found.append(Ref(name, symref=value.removeprefix("ref: ")))
        elif tab and name not in symbolic:
            found.append(Ref(name, oid=value))
    return tuple(found)


def object_format(remote: Remote, refs: Sequence[Ref], default: str) -> str:
    """The hash function of the remote, "sha1" or "sha256"; the default where nothing tells it."""
    for ref in refs:
        if ref.oid is not None:
            return "sha256" if len(ref.oid) == 64 else "sha1"
    if remote.location.path is not None:
        for directory in (remote.location.path, remote.location.path.rstrip("/") + ".git"):
            try:
                return open_foreign(directory).object_format
            except DataregError:
                continue
    return default


def fetch(remote: Remote, wants: Sequence[Want], options: Options) -> None:
    """Bring Git's objects into the repository that git set us on; no ref is written.

    Raises GitError when git could not; it has then said why on stderr.
    """
    # A filtered fetch notes in the configuration whom to ask for the rest: that
    # is the remote by its own name, and its URL is ours without our prefix.
    source = remote.name if options.has_filter else remote.inner
    _fetch(remote, source, [want.oid for want in wants], options.for_fetch())


def fetch_tags(
    remote: Remote, refs: Sequence[Ref], repository: Repository, options: Options
) -> None:
    """Bring the tag objects of the remote that point to what is here now ("followtags").

    Git itself asks for those that it lacks, but not while it clones.
    """
    if not (options.is_set("followtags") and options.is_set("cloning")) or options.has_filter:
        # A partial clone would fetch each commit that it is asked about.
        return
    ids = {ref.name: ref.oid for ref in refs if ref.oid is not None}
    tags = {ids[name]: ids[name + "^{}"] for name in ids if name + "^{}" in ids}
    present = set(objects.existing(repository, {*tags, *tags.values()}))
    wanted = [tag for tag, target in tags.items() if target in present and tag not in present]
    if wanted:
        _fetch(remote, remote.inner, wanted, ["--quiet"])


def _fetch(remote: Remote, source: str, ids: Sequence[str], options: Iterable[str]) -> None:
    arguments = [
        "fetch",
        "--no-tags",
        "--no-prune",
        "--refmap=",
        "--no-write-fetch-head",
        "--no-auto-maintenance",
        "--no-recurse-submodules",
        "--stdin",
        *options,
        "--",
        source,
    ]
    code, _ = _run(remote, arguments, input="".join(f"{id}\n" for id in dict.fromkeys(ids)))
    if code != 0:
        raise GitError(f"git can't fetch from {remote.location}")


def push(remote: Remote, specs: Sequence[PushSpec], options: Options) -> list[PushResult]:
    """Have git push the refs; one result for each, as the remote answered.

    What they need must be stored already. Raises GitError when git could not
    even ask; it has then said why on stderr.
    """
    step = len(specs) if options.is_set("atomic") else _REFSPECS
    results: dict[str, PushResult] = {}
    for start in range(0, len(specs), step):
        part = specs[start : start + step]
        refspecs = [f"{'+' if spec.force else ''}{spec.src}:{spec.dst}" for spec in part]
        arguments = ["push", "--porcelain", "--no-verify", "--no-recurse-submodules"]
        arguments += [*options.for_push(), "--", remote.inner, *refspecs]
        code, output = _run(remote, arguments)
        answered = {result.dst: result for result in _parse_porcelain(output)}
        if code != 0 and not answered and not results:
            raise GitError(f"git can't push to {remote.location}")
        results |= answered
    unknown = "git push said nothing about it"
    return [results.get(spec.dst, PushResult(spec.dst, unknown)) for spec in specs]


class WrappedRemote:
    """What git asks of a remote, of one that another git talks to."""

    def __init__(self, spelled: Remote) -> None:
        self.spelled = spelled
        self.can_filter = spelled.can_filter

    def refs(self, *, for_push: bool) -> tuple[Ref, ...]:
        """See `refs`."""
        return refs(self.spelled, for_push=for_push)

    def object_format(self, refs: Sequence[Ref], default: str) -> str:
        """See `object_format`."""
        return object_format(self.spelled, refs, default)

    def fetch(
        self,
        wants: Sequence[Want],
        refs: Sequence[Ref],
        repository: Repository,
        options: Options,
    ) -> None:
        """See `fetch`."""
        fetch(self.spelled, wants, options)
        fetch_tags(self.spelled, refs, repository, options)

    def prepare(self) -> None:
        """Nothing is to be done."""

    def push(
        self,
        repository: Repository,
        specs: Sequence[PushSpec],
        options: Options,
        data: Iterable[Digest],
    ) -> list[PushResult]:
        """See `push`; the `data` that it needs is stored."""
        return push(self.spelled, specs, options)

    def tidy(self, repository: Repository) -> None:
        """Nothing is to be done."""


def pushed_commits(repository: Repository, specs: Sequence[PushSpec]) -> list[str]:
    """The ids of what is pushed, deletions left out."""
    return objects.existing(repository, [spec.src for spec in specs if spec.src])


def settle(remote: Remote, repository: Repository) -> None:
    """Make the remote's URL hold from the new repository, as `git clone` does with a path.

    Git calls us from where the user is and notes a relative path as it is.
    """
    is_relative = remote.location.path is not None and remote.location.url != remote.url
    if not remote.is_configured or not is_relative or _has_refs(repository):
        return
    git_dir = repository.places.git_dir
    # Where later gits are, to which a relative path of the user's own is to be read. While
    # it clones, git names no work tree, so that `repository.top` is no answer.
    home = os.path.dirname(git_dir) if os.path.basename(git_dir) == ".git" else git_dir
    if os.path.realpath(remote.directory) != os.path.realpath(home):
        url = HELPER_PREFIX + remote.location.url
        config.set_value(repository, "local", f"remote.{remote.name}.url", url)


def _is_at(location: Location, repository: Repository) -> bool:
    place = embedded(location)
    own = repository.places.own_objects
    return place is not None and os.path.realpath(place.path or "") == os.path.realpath(own)


def _has_refs(repository: Repository) -> bool:
    return bool(repository.run("for-each-ref", "--count=1"))


def _run(remote: Remote, arguments: Sequence[str], input: str = "") -> tuple[int, str]:
    code, output = process.talk_to_remote(arguments, input=input.encode(), extra=remote.environment)
    return code, output.decode("utf-8", "surrogateescape")


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
