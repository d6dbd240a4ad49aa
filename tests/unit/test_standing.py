from __future__ import annotations

import os
from pathlib import Path

import pytest

from git_datareg import api, imports, registry, standing
from git_datareg.errors import (
    PathNotFoundError,
    RevisionNotFoundError,
    StorageUnavailableError,
)
from git_datareg.imports import Target
from git_datareg.location import Location
from git_datareg.registry import Source
from git_datareg.standing import State
from git_datareg.workspace import Workspace
from tests.support import consumers
from tests.support.consumers import NEW, consumer, gallery
from tests.support.filtered import data
from tests.support.gitrun import Git, clone

#: Where git finds the registry as if it were elsewhere.
FAR = Location("https://example.org/gallery.git")


@pytest.fixture
def published(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> consumers.Source:
    """The registry; its branch `follow` is at v1."""
    source = gallery(tmp_path_factory, tmp_path)
    source.remote.run("branch", "follow", "v1")
    rewriting = f"url.{tmp_path}/.insteadOf"
    source.remote.run("config", "--global", rewriting, "https://example.org/")
    return source


@pytest.fixture
def app(published: consumers.Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Git:
    """A consumer that has `faces` of the branch."""
    git = consumer(tmp_path / "app")
    monkeypatch.chdir(git.path)
    api.import_(published.url, "faces", rev="follow")
    git.commit_all()
    return git


class Asking:
    """Opens sources as the programs do, and counts; `is_far` has them be elsewhere."""

    def __init__(self, git: Git, *, is_far: bool = False) -> None:
        self.workspace = Workspace(str(git.path), os.environ)
        self.asked = 0
        self._is_far = is_far

    def __call__(self, location: Location, rev: str | None) -> Source:
        self.asked += 1
        return self.workspace.open_source(FAR if self._is_far else location, rev)

    def target(self) -> Target:
        return imports.find(self.workspace.project, "faces")


def examine(git: Git, rev: str | None = None, *, is_far: bool = False) -> State:
    asking = Asking(git, is_far=is_far)
    return standing.examine(asking.target(), asking, rev)


def move(published: consumers.Source, to: str) -> None:
    published.remote.run("branch", "--force", "follow", to)


def test_the_same_commit_is_not_behind(app: Git) -> None:
    state = examine(app)
    assert not state.behind and not state.is_switched
    found = standing.report(state)
    assert (found.behind, found.commits, found.rewritten) == (False, 0, False)
    assert (found.commit, found.rev) == (found.available, "follow")


@pytest.mark.parametrize("is_far", [False, True])
def test_other_files_are_told_in_figures(
    app: Git, published: consumers.Source, is_far: bool
) -> None:
    move(published, "v2")
    state = examine(app, is_far=is_far)
    assert state.behind and state.difference is not None
    found = standing.report(state)
    assert found[:6] == (
        True,
        "follow",
        published.work.out("rev-parse", "v1^{commit}"),
        published.work.out("rev-parse", "v2"),
        1,
        False,
    )
    assert (found.added, found.changed, found.removed) == (1, 2, 1)
    assert found.size == len(NEW["a.jpg"]) + len(NEW["d.jpg"]) + len(b"faces, version 2\n")
    assert standing.rewriting(state, found) is None


@pytest.mark.parametrize("is_far", [False, True])
def test_a_commit_that_left_the_files_alone_is_nothing_new(
    app: Git, published: consumers.Source, is_far: bool
) -> None:
    published.work.run("checkout", "--quiet", "v1")
    published.work.write("notes.txt", b"other\n")
    published.publish()
    move(published, "main")
    state = examine(app, is_far=is_far)
    assert not state.behind
    assert state.commit != state.metafile.commit
    found = standing.report(state)
    assert (found.commits, found.rewritten, found.size) == (None, None, 0)


def test_an_update_that_was_killed_is_still_to_be_done(
    app: Git, published: consumers.Source
) -> None:
    before = (app.path / "faces.datareg").read_bytes()
    move(published, "v2")
    api.update("faces")
    # It had come as far as the index.
    (app.path / "faces.datareg").write_bytes(before)
    assert examine(app, is_far=True).behind


def test_local_changes_are_no_difference_of_the_sources(
    app: Git, published: consumers.Source
) -> None:
    app.write("faces/a.jpg", b"mine")
    app.commit_all()
    published.work.run("checkout", "--quiet", "v1")
    published.work.write("notes.txt", b"other\n")
    published.publish()
    move(published, "main")
    assert not examine(app).behind
    assert not examine(app, is_far=True).behind


def test_the_full_id_of_what_we_have_asks_nobody(app: Git) -> None:
    asking = Asking(app)
    commit = imports.read(asking.target()).commit
    state = standing.examine(asking.target(), asking, commit)
    assert asking.asked == 0
    assert (state.behind, state.is_switched, state.source) == (False, True, None)


def test_where_the_old_commit_is_gone_the_index_counts(
    app: Git, published: consumers.Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(source: Source, commit: str) -> Source:
        raise RevisionNotFoundError("gone")

    monkeypatch.setattr(registry, "at", gone)
    monkeypatch.setattr(registry, "commits_since", lambda source, commit: None)
    move(published, "v2")
    state = examine(app)
    found = standing.report(state)
    assert (found.added, found.changed, found.removed, found.rewritten) == (1, 2, 1, True)
    said = standing.rewriting(state, found) or ""
    for words in ("follow", published.url, found.commit, found.available, "faces"):
        assert words in said
    switched = examine(app, "v2")
    assert standing.report(switched).rewritten is None
    api.update("faces", force=True)
    (app.path / "faces.datareg").write_text(
        (app.path / "faces.datareg").read_text().replace(found.available, "0" * 40)
    )
    assert not examine(app).behind


def test_what_can_not_be_counted_is_behind_all_the_same(
    app: Git, published: consumers.Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(source: Source, commit: str) -> int:
        raise StorageUnavailableError("no way")

    monkeypatch.setattr(registry, "commits_since", unreachable)
    move(published, "v2")
    found = standing.report(examine(app))
    assert (found.behind, found.commits, found.rewritten) == (True, None, None)


def test_a_source_with_a_part_of_its_history_was_not_rewritten(
    app: Git, published: consumers.Source, tmp_path: Path
) -> None:
    url = f"file://{published.url}"
    clone(url, tmp_path / "shallow.git", "--bare", "--depth=1", "--branch=v2")
    (app.path / "faces.datareg").write_text(
        (app.path / "faces.datareg")
        .read_text()
        .replace(published.url, str(tmp_path / "shallow.git"))
        .replace("rev = follow", "rev = v2")
    )
    found = standing.report(examine(app))
    assert (found.behind, found.commits, found.rewritten) == (True, None, None)
    assert (found.added, found.changed, found.removed) == (1, 2, 1)


def test_a_single_file_is_compared_as_it_is(
    app: Git, published: consumers.Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.import_(published.url, "model.bin", "faces.bin", rev="follow")
    app.commit_all()
    move(published, "v2")
    asking = Asking(app, is_far=True)
    target = imports.find(asking.workspace.project, "faces.bin")
    assert not standing.examine(target, asking).behind
    published.work.write("model.bin", data("another"))
    published.publish()
    move(published, "main")
    found = standing.report(standing.examine(target, asking))
    assert (found.added, found.changed, found.removed) == (0, 1, 0)


def test_what_the_source_has_no_more_is_said(app: Git, published: consumers.Source) -> None:
    text = (app.path / "faces.datareg").read_text()
    (app.path / "faces.datareg").write_text(text + "\tinclude = b.jpg\n")
    move(published, "v2")
    with pytest.raises(PathNotFoundError, match=r"no file matches any more: faces in .*to faces"):
        examine(app)
    published.work.run("rm", "--quiet", "-r", "faces")
    published.publish()
    move(published, "main")
    with pytest.raises(PathNotFoundError, match=r"no such path any more: faces in .*to faces"):
        examine(app)


def test_each_registry_is_asked_once(app: Git, published: consumers.Source) -> None:
    asking = Asking(app)
    opener = standing.remembered(asking)
    here, nowhere = Location(published.url), Location("/nowhere")
    assert opener(here, "v1") is opener(here, "v1")
    assert opener(here, "v1").commit != opener(here, "v2").commit
    assert asking.asked == 2
    for _ in range(2):
        with pytest.raises(FileNotFoundError):
            opener(nowhere, None)
    assert asking.asked == 3
