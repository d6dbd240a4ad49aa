"""The whole way with a real data set: publish, clone, list, get, import, update, read."""

from __future__ import annotations

import filecmp
import os
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from git_datareg import api
from tests.support import dataset
from tests.support.consumers import consumer, datareg
from tests.support.gitrun import FilterUse, Git, clone
from tests.support.shared import made_once

pytestmark = [pytest.mark.dataset, pytest.mark.usefixtures("unmeasured")]

#: Left out of the second version, so that something is removed in it.
WITHDRAWN = f"{dataset.SMALL_FILES}/0023-fe0f-20e3.png"
IDLE = FilterUse(starts=0, cleans=0, smudges=0)


class Published(NamedTuple):
    remote: Git
    old: Path
    new: Path

    @property
    def url(self) -> str:
        return str(self.remote.path)


def _release(work: Git, release: Path, tag: str) -> None:
    """Make the work tree's files those of a release, and push them under a tag."""
    for each in work.path.iterdir():
        if each.name not in (".git", ".gitattributes", ".datareg"):
            shutil.rmtree(each) if each.is_dir() else each.unlink()
    shutil.copytree(release, work.path, dirs_exist_ok=True)
    work.commit_all(tag)
    work.run("tag", tag)
    work.run("push", "--quiet", "origin", "main", tag)


def _linked(source: str, target: str) -> None:
    """Have the same file twice, which nobody is to write to."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _publish(top: Path) -> None:
    """Build the registry, and what its second version has: a release less one file."""
    new = top / "new"
    shutil.copytree(dataset.unpacked(dataset.NEW), new, copy_function=_linked)
    (new / WITHDRAWN).unlink()
    remote = Git(top / "registry.git").init("--bare")
    work = Git(top / "work").init()
    # In the background, it would still be at it when the directory is removed.
    work.run("config", "gc.auto", "0")
    work.run("remote", "add", "origin", str(remote.path))
    datareg(work, "init")
    datareg(work, "track", "img/**")
    _release(work, dataset.unpacked(dataset.OLD), "v1")
    _release(work, new, "v2")
    shutil.rmtree(work.path)


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Published:
    """The registry, for reading only."""
    top = made_once(tmp_path_factory, "dataset", _publish)
    return Published(Git(top / "registry.git"), dataset.unpacked(dataset.OLD), top / "new")


def assert_same(found: Path, wanted: Path) -> int:
    """Assert that both directories have the same files with the same bytes; returns how many."""
    count = 0
    for folder, folders, names in os.walk(wanted):
        here = found / Path(folder).relative_to(wanted)
        ours = {".git", ".gitattributes", ".datareg"} if here == found else set()
        assert set(os.listdir(here)) - ours == {*folders, *names}
        _, differing, odd = filecmp.cmpfiles(folder, here, names, shallow=False)
        assert not differing and not odd
        count += len(names)
    return count


def names(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_a_clone_has_every_byte(published: Published, tmp_path: Path) -> None:
    git = clone(f"datareg::{published.url}", tmp_path / "clone")
    assert assert_same(git.path, published.new) > 3700
    assert git.filter_use("status") == IDLE
    assert git.status() == ""


def test_the_registry_is_listed_at_both_versions(published: Published, tmp_path: Path) -> None:
    for tag, release in (("v1", published.old), ("v2", published.new)):
        found = datareg(tmp_path, "list", "-R", "--rev", tag, published.url).stdout.splitlines()
        files = {str(path.relative_to(release)) for path in release.rglob("*") if path.is_file()}
        assert set(found) - {".gitattributes", ".datareg"} == files
        assert found == sorted(found)


def test_a_directory_is_downloaded_at_a_version(published: Published, tmp_path: Path) -> None:
    arguments = ["--rev", "v1", published.url, dataset.SMALL_FILES, "-o", "old"]
    datareg(tmp_path, "get", *arguments)
    assert assert_same(tmp_path / "old", published.old / dataset.SMALL_FILES) > 3600
    datareg(tmp_path, "get", published.url, dataset.LARGE_FILE)
    large = tmp_path / os.path.basename(dataset.LARGE_FILE)
    assert large.read_bytes() == (published.new / dataset.LARGE_FILE).read_bytes()


def test_an_import_follows_from_one_version_to_the_next(
    published: Published, tmp_path: Path
) -> None:
    app = consumer(tmp_path / "app")
    arguments = ["--rev", "v1", published.url, dataset.SMALL_FILES, "-o", "faces"]
    datareg(app, "import", *arguments)
    old = published.old / dataset.SMALL_FILES
    assert_same(app.path / "faces", old)
    assert app.filter_use("status") == IDLE
    app.commit_all("import")
    assert app.status() == ""

    done = datareg(app, "update", "--rev", "v2", "faces")
    new = published.new / dataset.SMALL_FILES
    assert_same(app.path / "faces", new)
    before, after = names(old), names(new)
    added, removed = len(after.keys() - before.keys()), len(before.keys() - after.keys())
    changed = sum(before[name] != after[name] for name in before.keys() & after.keys())
    assert f"faces: {added} added, {changed} changed, {removed} removed, at " in done.stderr
    assert min(added, changed, removed) > 0
    assert app.filter_use("status") == IDLE
    app.commit_all("update")
    assert app.status() == ""
    assert datareg(app, "update", "faces").stderr == "faces: up to date\n"


def test_single_files_are_read(published: Published) -> None:
    for rev, release in (("v1", published.old), ("v2", published.new)):
        for path in sorted((release / dataset.SMALL_FILES).iterdir())[::500]:
            name = str(path.relative_to(release))
            found = api.read(name, repo=published.url, rev=rev, mode="rb")
            assert found == path.read_bytes()
    with api.open(dataset.LARGE_FILE, repo=published.url, rev="v2", mode="rb") as stream:
        stream.seek(1_000_000)
        wanted = (published.new / dataset.LARGE_FILE).read_bytes()
        assert stream.read(1000) == wanted[1_000_000:1_001_000]
