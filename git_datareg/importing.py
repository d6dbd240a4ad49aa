"""Imports: files of a registry in this repository, with a metafile; and their updates.

An import or an update is built whole beside its target and put in place by one
exchange; then metafile and index follow. Killed in between, running it again
finishes it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from git_datareg import attributes, conflicts, delivery, gitindex, placing, registry
from git_datareg.errors import PathNotFoundError
from git_datareg.files import write_atomically
from git_datareg.git import index, objects
from git_datareg.git.index import IndexEntry
from git_datareg.git.repository import Repository
from git_datareg.gitindex import EntryStat
from git_datareg.imports import Target, read
from git_datareg.location import Location
from git_datareg.metafile import SUFFIX, Metafile
from git_datareg.registry import Source, SourceFile
from git_datareg.remote import set_up
from git_datareg.sources import Project
from git_datareg.transfer import Advance, no_progress

_CHUNK = 1024 * 1024

#: Opens a source at a revision: what to read, and at which.
Opener = Callable[[Location, "str | None"], Source]


class Changes(NamedTuple):
    """What an import or an update changed, in files."""

    added: int
    changed: int
    removed: int
    #: Objects that were not on this machine.
    fetched: int

    @property
    def any(self) -> bool:
        """Whether anything changed at all."""
        return bool(self.added or self.changed or self.removed)


class State(NamedTuple):
    """One import and how it stands to its source."""

    target: Target
    metafile: Metafile
    source: Source
    #: Whether the source's path is another tree than what we have.
    behind: bool


def add(
    project: Project,
    source: Source,
    path: str,
    target: Target,
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    replace: bool = False,
    download: bool = True,
    vendor: bool = False,
    jobs: int,
    advance: Advance = no_progress,
) -> Changes:
    """Import what lies at `path` of a source; writes the metafile and stages all of it.

    All or nothing: after a fault neither data nor metafile are there. Raises
    TargetExistsError for a taken target unless it may be replaced.
    """
    if not replace:
        for taken in (target.file, target.file + SUFFIX):
            if os.path.lexists(taken):
                raise delivery.exists(taken)
    wanted = registry.files(source, path, include, exclude)
    metafile = Metafile(
        url=str(source.location),
        path=os.fsdecode(registry.normal(path)) or ".",
        commit=source.commit,
        rev=source.rev,
        storage=_hint(source, wanted),
        include=tuple(include),
        exclude=tuple(exclude),
        vendor=vendor,
    )
    set_up(project.repository)
    return _bring_about(
        project, source, wanted, target, metafile, download=download, jobs=jobs, advance=advance
    )


def examine(target: Target, opener: Opener, rev: str | None = None) -> State:
    """How an import stands to its source now (at another revision `rev`, if given)."""
    metafile = read(target)
    source = opener(Location.parse(metafile.url), rev or metafile.rev)
    behind = False
    if source.commit != metafile.commit:
        there = registry.object_id(source, metafile.path)
        if there is None:
            raise PathNotFoundError(f"no such path any more: {metafile.path} in {source.location}")
        had = objects.tree_id(source.repository, metafile.commit, registry.normal(metafile.path))
        behind = there != had
    return State(target, metafile, source, behind)


def update(
    project: Project,
    state: State,
    *,
    replace: bool = False,
    jobs: int,
    advance: Advance = no_progress,
) -> Changes:
    """Bring an import to what its source is now; all or nothing.

    Without a change at the source's path nothing is touched, but for a
    revision that was switched. Raises LocalChangesError when files were
    changed here, unless they may be replaced.
    """
    target, metafile, source, behind = state
    if not behind:
        if source.rev != metafile.rev:
            _write_metafile(target, metafile._replace(rev=source.rev, commit=source.commit))
        return Changes(0, 0, 0, 0)
    wanted = registry.files(source, metafile.path, metafile.include, metafile.exclude)
    if not replace:
        conflicts.refuse_local_changes(target, metafile, source, wanted)
    new = metafile._replace(
        commit=source.commit, rev=source.rev, storage=_hint(source, wanted) or metafile.storage
    )
    return _bring_about(
        project, source, wanted, target, new, download=True, jobs=jobs, advance=advance
    )


def _bring_about(
    project: Project,
    source: Source,
    wanted: Sequence[SourceFile],
    target: Target,
    metafile: Metafile,
    *,
    download: bool,
    jobs: int,
    advance: Advance,
) -> Changes:
    """Make target, metafile and index what they are to be."""
    repository = project.repository
    delivery.check_paths(wanted)
    fetched = 0
    if download:
        fetched = delivery.bring(source, wanted, project.local, jobs=jobs, advance=advance)
    before = {entry.path: entry for entry in index.entries(repository, [target.path])}
    blobs = _stored_blobs(repository, source, wanted)
    entries = {target.path_of(each.path): (each.mode, blobs[each.blob]) for each in wanted}
    stats = _deliver(project, source, wanted, target, before, entries, download=download)
    _write_metafile(target, metafile)
    attributes_path = _write_attributes(target, wanted)
    _stage(target, entries, before, stats, [target.metafile, attributes_path])
    if metafile.vendor:
        _keep_own(project, wanted)
    return _changes(before, entries, fetched)


def _deliver(
    project: Project,
    source: Source,
    wanted: Sequence[SourceFile],
    target: Target,
    before: Mapping[bytes, IndexEntry],
    entries: Mapping[bytes, tuple[str, str]],
    *,
    download: bool,
) -> dict[bytes, os.stat_result]:
    """Put the files in place; returns their stat data by path in the repository."""
    mtime_ns = placing.safe_mtime(target.repository.places.index_file)
    local = project.local
    files = wanted if download else [each._replace(pointer=None) for each in wanted]
    if len(wanted) == 1 and not wanted[0].path:
        result = delivery.deliver_file(
            source, files[0], target.file, local, replace=True, mtime_ns=mtime_ns
        )
        return {target.path: result}
    same = {
        path
        for path, (mode, id) in entries.items()
        if path in before and (before[path].mode, before[path].id) == (mode, id)
    }
    kept = _kept_files(target, [each for each in wanted if target.path_of(each.path) in same])
    with delivery.staged_directory(target.file) as staged:
        results = delivery.build(source, files, staged, local, mtime_ns=mtime_ns, kept=kept)
        if os.path.isfile(target.file + SUFFIX):
            _carry_untracked(target, staged, before)
        delivery.put_in_place(staged, target.file, replace=True)
    # The exchange moved what links changed: look again.
    return {
        target.path_of(path): os.lstat(os.path.join(os.fsencode(target.file), path))
        for path in results
    }


def _kept_files(target: Target, same: Sequence[SourceFile]) -> dict[bytes, str]:
    """Which files need not be written again: those that are here, unchanged."""
    if not same:
        return {}
    changed = set(index.changed_in_work_tree(target.repository, [target.path]))
    return {
        each.path: os.path.join(target.file, os.fsdecode(each.path))
        for each in same
        if not each.is_symlink and target.path_of(each.path) not in changed
    }


def _carry_untracked(target: Target, staged: str, tracked: Mapping[bytes, IndexEntry]) -> None:
    """Link files of the user's own, which lie among the imported ones, into the new directory."""
    top = os.fsencode(target.file)
    for folder, _, names in os.walk(top):
        for name in names:
            path = os.path.relpath(os.path.join(folder, name), top)
            if target.path_of(path) not in tracked:
                new = os.path.join(os.fsencode(staged), path)
                os.makedirs(os.path.dirname(new), exist_ok=True)
                if not os.path.lexists(new):
                    os.link(os.path.join(folder, name), new, follow_symlinks=False)


def _stored_blobs(
    repository: Repository, source: Source, wanted: Iterable[SourceFile]
) -> dict[str, str]:
    """Have the repository hold every file's blob; their ids here by those at the source."""
    contents: dict[str, bytes] = {}
    plain = []
    for each in wanted:
        if each.pointer is not None:
            contents[each.blob] = each.pointer.encode()
        else:
            plain.append(each.blob)
    contents |= objects.read_blobs(source.repository, plain)
    ids = objects.write_blobs(repository, contents.values())
    return dict(zip(contents, ids, strict=True))


def _write_metafile(target: Target, metafile: Metafile) -> None:
    write_atomically(target.file + SUFFIX, metafile.encode())


def _write_attributes(target: Target, wanted: Sequence[SourceFile]) -> bytes:
    """Have the filter apply to the data among the files, and not to the plain ones.

    Returns the path of the `.gitattributes` file, from the repository's root.
    """
    directory, slash, name = target.path.rpartition(b"/")
    path = directory + slash + b".gitattributes"
    file = os.path.join(os.fsencode(target.repository.top), path)
    try:
        with open(file, "rb") as present:
            before = present.read()
    except FileNotFoundError:
        before = b""
    empty = objects.blob_id(b"", target.repository.object_format)
    text = attributes.with_import(
        before,
        os.fsdecode(name),
        data=[os.fsdecode(each.path) for each in wanted if each.pointer is not None],
        plain=[os.fsdecode(each.path) for each in wanted if _is_filterable(each, empty)],
    )
    if text != before:
        write_atomically(file, text)
    return path


def _is_filterable(file: SourceFile, empty: str) -> bool:
    """Whether the filter would make a pointer of a file that is plain at its source."""
    return file.pointer is None and not file.is_symlink and file.blob != empty


def _stage(
    target: Target,
    entries: Mapping[bytes, tuple[str, str]],
    before: Mapping[bytes, IndexEntry],
    stats: Mapping[bytes, os.stat_result],
    texts: Sequence[bytes],
) -> None:
    """Stage the files, the metafile and the attributes in one step, with their stat data."""
    repository = target.repository
    top = os.fsencode(repository.top)
    contents = {}
    for path in texts:
        if os.path.exists(os.path.join(top, path)):
            with open(os.path.join(top, path), "rb") as file:
                contents[path] = file.read()
    ids = objects.write_blobs(repository, contents.values())
    own = {path: ("100644", id) for path, id in zip(contents, ids, strict=True)}
    staged = {**entries, **own}
    index.stage(
        repository,
        [(mode, id, path) for path, (mode, id) in staged.items()],
        before.keys() - entries.keys(),
    )
    updates = {path: EntryStat.from_stat(entries[path][1], each) for path, each in stats.items()}
    gitindex.patch_file(repository.places.index_file, updates)


def _keep_own(project: Project, wanted: Iterable[SourceFile]) -> None:
    """Have the repository hold the objects itself, so that its next push stores them."""
    own = project.local.own
    assert own is not None, "imports are made in repositories of the user's"
    for each in wanted:
        if each.pointer is None or own.find(each.pointer) is not None:
            continue
        found = project.local.find(each.pointer)
        if found is not None:
            with open(found, "rb") as file, own.writer() as writer:
                while chunk := file.read(_CHUNK):
                    writer.write(chunk)
                writer.commit(each.pointer)


def _changes(
    before: Mapping[bytes, IndexEntry], after: Mapping[bytes, tuple[str, str]], fetched: int
) -> Changes:
    had = {path: (entry.mode, entry.id) for path, entry in before.items()}
    changed = sum(path in had and had[path] != each for path, each in after.items())
    return Changes(len(after.keys() - had.keys()), changed, len(had.keys() - after.keys()), fetched)


def _hint(source: Source, wanted: Sequence[SourceFile]) -> str | None:
    """The storage that the metafile is to name: the first one asked for the data."""
    for each in wanted:
        if each.pointer is not None:
            storages = source.sources().storages(each.source_path)
            return str(storages[0]) if storages else None
    return None
