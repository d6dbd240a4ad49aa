"""What remains when something goes wrong: objects that are missing or corrupt, a full disk.

The rule: git says so and fails, nothing of the user's is lost, nothing corrupt
is let through, and the same command succeeds once the cause is gone.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.filtered import (
    ATTRIBUTES,
    CONFIG,
    LARGE,
    blob,
    data,
    leftovers,
    object_file,
    pointer,
    stand_in,
)
from tests.support.gitrun import Git, clone

CONTENTS = {
    f"{name}.dat": data(name, size)
    for name, size in (("a", LARGE), ("b", 2000), ("c", LARGE + 1), ("d", 3000), ("e", LARGE))
}


@pytest.fixture(autouse=True)
def installed(home: Path) -> None:
    with (home / "gitconfig").open("a") as file:
        file.write(CONFIG)


@pytest.fixture
def source(tmp_path: Path) -> Git:
    git = Git(tmp_path / "source").init()
    git.write(".gitattributes", ATTRIBUTES)
    git.commit_all("empty")
    git.run("branch", "empty")
    for path, content in CONTENTS.items():
        git.write(path, content)
    git.write("plain.txt", b"plain\n")
    git.commit_all("all")
    return git


@pytest.fixture
def storage(source: Git) -> Path:
    """Where clones of `source` get objects from."""
    return source.path / ".git/datareg"


@pytest.fixture
def copy(source: Git, tmp_path: Path) -> Git:
    """A clone in which everything is still to be fetched."""
    git = clone(source.path, tmp_path / "copy", "--no-checkout")
    git.run("checkout", "-q", "-b", "work", "origin/empty")
    return git


@pytest.fixture
def cache(home: Path) -> Path:
    return home / "datareg-cache"


def in_place(git: Git) -> set[str]:
    """Names of the data files that are there, and whole."""
    found = {path.name for path in git.path.glob("*.dat")}
    for name in found:
        assert (git.path / name).read_bytes() == CONTENTS[name]
    return found


def check(git: Git) -> None:
    assert in_place(git) == set(CONTENTS)
    assert git.filter_use("status").cleans == 0
    assert git.status() == ""
    assert leftovers(git) == []


def replace(path: Path, content: bytes) -> None:
    path.unlink()
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["a.dat", "b.dat"])
def test_all_but_a_missing_object_is_in_place(copy: Git, storage: Path, name: str) -> None:
    lost = object_file(storage, CONTENTS[name])
    kept = lost.rename(lost.with_suffix(".aside"))
    done = copy.run("checkout", "-q", "origin/main", check=False)
    assert done.returncode == 128
    assert in_place(copy) == set(CONTENTS) - {name}
    [error] = [line for line in done.stderr.splitlines() if line.startswith("git-datareg: error")]
    assert f"error: {name}: object {lost.parent.name}{lost.name} is not in {storage}" in error
    assert "hint: " in done.stderr
    assert "git datareg pull" in done.stderr
    assert "GIT_DATAREG_SKIP_SMUDGE=1" in done.stderr
    assert "Traceback" not in done.stderr
    assert leftovers(copy) == []

    kept.rename(lost)
    copy.run("checkout", "-q", "-f", "origin/main")
    check(copy)


def test_a_clone_with_a_missing_object_can_be_mended(
    source: Git, storage: Path, tmp_path: Path
) -> None:
    lost = object_file(storage, CONTENTS["c.dat"])
    kept = lost.rename(lost.with_suffix(".aside"))
    Git(tmp_path).run("clone", "-q", str(source.path), "new", check=False)
    new = Git(tmp_path / "new")
    assert in_place(new) == set(CONTENTS) - {"c.dat"}
    kept.rename(lost)
    new.run("checkout", "-q", "-f", "main")
    check(new)


def test_a_git_that_died_is_not_waited_for(copy: Git, storage: Path) -> None:
    object_file(storage, CONTENTS["a.dat"]).unlink()
    # Its lock is there until the filter has ended; waiting for it would never end well.
    code = """
        from git_datareg import gitindex
        def sleep(seconds):
            raise SystemExit("the filter waits for a lock")
        gitindex.time.sleep = sleep
    """
    path = stand_in(copy.path.parent / "bin", code)
    done = copy.run("checkout", "-q", "origin/main", check=False, env=path)
    assert done.returncode == 128
    assert "waits" not in done.stderr
    assert in_place(copy) == set(CONTENTS) - {"a.dat"}


def test_pointers_stay_when_asked_to(copy: Git) -> None:
    skip = {"GIT_DATAREG_SKIP_SMUDGE": "1"}
    use = copy.filter_use("checkout", "-q", "origin/main", env=skip)
    assert use.smudges == len(CONTENTS)
    for name, content in CONTENTS.items():
        assert (copy.path / name).read_bytes() == pointer(content)
    assert copy.filter_use("status").cleans == 0
    assert copy.status() == ""
    assert leftovers(copy) == []


def test_pointers_stay_when_configured_to(copy: Git, cache: Path) -> None:
    copy.run("config", "filter.datareg.process", "git-datareg filter-process --skip")
    copy.run("checkout", "-q", "origin/main")
    for name, content in CONTENTS.items():
        assert (copy.path / name).read_bytes() == pointer(content)
    assert copy.status() == ""
    assert not cache.exists()


@pytest.mark.parametrize("value", ["0", "", "false", "no"])
def test_an_empty_wish_is_none(copy: Git, value: str) -> None:
    copy.run("checkout", "-q", "origin/main", env={"GIT_DATAREG_SKIP_SMUDGE": value})
    check(copy)


@pytest.mark.parametrize("name", ["a.dat", "b.dat"])
@pytest.mark.parametrize("damage", ["changed", "short", "long", "empty"])
def test_a_corrupt_object_in_the_cache_is_fetched_again(
    copy: Git, cache: Path, name: str, damage: str
) -> None:
    content = CONTENTS[name]
    copy.run("checkout", "-q", "origin/main")
    copy.run("checkout", "-q", "work")
    wrong = {"changed": content[:-1] + b"?", "short": content[:-1], "long": content + b"?"}
    replace(object_file(cache, content), wrong.get(damage, b""))
    copy.run("checkout", "-q", "origin/main")
    check(copy)
    assert object_file(cache, content).read_bytes() == content


@pytest.mark.parametrize("name", ["a.dat", "b.dat"])
def test_a_corrupt_object_of_our_own_is_named(source: Git, storage: Path, name: str) -> None:
    content = CONTENTS[name]
    file = object_file(storage, content)
    replace(file, content[:-1] + b"?")
    source.run("checkout", "-q", "empty")
    done = source.run("checkout", "-q", "main", check=False)
    assert done.returncode == 128
    assert f"error: {name}: corrupt object" in done.stderr
    assert str(file) in done.stderr
    assert file.read_bytes() == content[:-1] + b"?"
    assert in_place(source) <= set(CONTENTS) - {name}

    replace(file, content)
    source.run("checkout", "-q", "-f", "main")
    check(source)


@pytest.mark.parametrize("name", ["a.dat", "b.dat"])
def test_a_whole_object_in_the_cache_stands_in_for_a_corrupt_one(
    source: Git, storage: Path, cache: Path, name: str
) -> None:
    content = CONTENTS[name]
    replace(object_file(storage, content), content[:-1] + b"?")
    whole = object_file(cache, content)
    whole.parent.mkdir(parents=True)
    whole.write_bytes(content)
    source.run("checkout", "-q", "empty")
    source.run("checkout", "-q", "main")
    check(source)


@pytest.mark.parametrize("name", ["a.dat", "b.dat"])
@pytest.mark.parametrize("damage", ["changed", "short", "long", "empty"])
def test_a_corrupt_object_in_a_storage_goes_no_further(
    copy: Git, storage: Path, cache: Path, name: str, damage: str
) -> None:
    content = CONTENTS[name]
    wrong = {"changed": content[:-1] + b"?", "short": content[:-1], "long": content + b"?"}
    replace(object_file(storage, content), wrong.get(damage, b""))
    done = copy.run("checkout", "-q", "origin/main", check=False)
    assert done.returncode == 128
    assert f"error: {name}: corrupt object" in done.stderr
    assert str(storage) in done.stderr
    assert not object_file(cache, content).exists()
    assert list((cache / "tmp").iterdir()) == []
    assert in_place(copy) == set(CONTENTS) - {name}

    replace(object_file(storage, content), content)
    copy.run("checkout", "-q", "-f", "origin/main")
    check(copy)


def test_a_datareg_file_that_is_wrong_can_be_checked_out_over(source: Git, tmp_path: Path) -> None:
    source.write(".datareg", b"[datareg\n")
    source.commit_all("broken")
    source.write(".datareg", b"[datareg]\n\tversion = 1\n")
    source.commit_all("mended")
    for path in CONTENTS:
        (source.path / path).unlink()
    source.run("checkout", "-q", "HEAD~1", "--", ".datareg")
    source.run("checkout", "-q", "-f", "HEAD")
    check(source)


def limited(git: Git, blocks: int, *args: str) -> subprocess.CompletedProcess[str]:
    """Run git where no file can grow beyond `blocks` of 512 bytes, as on a full disk."""
    words = ["sh", "-c", f'ulimit -f {blocks}; exec git "$@"', "sh", *args]
    return subprocess.run(words, cwd=git.path, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("size", [1 << 19, 3 << 20], ids=["held in memory", "in a file"])
def test_a_full_disk_stops_an_add(source: Git, size: int) -> None:
    content = data("new", size)
    source.write("new.dat", content)
    before = source.out("ls-files", "-s")
    done = limited(source, 800, "add", "new.dat")
    assert done.returncode == 128
    assert "git-datareg: error: new.dat: File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert source.out("ls-files", "-s") == before
    assert (source.path / "new.dat").read_bytes() == content
    assert leftovers(source) == []

    source.run("add", "new.dat")
    assert blob(source, ":new.dat") == pointer(content)


def test_a_full_disk_stops_a_download(copy: Git, cache: Path) -> None:
    done = limited(copy, 800, "checkout", "-q", "origin/main")
    assert done.returncode == 128
    assert "File too large" in done.stderr
    assert in_place(copy) == {"b.dat", "d.dat"}
    assert list((cache / "tmp").iterdir()) == []
    copy.run("checkout", "-q", "-f", "origin/main")
    check(copy)


def test_a_full_disk_at_the_end_leaves_pointers_and_says_so(source: Git) -> None:
    source.run("checkout", "-q", "empty")
    done = limited(source, 800, "checkout", "-q", "main")
    assert done.stderr.count("error: a.dat: can't write a.dat: File too large") == 1
    assert done.stderr.count("git datareg checkout") == 1
    assert (source.path / "a.dat").read_bytes() == pointer(CONTENTS["a.dat"])
    assert (source.path / "b.dat").read_bytes() == CONTENTS["b.dat"]
    assert source.status() == ""
    assert source.run("datareg", "checkout").returncode == 0
    check(source)


def test_the_object_directory_on_a_full_file_system(source: Git, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(small)]
    if subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("only root can mount a small file system")
    try:
        objects = source.path / ".git/datareg/objects"
        shutil.rmtree(objects)
        (source.path / ".git/datareg/tmp").rmdir()
        (source.path / ".git/datareg/tmp").symlink_to(small)
        source.write("new.dat", data("new", 2 << 20))
        done = source.run("add", "new.dat", check=False)
        assert done.returncode == 128
        assert "error: new.dat: No space left on device" in done.stderr
        assert list(small.iterdir()) == []
        assert source.out("ls-files", "new.dat") == ""
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_what_a_killed_process_left_long_ago_is_removed(source: Git, storage: Path) -> None:
    source_tmp = Git(storage)
    source_tmp.write("tmp/object-old", b"x", age_seconds=2 * 86400)
    source_tmp.write("tmp/object-new", b"x", age_seconds=3600)
    source.write("new.dat", b"new")
    source.run("add", "new.dat")
    assert [path.name for path in (storage / "tmp").iterdir()] == ["object-new"]
