"""What a push of refs means for objects: which ones it needs, and storing them first.

Only commits that the remote has not are looked at. Nothing here moves a ref.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from git_datareg import roots
from git_datareg.downloads import Want, download
from git_datareg.embedding import may_be_over_ssh
from git_datareg.errors import (
    DataregError,
    ObjectNotFoundError,
    PartialError,
    PointerError,
    StorageError,
)
from git_datareg.git import objects
from git_datareg.git.objects import NamedBlob
from git_datareg.git.repository import Repository, open_foreign
from git_datareg.layout import MARKER_KEY, ObjectStorage
from git_datareg.location import Location
from git_datareg.metafile import SUFFIX, Metafile, is_imported, is_metafile
from git_datareg.pointer import MAX_LENGTH, Pointer
from git_datareg.projects import Project
from git_datareg.sources import Sources
from git_datareg.storages import configured_storages, embedded, storage_for_push, storage_names
from git_datareg.transfer import Advance, Failure, no_progress, storage_faults
from git_datareg.uploads import upload

#: Longer blobs are neither pointers nor, for sure, metafiles that were written by us.
_MAX_METAFILE = 64 * 1024
#: A storage that is gone fails for each object; more lines would say no more.
_MOST_FAILURES = 10


class Plan(NamedTuple):
    """The objects that new commits need in the storage, each with a path that it has there."""

    pointers: dict[Pointer, bytes]

    @property
    def size(self) -> int:
        """Bytes of all of them."""
        return sum(pointer.size for pointer in self.pointers)


class Destination(NamedTuple):
    """The Git remote that is pushed to."""

    location: Location
    #: Its name in the repository's configuration, if it has one.
    name: str | None
    #: The refs that it has now; None when nobody has asked it.
    refs: frozenset[str] | None = None


class Stored(NamedTuple):
    """What a push stored."""

    #: Objects that were new to the storage.
    new: int
    #: All objects that the commits need there.
    needed: int
    #: Where they are now, as it is shown.
    places: tuple[str, ...]

    def __str__(self) -> str:
        return ", ".join(self.places)


def plan_push(
    project: Project, new: Sequence[str], old: Sequence[str], remote: Destination
) -> Plan:
    """The objects that a push of the commits `new` needs, where the remote has the `old` ones.

    As `plan`, but what is old is checked as far as that is cheap: a
    remote-tracking branch counts if the remote still has it, and nothing does
    while its storage was never written to, since earlier pushes went elsewhere.
    """
    if not new:
        return Plan({})
    if project.settings.default is not None or not may_be_over_ssh(remote.location):
        return plan(project, new, _stored(project, remote, old), None)
    assumed = [*old, *(commit for _, commit in _tracked(project, remote.name))]
    needed = plan(project, new, assumed, None)
    # To ask that machine for its storage takes a connection, which most pushes don't need.
    if not needed.pointers or (stored := _stored(project, remote, old)) == assumed:
        return needed
    return plan(project, new, stored, None)


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
    known = objects.existing(repository, [*old, *(id for _, id in _tracked(project, remote))])
    blobs = objects.small_blobs_between(repository, new, known, limit=_MAX_METAFILE)
    found = pointers_in(repository, {blob.id: blob.path for blob in blobs})
    if not found:
        return Plan({})
    at_tips = objects.files_in_trees(
        repository,
        sorted(set(new).difference(known)),
        lambda file: file.id in found or is_metafile(file.path),
    )
    files = sorted({*at_tips, *blobs}, key=lambda file: file.path)
    imports = _imports(repository, files)
    needed: dict[Pointer, bytes] = {}
    for file in files:
        pointer = found.get(file.id)
        if pointer is not None and (
            not is_imported(file.path, imports) or _is_own(project, pointer)
        ):
            needed.setdefault(pointer, file.path)
    return Plan(needed)


def everything(project: Project) -> Plan:
    """The objects that any ref of the repository needs."""
    return plan(project, objects.refs(project.repository), [], None)


def store(
    project: Project,
    needed: Plan,
    remote: Location,
    *,
    name: str | None = None,
    jobs: int | None = None,
    advance: Advance = no_progress,
) -> Stored | None:
    """Store the planned objects where pushes to `remote` put them, or all in the storage `name`.

    On return all of them are there, durable (or, if this repository lacks one,
    in another storage that is configured; with `name` it is copied from there); None
    means that none was needed. Raises StorageNotConfiguredError when there is no place
    for them, and a PartialError with every single fault when some could not be stored.
    """
    if not needed.pointers:
        return None
    stores = [
        _Store(
            project,
            storage_for_push(project, remote, each),
            remote,
            plan,
            copies=name is not None,
            # What is in a Git remote itself is that one's alone.
            is_shared=(each or project.settings.default) is not None,
        )
        for each, plan in _by_storage(project, needed, name).items()
    ]
    new = sum(each.run(jobs or project.settings.jobs, advance) for each in stores)
    errors = [each.error() for each in stores if each.failures]
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise PartialError(
            f"objects could not be stored in {len(errors)} storages; nothing is pushed",
            failures=tuple(errors),
        )
    for each in stores:
        each.settle()
    return Stored(new, len(needed.pointers), tuple(str(each.storage) for each in stores))


def _by_storage(project: Project, needed: Plan, name: str | None) -> dict[str | None, Plan]:
    """The plan for each storage by name; None is the default one."""
    if name is not None:
        return {name: needed}
    names = storage_names(project, set(needed.pointers.values()))
    plans: dict[str | None, Plan] = {}
    for pointer, path in needed.pointers.items():
        plans.setdefault(names.get(path), Plan({})).pointers[pointer] = path
    return plans


class _Store:
    """What goes to one storage."""

    def __init__(
        self,
        project: Project,
        storage: ObjectStorage,
        remote: Location,
        plan: Plan,
        *,
        copies: bool,
        is_shared: bool,
    ) -> None:
        self.storage = storage
        self.failures: list[Failure] = []
        self._project = project
        self._remote = remote
        self._copies = copies
        self._is_shared = is_shared
        self._plan = plan
        self._is_new = False

    def run(self, jobs: int, advance: Advance) -> int:
        """Store the objects; returns how many were new. What failed is in `failures`."""
        self._is_new = not _has_marker(self.storage)
        if not self._is_new:
            self.storage.prepare()
        if self._is_shared and self.storage.storage.properties.can_list:
            with storage_faults(str(self.storage)):
                digests = [pointer.digest for pointer in self._plan.pointers]
                roots.publish(self.storage.storage, roots.repository_id(self._remote), digests)
        items = list(self._plan.pointers.items())
        new = 0
        # Whether a storage that nobody wrote to before can be written at all, one object shows.
        for part in (items[:1], items[1:]) if self._is_new else (items,):
            if not any(isinstance(each.error, StorageError) for each in self.failures):
                new += self._upload(part, jobs, advance)
        if self._copies:
            new += self._copy(jobs, advance)
        else:
            self.failures = [each for each in self.failures if not self._is_elsewhere(each)]
        return new

    def _is_elsewhere(self, failure: Failure) -> bool:
        return _is_elsewhere(self._project, self._remote, failure)

    def settle(self) -> None:
        """Mark a storage that was new: the marker says that it has what was pushed before."""
        if self._is_new:
            with storage_faults(str(self.storage)):
                self.storage.prepare()

    def error(self) -> PartialError:
        """The fault that says what failed."""
        return _not_stored(self.failures, self._plan, self.storage)

    def _upload(self, items: Iterable[tuple[Pointer, bytes]], jobs: int, advance: Advance) -> int:
        local = self._project.local
        new, failures = upload(items, local, self.storage, jobs=jobs, advance=advance)
        self.failures += failures
        return new

    def _copy(self, jobs: int, advance: Advance) -> int:
        """Store, too, what is not here but in another storage; it passes through the cache."""
        absent = [each for each in self.failures if isinstance(each.error, ObjectNotFoundError)]
        if not absent:
            return 0
        sources = Sources(self._project)
        wants = [Want(each.pointer, each.path, self._others(sources, each)) for each in absent]
        failures = download(wants, self._project.local.cache, jobs=jobs)
        failed = {each.pointer for each in failures}
        self.failures = [each for each in self.failures if each not in absent] + failures
        items = [(each.pointer, each.path) for each in absent if each.pointer not in failed]
        return self._upload(items, jobs, advance)

    def _others(self, sources: Sources, failure: Failure) -> list[ObjectStorage]:
        """The storages to ask for an object that this one lacks, or is too new to be asked."""
        here = self.storage.storage.location
        found = sources.storages(failure.path)
        return [each for each in found if each.storage.location != here]


def _not_stored(failures: Sequence[Failure], needed: Plan, storage: ObjectStorage) -> PartialError:
    shown = sorted(failures, key=lambda each: each.path)[:_MOST_FAILURES]
    more = f" ({len(shown)} of them are shown)" if len(shown) < len(failures) else ""
    return PartialError(
        f"{len(failures)} of {len(needed.pointers)} objects could not be stored in {storage}"
        f"{more}; nothing is pushed",
        failures=tuple(
            type(each.error)(f"{_shown(each.path)}: {each.error.message}", *each.error.hints)
            for each in shown
        ),
    )


def _has_marker(storage: ObjectStorage) -> bool:
    with storage_faults(str(storage)):
        return storage.storage.info(MARKER_KEY) is not None


def pointers_in(repository: Repository, paths: Mapping[str, bytes]) -> dict[str, Pointer]:
    """The pointers among some blobs, by their ids, which are given with a path for messages.

    Raises PointerError for a pointer that is not understood.
    """
    found = {}
    for id, content in objects.read_small_blobs(repository, paths, MAX_LENGTH):
        try:
            pointer = Pointer.parse(content)
        except PointerError as error:
            shown = _shown(paths[id]) or id
            raise PointerError(f"{shown}: {error.message}", *error.hints) from error
        if pointer is not None:
            found[id] = pointer
    return found


def _stored(project: Project, remote: Destination, old: Sequence[str]) -> list[str]:
    """Commits whose objects are taken to be where a push to the remote stores them."""
    if not _was_written(project, remote.location):
        return []
    tracked = [
        commit
        for ref, commit in _tracked(project, remote.name)
        if remote.refs is None or ref in remote.refs
    ]
    place = embedded(remote.location)
    if place is not None and place.path is not None and tracked:
        tracked = _known_there(os.path.dirname(place.path), tracked)
    return [*old, *tracked]


def _imports(repository: Repository, files: Iterable[NamedBlob]) -> frozenset[bytes]:
    """What was imported and stays in its source's storage: files and directories by path."""
    metafiles = [file for file in files if is_metafile(file.path)]
    texts = dict(objects.read_blobs(repository, (file.id for file in metafiles)))
    return frozenset(
        file.path.removesuffix(SUFFIX.encode())
        for file in metafiles
        if not _is_vendored(texts[file.id], file.path)
    )


def _is_elsewhere(project: Project, remote: Location, failure: Failure) -> bool:
    """Whether an object that is not at hand is in another storage that `.datareg` names.

    Readers ask all of them, so it needs no copy: the default storage may have
    been changed since the object was pushed.
    """
    if not isinstance(failure.error, ObjectNotFoundError):
        return False
    for storage in configured_storages(project, remote):
        try:
            if storage.has(failure.pointer):
                return True
        except DataregError:
            continue
    return False


def _is_own(project: Project, pointer: Pointer) -> bool:
    return project.local.own is not None and project.local.own.find(pointer) is not None


def _was_written(project: Project, remote: Location) -> bool:
    try:
        return _has_marker(storage_for_push(project, remote))
    except StorageError:
        # If anything is to be stored there, that will say what is wrong.
        return True


def _tracked(project: Project, name: str | None) -> Iterator[tuple[str, str]]:
    """The remote-tracking branches of a remote: the ref's name over there, and the commit."""
    if name is None:
        return
    prefix = f"refs/remotes/{name}/"
    # `refs/remotes/a/b/c` belongs to the remote `a/b`, if there is one, and not to `a`.
    others = tuple(
        f"refs/remotes/{each.name}/" for each in project.remotes if each.name.startswith(f"{name}/")
    )
    output = project.repository.run("for-each-ref", "--format=%(objectname) %(refname)", prefix)
    for line in output.decode("utf-8", "surrogateescape").split("\n")[:-1]:
        commit, _, ref = line.partition(" ")
        if not ref.startswith(others):
            yield "refs/heads/" + ref.removeprefix(prefix), commit


def _known_there(git_dir: str, commits: Sequence[str]) -> list[str]:
    """Those of the commits that a repository on this machine has."""
    try:
        return objects.existing(open_foreign(git_dir), commits)
    except DataregError:
        # Not ours to read ("dubious ownership"): rather take more for new than is.
        return []


def _is_vendored(text: bytes, path: bytes) -> bool:
    try:
        return Metafile.parse(text, _shown(path)).vendor
    except DataregError:
        # An old commit may hold a broken one; its objects are then ours to store.
        return True


def _shown(path: bytes) -> str:
    return path.decode("utf-8", "surrogateescape")
