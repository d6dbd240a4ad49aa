"""Delivers files of a source to a place on this machine, all of them or none.

Objects come into the cache first; then the files are built under a temporary
name beside the target, and put in place by one rename.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from git_datareg import origins, processes, registry, targets
from git_datareg.downloads import download
from git_datareg.errors import (
    DataregError,
    IntegrityError,
    PartialError,
    UnsafePathError,
    UsageError,
)
from git_datareg.gitindex import EntryStat
from git_datareg.objects import LocalObjects
from git_datareg.origins import Origins
from git_datareg.registry import Source, SourceFile
from git_datareg.removal import remove_tree
from git_datareg.staging import Staging
from git_datareg.symlinks import leads_out
from git_datareg.transfer import SILENT, Failure, Progress
from git_datareg.worktree import check_relative_path

#: Objects of so many bytes are read, verified and written in one go.
_IN_MEMORY = 1024 * 1024


def bring(
    source: Source,
    files: Iterable[SourceFile],
    local: LocalObjects,
    *,
    jobs: int,
    progress: Progress = SILENT,
) -> int:
    """Bring the objects of the files into the cache; returns how many were not here.

    Raises what `combined` makes of the failures; what came stays in the cache,
    so that the next try does not fetch it again.
    """
    absent = {
        each.pointer: each.source_path
        for each in files
        if each.pointer is not None and local.find(each.pointer) is None
    }
    if not absent:
        return 0
    sources = source.sources()
    wants = [sources.want(pointer, path) for pointer, path in absent.items()]
    progress.expect(sum(pointer.size for pointer in absent), len(absent))
    failures = download(wants, local.cache, jobs=jobs, advance=progress.advance)
    if failures:
        ways = Origins(source.open_other).of_source(source, sources)
        failures = origins.download(
            failures, ways, local.cache, jobs=jobs, advance=progress.advance
        )
    if failures:
        raise combined(failures, f"from {source.location}")
    return len(absent)


def combined(failures: Sequence[Failure], where: str) -> DataregError:
    """One fault for many: itself if it is one, else a PartialError that lists them.

    Its exit code is that of the single ones, if they agree.
    """
    singles = [
        type(each.error)(f"{os.fsdecode(each.path)}: {each.error.message}", *each.error.hints)
        for each in sorted(failures, key=lambda each: each.path)
    ]
    if len(singles) == 1:
        return singles[0]
    error = PartialError(
        f"{len(singles)} objects could not be had {where}", failures=tuple(singles)
    )
    codes = {single.exit_code for single in singles}
    if len(codes) == 1:
        error.exit_code = codes.pop()
    return error


def check(source: Source, files: Sequence[SourceFile]) -> None:
    """Raise UnsafePathError for a name, or a symlink, that leads out of the target."""
    for each in files:
        if each.path:
            check_relative_path(each.path)
    _check_unique([each.path for each in files])
    links = [each for each in files if each.is_symlink]
    targets = dict(registry.contents(source, links))
    by_path = {each.path: targets[each.blob] for each in links}
    for each in links:
        if leads_out(each.path, by_path):
            raise _unsafe_symlink(each, by_path[each.path])


def _check_unique(paths: Sequence[bytes]) -> None:
    """Refuse what only a tree that no git made has: a name twice, as a file and something else."""
    files = set(paths)
    parents = {path.rpartition(b"/")[0] for path in paths}
    while parents:
        parents.discard(b"")
        files -= parents
        parents = {path.rpartition(b"/")[0] for path in parents}
    if len(files) == len(paths):
        return
    seen: set[bytes] = set(paths) - files
    for path in paths:
        if path in seen:
            raise UnsafePathError(f"unsafe path {os.fsdecode(path)!r}: the registry has it twice")
        seen.add(path)


def _unsafe_symlink(file: SourceFile, target: bytes) -> UnsafePathError:
    return UnsafePathError(
        f"symlink leads out of the target: {os.fsdecode(file.source_path)} -> "
        f"{os.fsdecode(target)}",
        f"leave it out: -X {os.fsdecode(file.path)}" if file.path else "name what it leads to",
    )


def build(
    source: Source,
    files: Sequence[SourceFile],
    new: str,
    local: LocalObjects,
    *,
    mtime_ns: int | None = None,
    kept: Mapping[bytes, str] | None = None,
) -> dict[bytes, EntryStat]:
    """Write files below a new directory `new`, or the one with an empty path as `new` itself.

    Returns the stat data of each, without ids. `kept` names, by path, files that are here
    already with the right content; they are linked in, not written again.
    """
    data = [each for each in files if each.pointer is not None or each.path in (kept or {})]
    results = _built_by_children(data, new, local, mtime_ns, kept or {})
    with Staging(new) as tree:
        for each in data if not results else ():
            linked = _linked(tree, each.path, kept.get(each.path)) if kept else None
            if linked is None and each.pointer is not None:
                linked = _write_data(tree, source, each, local, mtime_ns)
            if linked is not None:
                results[each.path] = EntryStat.from_stat("", linked)
        plain = [each for each in files if each.path not in results]
        by_blob: dict[str, list[SourceFile]] = {}
        for each in plain:
            by_blob.setdefault(each.blob, []).append(each)
        for blob, content in registry.contents(source, plain):
            for each in by_blob[blob]:
                written = _write_plain(tree, each, content, mtime_ns)
                results[each.path] = EntryStat.from_stat("", written)
    return results


def _built_by_children(
    data: Sequence[SourceFile],
    new: str,
    local: LocalObjects,
    mtime_ns: int | None,
    kept: Mapping[bytes, str],
) -> dict[bytes, EntryStat]:
    """Write data files, or link what is kept, in several processes; nothing where that can't be."""
    parts = processes.shares(data)
    if len(parts) < 2:
        return {}

    def work(part: Sequence[SourceFile]) -> None:
        with Staging(new) as tree:
            for each in part:
                linked = _linked(tree, each.path, kept.get(each.path))
                if linked is None and _write_whole(tree, each, local, mtime_ns) is None:
                    raise IntegrityError("to be brought anew")

    if not all(processes.in_children(parts, work)):
        remove_tree(new)
        return {}
    top = os.fsencode(new) + b"/"
    return {each.path: EntryStat.from_stat("", os.lstat(top + each.path)) for each in data}


def _linked(tree: Staging, path: bytes, existing: str | None) -> os.stat_result | None:
    """Link a file that is here already; None where it can't be linked."""
    if existing is None:
        return None
    try:
        return tree.link(path, existing)
    except DataregError:
        raise
    except OSError:
        # A file system without links, a file of somebody else's: it is written anew.
        return None


def _write_data(
    tree: Staging, source: Source, file: SourceFile, local: LocalObjects, mtime_ns: int | None
) -> os.stat_result:
    """Write a data file; an object that was damaged here is brought anew."""
    written = _write_whole(tree, file, local, mtime_ns)
    if written is None:
        bring(source, [file], local, jobs=1)
        written = _write_whole(tree, file, local, mtime_ns)
    if written is None:
        raise IntegrityError(f"what is in the cache does not stay whole: {local.cache.root}")
    return written


def _write_whole(
    tree: Staging, file: SourceFile, local: LocalObjects, mtime_ns: int | None
) -> os.stat_result | None:
    """Write a data file from an object that is whole here, or return None."""
    pointer, is_executable = file.pointer, file.mode == "100755"
    assert pointer is not None
    if pointer.size <= _IN_MEMORY:
        data = local.read_whole(pointer)
        if data is None:
            return None
        return tree.write(file.path, data, executable=is_executable, mtime_ns=mtime_ns)
    found = local.find_whole(pointer)
    if found is None:
        return None
    with open(found, "rb", buffering=0) as stream:
        return tree.copy(file.path, stream.fileno(), executable=is_executable, mtime_ns=mtime_ns)


def _write_plain(
    tree: Staging, file: SourceFile, content: bytes, mtime_ns: int | None
) -> os.stat_result:
    if file.is_symlink:
        return tree.symlink(file.path, content)
    return tree.write(file.path, content, executable=file.mode == "100755", mtime_ns=mtime_ns)


class Delivered(NamedTuple):
    """What a `get` delivered."""

    target: str
    files: int
    #: Bytes of all files.
    size: int
    #: Objects that were not on this machine.
    fetched: int


def get(
    source: Source,
    path: str,
    out: str | None,
    local: LocalObjects,
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    replace: bool = False,
    jobs: int,
    progress: Progress = SILENT,
) -> Delivered:
    """Deliver what lies at `path` of a source to `out`, all of it or nothing.

    `out` None is the path's name here; an existing directory takes the path
    under that name. Missing parents are made. A symlink that is named is
    followed, those below a directory are kept. Raises TargetExistsError for a
    target that is there already, unless it may be replaced.
    """
    wanted = registry.files(source, os.fsdecode(registry.followed(source, path)), include, exclude)
    check(source, wanted)
    target = target_of(source, path, out)
    targets.check_free(target, target, replace=replace)
    fetched = bring(source, wanted, local, jobs=jobs, progress=progress)
    with targets.place_for(target) as place:
        build(source, wanted, place.new, local)
        place.put_in_place(replace=replace)
    return Delivered(target, len(wanted), sum(each.size for each in wanted), fetched)


def target_of(source: Source, path: str, out: str | None) -> str:
    """Where a path of a source goes: `out`, or its own name in the directory `out` (or here)."""
    name = os.path.basename(os.fsdecode(registry.normal(path))) or source.name
    if out == "":
        raise UsageError("an empty name can't be a target")
    if out is None:
        return name
    if os.path.isdir(out) or out.endswith("/"):
        return os.path.join(out, name)
    return out
