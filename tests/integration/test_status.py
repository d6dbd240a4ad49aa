"""`git datareg status`: how the data files of a repository stand."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from tests.support.consumers import MODEL, NEW, Source, consumer, datareg, fault, gallery
from tests.support.filtered import data
from tests.support.gitrun import Git


@pytest.fixture
def source(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Source:
    return gallery(tmp_path_factory, tmp_path)


def facts(git: Git, *options: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(datareg(git, "status", "--json", *options).stdout)
    return found


def paths(rows: list[dict[str, Any]]) -> list[str]:
    return [row["path"] for row in rows]


def test_nothing_to_tell_is_told_briefly(source: Source) -> None:
    assert datareg(source.work, "status").stdout == "4 data files tracked\n"
    assert facts(source.work) == {
        "staged": [],
        "changed": [],
        "missing": [],
        "unpushed": [],
        "imports": [],
    }


def test_changes_are_told_by_what_is_to_be_done_about_them(source: Source) -> None:
    git = source.work
    git.write("faces/new.jpg", data("new"))
    git.run("add", "faces/new.jpg")
    git.run("rm", "--quiet", "faces/d.jpg")
    git.write("model.bin", data("changed"))
    (git.path / "faces/a.jpg").unlink()
    git.write("notes.txt", b"not a data file\n")
    found = facts(git)
    assert paths(found["staged"]) == ["faces/d.jpg", "faces/new.jpg"]
    assert paths(found["changed"]) == ["faces/a.jpg", "model.bin"]
    assert found["unpushed"] == []
    text = datareg(git, "status").stdout
    assert "staged data, to be committed (2 files):\n  faces/d.jpg\n  faces/new.jpg\n" in text
    assert "changed data, not staged (2 files):\n  faces/a.jpg\n  model.bin\n" in text


@pytest.mark.parametrize("changed", ["touch", "mode", "link"])
def test_to_be_touched_is_no_change_but_a_new_mode_or_kind_is(source: Source, changed: str) -> None:
    path = source.work.path / "model.bin"
    if changed == "touch":
        os.utime(path)
    elif changed == "mode":
        path.chmod(0o755)
    else:
        path.unlink()
        path.symlink_to("run.sh")
    assert paths(facts(source.work)["changed"]) == ([] if changed == "touch" else ["model.bin"])


def test_what_is_not_pushed_is_told_with_its_size(source: Source) -> None:
    content = data("unpushed", 5000)
    source.work.write("faces/x.jpg", content)
    source.work.commit_all()
    row = {"path": "faces/x.jpg", "id": blake3(content).hexdigest(), "size": 5000}
    assert facts(source.work)["unpushed"] == [row]
    text = datareg(source.work, "status").stdout
    assert "data not pushed yet (1 file, 4.9 KiB):\n  faces/x.jpg\n" in text
    source.work.run("push", "--quiet", "origin", "main")
    assert facts(source.work)["unpushed"] == []


def test_pointers_without_their_data_are_told(source: Source, tmp_path: Path) -> None:
    env = {"GIT_DATAREG_SKIP_SMUDGE": "1"}
    Git(tmp_path).run("clone", "--quiet", f"datareg::{source.url}", "copy", env=env)
    found = facts(Git(tmp_path / "copy"))
    assert paths(found["missing"]) == ["faces/a.jpg", "faces/d.jpg", "faces/sub/c.bin", "model.bin"]
    assert found["missing"][3] == {
        "path": "model.bin",
        "id": blake3(MODEL).hexdigest(),
        "size": len(MODEL),
    }
    assert "git datareg pull" in datareg(tmp_path / "copy", "status").stdout


def test_long_lists_are_cut_for_people_only(source: Source) -> None:
    for number in range(25):
        source.work.write(f"many/{number:02}.jpg", data(str(number), 10))
    source.work.run("add", "--all")
    assert "  many/09.jpg\n  and 15 more\n" in datareg(source.work, "status").stdout
    assert len(facts(source.work)["staged"]) == 25


@pytest.fixture
def app(source: Source, tmp_path: Path) -> Git:
    source.remote.run("branch", "follow", "v1")
    git = consumer(tmp_path / "app")
    datareg(git, "import", "-q", "--rev", "follow", source.url, "faces")
    git.commit_all()
    return git


def test_imports_are_told_and_their_objects_are_not_ours_to_push(
    source: Source, app: Git, tmp_path: Path
) -> None:
    app.run("remote", "add", "origin", str(tmp_path / "nowhere.git"))
    found = facts(app)
    commit = source.work.out("rev-parse", "v1^{commit}")
    assert found["imports"] == [
        {
            "target": "faces",
            "url": source.url,
            "path": "faces",
            "rev": "follow",
            "commit": commit,
            "behind": None,
            **dict.fromkeys(["available", "commits", "rewritten"]),
            **dict.fromkeys(["added", "changed", "removed", "size"]),
        }
    ]
    assert found["unpushed"] == []
    line = f"  faces from {source.url} at follow ({commit[:12]})\n"
    assert datareg(app, "status").stdout.endswith(f"imports:\n{line}")


def test_the_sources_are_asked_on_request_only(source: Source, app: Git) -> None:
    assert facts(app, "--fetch")["imports"][0]["behind"] is False
    assert datareg(app, "status", "--fetch").stdout.endswith("\n    up to date\n")
    source.remote.run("branch", "--force", "follow", "v2")
    assert facts(app)["imports"][0]["behind"] is None
    [row] = facts(app, "--fetch")["imports"]
    wanted = {"behind": True, "commits": 1, "rewritten": False, "added": 1, "changed": 2}
    assert wanted.items() <= row.items()
    assert row["available"] == source.work.out("rev-parse", "v2^{commit}")
    text = "    behind by 1 commit: 1 added, 2 changed, 1 removed: git datareg update\n"
    assert text in datareg(app, "status", "--fetch").stdout
    assert app.status() == ""


def test_a_source_that_is_gone_keeps_nothing_else_back(source: Source, app: Git) -> None:
    source.remote.path.rename(source.remote.path.with_name("gone"))
    assert datareg(app, "status").returncode == 0
    done = datareg(app, "status", "--fetch", "--json", check=False)
    fault(done, 3, "no such repository")
    assert json.loads(done.stdout)["imports"][0]["target"] == "faces"


@pytest.mark.parametrize("text", [b"not one", None])
def test_a_metafile_that_can_not_be_read_is_named_last(app: Git, text: bytes | None) -> None:
    path = app.path / "faces.datareg"
    path.unlink()
    if text is not None:
        path.write_bytes(text)
    done = datareg(app, "status", check=False)
    fault(done, 6, "faces.datareg")
    assert done.stdout.startswith("3 data files tracked\n")


def test_odd_names_are_told(source: Source) -> None:
    for name in (b"new\nline.jpg", b"not \xff utf-8.jpg"):
        source.work.write(name, data(repr(name)))
    source.work.run("add", "--all")
    raw = source.work.run_bytes("datareg", "status").stdout
    assert b'  "new\\nline.jpg"\n' in raw and b"  not \xff utf-8.jpg\n" in raw
    assert paths(facts(source.work)["staged"]) == ["new\nline.jpg", "not \udcff utf-8.jpg"]


def test_a_key_that_is_not_allowed_in_datareg_is_a_warning(source: Source) -> None:
    with (source.work.path / ".datareg").open("a") as file:
        file.write('[storage "x"]\n\tcommand = rm\n')
    done = datareg(source.work, "status")
    assert "git-datareg: warning: " in done.stderr and "command" in done.stderr


def test_a_new_repository_has_nothing(tmp_path: Path) -> None:
    git = Git(tmp_path / "new").init()
    assert datareg(git, "status").stdout == "0 data files tracked\n"


def test_data_that_was_changed_in_an_import_is_ours_to_push(
    source: Source, app: Git, tmp_path: Path
) -> None:
    app.write("faces/a.jpg", data("ours"))
    app.commit_all()
    assert paths(facts(app)["unpushed"]) == ["faces/a.jpg"]
    assert facts(app)["unpushed"][0]["id"] != blake3(NEW["a.jpg"]).hexdigest()
