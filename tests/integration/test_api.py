"""The Python API, as a program uses it."""

from __future__ import annotations

import gc
import io
import os
import pickle
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import git_datareg
from git_datareg import api
from tests.support.consumers import (
    FACES_NEW,
    FACES_OLD,
    MODEL,
    NEW,
    OLD,
    README_NEW,
    README_OLD,
    Source,
    below,
    consumer,
    gallery,
)
from tests.support.filtered import data, object_file, pointer
from tests.support.githttp import serve
from tests.support.gitrun import Git, clone

LARGE = data("large", 10_000_001)


@pytest.fixture
def source(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Source:
    return gallery(tmp_path_factory, tmp_path)


def test_data_and_plain_files_are_read(source: Source) -> None:
    assert api.read("faces/a.jpg", source.url, mode="rb") == NEW["a.jpg"]
    assert api.read("faces/a.jpg", repo=source.url, rev="v1", mode="rb") == OLD["a.jpg"]
    assert api.read("faces/README.md", source.url) == README_NEW.decode()
    assert api.read("faces/README.md", source.url, "v1", "rb") == README_OLD
    assert api.read("faces/empty.dat", source.url) == ""


def test_a_stream_can_seek_and_closes_itself(source: Source) -> None:
    with api.open("model.bin", repo=source.url, mode="rb") as stream:
        assert stream.seekable() and stream.readable() and not stream.writable()
        stream.seek(-10, os.SEEK_END)
        assert stream.read() == MODEL[-10:]
        stream.seek(5)
        assert stream.read(3) == MODEL[5:8]
    assert stream.closed


@pytest.mark.parametrize("mode", ["r", "rt"])
def test_text_is_decoded_with_any_line_ends(source: Source, mode: str) -> None:
    source.work.write("text.dat", "grüße\r\nzwei\n".encode("utf-16"))
    source.publish()
    with api.open("text.dat", repo=source.url, mode=mode, encoding="utf-16") as stream:
        assert stream.readlines() == ["grüße\n", "zwei\n"]
    with pytest.raises(UnicodeDecodeError):
        api.read("text.dat", repo=source.url)
    with pytest.raises(LookupError):
        api.read("text.dat", repo=source.url, encoding="no-such-encoding")


def test_text_is_read_as_python_reads_it(source: Source) -> None:
    source.work.write("text.dat", b"eins\r\nzw\xffei\n")
    source.publish()
    for arguments in (
        {"errors": "replace"},
        {"errors": "ignore", "newline": ""},
        {"encoding": "latin-1", "newline": "\n"},
        {"mode": "tr", "encoding": "latin-1", "newline": "\r\n"},
    ):
        with (
            api.open("text.dat", repo=source.url, **arguments) as stream,
            open(source.work.path / "text.dat", **{"encoding": "utf-8"} | arguments) as same,
        ):
            assert list(stream) == list(same)
    assert api.read("text.dat", source.url, None, "r", "utf-8", "ignore", "") == "eins\r\nzwei\n"


def test_arguments_that_can_not_be_meant_are_told_before_a_look_at_the_registry() -> None:
    with pytest.raises(LookupError):
        api.open("x", repo="/nowhere", encoding="no-such-encoding")
    with pytest.raises(ValueError, match="newline"):
        api.open("x", repo="/nowhere", newline="x")
    for name in ("encoding", "errors", "newline"):
        with pytest.raises(git_datareg.UsageError, match=name):
            api.open("x", repo="/nowhere", mode="rb", **{name: "utf-8"})


@pytest.mark.parametrize("mode", ["w", "a", "r+", "wb", "x", "rU", "b", ""])
def test_other_modes_are_refused(source: Source, mode: str) -> None:
    with pytest.raises(git_datareg.UsageError, match="only read"):
        api.open("model.bin", repo=source.url, mode=mode)


def test_a_repository_is_a_url_or_any_kind_of_path(source: Source) -> None:
    for repo in (source.url, Path(source.url), f"file://{source.url}", f"datareg::{source.url}"):
        assert api.read("model.bin", repo=repo, mode="rb") == MODEL
        assert api.read("model.bin", repo=repo, rev="v1", mode="rb") == MODEL


def test_the_default_is_the_repository_around_us(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(source.work.path / "faces")
    assert api.read("faces/a.jpg", mode="rb") == NEW["a.jpg"]
    assert api.read("faces/a.jpg", rev="v1", mode="rb") == OLD["a.jpg"]
    assert api.get_url("model.bin").startswith("/")
    monkeypatch.chdir(source.work.path.parent)
    with pytest.raises(git_datareg.RepositoryNotFoundError):
        api.read("faces/a.jpg")


def test_a_path_without_a_revision_is_its_work_tree(source: Source) -> None:
    source.work.write("faces/a.jpg", b"not even staged")
    source.work.write("faces/new", b"new")
    assert api.read("faces/a.jpg", repo=source.work.path, mode="rb") == b"not even staged"
    assert api.read("faces/new", repo=source.work.path) == "new"
    assert api.read("faces/a.jpg", repo=source.work.path, rev="HEAD", mode="rb") == NEW["a.jpg"]
    assert api.read("faces/latest.jpg", repo=source.work.path) == "not even staged"


def test_a_pointer_in_a_work_tree_is_followed(source: Source, tmp_path: Path) -> None:
    env = {"GIT_DATAREG_SKIP_SMUDGE": "1"}
    Git(tmp_path).run("clone", "--quiet", f"datareg::{source.url}", "copy", env=env)
    assert (tmp_path / "copy/model.bin").read_bytes() == pointer(MODEL)
    assert api.read("model.bin", repo=tmp_path / "copy", mode="rb") == MODEL
    assert (tmp_path / "copy/model.bin").read_bytes() == pointer(MODEL)


def test_symlinks_are_followed_inside_the_registry(source: Source) -> None:
    (source.work.path / "out").symlink_to("../../etc/passwd")
    source.publish()
    assert api.read("faces/latest.jpg", repo=source.url, mode="rb") == NEW["a.jpg"]
    assert api.get_url("faces/latest.jpg", repo=source.url) == api.get_url(
        "faces/a.jpg", repo=source.url
    )
    with pytest.raises(git_datareg.UnsafePathError):
        api.read("out", repo=source.url)


REVS = [None, "v1"]


@pytest.mark.parametrize("rev", REVS)
@pytest.mark.parametrize("where", ["remote", "work"])
def test_faults_are_those_of_python_too(source: Source, where: str, rev: str | None) -> None:
    repo = getattr(source, where).path
    for path in ("nothing", "model.bin/x", "faces/nothing"):
        with pytest.raises(git_datareg.PathNotFoundError, match=path) as missing:
            api.open(path, repo=repo, rev=rev)
        assert isinstance(missing.value, FileNotFoundError)
    for path in ("faces", "", ".", "faces/sub/"):
        with pytest.raises(git_datareg.IsDirectoryError) as directory:
            api.open(path, repo=repo, rev=rev)
        assert isinstance(directory.value, IsADirectoryError)
    with pytest.raises(git_datareg.PathNotFoundError):
        api.open("../author/model.bin", repo=repo, rev=rev)


def test_faults_survive_a_pool_of_processes(source: Source) -> None:
    with pytest.raises(git_datareg.PathNotFoundError) as fault:
        api.open("nothing", repo=source.url)
    copy = pickle.loads(pickle.dumps(fault.value))
    assert (type(copy), str(copy)) == (type(fault.value), str(fault.value))


def test_an_object_that_can_not_be_had_is_a_fault(source: Source) -> None:
    source.object(MODEL).unlink()
    with pytest.raises(git_datareg.ObjectNotFoundError):
        api.open("model.bin", repo=source.url)
    damaged = source.object(NEW["a.jpg"])
    damaged.chmod(0o644)
    damaged.write_bytes(bytes(len(NEW["a.jpg"])))
    with pytest.raises(git_datareg.IntegrityError):
        api.open("faces/a.jpg", repo=source.url)


def test_unknown_revisions_and_repositories_are_faults(source: Source, tmp_path: Path) -> None:
    with pytest.raises(git_datareg.RevisionNotFoundError):
        api.open("model.bin", repo=source.url, rev="v9")
    with pytest.raises(git_datareg.RepositoryNotFoundError):
        api.open("model.bin", repo=tmp_path / "nowhere")
    with pytest.raises(git_datareg.UsageError):
        api.open("model.bin", repo="")


def test_the_url_of_an_object_is_where_it_is_stored(source: Source) -> None:
    assert api.get_url("model.bin", repo=source.url) == str(source.object(MODEL))
    assert api.get_url("faces/a.jpg", source.url, "v1") == str(source.object(OLD["a.jpg"]))
    source.object(MODEL).unlink()
    assert api.get_url("model.bin", repo=source.url) == str(source.object(MODEL))
    with pytest.raises(git_datareg.NotFoundError, match="plain in Git"):
        api.get_url("notes.txt", repo=source.url)
    with pytest.raises(git_datareg.IsDirectoryError):
        api.get_url("faces", repo=source.url)


def test_without_a_storage_there_is_no_url(source: Source, tmp_path: Path) -> None:
    with serve(tmp_path) as url:
        with pytest.raises(git_datareg.StorageNotConfiguredError):
            api.get_url("model.bin", repo=f"{url}/gallery.git")
        with pytest.raises(git_datareg.ObjectNotFoundError):
            api.read("model.bin", repo=f"{url}/gallery.git")


def test_a_registry_is_listed(source: Source) -> None:
    top = api.list(source.url)
    assert [each.path for each in top][2:4] == ["faces", "model.bin"]
    assert (top[2].type, top[2].size, top[3].size, top[3].is_data) == (
        "dir",
        None,
        len(MODEL),
        True,
    )
    found = api.list(source.url, "faces", rev="v1", recursive=True)
    assert {each.path.removeprefix("faces/") for each in found} == set(FACES_OLD)


def test_files_are_downloaded(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    done = api.get(source.url, "faces", exclude=["*.bin"])
    size = sum(len(x) for n, x in FACES_NEW.items() if n != "sub/c.bin")
    assert done == api.Delivered("faces", 5, size, 2)
    with pytest.raises(git_datareg.TargetExistsError) as fault:
        api.get(source.url, "faces")
    assert isinstance(fault.value, FileExistsError)
    assert api.get(source.url, "faces", force=True, rev="v1").fetched == 3
    assert below(tmp_path / "here/faces") == FACES_OLD


def test_files_are_imported_and_updated(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = consumer(tmp_path / "app")
    monkeypatch.chdir(app.path)
    source.remote.run("branch", "follow", "v1")
    changes = api.import_("../gallery.git", "faces", rev="follow")
    assert (changes.added, changes.changed, changes.removed) == (6, 0, 0)
    assert f"url = {source.url}\n" in (app.path / "faces.datareg").read_text()
    app.commit_all()
    assert not api.update("faces").any
    source.remote.run("branch", "--force", "follow", "v2")
    assert api.update("faces.datareg") == api.Changes(1, 2, 1, 2)
    assert below(app.path / "faces") == FACES_NEW
    app.write("faces/a.jpg", b"mine")
    with pytest.raises(git_datareg.LocalChangesError):
        api.update("faces", rev="v1")
    api.update("faces", rev="v1", force=True)
    assert below(app.path / "faces") == FACES_OLD


def test_imported_files_are_read_from_their_source(source: Source, tmp_path: Path) -> None:
    app = consumer(tmp_path / "app")
    app.run("datareg", "import", "-q", "--no-download", source.url, "faces")
    app.commit_all()
    assert api.read("faces/a.jpg", repo=app.path, mode="rb") == NEW["a.jpg"]
    copy = clone(app.path, tmp_path / "copy.git", "--bare")
    assert api.read("faces/d.jpg", repo=copy.path, mode="rb") == NEW["d.jpg"]


def test_threads_can_share_it(source: Source) -> None:
    def read(number: int) -> bool:
        name = ("a.jpg", "d.jpg", "sub/c.bin")[number % 3]
        with api.open(f"faces/{name}", repo=source.url, rev="v2", mode="rb") as stream:
            return bool(stream.read() == NEW[name])

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(48)))


@pytest.fixture
def large(source: Source) -> Source:
    source.work.write("large.bin", LARGE)
    source.publish()
    return source


def test_a_large_file_is_read_without_the_rest(large: Source, home: Path) -> None:
    with api.open("large.bin", repo=large.url, mode="rb") as stream:
        assert stream.seekable() and stream.readable() and not stream.writable()
        stream.seek(-100, os.SEEK_END)
        assert stream.read() == LARGE[-100:]
        stream.seek(4_000_000)
        assert stream.read(1000) == LARGE[4_000_000:4_001_000]
    assert not object_file(home / "datareg-cache", LARGE).exists()


def test_a_large_file_that_was_read_whole_needs_no_storage(large: Source) -> None:
    with api.open("large.bin", repo=large.url, mode="rb") as stream:
        while stream.read(999_999):
            pass
    shutil.rmtree(large.storage)
    assert api.read("large.bin", repo=large.url, mode="rb") == LARGE


def test_a_large_file_is_never_read_whole_with_wrong_bytes(large: Source) -> None:
    stored = large.object(LARGE)
    stored.chmod(0o644)
    stored.write_bytes(LARGE[:-1] + b"X")
    with api.open("large.bin", repo=large.url, mode="rb") as stream:
        assert stream.read(100) == LARGE[:100]
        with pytest.raises(git_datareg.IntegrityError, match=str(large.storage)):
            stream.read()
    with pytest.raises(git_datareg.IntegrityError):
        api.read("large.bin", repo=large.url, mode="rb")
    with pytest.raises(git_datareg.IntegrityError):
        api.open("large.bin", repo=large.url, mode="rb", stream=False)
    stored.write_bytes(LARGE[:-1])
    with pytest.raises(git_datareg.IntegrityError, match="bytes instead of"):
        api.open("large.bin", repo=large.url, mode="rb")
    stored.unlink()
    with pytest.raises(git_datareg.ObjectNotFoundError):
        api.open("large.bin", repo=large.url, mode="rb")


def test_a_large_file_that_is_wanted_whole_is_here_at_once(large: Source, home: Path) -> None:
    with api.open("large.bin", repo=large.url, mode="rb", stream=False) as stream:
        assert object_file(home / "datareg-cache", LARGE).stat().st_size == len(LARGE)
        assert stream.read(10) == LARGE[:10]


def test_a_large_pointer_in_a_work_tree_is_read(large: Source, tmp_path: Path) -> None:
    env = {"GIT_DATAREG_SKIP_SMUDGE": "1"}
    Git(tmp_path).run("clone", "--quiet", f"datareg::{large.url}", "copy", env=env)
    with api.open("large.bin", repo=tmp_path / "copy", mode="rb") as stream:
        stream.seek(-10, os.SEEK_END)
        assert stream.read() == LARGE[-10:]
    large.object(LARGE).unlink()
    with pytest.raises(git_datareg.ObjectNotFoundError):
        api.open("large.bin", repo=tmp_path / "copy", mode="rb")


def test_files_are_read_from_where_the_storage_has_moved_to(large: Source, tmp_path: Path) -> None:
    large.work.run("tag", "before")
    large.work.run("push", "--quiet", "origin", "before")
    large.store_at(tmp_path / "disk")
    shutil.rmtree(large.storage)
    assert api.read("model.bin", repo=large.url, rev="before", mode="rb") == MODEL
    assert api.read("large.bin", repo=large.url, rev="before", mode="rb") == LARGE


def test_a_stream_needs_no_context(
    large: Source, home: Path, recwarn: pytest.WarningsRecorder
) -> None:
    def open_files() -> int:
        gc.collect()
        return len(os.listdir("/proc/self/fd"))

    before = open_files()
    for path in ("large.bin", "model.bin", "faces/README.md"):
        for repo in (large.url, large.work.path):
            assert api.open(path, repo=repo, mode="rb").read(1)
    assert api.open("notes.txt", repo=large.url).read() == "notes\n"
    assert open_files() == before
    assert not list(recwarn)
    assert not [path for path in (home / "datareg-cache/tmp").iterdir() if path.is_file()]


def test_a_stream_can_be_shared_by_threads(large: Source) -> None:
    lock = threading.Lock()
    with api.open("large.bin", repo=large.url, mode="rb") as stream:

        def part(number: int) -> bool:
            position = number * 1_000_003 % len(LARGE)
            with lock:
                stream.seek(position)
                return stream.read(100) == LARGE[position : position + 100]

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(part, range(64)))


def test_a_file_that_is_gone_from_the_work_tree_is_not_found(source: Source) -> None:
    (source.work.path / "model.bin").unlink()
    with pytest.raises(git_datareg.PathNotFoundError, match=r"model\.bin"):
        api.read("model.bin", repo=source.work.path)
    assert api.read("model.bin", repo=source.work.path, rev="HEAD", mode="rb") == MODEL


def test_what_was_read_once_needs_no_storage(source: Source) -> None:
    api.read("model.bin", repo=source.url, mode="rb")
    shutil.rmtree(source.storage)
    assert api.read("model.bin", repo=source.url, mode="rb") == MODEL


def test_a_stream_fits_where_files_are_wanted(source: Source, tmp_path: Path) -> None:
    source.work.write("words.dat", b"a,b\n1,2\n")
    source.publish()
    with api.open("words.dat", repo=source.url) as stream:
        assert isinstance(stream, io.TextIOBase)
        assert [line.split(",") for line in stream.read().splitlines()] == [["a", "b"], ["1", "2"]]


def test_odd_names_are_read(source: Source) -> None:
    name = os.fsdecode(b"odd \xff\n.jpg")
    source.work.write(name, data("odd"))
    source.publish()
    assert api.read(name, repo=source.url, mode="rb") == data("odd")
    assert name in [each.path for each in api.list(source.url)]
