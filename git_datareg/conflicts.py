"""What of the user's own work an import, or an update of one, would destroy."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence

from git_datareg import registry
from git_datareg.errors import (
    LocalChangesError,
    MetafileError,
    PathNotFoundError,
    PointerError,
    RevisionNotFoundError,
)
from git_datareg.git import config, index, objects
from git_datareg.git.index import IndexEntry
from git_datareg.git.repository import Repository
from git_datareg.imports import Target
from git_datareg.metafile import Metafile
from git_datareg.objects import is_object
from git_datareg.pointer import MAX_LENGTH, Pointer
from git_datareg.registry import Source, SourceFile


def refuse_local_changes(
    target: Target, metafile: Metafile, source: Source, wanted: Sequence[SourceFile]
) -> None:
    """Raise LocalChangesError when an update would lose the user's work.

    Files that are as the source has them now are nobody's work: an update that
    was killed leaves them so. Nor are files that were only touched.
    """
    repository = target.repository
    new = {target.path_of(each.path): each for each in wanted}
    ids = registry.blob_ids(source, wanted, repository.object_format)
    staged = {entry.path: entry for entry in index.entries(repository, [target.path])}
    changed = _staged_changes(target, metafile, source, staged)
    changed = {
        path for path in changed if path not in new or staged[path].id != ids[new[path].blob]
    }
    suspects = set(index.changed_in_work_tree(repository, [target.path]))
    suspects |= new.keys() - staged.keys()
    changed |= set(_edited(target, source, new, staged, suspects))
    if changed:
        listed = sorted(changed)
        shown = ", ".join(os.fsdecode(path) for path in listed[:3])
        more = f" and {len(listed) - 3} more" if len(listed) > 3 else ""
        raise LocalChangesError(
            f"changed here since the import: {shown}{more}",
            "use -f to replace them, or move them away",
        )


def is_as_imported(target: Target, source: Source, wanted: Sequence[SourceFile]) -> bool:
    """Whether just these files are at the target, as an import that was killed leaves them."""
    files = {target.path_of(each.path): each for each in wanted}
    present = set(_files_below(target.repository, target.path))
    top = os.fsencode(target.repository.top)
    return present == files.keys() and all(
        _is_as_in(source, file, os.path.join(top, path)) for path, file in files.items()
    )


def _files_below(repository: Repository, path: bytes) -> Iterable[bytes]:
    """All that is at or below a path and no directory, by path in the repository."""
    top = os.fsencode(repository.top)
    start = os.path.join(top, path)
    if os.path.islink(start) or not os.path.isdir(start):
        yield path
        return
    for folder, folders, names in os.walk(start):
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        for name in [*names, *links]:
            yield os.path.relpath(os.path.join(folder, name), top)


def _staged_changes(
    target: Target, metafile: Metafile, source: Source, staged: Mapping[bytes, IndexEntry]
) -> set[bytes]:
    """Paths whose staged content is not what the import brought."""
    try:
        old = registry.at(source, metafile.commit)
        had = registry.taken(old, metafile.path, metafile.include, metafile.exclude)
    except RevisionNotFoundError:
        brought = _as_committed(target, metafile)
    except PathNotFoundError:
        brought = None
    else:
        ids = registry.ids_in(target.repository.object_format, old, had)
        brought = {target.path_of(path): ids[each.id] for path, each in had.items()}
    if brought is None:
        # There is nothing to compare with.
        return set()
    return {path for path, entry in staged.items() if brought.get(path) != entry.id}


def _as_committed(target: Target, metafile: Metafile) -> dict[bytes, str] | None:
    """What was committed here together with the metafile, where the source's history is gone."""
    repository = target.repository
    path = os.fsdecode(target.metafile)
    code, output, _ = repository.run_unchecked(
        "--literal-pathspecs", "rev-list", "--max-count=1", "HEAD", "--", path
    )
    commit = output.decode().strip()
    text = objects.blob_at(repository, commit, path) if code == 0 and commit else None
    try:
        if text is None or Metafile.parse(text, path).commit != metafile.commit:
            return None
    except MetafileError:
        return None
    entries = objects.tree_entries(repository, commit, target.path, recursive=True)
    return {entry.path: entry.id for entry in entries}


def _edited(
    target: Target,
    source: Source,
    new: Mapping[bytes, SourceFile],
    staged: Mapping[bytes, IndexEntry],
    suspects: Iterable[bytes],
) -> Iterable[bytes]:
    """Those of `suspects` whose file is neither as it is staged nor as it will be."""
    repository = target.repository
    has_modes = config.keeps_modes(repository)
    here = [path for path in suspects if os.path.lexists(_file(repository, path))]
    ids = {staged[path].id for path in here if path in staged}
    small = dict(objects.read_small_blobs(repository, ids, MAX_LENGTH))
    for path in here:
        file = _file(repository, path)
        entry, next_one = staged.get(path), new.get(path)
        if next_one is not None and os.path.isdir(file) and not os.path.islink(file):
            # What lies in it is looked at by itself, if it was imported.
            yield from (each for each in _files_below(repository, path) if each not in staged)
            continue
        modes = set()
        if next_one is not None and _is_as_in(source, next_one, file):
            modes.add(next_one.mode)
        if entry is not None and _is_as_staged(repository, entry, small.get(entry.id), file):
            modes.add(entry.mode)
        if not any(_has_mode(file, mode) or not has_modes for mode in modes):
            yield path


def _has_mode(path: bytes, mode: str) -> bool:
    """Whether a file is executable if Git's mode says so; that of a symlink says nothing."""
    return mode == "120000" or bool(os.lstat(path).st_mode & 0o100) == (mode == "100755")


def _is_as_in(source: Source, file: SourceFile, path: bytes) -> bool:
    """Whether a file of the work tree is just what the source has."""
    return _holds(path, file.pointer, file.blob, source.repository, is_symlink=file.is_symlink)


def _is_as_staged(
    repository: Repository, entry: IndexEntry, small: bytes | None, path: bytes
) -> bool:
    pointer = _pointer(small) if small is not None else None
    is_symlink = entry.mode == "120000"
    return _holds(path, pointer, entry.id, repository, is_symlink=is_symlink) or (
        pointer is None
        and not is_symlink
        and _has_line_ends(path)
        and _added(repository, path) == entry.id
    )


def _has_line_ends(path: bytes) -> bool:
    """Whether a file may be another for git only by its line ends (core.autocrlf)."""
    if os.path.islink(path) or not os.path.isfile(path):
        return False
    with open(path, "rb") as file:
        return b"\r\n" in file.read()


def _added(repository: Repository, path: bytes) -> str:
    """The id of the blob that git would add for a plain file."""
    name = os.path.relpath(os.fsdecode(path), repository.top)
    output = repository.run("hash-object", f"--path={name}", "--", name)
    return output.decode().strip()


def _pointer(text: bytes) -> Pointer | None:
    try:
        return Pointer.parse(text)
    except PointerError:
        return None


def _holds(
    path: bytes, pointer: Pointer | None, blob: str, repository: Repository, *, is_symlink: bool
) -> bool:
    """Whether the file at `path` is that blob, or the object that it points to."""
    if os.path.islink(path) != is_symlink:
        return False
    if is_symlink:
        return objects.blob_id(os.readlink(path), repository.object_format) == blob
    if not os.path.isfile(path):
        return False
    with open(path, "rb") as present:
        if pointer is not None:
            text = pointer.encode()
            return is_object(present.fileno(), pointer) or present.read(len(text) + 1) == text
        return objects.blob_id(present.read(), repository.object_format) == blob


def _file(repository: Repository, path: bytes) -> bytes:
    return os.path.join(os.fsencode(repository.top), path)
