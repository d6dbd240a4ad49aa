"""The filter in repositories of every kind: worktrees, submodules, bare, sha256, split index ..."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
from pathlib import Path

import pytest

from tests.support.filtered import (
    ATTRIBUTES,
    CONFIG,
    LARGE,
    SMALL,
    blob,
    data,
    leftovers,
    object_file,
    pointer,
)
from tests.support.gitrun import CommandFailed, Git, clone

MIB = 1024 * 1024
# Of different sizes: `Git.write` sets times back, so that git may not see a change without.
OLD = {"large.dat": data("large 1", LARGE), "small.dat": data("small 1", SMALL)}
NEW = {"large.dat": data("large 2", LARGE + 2), "sub/more.dat": data("more", LARGE + 1)}
LATER = OLD | NEW


@pytest.fixture(autouse=True)
def installed(home: Path) -> None:
    """The filter is configured for the user, as by `git datareg install`."""
    with (home / "gitconfig").open("a") as file:
        file.write(CONFIG)
        file.write('[protocol "file"]\n\tallow = always\n')


def fill(git: Git) -> Git:
    """Two commits, `old` and `main`."""
    git.write(".gitattributes", ATTRIBUTES)
    for contents, name in ((OLD, "old"), (NEW, "main")):
        for path, content in contents.items():
            git.write(path, content)
        git.commit_all(name)
        git.run("branch", "--force", name) if name != "main" else None
    return git


@pytest.fixture
def source(tmp_path: Path) -> Git:
    return fill(Git(tmp_path / "source").init())


def check(git: Git, contents: dict[str, bytes], cleans: int = 0) -> None:
    """All is in place, and git knows it without another look."""
    assert {name: (git.path / name).read_bytes() for name in contents} == contents
    assert git.filter_use("status").cleans == cleans
    assert git.status() == ""
    assert leftovers(git) == []


def test_an_add_and_a_commit_are_known(tmp_path: Path) -> None:
    git = Git(tmp_path / "new").init()
    git.write(".gitattributes", ATTRIBUTES)
    for path, content in LATER.items():
        git.write(path, content)
    assert git.filter_use("add", ".") == (1, len(LATER), 0)
    assert git.filter_use("status") == (0, 0, 0)
    assert git.filter_use("commit", "-q", "-m", "all") == (0, 0, 0)
    check(git, LATER)


def test_a_clone(source: Git, tmp_path: Path) -> None:
    check(clone(source.path, tmp_path / "copy"), LATER)


def test_a_clone_without_checkout_and_a_checkout(source: Git, tmp_path: Path) -> None:
    copy = clone(source.path, tmp_path / "copy", "--no-checkout")
    assert not (copy.path / "large.dat").exists()
    assert copy.filter_use("checkout", "-q", "main") == (1, 0, 2 * len(LATER))
    check(copy, LATER)


def test_a_first_checkout_looks_ahead_so_that_git_asks_once(
    source: Git, tmp_path: Path, home: Path
) -> None:
    source.run("checkout", "-q", "--orphan", "many")
    many = {f"dir{number % 3}/{number:02}.dat": data(f"file {number}") for number in range(50)}
    for path, content in many.items():
        source.write(path, content)
    source.commit_all("many")
    some, whole = (clone(source.path, tmp_path / name, "--no-checkout") for name in "ab")
    some.run("checkout", "-q", "many", "--", ".gitattributes", "dir1/01.dat", "dir2/02.dat")
    there = [object_file(home / "datareg-cache", each).exists() for each in many.values()]
    assert 2 <= sum(there) <= 2 * 9
    shutil.rmtree(home / "datareg-cache")
    large = 2
    starts, _, smudges = whole.filter_use("checkout", "-q", "many")
    assert (starts, smudges) == (1, len(many) + len(LATER) + large)
    assert {path: (whole.path / path).read_bytes() for path in many} == many
    assert whole.status() == ""


@pytest.mark.parametrize("command", [("status",), ("datareg", "add", "-u"), ("add", "-u")])
def test_files_that_are_touched_in_a_clone_are_not_doubled(
    source: Git, tmp_path: Path, command: tuple[str, ...]
) -> None:
    copy = clone(source.path, tmp_path / "copy")
    for path in LATER:
        os.utime(copy.path / path, (1, 1))
    copy.run(*command)
    assert copy.filter_use("status").cleans == 0
    check(copy, LATER)
    own = copy.path / ".git/datareg"
    assert sum(each.stat().st_size for each in own.rglob("*") if each.is_file()) < MIB


@pytest.mark.parametrize("command", [("datareg", "add", "."), ("add", ".")])
def test_what_is_new_is_kept_even_if_it_is_in_the_cache(
    source: Git, tmp_path: Path, command: tuple[str, ...]
) -> None:
    copy = clone(source.path, tmp_path / "copy")
    copy.run("checkout", "-q", "origin/old")
    assert not (copy.path / "sub/more.dat").exists()
    for name in ("sub/more.dat", "another.dat"):
        copy.write(name, LATER["sub/more.dat"])
    copy.run(*command)
    assert object_file(copy.path / ".git/datareg", LATER["sub/more.dat"]).exists()


@pytest.mark.parametrize("options", [("--depth=1",), ("--filter=blob:none",), ("--shared",)])
def test_a_clone_of_a_part(source: Git, tmp_path: Path, options: tuple[str, ...]) -> None:
    source.run("config", "uploadpack.allowFilter", "true")
    copy = clone(source.path.as_uri(), tmp_path / "copy", *options)
    check(copy, LATER)
    if options != ("--depth=1",):
        copy.run("checkout", "-q", "origin/old")
        check(copy, OLD)


def test_an_object_that_is_here_is_neither_fetched_nor_delayed(source: Git) -> None:
    source.run("rm", "-q", "-r", ".")
    assert source.filter_use("reset", "-q", "--hard") == (1, 0, len(LATER))
    check(source, LATER)


def test_linked_worktrees(source: Git, tmp_path: Path) -> None:
    source.run("worktree", "add", "-q", "../linked", "old")
    linked = Git(tmp_path / "linked")
    check(linked, OLD)
    linked.write("new.dat", b"in the linked one")
    linked.commit_all()
    assert object_file(source.path / ".git/datareg", b"in the linked one").exists()
    linked.run("checkout", "-q", "--detach", "main")
    check(linked, LATER)
    check(source, LATER)


def test_a_linked_worktree_of_a_bare_repository(source: Git, tmp_path: Path) -> None:
    clone(source.path, tmp_path / "bare.git", "--bare")
    bare = Git(tmp_path / "bare.git")
    bare.run("worktree", "add", "-q", "../linked", "main")
    check(Git(tmp_path / "linked"), LATER)


def test_submodules(source: Git, tmp_path: Path) -> None:
    outer = Git(tmp_path / "outer").init()
    outer.run("submodule", "--quiet", "add", str(source.path), "inner")
    outer.commit_all()
    check(Git(outer.path / "inner"), LATER)
    inner = Git(outer.path / "inner")
    inner.run("checkout", "-q", "origin/old")
    check(inner, OLD)
    outer.commit_all()
    copy = clone(outer.path, tmp_path / "copy", "--recurse-submodules")
    check(Git(copy.path / "inner"), OLD)
    copy.run("checkout", "-q", "--recurse-submodules", "HEAD~1")
    check(Git(copy.path / "inner"), LATER)
    assert not (outer.path / ".git/datareg").exists()


def test_sha256(tmp_path: Path) -> None:
    source = fill(Git(tmp_path / "source").init("--object-format=sha256"))
    source.run("checkout", "-q", "old")
    check(source, OLD)
    check(clone(source.path, tmp_path / "copy"), OLD)


def test_a_git_directory_elsewhere(source: Git, tmp_path: Path) -> None:
    copy = clone(source.path, tmp_path / "copy", "--separate-git-dir", str(tmp_path / "git dir"))
    check(copy, LATER)
    copy.run("checkout", "-q", "origin/old")
    check(copy, OLD)


def test_a_work_tree_named_by_the_environment(source: Git, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    where = {"GIT_DIR": str(source.path / ".git"), "GIT_WORK_TREE": str(tree)}
    elsewhere = Git(tmp_path)
    elsewhere.run("reset", "-q", "--hard", env=where)
    assert {path: (tree / path).read_bytes() for path in LATER} == LATER
    assert elsewhere.filter_use("status", env=where).cleans == 0
    assert elsewhere.run("status", "--porcelain", env=where).stdout == ""


def test_a_work_tree_named_by_the_configuration(source: Git, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    source.run("config", "core.worktree", str(tree))
    source.run("reset", "-q", "--hard")
    assert {path: (tree / path).read_bytes() for path in LATER} == LATER
    assert source.filter_use("status").cleans == 0


def test_files_deployed_to_a_directory(source: Git, tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    source.run("--work-tree=../site", "checkout", "-q", "-f", "old", "--", ".")
    assert {path: (tmp_path / "site" / path).read_bytes() for path in OLD} == OLD


def test_another_index(source: Git) -> None:
    other = {"GIT_INDEX_FILE": ".git/other-index"}
    source.run("read-tree", "HEAD", env=other)
    source.run("update-index", "-q", "--refresh", env=other)
    source.run("read-tree", "-m", "-u", "HEAD", "old", env=other)
    assert (source.path / "large.dat").read_bytes() == OLD["large.dat"]
    assert source.filter_use("status", env=other).cleans == 0
    assert source.run("diff-files", env=other).stdout == ""
    source.run("update-index", "-q", "--refresh", check=False)
    assert source.run("diff-files", "--name-only").stdout == "large.dat\nsub/more.dat\n"


def test_a_split_index_is_compared_once(source: Git) -> None:
    source.run("update-index", "--split-index")
    source.run("checkout", "-q", "old")
    assert source.status() == ""
    source.run("checkout", "-q", "main")
    assert source.status() == ""
    check(source, LATER)
    assert list((source.path / ".git").glob("sharedindex.*"))


def test_several_checkout_workers(source: Git, tmp_path: Path) -> None:
    options = ("-c", "checkout.workers=4", "-c", "checkout.thresholdForParallelism=1")
    Git(tmp_path).run(*options, "clone", "-q", str(source.path), "copy")
    check(Git(tmp_path / "copy"), LATER)


@pytest.mark.parametrize("name", [b"a b", b"\xff\xfe", b"'quoted'", b"-dash"])
def test_a_repository_under_an_odd_name(tmp_path: Path, name: bytes) -> None:
    git = fill(Git(tmp_path / os.fsdecode(name)).init())
    git.run("checkout", "-q", "old")
    assert {path: (git.path / path).read_bytes() for path in OLD} == OLD
    assert git.status() == ""


@pytest.fixture
def bare(source: Git, tmp_path: Path) -> Git:
    git = clone(source.path, tmp_path / "bare.git", "--bare")
    (git.path / "info/attributes").write_bytes(ATTRIBUTES)
    return git


def unpacked(archive: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        found = {member.name: tar.extractfile(member) for member in tar if member.isfile()}
        return {name: file.read() for name, file in found.items() if file is not None}


@pytest.mark.parametrize("where", ["source", "bare"])
def test_archives_hold_the_data(request: pytest.FixtureRequest, where: str) -> None:
    git: Git = request.getfixturevalue(where)
    found = unpacked(git.run_bytes("archive", "main").stdout)
    assert found == LATER | {".gitattributes": ATTRIBUTES}
    assert unpacked(git.run_bytes("archive", "old", "small.dat").stdout) == {
        "small.dat": OLD["small.dat"]
    }


@pytest.mark.parametrize("where", ["source", "bare"])
def test_single_files_are_shown_filtered(request: pytest.FixtureRequest, where: str) -> None:
    git: Git = request.getfixturevalue(where)
    for path, content in LATER.items():
        assert git.run_bytes("cat-file", "--filters", f"main:{path}").stdout == content
    # The repository's work tree is not touched, and nothing is noted to be placed.
    assert not (git.path / ".git/datareg/pending").exists()


def test_bare_repositories_store_what_they_clean(bare: Git) -> None:
    id = bare.run("hash-object", "-w", "--path=x.dat", "--stdin", input=b"content").stdout.strip()
    assert blob(bare, id) == pointer(b"content")
    assert object_file(bare.path / "datareg", b"content").read_bytes() == b"content"


def test_a_diff_does_not_show_the_data(source: Git) -> None:
    source.write("large.dat", data("changed", LARGE + 3))
    assert "Binary files a/large.dat and b/large.dat differ" in source.out("diff")
    assert source.out("diff", "--stat").endswith("1 file changed, 0 insertions(+), 0 deletions(-)")
    assert source.out("diff", "--name-status", "old", "main") == "M\tlarge.dat\nA\tsub/more.dat"
    assert source.run("diff", "--quiet", "HEAD", check=False).returncode == 1
    source.write("large.dat", NEW["large.dat"])
    assert source.run("diff", "--quiet", "HEAD").returncode == 0


def test_adding_hunk_by_hunk_adds_whole_files(source: Git) -> None:
    source.write(".gitattributes", b"*.dat filter=datareg -text\n")
    source.write("small.dat", b"new content")
    source.run("-c", "interactive.singleKey=false", "add", "-p", "small.dat", input="y\n")
    assert blob(source, ":small.dat") == pointer(b"new content")
    source.run("commit", "-q", "-m", "by hunks")
    assert (source.path / "small.dat").read_bytes() == b"new content"


def test_touched_files_are_found_unchanged(source: Git) -> None:
    before = sorted((source.path / ".git/datareg").rglob("*"))
    for path in LATER:
        os.utime(source.path / path, (1, 1))
    assert source.filter_use("status").cleans == len(LATER)
    check(source, LATER)
    assert sorted((source.path / ".git/datareg").rglob("*")) == before


def test_an_unknown_filter_is_no_obstacle_to_us(source: Git) -> None:
    source.write(".gitattributes", ATTRIBUTES + b"*.txt filter=other\n")
    source.write("x.txt", b"text\n")
    source.commit_all()
    source.run("checkout", "-q", "old")
    check(source, OLD)


def test_without_git_datareg_on_the_path_git_refuses(source: Git, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    git = Path(source.out("--exec-path"), "git")
    (tmp_path / "bin/git").symlink_to(git)
    (tmp_path / "bin/sh").symlink_to("/bin/sh")
    source.write("small.dat", b"new content")
    with pytest.raises(CommandFailed, match="git-datareg: not found"):
        source.run("add", "small.dat", env={"PATH": str(tmp_path / "bin")})
    assert blob(source, ":small.dat") == pointer(OLD["small.dat"])
