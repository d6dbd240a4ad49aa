"""`git datareg fetch`, `checkout` and `pull`: data into the cache, and into the work tree."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.consumers import (
    FACES_NEW,
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
from tests.support.filtered import pointer
from tests.support.githttp import serve
from tests.support.gitrun import FilterUse, Git, clone
from tests.support.registries import objects_in

IDLE = FilterUse(starts=0, cleans=0, smudges=0)
SKIP = {"GIT_DATAREG_SKIP_SMUDGE": "1"}


@pytest.fixture
def source(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Source:
    return gallery(tmp_path_factory, tmp_path)


@pytest.fixture
def copy(source: Source, tmp_path: Path) -> Git:
    """A clone that has pointers only."""
    Git(tmp_path).run("clone", "--quiet", f"datareg::{source.url}", "copy", env=SKIP)
    git = Git(tmp_path / "copy")
    assert (git.path / "model.bin").read_bytes() == pointer(MODEL)
    return git


@pytest.fixture
def cache(home: Path) -> Path:
    return home / "datareg-cache"


def test_pull_puts_data_in_place(copy: Git, cache: Path) -> None:
    done = datareg(copy, "pull")
    assert done.stderr == "4 objects fetched, 4 files put in place\n"
    assert below(copy.path / "faces") == FACES_NEW
    assert os.access(copy.path / "faces/sub/c.bin", os.X_OK)
    assert len(objects_in(cache)) == 4
    assert copy.filter_use("status") == IDLE
    assert copy.status() == ""
    assert datareg(copy, "pull").stderr == "0 objects fetched, 0 files put in place\n"


def test_fetch_brings_objects_and_touches_no_file(copy: Git, cache: Path) -> None:
    before = below(copy.path / "faces")
    assert datareg(copy, "fetch").stderr == "4 objects fetched\n"
    assert below(copy.path / "faces") == before
    assert len(objects_in(cache)) == 4


def test_fetch_brings_what_refs_need(source: Source, copy: Git, cache: Path) -> None:
    assert datareg(copy, "fetch", "v1").stderr == "4 objects fetched\n"
    assert datareg(copy, "fetch", "v1", "v2", "-I", "*.jpg").stderr == "2 objects fetched\n"
    assert len(objects_in(cache)) == 6
    shutil.rmtree(source.storage)
    copy.run("checkout", "--quiet", "v1")
    assert (copy.path / "faces/b.jpg").read_bytes() == OLD["b.jpg"]


def test_fetch_in_a_bare_repository_brings_what_head_needs(
    source: Source, tmp_path: Path, cache: Path
) -> None:
    bare = clone(source.url, tmp_path / "bare.git", "--bare")
    assert datareg(bare, "fetch").stderr == "4 objects fetched\n"
    assert datareg(bare, "fetch", "-q", "v1").stderr == ""
    assert len(objects_in(cache)) == 6


def test_globs_choose_what_is_pulled(copy: Git) -> None:
    done = datareg(copy, "pull", "-I", "faces", "-X", "*.bin")
    assert done.stderr == "2 objects fetched, 2 files put in place\n"
    assert (copy.path / "faces/a.jpg").read_bytes() == NEW["a.jpg"]
    assert (copy.path / "faces/sub/c.bin").read_bytes() == pointer(NEW["sub/c.bin"])
    assert (copy.path / "model.bin").read_bytes() == pointer(MODEL)
    assert copy.status() == ""


def clone_part(source: Source, tmp_path: Path, *settings: str) -> Git:
    return clone(f"datareg::{source.url}", tmp_path / "part", *settings)


def test_a_clone_may_leave_a_part_of_the_data(source: Source, tmp_path: Path, cache: Path) -> None:
    said = ("-c", "datareg.exclude=faces/sub", "-c", "datareg.exclude=*.bin")
    part = clone_part(source, tmp_path, *said)
    assert (part.path / "faces/a.jpg").read_bytes() == NEW["a.jpg"]
    assert (part.path / "model.bin").read_bytes() == pointer(MODEL)
    assert len(objects_in(cache)) == 2
    assert part.filter_use("status") == IDLE
    assert part.status() == ""
    # It stays so, until it is asked for.
    assert datareg(part, "pull").stderr == "0 objects fetched, 0 files put in place\n"
    part.run("checkout", "--quiet", "v1")
    part.run("checkout", "--quiet", "main")
    assert (part.path / "model.bin").read_bytes() == pointer(MODEL)
    done = datareg(part, "pull", "-I", "model.bin")
    assert done.stderr == "1 object fetched, 1 file put in place\n"
    # What is here is given.
    (part.path / "model.bin").unlink()
    part.run("checkout", "model.bin")
    assert (part.path / "model.bin").read_bytes() == MODEL


def test_a_registry_may_advise_what_to_leave(source: Source, tmp_path: Path) -> None:
    text = (source.work.path / ".datareg").read_bytes()
    source.work.write(".datareg", text + b"[datareg]\n\tinclude = faces\n")
    source.work.commit_all()
    source.work.run("push", "--quiet", "origin", "main")
    part = clone_part(source, tmp_path)
    assert (part.path / "model.bin").read_bytes() == pointer(MODEL)
    assert below(part.path / "faces") == FACES_NEW
    # And the user may want all of it.
    part.run("config", "datareg.include", "")
    assert datareg(part, "pull").stderr == "1 object fetched, 1 file put in place\n"
    assert part.status() == ""


def test_checkout_places_what_is_here_and_lists_the_rest(copy: Git) -> None:
    datareg(copy, "fetch", "-I", "*.jpg")
    done = datareg(copy, "checkout", check=False)
    assert done.returncode == 1
    assert "2 files put in place" in done.stderr
    assert "faces/sub/c.bin: object" in done.stderr and "model.bin: object" in done.stderr
    assert "2 files could not be put in place" in done.stderr
    assert "hint: git datareg pull" in done.stderr
    assert (copy.path / "faces/d.jpg").read_bytes() == NEW["d.jpg"]
    assert copy.status() == ""


def test_checkout_takes_paths_from_the_current_directory(copy: Git) -> None:
    datareg(copy, "fetch")
    datareg(copy.path / "faces", "checkout", "sub", "a.jpg")
    assert (copy.path / "faces/sub/c.bin").read_bytes() == NEW["sub/c.bin"]
    assert (copy.path / "faces/d.jpg").read_bytes() == pointer(NEW["d.jpg"])
    datareg(copy.path / "faces", "checkout", ".")
    assert (copy.path / "faces/d.jpg").read_bytes() == NEW["d.jpg"]
    assert (copy.path / "model.bin").read_bytes() == pointer(MODEL)


def test_checkout_of_a_path_brings_back_what_was_removed(copy: Git) -> None:
    datareg(copy, "pull")
    shutil.rmtree(copy.path / "faces")
    datareg(copy, "checkout", "faces")
    assert below(copy.path / "faces") == FACES_NEW
    assert copy.status() == ""


def test_files_with_changes_are_left_alone(copy: Git) -> None:
    copy.write("model.bin", b"mine")
    (copy.path / "faces/a.jpg").unlink()
    datareg(copy, "pull")
    assert (copy.path / "model.bin").read_bytes() == b"mine"
    assert not (copy.path / "faces/a.jpg").exists()
    datareg(copy, "checkout", "model.bin")
    assert (copy.path / "model.bin").read_bytes() == b"mine"
    assert copy.status().splitlines() == [" D faces/a.jpg", " M model.bin"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["checkout", "nothing"], 3, "no such file in the index: nothing"),
        (["checkout", "model.bin", "nothing"], 3, "no such file in the index: nothing"),
        (["checkout", "../x"], 4, "outside of the repository"),
        (["fetch", "v9"], 3, "no such revision: v9"),
        (["pull", "extra"], 2, "extra"),
    ],
)
def test_what_can_not_be_meant_is_one_clear_line(
    copy: Git, arguments: list[str], code: int, words: str
) -> None:
    fault(datareg(copy, *arguments, check=False), code, words)
    assert (copy.path / "model.bin").read_bytes() == pointer(MODEL)


@pytest.mark.parametrize("command", ["fetch", "checkout", "pull", "status", "ls-files", "push"])
def test_outside_of_a_repository_is_one_clear_line(tmp_path: Path, command: str) -> None:
    fault(datareg(tmp_path, command, check=False), 3, f"not a git repository: {tmp_path}")


@pytest.mark.parametrize("command", ["checkout", "pull", "status"])
def test_a_bare_repository_has_no_work_tree(source: Source, command: str) -> None:
    fault(datareg(source.remote, command, check=False), 2, "bare repository")


def test_pull_does_all_it_can_and_lists_every_fault(source: Source, copy: Git) -> None:
    source.object(NEW["a.jpg"]).unlink()
    damaged = source.object(MODEL)
    damaged.chmod(0o644)
    damaged.write_bytes(bytes(len(MODEL)))
    done = datareg(copy, "pull", check=False)
    assert done.returncode == 1
    assert "2 objects fetched, 2 files put in place" in done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("git-datareg: error: ")]
    assert len(errors) == 3
    assert "faces/a.jpg: object" in errors[0]
    assert "model.bin: corrupt object" in errors[1]
    assert copy.status() == ""
    fault(datareg(copy, "fetch", "-q", check=False), 1, "2 objects could not be had")
    fault(datareg(copy, "fetch", "-q", "-I", "*.jpg", check=False), 3, "faces/a.jpg: object")


def test_a_fault_with_one_ref_keeps_no_other_back(source: Source, copy: Git, cache: Path) -> None:
    source.object(OLD["b.jpg"]).unlink()
    done = datareg(copy, "fetch", "v1", "v2", check=False)
    assert done.returncode == 3
    assert "5 objects fetched" in done.stderr and "faces/b.jpg: object" in done.stderr
    assert len(objects_in(cache)) == 5


def test_a_clone_whose_checkout_failed_is_finished_by_a_pull(
    source: Source, tmp_path: Path
) -> None:
    object = source.object(NEW["d.jpg"])
    away = object.rename(tmp_path / "away")
    done = Git(tmp_path).run("clone", f"datareg::{source.url}", "copy", check=False)
    assert done.returncode != 0 and "faces/d.jpg" in done.stderr
    git = Git(tmp_path / "copy")
    pulled = datareg(git, "pull", check=False)
    assert pulled.returncode == 1
    assert "faces/d.jpg: object" in pulled.stderr
    assert (git.path / "faces/a.jpg").read_bytes() == NEW["a.jpg"]
    away.rename(object)
    datareg(git, "pull")
    assert below(git.path / "faces") == FACES_NEW
    assert (git.path / "notes.txt").read_bytes() == b"notes\n"
    assert git.status() == ""
    assert git.filter_use("status") == IDLE


def test_a_link_in_the_way_is_not_followed(copy: Git, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "c.bin").write_bytes(pointer(NEW["sub/c.bin"]))
    shutil.rmtree(copy.path / "faces/sub")
    (copy.path / "faces/sub").symlink_to(outside)
    datareg(copy, "pull", check=False)
    assert (outside / "c.bin").read_bytes() == pointer(NEW["sub/c.bin"])
    assert (copy.path / "faces/a.jpg").read_bytes() == NEW["a.jpg"]


def test_a_repository_without_commits_has_nothing_to_pull(tmp_path: Path) -> None:
    git = Git(tmp_path / "new").init()
    assert datareg(git, "pull").stderr == "0 objects fetched, 0 files put in place\n"


def test_a_damaged_object_in_the_cache_is_fetched_again(copy: Git, cache: Path) -> None:
    datareg(copy, "fetch")
    for path in cache.glob("objects/*/*"):
        path.chmod(0o644)
        path.write_bytes(bytes(path.stat().st_size))
    done = datareg(copy, "checkout", check=False)
    assert done.returncode == 1
    datareg(copy, "pull")
    assert below(copy.path / "faces") == FACES_NEW


def test_a_full_clone_needs_no_pull(source: Source, tmp_path: Path) -> None:
    git = clone(f"datareg::{source.url}", tmp_path / "full")
    assert datareg(git, "pull").stderr == "0 objects fetched, 0 files put in place\n"


@pytest.fixture
def app(source: Source, tmp_path: Path) -> Iterator[Git]:
    """A consumer of the registry by a URL, with pointers and without a hint in its metafile."""
    source.store_at(tmp_path / "disk")
    with serve(tmp_path) as url:
        git = consumer(tmp_path / "app")
        datareg(git, "import", "-q", "--no-download", f"{url}/gallery.git", "faces")
        git.run("config", "--file", "faces.datareg", "--unset", "import.storage")
        git.commit_all()
        yield git


def test_imported_data_is_found_by_the_source_alone(app: Git) -> None:
    datareg(app, "pull")
    assert below(app.path / "faces") == FACES_NEW
    assert app.status() == ""


def test_imported_data_is_found_where_the_source_has_moved_it(
    source: Source, app: Git, tmp_path: Path
) -> None:
    (tmp_path / "disk").rename(tmp_path / "new-disk")
    source.work.run("config", "--file", ".datareg", "storage.disk.url", str(tmp_path / "new-disk"))
    source.publish()
    datareg(app, "pull")
    assert below(app.path / "faces") == FACES_NEW


def test_imported_data_that_the_source_has_lost_is_named(
    source: Source, app: Git, tmp_path: Path
) -> None:
    shutil.rmtree(tmp_path / "disk/objects")
    shutil.rmtree(source.storage)
    done = datareg(app, "pull", check=False)
    assert done.returncode == 1
    for name in NEW:
        assert f"faces/{name}: object" in done.stderr
    assert (app.path / "faces/a.jpg").read_bytes() == pointer(NEW["a.jpg"])


def test_a_source_that_is_gone_is_no_second_fault(source: Source, app: Git, tmp_path: Path) -> None:
    source.remote.path.rename(tmp_path / "gone")
    shutil.rmtree(os.environ["GIT_DATAREG_CACHE"])
    done = datareg(app, "pull", check=False)
    assert done.returncode == 1
    assert "3 objects could not be had" in done.stderr
    assert "Traceback" not in done.stderr and "gallery" not in done.stderr
