"""Garbage collection in storages that several repositories may share.

Each says in the storage what it needs (`roots`), at every push. Deleted is only what this
repository has said that it needs, and that neither it needs any more, nor another
has said. So nothing is ever deleted that came there by other ways.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from git_datareg import collecting, roots
from git_datareg.collecting import Deadline, Garbage
from git_datareg.errors import StorageDeniedError
from git_datareg.git import objects
from git_datareg.git.repository import Repository
from git_datareg.history import History
from git_datareg.layout import object_key
from git_datareg.storage import Storage
from git_datareg.transfer import Advance


def find(storage: Storage, own: str, repositories: Sequence[Repository], grace: float) -> Garbage:
    """What of the repository `own` (`roots.repository_id`) nothing needs any more.

    `repositories` have all of its refs and what they reach; `grace` is in seconds: what is
    younger stays, and what was said since. Raises CorruptError, PointerError and GitError
    where what is needed can't be told, StorageDeniedError for a serverless registry, and any
    other StorageError.
    """
    if History(storage).newest() is not None:
        # What its refs need is named by no root.
        raise StorageDeniedError(
            f"{storage.location} is a serverless registry, too: it is collected as such",
            f"git datareg gc --storage {storage.location}",
        )
    cutoff = time.time() - grace
    said = roots.read(storage)
    ours = [root for root in said if root.repository == own]
    named = {object_key(digest) for root in ours for digest in root.digests}
    needed = {
        object_key(digest)
        for root in said
        if root.repository != own or not _is_old(root.modified, cutoff)
        for digest in root.digests
    }
    for repository in repositories:
        needed |= collecting.needed_keys(repository, objects.refs(repository))
    unneeded = named - needed
    listed = storage.list("objects/")
    return Garbage(
        tuple(each for each in listed if each.key in unneeded and _is_old(each.modified, cutoff))
    )


def collect(
    storage: Storage,
    own: str,
    repositories: Sequence[Repository],
    grace: float,
    advance: Advance,
) -> Garbage:
    """Delete what `find` finds, while pushes wait; what was deleted.

    What the repository has said at many pushes becomes one root. Raises as `find`, and
    StorageUnavailableError while another collection runs.
    """
    with roots.collecting(storage):
        found = find(storage, own, repositories, grace)
        gone = tuple(collecting.deleted(storage, found.values, advance, Deadline()))
        _merge(storage, own, {info.key for info in gone}, time.time() - grace)
        return Garbage(gone)


def _merge(storage: Storage, own: str, gone: set[str], cutoff: float) -> None:
    """Make one of the roots that are older than what a push may be about."""
    old = [
        root
        for root in roots.read(storage)
        if root.repository == own and _is_old(root.modified, cutoff)
    ]
    before = {digest for root in old for digest in root.digests}
    left = {digest for digest in before if object_key(digest) not in gone}
    if len(old) > 1 or left != before:
        if left:
            roots.put(storage, own, left)
        for root in old:
            storage.delete(root.key)


def _is_old(modified: float | None, cutoff: float) -> bool:
    return modified is not None and modified < cutoff
