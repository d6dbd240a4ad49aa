"""`git datareg fsck`: what it finds, says and repairs, in every place that holds data."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from tests.support.consumers import (
    MODEL,
    NEW,
    OLD,
    Source,
    consumer,
    datareg,
    fault,
    gallery,
)
from tests.support.filtered import data, object_file, pointer
from tests.support.gitrun import Git, clone
from tests.support.registries import run_unprivileged

#: All that HEAD needs, by path.
HEAD = {f"faces/{path}": content for path, content in NEW.items()} | {"model.bin": MODEL}


def name(content: bytes) -> str:
    return blake3(content).hexdigest()


def own(git: Git, content: bytes) -> Path:
    return object_file(git.path / git.out("rev-parse", "--git-common-dir") / "datareg", content)


def cached(content: bytes) -> Path:
    return object_file(Path(os.environ["GIT_DATAREG_CACHE"]), content)


def flip(file: Path) -> None:
    """Change a bit in the middle."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    put(file, bytes(content))


def cut(file: Path) -> None:
    put(file, file.read_bytes()[:-1])


def lengthen(file: Path) -> None:
    put(file, file.read_bytes() + b"x")


def put(file: Path, content: bytes) -> None:
    file.unlink()
    file.write_bytes(content)
    file.chmod(0o444)


def fifo(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def directory(file: Path) -> None:
    file.unlink()
    file.mkdir()


def dangling(file: Path) -> None:
    file.unlink()
    file.symlink_to("nowhere")


def lines(done: subprocess.CompletedProcess[str]) -> list[str]:
    return done.stdout.splitlines()


def fsck(git: Git, *args: str) -> subprocess.CompletedProcess[str]:
    return datareg(git, "fsck", *args, check=False)


def is_well(git: Git, *args: str) -> str:
    """A check that finds nothing; returns what it says."""
    done = fsck(git, *args)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    return done.stderr


def rows(git: Git, *args: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(fsck(git, "--json", *args).stdout)
    return found


@pytest.fixture
def source(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Source:
    return gallery(tmp_path_factory, tmp_path)


@pytest.fixture
def work(source: Source) -> Git:
    return source.work


# All is well


def test_what_is_whole_is_told_in_numbers(work: Git) -> None:
    assert is_well(work) == "4 objects needed: 4 whole here, 0 not here\n"
    assert is_well(work, "-q") == ""
    assert is_well(work, "--storage", "--read-data").splitlines() == [
        "4 objects needed: 4 whole here, 0 not here",
        "(embedded): 4 of 4 objects there",
    ]
    assert rows(work, "--storage", "--all") == []


def test_what_is_not_here_is_no_fault(source: Source, tmp_path: Path) -> None:
    shutil.rmtree(os.environ["GIT_DATAREG_CACHE"], ignore_errors=True)
    git = clone(source.url, tmp_path / "clone")
    assert is_well(git) == "4 objects needed: 0 whole here, 4 not here\n"
    assert "(embedded): 4 of 4 objects there" in is_well(git, "--storage")
    # To look brings nothing here.
    assert "0 whole here" in is_well(git, "--storage", "--read-data")


@pytest.mark.parametrize("options", [[], ["--all"], ["--storage"], ["--repair"], ["--json"]])
def test_without_data_there_is_nothing_to_check(tmp_path: Path, options: list[str]) -> None:
    empty = Git(tmp_path / "empty").init()
    plain = consumer(tmp_path / "plain")
    bare = Git(tmp_path / "bare.git").init("--bare")
    for git in (empty, plain, bare):
        done = fsck(git, *options)
        assert (done.returncode, done.stderr) == (0, "no data files to check\n")
        assert done.stdout == ("[]\n" if options == ["--json"] else "")


# On this machine


@pytest.mark.parametrize(
    ("harm", "kind"),
    [
        (flip, "corrupt"),
        (cut, "wrong-size"),
        (lengthen, "wrong-size"),
        (fifo, "corrupt"),
        (directory, "corrupt"),
        (dangling, "corrupt"),
    ],
)
def test_a_damaged_object_of_our_own_is_found_and_left_alone(
    work: Git, harm: Callable[[Path], None], kind: str
) -> None:
    file = own(work, MODEL)
    harm(file)
    before = file.lstat()[:7]
    done = fsck(work)
    assert lines(done) == [f"{kind} {name(MODEL)} (own) model.bin"]
    assert done.returncode == 6
    assert f"git-datareg: error: 1 problem: 1 {kind}\n" in done.stderr
    [row] = rows(work)
    assert row.pop("message").startswith(f"corrupt object {name(MODEL)}: {file}")
    assert row == {
        "kind": kind,
        "digest": name(MODEL),
        "size": len(MODEL),
        "path": "model.bin",
        "where": "(own)",
        "repaired": False,
    }
    assert file.lstat()[:7] == before


def test_what_an_old_revision_needs_is_checked_when_it_is_asked_for(work: Git) -> None:
    flip(own(work, OLD["b.jpg"]))
    is_well(work)
    line = f"corrupt {name(OLD['b.jpg'])} (own) faces/b.jpg"
    for options in (["--all"], ["v1"], ["main", "v1"]):
        done = fsck(work, *options)
        assert (done.returncode, lines(done)) == (6, [line])
    is_well(work, "v2")


def test_what_is_only_staged_is_checked(work: Git) -> None:
    content = data("staged")
    work.write("staged.dat", content)
    work.run("add", "staged.dat")
    assert is_well(work) == "5 objects needed: 5 whole here, 0 not here\n"
    # No push needs it yet.
    assert "(embedded): 4 of 4 objects there" in is_well(work, "--storage")
    flip(own(work, content))
    assert lines(fsck(work)) == [f"corrupt {name(content)} (own) staged.dat"]
    is_well(work, "HEAD")


def test_what_only_this_machine_can_have_must_be_here(work: Git) -> None:
    new, staged = data("not pushed"), data("staged")
    work.write("new.dat", new)
    work.commit_all()
    work.write("staged.dat", staged)
    work.run("add", "staged.dat")
    own(work, new).unlink()
    own(work, staged).unlink()
    own(work, MODEL).unlink()
    done = fsck(work)
    assert done.returncode == 3
    assert lines(done) == [
        f"missing {name(new)} (own) new.dat",
        f"missing {name(staged)} (own) staged.dat",
    ]
    assert "6 objects needed: 3 whole here, 3 not here" in done.stderr
    # The files are still in the work tree.
    done = fsck(work, "--repair", "-q")
    assert done.returncode == 0 and done.stderr == ""
    assert lines(done)[0] == f"repaired missing {name(new)} (own) new.dat"
    assert own(work, new).read_bytes() == new and own(work, staged).read_bytes() == staged


def test_what_was_pushed_by_itself_is_not_taken_for_lost(work: Git, tmp_path: Path) -> None:
    work.write("new.dat", data("new"))
    work.commit_all()
    datareg(work, "push", "-q")
    own(work, data("new")).unlink()
    is_well(work)


@pytest.mark.parametrize("harm", [flip, cut, fifo, dangling])
def test_a_damaged_object_in_the_cache_is_removed(
    source: Source, tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    git = clone(f"datareg::{source.url}", tmp_path / "clone")
    harm(cached(MODEL))
    done = fsck(git)
    assert done.returncode == 6
    [line] = lines(done)
    assert line.endswith(f" {name(MODEL)} (cache) model.bin")
    assert "hint: what is damaged in the cache is removed: git datareg fetch" in done.stderr
    assert not os.path.lexists(cached(MODEL))
    assert is_well(git) == "4 objects needed: 3 whole here, 1 not here\n"
    cached(MODEL).write_bytes(b"nonsense")
    assert fsck(git, "--repair").returncode == 0
    assert cached(MODEL).read_bytes() == MODEL


def test_many_objects_are_read_by_several_processes(tmp_path: Path) -> None:
    git = Git(tmp_path / "many").init()
    datareg(git, "init")
    datareg(git, "track", "*.dat")
    for number in range(1200):
        git.write(f"{number:04}.dat", b"%d" % number)
    git.commit_all()
    assert "1200 whole here" in is_well(git)
    put(own(git, b"1199"), b"9911")
    own(git, b"7").unlink()
    done = fsck(git)
    assert lines(done) == [
        f"missing {name(b'7')} (own) 0007.dat",
        f"corrupt {name(b'1199')} (own) 1199.dat",
    ]
    assert lines(fsck(git, "-j", "1")) == lines(done)
    assert done.returncode == 6


# In Git


def test_a_pointer_of_a_later_version_is_told_and_the_rest_is_checked(work: Git) -> None:
    odd = pointer(b"x").replace(b"pointer 1", b"pointer 9")
    # Our own clean would refuse it.
    blob = work.run("hash-object", "-w", "--stdin", input=odd).stdout.strip()
    for path in ("odd.dat", "sub/odd.dat"):
        work.run("update-index", "--add", "--cacheinfo", f"100644,{blob},{path}")
    work.run("commit", "-q", "-m", "odd")
    flip(own(work, MODEL))
    done = fsck(work)
    assert done.returncode == 6
    assert lines(done) == [
        f"corrupt {name(MODEL)} (own) model.bin",
        "bad-pointer - (git) odd.dat",
        "bad-pointer - (git) sub/odd.dat",
    ]
    for path in ("odd.dat", "sub/odd.dat"):
        assert (
            f"git-datareg: error: {path}: pointer of version 9, but only version 1 is known "
            f"here (blob {blob})\nhint: upgrade git-datareg\n"
        ) in done.stderr
    assert [row["digest"] for row in rows(work)] == [name(MODEL), None, None]
    assert len(lines(fsck(work, "--all"))) == 3
    assert len(lines(fsck(work, "HEAD~1", "--storage"))) == 1


def test_a_path_is_quoted_as_git_does_it(work: Git) -> None:
    content = data("odd name")
    work.write("a\nb \u00fc.dat", content)
    work.run("add", ".")
    flip(own(work, content))
    assert lines(fsck(work)) == [f'corrupt {name(content)} (own) "a\\nb \u00fc.dat"']
    assert rows(work)[0]["path"] == "a\nb \u00fc.dat"


# In a storage


@pytest.mark.parametrize(
    ("harm", "kind"),
    [
        (flip, "corrupt"),
        (cut, "wrong-size"),
        (lengthen, "wrong-size"),
        (Path.unlink, "missing"),
        (fifo, "missing"),
    ],
)
def test_what_is_wrong_in_a_storage_is_found(
    source: Source, harm: Callable[[Path], None], kind: str
) -> None:
    harm(source.object(MODEL))
    is_well(source.work)
    # A directory is read in any case, as what is of our own.
    for options in (["--storage"], ["--storage", "--read-data"]):
        done = fsck(source.work, *options)
        assert lines(done) == [f"{kind} {name(MODEL)} (embedded) model.bin"]
        assert done.returncode == (3 if kind == "missing" else 6)
        assert "(embedded): 3 of 4 objects there" in done.stderr
        assert "with --repair" in done.stderr


@pytest.mark.parametrize("harm", [flip, cut, lengthen, Path.unlink])
def test_a_storage_is_repaired_from_here(source: Source, harm: Callable[[Path], None]) -> None:
    harm(source.object(MODEL))
    done = fsck(source.work, "--storage", "--read-data", "--repair")
    assert done.returncode == 0
    assert lines(done)[0].startswith("repaired ") and len(lines(done)) == 1
    assert source.object(MODEL).read_bytes() == MODEL
    is_well(source.work, "--storage", "--read-data", "--all")


def test_a_storage_is_repaired_from_the_work_tree(source: Source) -> None:
    shutil.rmtree(source.work.path / ".git/datareg")
    source.object(MODEL).unlink()
    assert fsck(source.work, "--storage", "--repair").returncode == 0
    assert source.object(MODEL).read_bytes() == MODEL


def test_an_object_of_our_own_is_repaired_from_a_storage(source: Source) -> None:
    source.work.write("model.bin", b"changed since")
    flip(own(source.work, MODEL))
    cut(own(source.work, NEW["d.jpg"]))
    fifo(own(source.work, NEW["a.jpg"]))
    done = fsck(source.work, "--repair")
    assert (done.returncode, len(lines(done))) == (0, 3), done.stderr
    for content in (MODEL, NEW["d.jpg"], NEW["a.jpg"]):
        assert own(source.work, content).read_bytes() == content
    is_well(source.work)


def test_other_commands_that_meet_damage_point_here(source: Source) -> None:
    (source.work.path / "model.bin").unlink()
    flip(own(source.work, MODEL))
    done = source.work.run("checkout", "model.bin", check=False)
    assert done.returncode != 0
    assert "hint: git datareg fsck --repair" in done.stderr
    assert fsck(source.work, "--repair").returncode == 0
    source.work.run("checkout", "model.bin")
    assert (source.work.path / "model.bin").read_bytes() == MODEL
    cut(source.object(MODEL))
    done = datareg(source.work, "push", "--all", check=False)
    fault(done, 1, "hint: in a repository that has it: git datareg fsck --storage --repair")
    assert fsck(source.work, "--storage", "--repair").returncode == 0
    datareg(source.work, "push", "--all")


def test_what_has_no_whole_copy_stays_as_it_is(source: Source) -> None:
    source.work.write("model.bin", b"changed since")
    flip(own(source.work, MODEL))
    flip(source.object(MODEL))
    before = own(source.work, MODEL).read_bytes(), source.object(MODEL).read_bytes()
    done = fsck(source.work, "--storage", "--read-data", "--repair")
    assert done.returncode == 6
    assert lines(done) == [
        f"corrupt {name(MODEL)} (embedded) model.bin",
        f"corrupt {name(MODEL)} (own) model.bin",
    ]
    assert "hint: what has no whole copy stays as it is" in done.stderr
    assert (own(source.work, MODEL).read_bytes(), source.object(MODEL).read_bytes()) == before


@pytest.mark.parametrize("options", [[], ["--repair"]])
def test_a_storage_that_is_gone_is_one_line(
    source: Source, tmp_path: Path, options: list[str]
) -> None:
    disk = tmp_path / "mounted/disk"
    disk.parent.mkdir()
    source.store_at(disk)
    shutil.rmtree(disk.parent)
    done = fsck(source.work, "--storage", *options)
    assert (done.returncode, lines(done)) == (5, ["unreadable - disk -"])
    assert f"git-datareg: error: storage is not there: {disk}\n" in done.stderr
    assert "disk: 0 of 4 objects there" in done.stderr
    # Missing data says more than a place that can't be asked, and corrupt data most.
    datareg(source.work, "storage", "add", "empty", str(tmp_path / "empty"))
    assert fsck(source.work, "--storage", "--storage", "empty").returncode == 3
    flip(own(source.work, MODEL))
    done = fsck(source.work, "--storage", "--storage", "empty")
    assert done.returncode == 6
    assert lines(done)[0] == "unreadable - disk -"


def test_a_storage_of_a_later_format_is_one_line(source: Source) -> None:
    put(source.storage / "datareg.json", b'{"format": 2}')
    done = fsck(source.work, "--storage", "--repair")
    assert (done.returncode, lines(done)) == (6, ["bad-storage - (embedded) -"])
    assert "storage of format 2, but only 1 is known here" in done.stderr


def test_what_is_not_pushed_yet_is_missing_with_a_hint(source: Source) -> None:
    source.work.write("new.dat", data("new"))
    source.work.commit_all()
    done = fsck(source.work, "--storage")
    assert lines(done) == [f"missing {name(data('new'))} (embedded) new.dat"]
    assert "hint: 1 object of the missing may not be pushed yet: git push" in done.stderr
    source.object(MODEL).unlink()
    assert "hint: 1 object of the missing may" in fsck(source.work, "--storage").stderr
    source.work.run("push", "--quiet", "origin", "main")
    assert len(lines(fsck(source.work, "--storage"))) == 1


def test_an_empty_storage_lacks_everything_and_is_filled(source: Source, tmp_path: Path) -> None:
    datareg(source.work, "storage", "add", "second", str(tmp_path / "second"))
    assert len(lines(fsck(source.work, "--storage", "second"))) == 4
    assert fsck(source.work, "--storage", "second", "--repair").returncode == 0
    assert "second: 4 of 4 objects there" in is_well(source.work, "--storage", "second")
    # Without the marker that a push leaves: older revisions are not there.
    assert not (tmp_path / "second/datareg.json").exists()
    assert len(lines(fsck(source.work, "--storage", "second", "--all"))) == 2


@pytest.fixture
def mirrored(source: Source, tmp_path: Path) -> Source:
    """A registry with two storages; who works with it has the objects nowhere else."""
    datareg(source.work, "storage", "add", "mirror", str(tmp_path / "mirror"))
    source.store_at(tmp_path / "main")
    datareg(source.work, "push", "-q", "--all", "--storage", "mirror")
    shutil.rmtree(source.storage)
    shutil.rmtree(source.work.path / ".git/datareg")
    for path in HEAD:
        source.work.write(path, b"changed since")
    return source


def test_each_storage_that_is_named_is_checked(mirrored: Source, tmp_path: Path) -> None:
    both = ("--storage", "disk", "--storage", "mirror")
    assert is_well(mirrored.work, *both).splitlines() == [
        "4 objects needed: 0 whole here, 4 not here",
        "disk: 4 of 4 objects there",
        "mirror: 4 of 4 objects there",
    ]
    object_file(tmp_path / "mirror", MODEL).unlink()
    assert "disk: 4 of 4 objects there" in is_well(mirrored.work, "--storage")
    line = f"missing {name(MODEL)} mirror model.bin"
    for options in (both, ("--storage", "mirror"), ("--storage", "--storage", "mirror")):
        done = fsck(mirrored.work, *options)
        assert (done.returncode, lines(done)) == (3, [line])


@pytest.mark.parametrize(("broken", "whole"), [("main", "mirror"), ("mirror", "main")])
def test_storages_repair_each_other(
    mirrored: Source, tmp_path: Path, broken: str, whole: str
) -> None:
    flip(object_file(tmp_path / broken, MODEL))
    cut(object_file(tmp_path / broken, NEW["a.jpg"]))
    object_file(tmp_path / broken, NEW["d.jpg"]).unlink()
    flip(object_file(tmp_path / whole, NEW["sub/c.bin"]))
    storages = ("--storage", "--storage", "mirror", "--read-data")
    done = fsck(mirrored.work, *storages, "--repair")
    assert done.returncode == 0, done.stderr
    assert len(lines(done)) == 4 and all(line.startswith("repaired ") for line in lines(done))
    is_well(mirrored.work, *storages)


def test_what_can_only_be_read_is_not_repaired(mirrored: Source, tmp_path: Path) -> None:
    mirrored.work.run("config", "--file=.datareg", "storage.mirror.readonly", "true")
    flip(object_file(tmp_path / "mirror", MODEL))
    before = object_file(tmp_path / "mirror", MODEL).read_bytes()
    done = fsck(mirrored.work, "--storage", "mirror", "--read-data", "--repair")
    assert (done.returncode, lines(done)) == (6, [f"corrupt {name(MODEL)} mirror model.bin"])
    assert f"error: storage 'mirror' is read-only: {tmp_path / 'mirror'}\n" in done.stderr
    assert object_file(tmp_path / "mirror", MODEL).read_bytes() == before
    # It is the whole copy for others all the same.
    object_file(tmp_path / "main", NEW["a.jpg"]).unlink()
    assert fsck(mirrored.work, "--storage", "--repair").returncode == 0


def test_what_may_not_be_written_is_not_repaired(source: Source) -> None:
    file = source.object(MODEL)
    cut(file)
    file.parent.chmod(0o555)
    try:
        done = run_unprivileged(source.work, "datareg", "fsck", "--storage", "--repair")
    finally:
        file.parent.chmod(0o755)
    assert (done.returncode, lines(done)) == (6, [f"wrong-size {name(MODEL)} (embedded) model.bin"])
    assert "check the permissions of the storage" in done.stderr
    assert len(file.read_bytes()) == len(MODEL) - 1


def test_what_may_not_be_read_is_told_as_such(source: Source) -> None:
    for file in (own(source.work, MODEL), source.object(NEW["a.jpg"])):
        file.chmod(0)
    done = run_unprivileged(source.work, "datareg", "fsck", "--storage", "--read-data")
    assert done.returncode == 5
    assert lines(done) == [
        f"unreadable {name(NEW['a.jpg'])} (embedded) faces/a.jpg",
        f"unreadable {name(MODEL)} (own) model.bin",
    ]
    assert f"error: Permission denied: {own(source.work, MODEL)}\n" in done.stderr


@pytest.fixture
def sorted_out(source: Source, tmp_path: Path) -> Source:
    """A registry whose images, and one more file, are in storages of their own."""
    work = source.work
    datareg(work, "storage", "add", "-d", "main", str(tmp_path / "main"))
    datareg(work, "storage", "add", "-I", "*.jpg", "images", str(tmp_path / "images"))
    datareg(work, "storage", "add", "models", str(tmp_path / "models"))
    datareg(work, "storage", "add", "mirror", str(tmp_path / "mirror"))
    with (work.path / ".gitattributes").open("a") as file:
        file.write("/model.bin datareg-storage=models\n")
    work.commit_all()
    datareg(work, "push", "-q", "--all")
    shutil.rmtree(source.storage)
    return source


def test_each_file_is_looked_for_where_pushes_store_it(sorted_out: Source) -> None:
    assert is_well(sorted_out.work, "--storage").splitlines()[1:] == [
        "images: 2 of 2 objects there",
        "main: 1 of 1 object there",
        "models: 1 of 1 object there",
    ]


def test_a_storage_for_some_files_needs_no_others(sorted_out: Source, tmp_path: Path) -> None:
    for storage, count in (("main", 1), ("images", 2), ("models", 1)):
        said = is_well(sorted_out.work, "--storage", storage)
        assert f"{storage}: {count} of {count} object" in said
        shutil.rmtree(tmp_path / storage / "objects")
        assert len(lines(fsck(sorted_out.work, "--storage", storage))) == count
    # Any other one is a copy of everything.
    assert len(lines(fsck(sorted_out.work, "--storage", "mirror"))) == 4
    assert fsck(sorted_out.work, "--storage", "--repair").returncode == 0
    is_well(sorted_out.work, "--storage", "--read-data")


# Imports


@pytest.fixture
def importer(source: Source, tmp_path: Path) -> Git:
    """A repository that has imported `faces`, and has no object of it."""
    git = consumer(tmp_path / "consumer")
    datareg(git, "init")
    datareg(git, "import", "--no-download", "--rev", "v1", "../gallery.git", "faces")
    git.run("commit", "-q", "-m", "import")
    return git


def test_imports_are_looked_for_at_their_source(source: Source, importer: Git) -> None:
    assert is_well(importer) == "3 objects needed: 0 whole here, 3 not here\n"
    assert "(source): 3 of 3 objects there" in is_well(importer, "--storage", "--read-data")
    source.object(OLD["a.jpg"]).unlink()
    flip(source.object(OLD["b.jpg"]))
    cut(source.object(OLD["sub/c.bin"]))
    is_well(importer)
    done = fsck(importer, "--storage", "--read-data")
    assert done.returncode == 6
    assert lines(done) == [
        f"missing {name(OLD['a.jpg'])} (source) faces/a.jpg",
        f"corrupt {name(OLD['b.jpg'])} (source) faces/b.jpg",
        f"wrong-size {name(OLD['sub/c.bin'])} (source) faces/sub/c.bin",
    ]
    before = source.object(OLD["b.jpg"]).read_bytes()
    # The source's storage is not ours to repair.
    assert lines(fsck(importer, "--storage", "--read-data", "--repair")) == lines(done)
    assert source.object(OLD["b.jpg"]).read_bytes() == before


def test_any_storage_that_has_an_import_will_do(
    source: Source, importer: Git, tmp_path: Path
) -> None:
    flip(source.object(OLD["a.jpg"]))
    whole = object_file(tmp_path / "other", OLD["a.jpg"])
    whole.parent.mkdir(parents=True)
    whole.write_bytes(OLD["a.jpg"])
    importer.run("config", "datareg.other.url", str(tmp_path / "other"))
    is_well(importer, "--storage", "other", "--read-data")


def test_a_source_whose_storage_has_moved_is_asked(
    source: Source, importer: Git, tmp_path: Path
) -> None:
    source.store_at(tmp_path / "moved")
    shutil.rmtree(source.storage)
    assert "(source): 3 of 3 objects there" in is_well(importer, "--storage", "--read-data")
    object_file(tmp_path / "moved", OLD["a.jpg"]).unlink()
    # The place that it was imported from might have it.
    done = fsck(importer, "--storage")
    assert (done.returncode, lines(done)) == (
        5,
        [f"unreadable {name(OLD['a.jpg'])} (source) faces/a.jpg"],
    )


def test_what_was_imported_once_is_checked_with_its_history(source: Source, importer: Git) -> None:
    datareg(importer, "update", "--no-download", "--rev", "main", "faces")
    importer.run("commit", "-q", "-m", "update")
    importer.run("rm", "-q", "-r", "faces", "faces.datareg")
    importer.run("commit", "-q", "-m", "remove")
    assert is_well(importer, "--storage") == "no data files to check\n"
    # Two versions of the import, which share a file.
    assert "(source): 5 of 5 objects there" in is_well(importer, "--all", "--storage")
    source.object(OLD["b.jpg"]).unlink()
    line = f"missing {name(OLD['b.jpg'])} (source) faces/b.jpg"
    assert lines(fsck(importer, "--all", "--storage")) == [line]
    assert lines(fsck(importer, "HEAD~2", "--storage")) == [line]


def test_vendored_imports_are_our_own(source: Source, tmp_path: Path) -> None:
    git = consumer(tmp_path / "consumer")
    datareg(git, "init")
    datareg(git, "storage", "add", "-d", "main", str(tmp_path / "main"))
    datareg(git, "import", "-q", "--vendor", "../gallery.git", "faces")
    git.commit_all()
    assert len(lines(fsck(git, "--storage"))) == 3
    datareg(git, "push", "-q")
    shutil.rmtree(source.storage)
    assert "main: 3 of 3 objects there" in is_well(git, "--storage", "--read-data")


def test_a_damaged_copy_of_an_import_is_fetched_again(source: Source, importer: Git) -> None:
    datareg(importer, "pull", "-q")
    flip(cached(OLD["a.jpg"]))
    done = fsck(importer, "--repair")
    assert (done.returncode, lines(done)) == (
        0,
        [f"repaired corrupt {name(OLD['a.jpg'])} (cache) faces/a.jpg"],
    )
    assert cached(OLD["a.jpg"]).read_bytes() == OLD["a.jpg"]


def test_a_metafile_that_can_not_be_read_is_told(importer: Git) -> None:
    importer.write("faces.datareg", b"[import]\n\turl = x\n")
    importer.commit_all()
    for options in ([], ["--all"], ["HEAD"]):
        done = fsck(importer, *options)
        assert (done.returncode, lines(done)) == (6, ["bad-metafile - (git) faces.datareg"])
        assert "error: not an import metafile: faces.datareg: no 'path' in it\n" in done.stderr


# Other repositories


def test_a_bare_repository_is_checked_by_its_head(source: Source) -> None:
    assert is_well(source.remote) == "4 objects needed: 4 whole here, 0 not here\n"
    assert "(embedded): 4 of 4 objects there" in is_well(source.remote, "--storage", "--read-data")
    assert is_well(source.remote, "--all").startswith("6 objects needed")
    flip(source.object(MODEL))
    done = fsck(source.remote, "--storage", "--read-data")
    # One place, one line.
    assert lines(done) == [f"corrupt {name(MODEL)} (own) model.bin"]
    source.object(MODEL).unlink()
    assert lines(fsck(source.remote)) == [f"missing {name(MODEL)} (own) model.bin"]
    assert lines(fsck(source.remote, "--storage")) == [
        f"missing {name(MODEL)} (embedded) model.bin"
    ]


def test_a_bare_repository_is_repaired(source: Source, tmp_path: Path) -> None:
    flip(source.object(MODEL))
    source.object(NEW["a.jpg"]).unlink()
    whole = tmp_path / "whole"
    shutil.copytree(source.work.path / ".git/datareg", whole)
    source.remote.run("config", "datareg.whole.url", str(whole))
    done = fsck(source.remote, "--storage", "--read-data", "--repair")
    assert done.returncode == 0, done.stderr
    for content in (MODEL, NEW["a.jpg"]):
        assert source.object(content).read_bytes() == content
    is_well(source.remote, "--storage", "--read-data")


def test_it_runs_from_anywhere_in_a_repository(work: Git, tmp_path: Path) -> None:
    work.run("worktree", "add", "-q", str(tmp_path / "second"), "v1")
    flip(own(work, OLD["b.jpg"]))
    line = f"corrupt {name(OLD['b.jpg'])} (own) faces/b.jpg"
    assert lines(fsck(Git(tmp_path / "second/faces"))) == [line]
    is_well(Git(work.path / "faces"))


def test_outside_of_a_repository_it_is_not_found(tmp_path: Path) -> None:
    fault(fsck(Git(tmp_path)), 3, "not a git repository")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["v9"], 3, "no such revision: v9"),
        (["--storage", "nothing"], 5, "no storage named 'nothing'"),
        (["--storage", "v1"], 2, "git datareg fsck --storage -- v1"),
        (["--storage="], 2, "it is empty"),
        (["--read-data"], 2, "--read-data goes with --storage"),
        (["--all", "v1"], 2, "leave out REV"),
        (["-j", "0"], 2, "not a number"),
    ],
)
def test_what_can_not_be_meant_is_one_clear_line(
    work: Git, arguments: list[str], code: int, words: str
) -> None:
    done = fsck(work, *arguments)
    fault(done, code, words)
    assert done.stdout == ""


def test_a_revision_goes_behind_two_dashes(work: Git) -> None:
    assert "(embedded): 4 of 4 objects there" in is_well(work, "--storage", "--", "v1")


def test_without_a_place_for_pushes_none_can_be_checked(work: Git) -> None:
    work.run("remote", "remove", "origin")
    fault(fsck(work, "--storage"), 5, "no storage is configured", "git datareg storage add")
    work.run("remote", "add", "origin", "https://git.example.org/x.git")
    fault(fsck(work, "--storage"), 5, "no storage for data files is configured")
