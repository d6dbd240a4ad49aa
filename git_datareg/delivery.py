"""Delivers files of a source to a place on this machine, all of them or none.

Objects come into the cache first; then the files are built under a temporary
name beside the target, which is put in place by one rename.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from git_datareg import files as files_module
from git_datareg import registry
from git_datareg.errors import (
    DataregError,
    ObjectNotFoundError,
    PartialError,
    TargetExistsError,
    UnsafePathError,
)
from git_datareg.git import objects
from git_datareg.objects import LocalObjects
from git_datareg.registry import Source, SourceFile
from git_datareg.transfer import Advance, Failure, download, no_progress
from git_datareg.worktree import Directory, check_relative_path

_TEMPORARY = ".datareg-new-"


def bring(
    source: Source,
    files: Iterable[SourceFile],
    local: LocalObjects,
    *,
    jobs: int,
    advance: Advance = no_progress,
) -> int:
    """Bring the objects of the files into the cache; returns how many were not here.

    Raises what `combined` makes of the failures; what came stays in the cache,
    so that the next try does not fetch it again.
    """
    sources = source.sources()
    absent = {
        each.pointer: each.source_path
        for each in files
        if each.pointer is not None and local.find(each.pointer) is None
    }
    wants = [sources.want(pointer, path) for pointer, path in absent.items()]
    failures = download(wants, local.cache, jobs=jobs, advance=advance)
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


def check_paths(files: Iterable[SourceFile]) -> None:
    """Raise UnsafePathError for a name, or a symlink's way, that leads out of the target."""
    for each in files:
        if each.path:
            check_relative_path(each.path)


def deliver_file(
    source: Source,
    file: SourceFile,
    target: str,
    local: LocalObjects,
    *,
    replace: bool,
    mtime_ns: int | None = None,
) -> os.stat_result:
    """Put one file at `target`; raises TargetExistsError unless it may `replace` one there."""
    directory, name = os.path.split(os.path.abspath(target))
    os.makedirs(directory, exist_ok=True)
    with Directory.open(directory) as root:
        try:
            return _write(root, os.fsencode(name), source, file, local, mtime_ns, replace=replace)
        except FileExistsError:
            raise exists(target) from None


@contextmanager
def staged_directory(target: str) -> Iterator[str]:
    """A new directory beside `target`, removed at the end if it is still there."""
    parent, name = os.path.split(os.path.abspath(target))
    os.makedirs(parent, exist_ok=True)
    staged = os.path.join(
        parent, os.fsdecode(files_module.temporary_name(f".{name}"[:100] + _TEMPORARY))
    )
    os.mkdir(staged)
    try:
        yield staged
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def build(
    source: Source,
    files: Iterable[SourceFile],
    directory: str,
    local: LocalObjects,
    *,
    mtime_ns: int | None = None,
    kept: Mapping[bytes, str] | None = None,
) -> dict[bytes, os.stat_result]:
    """Write files below an empty directory; returns the stat data of each.

    `kept` names, by path, files that are here already with the right content;
    they are linked in, not written again.
    """
    listed = list(files)
    plain = _plain_contents(source, (each for each in listed if each.path not in (kept or {})))
    results = {}
    with Directory.open(directory) as root:
        for each in listed:
            if kept is not None and each.path in kept:
                results[each.path] = root.link(each.path, kept[each.path])
            else:
                results[each.path] = _write(
                    root, each.path, source, each, local, mtime_ns, plain=plain
                )
    return results


def put_in_place(staged: str, target: str, *, replace: bool) -> None:
    """Give a staged directory its name, in one step; what was there is removed behind it.

    Raises TargetExistsError when something is there, unless it may `replace` it.
    """
    if not replace and os.path.lexists(target):
        raise exists(target)
    if not os.path.lexists(target):
        os.rename(staged, target)
        return
    files_module.exchange(staged, target)
    if os.path.isdir(staged) and not os.path.islink(staged):
        shutil.rmtree(staged)
    else:
        os.unlink(staged)


def exists(target: str) -> TargetExistsError:
    """The fault that a target is taken."""
    return TargetExistsError(f"target exists: {target}", "use -f to replace it, or -o for another")


def _write(
    root: Directory,
    path: bytes,
    source: Source,
    file: SourceFile,
    local: LocalObjects,
    mtime_ns: int | None,
    *,
    plain: Mapping[str, bytes] | None = None,
    replace: bool = False,
) -> os.stat_result:
    mode = 0o777 if file.mode == "100755" else 0o666
    if file.pointer is None:
        content = registry.content(source, file) if plain is None else plain[file.blob]
        if file.is_symlink:
            _check_symlink(file, content)
            return root.symlink(path, content, replace=replace)
        return _placed(
            root.place(path, content, mode=_masked(mode), mtime_ns=mtime_ns, replace=replace)
        )
    found = local.find_whole(file.pointer)
    if found is None:
        raise ObjectNotFoundError(f"object {file.pointer.digest} is gone from the cache")
    with open(found, "rb") as stream:
        descriptor = stream.fileno()
        return _placed(
            root.place(path, descriptor, mode=_masked(mode), mtime_ns=mtime_ns, replace=replace)
        )


def _placed(result: os.stat_result | None) -> os.stat_result:
    assert result is not None, "only an expectation keeps a file from being placed"
    return result


def _plain_contents(source: Source, files: Iterable[SourceFile]) -> dict[str, bytes]:
    ids = [each.blob for each in files if each.pointer is None]
    return dict(objects.read_blobs(source.repository, ids))


def _check_symlink(file: SourceFile, target: bytes) -> None:
    """Refuse a symlink that leads out of what is delivered."""
    way = os.path.normpath(os.path.join(os.path.dirname(file.path), target))
    if target.startswith(b"/") or way == b".." or way.startswith(b"../"):
        raise UnsafePathError(
            f"symlink leads out of the target: {os.fsdecode(file.source_path)} -> "
            f"{os.fsdecode(target)}",
            "leave it out: -X " + os.fsdecode(file.path),
        )


def _masked(mode: int) -> int:
    return mode & ~files_module.umask()


class Delivered(NamedTuple):
    """What a `get` delivered."""

    target: str
    files: int
    #: Bytes of all files' data.
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
    advance: Advance = no_progress,
) -> Delivered:
    """Deliver what lies at `path` of a source to `out`, all of it or nothing.

    `out` None is the path's name here; an existing directory takes the path
    under that name. Missing parents are made. Raises TargetExistsError for a
    target that is there already, unless it may be replaced.
    """
    wanted = registry.files(source, path, include, exclude)
    check_paths(wanted)
    target = target_of(source, path, out)
    if not replace and os.path.lexists(target):
        raise exists(target)
    fetched = bring(source, wanted, local, jobs=jobs, advance=advance)
    if len(wanted) == 1 and not wanted[0].path:
        deliver_file(source, wanted[0], target, local, replace=replace)
    else:
        with staged_directory(target) as staged:
            build(source, wanted, staged, local)
            put_in_place(staged, target, replace=replace)
    size = sum(each.pointer.size for each in wanted if each.pointer is not None)
    return Delivered(target, len(wanted), size, fetched)


def target_of(source: Source, path: str, out: str | None) -> str:
    """Where a path of a source goes: `out`, or its own name in the directory `out` (or here)."""
    name = os.path.basename(os.fsdecode(registry.normal(path))) or source.name
    if out is None:
        return name
    if os.path.isdir(out) or out.endswith("/"):
        return os.path.join(out, name)
    return out
