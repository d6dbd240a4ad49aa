"""`datareg://` in fsspec, as a program uses it; with fsspec's own tests of what `get` does."""

from __future__ import annotations

import errno
import gzip
import io
import os
import pickle
import posixpath
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import md5
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.tests.abstract import AbstractFixtures
from fsspec.tests.abstract.get import AbstractGetTests

import git_datareg
from git_datareg.filesystem import DataregFileSystem
from git_datareg.storage.local import LocalStorage
from tests.support.consumers import (
    FACES_NEW,
    MODEL,
    NEW,
    OLD,
    README_NEW,
    Source,
    below,
    gallery,
)
from tests.support.filtered import data
from tests.support.githttp import serve
from tests.support.gitrun import Git

LARGE = data("large", 20 * 1024 * 1024)


@pytest.fixture(autouse=True)
def fresh_instances() -> Iterator[None]:
    DataregFileSystem.clear_instance_cache()
    yield
    DataregFileSystem.clear_instance_cache()


@pytest.fixture
def source(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Source:
    return gallery(tmp_path_factory, tmp_path)


@pytest.fixture
def fs(source: Source) -> DataregFileSystem:
    return DataregFileSystem(source.url)


class Requests:
    """The ranges of objects that a directory as storage was asked for."""

    def __init__(self) -> None:
        self.lengths: list[int | None] = []

    @property
    def opened(self) -> int:
        return len(self.lengths)

    @property
    def size(self) -> int:
        return sum(length or 0 for length in self.lengths)


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> Requests:
    found = Requests()
    real = LocalStorage.open

    def open(self: LocalStorage, key: str, offset: int = 0, length: int | None = None) -> Any:
        stream = real(self, key, offset, length)
        if key.startswith("objects/"):
            found.lengths.append(length)
        return stream

    monkeypatch.setattr(LocalStorage, "open", open)
    return found


# How it is found


def test_fsspec_finds_it_by_its_name(source: Source) -> None:
    assert isinstance(fsspec.filesystem("datareg", repo=source.url), DataregFileSystem)
    with fsspec.open("datareg://faces/a.jpg", repo=source.url, rev="v1") as stream:
        assert stream.read() == OLD["a.jpg"]
    with fsspec.open("datareg://notes.txt", mode="rt", repo=source.url) as text:
        assert text.read() == "notes\n"
    _, path = fsspec.url_to_fs("datareg:///faces/a.jpg", repo=source.url)
    assert path == "faces/a.jpg"
    files = fsspec.open_files("datareg://faces/*.jpg", repo=source.url)
    assert [each.path for each in files] == ["faces/a.jpg", "faces/d.jpg", "faces/latest.jpg"]


def test_it_goes_with_the_caches_of_fsspec(source: Source) -> None:
    for kind in ("simplecache", "filecache"):
        with fsspec.open(f"{kind}::datareg://model.bin", datareg={"repo": source.url}) as stream:
            assert stream.read() == MODEL


def test_archives_and_compressed_files_are_read_through_it(source: Source) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("in/it.txt", "zipped")
    source.work.write("archive.bin", packed.getvalue())
    source.work.write("words.dat", gzip.compress(b"gzipped"))
    source.publish()
    options = {"repo": source.url}
    with fsspec.open("zip://in/it.txt::datareg://archive.bin", datareg=options) as stream:
        assert stream.read() == b"zipped"
    with fsspec.open("datareg://words.dat", compression="gzip", **options) as stream:
        assert stream.read() == b"gzipped"


def test_equal_arguments_give_one_instance(source: Source) -> None:
    first = fsspec.filesystem("datareg", repo=source.url, rev="v1")
    assert fsspec.filesystem("datareg", repo=source.url, rev="v1") is first
    assert fsspec.filesystem("datareg", repo=source.url, rev="v2") is not first
    assert first.fsid != fsspec.filesystem("datareg", repo=source.url, rev="v2").fsid


def test_a_repository_is_a_url_or_any_kind_of_path(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    for repo in (source.url, Path(source.url), f"file://{source.url}", f"datareg::{source.url}"):
        assert DataregFileSystem(repo, rev="v1").cat("model.bin") == MODEL
    monkeypatch.chdir(source.work.path / "faces")
    assert DataregFileSystem().cat("faces/a.jpg") == NEW["a.jpg"]


def test_an_instance_stays_with_the_directory_that_it_was_made_in(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(source.work.path)
    around, relative = DataregFileSystem(), DataregFileSystem("../gallery.git")
    monkeypatch.chdir(tmp_path.parent)
    assert around.cat("model.bin") == relative.cat("model.bin") == MODEL
    for repo in (None, "../gallery.git"):
        with pytest.raises(git_datareg.RepositoryNotFoundError):
            DataregFileSystem(repo).ls("")


def test_a_work_tree_is_read_as_it_was_committed(source: Source) -> None:
    source.work.write("faces/a.jpg", b"not committed")
    source.work.write("new.jpg", b"new")
    fs = DataregFileSystem(source.work.path)
    assert fs.cat("faces/a.jpg") == NEW["a.jpg"]
    assert not fs.exists("new.jpg")


def test_fsspec_alone_is_what_loads_it() -> None:
    code = "import sys, git_datareg.api; print('fsspec' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout == "False\n"


# What there is


def test_a_directory_is_listed(fs: DataregFileSystem) -> None:
    names = [".datareg", ".gitattributes", "faces", "model.bin", "notes.txt", "run.sh"]
    for root in ("", "/", "datareg://", "."):
        assert fs.ls(root, detail=False) == names
    assert fs.ls("faces", detail=False) == fs.ls("/faces/", detail=False)
    assert fs.ls("faces/sub") == [fs.info("faces/sub/c.bin")]
    assert fs.ls("model.bin", detail=False) == ["model.bin"]
    found = {each["name"]: each["type"] for each in fs.ls("")}
    assert found == dict.fromkeys(names, "file") | {"faces": "directory"}


def test_a_file_says_what_it_is(fs: DataregFileSystem, source: Source) -> None:
    info = fs.info("datareg://faces/sub/c.bin")
    digest = source.object(NEW["sub/c.bin"]).relative_to(source.storage / "objects")
    assert info == {
        "name": "faces/sub/c.bin",
        "size": len(NEW["sub/c.bin"]),
        "type": "file",
        "id": str(digest).replace("/", ""),
        "data": True,
        "executable": True,
    }
    plain = fs.info("notes.txt")
    assert (plain["size"], plain["data"], plain["executable"]) == (6, False, False)
    assert plain["id"] == source.remote.out("rev-parse", "main:notes.txt")
    assert fs.size("model.bin") == len(MODEL)
    assert fs.info("") == {"name": "", "size": 0, "type": "directory"}


def test_what_is_there_is_told_from_what_is_not(fs: DataregFileSystem) -> None:
    for path in ("model.bin", "faces/a.jpg", "faces/latest.jpg"):
        assert (fs.exists(path), fs.isfile(path), fs.isdir(path)) == (True, True, False)
    for path in ("faces", "faces/sub/", "", "/"):
        assert (fs.exists(path), fs.isfile(path), fs.isdir(path)) == (True, False, True)
    for path in ("nothing", "faces/nothing", "model.bin/x", "../model.bin"):
        assert (fs.exists(path), fs.isfile(path), fs.isdir(path)) == (False, False, False)
    assert fs.lexists("faces/latest.jpg")


def test_what_is_not_there_is_a_file_not_found(fs: DataregFileSystem, tmp_path: Path) -> None:
    uses: list[Callable[[str], object]] = [
        fs.info,
        fs.ls,
        fs.open,
        fs.cat,
        fs.cat_file,
        fs.ukey,
        lambda path: fs.get(path, str(tmp_path / "x")),
        lambda path: fs.get_file(path, str(tmp_path / "x")),
        lambda path: fs.get(path + "/*", str(tmp_path / "x")),
        lambda path: fs.get(path, str(tmp_path / "x"), recursive=True),
    ]
    for use in uses:
        for path in ("nothing", "faces/nothing"):
            with pytest.raises(git_datareg.PathNotFoundError, match="nothing") as fault:
                use(path)
            assert isinstance(fault.value, FileNotFoundError)
    assert fs.find("nothing") == []
    assert list(fs.walk("nothing")) == []
    assert fs.glob("nothing/*") == []
    assert not (tmp_path / "x").exists()


def test_a_directory_is_not_opened(fs: DataregFileSystem) -> None:
    for path in ("faces", "faces/", ""):
        with pytest.raises(IsADirectoryError):
            fs.open(path)
        with pytest.raises(git_datareg.IsDirectoryError):
            fs.cat_file(path)


def test_files_are_found_below_a_directory(fs: DataregFileSystem) -> None:
    names = sorted(f"faces/{name}" for name in FACES_NEW)
    assert fs.find("faces") == names
    assert set(fs.find("")) > set(names)
    assert fs.find("faces", maxdepth=1) == [name for name in names if "sub" not in name]
    assert fs.find("faces", withdirs=True) == sorted([*names, "faces", "faces/sub"])
    assert fs.find("model.bin") == ["model.bin"]
    assert fs.find("faces/sub", detail=True) == {"faces/sub/c.bin": fs.info("faces/sub/c.bin")}
    assert fs.du("faces") == sum(fs.info(name)["size"] for name in names)
    with pytest.raises(ValueError, match="maxdepth"):
        fs.find("", maxdepth=0)


def test_directories_are_walked(fs: DataregFileSystem) -> None:
    walked = {root: (dirs, sorted(files)) for root, dirs, files in fs.walk("faces")}
    assert walked == {
        "faces": (["sub"], ["README.md", "a.jpg", "d.jpg", "empty.dat", "latest.jpg"]),
        "faces/sub": ([], ["c.bin"]),
    }
    assert [root for root, _, _ in fs.walk("", maxdepth=1)] == [""]
    # As for all of fsspec.
    assert list(fs.walk("model.bin")) == [("model.bin", [], [""])]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("faces/*.jpg", "faces/a.jpg faces/d.jpg faces/latest.jpg"),
        ("*/*/*.bin", "faces/sub/c.bin"),
        ("**/*.bin", "faces/sub/c.bin model.bin"),
        ("f*", "faces"),
        ("faces/[ad].jpg", "faces/a.jpg faces/d.jpg"),
        ("datareg://model.*", "model.bin"),
        ("faces/none*", ""),
    ],
)
def test_globs_find_paths(fs: DataregFileSystem, pattern: str, expected: str) -> None:
    assert fs.glob(pattern) == expected.split()


def test_contents_have_keys(fs: DataregFileSystem, source: Source) -> None:
    assert fs.ukey("faces/a.jpg") == fs.ukey("faces/latest.jpg")
    assert fs.ukey("faces/a.jpg") != fs.ukey("faces/d.jpg")
    old = DataregFileSystem(source.url, rev="v1")
    assert fs.ukey("model.bin") == old.ukey("model.bin")
    assert fs.ukey("faces/a.jpg") != old.ukey("faces/a.jpg")


def test_symlinks_are_followed_and_never_walked(source: Source, tmp_path: Path) -> None:
    for name, target in {"all": "faces", "faces/up": "..", "gone": "x", "out": "/etc"}.items():
        (source.work.path / name).symlink_to(target)
    source.publish()
    fs = DataregFileSystem(source.url)
    assert fs.cat("all/a.jpg") == fs.cat("faces/up/all/latest.jpg") == NEW["a.jpg"]
    assert fs.ls("all", detail=False)[0] == "all/README.md"
    assert fs.info("all/a.jpg")["name"] == "all/a.jpg"
    assert fs.find("all/sub") == ["all/sub/c.bin"]
    info = fs.info("faces/latest.jpg")
    assert (info["size"], info["islink"], info["destination"]) == (len(NEW["a.jpg"]), True, "a.jpg")
    assert [fs.info(name)["type"] for name in ("all", "gone", "out", "faces/up")] == ["link"] * 4
    assert [name for name in fs.find("") if "up" in name or name in ("all", "gone")] == []
    with pytest.raises(git_datareg.PathNotFoundError):
        fs.open("gone")
    with pytest.raises(git_datareg.UnsafePathError):
        fs.open("out/passwd")
    with pytest.raises(IsADirectoryError):
        fs.open("all")
    assert not fs.exists("out/passwd")
    fs.get("", str(tmp_path / "got"), recursive=True)
    assert below(tmp_path / "got")["faces/latest.jpg"] == NEW["a.jpg"]
    assert not (tmp_path / "got/gone").exists()


def test_odd_names_are_read(source: Source) -> None:
    name = os.fsdecode(b"odd \xff\n.jpg")
    source.work.write(name, data("odd"))
    source.publish()
    fs = DataregFileSystem(source.url)
    assert fs.cat(name) == data("odd")
    assert name in fs.ls("", detail=False)


# Reading


def test_files_are_read(fs: DataregFileSystem) -> None:
    with fs.open("faces/a.jpg") as stream:
        assert stream.read(5) == NEW["a.jpg"][:5]
        stream.seek(-5, os.SEEK_END)
        assert stream.read() == NEW["a.jpg"][-5:]
        assert stream.size == len(NEW["a.jpg"])
    with fs.open("faces/README.md", "r", encoding="ascii") as text:
        assert text.read() == README_NEW.decode()
    assert fs.cat("faces/empty.dat") == b""
    assert fs.cat(Path("notes.txt")) == fs.cat("notes.txt", recursive=True) == b"notes\n"
    assert fs.read_text("notes.txt") == "notes\n"
    assert fs.head("model.bin", 7) == MODEL[:7]
    assert fs.tail("model.bin", 7) == MODEL[-7:]
    assert fs.read_block("model.bin", 10, 20) == MODEL[10:30]


def test_parts_of_files_are_read(fs: DataregFileSystem) -> None:
    for start, end in [(None, None), (3, 9), (-9, None), (-9, -3), (None, -3), (5, 5), (9, 3)]:
        assert fs.cat_file("model.bin", start, end) == MODEL[start:end]
    assert fs.cat_file("model.bin", 0, 10**9) == MODEL
    assert fs.cat_file("model.bin", 10**9, None) == b""


def test_many_files_are_fetched_at_once(
    fs: DataregFileSystem, requests: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["faces/a.jpg", "faces/d.jpg", "faces/README.md", "model.bin"]
    contents = [NEW["a.jpg"], NEW["d.jpg"], README_NEW, MODEL]
    fs.ls("")
    assert fs.cat(names) == dict(zip(names, contents, strict=True))
    assert requests.opened == 3
    assert fs.cat("faces", recursive=True) == {
        f"faces/{name}": NEW["a.jpg"] if isinstance(content, str) else content
        for name, content in FACES_NEW.items()
    }
    assert fs.cat("faces/*.md") == {"faces/README.md": README_NEW}
    assert requests.opened == 4


def test_what_can_not_be_had_among_many_is_told_as_asked(
    fs: DataregFileSystem, source: Source
) -> None:
    source.object(NEW["d.jpg"]).unlink()
    names = ["faces/a.jpg", "faces/d.jpg", "nothing"]
    with pytest.raises(FileNotFoundError):
        fs.cat(names)
    assert fs.cat(names, on_error="omit") == {"faces/a.jpg": NEW["a.jpg"]}
    found = fs.cat(names, on_error="return")
    assert isinstance(found["faces/d.jpg"], git_datareg.ObjectNotFoundError)
    assert isinstance(found["nothing"], git_datareg.PathNotFoundError)
    ranges = fs.cat_ranges(names, 0, 4)
    assert ranges[0] == NEW["a.jpg"][:4]
    assert isinstance(ranges[1], git_datareg.ObjectNotFoundError)
    with pytest.raises(git_datareg.ObjectNotFoundError):
        fs.cat_ranges(names, 0, 4, on_error="raise")


@pytest.fixture
def large(source: Source) -> Source:
    source.work.write("large.bin", LARGE)
    source.work.write("other.bin", LARGE[::-1])
    source.publish()
    return source


def test_ranges_are_read_without_the_rest(large: Source, requests: Requests) -> None:
    fs = DataregFileSystem(large.url)
    paths = ["large.bin", "model.bin", "other.bin", "large.bin", "large.bin"]
    starts, ends = [15_000_000, 5, 100, 0, -7], [15_000_100, 10, 1000, 3, None]
    assert fs.cat_ranges(paths, starts, ends) == [
        LARGE[15_000_000:15_000_100],
        MODEL[5:10],
        LARGE[::-1][100:1000],
        LARGE[:3],
        LARGE[-7:],
    ]
    assert requests.size < 8 * 1024 * 1024
    whole = fs.cat_ranges(["model.bin"] * 3, [2, None, -3], [4, None, None])
    assert whole == [MODEL[2:4], MODEL, MODEL[-3:]]
    with pytest.raises(TypeError):
        fs.cat_ranges("large.bin", 0, 1)
    with pytest.raises(ValueError, match="as many"):
        fs.cat_ranges(["large.bin"], [0, 1], [1])


def test_a_large_file_is_cached_when_it_was_read_whole(large: Source, requests: Requests) -> None:
    fs = DataregFileSystem(large.url)
    with fs.open("large.bin") as stream:
        stream.seek(1000)
        assert stream.read(100) == LARGE[1000:1100]
    assert requests.size <= 2 * 1024 * 1024
    assert fs.cat("large.bin") == LARGE
    before = requests.opened
    shutil.rmtree(large.storage)
    assert fs.cat("large.bin") == LARGE
    assert requests.opened == before


def test_wrong_bytes_are_never_taken_for_a_whole_file(large: Source) -> None:
    stored = large.object(LARGE)
    stored.chmod(0o644)
    stored.write_bytes(b"X" + LARGE[1:])
    fs = DataregFileSystem(large.url)
    assert fs.cat_file("large.bin", 0, 3) == b"X" + LARGE[1:3]
    for use in (
        lambda: fs.cat("large.bin"),
        lambda: fs.open("large.bin", stream=False),
        lambda: DataregFileSystem(large.url, stream=False).cat_file("large.bin", 0, 3),
        lambda: fs.get_file("large.bin", "copy"),
        lambda: fs.get_file("large.bin", io.BytesIO()),
    ):
        with pytest.raises(git_datareg.IntegrityError):
            use()
    assert not os.path.exists("copy")


def test_threads_can_share_it(large: Source) -> None:
    fs = DataregFileSystem(large.url)

    def part(number: int) -> bool:
        start = number * 700_001 % len(LARGE)
        return bool(fs.cat_file("large.bin", start, start + 999) == LARGE[start : start + 999])

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(part, range(24)))


def test_files_are_got(fs: DataregFileSystem, tmp_path: Path, requests: Requests) -> None:
    target = tmp_path / "new/dir"
    fs.get_file("faces/sub/c.bin", str(target / "c"))
    assert (target / "c").read_bytes() == NEW["sub/c.bin"]
    assert (target / "c").stat().st_mode & 0o777 == 0o755
    fs.get_file("notes.txt", target / "c")
    assert ((target / "c").read_bytes(), (target / "c").stat().st_mode & 0o777) == (
        b"notes\n",
        0o644,
    )
    opened = io.BytesIO()
    fs.get_file("model.bin", opened)
    assert opened.getvalue() == MODEL
    fs.get_file("faces", str(target / "made"))
    assert (target / "made").is_dir()
    fs.get("faces", str(tmp_path / "got"), recursive=True)
    assert below(tmp_path / "got") == {
        name: NEW["a.jpg"] if isinstance(content, str) else content
        for name, content in FACES_NEW.items()
    }
    assert requests.opened == 4
    assert not [*target.rglob(".*"), *(tmp_path / "got").rglob(".*")]


def test_a_file_that_can_not_be_got_leaves_what_was_there(
    fs: DataregFileSystem, source: Source, tmp_path: Path
) -> None:
    (tmp_path / "x").write_text("mine")
    source.object(MODEL).unlink()
    for use in (fs.get, fs.get_file):
        with pytest.raises(git_datareg.ObjectNotFoundError):
            use("model.bin", str(tmp_path / "x"))
    assert (tmp_path / "x").read_text() == "mine"
    with pytest.raises(git_datareg.ObjectNotFoundError):
        fs.get("", str(tmp_path / "all"), recursive=True)
    assert not (tmp_path / "all").exists()


# Writing


def test_nothing_can_be_written(fs: DataregFileSystem, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x")
    uses: list[Callable[[], object]] = [
        lambda: fs.open("new", "wb"),
        lambda: fs.open("model.bin", "ab"),
        lambda: fs.open("new", "w"),
        lambda: fs.open("model.bin", "r+b"),
        lambda: fs.open("new", "xb"),
        lambda: fs.mkdir("d"),
        lambda: fs.makedirs("d/e", exist_ok=True),
        lambda: fs.makedir("d"),
        lambda: fs.mkdirs("d"),
        lambda: fs.rm("model.bin"),
        lambda: fs.rm("faces", recursive=True),
        lambda: fs.rm_file("model.bin"),
        lambda: fs.delete("model.bin"),
        lambda: fs.rmdir("faces"),
        lambda: fs.touch("new"),
        lambda: fs.pipe("new", b"x"),
        lambda: fs.pipe_file("new", b"x"),
        lambda: fs.write_text("new", "x"),
        lambda: fs.put(str(tmp_path / "x"), "new"),
        lambda: fs.put_file(str(tmp_path / "x"), "new"),
        lambda: fs.upload(str(tmp_path / "x"), "new"),
        lambda: fs.cp_file("model.bin", "new"),
        lambda: fs.copy("model.bin", "new"),
        lambda: fs.cp("model.bin", "new"),
        lambda: fs.mv("model.bin", "new"),
        lambda: fs.rename("model.bin", "new"),
    ]
    for use in uses:
        with pytest.raises(git_datareg.StorageReadOnlyError, match="only read") as fault:
            use()
        assert isinstance(fault.value, OSError)
        assert fault.value.errno == errno.EROFS


# Which commit


def test_the_commit_stays_until_it_is_looked_at_anew(source: Source) -> None:
    fs = DataregFileSystem(source.url)
    before = fs.commit
    source.work.write("new.jpg", b"new")
    after = source.publish()
    assert (fs.commit, fs.exists("new.jpg")) == (before, False)
    assert DataregFileSystem(source.url) is fs
    fs.invalidate_cache()
    assert (fs.commit, fs.exists("new.jpg")) == (after, True)


def test_copies_read_the_same_commit(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(source.remote.path.parent)
    fs = DataregFileSystem("gallery.git", rev="main")
    packed = pickle.dumps(fs)
    opened = pickle.dumps(fsspec.core.OpenFile(fs, "faces/a.jpg"))
    source.work.write("faces/a.jpg", b"later")
    source.publish()
    monkeypatch.chdir("/")
    copy = pickle.loads(packed)
    assert (copy.commit, copy.cat("faces/a.jpg")) == (fs.commit, NEW["a.jpg"])
    assert pickle.loads(packed) is copy
    assert pickle.loads(pickle.dumps(copy)) == copy
    with pickle.loads(opened) as stream:
        assert stream.read() == NEW["a.jpg"]


def test_a_copy_elsewhere_needs_no_registry(source: Source, tmp_path: Path) -> None:
    source.store_at(tmp_path / "disk")
    with serve(tmp_path) as url:
        fs = DataregFileSystem(f"{url}/gallery.git")
        packed = pickle.dumps(fs)
        assert fs.cat("model.bin") == MODEL
    DataregFileSystem.clear_instance_cache()
    copy = pickle.loads(packed)
    assert copy.cat("faces/a.jpg") == NEW["a.jpg"]
    assert copy.ls("faces", detail=False)
    with pytest.raises(git_datareg.DataregError):
        DataregFileSystem(f"{url}/gallery.git", rev="v1").ls("")


def test_a_registry_that_can_not_be_read_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    fs = DataregFileSystem(str(tmp_path / "nowhere"))
    for use in (fs.exists, fs.isfile, fs.isdir, fs.ls, fs.find, fs.open):
        with pytest.raises(git_datareg.RepositoryNotFoundError):
            use("x")
    git = Git(tmp_path / "empty").init()
    git.run("commit", "--quiet", "--allow-empty", "-m", "nothing")
    assert DataregFileSystem(str(git.path)).ls("") == []


# fsspec's own tests of `get`. Their fixtures write into the file system; these publish.

TREES = {
    "bulk": ["file1", "file2", "subdir/subfile1", "subdir/subfile2", "subdir/nesteddir/nestedfile"],
    "globs": [
        *("file1", "file2"),
        *("subdir0/subfile1", "subdir0/subfile2", "subdir0/nesteddir/nestedfile"),
        *("subdir1/subfile1", "subdir1/subfile2", "subdir1/nesteddir/nestedfile"),
    ],
    "prefix": ["subdir.txt", "subdir/subfile.txt"],
    "hashed": [f"{md5(str(number).encode()).hexdigest()}.txt" for number in range(10)],
}


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry with all of them; each second file is tracked data."""
    git = Git(tmp_path_factory.mktemp("trees") / "trees").init()
    git.run("datareg", "init")
    git.run("datareg", "track", "**/*2", "**/*.txt")
    for tree, paths in TREES.items():
        for number, path in enumerate(paths):
            git.write(f"{tree}/source/{path}", str(number).encode())
    git.commit_all()
    return git.path


class TestGet(AbstractGetTests, AbstractFixtures):
    """`get` puts files where fsspec says, for every kind of source and target."""

    @pytest.fixture
    def fs(self, trees: Path) -> DataregFileSystem:
        return DataregFileSystem(trees)

    @pytest.fixture
    def fs_join(self) -> Callable[..., str]:
        return posixpath.join

    @pytest.fixture
    def fs_path(self) -> str:
        return "bulk"

    @pytest.fixture
    def fs_bulk_operations_scenario_0(self) -> str:
        return "bulk/source"

    @pytest.fixture
    def fs_glob_edge_cases_files(self) -> str:
        return "globs/source"

    @pytest.fixture
    def fs_dir_and_file_with_same_name_prefix(self) -> str:
        return "prefix/source"

    @pytest.fixture
    def fs_10_files_with_hashed_names(self) -> str:
        return "hashed/source"

    @pytest.fixture
    def local_path(self, tmp_path: Path) -> str:
        return str(tmp_path)

    def test_get_directory_recursive(self, fs: DataregFileSystem, local_path: str) -> None:
        # The inherited one makes its source by the file system, which can't here.
        target = Path(local_path, "target")
        found = {"subfile1", "subfile2", "nesteddir/nestedfile"}
        fs.get("bulk/source/subdir", str(target), recursive=True)
        assert below(target).keys() == found
        fs.get("bulk/source/subdir", str(target), recursive=True)
        assert below(target).keys() == found | {f"subdir/{name}" for name in found}
