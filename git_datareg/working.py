"""The data files of a work tree: which there are, bringing them, putting them in place."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from git_datareg import origins, placing
from git_datareg.downloads import download
from git_datareg.errors import (
    DataregError,
    ObjectNotFoundError,
    PathNotFoundError,
    PointerError,
    UsageError,
)
from git_datareg.filtering import Smudged
from git_datareg.git import config, index, objects
from git_datareg.git.repository import Repository
from git_datareg.globs import is_chosen
from git_datareg.objects import is_object
from git_datareg.origins import Opener, Origins
from git_datareg.pointer import MAX_LENGTH, Pointer
from git_datareg.projects import Project
from git_datareg.sources import Sources
from git_datareg.transfer import SILENT, Failure, Progress

_EXECUTABLE = "100755"
#: So many files are read at once; a git for each part takes no time beside that.
_PART = 20_000


class DataFile(NamedTuple):
    """A file that is a pointer in Git."""

    path: bytes
    #: The pointer's own id in Git.
    blob: str
    pointer: Pointer
    is_executable: bool = False


def in_index(repository: Repository, paths: Sequence[bytes] = ()) -> list[DataFile]:
    """The data files in the index (below `paths`, if given), without those in conflict.

    Raises PointerError for a pointer that is not understood.
    """
    entries = index.each_entry(repository, paths)
    return _data_files(
        repository,
        ((each.path, each.id, each.mode) for each in entries if each.is_file and not each.stage),
    )


def in_commit(repository: Repository, commit: str, paths: Sequence[bytes] = ()) -> list[DataFile]:
    """The data files in a commit (below `paths`, if given)."""
    entries = objects.tree_entries(repository, commit, recursive=True)
    small = (
        (entry.path, entry.id, entry.mode)
        for entry in entries
        if entry.mode.startswith("100") and (entry.size or 0) <= MAX_LENGTH
    )
    chosen = small if not paths else (each for each in small if _is_below(each[0], paths))
    return _data_files(repository, chosen)


def matching(
    files: Iterable[DataFile], include: Sequence[str], exclude: Sequence[str]
) -> list[DataFile]:
    """The files whose paths the globs let through."""
    return [file for file in files if is_chosen(file.path, include, exclude)]


def fetch(
    project: Project,
    files: Iterable[DataFile],
    *,
    opener: Opener | None = None,
    treeish: str | None = None,
    jobs: int | None = None,
    progress: Progress = SILENT,
) -> list[Failure]:
    """Bring the objects of files into the cache; returns what failed.

    What an import's own storage hint does not lead to is asked for at its
    source, which `opener` opens: its storage may have moved.
    """
    jobs = jobs or project.settings.jobs
    sources = Sources(project, treeish)
    missing = [file for file in files if project.local.find(file.pointer) is None]
    wants = [sources.want(file.pointer, file.path) for file in missing]
    unique = {file.pointer for file in missing}
    progress.expect(sum(pointer.size for pointer in unique), len(unique))
    cache, advance = project.local.cache, progress.advance
    failures = download(wants, cache, jobs=jobs, advance=advance)
    if not failures or opener is None:
        return failures
    ways = Origins(opener).of_project(project, sources)
    return origins.download(failures, ways, cache, jobs=jobs, advance=advance)


def checkout(
    project: Project,
    paths: Sequence[bytes] = (),
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
) -> tuple[int, list[tuple[bytes, DataregError]]]:
    """Put data in the work tree where pointers are; returns how many files, and what failed.

    Files that hold anything but their pointer are left alone, and so are those that
    are not here and not fetched unasked, unless `paths` names them. Files that are
    gone come back when `paths` names them. Where git broke off its checkout
    before it wrote an index, HEAD is taken up again. Raises PathNotFoundError
    for a path that is not in the index.
    """
    repository = project.repository
    require_work_tree(repository)
    resumed = _resume(repository)
    for path in paths:
        if not index.entries(repository, [path]):
            raise PathNotFoundError(f"no such file in the index: {os.fsdecode(path)}")
    if paths or resumed:
        _write_missing(repository, index.entries(repository, paths))
    files = matching(in_index(repository, paths), include, exclude)
    if not paths:
        files = [file for file in files if _is_wanted(project, file)]
    pending = [each for file in files if (each := _to_place(repository, file)) is not None]
    pending += _stale(repository, files, {each.path for each in pending})
    outcome = placing.place(
        repository.top, repository.places.index_file, pending, project.local.find_whole
    )
    stale = [each for each in pending if each.path in outcome.stale]
    if stale:
        placing.forget_stat(repository, stale)
    if not (outcome.failures or paths or include or exclude):
        placing.forget(repository.places.git_dir)
    failures = [(path, _with_hint(error)) for path, error in outcome.failures]
    return outcome.placed, failures


def _is_wanted(project: Project, file: DataFile) -> bool:
    """Whether a file's data is here, or fetched unasked."""
    settings = project.settings
    is_fetched = is_chosen(file.path, settings.include, settings.exclude)
    return is_fetched or project.local.find(file.pointer) is not None


def require_work_tree(repository: Repository) -> None:
    """Raise UsageError in a bare repository."""
    if repository.work_tree is None:
        raise UsageError(f"a bare repository has no work tree: {repository.top}")


def missing(project: Project, files: Iterable[DataFile]) -> list[DataFile]:
    """The files whose objects are not on this machine."""
    return [file for file in files if project.local.find(file.pointer) is None]


def unplaced(project: Project, files: Iterable[DataFile]) -> list[DataFile]:
    """The files whose work tree file is still the pointer."""
    return [file for file in files if _to_place(project.repository, file) is not None]


def changed(project: Project, files: Iterable[DataFile]) -> list[bytes]:
    """The paths of files that differ from the index, or are gone; to be touched is no change."""
    known = {file.path: file for file in files}
    suspects = [
        known[path] for path in index.changed_in_work_tree(project.repository) if path in known
    ]
    with_mode = bool(suspects) and config.keeps_modes(project.repository)
    top = os.fsencode(project.repository.top)
    return [
        file.path
        for file in suspects
        if not _is_as_recorded(os.path.join(top, file.path), file, with_mode=with_mode)
    ]


def _is_as_recorded(path: bytes, file: DataFile, *, with_mode: bool) -> bool:
    """Whether a file of the work tree is its object, or still its pointer."""
    if os.path.islink(path) or not os.path.isfile(path):
        return False
    text = file.pointer.encode()
    with open(path, "rb") as present:
        is_executable = bool(os.fstat(present.fileno()).st_mode & 0o100)
        if with_mode and is_executable != file.is_executable:
            return False
        return is_object(present.fileno(), file.pointer) or present.read(len(text) + 1) == text


def staged(project: Project, files: Iterable[DataFile]) -> list[bytes]:
    """The paths of data files that the next commit would add, change or remove."""
    repository = project.repository
    known = {file.path for file in files}
    differing = index.staged_changes(repository)
    gone = _data_files(
        repository, ((each.path, each.old, "") for each in differing if each.path not in known)
    )
    removed = {file.path for file in gone}
    return [each.path for each in differing if each.path in known or each.path in removed]


def _data_files(
    repository: Repository, entries: Iterator[tuple[bytes, str, str]]
) -> list[DataFile]:
    """The data files among `(path, id, mode)`."""
    found: list[DataFile] = []
    # Part by part: there may be a million.
    while part := list(islice(entries, _PART)):
        ids = (id for _, id, _ in part)
        contents = dict(objects.read_small_blobs(repository, ids, MAX_LENGTH))
        for path, id, mode in part:
            try:
                pointer = Pointer.parse(contents[id]) if id in contents else None
            except PointerError as error:
                shown = os.fsdecode(path)
                raise PointerError(f"{shown}: {error.message}", *error.hints) from error
            if pointer is not None:
                found.append(DataFile(path, id, pointer, mode == _EXECUTABLE))
    return found


def _to_place(repository: Repository, file: DataFile) -> Smudged | None:
    """What is to be put in place for a file whose work tree file is its pointer."""
    path = os.path.join(os.fsencode(repository.top), file.path)
    try:
        # Most files are in place; a look is cheaper than to open each.
        found = os.lstat(path)
        if found.st_size > MAX_LENGTH or not stat.S_ISREG(found.st_mode):
            return None
        text = file.pointer.encode()
        with open(path, "rb") as present:
            is_pointer = present.read(len(text) + 1) == text
    except OSError:
        return None
    return Smudged(file.path, file.blob, file.pointer, deferred=True) if is_pointer else None


def _stale(repository: Repository, files: Iterable[DataFile], placed: set[bytes]) -> list[Smudged]:
    """Files in place whose index entries git takes for changed, as a killed git leaves them."""
    changed = set(index.changed_in_work_tree(repository))
    return [
        Smudged(file.path, file.blob, file.pointer, deferred=False)
        for file in files
        if file.path in changed and file.path not in placed
    ]


def _resume(repository: Repository) -> bool:
    """After a clone whose checkout failed there is a HEAD and no index: make one."""
    if os.path.exists(repository.places.index_file) or not objects.existing(repository, ["HEAD"]):
        return False
    repository.run("read-tree", "HEAD")
    return True


def _write_missing(repository: Repository, entries: Iterable[index.IndexEntry]) -> None:
    """Have git write the files that are not there; our filter leaves pointers then."""
    top = os.fsencode(repository.top)
    gone = [entry.path for entry in entries if not os.path.lexists(os.path.join(top, entry.path))]
    if gone:
        names = b"".join(path + b"\0" for path in dict.fromkeys(gone))
        repository.run("checkout-index", "-u", "-z", "--stdin", input=names)


def _is_below(path: bytes, tops: Sequence[bytes]) -> bool:
    return any(path == top or path.startswith(top + b"/") or top in (b"", b".") for top in tops)


def _with_hint(error: DataregError) -> DataregError:
    if isinstance(error, ObjectNotFoundError) and not error.hints:
        return ObjectNotFoundError(error.message, "git datareg pull fetches what is missing")
    return error
