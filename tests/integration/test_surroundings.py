"""What lies around a command: no home, and things in places where files are expected."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from git_datareg import api
from tests.support import githttp
from tests.support.consumers import (
    FACES_NEW,
    MODEL,
    Source,
    below,
    consumer,
    datareg,
    fault,
    gallery,
)
from tests.support.filtered import LARGE, blob, data, object_file, pointer
from tests.support.gitrun import Git

NO_CACHE = "no place for the cache: HOME is not set"


@pytest.fixture
def source(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Source:
    return gallery(tmp_path_factory, tmp_path)


@pytest.fixture
def homeless(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a service or a container that says nothing of a home."""
    for name in ("HOME", "XDG_CACHE_HOME", "GIT_DATAREG_CACHE"):
        monkeypatch.delenv(name)


@pytest.mark.usefixtures("homeless")
def test_without_a_home_all_works_that_needs_no_cache(source: Source, tmp_path: Path) -> None:
    assert "faces\n" in datareg(tmp_path, "list", source.url).stdout
    assert "data" in datareg(tmp_path, "list", "-l", source.url, "model.bin").stdout
    datareg(tmp_path, "get", source.url, "notes.txt")
    assert (tmp_path / "notes.txt").read_bytes() == b"notes\n"
    assert datareg(tmp_path, "get", "--show-url", source.url, "model.bin").stdout.endswith("\n")
    git = source.work
    git.write("new.bin", data("new"))
    git.commit_all("new")
    git.run("push", "--quiet", "origin", "main")
    assert source.object(data("new")).is_file()
    (git.path / "new.bin").unlink()
    git.run("checkout", "--quiet", ".")
    assert (git.path / "new.bin").read_bytes() == data("new")
    for command in ("status", "ls-files", "env", "storage", "track", "pull", "checkout", "fetch"):
        assert datareg(git, command).stderr.count("error") == 0


@pytest.mark.usefixtures("homeless")
def test_what_needs_the_cache_says_that_it_has_no_place(source: Source, tmp_path: Path) -> None:
    fault(datareg(tmp_path, "get", source.url, "model.bin", check=False), 2, NO_CACHE, "hint: set ")
    app = consumer(tmp_path / "app")
    fault(datareg(app, "import", source.url, "faces", check=False), 2, NO_CACHE)
    assert app.status() == ""
    with githttp.serve(tmp_path) as url:
        for command in ("list", "get"):
            done = datareg(tmp_path, command, f"{url}/gallery.git", "notes.txt", check=False)
            fault(done, 2, NO_CACHE)
    cache = {"GIT_DATAREG_CACHE": str(tmp_path / "cache")}
    datareg(tmp_path, "get", source.url, "model.bin", env=cache)
    assert (tmp_path / "model.bin").read_bytes() == MODEL


@pytest.mark.usefixtures("homeless")
def test_a_clone_without_a_place_for_the_cache_ends_and_says_why(
    source: Source, tmp_path: Path
) -> None:
    done = Git(tmp_path).run("clone", "--quiet", f"datareg::{source.url}", "copy", check=False)
    assert NO_CACHE in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "copy/model.bin").exists()


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    # By a short name, since that of a socket may have a hundred bytes only.
    here = os.open(path.parent, os.O_RDONLY)
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(f"/proc/self/fd/{here}/{path.name}")
    finally:
        os.close(here)


def _device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def put(make: Callable[[Path], None], path: Path) -> Path:
    """Put something that is no regular file in a place."""
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    make(path)
    return path


#: To open the first would wait for a writer, to read the last would never end.
odd = pytest.mark.parametrize("make", [_fifo, _socket, _device, Path.mkdir])


@odd
def test_what_is_no_file_in_a_storage_is_no_object(
    source: Source, tmp_path: Path, make: Callable[[Path], None]
) -> None:
    place = put(make, source.object(MODEL))
    done = datareg(tmp_path, "get", source.url, "model.bin", check=False)
    # A socket can't even be opened.
    fault(done, 5 if make is _socket else 3, str(place) if make is _socket else "is not in")
    assert not (tmp_path / "model.bin").exists()
    done = datareg(source.work, "push", "--all", check=False)
    fault(done, 1, f"model.bin: not a file: {place}\n", "nothing is pushed")


@odd
@pytest.mark.parametrize("content", [MODEL, data("large", LARGE)])
def test_what_is_no_file_in_the_cache_is_no_object(
    source: Source, tmp_path: Path, home: Path, make: Callable[[Path], None], content: bytes
) -> None:
    if content != MODEL:
        source.work.write("model.bin", content)
        source.publish()
    place = put(make, object_file(home / "datareg-cache", content))
    done = datareg(tmp_path, "get", source.url, "model.bin", check=False)
    if make is Path.mkdir:
        # Not ours to remove.
        fault(done, 5, "model.bin: Is a directory: ")
    else:
        assert (tmp_path / "model.bin").read_bytes() == content
        assert place.is_file() and not place.is_symlink()


@odd
def test_a_tracked_configuration_that_is_no_file_is_none(
    source: Source, make: Callable[[Path], None]
) -> None:
    git = source.work
    git.write(".datareg", b"[datareg]\n\tversion = 1\n\tthreshold = 10\n")
    git.commit_all("threshold")
    put(make, git.path / ".datareg")
    for command in ("status", "ls-files", "storage", "env"):
        assert datareg(git, command).stderr.count("error") == 0
    git.write("new.bin", b"content")
    git.write("other.bin", b"less tiny content")
    git.run("add", "new.bin", "other.bin")
    # What the index has counts, as for a file that is not there.
    assert blob(git, ":new.bin") == b"content"
    assert blob(git, ":other.bin") == pointer(b"less tiny content")
    for words in (("storage", "add", "x", "/srv"), ("track", "--above", "1k"), ("init",)):
        what = "a symlink" if make is _device else "not a regular file"
        fault(datareg(git, *words, check=False), 4, what, ".datareg", "hint: put a file")


@odd
def test_a_metafile_that_is_no_file_is_named(
    source: Source, tmp_path: Path, make: Callable[[Path], None]
) -> None:
    app = consumer(tmp_path / "app")
    datareg(app, "import", source.url, "faces")
    app.commit_all("import")
    put(make, app.path / "faces.datareg")
    for words in (("status",), ("update", "--all")):
        fault(datareg(app, *words, check=False), 6, "can't read faces.datareg: not a regular file")
    fault(datareg(app, "update", "faces", check=False), 3, "not an import: faces")
    assert datareg(app, "pull").stderr == "0 objects fetched, 0 files put in place\n"
    assert below(app.path / "faces") == FACES_NEW


@pytest.mark.parametrize("make", [_fifo, _socket])
def test_python_reads_no_file_that_is_none(source: Source, make: Callable[[Path], None]) -> None:
    put(make, source.work.path / "model.bin")
    with pytest.raises(IsADirectoryError, match=r"is not a file: model\.bin"):
        api.read("model.bin", repo=source.work.path, mode="rb")


def test_a_hook_that_is_no_file_is_not_read(source: Source) -> None:
    hook = put(_fifo, source.work.path / ".git/hooks/pre-push")
    datareg(source.work, "init")
    assert hook.is_file()
    source.work.write("new.bin", b"content")
    source.work.run("add", "new.bin")
    assert blob(source.work, ":new.bin") == pointer(b"content")


def test_a_mirror_of_other_things_than_files_is_made_anew(
    source: Source, tmp_path: Path, home: Path
) -> None:
    with githttp.serve(tmp_path) as server:
        url = f"{server}/gallery.git"
        listed = datareg(tmp_path, "list", url).stdout
        [mirror] = (home / "datareg-cache/mirrors").glob("*.git")
        for name in ("config", "reader/HEAD"):
            put(_fifo, mirror / name)
            assert datareg(tmp_path, "list", url).stdout == listed
            assert (mirror / name).is_file()
