"""What revisions need: the objects of their data files, with a path and the places of each.

Looks at Git alone, no object is opened and no storage asked. What Git holds and is
not understood is collected, never raised: it is one finding among others.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from git_datareg.downloads import Want
from git_datareg.errors import CorruptError, MetafileError, PointerError
from git_datareg.git import index, objects
from git_datareg.git.objects import NamedBlob
from git_datareg.git.repository import Repository
from git_datareg.layout import ObjectStorage
from git_datareg.metafile import SUFFIX, Metafile, is_metafile
from git_datareg.origins import Opener, Origins, Ways
from git_datareg.pointer import MAX_LENGTH, Pointer
from git_datareg.projects import Project
from git_datareg.sources import Sources, metafile_ids

#: Longer blobs are neither pointers nor, for sure, metafiles that were written by us.
_MAX_METAFILE = 64 * 1024

#: For a path: whether the file is ours (else its source's), and the storages to ask for it.
_Look = Callable[[bytes], tuple[bool, Sequence[ObjectStorage]]]


class Needed(NamedTuple):
    """An object, and one of the files that need it."""

    want: Want
    #: The pointer's own id in Git.
    blob: str
    #: Whether a file of ours needs it: else only imports do, whose source has it.
    is_own: bool
    #: Whether no commit that was looked at needs it, only the index.
    is_staged: bool
    sources: Sources


class Unreadable(NamedTuple):
    """A file in Git that is not what it claims to be: its path, its id, and why."""

    path: bytes
    blob: str
    error: CorruptError


class Needs(NamedTuple):
    """Everything that some revisions need."""

    found: Mapping[Pointer, Needed]
    unreadable: Sequence[Unreadable]
    #: The commits (or whatever a tag names) that were looked at.
    tips: Sequence[str]

    def ways(self, project: Project, opener: Opener) -> Ways:
        """The ways to what the imports' own storages lack."""
        known = Origins(opener)
        by_path = {each.want.path: each.sources for each in self.found.values()}

        def ways(path: bytes) -> Iterator[Sequence[ObjectStorage]]:
            return known.of_project(project, by_path[path])(path)

        return ways


def of(project: Project, revs: Sequence[str] = (), *, everything: bool = False) -> Needs:
    """What the revisions need, each as it is checked out; without any, HEAD and the index.

    With `everything` it is all that any ref needs, with its history, and the index.
    Raises RevisionNotFoundError.
    """
    repository = project.repository
    is_bare = repository.work_tree is None
    collected = _Collected(project)
    tips = [repository.resolve(rev) for rev in revs]
    for commit in tips:
        sources = Sources(project, commit)
        collected.metafiles(metafile_ids(repository, commit).items())
        collected.take(_files(repository, commit), _in_tree(sources), sources)
    if revs:
        return collected.needs(tips)
    here = Sources(project, "HEAD" if is_bare else None)
    tips = objects.existing(repository, ["HEAD"])
    if everything:
        tips = sorted({*tips, *_refs(repository)})
        collected.history(tips, here)
    elif tips:
        collected.metafiles(metafile_ids(repository, tips[0]).items())
        collected.take(_files(repository, tips[0]), _in_tree(here), here)
    if not is_bare:
        collected.metafiles(metafile_ids(repository, None).items())
        entries = [(each.path, each.id) for each in index.entries(repository) if each.is_file]
        collected.take(entries, _in_tree(here), here, staged=True)
    return collected.needs(tips)


def unpushed(project: Project, needs: Needs) -> set[Pointer]:
    """The objects that nothing which a remote is known to have needs."""
    repository = project.repository
    new = {each.blob for each in needs.found.values() if each.is_staged}
    if needs.tips:
        old = _refs(repository, "refs/remotes/")
        blobs = objects.small_blobs_between(repository, needs.tips, old, limit=MAX_LENGTH + 1)
        new |= {each.id for each in blobs}
    return {pointer for pointer, each in needs.found.items() if each.is_own and each.blob in new}


def _refs(repository: Repository, *patterns: str) -> list[str]:
    return repository.run("for-each-ref", "--format=%(objectname)", *patterns).decode().split()


def _files(repository: Repository, commit: str) -> list[tuple[bytes, str]]:
    """Path and id of the files of a commit that may be pointers."""
    return [
        (entry.path, entry.id)
        for entry in objects.tree_entries(repository, commit, recursive=True)
        if entry.mode.startswith("100") and (entry.size or 0) <= MAX_LENGTH
    ]


def _in_tree(sources: Sources) -> _Look:
    def look(path: bytes) -> tuple[bool, Sequence[ObjectStorage]]:
        found = sources.imported(path)
        return found is None or found.metafile.vendor, sources.storages(path)

    return look


class _Collected:
    """What was found so far. Of many files that need one object, one of our own counts first."""

    def __init__(self, project: Project) -> None:
        self._repository = project.repository
        self._found: dict[Pointer, Needed] = {}
        self._unreadable: dict[tuple[bytes, str], Unreadable] = {}
        #: By id, the metafiles that were read.
        self._metafiles: dict[str, Metafile] = {}
        #: By id, the pointers that were read, and why some can't be.
        self._read: dict[str, Pointer] = {}
        self._faults: dict[str, PointerError] = {}

    def needs(self, tips: Sequence[str]) -> Needs:
        """All of it."""
        return Needs(self._found, list(self._unreadable.values()), tips)

    def metafiles(self, files: Iterable[tuple[bytes, str]]) -> None:
        """Read import metafiles, by path and id; those that can't be are noted."""
        listed = list(files)
        texts = dict(objects.read_blobs(self._repository, (id for _, id in listed)))
        for path, id in listed:
            try:
                self._metafiles[id] = Metafile.parse(texts[id], os.fsdecode(path))
            except MetafileError as error:
                self._unreadable[path, id] = Unreadable(path, id, error)

    def take(
        self,
        files: Iterable[tuple[bytes, str]],
        look: _Look,
        sources: Sources,
        *,
        staged: bool = False,
    ) -> None:
        """Take the pointers among files, by path and id."""
        listed = list(files)
        self._parse(id for _, id in listed)
        for path, id in listed:
            if id in self._faults:
                self._unreadable[path, id] = Unreadable(path, id, self._faults[id])
            if id not in self._read:
                continue
            try:
                is_own, storages = look(path)
            except MetafileError:
                # It is among the unreadable; whose file this is can't be told.
                continue
            pointer = self._read[id]
            known = self._found.get(pointer)
            if known is None or (is_own and not known.is_own):
                want = Want(pointer, path, storages)
                is_staged = staged and (known is None or known.is_staged)
                self._found[pointer] = Needed(want, id, is_own, is_staged, sources)

    def history(self, tips: Sequence[str], here: Sources) -> None:
        """Take what commits have, with all that came before them."""
        blobs = objects.small_blobs_between(self._repository, tips, [], limit=_MAX_METAFILE)
        self._parse(blob.id for blob in blobs)
        # A walk names each blob once: where it is at the tips says whose it is now.
        at_tips = objects.files_in_trees(
            self._repository,
            tips,
            lambda file: file.id in self._read or file.id in self._faults or is_metafile(file.path),
        )
        files = sorted({*blobs, *at_tips}, key=lambda file: (file.path, file.id))
        self.metafiles((file.path, file.id) for file in files if is_metafile(file.path))
        look = _in_history(here, files, self._metafiles)
        self.take([(file.path, file.id) for file in files], look, here)

    def _parse(self, ids: Iterable[str]) -> None:
        new = (id for id in ids if id not in self._read)
        for id, content in objects.read_small_blobs(self._repository, new, MAX_LENGTH):
            try:
                pointer = Pointer.parse(content)
            except PointerError as error:
                self._faults[id] = error
            else:
                if pointer is not None:
                    self._read[id] = pointer


def _in_history(
    here: Sources, files: Iterable[NamedBlob], metafiles: Mapping[str, Metafile]
) -> _Look:
    """As `_in_tree`, where an import has had several metafiles: any of them may be the one."""
    versions: dict[bytes, list[Metafile]] = {}
    for file in files:
        if is_metafile(file.path) and file.id in metafiles:
            target = file.path.removesuffix(SUFFIX.encode())
            versions.setdefault(target, []).append(metafiles[file.id])

    def look(path: bytes) -> tuple[bool, Sequence[ObjectStorage]]:
        above = path
        while above and above not in versions:
            above = above.rpartition(b"/")[0]
        found = versions.get(above, [])
        return all(each.vendor for each in found), here.storages_of(found, path)

    return look
