from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from git_datareg import api, conflicts, imports, registry
from git_datareg.errors import LocalChangesError, RevisionNotFoundError
from git_datareg.imports import Target
from git_datareg.location import Location
from git_datareg.metafile import Metafile
from git_datareg.registry import Source, SourceFile
from git_datareg.workspace import Workspace
from tests.support.consumers import NEW, OLD, consumer, gallery
from tests.support.filtered import pointer
from tests.support.gitrun import Git

Case = tuple[Target, Metafile, Source, list[SourceFile]]


@pytest.fixture
def app(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Git:
    """A consumer that has `faces` at v1."""
    source = gallery(tmp_path_factory, tmp_path)
    git = consumer(tmp_path / "app")
    monkeypatch.chdir(git.path)
    api.import_(source.url, "faces", rev="v1")
    git.commit_all()
    return git


@pytest.fixture
def refuse(app: Git, tmp_path: Path) -> Callable[[], None]:
    """Whether an update to v2 is refused."""

    def check() -> None:
        workspace = Workspace(str(app.path), os.environ)
        target = imports.find(workspace.project, "faces")
        source = workspace.open_source(Location(str(tmp_path / "gallery.git")), "v2")
        wanted = registry.files(source, "faces")
        conflicts.refuse_local_changes(target, imports.read(target), source, wanted)

    return check


def test_an_import_as_it_was_made_is_nobodys_work(refuse: Callable[[], None]) -> None:
    refuse()


def test_what_the_source_had_or_has_is_nobodys_work(app: Git, refuse: Callable[[], None]) -> None:
    for path, content in (
        ("a.jpg", NEW["a.jpg"]),
        ("a.jpg", pointer(NEW["a.jpg"])),
        ("a.jpg", pointer(OLD["a.jpg"])),
        ("d.jpg", NEW["d.jpg"]),
        ("README.md", b"faces, version 2\n"),
    ):
        app.write(f"faces/{path}", content)
        refuse()
        app.run("add", f"faces/{path}")
        refuse()
        app.run("reset", "--quiet", "--hard")


def test_anything_else_is_refused_by_name(app: Git, refuse: Callable[[], None]) -> None:
    for path in ("a.jpg", "b.jpg", "sub/c.bin", "d.jpg", "README.md", "empty.dat"):
        app.write(f"faces/{path}", b"my own work")
        words = f"changed here since the import: faces/{path}$"
        with pytest.raises(LocalChangesError, match=words):
            refuse()
        app.run("add", f"faces/{path}")
        with pytest.raises(LocalChangesError, match=words):
            refuse()
        app.run("reset", "--quiet", "--hard")
        refuse()


def test_a_staged_change_counts_even_without_its_file(app: Git, refuse: Callable[[], None]) -> None:
    app.write("faces/a.jpg", b"my own work")
    app.run("add", "faces/a.jpg")
    (app.path / "faces/a.jpg").unlink()
    with pytest.raises(LocalChangesError):
        refuse()


def test_a_file_of_our_own_that_is_committed_below_is_refused(
    app: Git, refuse: Callable[[], None]
) -> None:
    app.write("faces/ours", b"my own work")
    refuse()
    app.run("add", "faces/ours")
    with pytest.raises(LocalChangesError, match="faces/ours"):
        refuse()


def test_modes_count_where_the_file_system_has_them(app: Git, refuse: Callable[[], None]) -> None:
    (app.path / "faces/sub/c.bin").chmod(0o644)
    with pytest.raises(LocalChangesError, match="sub/c"):
        refuse()
    app.run("config", "core.fileMode", "false")
    refuse()


def test_line_ends_that_git_made_are_nobodys_work(app: Git, refuse: Callable[[], None]) -> None:
    app.write("faces/README.md", b"faces\r\n")
    with pytest.raises(LocalChangesError, match="README"):
        refuse()
    app.run("config", "core.autocrlf", "true")
    refuse()
    (app.path / "faces/README.md").chmod(0o755)
    with pytest.raises(LocalChangesError, match="README"):
        refuse()
    app.write("faces/README.md", b"faces, mine\r\n", mode=0o644)
    with pytest.raises(LocalChangesError, match="README"):
        refuse()


@pytest.mark.parametrize("edited", [False, True])
def test_where_the_source_forgot_what_it_had_our_own_commit_counts(
    app: Git, refuse: Callable[[], None], monkeypatch: pytest.MonkeyPatch, edited: bool
) -> None:
    def gone(source: Source, commit: str) -> Source:
        raise RevisionNotFoundError("gone")

    monkeypatch.setattr(registry, "at", gone)
    refuse()
    if edited:
        app.write("faces/a.jpg", b"my own work")
        app.commit_all()
        with pytest.raises(LocalChangesError, match=r"faces/a\.jpg"):
            refuse()


def test_a_directory_in_the_way_counts_by_what_is_in_it(
    app: Git, refuse: Callable[[], None]
) -> None:
    (app.path / "faces/d.jpg").mkdir()
    refuse()
    app.write("faces/d.jpg/mine", b"my own work")
    with pytest.raises(LocalChangesError, match=r"faces/d\.jpg/mine"):
        refuse()


def test_many_are_not_all_listed(app: Git, refuse: Callable[[], None]) -> None:
    for name in ("a.jpg", "b.jpg", "d.jpg", "README.md", "empty.dat"):
        app.write(f"faces/{name}", b"my own work")
    with pytest.raises(LocalChangesError, match=r"faces/b\.jpg and 2 more$"):
        refuse()
