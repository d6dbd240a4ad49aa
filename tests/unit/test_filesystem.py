from __future__ import annotations

import errno
import pickle
from pathlib import Path

import pytest

from git_datareg import reading
from git_datareg.errors import IsDirectoryError, PathNotFoundError, StorageReadOnlyError
from git_datareg.filesystem import DataregFileSystem
from git_datareg.git import process
from tests.support.gitrun import Git


@pytest.fixture
def registry(tmp_path: Path) -> Git:
    """A registry without data, which only git is asked for."""
    git = Git(tmp_path / "registry").init()
    for path in ("a/b/c.txt", "a/d.txt", "e.txt"):
        git.write(path, path.encode())
    git.commit_all()
    return git


@pytest.fixture
def fs(registry: Git) -> DataregFileSystem:
    return DataregFileSystem(registry.path, skip_instance_cache=True)


@pytest.mark.parametrize(
    "path",
    ["a/d.txt", "/a/d.txt", "./a/d.txt", "datareg://a/d.txt", "datareg:///a/d.txt", "a/d.txt/"],
)
def test_a_path_has_one_name(fs: DataregFileSystem, path: str) -> None:
    assert fs._strip_protocol(path) == "a/d.txt"
    assert fs.cat(path) == b"a/d.txt"
    assert fs.info(path)["name"] == "a/d.txt"


@pytest.mark.parametrize("path", ["", "/", ".", "datareg://", "datareg:///"])
def test_the_root_has_the_empty_name(fs: DataregFileSystem, path: str) -> None:
    assert fs._strip_protocol(path) == ""
    assert fs.ls(path, detail=False) == ["a", "e.txt"]


def test_lists_of_paths_are_taken(fs: DataregFileSystem) -> None:
    assert fs._strip_protocol(["/a", "datareg://e.txt"]) == ["a", "e.txt"]
    assert fs.cat(["/e.txt", "a/d.txt"]) == {"e.txt": b"e.txt", "a/d.txt": b"a/d.txt"}
    assert fs.expand_path(["a", "e.txt"], recursive=True) == [
        *("a", "a/b", "a/b/c.txt", "a/d.txt"),
        "e.txt",
    ]


def test_nothing_is_looked_up_before_it_is_asked_for(tmp_path: Path) -> None:
    fs = DataregFileSystem(tmp_path / "nowhere")
    assert repr(fs)
    assert hash(fs) == hash(DataregFileSystem(tmp_path / "nowhere"))


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The first argument of each git that was started."""
    found: list[str] = []
    real = process.subprocess.Popen

    class Noting(real):  # type: ignore[misc, valid-type]
        def __init__(self, args: object, *rest: object, **more: object) -> None:
            found.append(str(args))
            super().__init__(args, *rest, **more)

    monkeypatch.setattr(process.subprocess, "Popen", Noting)
    return found


def test_a_commit_is_listed_once(fs: DataregFileSystem, started: list[str]) -> None:
    fs.ls("")
    count = len(started)
    assert count > 0
    for _ in range(3):
        fs.find("")
        fs.info("a/b/c.txt")
        fs.glob("**/*.txt")
        list(fs.walk(""))
        fs.exists("nothing")
    assert len(started) == count


def test_many_plain_files_are_read_at_once(fs: DataregFileSystem, started: list[str]) -> None:
    fs.ls("")
    before = len(started)
    assert len(fs.cat("", recursive=True)) == 3
    many = len(started) - before
    assert fs.cat("e.txt") == b"e.txt"
    one = len(started) - before - many
    assert many <= one + 1


def test_more_plain_content_than_fits_is_read_one_by_one(
    fs: DataregFileSystem, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(reading, "_MOST_PLAIN", 10)
    assert fs.cat("", recursive=True)["a/d.txt"] == b"a/d.txt"
    fs.get("", str(tmp_path / "got"), recursive=True)
    assert (tmp_path / "got/a/d.txt").read_bytes() == b"a/d.txt"


def test_the_first_file_is_opened_without_a_list_of_all(registry: Git, started: list[str]) -> None:
    fs = DataregFileSystem(registry.path, skip_instance_cache=True)
    with fs.open("a/d.txt") as stream:
        assert stream.read() == b"a/d.txt"
    assert fs._listed is None
    with pytest.raises(PathNotFoundError):
        fs.open("a/none")
    with pytest.raises(IsDirectoryError):
        fs.open("a")
    other = DataregFileSystem(registry.path, skip_instance_cache=True)
    with pytest.raises(IsDirectoryError):
        other.open("a")


def test_a_write_is_refused_with_what_was_meant(fs: DataregFileSystem) -> None:
    with pytest.raises(StorageReadOnlyError, match=r"can't copy: a/d\.txt, new") as fault:
        fs.copy("a/d.txt", "new")
    assert fault.value.errno == errno.EROFS
    assert fault.value.hints
    with pytest.raises(StorageReadOnlyError, match=r"can't open for writing: e\.txt, wb"):
        fs.open("e.txt", "wb")


def test_a_copy_is_bound_to_the_commit(fs: DataregFileSystem, registry: Git) -> None:
    copy = pickle.loads(pickle.dumps(fs))
    registry.write("new", b"x")
    registry.commit_all()
    assert copy.commit == fs.commit
    assert copy.storage_options == {"repo": str(registry.path), "rev": fs.commit}
    assert pickle.loads(pickle.dumps(fs)) is copy
    assert DataregFileSystem(registry.path, skip_instance_cache=True).exists("new")
    DataregFileSystem.clear_instance_cache()


def test_an_option_stays_with_a_copy(registry: Git) -> None:
    fs = DataregFileSystem(registry.path, stream=False)
    copy = pickle.loads(pickle.dumps(fs))
    assert copy._stream is False
    DataregFileSystem.clear_instance_cache()
