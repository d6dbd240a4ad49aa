"""What a push makes of a serverless registry's refs: which of them may go, and what follows."""

from __future__ import annotations

from collections.abc import Collection, Container, Iterator, Sequence
from typing import NamedTuple

from git_datareg.errors import GitError
from git_datareg.generation import Generation, Pack, in_the_way, is_ref_name
from git_datareg.git import objects
from git_datareg.git.repository import Repository
from git_datareg.history import State, first, is_under_way
from git_datareg.protocol.remote_helper import PushSpec

_BRANCHES = "refs/heads/"
_DEFAULT_BRANCHES = ("refs/heads/main", "refs/heads/master")


class Update(NamedTuple):
    """One ref that is to be pushed."""

    spec: PushSpec
    #: The object that it is to have; None deletes it.
    id: str | None
    #: What the object is, "commit" or another.
    kind: str | None
    #: What it had when we were asked for the refs.
    before: str | None
    #: Why it can't be pushed without force, in git's words.
    objection: str | None


def planned(
    repository: Repository, specs: Sequence[PushSpec], generation: Generation | None
) -> list[Update]:
    """What git asks for, on top of a generation that it was told of; raises GitError."""
    refs = generation.refs if generation is not None else {}
    named = iter(objects.named(repository, [spec.src for spec in specs if spec.src]))
    updates = []
    for spec in specs:
        object = next(named) if spec.src else None
        if spec.src and object is None:
            raise GitError(f"no such object to push: {spec.src}")
        id, kind = object if object is not None else (None, None)
        updates.append(Update(spec, id, kind, refs.get(spec.dst), None))
    return list(_looked_at(repository, updates))


def _looked_at(repository: Repository, updates: Sequence[Update]) -> Iterator[Update]:
    """The updates, with git's objections to those that are not forced.

    All but two of them it has made itself (transport-helper.c, push_refs_with_push), and
    has not told us of such a ref.
    """
    moved = [
        each
        for each in updates
        if None not in (each.id, each.before) and each.before != each.id and not each.spec.force
    ]
    names = [f"{id}{end}" for each in moved for id in (each.before, each.id) for end in ("", "^{}")]
    found = iter(objects.named(repository, names))
    objections: dict[str, str] = {}
    for each, (old, old_peeled, _, new_peeled) in zip(
        moved, zip(*[found] * 4, strict=True), strict=True
    ):
        if old is None:
            objections[each.spec.dst] = "fetch first"
        elif {old_peeled and old_peeled[1], new_peeled and new_peeled[1]} != {"commit"}:
            objections[each.spec.dst] = "needs force"
    for each in updates:
        yield each._replace(objection=objections.get(each.spec.dst))


def refusals(
    generation: Generation | None,
    updates: Sequence[Update],
    leases: Container[str],
    head: str | None,
) -> dict[str, str]:
    """Why refs can't be pushed on top of a generation, in the words that git knows or uses."""
    refs = dict(generation.refs) if generation is not None else {}
    errors: dict[str, str] = {}
    for each in updates:
        name = each.spec.dst
        if refs.get(name) != each.before:
            errors[name] = "stale info" if name in leases else "fetch first"
        elif each.objection is not None:
            errors[name] = each.objection
        elif not is_ref_name(name):
            errors[name] = "funny refname"
        elif each.id is None and generation is not None and name == (head or generation.head):
            errors[name] = "deletion of the current branch prohibited"
        elif name.startswith(_BRANCHES) and each.kind not in (None, "commit"):
            errors[name] = "a branch must be a commit"
        if name not in errors and each.id is None:
            refs.pop(name, None)
    for each in updates:
        if each.id is None or each.spec.dst in errors:
            continue
        other = in_the_way(each.spec.dst, refs)
        if other is not None:
            errors[each.spec.dst] = f"{other} exists"
        else:
            refs[each.spec.dst] = each.id
    return errors


def following(
    before: State | None,
    repository: Repository,
    accepted: Sequence[Update],
    pack: Pack | None,
    head: str | None,
) -> Generation:
    """The generation that the updates make of the one before."""
    old = before.generation if before is not None else None
    refs = dict(old.refs) if old is not None else {}
    peeled = dict(old.peeled) if old is not None else {}
    targets = objects.peeled(
        repository, [each.id for each in accepted if each.id is not None and each.kind == "tag"]
    )
    for each in accepted:
        name = each.spec.dst
        refs.pop(name, None)
        peeled.pop(name, None)
        if each.id is not None:
            refs[name] = each.id
            if each.id in targets:
                peeled[name] = targets[each.id]
    known = old.packs if old is not None else ()
    if pack is not None and pack.digest not in {each.digest for each in known}:
        known = (*known, pack)
    new = before.following() if before is not None else first(repository.object_format)
    return new._replace(
        head=head or _head(old, refs, repository),
        refs=refs,
        peeled=peeled,
        packs=known,
        collection=new.collection if is_under_way(new.collection) else None,
    )


def _head(old: Generation | None, refs: Collection[str], repository: Repository) -> str:
    """The branch that HEAD is to mean: the same while it is there, else the likeliest one."""
    if old is not None and old.head in refs:
        return old.head
    current = repository.run_unchecked("symbolic-ref", "-q", "HEAD")[1]
    here = current.decode("utf-8", "surrogateescape").strip()
    branches = sorted(name for name in refs if name.startswith(_BRANCHES))
    likely = [here, *_DEFAULT_BRANCHES, *branches]
    fallback = old.head if old is not None else here if is_ref_name(here) else _DEFAULT_BRANCHES[0]
    return next((each for each in likely if each in branches), fallback)
