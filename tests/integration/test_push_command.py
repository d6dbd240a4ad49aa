"""`git datareg push`: objects alone, without refs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.consumers import MODEL, NEW, OLD, Source, datareg, fault, gallery
from tests.support.filtered import data
from tests.support.gitrun import Git
from tests.support.registries import objects_in, refs_of


@pytest.fixture
def source(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Source:
    return gallery(tmp_path_factory, tmp_path)


def test_what_head_needs_is_stored_and_no_ref_moves(source: Source) -> None:
    shutil.rmtree(source.storage)
    before = refs_of(source.remote)
    done = datareg(source.work, "push")
    assert done.stdout == ""
    # With its history: all that anybody who has the branch can check out.
    assert done.stderr == f"6 objects stored in {source.storage}, 0 there already\n"
    assert len(objects_in(source.storage)) == len({*OLD.values(), *NEW.values(), MODEL})
    assert refs_of(source.remote) == before
    again = datareg(source.work, "push").stderr
    assert again == f"0 objects stored in {source.storage}, 6 there already\n"


def test_what_refs_or_all_of_them_need_is_stored(source: Source) -> None:
    shutil.rmtree(source.storage)
    source.work.run("checkout", "--quiet", "-b", "side", "v1")
    source.work.write("side.jpg", data("side"))
    source.work.commit_all()
    assert datareg(source.work, "push", "origin", "v1").stderr.startswith("4 objects stored")
    assert datareg(source.work, "push", "--all").stderr.startswith("3 objects stored")


def test_a_storage_can_be_named(source: Source, tmp_path: Path) -> None:
    datareg(source.work, "storage", "add", "other", str(tmp_path / "other"))
    datareg(source.work, "push", "-q", "--storage", "other")
    assert len(objects_in(tmp_path / "other")) == 6
    done = datareg(source.work, "push", "--storage", "nothing", check=False)
    fault(done, 5, "nothing")


def test_a_remote_is_a_name_or_a_url(source: Source, tmp_path: Path) -> None:
    mirror = Git(tmp_path / "mirror.git").init("--bare")
    datareg(source.work, "push", str(mirror.path))
    assert len(objects_in(mirror.path / "datareg")) == 6
    source.work.run("remote", "add", "second", str(mirror.path))
    assert "0 objects stored" in datareg(source.work, "push", "second").stderr


def test_without_data_there_is_nothing_to_do(source: Source, tmp_path: Path) -> None:
    git = Git(tmp_path / "plain").init()
    git.write("file", b"plain")
    git.commit_all()
    git.run("remote", "add", "origin", source.url)
    assert datareg(git, "push").stderr == "no data files to push\n"
    assert datareg(git, "push", "-q").stderr == ""


@pytest.mark.parametrize("remote", [False, True])
def test_without_a_place_it_is_refused(source: Source, remote: bool) -> None:
    source.work.run("remote", "remove", "origin")
    if remote:
        source.work.run("remote", "add", "origin", "https://git.example.org/x.git")
    fault(datareg(source.work, "push", check=False), 5, "storage", "git datareg storage add")


def test_a_storage_of_its_own_needs_no_remote(source: Source, tmp_path: Path) -> None:
    source.work.run("remote", "remove", "origin")
    datareg(source.work, "storage", "add", "-d", "disk", str(tmp_path / "disk"))
    datareg(source.work, "push", "-q")
    assert len(objects_in(tmp_path / "disk")) == 6


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [(["origin", "v9"], 3, "no such revision: v9"), (["-j", "x"], 2, "not a number")],
)
def test_what_can_not_be_meant_is_one_clear_line(
    source: Source, arguments: list[str], code: int, words: str
) -> None:
    fault(datareg(source.work, "push", *arguments, check=False), code, words)


def test_an_object_that_is_nowhere_is_named(source: Source) -> None:
    shutil.rmtree(source.storage)
    shutil.rmtree(source.work.path / ".git/datareg/objects")
    done = datareg(source.work, "push", check=False)
    fault(done, 1, "faces/a.jpg: object", "model.bin: object", "could not be stored")


def test_a_repository_without_commits_says_so(tmp_path: Path) -> None:
    git = Git(tmp_path / "new").init()
    fault(datareg(git, "push", check=False), 3, "no such revision: HEAD")
    assert datareg(git, "push", "--all", check=False).returncode in (0, 5)
