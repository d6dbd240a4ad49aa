"""`git datareg get`: files of a registry, without a repository of one's own."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
from pathlib import Path

import pytest

from tests.support import githttp
from tests.support.consumers import (
    FACES_NEW,
    FACES_OLD,
    MODEL,
    NEW,
    OLD,
    README_NEW,
    Source,
    below,
    datareg,
    fault,
    gallery,
)
from tests.support.filtered import data
from tests.support.gitrun import Git, clone
from tests.support.registries import run_unprivileged


@pytest.fixture
def source(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Source:
    return gallery(tmp_path_factory, tmp_path)


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """An empty directory that is in no repository."""
    path = tmp_path / "here"
    path.mkdir()
    return path


def test_a_directory_comes_with_all_kinds_of_files(source: Source, here: Path) -> None:
    done = datareg(here, "get", source.url, "faces")
    assert below(here / "faces") == FACES_NEW
    assert os.access(here / "faces/sub/c.bin", os.X_OK)
    assert not os.access(here / "faces/a.jpg", os.X_OK)
    assert done.stdout == ""
    size = sum(map(len, NEW.values())) + len(README_NEW) + len("a.jpg")
    assert done.stderr == f"6 files ({size / 1024:.1f} KiB) in faces\n"
    assert os.listdir(here) == ["faces"]


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("model.bin", MODEL),
        ("faces/sub/c.bin", NEW["sub/c.bin"]),
        ("notes.txt", b"notes\n"),
        ("faces/empty.dat", b""),
        ("faces/latest.jpg", NEW["a.jpg"]),
        ("./faces//sub/../a.jpg", NEW["a.jpg"]),
    ],
)
def test_a_file_comes_alone(source: Source, here: Path, path: str, content: bytes) -> None:
    datareg(here, "get", source.url, path)
    assert below(here) == {os.path.basename(path): content}


def test_an_executable_file_stays_one(source: Source, here: Path) -> None:
    datareg(here, "get", source.url, "run.sh")
    assert stat.S_IMODE((here / "run.sh").stat().st_mode) == 0o755


@pytest.mark.parametrize("path", ["faces/sub", "faces/sub/"])
def test_a_subdirectory_comes_under_its_last_name(source: Source, here: Path, path: str) -> None:
    datareg(here, "get", source.url, path)
    assert below(here) == {"sub/c.bin": NEW["sub/c.bin"]}


def test_all_of_it_comes_under_the_registrys_name(source: Source, here: Path) -> None:
    datareg(here, "get", source.url, ".")
    found = below(here / "gallery")
    assert found.keys() >= {".datareg", ".gitattributes", "notes.txt", "model.bin"}
    assert {name.removeprefix("faces/"): found[name] for name in found if "faces/" in name} == (
        FACES_NEW
    )


@pytest.mark.parametrize("spelled", [".", "../author", "../author/", "../author/.git"])
def test_the_registrys_name_does_not_depend_on_how_it_is_spelled(
    source: Source, here: Path, spelled: str
) -> None:
    cwd = source.work.path if spelled == "." else here
    datareg(cwd, "get", spelled, ".", "-o", f"{here}/")
    assert below(here / "author").keys() >= {"notes.txt", "model.bin"}


@pytest.mark.parametrize("rev", ["v1", "old", "v2~1", "refs/tags/v1", "main^"])
def test_any_revision_can_be_had(source: Source, here: Path, rev: str) -> None:
    datareg(here, "get", "--rev", rev, source.url, "faces")
    assert below(here / "faces") == FACES_OLD


@pytest.mark.parametrize("length", [40, 8])
def test_a_commit_can_be_named_by_its_id(source: Source, here: Path, length: int) -> None:
    id = source.work.out("rev-parse", "v1^{commit}")[:length]
    datareg(here, "get", "--rev", id, source.url, "faces")
    assert below(here / "faces") == FACES_OLD


@pytest.mark.parametrize(
    "spell", ["file://{}", "datareg::{}", "datareg::file://{}", "{}/", "../gallery"]
)
def test_a_registry_is_a_url_or_a_path(source: Source, here: Path, spell: str) -> None:
    datareg(here, "get", spell.format(source.url), "model.bin")
    assert below(here) == {"model.bin": MODEL}


def test_a_clone_with_unpushed_data_is_a_registry_too(source: Source, here: Path) -> None:
    source.work.write("model.bin", b"not pushed")
    source.work.commit_all()
    datareg(here, "get", str(source.work.path), "model.bin")
    assert below(here) == {"model.bin": b"not pushed"}


def test_a_repository_that_knows_nothing_of_us_is_a_registry(tmp_path: Path, here: Path) -> None:
    plain = Git(tmp_path / "plain").init()
    plain.write("dir/file", b"plain\n")
    plain.commit_all()
    datareg(here, "get", str(plain.path), "dir")
    assert below(here) == {"dir/file": b"plain\n"}


@pytest.mark.parametrize(
    ("out", "place"),
    [
        ("new", "new"),
        ("there", "there/faces"),
        ("there/", "there/faces"),
        ("new/", "new/faces"),
        ("not/yet/there", "not/yet/there"),
        (".", "faces"),
        ("-odd", "-odd"),
    ],
)
def test_out_names_the_target_or_a_directory_for_it(
    source: Source, here: Path, out: str, place: str
) -> None:
    (here / "there").mkdir()
    datareg(here, "get", source.url, "faces", f"--out={out}")
    assert below(here) == {f"{place}/{name}": content for name, content in FACES_NEW.items()}


@pytest.mark.parametrize("options", [[], ["-f"]])
@pytest.mark.parametrize("out", ["file/", "file/sub", "file/sub/deep", "link/x", "pipe/"])
def test_a_directory_can_not_be_made_of_what_is_none(
    source: Source, here: Path, home: Path, out: str, options: list[str]
) -> None:
    (here / "file").write_bytes(b"mine")
    (here / "link").symlink_to("nowhere")
    os.mkfifo(here / "pipe")
    before = below(here)
    done = datareg(here, "get", *options, source.url, "faces", "-o", out, check=False)
    fault(done, 4, f"not a directory: {out.partition('/')[0]}\nhint: use -o for another target")
    assert below(here) == before
    # It is told before anything is fetched.
    assert not (home / "datareg-cache/objects").exists()


def _occupy(path: Path, kind: str) -> None:
    match kind:
        case "file":
            path.write_bytes(b"mine")
        case "directory":
            path.mkdir()
            (path / "mine").write_bytes(b"mine")
        case "link":
            path.symlink_to("elsewhere")
        case "link to a file":
            path.with_name("elsewhere").write_bytes(b"mine")
            path.symlink_to("elsewhere")


KINDS = ["file", "directory", "link", "link to a file"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("path", ["faces", "model.bin"])
def test_a_target_that_exists_is_refused(source: Source, here: Path, path: str, kind: str) -> None:
    _occupy(here / path, kind)
    before = below(here)
    fault(datareg(here, "get", source.url, path, check=False), 4, f"target exists: {path}", "-f")
    assert below(here) == before


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("path", ["faces", "model.bin"])
def test_force_replaces_whatever_is_there(source: Source, here: Path, path: str, kind: str) -> None:
    _occupy(here / path, kind)
    datareg(here, "get", "-f", source.url, path)
    (here / "elsewhere").unlink(missing_ok=True)
    wanted = {f"faces/{name}": content for name, content in FACES_NEW.items()}
    assert below(here) == (wanted if path == "faces" else {"model.bin": MODEL})


def test_force_does_not_replace_a_repository(source: Source, here: Path) -> None:
    git = Git(here / "gallery").init()
    git.write("mine", b"mine")
    fault(datareg(here, "get", "-f", source.url, ".", check=False), 4, "Git repository")
    assert (here / "gallery/mine").read_bytes() == b"mine"


def test_globs_choose_files_below_the_path(source: Source, here: Path) -> None:
    datareg(here, "get", source.url, "faces", "-I", "*.jpg", "-I", "sub/*", "-X", "latest.jpg")
    assert below(here / "faces").keys() == {"a.jpg", "d.jpg", "sub/c.bin"}
    fault(
        datareg(here, "get", source.url, "faces", "-I", "*.png", "-o", "x", check=False),
        3,
        "no file matches",
    )


def test_globs_are_tied_to_the_top_or_reach_any_depth(source: Source, here: Path) -> None:
    datareg(here, "get", source.url, ".", "-o", "top", "-I", "/*.bin", "-X", "/faces")
    assert below(here / "top") == {"model.bin": MODEL}
    datareg(here, "get", source.url, ".", "-o", "all", "-I", "**/*.bin", "-X", "faces/**/c.bin")
    assert below(here / "all") == {"model.bin": MODEL}


def test_force_does_not_replace_a_device_or_a_pipe(source: Source, here: Path) -> None:
    os.mkfifo(here / "model.bin")
    done = datareg(here, "get", "-f", source.url, "model.bin", check=False)
    fault(done, 4, "neither a file nor a directory: model.bin")
    assert stat.S_ISFIFO((here / "model.bin").lstat().st_mode)


def test_force_leaves_what_is_there_until_all_has_arrived(source: Source, here: Path) -> None:
    _occupy(here / "faces", "directory")
    source.object(NEW["d.jpg"]).unlink()
    fault(datareg(here, "get", "-f", source.url, "faces", check=False), 3, "faces/d.jpg")
    assert below(here) == {"faces/mine": b"mine"}


@pytest.mark.parametrize("path", ["model.bin", "faces"])
def test_what_arrives_is_the_users_own(source: Source, here: Path, home: Path, path: str) -> None:
    # Whatever the source or the cache have it as, it can be edited.
    datareg(here, "get", source.url, path)
    for file in [each for each in here.rglob("*.[bj]*") if not each.is_symlink()]:
        assert file.lstat().st_nlink == 1
        assert stat.S_IMODE(file.stat().st_mode) & 0o600 == 0o600
        file.write_bytes(b"edited")
    datareg(here, "get", source.url, path, "-o", "again")
    again = below(here / "again") or (here / "again").read_bytes()
    assert again == (FACES_NEW if path == "faces" else MODEL)


def test_data_that_only_another_branch_tracks_can_be_had(tmp_path: Path, here: Path) -> None:
    work = Git(tmp_path / "plain").init()
    work.write("README", b"plain\n")
    work.commit_all()
    work.run("switch", "--quiet", "--create", "data")
    work.run("datareg", "init")
    work.run("datareg", "track", "*.bin")
    work.write("model.bin", MODEL)
    work.commit_all()
    work.run("switch", "--quiet", "main")
    datareg(here, "get", "--rev", "data", str(work.path), "model.bin")
    assert below(here) == {"model.bin": MODEL}
    fault(datareg(here, "get", "-f", str(work.path), "model.bin", check=False), 3, "no such path")


def test_a_metafile_is_a_file_like_others(source: Source, here: Path, tmp_path: Path) -> None:
    middle = Git(tmp_path / "middle").init()
    middle.run("datareg", "import", source.url, "faces")
    middle.run("commit", "--quiet", "--message", "import")
    datareg(here, "get", str(middle.path), "faces.datareg")
    assert b"path = faces\n" in (here / "faces.datareg").read_bytes()


def test_a_missing_object_is_named_and_nothing_is_left(source: Source, here: Path) -> None:
    source.object(NEW["d.jpg"]).unlink()
    done = datareg(here, "get", source.url, "faces", "-o", "made/for/it", check=False)
    fault(done, 3, "faces/d.jpg: object ", str(source.storage))
    assert os.listdir(here) == []


def test_every_missing_object_is_named(source: Source, here: Path) -> None:
    shutil.rmtree(source.storage / "objects")
    done = datareg(here, "get", source.url, "faces", check=False)
    fault(done, 3, *(f"faces/{name}: object " for name in NEW), "3 objects could not be had")
    assert os.listdir(here) == []


def _damage(path: Path, content: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(content)


@pytest.mark.parametrize("change", ["flip", "cut"])
def test_a_damaged_object_in_the_storage_is_named_and_nothing_is_left(
    source: Source, here: Path, change: str
) -> None:
    good = NEW["d.jpg"]
    bad = good[:-1] + bytes([good[-1] ^ 1]) if change == "flip" else good[:-1]
    _damage(source.object(good), bad)
    done = datareg(here, "get", source.url, "faces", check=False)
    fault(done, 6, "faces/d.jpg: corrupt object ", str(source.storage))
    assert os.listdir(here) == []


def test_a_damaged_object_in_the_cache_is_fetched_again(
    source: Source, here: Path, home: Path
) -> None:
    datareg(here, "get", source.url, "model.bin")
    [cached] = (home / "datareg-cache/objects").glob("*/*")
    _damage(cached, bytes(len(MODEL)))
    datareg(here, "get", "-f", source.url, "model.bin")
    assert (here / "model.bin").read_bytes() == MODEL == cached.read_bytes()


def test_what_is_in_the_cache_needs_no_storage(source: Source, here: Path) -> None:
    datareg(here, "get", source.url, "faces")
    source.storage.rename(source.storage.with_name("gone"))
    datareg(here, "get", source.url, "faces", "-o", "again")
    assert below(here / "again") == FACES_NEW


def test_a_storage_that_is_not_there_is_a_storage_fault(
    source: Source, here: Path, tmp_path: Path
) -> None:
    source.work.run("datareg", "storage", "add", "-d", "disk", str(tmp_path / "disk"))
    source.publish()
    shutil.rmtree(source.storage)
    shutil.rmtree(tmp_path / "disk")
    done = datareg(here, "get", source.url, "model.bin", check=False)
    fault(done, 5, f"storage is not there: {tmp_path / 'disk'}", "model.bin")
    assert os.listdir(here) == []


def test_a_storage_that_has_moved_is_found_by_the_default_branch(
    source: Source, here: Path, tmp_path: Path
) -> None:
    source.store_at(tmp_path / "disk")
    source.work.run("tag", "v3")
    source.work.run("push", "--quiet", "origin", "v3")
    shutil.rmtree(source.storage)
    (tmp_path / "disk").rename(tmp_path / "new-disk")
    source.work.run("config", "--file", ".datareg", "storage.disk.url", str(tmp_path / "new-disk"))
    source.publish()
    datareg(here, "get", "--rev", "v3", source.url, "faces")
    assert below(here / "faces") == FACES_NEW


def test_a_relative_storage_is_read_against_the_registry(source: Source, here: Path) -> None:
    source.work.run("datareg", "storage", "add", "-d", "near", "../near")
    source.work.write("model.bin", b"somewhere else")
    source.publish()
    assert (source.remote.path.parent / "near/objects").is_dir()
    datareg(here, "get", source.url, "model.bin")
    assert below(here) == {"model.bin": b"somewhere else"}


def test_show_url_names_the_object_and_downloads_nothing(source: Source, here: Path) -> None:
    done = datareg(here, "get", "--show-url", source.url, "faces/latest.jpg")
    assert done.stdout == f"{source.object(NEW['a.jpg'])}\n"
    assert os.listdir(here) == []
    for path, code in (("notes.txt", 3), ("faces", 3), ("nothing", 3)):
        fault(datareg(here, "get", "--show-url", source.url, path, check=False), code, path)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["nowhere", "x"], 3, "no such repository: nowhere"),
        (["{}", "nothing"], 3, "no such path: nothing in {}"),
        (["{}", "model.bin/x"], 3, "no such path: model.bin/x"),
        (["--rev", "v9", "{}", "faces"], 3, "no such revision: v9 in {}"),
        (["--rev", "-x", "{}", "faces"], 2, "--rev"),
        (["{}", ".."], 3, "not a path inside a registry"),
        (["{}", "/etc"], 3, "not a path inside a registry"),
        (["{}"], 2, "PATH"),
        (["{}", ""], 2, "argument PATH: it is empty"),
        (["{}", "faces", "--rev", ""], 2, "argument --rev: it is empty"),
        (["{}", "faces", "-X", ""], 2, "-X/--exclude: it is empty"),
        (["{}", "faces", "model.bin"], 2, "unrecognized arguments: model.bin"),
        (["{}", "faces", "-j", "0"], 2, "not a number from 1 to 1024: '0'"),
        (["{}", "faces", "-j", "many"], 2, "not a number from 1 to 1024: 'many'"),
        (["{}", "faces", "-o", ""], 2, "empty name"),
        (["", "faces"], 2, "not a URL or path"),
        (["ext::sh -c date", "faces"], 2, "not a URL of a Git repository"),
    ],
)
def test_what_can_not_be_meant_is_one_clear_line(
    source: Source, here: Path, arguments: list[str], code: int, words: str
) -> None:
    given = [each.format(source.url) for each in arguments]
    fault(datareg(here, "get", *given, check=False), code, words.format(source.url))
    assert os.listdir(here) == []


def test_a_directory_that_is_no_repository_is_not_found(here: Path) -> None:
    fault(datareg(here, "get", ".", "x", check=False), 3, "not a git repository")


def test_a_registry_without_commits_says_so(tmp_path: Path, here: Path) -> None:
    Git(tmp_path / "empty.git").init("--bare")
    done = datareg(here, "get", str(tmp_path / "empty.git"), ".", check=False)
    fault(done, 3, "no commits yet")


def test_a_default_branch_without_commits_is_told_with_the_others(
    source: Source, here: Path
) -> None:
    source.remote.run("symbolic-ref", "HEAD", "refs/heads/trunk")
    done = datareg(here, "get", source.url, "faces", check=False)
    fault(done, 3, "the default branch has no commits", "main")
    datareg(here, "get", source.url, "faces", "--rev", "main")
    assert below(here / "faces") == FACES_NEW


def test_an_unwritable_directory_is_one_line_that_names_the_target(
    source: Source, here: Path
) -> None:
    here.chmod(0o555)
    done = run_unprivileged(Git(here), "datareg", "get", source.url, "faces")
    fault(done, 5, "can't write faces: Permission denied")
    assert os.listdir(here) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
def test_a_full_disk_is_one_line_and_nothing_is_left(
    source: Source, here: Path, tmp_path: Path
) -> None:
    source.work.write("large.bin", data("large", 3 << 20))
    source.publish()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(here)])
    if mounted.returncode != 0:
        pytest.skip("no mount allowed here")
    try:
        done = datareg(here, "get", source.url, "large.bin", "-o", "new/large.bin", check=False)
        fault(done, 5, "can't write new/large.bin: No space left on device")
        assert os.listdir(here) == []
        env = {"GIT_DATAREG_CACHE": str(here / "cache")}
        done = datareg(tmp_path, "get", source.url, "large.bin", check=False, env=env)
        fault(done, 5, "large.bin: No space left on device", "here/cache")
        assert not (tmp_path / "large.bin").exists()
    finally:
        subprocess.run(["umount", str(here)], check=True)


def test_a_file_in_the_way_of_the_target_is_one_line(source: Source, here: Path) -> None:
    (here / "file").write_bytes(b"mine")
    done = datareg(here, "get", source.url, "faces", "-o", "file/faces", check=False)
    fault(done, 4, "not a directory: file", "use -o for another target")
    assert below(here) == {"file": b"mine"}


def test_symlinks_that_lead_out_are_refused_before_anything_is_fetched(
    source: Source, here: Path, home: Path
) -> None:
    (source.work.path / "faces/passwd").symlink_to("../../../etc/passwd")
    source.publish()
    done = datareg(here, "get", source.url, "faces", check=False)
    fault(done, 4, "faces/passwd -> ../../../etc/passwd", "-X passwd")
    assert os.listdir(here) == []
    assert not (home / "datareg-cache/objects").exists()
    datareg(here, "get", source.url, "faces", "-X", "passwd")
    assert below(here / "faces") == FACES_NEW


@pytest.mark.parametrize("target", ["/etc/passwd", "../../x"])
def test_a_symlink_that_is_asked_for_and_leads_out_is_refused(
    source: Source, here: Path, target: str
) -> None:
    (source.work.path / "way").symlink_to(target)
    source.publish()
    fault(datareg(here, "get", source.url, "way", check=False), 4, f"way -> {target}")


def test_a_path_may_lead_through_symlinks(source: Source, here: Path) -> None:
    (source.work.path / "people").symlink_to("faces")
    (source.work.path / "faces/again").symlink_to("again")
    source.publish()
    datareg(here, "get", source.url, "people/latest.jpg")
    datareg(here, "get", source.url, "people/sub")
    assert below(here) == {"latest.jpg": NEW["a.jpg"], "sub/c.bin": NEW["sub/c.bin"]}
    fault(datareg(here, "get", source.url, "people/again", check=False), 3, "too many symlinks")


def test_submodules_are_left_out(source: Source, here: Path) -> None:
    id = source.work.head()
    source.work.run("update-index", "--add", "--cacheinfo", f"160000,{id},faces/module")
    source.work.run("commit", "--quiet", "--message", "submodule")
    source.work.run("push", "--quiet", "origin", "HEAD:main")
    datareg(here, "get", source.url, "faces")
    assert below(here / "faces") == FACES_NEW
    done = datareg(here, "get", source.url, "faces/module", check=False)
    fault(done, 3, "no files of its own: faces/module")


ODD = [b"new\nline.jpg", b"not \xff utf-8.jpg", b"-dash.jpg", b":colon.jpg", b"*.jpg", b'q"\\.jpg']


def test_odd_names_arrive_as_they_are(source: Source, here: Path) -> None:
    for name in ODD:
        source.work.write(b"odd/" + name, data(repr(name)))
    source.publish()
    datareg(here, "get", source.url, "odd")
    found = {os.fsencode(path.name): path.read_bytes() for path in (here / "odd").iterdir()}
    assert found == {name: data(repr(name)) for name in ODD}
    for name in ODD:
        datareg(here, "get", source.url, b"odd/" + name)
        assert (here / os.fsdecode(name)).read_bytes() == data(repr(name))


def test_a_name_that_means_git_is_refused(source: Source, here: Path) -> None:
    tree = source.work.run("write-tree").stdout.strip()
    blob = source.work.run("hash-object", "-w", "--stdin", input="x").stdout.strip()
    evil = source.work.run("mktree", input=f"100644 blob {blob}\t.git\n").stdout.strip()
    top = source.work.run("mktree", input=f"040000 tree {evil}\tevil\n").stdout.strip()
    assert top != tree
    commit = source.work.out("commit-tree", "-m", "evil", top)
    source.work.run("push", "--quiet", "origin", f"{commit}:refs/heads/evil")
    done = datareg(here, "get", "--rev", "evil", source.url, "evil", check=False)
    fault(done, 4, "unsafe path '.git'")
    assert os.listdir(here) == []


def test_a_sha256_registry_is_no_different(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, here: Path
) -> None:
    (tmp_path / "other").mkdir()
    source = gallery(tmp_path_factory, tmp_path / "other", object_format="sha256")
    datareg(here, "get", source.url, "faces", "--rev", "v1")
    assert below(here / "faces") == FACES_OLD


def test_a_pointer_of_a_later_version_is_named(source: Source, here: Path) -> None:
    text = b"git-datareg pointer 2\nblake3 " + b"0" * 64 + b"\nsize 1\n"
    source.work.write("faces/later.txt", text)
    source.work.commit_all()
    source.work.run("push", "--quiet", "--no-verify", "origin", "HEAD:main")
    fault(datareg(here, "get", source.url, "faces", check=False), 6, "faces/later.txt")
    datareg(here, "get", source.url, "faces", "-X", "later.txt")
    assert below(here / "faces") == FACES_NEW


def test_quiet_says_nothing_and_progress_shows_a_bar(source: Source, here: Path) -> None:
    assert datareg(here, "get", "-q", source.url, "model.bin").stderr == ""
    assert "%" not in datareg(here, "get", source.url, "notes.txt").stderr
    done = datareg(here, "get", "--progress", source.url, "faces")
    assert "downloading" in done.stderr and done.stdout == ""


def test_the_repository_around_lends_its_cache_setting(
    source: Source, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GIT_DATAREG_CACHE")
    git = Git(here).init()
    git.run("config", "datareg.cache", str(tmp_path / "own-cache"))
    datareg(here, "get", source.url, "model.bin")
    assert len(list((tmp_path / "own-cache/objects").glob("*/*"))) == 1


def test_the_repository_around_lends_its_cache_setting_to_mirrors_too(
    source: Source, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = data("a plain file that a mirror leaves at its remote", 100_000)
    source.work.write("large.txt", large)
    source.publish()
    source.remote.run("config", "uploadpack.allowFilter", "true")
    monkeypatch.delenv("GIT_DATAREG_CACHE")
    git = Git(here).init()
    git.run("config", "datareg.cache", str(tmp_path / "own-cache"))
    with githttp.serve(tmp_path) as url:
        datareg(here, "get", f"{url}/gallery.git", "large.txt")
    assert (here / "large.txt").read_bytes() == large
    assert not Path(os.environ["XDG_CACHE_HOME"]).exists()


def test_the_caller_may_be_elsewhere(source: Source, here: Path, tmp_path: Path) -> None:
    datareg(tmp_path, "-C", "here", "get", "../gallery.git", "model.bin")
    Git(tmp_path).run("-C", "here", "datareg", "get", "../gallery.git", "notes.txt")
    assert below(here).keys() == {"model.bin", "notes.txt"}


def test_an_interrupt_leaves_nothing_and_is_no_fault_of_ours(
    source: Source, here: Path, tmp_path: Path
) -> None:
    fifo = source.object(NEW["d.jpg"])
    fifo.unlink()
    os.mkfifo(fifo)
    process = subprocess.Popen(
        ["git-datareg", "get", source.url, "faces"],
        cwd=here,
        stderr=subprocess.PIPE,
        text=True,
    )
    # It has opened the object, so it is in the middle of the download.
    writer = os.open(fifo, os.O_WRONLY)
    process.send_signal(signal.SIGINT)
    os.close(writer)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors == ""
    assert os.listdir(here) == []


def test_what_arrived_before_a_kill_is_not_downloaded_again(
    source: Source, here: Path, home: Path
) -> None:
    last = source.object(NEW["sub/c.bin"])
    last.unlink()
    os.mkfifo(last)
    process = subprocess.Popen(["git-datareg", "get", "-j1", source.url, "faces"], cwd=here)
    # It has opened the last object, so the others are here.
    writer = os.open(last, os.O_WRONLY)
    process.kill()
    process.wait(timeout=60)
    os.close(writer)
    assert not (here / "faces").exists()
    arrived = list((home / "datareg-cache").glob("objects/*/*"))
    assert len(arrived) == 2
    for each in arrived:
        (source.storage / "objects" / each.parent.name / each.name).unlink()
    last.unlink()
    last.write_bytes(NEW["sub/c.bin"])
    datareg(here, "get", source.url, "faces")
    assert os.listdir(here) == ["faces"]
    assert below(here / "faces") == FACES_NEW


def test_what_a_killed_get_left_is_removed_by_the_next(source: Source, here: Path) -> None:
    leftover = here / ".faces.datareg-new-0123456789abcdef"
    leftover.mkdir()
    (leftover / "new").mkdir()
    (leftover / "new/a.jpg").write_bytes(b"half")
    datareg(here, "get", source.url, "faces")
    assert os.listdir(here) == ["faces"]


def test_many_at_once_share_a_cache(source: Source, here: Path) -> None:
    running = [
        subprocess.Popen(
            ["git-datareg", "get", "-q", source.url, "faces", "-o", f"copy{number}"], cwd=here
        )
        for number in range(6)
    ]
    assert [process.wait(timeout=120) for process in running] == [0] * 6
    assert all(below(here / f"copy{number}") == FACES_NEW for number in range(6))


def test_one_of_many_at_once_gets_the_target(source: Source, here: Path) -> None:
    running = [
        subprocess.Popen(
            ["git-datareg", "get", "-q", source.url, "faces"], cwd=here, stderr=subprocess.DEVNULL
        )
        for _ in range(6)
    ]
    assert sorted(process.wait(timeout=120) for process in running) == [0, 4, 4, 4, 4, 4]
    assert below(here) == {f"faces/{name}": content for name, content in FACES_NEW.items()}


def test_data_of_an_import_comes_from_its_own_source(
    source: Source, here: Path, tmp_path: Path
) -> None:
    middle = Git(tmp_path / "middle").init()
    middle.run("datareg", "import", source.url, "faces")
    middle.run("commit", "--quiet", "--message", "import")
    bare = clone(middle.path, tmp_path / "middle.git", "--bare")
    shutil.rmtree(middle.path)
    datareg(here, "get", str(bare.path), "faces", env={"GIT_DATAREG_CACHE": str(tmp_path / "c")})
    assert below(here / "faces") == FACES_NEW


def test_the_umask_counts(source: Source, here: Path) -> None:
    subprocess.run(
        ["sh", "-c", 'umask 077; exec git-datareg get -q "$0" faces', source.url],
        cwd=here,
        check=True,
    )
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in here.rglob("[ac].*")}
    assert modes == {"a.jpg": 0o600, "c.bin": 0o700}
    assert stat.S_IMODE((here / "faces").stat().st_mode) == 0o700


def test_old_data_is_what_the_tag_had(source: Source, here: Path) -> None:
    datareg(here, "get", "--rev", "v1", source.url, "faces/b.jpg")
    assert below(here) == {"b.jpg": OLD["b.jpg"]}


def test_an_odd_target_is_told_on_one_line(source: Source, here: Path) -> None:
    done = datareg(here, "get", source.url, "model.bin", "-o", "new\nline\x1b[31m")
    assert done.stderr == '1 file (2.9 KiB) in "new\\nline\\033[31m"\n'
    assert below(here) == {"new\nline\x1b[31m": MODEL}


def test_it_needs_neither_a_home_nor_a_terminal_nor_a_writable_place_but_the_target(
    source: Source, here: Path, tmp_path: Path
) -> None:
    environment = {
        "PATH": os.environ["PATH"],
        "GIT_DATAREG_CACHE": str(tmp_path / "cache"),
        "PYTHONPYCACHEPREFIX": os.environ["PYTHONPYCACHEPREFIX"],
    }
    done = subprocess.run(
        ["git-datareg", "get", source.url, "faces", "-o", str(here / "faces")],
        cwd="/",
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert below(here / "faces") == FACES_NEW


def test_a_directory_can_be_had_from_a_server(source: Source, here: Path, tmp_path: Path) -> None:
    source.store_at(tmp_path / "disk")
    with githttp.serve(tmp_path) as url:
        datareg(here, "get", f"{url}/gallery.git", "faces")
        assert below(here / "faces") == FACES_NEW
        datareg(here, "get", "--rev", "v1", f"datareg::{url}/gallery.git", "run.sh")
        assert below(here).keys() >= {"run.sh"}


def test_thousands_of_files_come_whole_also_over_a_damaged_cache(
    source: Source, here: Path
) -> None:
    many = {f"many/{number % 7}/{number}.bin": b"%d\n" % number for number in range(1500)}
    for name, content in many.items():
        path = source.work.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    source.work.run("datareg", "track", "many/**")
    source.publish()
    expected = {name.removeprefix("many/"): content for name, content in many.items()}
    datareg(here, "get", source.url, "many")
    assert below(here / "many") == expected
    cached = [each for each in Path(os.environ["GIT_DATAREG_CACHE"]).rglob("*") if each.is_file()]
    damaged = cached[len(cached) // 2]
    damaged.chmod(0o644)
    damaged.write_bytes(damaged.read_bytes()[::-1] + b"x")
    cached[0].unlink()
    datareg(here, "get", source.url, "many", "-o", "again")
    assert below(here / "again") == expected
    assert sorted(os.listdir(here)) == ["again", "many"]
