"""git_datareg.bringing: many objects at once, failures told last."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest

from git_datareg import bringing, settings
from git_datareg.bringing import Bringer
from git_datareg.errors import (
    IntegrityError,
    MetafileError,
    ObjectNotFoundError,
)
from git_datareg.filtering import fingerprint
from git_datareg.git import repository
from git_datareg.layout import object_key
from git_datareg.location import Location
from git_datareg.objects import LocalObjects, ObjectDirectory
from git_datareg.pointer import Pointer
from git_datareg.projects import Project
from git_datareg.registry import Source
from git_datareg.storage import Properties, memory
from git_datareg.storage.memory import MemoryStorage
from tests.support.gitrun import Git

CONTENTS = [b"content %d" % number for number in range(20)]
POINTERS = [fingerprint(content) for content in CONTENTS]
TIMEOUT = 30


class Place:
    """A storage that every test has for itself, and what is to happen when it is read."""

    def __init__(self, name: str, patch: pytest.MonkeyPatch) -> None:
        self.storage = MemoryStorage.shared(Location(f"memory://{name}"))
        self.reads: list[str] = []
        self.before_read: Callable[[str], BinaryIO | None] = lambda key: None
        inner = MemoryStorage.open

        def open(
            storage: MemoryStorage, key: str, offset: int = 0, length: int | None = None
        ) -> BinaryIO:
            if not key.startswith("objects/"):
                return inner(storage, key, offset, length)
            self.reads.append(key)
            return self.before_read(key) or inner(storage, key, offset, length)

        patch.setattr(MemoryStorage, "open", open)

    def add(self, content: bytes, under: Pointer | None = None) -> None:
        key = object_key((under or fingerprint(content)).digest)
        self.storage.put(key, io.BytesIO(content), len(content))


def nowhere(location: Location, rev: str | None) -> Source:
    """Stands for the sources of imports; there are none here."""
    raise AssertionError(location)


@pytest.fixture
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Place:
    return Place(request.node.name, monkeypatch)


@pytest.fixture
def cache(tmp_path: Path) -> ObjectDirectory:
    return ObjectDirectory(str(tmp_path / "cache"))


@pytest.fixture
def project(tmp_path: Path, place: Place, cache: ObjectDirectory) -> Project:
    git = Git(tmp_path / "work").init()
    text = f'[datareg]\n\tstorage = s\n[storage "s"]\n\turl = {place.storage.location.url}\n'
    built = settings.build((), text.encode(), {"GIT_DATAREG_CACHE": cache.root})
    here = repository.find(str(git.path))
    return Project(here, built._replace(jobs=4), LocalObjects(None, cache), ())


@pytest.fixture
def bringer(project: Project) -> Bringer:
    return Bringer(lambda treeish: project, nowhere)


def drain(bringer: Bringer) -> list[bytes]:
    """All that is ready, until nothing is left."""
    found: list[bytes] = []
    while told := bringer.ready():
        found += told
    return found


def test_nothing_started_is_ready_at_once(bringer: Bringer) -> None:
    assert bringer.ready() == []


def test_an_object_is_brought(bringer: Bringer, place: Place, cache: ObjectDirectory) -> None:
    place.add(CONTENTS[0])
    bringer.bring(POINTERS[0], b"a.dat", None)
    assert cache.read(POINTERS[0]) == CONTENTS[0]
    bringer.bring(POINTERS[0], b"a.dat", None)
    assert len(place.reads) == 1


def test_started_objects_are_told_once_and_are_there(
    bringer: Bringer, place: Place, cache: ObjectDirectory
) -> None:
    for number, content in enumerate(CONTENTS):
        place.add(content)
        bringer.start(POINTERS[number], b"%d" % number, None)
    assert place.reads == []
    assert sorted(drain(bringer)) == sorted(b"%d" % number for number in range(len(CONTENTS)))
    assert bringer.ready() == []
    assert [cache.read(pointer) for pointer in POINTERS] == CONTENTS
    assert len(place.reads) == len(CONTENTS)


def test_objects_are_brought_at_the_same_time(
    bringer: Bringer, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "Properties", lambda **_: Properties(writable=True, connections=4))
    together = threading.Barrier(4, timeout=TIMEOUT)

    def meet(key: str) -> None:
        together.wait()

    place.before_read = meet
    for number in range(8):
        place.add(CONTENTS[number])
        bringer.start(POINTERS[number], b"%d" % number, None)
    assert len(drain(bringer)) == 8
    assert not together.broken


def test_files_with_the_same_content_share_a_download(bringer: Bringer, place: Place) -> None:
    place.add(CONTENTS[0])
    for path in (b"a", b"b", b"c"):
        bringer.start(POINTERS[0], path, None)
    assert bringer.ready() == [b"a", b"b", b"c"]
    assert bringer.ready() == []
    assert len(place.reads) == 1


@pytest.mark.parametrize(
    ("limit", "batches"), [("_BATCH_OBJECTS", [3, 3, 1]), ("_BATCH_BYTES", [2, 2, 2, 1])]
)
def test_many_are_told_in_parts(
    bringer: Bringer,
    place: Place,
    monkeypatch: pytest.MonkeyPatch,
    limit: str,
    batches: list[int],
) -> None:
    # Ten bytes each.
    monkeypatch.setattr(bringing, limit, {"_BATCH_OBJECTS": 3, "_BATCH_BYTES": 11}[limit])
    for number in range(7):
        content = b"content 0%d" % number
        place.add(content)
        bringer.start(fingerprint(content), b"%d" % number, None)
    for size in batches:
        assert len(bringer.ready()) == size
        assert len(place.reads) <= sum(batches)
    assert bringer.ready() == []


def test_failures_are_told_last(bringer: Bringer, place: Place) -> None:
    for number in range(6):
        if number != 2:
            place.add(CONTENTS[number])
        bringer.start(POINTERS[number], b"%d" % number, None)
    told = drain(bringer)
    assert told[-1] == b"2"
    assert sorted(told) == [b"%d" % number for number in range(6)]
    with pytest.raises(ObjectNotFoundError, match="is not in memory://"):
        bringer.bring(POINTERS[2], b"2", None)


def test_a_corrupt_object_is_a_failure_and_not_in_the_cache(
    bringer: Bringer, place: Place, cache: ObjectDirectory
) -> None:
    place.add(b"something else", under=POINTERS[0])
    bringer.start(POINTERS[0], b"a", None)
    assert drain(bringer) == [b"a"]
    with pytest.raises(IntegrityError):
        bringer.bring(POINTERS[0], b"a", None)
    assert cache.find(POINTERS[0]) is None


def test_a_failed_object_can_be_started_again(
    bringer: Bringer, place: Place, cache: ObjectDirectory
) -> None:
    bringer.start(POINTERS[0], b"a", None)
    assert drain(bringer) == [b"a"]
    place.add(CONTENTS[0])
    bringer.start(POINTERS[0], b"a", None)
    assert drain(bringer) == [b"a"]
    bringer.bring(POINTERS[0], b"a", None)
    assert cache.read(POINTERS[0]) == CONTENTS[0]


def test_an_object_that_vanished_is_brought_again(
    bringer: Bringer, place: Place, cache: ObjectDirectory
) -> None:
    place.add(CONTENTS[0])
    bringer.start(POINTERS[0], b"a", None)
    assert drain(bringer) == [b"a"]
    Path(cache.path(POINTERS[0].digest)).unlink()
    bringer.bring(POINTERS[0], b"a", None)
    assert cache.read(POINTERS[0]) == CONTENTS[0]


def test_a_project_that_can_not_be_opened_is_said_and_not_waited_for() -> None:
    def open_project(treeish: str | None) -> Project:
        raise MetafileError("broken")

    bringer = Bringer(open_project, nowhere)
    with pytest.raises(MetafileError):
        bringer.start(POINTERS[0], b"a", None)
    with pytest.raises(MetafileError):
        bringer.bring(POINTERS[0], b"a", None)
    assert bringer.ready() == []


def test_a_project_is_opened_once_per_commit(project: Project, place: Place) -> None:
    opened: list[str | None] = []

    def open_project(treeish: str | None) -> Project:
        opened.append(treeish)
        return project

    git = Git(Path(project.repository.top))
    git.write("x", b"x")
    commit = git.commit_all()
    bringer = Bringer(open_project, nowhere)
    for number, treeish in enumerate((commit, None, commit, None)):
        place.add(CONTENTS[number])
        bringer.start(POINTERS[number], b"%d" % number, treeish)
    assert len(drain(bringer)) == 4
    assert opened == [commit, None]
