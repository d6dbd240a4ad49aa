"""How an import stands to its source: whether it is behind, and by how much.

Compares the files that the import takes, not commits: one that did not touch
them leaves nothing to be done. Looks only; nothing is changed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import NamedTuple

from git_datareg import imports, registry
from git_datareg.errors import (
    DataregError,
    PathNotFoundError,
    RevisionNotFoundError,
    StorageUnavailableError,
)
from git_datareg.files import read_regular
from git_datareg.git import index, objects
from git_datareg.git.objects import TreeEntry
from git_datareg.imports import Target
from git_datareg.location import Location
from git_datareg.metafile import SUFFIX, Metafile
from git_datareg.registry import Source

#: Opens a source at a revision: what to read, and at which.
Opener = Callable[[Location, "str | None"], Source]

#: The files of a state: mode and blob by path, relative to the import.
_Files = Mapping[bytes, tuple[str, str]]


class Difference(NamedTuple):
    """What an update would do, in files."""

    added: int
    changed: int
    removed: int
    #: The files that the source had not; one that was renamed is none.
    new: Mapping[bytes, TreeEntry]


class State(NamedTuple):
    """One import and how it stands to its source."""

    target: Target
    metafile: Metafile
    #: What is followed from now on; None is the default branch.
    rev: str | None
    #: The commit that the source has there, as a full id.
    commit: str
    #: None when it need not be opened: a commit never moves.
    source: Source | None
    #: None when there is none.
    difference: Difference | None

    @property
    def behind(self) -> bool:
        """Whether the source has other files than what the import took."""
        return self.difference is not None

    @property
    def is_switched(self) -> bool:
        """Whether another revision is to be followed than the metafile has."""
        return self.rev != self.metafile.rev


class Report(NamedTuple):
    """A state in figures, for those who asked."""

    behind: bool
    rev: str | None
    #: What we have, and what the source has, as full ids.
    commit: str
    available: str
    #: How many commits the source is ahead; None when that is not known.
    commits: int | None
    #: Whether the source's history no longer has our commit; None when not looked at.
    rewritten: bool | None
    added: int
    changed: int
    removed: int
    #: Bytes of what is new.
    size: int


def examine(target: Target, opener: Opener, rev: str | None = None) -> State:
    """How an import stands to its source now (at another revision `rev`, if given).

    Asks nobody when the full id of the commit that we have is followed.
    Raises PathNotFoundError when the source has nothing at the path any more,
    MetafileError, and what `opener` raises.
    """
    metafile = imports.read(target)
    followed = rev or metafile.rev
    if followed == metafile.commit:
        return State(target, metafile, followed, followed, None, None)
    location = Location.parse(metafile.url).absolute(target.repository.top)
    source = opener(location, followed)
    difference = None
    if source.commit != metafile.commit:
        difference = _difference(target, metafile, source)
    return State(target, metafile, followed, source.commit, source, difference)


def report(state: State) -> Report:
    """The state in figures; commits may be fetched to count them.

    Plain files that are new are fetched, too, where their size is not known
    otherwise. A switch to another revision is no rewritten history.
    """
    metafile, difference = state.metafile, state.difference
    commits, rewritten = _history(state)
    return Report(
        behind=state.behind,
        rev=state.rev,
        commit=metafile.commit,
        available=state.commit,
        commits=commits,
        rewritten=rewritten,
        added=difference.added if difference else 0,
        changed=difference.changed if difference else 0,
        removed=difference.removed if difference else 0,
        size=_size(state.source, difference) if difference and state.source else 0,
    )


def _history(state: State) -> tuple[int | None, bool | None]:
    """How many commits the source is ahead, and whether it was rewritten; None if not known."""
    if state.commit == state.metafile.commit:
        return 0, False
    if not state.behind or state.source is None:
        return None, None
    try:
        commits = registry.commits_since(state.source, state.metafile.commit)
    except StorageUnavailableError:
        # All that counts is known without it.
        return None, None
    if commits is None and (state.is_switched or _is_shallow(state.source)):
        return None, None
    return commits, commits is None


def _is_shallow(source: Source) -> bool:
    """Whether a registry on this machine has only the end of its history."""
    directory = source.repository.places.common_dir
    return source.location.path is not None and os.path.exists(os.path.join(directory, "shallow"))


def rewriting(state: State, found: Report) -> str | None:
    """A line that says that the source's history was rewritten, if it was."""
    if not found.rewritten:
        return None
    rev = found.rev or "the default branch"
    return (
        f"history was rewritten: {rev} of {state.metafile.url} is at {found.available}, which "
        f"does not descend from {found.commit}, where {os.fsdecode(state.target.path)} is from"
    )


def remembered(opener: Opener) -> Opener:
    """The opener, asking for each registry and revision once; faults are remembered, too."""
    known: dict[tuple[Location, str | None], Source | DataregError] = {}

    def open_once(location: Location, rev: str | None) -> Source:
        key = (location, rev)
        if key not in known:
            try:
                known[key] = opener(location, rev)
            except DataregError as error:
                known[key] = error
        found = known[key]
        if isinstance(found, DataregError):
            raise found
        return found

    return open_once


def _difference(target: Target, metafile: Metafile, source: Source) -> Difference | None:
    is_near = source.location.path is not None
    # To have the old commit of a registry elsewhere, it must be asked once more.
    old = _at(source, metafile.commit) if is_near else None
    if old is not None and _tree(old, metafile) == _tree(source, metafile) is not None:
        return None
    wanted = _wanted(target, metafile, source)
    now = _states(wanted)
    if old is None and not is_near:
        if _is_finished(target) and _staged_here(target) == now:
            return None
        old = _at(source, metafile.commit)
    had = _taken(old, metafile) if old is not None else None
    if had is None:
        # The registry no longer has it: what we hold is all that is known.
        had = _staged_here(target)
        ids = registry.ids_in(target.repository.object_format, source, wanted)
        now = {path: (each.mode, ids[each.id]) for path, each in wanted.items()}
    return _compared(had, now, wanted) if had != now else None


def _compared(had: _Files, now: _Files, wanted: Mapping[bytes, TreeEntry]) -> Difference:
    known = {id for _, id in had.values()}
    return Difference(
        added=len(now.keys() - had.keys()),
        changed=sum(path in had and had[path] != file for path, file in now.items()),
        removed=len(had.keys() - now.keys()),
        new={path: each for path, each in wanted.items() if now[path][1] not in known},
    )


def _size(source: Source, difference: Difference) -> int:
    """The bytes of the new files, those with the same content once."""
    files = registry.described(source, difference.new)
    return sum({each.blob: each.size for each in files if not each.is_symlink}.values())


def _states(entries: Mapping[bytes, TreeEntry]) -> _Files:
    return {path: (each.mode, each.id) for path, each in entries.items()}


def _at(source: Source, commit: str) -> Source | None:
    """The source at another commit, or None when it is gone."""
    try:
        return registry.at(source, commit)
    except RevisionNotFoundError:
        return None


def _tree(source: Source, metafile: Metafile) -> str | None:
    return registry.state_of(source, source.commit, metafile.path)


def _wanted(target: Target, metafile: Metafile, source: Source) -> dict[bytes, TreeEntry]:
    try:
        return registry.taken(source, metafile.path, metafile.include, metafile.exclude)
    except PathNotFoundError as error:
        is_there = _tree(source, metafile) is not None
        what = "no file matches any more" if is_there else "no such path any more"
        raise PathNotFoundError(
            f"{what}: {metafile.path} in {source.location}, imported to {os.fsdecode(target.path)}"
        ) from error


def _taken(source: Source, metafile: Metafile) -> _Files | None:
    """The files that the import took from its source; None when it can't have been so."""
    try:
        return _states(registry.taken(source, metafile.path, metafile.include, metafile.exclude))
    except PathNotFoundError:
        # The metafile was edited by hand since.
        return None


def _staged_here(target: Target) -> _Files:
    """What the index holds of the import."""
    top = len(target.path) + 1
    entries = index.entries(target.repository, [target.path])
    return {entry.path[top:]: (entry.mode, entry.id) for entry in entries}


def _is_finished(target: Target) -> bool:
    """Whether the index has the work tree's metafile; an update that was killed leaves another."""
    text = read_regular(target.file + SUFFIX)
    id = objects.blob_id(text, target.repository.object_format)
    return [each.id for each in index.entries(target.repository, [target.metafile])] == [id]
