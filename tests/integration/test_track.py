"""`git datareg track` and `untrack`, held against what git makes of `.gitattributes`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.filtered import blob, pointer
from tests.support.gitrun import Git
from tests.support.registries import run_unprivileged

LINE = b" filter=datareg -text -merge -diff\n"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    git = Git(tmp_path_factory.mktemp("template")).init()
    git.run("datareg", "init")
    return git.path


@pytest.fixture
def git(template: Path, tmp_path: Path) -> Git:
    import shutil

    return Git(Path(shutil.copytree(template, tmp_path / "repository", symlinks=True)))


def is_tracked(git: Git, path: str) -> bool:
    """Whether git would run the filter for a path."""
    asked = git.run("check-attr", "-z", "--stdin", "filter", input=path + "\0").stdout
    return asked.split("\0")[2] == "datareg"


def tracked(git: Git) -> list[str]:
    return git.out("datareg", "track").splitlines()


@pytest.mark.parametrize(
    ("pattern", "path", "other"),
    [
        ("*.dat", "deep/down/a.dat", "a.txt"),
        ("music/**", "music/a/b", "other/music/a"),
        ("/top", "top", "sub/top"),
        ("a b", "a b", "a"),
        ("#x", "#x", "x"),
        ('q"u', 'q"u', "qu"),
        ('"quoted"', '"quoted"', "quoted"),
        ("ünï", "ünï", "uni"),
        ("\\!neg", "!neg", "neg"),
        ("\\#x", "#x", "x"),
        ("tab\tx", "tab\tx", "tab"),
        ("new\nline", "new\nline", "new"),
        ("star\\*", "star*", "starry"),
        ("with space\\*", "with space*", "with space, too"),
        ("[ab]c", "ac", "cc"),
        (" leading", " leading", "leading"),
        ("trailing ", "trailing ", "trailing"),
        ("back\\\\slash", "back\\slash", "backslash"),
        ("dir/", "dir/a/b", "dirt"),
        ("./here", "here", "sub/here"),
        ("./here/", "here/a", "sub/here/a"),
        (".hidden", "sub/.hidden", "hidden"),
        ("\udce9", "\udce9", "e"),
    ],
)
def test_a_pattern_means_to_git_what_was_said(
    git: Git, pattern: str, path: str, other: str
) -> None:
    git.run("datareg", "track", pattern)
    assert is_tracked(git, path)
    assert not is_tracked(git, other)
    git.run("datareg", "untrack", pattern)
    assert not is_tracked(git, path)
    assert (git.path / ".gitattributes").read_bytes() == b""


def test_what_is_tracked_is_stored_as_a_pointer(git: Git) -> None:
    git.run("datareg", "track", "*.dat")
    assert (git.path / ".gitattributes").read_bytes() == b"*.dat" + LINE
    git.write("a.dat", b"content")
    git.commit_all()
    assert blob(git, "HEAD:a.dat") == pointer(b"content")


def test_the_name_of_a_directory_means_all_that_is_in_it(git: Git) -> None:
    git.write("data/a", b"a")
    git.run("datareg", "track", "data")
    assert tracked(git) == ["data/**"]
    git.run("datareg", "untrack", "data")
    assert tracked(git) == []


@pytest.mark.parametrize(
    "pattern", ["!negative", "", "../above", "a/../../b", "[attr]x", "x" * 3000]
)
def test_what_git_would_ignore_is_refused(git: Git, pattern: str) -> None:
    done = git.run("datareg", "track", "*.dat", pattern, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("git-datareg: error: ")
    assert not (git.path / ".gitattributes").exists()


def test_tracking_again_changes_nothing(git: Git) -> None:
    git.run("datareg", "track", "*.dat", "a b")
    before = (git.path / ".gitattributes").stat()
    done = git.run("datareg", "track", "a b", "*.dat")
    assert done.stderr == "already tracked: a b\nalready tracked: *.dat\n"
    after = (git.path / ".gitattributes").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_what_others_wrote_stays_byte_for_byte(git: Git) -> None:
    theirs = b"# a comment\r\n*.txt text=auto\n[attr]binary -diff\n\n*.old filter=lfs -text"
    git.write(".gitattributes", theirs, mode=0o640)
    git.run("datareg", "track", "*.dat")
    attributes = git.path / ".gitattributes"
    assert attributes.read_bytes() == theirs + b"\n*.dat" + LINE
    assert attributes.stat().st_mode & 0o777 == 0o640
    git.run("datareg", "untrack", "*.dat")
    assert attributes.read_bytes() == theirs + b"\n"


def test_the_list_is_on_stdout_one_pattern_a_line(git: Git) -> None:
    git.run("datareg", "track", "b", "a b", "\udce9")
    done = git.run_bytes("datareg", "track", env={"LC_ALL": "C.UTF-8"})
    assert done.stdout == b"b\na b\n\xe9\n"
    assert done.stderr == b""


def test_in_a_subdirectory_it_is_about_that_one(git: Git) -> None:
    git.run("datareg", "track", "top.*")
    (git.path / "sub/deep").mkdir(parents=True)
    sub = Git(git.path / "sub")
    sub.run("datareg", "track", "*.dat")
    assert (sub.path / ".gitattributes").read_bytes() == b"*.dat" + LINE
    assert is_tracked(git, "sub/deep/a.dat")
    assert not is_tracked(git, "a.dat")
    assert tracked(git) == ["top.*"]
    assert tracked(Git(sub.path / "deep")) == ["top.*", "*.dat"]
    done = sub.run("datareg", "untrack", "top.*", check=False)
    assert done.returncode == 3
    sub.run("datareg", "untrack", "*.dat")
    assert tracked(sub) == ["top.*"]


def test_untrack_removes_what_it_can_and_names_the_rest(git: Git) -> None:
    git.run("datareg", "track", "a", "b", "c")
    done = git.run("datareg", "untrack", "a", "x", "c", "y", check=False)
    assert done.returncode == 3
    assert "not tracked in .gitattributes here: x, y" in done.stderr
    assert tracked(git) == ["b"]


def test_untracked_files_become_ordinary_ones(git: Git) -> None:
    git.run("datareg", "track", "*.dat")
    git.write("a.dat", b"content")
    git.commit_all()
    git.run("datareg", "untrack", "*.dat")
    git.run("add", "--renormalize", ".")
    assert blob(git, ":a.dat") == b"content"


def test_small_files_stay_ordinary_below_the_threshold(git: Git) -> None:
    done = git.run("datareg", "track", "--above", "1k", "*.dat")
    assert "files below 1.0 KiB stay ordinary Git files" in done.stderr
    assert git.out("config", "--file=.datareg", "datareg.threshold") == "1k"
    git.write("small.dat", b"s" * 1023)
    git.write("large.dat", b"l" * 1024)
    git.commit_all()
    assert blob(git, "HEAD:small.dat") == b"s" * 1023
    assert blob(git, "HEAD:large.dat") == pointer(b"l" * 1024)


def test_a_threshold_alone_says_that_patterns_are_needed(git: Git) -> None:
    done = git.run("datareg", "track", "--above", "1m")
    assert "hint: name what to track too" in done.stderr
    assert not (git.path / ".gitattributes").exists()


@pytest.mark.parametrize("size", ["", "x", "-1", "1x", "1.5k", "9" * 40])
def test_what_is_no_size_is_wrong_usage(git: Git, size: str) -> None:
    before = (git.path / ".datareg").read_bytes()
    done = git.run("datareg", "track", f"--above={size}", "*.dat", check=False)
    assert done.returncode == 2
    assert "not a size" in done.stderr
    assert (git.path / ".datareg").read_bytes() == before
    assert not (git.path / ".gitattributes").exists()


@pytest.mark.parametrize("command", [["track", "x"], ["untrack", "x"]])
def test_a_symlink_is_not_followed(git: Git, tmp_path: Path, command: list[str]) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"x" + LINE)
    (git.path / ".gitattributes").symlink_to(elsewhere)
    done = git.run("datareg", *command, check=False)
    assert done.returncode == 4
    assert "a symlink, which is not followed" in done.stderr
    assert elsewhere.read_bytes() == b"x" + LINE
    assert (git.path / ".gitattributes").is_symlink()


def test_a_symlinked_datareg_file_is_not_written_through(git: Git, tmp_path: Path) -> None:
    tracked_file = (git.path / ".datareg").rename(tmp_path / "elsewhere")
    before = tracked_file.read_bytes()
    (git.path / ".datareg").symlink_to(tracked_file)
    assert git.run("datareg", "track", "--above=1k", check=False).returncode == 4
    assert tracked_file.read_bytes() == before


@pytest.mark.parametrize("command", [["track", "x"], ["untrack", "x"], ["track"]])
def test_where_there_are_no_files_it_is_wrong_usage(
    git: Git, tmp_path: Path, command: list[str]
) -> None:
    bare = Git(tmp_path / "bare.git").init("--bare")
    for where in (bare, Git(git.path / ".git")):
        done = where.run("datareg", *command, check=False)
        assert done.returncode == 2
        assert not (where.path / ".gitattributes").exists()


def test_outside_of_the_work_tree_it_is_wrong_usage(git: Git, tmp_path: Path) -> None:
    env = {"GIT_DIR": str(git.path / ".git"), "GIT_WORK_TREE": str(git.path)}
    done = Git(tmp_path).run("datareg", "track", "x", check=False, env=env)
    assert done.returncode == 2
    assert not (tmp_path / ".gitattributes").exists()


def test_outside_of_a_repository_it_is_not_found(tmp_path: Path) -> None:
    assert Git(tmp_path).run("datareg", "track", "x", check=False).returncode == 3


def test_a_read_only_directory_gives_one_clear_line(git: Git) -> None:
    git.path.chmod(0o555)
    done = run_unprivileged(git, "datareg", "track", "x")
    git.path.chmod(0o755)
    assert done.returncode == 5
    assert done.stderr.startswith("git-datareg: error: Permission denied: ")
    assert done.stderr.count("\n") == 1
    assert [path.name for path in git.path.iterdir() if path.name.startswith(".tmp")] == []
