"""A serverless registry as the remote that git calls us for: `datareg::<storage url>`.

The same questions as to `remote`, answered from a storage instead of by another git.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from git_datareg import remote, served, serverless
from git_datareg.digest import Digest
from git_datareg.errors import UsageError
from git_datareg.generation import is_ref_name
from git_datareg.git.repository import Repository
from git_datareg.protocol.remote_helper import PushResult, PushSpec, Ref, Want
from git_datareg.remote import Options, Remote
from git_datareg.serverless import Registry

_HEAD = "head="


class ServerlessRemote:
    """What git asks of a remote, of a serverless registry."""

    can_filter = False

    def __init__(self, spelled: Remote, registry: Registry, cache: str | None) -> None:
        self.spelled = spelled
        self._registry = registry
        self._cache = cache

    def refs(self, *, for_push: bool) -> tuple[Ref, ...]:
        """See `remote.refs`."""
        generation = self._registry.look(for_push=for_push)
        return serverless.refs_of(generation, for_push=for_push)

    def object_format(self, refs: Sequence[Ref], default: str) -> str:
        """See `remote.object_format`."""
        return self._registry.object_format or default

    def fetch(
        self,
        wants: Sequence[Want],
        refs: Sequence[Ref],
        repository: Repository,
        options: Options,
    ) -> None:
        """See `remote.fetch`; tags come with all else.

        A part of a history is had from a mirror of the registry, by git.
        """
        if options.is_for_part or repository.is_shallow:
            found = served.bring(self._registry, self._cache, show=options.shows_progress)
            from_mirror = self.spelled._replace(inner=f"file://{found.top}")
            remote.fetch(from_mirror, wants, options)
            remote.fetch_tags(from_mirror, refs, repository, options)
            return
        ids = [want.oid for want in wants]
        # What git would fetch for us, it would fetch by us.
        target = _as_it_is_now(repository.at_hand)
        self._registry.fetch(target, ids, show=options.shows_progress)

    def prepare(self) -> None:
        """Make it ready to be pushed to."""
        self._registry.prepare()

    def push(
        self,
        repository: Repository,
        specs: Sequence[PushSpec],
        options: Options,
        data: Iterable[Digest],
    ) -> list[PushResult]:
        """See `remote.push`."""
        return self._registry.push(
            repository.at_hand,
            specs,
            is_atomic=options.is_set("atomic"),
            is_dry=options.is_set("dry-run"),
            leases=options.leased,
            head=_head(options.push_options),
            data=data,
            show=options.shows_progress,
        )

    def tidy(self, repository: Repository) -> None:
        """Do what is left to do after a push, when git has its answer."""
        self._registry.tidy(repository.at_hand)


def _as_it_is_now(repository: Repository) -> Repository:
    """The repository with its hash function: git-clone sets it when it has heard our list."""
    found = repository.run("rev-parse", "--show-object-format").decode().strip()
    return repository._replace(object_format=found)


def _head(push_options: Sequence[str]) -> str | None:
    """The branch that `git push -o head=<branch>` names; raises UsageError for what is none."""
    names = [each.removeprefix(_HEAD) for each in push_options if each.startswith(_HEAD)]
    if not names:
        return None
    name = names[-1]
    full = name if name.startswith("refs/") else f"refs/heads/{name}"
    if not full.startswith("refs/heads/") or not is_ref_name(full):
        raise UsageError(f"not a branch, for -o {_HEAD}BRANCH: {name}")
    return full
