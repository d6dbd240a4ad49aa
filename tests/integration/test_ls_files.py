"""`git datareg ls-files`: which data files there are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from blake3 import blake3

from tests.support.consumers import MODEL, NEW, OLD, Source, datareg, fault, gallery
from tests.support.filtered import data
from tests.support.gitrun import Git

NOW = [*(f"faces/{name}" for name in sorted(NEW)), "model.bin"]
BEFORE = [*(f"faces/{name}" for name in sorted(OLD)), "model.bin"]


@pytest.fixture
def source(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Source:
    return gallery(tmp_path_factory, tmp_path)


def listed(git: Git | Path, *arguments: str | bytes) -> list[str]:
    return datareg(git, "ls-files", *arguments).stdout.splitlines()


def test_the_data_files_of_the_index_are_listed(source: Source) -> None:
    assert listed(source.work) == NOW
    source.work.write("faces/new.jpg", data("new"))
    source.work.run("add", "faces/new.jpg")
    assert listed(source.work) == sorted([*NOW, "faces/new.jpg"])


@pytest.mark.parametrize("rev", ["v1", "HEAD~1", "origin/old"])
def test_those_of_a_commit_are_listed(source: Source, rev: str) -> None:
    source.work.run("fetch", "--quiet")
    assert listed(source.work, rev) == BEFORE
    assert listed(source.work, rev, "faces/sub", "model.bin") == ["faces/sub/c.bin", "model.bin"]
    assert listed(source.work, rev, "nothing") == []


def test_paths_are_meant_from_the_current_directory(source: Source) -> None:
    assert listed(source.work.path / "faces", "sub") == ["faces/sub/c.bin"]
    assert listed(source.work.path / "faces", ".") == NOW[:-1]
    assert listed(source.work.path / "faces", "../model.bin") == ["model.bin"]
    assert listed(source.work.path / "faces", "v1", ".") == BEFORE[:-1]


def test_a_file_is_meant_before_a_branch_of_its_name(source: Source) -> None:
    source.work.run("branch", "faces", "v1")
    assert listed(source.work, "faces") == NOW[:-1]


def test_a_file_that_was_removed_is_still_a_path(source: Source) -> None:
    (source.work.path / "model.bin").unlink()
    assert listed(source.work, "model.bin") == ["model.bin"]


def test_long_and_json_tell_id_size_and_presence(source: Source, home: Path) -> None:
    id = blake3(MODEL).hexdigest()
    assert listed(source.work, "-l", "model.bin") == [f"{id[:12]} * {len(MODEL):>14} model.bin"]
    row = {"path": "model.bin", "id": id, "size": len(MODEL), "present": True}
    assert json.loads("\n".join(listed(source.work, "--json", "model.bin"))) == [row]
    (source.work.path / f".git/datareg/objects/{id[:2]}/{id[2:]}").unlink()
    assert listed(source.work, "-l", "model.bin") == [f"{id[:12]} - {len(MODEL):>14} model.bin"]
    assert json.loads("\n".join(listed(source.work, "--json", "HEAD", "model.bin"))) == [
        row | {"present": False}
    ]


def test_a_bare_repository_lists_a_commit(source: Source) -> None:
    assert listed(source.remote, "v1") == BEFORE
    assert listed(source.remote) == NOW


def test_odd_names_are_listed(tmp_path: Path) -> None:
    git = Git(tmp_path / "odd").init()
    datareg(git, "init")
    datareg(git, "track", "*.dat")
    names = [b"*.dat", b"-dash.dat", b"new\nline.dat", b"not \xff utf-8.dat"]
    for name in names:
        git.write(name, data(repr(name)))
    git.commit_all()
    lines = git.run_bytes("datareg", "ls-files").stdout.split(b"\n")
    assert lines == [b"*.dat", b"-dash.dat", b'"new\\nline.dat"', b"not \xff utf-8.dat", b""]
    for name in names:
        [row] = json.loads(git.run("datareg", "ls-files", "--json", "--", name).stdout)
        assert row["path"].encode("utf-8", "surrogateescape") == name


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["nothing"], 3, "no such revision: nothing"),
        (["../x"], 4, "outside of the repository"),
        (["--size"], 2, "--size"),
    ],
)
def test_what_can_not_be_meant_is_one_clear_line(
    source: Source, arguments: list[str], code: int, words: str
) -> None:
    fault(datareg(source.work, "ls-files", *arguments, check=False), code, words)


def test_a_pointer_of_a_later_version_is_named(source: Source) -> None:
    text = b"git-datareg pointer 2\nblake3 " + b"0" * 64 + b"\nsize 1\n"
    source.work.write("later.txt", text)
    source.work.run("add", "later.txt")
    fault(datareg(source.work, "ls-files", check=False), 6, "later.txt")


def test_files_in_conflict_are_left_out(source: Source) -> None:
    source.work.run("checkout", "--quiet", "-b", "side", "v1")
    source.work.write("faces/a.jpg", data("side"))
    source.work.commit_all()
    assert source.work.run("merge", "main", check=False).returncode == 1
    assert "faces/a.jpg" not in listed(source.work)
    assert "model.bin" in listed(source.work)
