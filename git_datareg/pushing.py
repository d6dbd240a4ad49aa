"""What a push of refs means for objects: which ones it needs, and storing them first.

Only commits that the remote has not are looked at. Nothing here moves a ref.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from git_datareg.errors import DataregError, PartialError, PointerError
from git_datareg.git import objects
from git_datareg.git.objects import NamedBlob
from git_datareg.layout import ObjectStorage
from git_datareg.location import Location
from git_datareg.metafile import SUFFIX, Metafile, is_metafile
from git_datareg.pointer import MAX_LENGTH, Pointer
from git_datareg.sources import Project, metafile_ids, storage_for_push
from git_datareg.transfer import Advance, no_progress, storage_faults, upload


class Plan(NamedTuple):
    """The objects that new commits need in the storage, each with a path that it has there."""

    pointers: dict[Pointer, bytes]

    @property
    def size(self) -> int:
        """Bytes of all of them."""
        return sum(pointer.size for pointer in self.pointers)


class Stored(NamedTuple):
    """What a push stored."""

    #: Objects that were new to the storage.
    new: int
    #: All objects that the commits need there.
    needed: int
    storage: ObjectStorage


def plan(project: Project, new: Sequence[str], old: Sequence[str], remote: str | None) -> Plan:
    """The objects that the commits `new` need and that `old` ones don't.

    With the name of a Git `remote`, what its remote-tracking branches hold is
    old too. Imported files stay in their source's storage: their objects are
    left out, unless they were changed here or imported with `--vendor`.
    Raises PointerError for a pointer that is not understood.
    """
    if not new:
        return Plan({})
    repository = project.repository
    known = objects.existing(repository, old)
    blobs = objects.small_blobs_between(repository, new, known, remote=remote, limit=MAX_LENGTH + 1)
    paths = {blob.id: blob.path for blob in blobs}
    found: dict[Pointer, bytes] = {}
    for id, content in objects.read_blobs(repository, paths):
        try:
            pointer = Pointer.parse(content)
        except PointerError as error:
            path = paths[id].decode("utf-8", "surrogateescape")
            raise PointerError(f"{path}: {error.message}", *error.hints) from error
        if pointer is not None:
            found.setdefault(pointer, paths[id])
    return Plan(_without_imports(project, found, new, blobs))


def everything(project: Project) -> Plan:
    """The objects that any ref of the repository needs."""
    refs = project.repository.run("for-each-ref", "--format=%(objectname)").decode().split()
    return plan(project, [*refs, *objects.existing(project.repository, ["HEAD"])], [], None)


def store(
    project: Project,
    needed: Plan,
    remote: Location,
    *,
    name: str | None = None,
    jobs: int | None = None,
    advance: Advance = no_progress,
) -> Stored | None:
    """Store the planned objects where pushes to `remote` put them (or in the storage `name`).

    On return all of them are there, durable; None means that none was needed.
    Raises StorageNotConfiguredError when there is no place for them, and a
    PartialError with every single fault when some could not be stored.
    """
    if not needed.pointers:
        return None
    storage = storage_for_push(project, remote, name)
    with storage_faults(str(storage)):
        storage.prepare()
    new, failures = upload(
        needed.pointers.items(),
        project.local,
        storage,
        jobs=jobs or project.settings.jobs,
        advance=advance,
    )
    if failures:
        raise PartialError(
            f"{len(failures)} of {len(needed.pointers)} objects could not be stored in {storage}; "
            "nothing is pushed",
            failures=tuple(
                type(each.error)(f"{_shown(each.path)}: {each.error.message}", *each.error.hints)
                for each in failures
            ),
        )
    return Stored(new, len(needed.pointers), storage)


def _without_imports(
    project: Project, found: dict[Pointer, bytes], new: Sequence[str], blobs: Iterable[NamedBlob]
) -> dict[Pointer, bytes]:
    """Leave out what belongs to an import of any of the commits and is not ours."""
    ids = {blob.id: blob.path for blob in blobs if is_metafile(blob.path)}
    for commit in new:
        ids |= {id: path for path, id in metafile_ids(project.repository, commit).items()}
    imported = [
        ids[id].removesuffix(SUFFIX.encode())
        for id, text in objects.read_blobs(project.repository, ids)
        if not _is_vendored(text, ids[id])
    ]
    if not imported:
        return found
    prefixes = tuple(path + b"/" for path in imported)
    own = project.local.own
    return {
        pointer: path
        for pointer, path in found.items()
        if not (path in imported or path.startswith(prefixes))
        or (own is not None and own.find(pointer) is not None)
    }


def _is_vendored(text: bytes, path: bytes) -> bool:
    try:
        return Metafile.parse(text, _shown(path)).vendor
    except DataregError:
        # An old commit may hold a broken one; its objects are then ours to store.
        return True


def _shown(path: bytes) -> str:
    return path.decode("utf-8", "surrogateescape")
