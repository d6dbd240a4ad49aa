"""`git datareg add`: the same index as by `git add`, and nothing is read twice.

Each scenario is played in two repositories, in one with git's own command.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.consumers import datareg, gallery
from tests.support.filtered import LARGE, configure, data, object_file, pointer
from tests.support.gitrun import FilterUse, Git

IDLE = FilterUse(starts=0, cleans=0, smudges=0)
ATTRIBUTES = (
    b"*.dat filter=datareg -text -merge -diff\n*.u16 filter=datareg working-tree-encoding=UTF-16\n"
)


def settle() -> None:
    """Wait until what was written can't be written to again without a change of its mtime."""
    time.sleep(0.05)


def made(path: Path, *options: str) -> Git:
    git = configure(Git(path).init(*options), ATTRIBUTES)
    git.commit_all("first")
    return git


class Twins:
    """A repository for git add, and one for ours."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.theirs, self.ours = (made(directory / name, *options) for name in ("git", "datareg"))

    def both(self, step: Callable[[Git], object]) -> None:
        for each in (self.theirs, self.ours):
            step(each)
        settle()

    def add(self, *arguments: str, at: str = ".", code: int = 0) -> None:
        """Add, and compare everything that Git shows of it."""
        told = []
        for git, command in ((self.theirs, ("add",)), (self.ours, ("datareg", "add"))):
            done = Git(git.path / at).run(*command, *arguments, check=False)
            assert done.returncode == code, done.stderr
            told.append((done.stdout, done.stderr.replace(str(git.path), "TOP")))
        assert told[0] == told[1]
        for question in (("ls-files", "--stage"), ("status", "--porcelain")):
            assert self.ours.run(*question).stdout == self.theirs.run(*question).stdout
        for content in (self.ours.path / ".git/datareg/objects").rglob("*"):
            if content.is_file():
                assert (self.theirs.path / content.relative_to(self.ours.path)).is_file()
        assert self.ours.run("fsck", "--strict").returncode == 0


@pytest.fixture
def twins(tmp_path: Path) -> Twins:
    return Twins(tmp_path)


FILES = {
    "a.dat": data("a"),
    "sub/large.dat": data("large", LARGE),
    "sub/deep/b.dat": data("b"),
    "sub/same.dat": data("a"),
    "plain.txt": b"plain",
    "empty.dat": b"",
    "pointer.dat": pointer(b"elsewhere"),
    "almost.dat": pointer(b"elsewhere") + b"x",
    "odd \u00e4\n\"name'.dat": data("odd"),
    "-dash.dat": data("dash"),
    ".datareg": b"[datareg]\n\tversion = 1\n",
}


def write_all(git: Git) -> None:
    for name, content in FILES.items():
        git.write(name, content)
    git.write("run.dat", data("run"), mode=0o755)
    (git.path / "link.dat").symlink_to("a.dat")


@pytest.mark.parametrize("options", [(), ("--object-format=sha256",)], ids=["sha1", "sha256"])
def test_all_kinds_of_files_are_staged_alike(tmp_path: Path, options: tuple[str, ...]) -> None:
    twins = Twins(tmp_path, *options)
    twins.both(write_all)
    twins.add(".")
    stored = object_file(twins.ours.path / ".git/datareg", FILES["sub/large.dat"])
    assert stored.read_bytes() == FILES["sub/large.dat"]
    assert twins.ours.filter_use("status") == IDLE
    twins.both(lambda git: git.run("commit", "-qm", "all"))
    assert twins.ours.status() == ""


def test_what_git_would_encode_is_left_to_it(twins: Twins) -> None:
    # It takes the pointer for UTF-16.
    twins.both(lambda git: git.write("text.u16", "text".encode("utf-16")))
    twins.add(".", code=128)


def test_data_passes_no_filter(twins: Twins) -> None:
    twins.both(write_all)
    (twins.ours.path / "empty.dat").unlink()
    (twins.ours.path / "pointer.dat").unlink()
    assert twins.ours.filter_use("datareg", "add", ".") == IDLE
    assert twins.ours.filter_use("status") == IDLE


def change(git: Git) -> None:
    # Of another size: of the same second, Git could not tell it otherwise.
    git.write("a.dat", data("new", 3100))
    (git.path / "sub/deep/b.dat").unlink()
    (git.path / "sub/same.dat").chmod(0o755)
    (git.path / "run.dat").unlink()
    (git.path / "run.dat").symlink_to("a.dat")
    git.write("sub/untracked.dat", data("untracked"))
    git.write("plain.txt", b"changed text")
    os.utime(git.path / "sub/large.dat")


@pytest.mark.parametrize(
    "arguments",
    [
        *((".",), ("-A",), ("-u",), ("--all", "sub"), ("-u", "sub"), ("sub",), ("*.dat",)),
        *(("a.dat", "plain.txt"), ("sub/deep",), (":!sub", "."), (":(glob)**/*.dat",), ()),
        *(("--", "-dash.dat"), ("./sub/../a.dat",)),
    ],
    ids=" ".join,
)
def test_changes_are_staged_alike(twins: Twins, arguments: tuple[str, ...]) -> None:
    twins.both(write_all)
    twins.both(lambda git: git.commit_all())
    twins.both(change)
    twins.add(*arguments)


@pytest.mark.parametrize("arguments", [(".",), ("../a.dat",), ("-A",), (":/",), ("-u",)])
def test_it_starts_from_where_the_user_is(twins: Twins, arguments: tuple[str, ...]) -> None:
    twins.both(write_all)
    twins.both(lambda git: git.commit_all())
    twins.both(change)
    twins.add(*arguments, at="sub")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("nothing.dat",), 128),
        (("a.dat", "nothing.dat"), 128),
        (("ignored.dat",), 1),
        (("a.dat", "ignored.dat"), 1),
        (("-f", "ignored.dat"), 0),
        (("-f", "."), 0),
        (("-n", "."), 0),
        (("-v", "."), 0),
        (("/",), 128),
        (("",), 128),
        (("-A", "-u"), 128),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_what_git_says_it_says(twins: Twins, arguments: tuple[str, ...], code: int) -> None:
    twins.both(lambda git: git.write(".gitignore", b"ignored*\n"))
    twins.both(write_all)
    twins.both(lambda git: git.write("ignored.dat", data("ignored")))
    twins.add(*arguments, code=code)


def version_4(git: Git) -> None:
    git.run("update-index", "--index-version", "4")


def split(git: Git) -> None:
    git.run("update-index", "--split-index")


def without_modes(git: Git) -> None:
    git.run("config", "core.fileMode", "false")
    (git.path / "run.dat").chmod(0o644)
    (git.path / "a.dat").chmod(0o755)


def untracked_cache(git: Git) -> None:
    git.run("update-index", "--untracked-cache")


def sparse(git: Git) -> None:
    git.run("sparse-checkout", "set", "--no-cone", "/*", "!/sub/")
    git.write("sub/new.dat", data("new"))


def intent(git: Git) -> None:
    git.write("later.dat", data("later"))
    git.run("add", "-N", "later.dat")


def file_for_directory(git: Git) -> None:
    (git.path / "a.dat").unlink()
    git.write("a.dat/b.dat", data("below"))


def with_threshold(git: Git) -> None:
    git.write(".datareg", b"[datareg]\n\tthreshold = 3001\n")
    git.write("at.dat", data("at", 3001))
    git.write("below.dat", data("below", 3000))


KINDS = [version_4, split, without_modes, untracked_cache, sparse, intent, file_for_directory]
KINDS += [with_threshold]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_of_every_kind_of_index_the_same_comes(twins: Twins, kind: Callable[[Git], None]) -> None:
    twins.both(write_all)
    twins.both(lambda git: git.commit_all())
    twins.both(kind)
    twins.both(lambda git: git.write("new.dat", data("new")))
    twins.both(
        lambda git: git.write("a.dat", data("other", 3100)) if kind is not file_for_directory else 0
    )
    twins.add(".", code=1 if kind is sparse else 0)


def conflict(git: Git) -> None:
    git.run("switch", "-qc", "side")
    git.write("a.dat", data("side", 3100))
    git.commit_all()
    git.run("switch", "-q", "-")
    git.write("a.dat", data("main", 3200))
    git.commit_all()
    assert git.run("merge", "side", check=False).returncode == 1


def test_a_conflict_is_resolved_by_it(twins: Twins) -> None:
    twins.both(write_all)
    twins.both(lambda git: git.commit_all())
    twins.both(conflict)
    twins.both(lambda git: git.write("a.dat", data("resolved", 3300)))
    twins.add("a.dat")


def test_imports_stay_as_they_are(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> None:
    source = gallery(tmp_path_factory, tmp_path)
    git = made(tmp_path / "consumer")
    datareg(git, "import", source.url, "faces")
    git.commit_all()
    before = git.run("ls-files", "--stage").stdout
    for path in (git.path / "faces").rglob("*"):
        if path.is_file():
            os.utime(path)
    settle()
    datareg(git, "add", ".")
    assert git.run("ls-files", "--stage").stdout == before
    assert not (git.path / ".git/datareg/objects").exists()
    (git.path / "faces/a.jpg").write_bytes(b"edited")
    datareg(git, "add", ".")
    assert object_file(git.path / ".git/datareg", b"edited").is_file()


def test_another_git_that_writes_the_index_is_told(twins: Twins) -> None:
    twins.both(write_all)
    twins.both(lambda git: git.write(".git/index.lock", b""))
    done = twins.ours.run("datareg", "add", ".", check=False)
    assert done.returncode == 128
    assert "index.lock" in done.stderr
    (twins.ours.path / ".git/index.lock").unlink()
    (twins.theirs.path / ".git/index.lock").unlink()
    twins.add(".")


def test_without_a_filter_nothing_is_added(tmp_path: Path) -> None:
    git = Git(tmp_path / "work").init()
    git.write("a.dat", data("a"))
    done = git.run("datareg", "add", ".", check=False)
    assert done.returncode == 2
    assert "git datareg install" in done.stderr
    assert git.out("ls-files") == ""
    bare = configure(Git(tmp_path / "bare.git").init("--bare"), b"")
    assert bare.run("datareg", "add", ".", check=False).returncode == 2


def test_many_files_are_added_by_several_processes(twins: Twins) -> None:
    def write(git: Git) -> None:
        for number in range(1200):
            git.write(f"{number % 7}/{number}.dat", data(f"{number}", 200))

    twins.both(write)
    # As git leaves them: pushed, cloned, and so on.
    twins.add(".")
    assert twins.ours.filter_use("status") == IDLE


def test_new_files_do_not_make_git_read_them_again(twins: Twins) -> None:
    files = [twins.ours.write(f"{number}.dat", data(f"{number}", 200)) for number in range(600)]
    now = time.time_ns()
    for file in files:
        os.utime(file, ns=(now, now))
    settle()
    datareg(twins.ours, "add", ".")
    assert twins.ours.filter_use("status") == IDLE


def test_a_push_has_its_hook(twins: Twins) -> None:
    twins.ours.write("a.dat", data("a"))
    assert not (twins.ours.path / ".git/hooks/pre-push").exists()
    datareg(twins.ours, "add", ".")
    assert (twins.ours.path / ".git/hooks/pre-push").exists()
