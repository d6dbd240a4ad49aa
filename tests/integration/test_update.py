"""`git datareg update`: imports follow their source."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.consumers import (
    FACES_NEW,
    FACES_OLD,
    MODEL,
    NEW,
    OLD,
    Source,
    below,
    consumer,
    datareg,
    fault,
    gallery,
)
from tests.support.filtered import blob, data, pointer
from tests.support.gitrun import FilterUse, Git
from tests.support.registries import run_unprivileged

IDLE = FilterUse(starts=0, cleans=0, smudges=0)


@pytest.fixture
def source(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Source:
    return gallery(tmp_path_factory, tmp_path)


@pytest.fixture
def app(source: Source, tmp_path: Path) -> Git:
    """A consumer whose import `faces` follows the branch `follow`, which is at v1."""
    source.remote.run("branch", "follow", "v1")
    git = consumer(tmp_path / "app")
    git.run("datareg", "import", "-q", "--rev", "follow", source.url, "faces")
    git.commit_all("import")
    return git


def advance(source: Source, to: str = "v2") -> None:
    source.remote.run("branch", "--force", "follow", to)


def tree(git: Git) -> dict[str, bytes | str]:
    """The work tree's files."""
    found = below(git.path)
    return {name: found[name] for name in found if not name.startswith(".git/")}


def test_new_changed_and_removed_files_arrive_staged(source: Source, app: Git) -> None:
    advance(source)
    done = datareg(app, "update", "faces")
    commit = source.work.out("rev-parse", "v2^{commit}")
    assert done.stderr == f"faces: 1 added, 2 changed, 1 removed, at {commit[:12]}\n"
    assert below(app.path / "faces") == FACES_NEW
    assert app.status().splitlines() == [
        "M  faces.datareg",
        "M  faces/README.md",
        "M  faces/a.jpg",
        "D  faces/b.jpg",
        "A  faces/d.jpg",
    ]
    text = (app.path / "faces.datareg").read_text()
    assert f"commit = {commit}\n" in text and "rev = follow\n" in text
    assert blob(app, ":faces/a.jpg") == pointer(NEW["a.jpg"])


def test_git_status_is_quick_and_asks_no_filter(source: Source, app: Git) -> None:
    advance(source)
    datareg(app, "update", "faces")
    assert app.filter_use("status") == IDLE
    app.run("commit", "--quiet", "--message", "update")
    assert app.status() == ""
    assert app.filter_use("status") == IDLE


@pytest.mark.parametrize("target", ["faces", "faces/", "faces.datareg", "./faces"])
def test_an_import_goes_by_its_own_name_or_its_metafiles(
    source: Source, app: Git, target: str
) -> None:
    advance(source)
    datareg(app, "update", target)
    assert below(app.path / "faces") == FACES_NEW


def test_a_target_is_meant_from_the_current_directory(source: Source, app: Git) -> None:
    (app.path / "sub").mkdir()
    advance(source)
    datareg(app.path / "sub", "update", "../faces")
    assert below(app.path / "faces") == FACES_NEW


def test_who_stands_in_the_import_is_told_to_enter_it_again(source: Source, app: Git) -> None:
    assert "cd" not in datareg(app.path / "faces", "update", "../faces").stderr
    advance(source)
    done = datareg(app.path / "faces", "update", "../faces")
    assert 'hint: this directory was replaced; to enter the new one: cd "$PWD"' in done.stderr
    assert below(app.path / "faces") == FACES_NEW


def test_unchanged_files_are_neither_fetched_nor_written(source: Source, app: Git) -> None:
    inode = (app.path / "faces/sub/c.bin").stat().st_ino
    # So it is nowhere but in the work tree.
    source.object(OLD["sub/c.bin"]).unlink()
    shutil.rmtree(os.environ["GIT_DATAREG_CACHE"])
    advance(source)
    datareg(app, "update", "faces")
    assert below(app.path / "faces") == FACES_NEW
    assert (app.path / "faces/sub/c.bin").stat().st_ino == inode
    assert app.filter_use("status") == IDLE


def test_files_that_never_were_downloaded_come_with_an_update(source: Source, app: Git) -> None:
    given = ["--no-download", "--rev", "follow", "-o", "later"]
    datareg(app, "import", "-q", source.url, "faces", *given)
    app.commit_all()
    advance(source)
    datareg(app, "update", "later")
    assert below(app.path / "later") == FACES_NEW


def test_only_new_and_changed_objects_are_fetched(source: Source, app: Git) -> None:
    inode = (app.path / "faces/sub/c.bin").stat().st_ino
    advance(source)
    [row] = json.loads(datareg(app, "update", "--json", "faces").stdout)
    assert (row["added"], row["changed"], row["removed"], row["fetched"]) == (1, 2, 1, 2)
    assert (app.path / "faces/sub/c.bin").stat().st_ino == inode


def test_no_change_at_the_source_changes_no_byte(source: Source, app: Git) -> None:
    before = (tree(app), (app.path / ".git/index").read_bytes())
    times = {
        path: path.lstat().st_mtime_ns
        for path in [app.path / "faces", *app.path.rglob("faces/**/*")]
    }
    shutil.rmtree(source.storage)
    assert datareg(app, "update", "faces").stderr == "faces: up to date\n"
    # A commit that leaves the path alone is no change for the import.
    source.work.run("checkout", "--quiet", "-b", "side", "v1")
    source.work.write("notes.txt", b"other notes\n")
    source.work.commit_all()
    source.work.run("push", "--quiet", "--no-verify", "--force", "origin", "side:follow")
    assert datareg(app, "update", "faces").stderr == "faces: up to date\n"
    assert (tree(app), (app.path / ".git/index").read_bytes()) == before
    assert times == {path: path.lstat().st_mtime_ns for path in times}


def test_another_revision_can_be_followed(source: Source, app: Git) -> None:
    datareg(app, "update", "--rev", "v2", "faces")
    assert below(app.path / "faces") == FACES_NEW
    assert "rev = v2\n" in (app.path / "faces.datareg").read_text()
    datareg(app, "update", "--rev", "v1", "faces")
    assert below(app.path / "faces") == FACES_OLD
    assert app.status().splitlines() == ["M  faces.datareg"]


def test_a_switch_to_a_revision_with_the_same_files_is_staged(source: Source, app: Git) -> None:
    datareg(app, "update", "--rev", "old", "faces")
    assert "rev = old\n" in (app.path / "faces.datareg").read_text()
    assert app.status() == "M  faces.datareg"


def test_a_commit_never_moves(source: Source, app: Git) -> None:
    commit = source.work.out("rev-parse", "v1^{commit}")
    datareg(app, "update", "--rev", commit, "faces")
    advance(source)
    assert datareg(app, "update", "faces").stderr == "faces: up to date\n"


def test_check_tells_and_changes_nothing(source: Source, app: Git) -> None:
    done = datareg(app, "update", "--check", "faces")
    assert done.stdout == "faces: up to date\n"
    advance(source)
    before = tree(app)
    done = datareg(app, "update", "--check", "--all", check=False)
    text = "faces: behind by 1 commit: 1 added, 2 changed, 1 removed\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, text, "")
    done = datareg(app, "update", "--check", "--json", "faces", check=False)
    [row] = json.loads(done.stdout)
    assert row == {
        "target": "faces",
        "behind": True,
        "rev": "follow",
        "commit": source.work.out("rev-parse", "v1^{commit}"),
        "available": source.work.out("rev-parse", "v2^{commit}"),
        "commits": 1,
        "rewritten": False,
        "added": 1,
        "changed": 2,
        "removed": 1,
        "size": len(NEW["a.jpg"]) + len(NEW["d.jpg"]) + len(b"faces, version 2\n"),
    }
    assert tree(app) == before and app.status() == ""


def test_check_has_the_figures_of_the_update(source: Source, app: Git) -> None:
    advance(source)
    done = datareg(app, "update", "--check", "--json", "faces", check=False)
    [told] = json.loads(done.stdout)
    [row] = json.loads(datareg(app, "update", "--json", "faces").stdout)
    assert {**told, "behind": False, "fetched": 2} == row
    [row] = json.loads(datareg(app, "update", "--check", "--json", "faces").stdout)
    assert (row["behind"], row["commits"], row["rewritten"], row["size"]) == (False, 0, False, 0)


def test_a_fault_wins_over_what_is_behind(source: Source, app: Git) -> None:
    datareg(app, "import", "-q", source.url, "notes.txt")
    app.run("config", "--file", "notes.txt.datareg", "import.url", "/nowhere")
    app.commit_all()
    advance(source)
    done = datareg(app, "update", "--check", "--all", check=False)
    assert done.returncode == 1 and done.stdout.startswith("faces: behind by 1 commit: ")
    assert "no such repository: /nowhere" in done.stderr
    fault(datareg(app, "update", "--check", "notes.txt", check=False), 3, "/nowhere")


def test_what_the_globs_leave_out_is_no_change(source: Source, app: Git) -> None:
    given = ["-q", "--rev", "follow", "-I", "sub/*", "-o", "some"]
    datareg(app, "import", source.url, "faces", *given)
    app.commit_all()
    advance(source)
    assert datareg(app, "update", "--check", "some").stdout == "some: up to date\n"
    assert datareg(app, "update", "some").stderr == "some: up to date\n"
    assert app.status() == ""


def test_a_commit_that_is_followed_is_not_asked_for(source: Source, app: Git) -> None:
    commit = source.work.out("rev-parse", "v1^{commit}")
    datareg(app, "update", "--rev", commit, "faces")
    app.commit_all()
    source.remote.path.rename(source.remote.path.with_name("gone"))
    assert datareg(app, "update", "faces").stderr == "faces: up to date\n"
    assert datareg(app, "update", "--check", "--all").stdout == "faces: up to date\n"
    assert "up to date" in datareg(app, "status", "--fetch").stdout


def test_a_tracked_branch_can_be_pinned_where_it_is_without_asking(
    source: Source, app: Git
) -> None:
    commit = source.work.out("rev-parse", "v1^{commit}")
    source.remote.path.rename(source.remote.path.with_name("gone"))
    datareg(app, "update", "--rev", commit, "faces")
    assert app.status() == "M  faces.datareg"
    assert f"rev = {commit}\n" in (app.path / "faces.datareg").read_text()


def test_all_updates_every_import_and_one_fault_keeps_no_other_back(
    source: Source, app: Git
) -> None:
    datareg(app, "import", "-q", "--rev", "follow", source.url, "model.bin", "-o", "a.bin")
    datareg(app, "import", "-q", source.url, "notes.txt")
    app.commit_all()
    app.run("config", "--file", "a.bin.datareg", "import.url", "/nowhere")
    advance(source)
    done = datareg(app, "update", "--all", "--json", check=False)
    fault(done, 1, "no such repository: /nowhere", "1 of 3 imports could not be updated")
    assert [row["target"] for row in json.loads(done.stdout)] == ["faces", "notes.txt"]
    assert below(app.path / "faces") == FACES_NEW


def test_without_imports_all_does_nothing(tmp_path: Path) -> None:
    git = consumer(tmp_path / "app")
    assert datareg(git, "update", "--all", "--json").stdout == "[]\n"


def test_what_can_not_be_meant_is_one_clear_line(app: Git) -> None:
    for arguments, code, words in (
        ([], 2, "--all"),
        (["--all", "faces"], 2, "--all"),
        (["README"], 3, "not an import: README"),
        (["nothing.datareg"], 3, "not an import: nothing.datareg"),
        (["."], 4, "not below"),
        (["--rev", "v9", "faces"], 3, "no such revision: v9"),
    ):
        fault(datareg(app, "update", *arguments, check=False), code, words)
        assert app.status() == ""


EDITS = ["changed", "changed and staged", "changed and committed", "in the way", "mode", "link"]


def _edit(app: Git, kind: str) -> str:
    path = "faces/d.jpg" if kind == "in the way" else "faces/a.jpg"
    if kind == "mode":
        (app.path / path).chmod(0o755)
    elif kind == "link":
        (app.path / path).unlink()
        (app.path / path).symlink_to("b.jpg")
    else:
        app.write(path, b"mine")
    if "staged" in kind:
        app.run("add", path)
    if "committed" in kind:
        app.commit_all()
    return path


@pytest.mark.parametrize("kind", EDITS)
def test_what_was_changed_here_is_refused_unless_forced(
    source: Source, app: Git, kind: str
) -> None:
    path = _edit(app, kind)
    advance(source)
    before = (tree(app), app.status())
    done = datareg(app, "update", "faces", check=False)
    fault(done, 4, f"changed here since the import: {path}", "-f")
    assert (tree(app), app.status()) == before
    datareg(app, "update", "-f", "faces")
    assert below(app.path / "faces") == FACES_NEW
    assert all(line[1] == " " for line in app.status().splitlines())


def test_a_change_that_is_the_sources_own_is_no_obstacle(source: Source, app: Git) -> None:
    app.write("faces/a.jpg", NEW["a.jpg"])
    app.write("faces/d.jpg", NEW["d.jpg"])
    app.write("faces/README.md", b"faces, version 2\n")
    advance(source)
    datareg(app, "update", "faces")
    assert below(app.path / "faces") == FACES_NEW


def test_touched_files_are_no_obstacle(source: Source, app: Git) -> None:
    for path in (app.path / "faces").rglob("*"):
        os.utime(path, follow_symlinks=False)
    advance(source)
    datareg(app, "update", "faces")
    assert below(app.path / "faces") == FACES_NEW


def test_files_that_were_removed_here_come_back(source: Source, app: Git) -> None:
    (app.path / "faces/a.jpg").unlink()
    shutil.rmtree(app.path / "faces/sub")
    advance(source)
    datareg(app, "update", "faces")
    assert below(app.path / "faces") == FACES_NEW


def test_files_of_the_users_own_survive(source: Source, app: Git) -> None:
    app.write("faces/own.txt", b"mine")
    app.write("faces/own/deep/file", b"mine, deep")
    (app.path / "faces/link").symlink_to("own")
    app.write(".gitignore", b"*.log\n")
    app.write("faces/run.log", b"ignored")
    advance(source)
    datareg(app, "update", "faces")
    assert below(app.path / "faces") == {
        **FACES_NEW,
        "own.txt": b"mine",
        "own/deep/file": b"mine, deep",
        "link": "own",
        "run.log": b"ignored",
    }


def test_a_file_of_the_users_own_where_a_directory_is_to_be_is_refused(
    source: Source, app: Git
) -> None:
    source.work.write("faces/new/x.jpg", data("x"))
    source.publish()
    advance(source, "main")
    app.write("faces/new", b"mine")
    before = tree(app)
    done = datareg(app, "update", "faces", check=False)
    fault(done, 4, "in the way", "faces/new")
    assert tree(app) == before and app.status() == "?? faces/new"


def test_a_file_that_becomes_a_directory_and_back(source: Source, app: Git) -> None:
    source.work.run("rm", "--quiet", "-r", "faces/sub", "faces/a.jpg", "faces/latest.jpg")
    source.work.write("faces/sub", b"a file now")
    source.work.write("faces/a.jpg/x.jpg", data("x"))
    source.publish()
    advance(source, "main")
    datareg(app, "update", "faces")
    assert (app.path / "faces/sub").read_bytes() == b"a file now"
    assert (app.path / "faces/a.jpg/x.jpg").read_bytes() == data("x")
    app.commit_all()
    advance(source, "v1")
    datareg(app, "update", "faces")
    assert below(app.path / "faces") == FACES_OLD
    app.commit_all()
    assert app.status() == ""


@pytest.mark.parametrize("back", [False, True])
def test_an_import_that_becomes_a_file_or_a_directory(source: Source, app: Git, back: bool) -> None:
    source.work.run("rm", "--quiet", "-r", "faces")
    source.work.write("faces", b"a plain file now\n")
    source.publish()
    advance(source, "main")
    datareg(app, "update", "faces")
    assert (app.path / "faces").read_bytes() == b"a plain file now\n"
    app.commit_all()
    if back:
        advance(source)
        datareg(app, "update", "faces")
        assert below(app.path / "faces") == FACES_NEW
        app.commit_all()
    assert app.status() == ""
    assert app.filter_use("status") == IDLE


def test_a_single_file_follows_its_source(source: Source, app: Git) -> None:
    datareg(app, "import", "-q", "--rev", "follow", source.url, "faces/a.jpg", "-o", "one.jpg")
    app.commit_all()
    advance(source)
    [row] = json.loads(datareg(app, "update", "--json", "one.jpg").stdout)
    assert (row["added"], row["changed"], row["removed"]) == (0, 1, 0)
    assert (app.path / "one.jpg").read_bytes() == NEW["a.jpg"]
    assert app.filter_use("status") == IDLE
    app.write("one.jpg", b"mine")
    done = datareg(app, "update", "--rev", "v1", "one.jpg", check=False)
    fault(done, 4, "changed here", "one.jpg")


def test_a_new_mode_alone_is_a_change(source: Source, app: Git) -> None:
    datareg(app, "import", "-q", "--rev", "follow", source.url, "model.bin")
    app.commit_all()
    (source.work.path / "model.bin").chmod(0o755)
    source.publish()
    advance(source, "main")
    datareg(app, "update", "model.bin")
    assert os.access(app.path / "model.bin", os.X_OK)
    assert app.out("ls-files", "--stage", "model.bin").startswith("100755 ")


def test_data_that_becomes_plain_and_plain_that_becomes_data(source: Source, app: Git) -> None:
    source.work.run("rm", "--quiet", "--cached", "-r", "faces")
    source.work.write(".gitattributes", b"*.md filter=datareg -text -merge -diff\n")
    source.publish()
    advance(source, "main")
    datareg(app, "update", "faces")
    assert below(app.path / "faces") == FACES_NEW
    assert blob(app, ":faces/a.jpg") == NEW["a.jpg"]
    assert blob(app, ":faces/README.md") == pointer(b"faces, version 2\n")
    app.commit_all()
    for path in (app.path / "faces").rglob("*"):
        os.utime(path, follow_symlinks=False)
    assert app.status() == ""


def test_globs_are_honoured(source: Source, app: Git) -> None:
    given = ["-I", "*.jpg", "-X", "latest.jpg", "-o", "some"]
    datareg(app, "import", "-q", "--rev", "follow", source.url, "faces", *given)
    app.commit_all()
    advance(source)
    datareg(app, "update", "some")
    assert below(app.path / "some") == {"a.jpg": NEW["a.jpg"], "d.jpg": NEW["d.jpg"]}


def test_a_path_that_is_gone_is_told_and_nothing_changes(source: Source, app: Git) -> None:
    source.work.run("mv", "faces", "people")
    source.publish()
    advance(source, "main")
    done = datareg(app, "update", "faces", check=False)
    fault(done, 3, "no such path any more: faces in", "imported to faces")
    assert below(app.path / "faces") == FACES_OLD and app.status() == ""


def rewrite(source: Source, *, forget: bool) -> None:
    """Have `follow` go on from nothing, with another a.jpg; the old commits may be gone."""
    source.work.run("checkout", "--quiet", "--orphan", "fresh", "v1")
    source.work.write("faces/a.jpg", data("rewritten"))
    source.publish()
    advance(source, "main")
    if forget:
        source.remote.run("update-ref", "-d", "refs/heads/old")
        source.remote.run("tag", "-d", "v1", "v2")
        source.remote.run("reflog", "expire", "--expire=now", "--all")
        source.remote.run("gc", "--quiet", "--prune=now")


@pytest.mark.parametrize("forget", [False, True])
def test_a_rewritten_history_is_followed_and_said(source: Source, app: Git, forget: bool) -> None:
    old = source.work.out("rev-parse", "v1^{commit}")
    rewrite(source, forget=forget)
    new = source.remote.out("rev-parse", "follow")
    warning = (
        f"git-datareg: warning: history was rewritten: follow of {source.url} is at {new}, "
        f"which does not descend from {old}, where faces is from\n"
    )
    text = "behind, history was rewritten: 0 added, 1 changed, 0 removed"
    done = datareg(app, "update", "--check", "faces", check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, f"faces: {text}\n", warning)
    done = datareg(app, "update", "--check", "--json", "faces", check=False)
    [row] = json.loads(done.stdout)
    assert (row["rewritten"], row["commits"], row["changed"]) == (True, None, 1)
    done = datareg(app, "status", "--fetch")
    assert text in done.stdout and done.stderr == warning
    done = datareg(app, "update", "faces")
    assert done.stderr == f"{warning}faces: 0 added, 1 changed, 0 removed, at {new[:12]}\n"
    assert (app.path / "faces/a.jpg").read_bytes() == data("rewritten")
    assert datareg(app, "update", "faces").stderr == "faces: up to date\n"


def test_a_switch_to_another_branch_is_no_rewritten_history(source: Source, app: Git) -> None:
    rewrite(source, forget=False)
    done = datareg(app, "update", "--rev", "main", "faces")
    assert "rewritten" not in done.stderr


def test_a_rewritten_history_with_the_same_files_is_no_change(source: Source, app: Git) -> None:
    source.work.run("checkout", "--quiet", "--orphan", "fresh", "v1")
    source.work.write("notes.txt", b"other notes\n")
    source.publish()
    advance(source, "main")
    for ref in ("refs/heads/old", "refs/tags/v1", "refs/tags/v2"):
        source.remote.run("update-ref", "-d", ref)
    source.remote.run("reflog", "expire", "--expire=now", "--all")
    source.remote.run("gc", "--quiet", "--prune=now")
    assert datareg(app, "update", "faces").stderr == "faces: up to date\n"
    assert app.status() == ""


def test_committed_edits_are_seen_when_the_history_is_gone(source: Source, app: Git) -> None:
    app.write("faces/a.jpg", b"mine")
    app.commit_all()
    rewrite(source, forget=True)
    done = datareg(app, "update", "faces", check=False)
    assert done.returncode == 4 and "changed here since the import: faces/a.jpg" in done.stderr
    assert (app.path / "faces/a.jpg").read_bytes() == b"mine"


def forget_objects(source: Source) -> None:
    """Have the data nowhere but in work trees."""
    shutil.rmtree(os.environ["GIT_DATAREG_CACHE"])
    shutil.rmtree(source.storage / "objects")


def test_files_that_were_renamed_are_not_fetched_again(source: Source, app: Git) -> None:
    source.work.run("checkout", "--quiet", "v1")
    source.work.run("mv", "faces/a.jpg", "faces/renamed.jpg")
    source.work.run("mv", "faces/b.jpg", "faces/sub/moved.jpg")
    source.publish()
    advance(source, "main")
    forget_objects(source)
    done = datareg(app, "update", "--check", "--json", "faces", check=False)
    [row] = json.loads(done.stdout)
    assert (row["added"], row["removed"], row["size"]) == (2, 2, 0)
    [row] = json.loads(datareg(app, "update", "--json", "faces").stdout)
    assert row["fetched"] == 0
    found = below(app.path / "faces")
    assert found["renamed.jpg"] == OLD["a.jpg"] and found["sub/moved.jpg"] == OLD["b.jpg"]
    assert "a.jpg" not in found and "b.jpg" not in found
    assert app.filter_use("status") == IDLE
    assert {line[:2] for line in app.status().splitlines()} == {"M ", "R "}


def test_a_new_mode_fetches_nothing(source: Source, app: Git) -> None:
    source.work.run("checkout", "--quiet", "v1")
    (source.work.path / "faces/a.jpg").chmod(0o755)
    source.publish()
    advance(source, "main")
    forget_objects(source)
    [row] = json.loads(datareg(app, "update", "--json", "faces").stdout)
    assert (row["changed"], row["fetched"], row["size"]) == (1, 0, 0)
    assert os.access(app.path / "faces/a.jpg", os.X_OK)
    assert app.filter_use("status") == IDLE


def test_an_update_can_leave_the_download_to_pull(source: Source, app: Git) -> None:
    advance(source)
    datareg(app, "update", "--no-download", "faces")
    assert (app.path / "faces/d.jpg").read_bytes() == pointer(NEW["d.jpg"])
    assert (app.path / "faces/sub/c.bin").read_bytes() == OLD["sub/c.bin"]
    assert app.filter_use("status") == IDLE
    app.commit_all()
    datareg(app, "pull")
    assert below(app.path / "faces") == FACES_NEW
    assert app.status() == ""


def test_a_file_moves_from_git_to_tracked_data_and_back(source: Source, app: Git) -> None:
    datareg(app, "import", "-q", "--rev", "follow", source.url, "notes.txt")
    app.commit_all()
    source.work.run("datareg", "track", "notes.txt")
    source.work.write("notes.txt", data("notes as data"))
    source.publish()
    advance(source, "main")
    datareg(app, "update", "notes.txt")
    assert (app.path / "notes.txt").read_bytes() == data("notes as data")
    assert blob(app, ":notes.txt") == pointer(data("notes as data"))
    assert app.filter_use("commit", "--quiet", "--message", "now data") == IDLE
    source.work.run("datareg", "untrack", "notes.txt")
    source.work.write("notes.txt", b"plain again\n")
    source.publish()
    advance(source, "main")
    datareg(app, "update", "notes.txt")
    assert blob(app, ":notes.txt") == (app.path / "notes.txt").read_bytes() == b"plain again\n"
    app.commit_all()
    os.utime(app.path / "notes.txt")
    assert app.status() == ""


def test_imports_of_one_registry_follow_revisions_of_their_own(source: Source, app: Git) -> None:
    datareg(app, "import", "-q", "--rev", "v1", source.url, "faces", "-o", "deep/er/first")
    datareg(app, "import", "-q", "--rev", "v2", source.url, "faces", "-o", "second")
    datareg(app, "import", "-q", "--rev", "v1", source.url, "faces/a.jpg", "-o", "a.jpg")
    app.commit_all()
    advance(source)
    done = datareg(app, "update", "--all")
    assert [line.partition(",")[0] for line in done.stderr.splitlines()] == [
        "a.jpg: up to date",
        "deep/er/first: up to date",
        "faces: 1 added",
        "second: up to date",
    ]
    assert below(app.path / "deep/er/first") == FACES_OLD
    assert below(app.path / "second") == below(app.path / "faces") == FACES_NEW
    datareg(app, "update", "-j", "3", "--rev", "v2", "deep/er/first")
    assert below(app.path / "deep/er/first") == FACES_NEW
    assert (app.path / "a.jpg").read_bytes() == OLD["a.jpg"]


def test_line_ends_of_this_machine_are_no_change_of_the_users(source: Source, app: Git) -> None:
    app.run("config", "core.autocrlf", "true")
    (app.path / "faces/README.md").unlink()
    app.run("checkout", "--", "faces/README.md")
    assert (app.path / "faces/README.md").read_bytes() == b"faces\r\n"
    os.utime(app.path / "faces/README.md", (1, 1))
    advance(source)
    datareg(app, "update", "faces")
    assert blob(app, ":faces/README.md") == b"faces, version 2\n"
    assert app.filter_use("status") == IDLE
    app.run("commit", "--quiet", "--message", "update")
    assert app.status() == ""
    for path in (app.path / "faces").rglob("*"):
        os.utime(path, follow_symlinks=False)
    assert app.status() == ""


@pytest.mark.parametrize("way", ["missing", "damaged"])
def test_what_can_not_be_had_leaves_all_as_it_was(source: Source, app: Git, way: str) -> None:
    advance(source)
    object = source.object(NEW["d.jpg"])
    object.chmod(0o644)
    if way == "missing":
        object.unlink()
    else:
        object.write_bytes(bytes(len(NEW["d.jpg"])))
    before = tree(app)
    fault(datareg(app, "update", "faces", check=False), 3 if way == "missing" else 6, "faces/d.jpg")
    assert tree(app) == before and app.status() == ""


def test_a_locked_index_puts_all_back(source: Source, app: Git) -> None:
    app.write("faces/own.txt", b"mine")
    advance(source)
    before = tree(app)
    (app.path / ".git/index.lock").touch()
    fault(datareg(app, "update", "faces", check=False), 128, "index.lock")
    (app.path / ".git/index.lock").unlink()
    assert tree(app) == before
    assert app.status() == "?? faces/own.txt"


def test_an_unwritable_directory_is_one_line_and_all_stays(source: Source, app: Git) -> None:
    datareg(app, "import", "-q", "--rev", "follow", source.url, "faces", "-o", "sub/faces")
    app.commit_all()
    advance(source)
    (app.path / "sub").chmod(0o555)
    done = run_unprivileged(app, "datareg", "update", "sub/faces")
    fault(done, 5, "can't write", "Permission denied")
    assert below(app.path / "sub/faces") == FACES_OLD and app.status() == ""


@pytest.mark.parametrize(
    "text", [b"", b"[import\n", b"[import]\n\turl = x\n\tpath = y\n\tcommit = main\n", b"\xff"]
)
def test_a_corrupt_metafile_is_named(app: Git, text: bytes) -> None:
    app.write("faces.datareg", text)
    fault(datareg(app, "update", "faces", check=False), 6, "faces.datareg")


def test_keys_of_later_versions_in_a_metafile_are_left_aside(source: Source, app: Git) -> None:
    with (app.path / "faces.datareg").open("a") as file:
        file.write("\tcolour = red\n[later]\n\tkey = value\n")
    app.commit_all()
    advance(source)
    datareg(app, "update", "faces")
    assert below(app.path / "faces") == FACES_NEW


def test_outside_of_a_repository_or_in_a_bare_one_it_is_refused(
    source: Source, tmp_path: Path
) -> None:
    fault(datareg(tmp_path, "update", "faces", check=False), 3, "not a git repository")
    fault(datareg(source.remote, "update", "faces", check=False), 2, "bare repository")


def test_attributes_are_not_shuffled(source: Source, app: Git) -> None:
    datareg(app, "import", "-q", source.url, "model.bin")
    app.commit_all()
    advance(source)
    datareg(app, "update", "faces")
    assert ".gitattributes" not in app.status()
    assert (app.path / "model.bin").read_bytes() == MODEL


#: Where a process is killed: just before its nth call of a function, or just behind it.
DEATHS = [
    ("git_datareg.delivery", "build", "after"),
    ("git_datareg.files", "exchange", "before"),
    ("git_datareg.files", "exchange", "after"),
    ("git_datareg.files", "move_new", "after"),
    ("git_datareg.recording", "write_atomically", "after"),
    ("git_datareg.recording", "stage", "after"),
    ("git_datareg.recording", "refresh", "before"),
    ("git_datareg.recording", "refresh", "after"),
    ("git_datareg.delivery", "bring", "after"),
]
_DYING = """
import importlib, os, signal, sys
module, name, when, *arguments = sys.argv[1:]
module = importlib.import_module(module)
function = getattr(module, name)
def dying(*args, **kwargs):
    if when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    function(*args, **kwargs)
    os.kill(os.getpid(), signal.SIGKILL)
setattr(module, name, dying)
from git_datareg.main import main
raise SystemExit(main(arguments))
"""


def _die(git: Git, death: tuple[str, str, str], *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _DYING, *death, *arguments], cwd=git.path, capture_output=True
    )
    # Not all of them are called each time.
    assert done.returncode in (-9, 0), done.stderr


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize("death", DEATHS, ids=lambda death: f"{death[2]} {death[1]}")
def test_an_update_that_is_killed_is_finished_by_the_next(
    source: Source, app: Git, death: tuple[str, str, str]
) -> None:
    app.write("faces/own.txt", b"mine")
    advance(source)
    _die(app, death, "update", "faces")
    states = [{**files, "own.txt": b"mine"} for files in (FACES_OLD, FACES_NEW)]
    assert below(app.path / "faces") in states
    datareg(app, "update", "faces")
    assert below(app.path / "faces") == {**FACES_NEW, "own.txt": b"mine"}
    assert app.status().splitlines() == [
        "M  faces.datareg",
        "M  faces/README.md",
        "M  faces/a.jpg",
        "D  faces/b.jpg",
        "A  faces/d.jpg",
        "?? faces/own.txt",
    ]
    app.run("add", ":/", ":!faces/own.txt")
    assert "faces.datareg" in app.out("diff", "--cached", "--name-only")
    assert not list(app.path.glob(".*datareg-new*"))


@pytest.mark.parametrize(
    "death",
    [
        ("git_datareg.recording", "stage", "before"),
        ("git_datareg.recording", "stage", "after"),
        ("git_datareg.importing", "write_atomically", "after"),
    ],
    ids=lambda death: f"{death[2]} {death[1]}",
)
def test_a_switch_that_is_killed_is_finished_by_the_next(
    source: Source, app: Git, death: tuple[str, str, str]
) -> None:
    _die(app, death, "update", "--rev", "v1", "faces")
    datareg(app, "update", "--rev", "v1", "faces")
    assert app.status() == "M  faces.datareg"
    assert "rev = v1\n" in (app.path / "faces.datareg").read_text()


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize("death", DEATHS, ids=lambda death: f"{death[2]} {death[1]}")
@pytest.mark.parametrize("path", ["faces", "model.bin"])
def test_an_import_that_is_killed_is_finished_by_the_next(
    source: Source, tmp_path: Path, death: tuple[str, str, str], path: str
) -> None:
    git = consumer(tmp_path / "other")
    _die(git, death, "import", source.url, path)
    if path == "faces":
        assert below(git.path / "faces") in ({}, FACES_NEW)
    else:
        present = git.path / path
        assert not present.exists() or present.read_bytes() == MODEL
    if not (git.path / f"{path}.datareg").exists():
        datareg(git, "import", source.url, path)
    if path == "faces":
        assert below(git.path / "faces") == FACES_NEW
    else:
        assert (git.path / "model.bin").read_bytes() == MODEL
    assert {line[:2] for line in git.status().splitlines()} == {"A "}
    git.commit_all()
    assert git.status() == ""
    assert not list(git.path.glob(".*datareg-new*"))
