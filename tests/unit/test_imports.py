from __future__ import annotations

import os
from pathlib import Path

import pytest

from git_datareg import imports
from git_datareg.errors import MetafileError, PathNotFoundError, UnsafePathError, UsageError
from git_datareg.imports import Target
from git_datareg.projects import Project
from git_datareg.workspace import Workspace
from tests.support.gitrun import Git

TEXT = b"[import]\n\turl = x\n\tpath = y\n\tcommit = %s\n" % (b"0" * 40)


@pytest.fixture
def git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Git:
    git = Git(tmp_path / "app").init()
    (git.path / "sub").mkdir()
    monkeypatch.chdir(git.path / "sub")
    return git


@pytest.fixture
def project(git: Git) -> Project:
    return Workspace(str(git.path), os.environ).project


@pytest.mark.parametrize(
    ("out", "path"),
    [
        ("x", b"sub/x"),
        ("x/", b"sub/x"),
        ("../x", b"x"),
        ("a/b/c", b"sub/a/b/c"),
        ("..x", b"sub/..x"),
        ("...", b"sub/..."),
        ("\udcff\n", b"sub/\xff\n"),
        ("git", b"sub/git"),
    ],
)
def test_a_target_is_meant_from_the_current_directory(
    project: Project, out: str, path: bytes
) -> None:
    target = imports.target_for(project, out)
    assert target.path == path
    assert target.metafile == path + b".datareg"
    assert target.file == os.path.join(project.repository.top, os.fsdecode(path))
    assert target.path_of(b"a/b") == path + b"/a/b"
    assert target.path_of(b"") == path


@pytest.mark.parametrize(
    "out",
    [
        *("..", "../..", "../../x", "/", "/x"),
        *(".git", "../.git/x", "x/.GIT/y", "git~1"),
        *("x.datareg", ".gitattributes", "a/.gitmodules", "../.datareg"),
    ],
)
def test_a_target_outside_or_with_a_meaning_is_refused(project: Project, out: str) -> None:
    with pytest.raises(UnsafePathError):
        imports.target_for(project, out)


def test_a_link_on_the_way_leads_where_it_leads(project: Project, git: Git, tmp_path: Path) -> None:
    (git.path / "inside").symlink_to("sub")
    (git.path / "outside").symlink_to(tmp_path)
    assert imports.target_for(project, "../inside/x").path == b"sub/x"
    with pytest.raises(UnsafePathError):
        imports.target_for(project, "../outside/x")


def test_a_repository_that_is_reached_by_a_link_is_no_other(git: Git, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(git.path)
    os.chdir(tmp_path / "link")
    project = Workspace(str(tmp_path / "link"), os.environ).project
    assert imports.target_for(project, "x").path == b"x"


def test_a_bare_repository_has_none(tmp_path: Path) -> None:
    bare = Git(tmp_path / "bare.git").init("--bare")
    project = Workspace(str(bare.path), os.environ).project
    with pytest.raises(UsageError, match="bare repository"):
        imports.target_for(project, "x")


@pytest.mark.parametrize("spelled", ["x", "x.datareg", "x/", "./x", "../sub/x"])
def test_an_import_is_found_by_its_name_or_its_metafiles(
    project: Project, git: Git, spelled: str
) -> None:
    git.write("sub/x.datareg", TEXT)
    assert imports.find(project, spelled).path == b"sub/x"


@pytest.mark.parametrize("spelled", ["y", "", ".datareg", "x/y"])
def test_what_is_no_import_is_not_found(project: Project, git: Git, spelled: str) -> None:
    git.write("sub/x.datareg", TEXT)
    (git.path / "sub/y.datareg").mkdir()
    with pytest.raises(PathNotFoundError, match="not an import"):
        imports.find(project, spelled)


def test_all_are_those_that_no_other_import_brought(project: Project, git: Git) -> None:
    for name in ("b", "a", "a-b", "a/x", "a/x/y", "c/d", "c.datareg/e", "b.c"):
        git.write(f"{name}.datareg", TEXT)
    git.write(".datareg", b"")
    git.write("sub/.datareg", b"")
    git.run("add", "--all")
    git.write("new.datareg", TEXT)
    found = [target.path for target in imports.find_all(project)]
    assert found == [b"a", b"a-b", b"b", b"b.c", b"c.datareg/e", b"c/d"]


def test_the_import_around_a_target_is_found(project: Project, git: Git) -> None:
    git.write("a/b.datareg", TEXT)
    repository = project.repository
    assert imports.enclosing(Target(repository, b"a/b/c/d")) == b"a/b"
    assert imports.enclosing(Target(repository, b"a/b/c")) == b"a/b"
    for path in (b"a/b", b"a/bc/d", b"a", b"x/a/b/c"):
        assert imports.enclosing(Target(repository, path)) is None


def test_a_metafile_that_can_not_be_read_is_named(project: Project, git: Git) -> None:
    target = Target(project.repository, b"sub/x")
    with pytest.raises(MetafileError, match=r"can't read sub/x\.datareg: No such file"):
        imports.read(target)
    git.write("sub/x.datareg", b"?")
    with pytest.raises(MetafileError, match=r"sub/x\.datareg"):
        imports.read(target)
    git.write("sub/x.datareg", TEXT)
    assert imports.read(target).path == "y"
