"""What a repair may and may not do with the copies that there are."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

import pytest

from git_datareg import checking, needs, repairing
from git_datareg.checking import OWN, Place, Problem, Scope
from git_datareg.errors import IntegrityError, StorageDeniedError, StorageUnavailableError
from git_datareg.layout import ObjectStorage, object_key
from git_datareg.location import Location
from git_datareg.projects import Project
from git_datareg.repairing import Repaired
from git_datareg.storage import Properties
from git_datareg.storage.local import LocalStorage
from git_datareg.storage.memory import MemoryStorage
from tests.support.filtered import object_file
from tests.support.gitrun import Git
from tests.support.pointers import commit, made, no_source, opened, own, parsed, put

CONTENT = b"content of one object"
KEY = object_key(parsed(CONTENT).digest)


class Memory(MemoryStorage):
    """A storage that notes what is done to it, and fails where it is told to."""

    def __init__(self, content: bytes | None = None) -> None:
        super().__init__(Location("memory://place"))
        self.properties = Properties(True, 2, is_remote=True)
        self.done: list[str] = []
        self.fault_of_delete: Exception | None = None
        self.fault_of_put: Exception | None = None
        if content is not None:
            self._values[KEY] = content

    def put(self, key: str, source: BinaryIO, size: int) -> bool:
        self.done.append("put")
        if self.fault_of_put is not None:
            raise self.fault_of_put
        return super().put(key, source, size)

    def delete(self, key: str) -> None:
        self.done.append("delete")
        if self.fault_of_delete is not None:
            raise self.fault_of_delete
        super().delete(key)

    @property
    def content(self) -> bytes | None:
        return self._values.get(KEY)


def scope_of(project: Project, *storages: MemoryStorage | LocalStorage) -> Scope:
    """What there is to check of storages that no configuration names."""
    scope = checking.scope(project, needs.of(project))
    places = []
    for number, storage in enumerate(map(ObjectStorage, storages)):
        wants = [each.want._replace(storages=[storage]) for each in scope.needs.found.values()]
        places.append(Place(f"p{number}", storage, wants))
    return scope._replace(places=places, reads=True)


def repair(project: Project, *storages: MemoryStorage | LocalStorage) -> Repaired:
    scope = scope_of(project, *storages)
    report = checking.check(project, scope, no_source)
    return repairing.repair(project, scope, report.problems, no_source)


@pytest.fixture
def git(tmp_path: Path) -> Git:
    """A repository that needs one object."""
    git = made(tmp_path)
    commit(git, a=CONTENT)
    return git


def outcome(repaired: Repaired) -> list[tuple[str, str, bool]]:
    return [(each.kind, each.where, each.is_repaired) for each in repaired.problems]


@pytest.mark.parametrize(
    ("content", "kind"),
    [(CONTENT.upper(), "corrupt"), (CONTENT[1:], "wrong-size"), (None, "missing")],
)
def test_what_is_damaged_is_removed_and_stored_again(
    git: Git, content: bytes | None, kind: str
) -> None:
    put(own(git), CONTENT)
    storage = Memory(content)
    repaired = repair(opened(git), storage)
    assert outcome(repaired) == [(kind, "p0", True)] and repaired.faults == []
    assert storage.content == CONTENT
    assert storage.done == (["put"] if content is None else ["delete", "put"])
    assert repair(opened(git), storage) == Repaired([], [])


@pytest.mark.parametrize("damaged", [True, False])
def test_without_a_whole_copy_nothing_is_touched(git: Git, damaged: bool) -> None:
    if damaged:
        put(own(git), CONTENT)
        object_file(own(git), CONTENT).write_bytes(CONTENT.upper())
    storage = Memory(CONTENT[1:])
    repaired = repair(opened(git), storage)
    assert ("wrong-size", "p0", False) in outcome(repaired)
    assert not any(each.is_repaired for each in repaired.problems)
    assert storage.done == [] and storage.content == CONTENT[1:]
    if damaged:
        assert object_file(own(git), CONTENT).read_bytes() == CONTENT.upper()


def test_a_damaged_copy_of_our_own_is_not_sent(git: Git) -> None:
    # It has the right size, and is found before the cache's.
    put(own(git), CONTENT)
    object_file(own(git), CONTENT).write_bytes(CONTENT.upper())
    put(Path(os.environ["GIT_DATAREG_CACHE"]), CONTENT)
    storage = Memory(CONTENT.lower()[::-1])
    repaired = repair(opened(git), storage)
    assert outcome(repaired) == [("corrupt", OWN, True), ("corrupt", "p0", True)]
    assert storage.content == object_file(own(git), CONTENT).read_bytes() == CONTENT


def test_what_may_not_be_removed_stays(git: Git) -> None:
    put(own(git), CONTENT)
    storage = Memory(CONTENT[1:])
    storage.fault_of_delete = fault = StorageDeniedError("no")
    repaired = repair(opened(git), storage)
    assert outcome(repaired) == [("wrong-size", "p0", False)]
    assert repaired.faults == [fault]
    assert storage.done == ["delete"]


def test_what_can_not_be_stored_again_is_no_success(git: Git) -> None:
    put(own(git), CONTENT)
    storage = Memory(CONTENT[1:])
    storage.fault_of_put = fault = StorageUnavailableError("no")
    repaired = repair(opened(git), storage)
    assert outcome(repaired) == [("wrong-size", "p0", False)]
    assert repaired.faults == [fault]
    # The next one finds it missing, and has the same copy.
    storage.fault_of_put = None
    assert outcome(repair(opened(git), storage)) == [("missing", "p0", True)]


def test_what_is_only_read_is_not_written(git: Git) -> None:
    put(own(git), CONTENT)
    storage = Memory(CONTENT[1:])
    storage.properties = Properties(writable=False, connections=1)
    repaired = repair(opened(git), storage)
    assert outcome(repaired) == [("wrong-size", "p0", False)]
    assert [fault.message for fault in repaired.faults] == [
        "storage 'p0' is read-only: memory://place"
    ]
    assert storage.done == []


def test_the_only_whole_copy_is_never_removed(git: Git) -> None:
    # A storage that is the cache itself; meanwhile somebody has put the object there.
    cache = Path(os.environ["GIT_DATAREG_CACHE"])
    put(cache, CONTENT)
    project = opened(git)
    scope = scope_of(project, LocalStorage(Location(str(cache))))
    found = Problem("corrupt", "p0", parsed(CONTENT), b"a", IntegrityError("it was"))
    repaired = repairing.repair(project, scope, [found], no_source)
    assert repaired == Repaired([found._replace(is_repaired=True)], [])
    assert object_file(cache, CONTENT).read_bytes() == CONTENT


def test_another_storage_has_the_copy(git: Git, tmp_path: Path) -> None:
    put(tmp_path / "second", CONTENT)
    git.run("config", "datareg.second.url", str(tmp_path / "second"))
    storage = Memory()
    assert outcome(repair(opened(git), storage)) == [("missing", "p0", True)]
    assert storage.content == CONTENT
    # By way of the cache: nothing is anybody's own by that.
    assert not own(git).exists()


def test_why_there_is_no_copy_is_told(git: Git, tmp_path: Path) -> None:
    put(tmp_path / "second", CONTENT)
    object_file(tmp_path / "second", CONTENT).write_bytes(CONTENT.upper())
    git.run("config", "datareg.second.url", str(tmp_path / "second"))
    repaired = repair(opened(git), Memory())
    assert outcome(repaired) == [("missing", "p0", False)]
    [fault] = repaired.faults
    assert fault.message == f"corrupt object {parsed(CONTENT).digest} in {tmp_path / 'second'}"


@pytest.mark.parametrize("what", ["object", "pointer", "link", "pipe", "directory"])
def test_a_file_of_the_work_tree_is_a_copy_if_it_is_the_object(git: Git, what: str) -> None:
    file = git.path / "a"
    if what != "pointer":
        file.unlink()
    if what == "object":
        file.write_bytes(CONTENT)
    elif what == "link":
        (git.path / "other").write_bytes(CONTENT)
        file.symlink_to("other")
    elif what == "pipe":
        os.mkfifo(file)
    elif what == "directory":
        file.mkdir()
    repaired = repair(opened(git))
    assert outcome(repaired) == [("missing", OWN, what == "object")]
    assert object_file(own(git), CONTENT).exists() == (what == "object")
