"""What an import leaves in Git: staged files, their stat data, and lines of `.gitattributes`.

Knows the index and attributes. Does not know sources or how files get in place.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress

from git_datareg import attributes, gitindex
from git_datareg.files import read_regular, write_atomically
from git_datareg.git import index, objects
from git_datareg.gitindex import EntryStat
from git_datareg.imports import Target
from git_datareg.registry import SourceFile


def record(
    target: Target,
    wanted: Sequence[SourceFile],
    entries: Mapping[bytes, tuple[str, str]],
    before: Collection[bytes],
    metafile: bytes,
) -> None:
    """Stage the files, instead of those that were there `before`, metafile and attributes.

    One step; a fault leaves index and attributes as they were.
    """
    path = _attributes_path(target)
    file = os.path.join(os.fsencode(target.repository.top), path)
    present = _read(file)
    text = _with_import(present or b"", target, wanted)
    if text != (present or b""):
        write_atomically(file, text)
    try:
        texts = {target.metafile: metafile}
        staged = _staged_attributes(target, path, present, wanted)
        if staged is not None:
            texts[path] = staged
        stage(target, entries, set(before) - entries.keys(), texts)
    except BaseException:
        if present is None:
            with suppress(FileNotFoundError):
                os.unlink(file)
        elif text != present:
            write_atomically(file, present)
        raise


def _attributes_path(target: Target) -> bytes:
    """The `.gitattributes` beside the target, from the repository's root."""
    directory, slash, _ = target.path.rpartition(b"/")
    return directory + slash + b".gitattributes"


def _with_import(text: bytes, target: Target, wanted: Sequence[SourceFile]) -> bytes:
    """The attributes by which the filter applies to the data among the files only."""
    empty = objects.blob_id(b"", target.repository.object_format)
    new = attributes.with_import(
        text,
        os.fsdecode(target.path.rpartition(b"/")[2]),
        data=[os.fsdecode(each.path) for each in wanted if each.pointer is not None],
        plain=[os.fsdecode(each.path) for each in wanted if _is_filterable(each, empty)],
    )
    # Another order would say nothing new.
    return text if sorted(new.splitlines()) == sorted(text.splitlines()) else new


def _staged_attributes(
    target: Target, path: bytes, present: bytes | None, wanted: Sequence[SourceFile]
) -> bytes | None:
    """What to stage of `.gitattributes`: our lines, and no other edits of the user's.

    None when there is nothing to stage. A file that Git does not know yet is staged whole.
    """
    found = index.entries(target.repository, [path])
    if not found:
        return _with_import(present or b"", target, wanted) or present
    [(_, had)] = objects.read_blobs(target.repository, [found[0].id])
    text = _with_import(had, target, wanted)
    return text if text != had else None


def _read(path: bytes) -> bytes | None:
    try:
        return read_regular(path)
    except FileNotFoundError:
        return None


def _is_filterable(file: SourceFile, empty: str) -> bool:
    """Whether the filter would make a pointer of a file that is plain at its source."""
    return file.pointer is None and not file.is_symlink and file.blob != empty


def stage(
    target: Target,
    entries: Mapping[bytes, tuple[str, str]],
    removed: Iterable[bytes],
    texts: Mapping[bytes, bytes],
) -> None:
    """Stage the files, and small ones of ours with their texts, in one step."""
    repository = target.repository
    ids = objects.write_blobs(repository, texts.values())
    own = {path: ("100644", id) for path, id in zip(texts, ids, strict=True)}
    staged = {**entries, **own}
    index.stage(repository, [(mode, id, path) for path, (mode, id) in staged.items()], removed)


def refresh(
    target: Target,
    entries: Mapping[bytes, tuple[str, str]],
    results: dict[bytes, EntryStat],
) -> None:
    """Give the staged files' entries the stat data of what was written; `results` is empty then.

    So that git neither reads them again nor asks the filter. Files that
    somebody has written to since are left for git to look at, and so is all
    while another git holds the index.
    """
    updates = dict(_current(target, entries, results))
    gitindex.patch_file(target.repository.places.index_file, updates)


def _current(
    target: Target,
    entries: Mapping[bytes, tuple[str, str]],
    results: dict[bytes, EntryStat],
) -> Iterator[tuple[bytes, EntryStat]]:
    """The stat data that files have now, of those that nobody has written to since."""
    top = os.fsencode(target.repository.top)
    while results:
        # Each is let go of at once: there may be a million.
        relative, was = results.popitem()
        path = target.path_of(relative)
        with suppress(OSError):
            now = EntryStat.from_stat(entries[path][1], os.lstat(os.path.join(top, path)))
            # A kept file had another name until now, and its ctime has moved.
            if (now.mtime_ns, now.size, now.ino) == (was.mtime_ns, was.size, was.ino):
                yield path, now
