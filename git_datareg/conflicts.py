"""What of the user's own work an update of an import would destroy."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from git_datareg import registry
from git_datareg.errors import LocalChangesError, PathNotFoundError
from git_datareg.git import index, objects
from git_datareg.git.index import IndexEntry
from git_datareg.imports import Target
from git_datareg.metafile import Metafile
from git_datareg.objects import is_object
from git_datareg.registry import Source, SourceFile


def refuse_local_changes(
    target: Target, metafile: Metafile, source: Source, wanted: Sequence[SourceFile]
) -> None:
    """Raise LocalChangesError when the user's work would be lost.

    Files that are as the source has them now are nobody's work: an update that
    was killed leaves them so.
    """
    new = {target.path_of(each.path): each for each in wanted}
    staged = {entry.path: entry for entry in index.entries(target.repository, [target.path])}
    suspects = set(index.changed_in_work_tree(target.repository, [target.path]))
    suspects |= _committed_changes(target, metafile, source, staged)
    suspects |= new.keys() - staged.keys()
    top = os.fsencode(target.repository.top)
    changed = [
        path
        for path in sorted(suspects)
        if os.path.lexists(os.path.join(top, path))
        and not (path in new and _is_as_in(source, new[path], os.path.join(top, path)))
    ]
    if changed:
        shown = ", ".join(os.fsdecode(path) for path in changed[:3])
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        raise LocalChangesError(
            f"changed here since the import: {shown}{more}",
            "use -f to replace them, or move them away",
        )


def _committed_changes(
    target: Target, metafile: Metafile, source: Source, staged: Mapping[bytes, IndexEntry]
) -> set[bytes]:
    """Paths whose staged content is not what the import brought."""
    if source.repository.object_format != target.repository.object_format:
        return set()
    if not objects.existing(source.repository, [metafile.commit]):
        # History was rewritten: there is nothing to compare with.
        return set()
    old = source._replace(commit=metafile.commit)
    try:
        had = registry.files(old, metafile.path, metafile.include, metafile.exclude)
    except PathNotFoundError:
        return set()
    brought = {target.path_of(each.path): each.blob for each in had}
    return {path for path, entry in staged.items() if brought.get(path) != entry.id}


def _is_as_in(source: Source, file: SourceFile, path: bytes) -> bool:
    """Whether a file of the work tree is just what the source has."""
    if os.path.islink(path) or not os.path.isfile(path):
        return (
            file.is_symlink
            and objects.blob_id(os.readlink(path), source.repository.object_format) == file.blob
        )
    with open(path, "rb") as present:
        if file.pointer is not None and is_object(present.fileno(), file.pointer):
            return True
        return objects.blob_id(present.read(), source.repository.object_format) == file.blob
