"""`git datareg gc --storage`: what nothing needs is deleted, and nothing else, whoever pushes."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from git_datareg import collecting, history, registries, served
from git_datareg import settings as settings_module
from git_datareg.digest import digest_of
from git_datareg.errors import CorruptError, StorageDeniedError, StorageUnavailableError
from git_datareg.generation import Collection
from git_datareg.git.repository import open_foreign
from git_datareg.history import record_key
from git_datareg.location import Location
from git_datareg.protocol.remote_helper import PushSpec
from git_datareg.serverless import Registry
from git_datareg.transfer import no_progress
from tests.support.filtered import data, object_file
from tests.support.gitrun import Git, clone
from tests.support.registries import objects_in
from tests.support.s3server import S3Servers
from tests.support.served import refs_at

DAY = 24 * 3600.0


def content(name: str) -> bytes:
    """A data file, of a size of its own: git may have no finer clock than seconds to tell by."""
    return data(name, 3000 + int.from_bytes(name.encode()[:2], "big"))


class Serving:
    """A work tree that pushes to a serverless registry in a directory."""

    def __init__(self, tmp_path: Path) -> None:
        self.git = Git(tmp_path / "work").init()
        self.path = tmp_path / "served"
        self.url = f"datareg::{self.path}"
        self.git.run("datareg", "init")
        self.git.run("datareg", "track", "*.dat")
        self.git.run("remote", "add", "origin", self.url)

    def push(self, name: str, *words: str) -> str:
        """Commit one data file, and push it; the commit."""
        self.git.write("a.dat", content(name))
        commit = self.git.commit_all(name)
        self.git.run("push", "--quiet", "origin", *(words or ("main",)))
        return commit

    def has(self, name: str) -> bool:
        return object_file(self.path, content(name)).is_file()

    def age(self, days: float) -> None:
        """Have all that is there be so much older."""
        for path in self.path.rglob("*"):
            if path.is_file():
                then = path.stat().st_mtime - days * DAY
                os.utime(path, (then, then))

    def gc(self, *words: str) -> list[str]:
        return self.git.out("datareg", "gc", "--storage", *words).splitlines()

    def registry(self) -> Registry:
        """The registry, as who pushes has it in hand."""
        settings = settings_module.build((), None, dict(os.environ))
        found = registries.find(Location(str(self.path)), settings, None)
        assert found is not None
        return found

    def collect(self, grace: float = 0) -> collecting.Garbage:
        registry = self.registry()
        mirror = served.bring(registry, os.environ["GIT_DATAREG_CACHE"])
        return collecting.collect(registry, mirror, grace, no_progress)


@pytest.fixture
def serving(tmp_path: Path) -> Serving:
    return Serving(tmp_path)


@pytest.fixture
def rewritten(serving: Serving) -> Serving:
    """History that was pushed, and then replaced by force, a month ago."""
    serving.push("kept")
    serving.push("gone")
    serving.git.run("reset", "--quiet", "--hard", "HEAD~")
    serving.push("new", "--force", "main")
    serving.age(30)
    return serving


def test_what_is_no_longer_needed_is_told_and_stays(rewritten: Serving) -> None:
    before = sorted(rewritten.path.rglob("*"))
    for words in ((), ("-n",), ("-n", "--force")):
        done = rewritten.git.run("datareg", "gc", "--storage", *words)
        told = done.stdout.splitlines()
        assert told[:2] == [record_key(1), record_key(2)]
        assert [key for key in told if key.startswith("objects/")] == [
            str(object_file(Path(), content("gone")))
        ]
        assert f"would be deleted in {rewritten.path}" in done.stderr
        assert "hint: to delete them: git datareg gc --storage --force" in done.stderr
    assert sorted(rewritten.path.rglob("*")) == before
    listed = json.loads(rewritten.git.out("datareg", "gc", "--storage", "--json"))
    assert [each["key"] for each in listed] == told


def test_it_is_deleted_when_that_is_said(rewritten: Serving, tmp_path: Path) -> None:
    rewritten.gc("--force")
    assert [rewritten.has(name) for name in ("kept", "gone", "new")] == [True, False, True]
    cloned = clone(rewritten.url, tmp_path / "clone")
    cloned.run("fsck", "--strict")
    assert (cloned.path / "a.dat").read_bytes() == content("new")
    cloned.run("checkout", "--quiet", "HEAD~")
    assert (cloned.path / "a.dat").read_bytes() == content("kept")
    # The packs of before were needed until now.
    rewritten.age(30)
    rewritten.gc("--force")
    assert len(list(rewritten.path.glob("objects/pack/*.pack"))) == 1
    assert len(list(rewritten.path.glob("git/refs/*"))) <= 4
    again = clone(rewritten.url, tmp_path / "again")
    again.run("fsck", "--strict")
    assert clone(rewritten.url, tmp_path / "shallow", "--depth=1").head() == again.head()


def test_nothing_of_the_grace_period_is_deleted(serving: Serving) -> None:
    serving.push("kept")
    serving.push("gone")
    serving.age(30)
    serving.git.run("reset", "--quiet", "--hard", "HEAD~")
    # Yesterday somebody may have begun to clone what was there until then.
    serving.push("new", "--force", "main")
    serving.age(1)
    told = serving.gc("--force")
    assert told == []
    assert serving.has("gone")
    assert (serving.path / record_key(2)).is_file()
    assert not (serving.path / record_key(1)).is_file()
    serving.age(14)
    serving.gc("--force", "--grace", "20")
    assert serving.has("gone")
    serving.gc("--force")
    assert not serving.has("gone")


def test_what_a_push_has_stored_before_its_ref_stays(serving: Serving) -> None:
    serving.push("kept")
    serving.age(30)
    serving.git.write("a.dat", content("coming"))
    serving.git.commit_all()
    serving.git.run("datareg", "push")
    serving.gc("--force")
    assert serving.has("coming")
    serving.age(30)
    serving.gc("--force")
    assert not serving.has("coming")


@pytest.mark.parametrize("kind", ["branch", "tag", "note", "history", "tag of a blob"])
def test_whatever_a_ref_reaches_stays(serving: Serving, tmp_path: Path, kind: str) -> None:
    commit = serving.push("kept")
    if kind == "history":
        serving.push("new")
    else:
        names = {
            "branch": ("refs/heads/other", commit),
            "tag": ("refs/tags/v1", commit),
            "note": ("refs/notes/x", commit),
            "tag of a blob": ("refs/tags/blob", f"{commit}:a.dat"),
        }
        name, source = names[kind]
        serving.git.run("push", "--quiet", "origin", f"{source}:{name}")
        serving.git.run("checkout", "--quiet", "--orphan", "fresh")
        serving.push("new", "--force", "fresh:main")
    serving.age(30)
    serving.gc("--force")
    assert serving.has("kept")
    assert serving.has("new")
    clone(serving.url, tmp_path / "clone").run("fsck", "--strict")


def test_history_that_seems_replaced_is_needed(serving: Serving, tmp_path: Path) -> None:
    old = serving.push("kept")
    serving.git.run("checkout", "--quiet", "--orphan", "fresh")
    serving.push("new", "fresh:side")
    tip = serving.git.head()
    serving.git.run("checkout", "--quiet", "main")
    serving.git.run("replace", old, tip)
    serving.git.run("push", "--quiet", "origin", "refs/replace/*:refs/replace/*")
    serving.git.run("push", "--quiet", "origin", ":side")
    serving.age(30)
    serving.gc("--force")
    serving.age(30)
    serving.gc("--force")
    assert serving.has("kept")
    cloned = clone(serving.url, tmp_path / "clone")
    assert (cloned.path / "a.dat").read_bytes() == content("kept")


def test_what_is_not_ours_stays(rewritten: Serving) -> None:
    names = ("notes.txt", "objects/README", "objects/pack/x.keep", "git/other", "data/1")
    for name in names:
        (rewritten.path / name).parent.mkdir(exist_ok=True)
        (rewritten.path / name).write_bytes(b"x")
    rewritten.age(30)
    rewritten.gc("--force")
    assert all((rewritten.path / name).is_file() for name in names)


def test_what_was_deleted_can_be_pushed_again(rewritten: Serving, tmp_path: Path) -> None:
    gone = rewritten.git.out("rev-parse", "HEAD@{2}")
    rewritten.gc("--force")
    rewritten.git.run("push", "--quiet", "origin", f"{gone}:refs/heads/back")
    cloned = clone(rewritten.url, tmp_path / "clone", "--branch=back")
    assert (cloned.path / "a.dat").read_bytes() == content("gone")


def pushed(registry: Registry, git: Git, source: str, contents: list[bytes]) -> None:
    """Push as the helper does once the data is stored, or was there."""
    spec = PushSpec(False, source, "refs/heads/back")
    [result] = registry.push(
        open_foreign(str(git.path)), [spec], data=[digest_of(each) for each in contents]
    )
    assert result.error is None


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_push_does_not_count_on_what_is_being_deleted(rewritten: Serving, moment: str) -> None:
    gone = rewritten.git.out("rev-parse", "HEAD@{2}")
    registry = rewritten.registry()
    if moment == "before":
        registry.look(for_push=True)
        rewritten.collect()
    else:
        # The collection was killed.
        past = registry.history
        state = past.newest()
        assert state is not None
        text = f"objects/{'/'.join(object_file(Path(), content('gone')).parts[1:])}\n".encode()
        collection = Collection(digest_of(text), history.now())
        past.put_collection(collection, text)
        new = state.following()._replace(collection=collection)
        assert past.append(new)
        past.told(new, state)
        registry.look(for_push=True)
    with pytest.raises(StorageUnavailableError, match="just collected as garbage") as caught:
        pushed(registry, rewritten.git, gone, [content("gone")])
    assert "push again in an hour" in caught.value.hints
    assert "refs/heads/back" not in refs_at(rewritten.url, rewritten.path)
    # Others are not in the way.
    pushed(registry, rewritten.git, "main", [content("new")])


def test_a_push_while_it_is_looked_through_is_kept(
    rewritten: Serving, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gone = rewritten.git.out("rev-parse", "HEAD@{2}")
    announce = collecting._announced

    def meanwhile(*arguments: object) -> Collection:
        monkeypatch.setattr(collecting, "_announced", announce)
        rewritten.git.run("push", "--quiet", "origin", f"{gone}:refs/heads/back")
        return announce(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(collecting, "_announced", meanwhile)
    rewritten.collect()
    assert rewritten.has("gone")
    cloned = clone(rewritten.url, tmp_path / "clone", "--branch=back")
    assert (cloned.path / "a.dat").read_bytes() == content("gone")


def announced(rewritten: Serving, begun: str) -> None:
    """Leave a collection as one that was killed leaves it."""
    past = rewritten.registry().history
    state = past.newest()
    assert state is not None
    collection = Collection(digest_of(b""), begun)
    past.put_collection(collection, b"")
    new = state.following()._replace(collection=collection)
    assert past.append(new)
    past.told(new, state)


def test_of_two_at_once_the_second_is_refused(rewritten: Serving) -> None:
    announced(rewritten, history.now())
    done = rewritten.git.run("datareg", "gc", "--storage", "--force", check=False)
    assert done.returncode == 5
    assert "a collection is under way" in done.stderr
    assert rewritten.has("gone")


def test_one_that_was_killed_long_ago_is_in_nobodys_way(rewritten: Serving) -> None:
    announced(rewritten, "2026-01-01T00:00:00Z")
    rewritten.push("after")
    state = rewritten.registry().history.newest()
    assert state is not None
    assert state.generation.collection is None
    announced(rewritten, "2026-01-01T00:00:00Z")
    rewritten.gc("--force")
    assert not rewritten.has("gone")


def lose_a_pack(rewritten: Serving) -> None:
    shutil.rmtree(os.environ["GIT_DATAREG_CACHE"])
    [path, *_] = sorted(rewritten.path.glob("objects/pack/*.pack"), key=lambda each: each.name)
    path.unlink()


def add_an_unknown_pointer(rewritten: Serving) -> None:
    rewritten.git.run("config", "filter.datareg.clean", "cat")
    text = b"git-datareg pointer 9\nblake3 x\n"
    blob = rewritten.git.run("hash-object", "-w", "--stdin", input=text).stdout.strip()
    rewritten.git.run("update-index", "--add", "--cacheinfo", f"100644,{blob},odd.txt")
    rewritten.git.run("commit", "--quiet", "--message", "odd")
    rewritten.git.run("push", "--quiet", "--no-verify", str(rewritten.path), check=False)
    registry = rewritten.registry()
    registry.look(for_push=True)
    pushed(registry, rewritten.git, "main", [])


@pytest.mark.parametrize("trouble", [lose_a_pack, add_an_unknown_pointer])
def test_where_it_can_not_be_told_what_is_needed_nothing_is_deleted(
    rewritten: Serving, trouble: Callable[[Serving], None]
) -> None:
    trouble(rewritten)
    before = sorted(rewritten.path.glob("objects/??/*"))
    done = rewritten.git.run("datareg", "gc", "--storage", "--force", check=False)
    assert done.returncode in (3, 5, 6)
    assert done.stderr.count("git-datareg: error: ") == 1
    assert sorted(rewritten.path.glob("objects/??/*")) == before


def test_history_that_is_not_whole_is_said(
    rewritten: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collecting.objects, "reaches_all", lambda *arguments: False)
    with pytest.raises(CorruptError, match="parts of the history are missing"):
        rewritten.collect()
    assert rewritten.has("gone")


def test_with_another_clock_nothing_is_deleted(
    rewritten: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda now=time.time: now() + 90 * DAY)
    with pytest.raises(StorageDeniedError, match="the clock here"):
        rewritten.collect()
    assert rewritten.has("gone")


def test_killed_in_the_middle_it_leaves_a_registry(
    rewritten: Serving, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    registry = rewritten.registry()
    mirror = served.bring(registry, os.environ["GIT_DATAREG_CACHE"])
    total = len(collecting.find(registry, mirror, 0).values)
    assert total >= 3
    for end in range(total):
        directory = tmp_path / str(end)
        shutil.copytree(rewritten.path, directory / "served", copy_function=shutil.copy2)
        copy = Serving.__new__(Serving)
        copy.git, copy.path, copy.url = (
            rewritten.git,
            directory / "served",
            f"datareg::{directory}/served",
        )
        told: list[int] = []

        def killed(size: int, count: int, told: list[int] = told, end: int = end) -> None:
            told.append(size)
            if len(told) > end:
                raise KeyboardInterrupt

        other = copy.registry()
        with pytest.raises(KeyboardInterrupt):
            collecting.collect(other, served.bring(other, str(directory / "cache")), 0, killed)
        cloned = clone(copy.url, directory / "clone")
        cloned.run("fsck", "--strict")
        assert (cloned.path / "a.dat").read_bytes() == content("new")


def test_on_s3(
    s3_servers: S3Servers, serving: Serving, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server = s3_servers.get("seaweedfs")
    for name, value in server.environ.items():
        monkeypatch.setenv(name, value)
    place = server.new_place()
    serving.git.run("remote", "set-url", "origin", f"datareg::{place}")
    serving.push("kept")
    serving.push("gone")
    serving.git.run("reset", "--quiet", "--hard", "HEAD~")
    serving.push("new", "--force", "main")
    assert serving.gc() == []
    # S3 tells seconds.
    time.sleep(1.1)
    serving.gc("--force", "--grace", "0")
    found = [key for key in server.keys(place) if key.endswith(objects_key("gone"))]
    assert found == []
    cloned = clone(f"datareg::{place}", tmp_path / "clone")
    assert (cloned.path / "a.dat").read_bytes() == content("new")
    cloned.run("checkout", "--quiet", "HEAD~")


def objects_key(name: str) -> str:
    return "/".join(object_file(Path(), content(name)).parts)


def test_other_registries_are_not_collected(tmp_path: Path, serving: Serving) -> None:
    Git(tmp_path / "r.git").init("--bare")
    done = serving.git.run("datareg", "gc", "--storage", str(tmp_path / "r.git"), check=False)
    assert done.returncode == 2
    assert "what a Git remote itself holds is not collected" in done.stderr
    outside = Git(tmp_path).run("datareg", "gc", "--storage", str(tmp_path / "r.git"), check=False)
    assert outside.returncode == 2
    assert "not a serverless registry" in outside.stderr


@pytest.mark.parametrize("grace", ["-1", "x", "inf", "nan"])
def test_a_grace_that_is_none_is_refused(serving: Serving, grace: str) -> None:
    done = serving.git.run("datareg", "gc", "--storage", f"--grace={grace}", check=False)
    assert done.returncode == 2


def test_an_empty_registry_has_nothing_to_collect(serving: Serving) -> None:
    serving.push("gone")
    serving.git.run("push", "--quiet", "-o", "head=other", "origin", ":main")
    serving.age(30)
    serving.gc("--force")
    assert objects_in(serving.path) - {"packs"} == set() or not serving.has("gone")
    assert refs_at(serving.url, serving.path) == {}
