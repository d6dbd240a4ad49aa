"""git_datareg.workspace: the parts of a repository, opened as they are needed."""

from __future__ import annotations

from pathlib import Path

import pytest

from git_datareg.errors import (
    IntegrityError,
    MetafileError,
    ObjectNotFoundError,
    RepositoryNotFoundError,
    UnsafePathError,
    UsageError,
)
from git_datareg.filtering import Smudged, fingerprint
from git_datareg.workspace import Workspace
from tests.support.gitrun import Git

CONTENT = b"content of a data file"


@pytest.fixture
def git(tmp_path: Path) -> Git:
    return Git(tmp_path / "work").init()


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"GIT_DATAREG_CACHE": str(tmp_path / "cache"), "HOME": str(tmp_path)}


@pytest.fixture
def workspace(git: Git, environ: dict[str, str]) -> Workspace:
    return Workspace(str(git.path), environ)


def test_places_are_found_at_the_top(git: Git, workspace: Workspace) -> None:
    assert workspace.top == str(git.path)
    assert workspace.places.git_dir == str(git.path / ".git")
    assert workspace.places.index_file == str(git.path / ".git/index")
    assert workspace.own_objects.root == str(git.path / ".git/datareg")


def test_places_are_found_from_below(git: Git, environ: dict[str, str]) -> None:
    (git.path / "sub").mkdir()
    workspace = Workspace(str(git.path / "sub"), environ)
    assert workspace.places.git_dir == str(git.path / ".git")
    assert workspace.repository.top == str(git.path)


def test_outside_of_repositories(tmp_path: Path, environ: dict[str, str]) -> None:
    workspace = Workspace(str(tmp_path), environ)
    assert workspace.repository_or_none is None
    with pytest.raises(RepositoryNotFoundError):
        _ = workspace.places
    assert workspace.settings.cache == environ["GIT_DATAREG_CACHE"]
    assert workspace.reading_objects.own is None


@pytest.mark.parametrize(
    ("text", "threshold"),
    [
        (b"", 0),
        (b"[datareg]\n\tversion = 1\n", 0),
        (b"[datareg]\n\tversion=1\r\n", 0),
        (b"[datareg] version = 1\n", 0),
        (b"[datareg]\n\tthreshold = 100\n", 100),
        (b"[DataReg]\n\tThreshold = 2k\n", 2048),
        (b'[datareg] threshold = "1m" ; a comment\n', 1 << 20),
        (b"[datareg]\n\tthreshold = 1\n\tthreshold = 2\n", 2),
        (b"# threshold = 5\n", 0),
        (b'[storage "threshold"]\n\turl = /x\n', 0),
    ],
)
def test_the_threshold_is_what_the_file_says(
    git: Git, workspace: Workspace, text: bytes, threshold: int
) -> None:
    git.write(".datareg", text)
    assert workspace.threshold == threshold


def test_without_a_file_the_index_says_the_threshold(git: Git, workspace: Workspace) -> None:
    git.write(".datareg", b"[datareg]\n\tthreshold = 100\n")
    git.run("add", ".")
    (git.path / ".datareg").unlink()
    assert workspace.threshold == 100


@pytest.mark.parametrize("how", ["--index-version=4", "--split-index"])
@pytest.mark.parametrize("text", [b"[datareg]\n\tthreshold = 100\n", None])
def test_the_index_may_be_of_any_kind(
    git: Git, workspace: Workspace, how: str, text: bytes | None
) -> None:
    git.write(".data", b"before it in the index")
    if text is not None:
        git.write(".datareg", text)
    git.run("add", ".")
    git.run("update-index", *how.split("="))
    (git.path / ".datareg").unlink(missing_ok=True)
    assert workspace.threshold == (100 if text else 0)


def test_with_neither_there_is_no_threshold(git: Git, workspace: Workspace) -> None:
    git.write("a.datareg", b"threshold = 5")
    git.run("add", ".")
    assert workspace.threshold == 0


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (b"[datareg]\n\tthreshold = much\n", UsageError),
        (b"[threshold", MetafileError),
        (b"[datareg]\n\tversion = 2\n", MetafileError),
        (b"[datareg]\n\tVersion = 10\n", MetafileError),
        (b"[datareg] version = 2\n", MetafileError),
    ],
)
def test_a_threshold_that_is_not_understood(
    git: Git, workspace: Workspace, text: bytes, fault: type[Exception]
) -> None:
    git.write(".datareg", text)
    with pytest.raises((fault, MetafileError)):
        _ = workspace.threshold


def test_the_cache_is_where_the_user_says(git: Git, environ: dict[str, str]) -> None:
    del environ["GIT_DATAREG_CACHE"]
    git.run("config", "datareg.cache", "/some/where")
    git.write(".datareg", b"this is not for reading [")
    assert Workspace(str(git.path), environ).local.cache.root == "/some/where"


@pytest.mark.parametrize(
    ("value", "skips"),
    [("1", True), ("true", True), ("YES", True), ("on", True), ("0", False), ("", False)],
)
def test_the_wish_for_pointers(git: Git, value: str, skips: bool) -> None:
    assert Workspace(str(git.path), {"GIT_DATAREG_SKIP_SMUDGE": value}).skips_smudge == skips


def test_a_rebase_is_seen(git: Git, environ: dict[str, str]) -> None:
    assert not Workspace(str(git.path), environ).is_rebasing
    (git.path / ".git/rebase-merge").mkdir()
    assert Workspace(str(git.path), environ).is_rebasing


def test_a_blob_is_read(git: Git, workspace: Workspace) -> None:
    id = git.run("hash-object", "-w", "--stdin", input=b"a\r\n\0").stdout.strip()
    assert workspace.blob(id) == b"a\r\n\0"


def store(workspace: Workspace, content: bytes = CONTENT) -> None:
    with workspace.own_objects.writer() as writer:
        writer.write(content)
        writer.commit()


def test_an_object_is_found_verified(workspace: Workspace) -> None:
    pointer = fingerprint(CONTENT)
    assert workspace.object_file(pointer) is None
    assert workspace.content(pointer) is None
    store(workspace)
    path = workspace.object_file(pointer)
    assert path is not None
    assert Path(path).read_bytes() == CONTENT
    assert workspace.content(pointer) == CONTENT
    Path(path).unlink()
    Path(path).write_bytes(CONTENT[::-1])
    for look in (workspace.object_file, workspace.content):
        with pytest.raises(IntegrityError):
            look(pointer)


def deferred(git: Git, path: str, content: bytes = CONTENT) -> Smudged:
    git.write(path, fingerprint(content).encode())
    git.run("add", path)
    blob = git.out("rev-parse", f":{path}")
    return Smudged(path.encode(), blob, fingerprint(content), deferred=True)


def test_settling_places_and_forgets(git: Git, workspace: Workspace) -> None:
    store(workspace)
    file = deferred(git, "a.dat")
    workspace.note(file)
    assert (git.path / ".git/datareg/pending").exists()
    assert workspace.settle([file]) == []
    assert (git.path / "a.dat").read_bytes() == CONTENT
    assert git.run("diff-files").stdout == ""
    assert not (git.path / ".git/datareg/pending").exists()


def test_settling_forgets_only_what_it_did(git: Git, workspace: Workspace) -> None:
    store(workspace)
    done, lost, foreign = (
        deferred(git, "done.dat"),
        deferred(git, "lost.dat", b"nobody has this"),
        deferred(git, "foreign.dat"),
    )
    for file in (done, lost, foreign):
        workspace.note(file)
    [(path, error)] = workspace.settle([done, lost])
    assert path == b"lost.dat"
    assert isinstance(error, ObjectNotFoundError)
    left = (git.path / ".git/datareg/pending").read_bytes()
    assert b"lost.dat" in left
    assert b"foreign.dat" in left
    assert b"done.dat" not in left


def test_settling_never_places_what_is_corrupt(git: Git, workspace: Workspace) -> None:
    store(workspace)
    path = Path(workspace.own_objects.path(fingerprint(CONTENT).digest))
    path.unlink()
    path.write_bytes(CONTENT[::-1])
    [(_, error)] = workspace.settle([deferred(git, "a.dat")])
    assert isinstance(error, IntegrityError)
    assert (git.path / "a.dat").read_bytes() == fingerprint(CONTENT).encode()


def test_an_index_that_stays_locked_is_a_failure(
    git: Git, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("git_datareg.placing.LOCK_SECONDS", 0)
    store(workspace)
    file = deferred(git, "a.dat")
    workspace.note(file)
    (git.path / ".git/index.lock").touch()
    [(path, error)] = workspace.settle([file])
    assert path.endswith(b"/.git/index")
    assert "index.lock" in error.message
    assert (git.path / "a.dat").read_bytes() == CONTENT


def test_the_lock_of_a_git_that_died_is_no_failure(git: Git, workspace: Workspace) -> None:
    store(workspace)
    file = deferred(git, "a.dat")
    (git.path / ".git/index.lock").touch()
    workspace.note(file)
    assert workspace.settle([file]) == []
    assert (git.path / "a.dat").read_bytes() == CONTENT
    assert (git.path / ".git/index.lock").exists()


def test_closing_removes_old_leftovers_only(git: Git, workspace: Workspace) -> None:
    store(workspace)
    old = git.write(".git/datareg/tmp/object-old", b"x", age_seconds=2 * 86400)
    new = git.write(".git/datareg/tmp/object-new", b"x", age_seconds=60)
    workspace.close()
    assert (old.exists(), new.exists()) == (False, True)


def test_closing_opens_nothing(tmp_path: Path, environ: dict[str, str]) -> None:
    Workspace(str(tmp_path), environ).close()


def test_paths_are_read_from_where_the_user_is(git: Git, environ: dict[str, str]) -> None:
    (git.path / "sub").mkdir()
    workspace = Workspace(str(git.path / "sub"), environ)
    assert workspace.from_top(["a", "../b", str(git.path / "c")]) == [b"sub/a", b"b", b"c"]
    with pytest.raises(UnsafePathError):
        workspace.from_top(["../../elsewhere"])
