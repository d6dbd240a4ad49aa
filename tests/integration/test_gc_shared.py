"""`git datareg gc --storage` in a storage that two repositories share."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from git_datareg import pushing, roots, shared
from git_datareg.errors import PartialError, StorageUnavailableError
from git_datareg.git.repository import open_foreign
from git_datareg.location import Location
from git_datareg.storage.local import LocalStorage
from git_datareg.transfer import no_progress
from git_datareg.workspace import Workspace
from tests.support.filtered import data, object_file
from tests.support.gitrun import Git, clone
from tests.support.s3server import S3Servers

DAY = 24 * 3600.0


def content(name: str) -> bytes:
    """A data file, of a size of its own: git may have no finer clock than seconds to tell by."""
    return data(name, 3000 + int.from_bytes(name.encode()[:2], "big"))


class Sharing:
    """A Git repository on this machine, and a work tree whose data goes to a storage."""

    def __init__(self, directory: Path, storage: str) -> None:
        self.remote = Git(directory / "r.git").init("--bare")
        self.git = Git(directory / "work").init()
        self.git.run("remote", "add", "origin", str(self.remote.path))
        self.git.run("datareg", "init", "--storage", storage)
        self.git.run("datareg", "track", "*.dat")

    def push(self, *names: str, force: bool = False) -> None:
        """Commit data files, one after the other, and push."""
        for name in names:
            self.git.write("a.dat", content(name))
            self.git.commit_all(name)
        self.git.run("push", "--quiet", *["--force"] * force, "origin", "main")

    def forget(self, name: str) -> None:
        """Push a history in which the last commit is another one."""
        self.git.run("reset", "--quiet", "--hard", "HEAD~")
        self.push(name, force=True)

    def gc(self, *words: str) -> list[str]:
        return self.git.out("datareg", "gc", "--storage", *words).splitlines()


class Shared:
    """A storage in a directory, which two repositories share."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "storage"
        self.ours, self.theirs = (
            Sharing(directory / name, str(self.path)) for name in ("ours", "theirs")
        )

    def has(self, name: str) -> bool:
        return object_file(self.path, content(name)).is_file()

    def age(self, days: float = 30) -> None:
        for path in self.path.rglob("*"):
            if path.is_file():
                then = path.stat().st_mtime - days * DAY
                os.utime(path, (then, then))

    def roots(self) -> list[roots.Root]:
        return roots.read(LocalStorage(Location(str(self.path))))


@pytest.fixture
def place(tmp_path: Path) -> Shared:
    return Shared(tmp_path)


def key(name: str) -> str:
    return "/".join(object_file(Path(), content(name)).parts)


def test_what_another_repository_needs_stays(place: Shared) -> None:
    place.ours.push("both", "gone")
    place.theirs.push("kept", "both", "gone too")
    place.theirs.forget("last")
    place.ours.forget("new")
    place.age()
    assert place.ours.gc() == [key("gone")]
    assert place.has("gone")
    place.ours.gc("--force")
    names = ("both", "gone", "kept", "gone too", "last", "new")
    assert [place.has(name) for name in names] == [True, False, True, True, True, True]
    assert place.theirs.gc() == [key("gone too")]
    place.theirs.gc("--force")
    assert [place.has(name) for name in names] == [True, False, True, False, True, True]
    for each in (place.ours, place.theirs):
        each.git.run("datareg", "fsck", "--all", "--storage")


def test_history_tags_and_other_branches_are_needed(place: Shared) -> None:
    place.ours.push("first", "second")
    place.ours.git.run("tag", "v1")
    place.ours.git.run("push", "--quiet", "origin", "v1")
    place.ours.forget("third")
    # Somebody else's branch, which this clone does not know.
    other = clone(place.ours.remote.path, place.path.parent / "other")
    other.run("datareg", "install", "--local")
    other.write("a.dat", content("theirs"))
    other.commit_all()
    other.run("push", "--quiet", "origin", "HEAD:refs/changes/1")
    place.age()
    assert place.ours.gc("--force") == []
    assert all(place.has(name) for name in ("first", "second", "third", "theirs"))


def test_what_was_said_within_the_grace_period_stays(place: Shared) -> None:
    place.ours.push("kept", "gone")
    place.age()
    place.ours.forget("new")
    # A push of it may be under way, whose refs are not there yet.
    place.ours.git.write("a.dat", content("gone"))
    place.ours.git.commit_all()
    place.ours.git.run("datareg", "push")
    place.ours.git.run("reset", "--quiet", "--hard", "HEAD~")
    place.ours.gc("--force")
    assert place.has("gone")
    place.age()
    place.ours.gc("--force")
    assert not place.has("gone")


def test_what_nobody_has_named_stays(place: Shared) -> None:
    place.ours.push("kept", "gone")
    place.ours.forget("new")
    shutil.rmtree(place.path / "roots")
    place.age()
    assert place.ours.gc("--force") == []
    assert place.has("gone")
    # To say it makes it ours.
    place.ours.git.run("datareg", "push", "--all")
    place.age()
    assert place.ours.gc("--force") == []


def test_roots_become_one(place: Shared) -> None:
    for name in ("a", "b", "c", "d"):
        place.ours.push(name)
    place.theirs.push("x")
    assert len(place.roots()) == 5
    place.ours.forget("new")
    place.age()
    place.ours.gc("--force")
    found = place.roots()
    assert len(found) == 2
    assert sorted(len(root.digests) for root in found) == [1, 4]
    place.ours.gc("--force")
    assert len(place.roots()) == 2


def test_a_push_waits_for_a_collection(place: Shared) -> None:
    place.ours.push("kept")
    storage = LocalStorage(Location(str(place.path)))
    with roots.collecting(storage):
        place.theirs.git.write("a.dat", content("kept"))
        place.theirs.git.commit_all()
        done = place.theirs.git.run("push", "origin", "main", check=False)
        assert done.returncode != 0
        assert f"git-datareg: error: garbage is just collected in {place.path}" in done.stderr
        assert "hint: push again when that is done" in done.stderr
        again = place.ours.git.run("datareg", "gc", "--storage", "--force", check=False)
        assert again.returncode == 5
        assert "another collection is under way" in again.stderr
    place.theirs.git.run("push", "--quiet", "origin", "main")


def test_a_collection_that_was_killed_is_in_nobodys_way_for_long(place: Shared) -> None:
    place.ours.push("kept")
    (place.path / "gc").mkdir()
    (place.path / "gc/running").write_text("1000000000 x\n")
    place.ours.push("new")
    place.ours.gc("--force")
    assert not (place.path / "gc/running").exists()


def test_pushes_and_collections_at_once_lose_nothing(place: Shared) -> None:
    """Their pushes need what ours no longer do, while it is collected."""
    names = [f"n{number}" for number in range(6)]
    place.ours.push(*names)
    place.ours.git.run("checkout", "--quiet", "--orphan", "fresh")
    place.ours.git.write("a.dat", content("fresh"))
    place.ours.git.commit_all()
    place.ours.git.run("push", "--quiet", "--force", "origin", "fresh:main")
    place.age()
    storage = LocalStorage(Location(str(place.path)))
    own = roots.repository_id(Location(str(place.ours.remote.path)))
    repository = open_foreign(str(place.ours.remote.path))
    pushed: list[str] = []

    def push() -> None:
        for name in names:
            place.theirs.git.write("a.dat", content(name))
            place.theirs.git.commit_all(name)
            if place.theirs.git.run("push", "-q", "origin", "main", check=False).returncode == 0:
                pushed.append(name)

    thread = threading.Thread(target=push)
    thread.start()
    while thread.is_alive():
        shared.collect(storage, own, [repository], 0, no_progress)
    thread.join()
    place.theirs.git.run("push", "--quiet", "origin", "main")
    place.theirs.git.run("datareg", "fsck", "--all", "--storage")
    assert place.has("fresh")


def test_roots_are_said_before_it_is_looked_what_is_there(
    place: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.ours.push("kept")
    place.theirs.git.write("a.dat", content("kept"))
    commit = place.theirs.git.commit_all()
    project = Workspace(str(place.theirs.git.path), os.environ).project
    seen: list[int] = []
    upload = pushing.upload

    def looking(*arguments: object, **words: object) -> object:
        seen.append(len(place.roots()))
        return upload(*arguments, **words)  # type: ignore[arg-type]

    monkeypatch.setattr(pushing, "upload", looking)
    needed = pushing.plan(project, [commit], [], None)
    pushing.store(project, needed, Location(str(place.theirs.remote.path)))
    assert seen == [2]


def test_what_is_no_root_stops_it(place: Shared) -> None:
    place.ours.push("kept", "gone")
    place.ours.forget("new")
    (place.path / "roots" / ("0" * 64)).mkdir()
    (place.path / "roots" / ("0" * 64) / ("1" * 32)).write_bytes(b"git-datareg roots 2\n")
    place.age()
    done = place.ours.git.run("datareg", "gc", "--storage", "--force", check=False)
    assert done.returncode == 6
    assert "not the roots of a repository" in done.stderr
    assert place.has("gone")


@pytest.mark.parametrize("text", ["git-datareg roots 1\nxyz\n", "git-datareg roots 1\n\xff", ""])
def test_odd_roots_are_told(tmp_path: Path, text: str) -> None:
    storage = LocalStorage(Location(str(tmp_path / "s")))
    roots.put(storage, "0" * 64, [])
    [path] = (tmp_path / "s/roots").rglob("*/*")
    path.chmod(0o644)
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(Exception, match="not the roots of a repository"):
        roots.read(storage)


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("https://host/r.git", "https://host/r", True),
        ("https://host/r/", "https://host/r", True),
        ("https://ada:secret@host/r", "https://host/r", True),
        ("https://host/r", "https://host/s", False),
        ("/srv/r.git", "/srv/r", True),
    ],
)
def test_a_remote_is_told_by_its_url(one: str, other: str, is_same: bool) -> None:
    ids = [roots.repository_id(Location(each)) for each in (one, other)]
    assert (ids[0] == ids[1]) is is_same


def test_a_storage_by_its_name(place: Shared, tmp_path: Path) -> None:
    second = tmp_path / "second"
    place.ours.git.run("datareg", "storage", "add", "second", str(second))
    place.ours.push("kept", "gone")
    place.ours.git.run("datareg", "push", "--all", "--storage", "second")
    place.ours.git.run("reset", "--quiet", "--hard", "HEAD~")
    place.ours.push("new", force=True)
    for path in second.rglob("*"):
        if path.is_file():
            os.utime(path, (0, 0))
    assert place.ours.gc("second") == [key("gone")]
    place.ours.gc("second", "--force")
    assert not object_file(second, content("gone")).exists()
    assert place.has("gone")


def test_a_serverless_registry_may_hold_the_data_of_others(tmp_path: Path) -> None:
    served = tmp_path / "served"
    theirs = Sharing(tmp_path / "theirs", str(served))
    ours = Git(tmp_path / "ours").init()
    ours.run("remote", "add", "origin", f"datareg::{served}")
    ours.run("datareg", "init")
    ours.run("datareg", "track", "*.dat")
    for name in ("both", "gone"):
        ours.write("a.dat", content(name))
        ours.commit_all(name)
        ours.run("push", "--quiet", "origin", "main")
    theirs.push("both", "theirs")
    ours.run("checkout", "--quiet", "--orphan", "fresh")
    ours.write("a.dat", content("new"))
    ours.commit_all()
    ours.run("push", "--quiet", "--force", "origin", "fresh:main")
    place = Shared.__new__(Shared)
    place.path = served
    place.age()
    ours.run("datareg", "gc", "--storage", "--force")
    names = ("both", "gone", "theirs", "new")
    assert [place.has(name) for name in names] == [True, False, True, True]
    theirs.git.run("datareg", "fsck", "--all", "--storage")
    # Not the other way round: what the registry needs is in no root.
    done = theirs.git.run("datareg", "gc", "--storage", "--force", check=False)
    assert done.returncode == 5
    assert f"{served} is a serverless registry, too" in done.stderr
    clone(f"datareg::{served}", tmp_path / "clone").run("datareg", "fsck", "--all", "--storage")


def test_what_a_git_remote_itself_holds_is_not_collected(tmp_path: Path) -> None:
    git = Git(tmp_path / "work").init()
    Git(tmp_path / "r.git").init("--bare")
    git.run("remote", "add", "origin", str(tmp_path / "r.git"))
    done = git.run("datareg", "gc", "--storage", check=False)
    assert done.returncode == 2
    assert "is not collected" in done.stderr


@pytest.fixture
def on_s3(
    s3_servers: S3Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Sharing, Sharing]]:
    server = s3_servers.get("seaweedfs")
    for name, value in server.environ.items():
        monkeypatch.setenv(name, value)
    storage = server.new_place()
    yield Sharing(tmp_path / "a", storage), Sharing(tmp_path / "b", storage)


def test_on_s3(on_s3: tuple[Sharing, Sharing], monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = on_s3
    ours.push("both", "gone")
    theirs.push("both")
    ours.git.run("reset", "--quiet", "--hard", "HEAD~")
    ours.git.write("a.dat", content("new"))
    ours.git.run("add", ".")
    ours.git.run("commit", "--quiet", "--amend", "--message", "new")
    ours.git.run("push", "--quiet", "--force", "origin", "main")
    assert ours.gc() == []
    later = shared.time.time
    monkeypatch.setattr(shared.time, "time", lambda: later() + 60)
    found = ours.gc("--grace", "0")
    # S3 tells seconds: of what was put in this second nothing is old.
    assert set(found) <= {key("gone")}
    theirs.git.run("datareg", "fsck", "--all", "--storage")


def test_errors_of_a_storage_are_told(place: Shared) -> None:
    place.ours.push("kept")
    shutil.rmtree(place.path / "roots")
    (place.path / "roots").write_text("x")
    place.ours.git.write("a.dat", content("new"))
    place.ours.git.commit_all()
    done = place.ours.git.run("push", "origin", "main", check=False)
    assert done.returncode != 0
    assert "git-datareg: error: " in done.stderr
    assert "Traceback" not in done.stderr


def test_a_collection_is_told_to_python_too(place: Shared) -> None:
    place.ours.push("kept")
    storage = LocalStorage(Location(str(place.path)))
    with roots.collecting(storage), pytest.raises(StorageUnavailableError):
        roots.publish(storage, "0" * 64, [])
    assert issubclass(PartialError, Exception)
