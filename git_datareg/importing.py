"""Imports: files of a registry in this repository, with a metafile; and their updates.

An import or an update is built whole beside its target and put in place by one
exchange; index and, last, metafile follow. A fault undoes all of it; killed in
between, running it again finishes it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from git_datareg import chains, conflicts, delivery, imports, placing, recording, registry, targets
from git_datareg.errors import IntegrityError, LocalChangesError, UsageError
from git_datareg.files import new_file, write_atomically
from git_datareg.git import index, objects
from git_datareg.git.index import IndexEntry
from git_datareg.git.repository import Repository
from git_datareg.imports import Target
from git_datareg.installing import set_up
from git_datareg.metafile import SUFFIX, Metafile
from git_datareg.objects import ObjectDirectory
from git_datareg.pointer import Pointer
from git_datareg.projects import Project
from git_datareg.registry import Source, SourceFile
from git_datareg.standing import Opener, State
from git_datareg.transfer import SILENT, Progress

_CHUNK = 1024 * 1024
#: Bytes of plain files that are in memory at once, or one file.
_PART = 64 * 1024 * 1024


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


def add(
    project: Project,
    source: Source,
    path: str,
    target: Target,
    *,
    opener: Opener,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    replace: bool = False,
    download: bool = True,
    vendor: bool = False,
    jobs: int,
    progress: Progress = SILENT,
) -> Changes:
    """Import what lies at `path` of a source; writes the metafile and stages all of it.

    All or nothing: after a fault neither data nor metafile are there. Raises
    TargetExistsError for a taken target unless it may be replaced, or is what
    an import that was killed left; RefusedError when the source has these files
    from the target, as `opener` finds out.
    """
    around = imports.enclosing(target)
    if around is not None:
        raise UsageError(
            f"{os.fsdecode(target.path)} lies in the import {os.fsdecode(around)}",
            "name another place with -o",
        )
    wanted = registry.files(source, path, include, exclude)
    delivery.check(source, wanted)
    if not _is_unfinished(target, source, wanted):
        for taken, name in ((target.file, target.path), (target.file + SUFFIX, target.metafile)):
            targets.check_free(taken, os.fsdecode(name), replace=replace)
    chains.refuse_circle(project, target, source, path, opener)
    metafile = Metafile(
        url=str(source.location),
        path=os.fsdecode(registry.normal(path)) or ".",
        commit=source.commit,
        rev=source.rev,
        include=tuple(include),
        exclude=tuple(exclude),
        vendor=vendor,
    )
    metafile = _hinted(metafile, source, wanted)
    return _bring_about(
        project, source, wanted, target, metafile, download=download, jobs=jobs, progress=progress
    )


def update(
    project: Project,
    state: State,
    *,
    opener: Opener,
    replace: bool = False,
    download: bool = True,
    jobs: int,
    progress: Progress = SILENT,
) -> Changes:
    """Bring an import to what its source is now; all or nothing.

    Without a change of its files nothing is touched, but for a revision that
    was switched. Raises LocalChangesError when files were changed here, unless
    they may be replaced, and RefusedError as `add` does.
    """
    target, metafile, source = state.target, state.metafile, state.source
    targets.remove_abandoned(target.file)
    if state.difference is None or source is None:
        if state.is_switched:
            _switch(target, metafile, metafile._replace(rev=state.rev, commit=state.commit))
        return Changes(0, 0, 0, 0)
    wanted = registry.files(source, metafile.path, metafile.include, metafile.exclude)
    delivery.check(source, wanted)
    chains.refuse_circle(project, target, source, metafile.path, opener)
    if not replace:
        conflicts.refuse_local_changes(target, metafile, source, wanted)
    new = _hinted(metafile._replace(commit=state.commit, rev=state.rev), source, wanted)
    return _bring_about(
        project, source, wanted, target, new, download=download, jobs=jobs, progress=progress
    )


def _switch(target: Target, old: Metafile, new: Metafile) -> None:
    """Have the metafile say another revision; the work tree's comes last, as ever."""
    recording.stage(target, {}, (), {target.metafile: new.encode()})
    try:
        write_atomically(target.file + SUFFIX, new.encode())
    except BaseException:
        recording.stage(target, {}, (), {target.metafile: old.encode()})
        raise


def _is_unfinished(target: Target, source: Source, wanted: Sequence[SourceFile]) -> bool:
    """Whether the target is what an import of the same files left that was killed."""
    return (
        os.path.lexists(target.file)
        and not os.path.lexists(target.file + SUFFIX)
        and conflicts.is_as_imported(target, source, wanted)
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
    progress: Progress,
) -> Changes:
    """Make target, metafile and index what they are to be.

    A fault undoes all of it. Who is killed leaves the old metafile, or none:
    so the next try knows that there is something to be done.
    """
    repository = project.repository
    set_up(repository)
    before = {entry.path: entry for entry in index.entries(repository, [target.path])}
    ids = registry.blob_ids(source, wanted, repository.object_format)
    entries = {target.path_of(each.path): (each.mode, ids[each.blob]) for each in wanted}
    unchanged = _unchanged_files(target, before)
    kept = _kept_files(target, wanted, unchanged, entries)
    fetched = 0
    if download:
        needed = wanted if metafile.vendor else [each for each in wanted if each.path not in kept]
        _save_moved(project, needed, unchanged, ids)
        fetched = delivery.bring(source, needed, project.local, jobs=jobs, progress=progress)
    held = {entry.id for entry in before.values()}
    _store_blobs(repository, source, [each for each in wanted if ids[each.blob] not in held])
    files = wanted if download else [each._replace(pointer=None) for each in wanted]
    text = metafile.encode()
    if metafile.vendor:
        _keep_own(project, wanted)
    with (
        targets.place_for(target.file) as place,
        new_file(os.path.dirname(place.new)) as new_metafile,
    ):
        new_metafile.write(text)
        mtime_ns = placing.safe_mtime(repository.places.index_file)
        results = delivery.build(
            source, files, place.new, project.local, mtime_ns=mtime_ns, kept=kept
        )
        if os.path.isfile(target.file + SUFFIX):
            _carry_untracked(target, place.new, before)
        try:
            place.put_in_place(replace=True)
            recording.record(target, wanted, entries, before, text)
        except BaseException:
            place.put_back()
            raise
        new_metafile.commit(target.file + SUFFIX)
    recording.refresh(target, entries, results)
    return _changes(before, entries, fetched)


def _unchanged_files(
    target: Target, before: Mapping[bytes, IndexEntry]
) -> dict[bytes, tuple[IndexEntry, str]]:
    """The files of the work tree that are as they are staged, by path; no symlinks."""
    if not before:
        return {}
    changed = set(index.changed_in_work_tree(target.repository, [target.path]))
    top = target.repository.top
    return {
        path: (entry, os.path.join(top, os.fsdecode(path)))
        for path, entry in before.items()
        if entry.is_file and path not in changed
    }


def _kept_files(
    target: Target,
    wanted: Sequence[SourceFile],
    unchanged: Mapping[bytes, tuple[IndexEntry, str]],
    entries: Mapping[bytes, tuple[str, str]],
) -> dict[bytes, str]:
    """Which files need not be written again, or fetched: those that are here, unchanged."""
    return {
        each.path: file
        for each in wanted
        for path in [target.path_of(each.path)]
        if path in unchanged
        for entry, file in [unchanged[path]]
        if (entry.mode, entry.id) == entries[path]
        # A plain one may have line ends of this machine.
        and (each.pointer is None or _has_size(file, each.size))
    }


def _save_moved(
    project: Project,
    needed: Iterable[SourceFile],
    unchanged: Mapping[bytes, tuple[IndexEntry, str]],
    ids: Mapping[str, str],
) -> None:
    """Put into the cache what is needed and only lies here under another name, or mode."""
    files = {entry.id: file for entry, file in unchanged.values()}
    for each in needed:
        file = files.get(ids[each.blob])
        if each.pointer is None or file is None or not _has_size(file, each.size):
            continue
        if project.local.find(each.pointer) is None:
            # What was written to meanwhile is fetched.
            with suppress(OSError, IntegrityError):
                _keep(file, each.pointer, project.local.cache)


def _has_size(file: str, size: int) -> bool:
    """Whether a file has its data; one that holds its pointer is unchanged for git, too."""
    try:
        return os.lstat(file).st_size == size
    except OSError:
        return False


def _carry_untracked(target: Target, new: str, tracked: Mapping[bytes, IndexEntry]) -> None:
    """Link files of the user's own, which lie among the imported ones, into the new directory.

    Raises LocalChangesError when there is no room for one.
    """
    if os.path.islink(target.file) or not os.path.isdir(target.file):
        return
    top = os.fsencode(target.file)
    for folder, folders, names in os.walk(top):
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        below = folder[len(top) + 1 :] + b"/" if folder != top else b""
        for name in [*names, *links]:
            path = below + name
            if target.path_of(path) not in tracked:
                _carry(os.path.join(folder, name), os.path.join(os.fsencode(new), path))


def _carry(old: bytes, new: bytes) -> None:
    if os.path.lexists(new) and not os.path.isdir(new):
        # The source has it now, too; refused before if it differs.
        return
    try:
        os.makedirs(os.path.dirname(new), exist_ok=True)
        os.link(old, new, follow_symlinks=False)
    except (FileExistsError, NotADirectoryError) as error:
        raise LocalChangesError(
            f"in the way of what the source has now: {os.fsdecode(old)}", "move it away"
        ) from error
    except OSError:
        # A file system without links, a file of somebody else's.
        shutil.copy2(old, new, follow_symlinks=False)


def _store_blobs(repository: Repository, source: Source, wanted: Sequence[SourceFile]) -> None:
    """Have the repository hold every file's blob."""
    objects.write_blobs(
        repository, {each.blob: each.pointer.encode() for each in wanted if each.pointer}.values()
    )
    part: list[bytes] = []
    size = 0
    plain = (each for each in wanted if each.pointer is None)
    for _, content in registry.contents(source, plain):
        part.append(content)
        size += len(content)
        if size > _PART:
            objects.write_blobs(repository, part)
            part, size = [], 0
    objects.write_blobs(repository, part)


def _keep_own(project: Project, wanted: Iterable[SourceFile]) -> None:
    """Have the repository hold the objects itself, so that its next push stores them."""
    own = project.local.own
    assert own is not None, "imports are made in repositories of the user's"
    for each in wanted:
        if each.pointer is None or own.find(each.pointer) is not None:
            continue
        found = project.local.find(each.pointer)
        if found is not None:
            _keep(found, each.pointer, own)


def _keep(path: str, pointer: Pointer, directory: ObjectDirectory) -> None:
    """Copy an object's file into a directory of objects; raises IntegrityError if it is not one."""
    with open(path, "rb") as file, directory.writer() as writer:
        while chunk := file.read(_CHUNK):
            writer.write(chunk)
        writer.commit(pointer)


def _changes(
    before: Mapping[bytes, IndexEntry], after: Mapping[bytes, tuple[str, str]], fetched: int
) -> Changes:
    had = {path: (entry.mode, entry.id) for path, entry in before.items()}
    changed = sum(path in had and had[path] != each for path, each in after.items())
    return Changes(len(after.keys() - had.keys()), changed, len(had.keys() - after.keys()), fetched)


def _hinted(metafile: Metafile, source: Source, wanted: Sequence[SourceFile]) -> Metafile:
    """The metafile with the storage that is asked first for the data, if there is any."""
    for each in wanted:
        if each.pointer is not None:
            storages = source.sources().storages(each.source_path)
            if not storages:
                break
            options = storages[0].options
            return metafile._replace(
                storage=str(storages[0]), endpoint=options.endpoint, region=options.region
            )
    return metafile
