"""Git's commands on data files: each does what it does with ordinary files.

Every story is told to two repositories, one with the filter and its twin
without it. Work trees, indexes and exit codes must be the same at the end.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.filtered import LARGE, configure, data, files, leftovers, unnumbered
from tests.support.gitrun import Git
from tests.support.shared import made_once

#: The twin's attributes: what matters for merges is the same.
TWIN_ATTRIBUTES = b"*.dat -text -merge -diff\n"

#: What is done, one git command a line. `!` writes a file of changed content,
#: `%` removes one.
STORIES = {
    "switch": "switch -q other\nswitch -q main\nswitch -q other",
    "checkout branch": "checkout -q other",
    "checkout detached": "checkout -q other~0",
    "checkout forced": "!a.dat\n!s.dat\ncheckout -q -f other",
    "checkout refused": "!s.dat\n!b.dat\nrm -q --cached sub/b.dat\ncheckout -q other",
    "checkout merging": "!x.dat\ncheckout -q -m other",
    "checkout path": "%a.dat\n!s.dat\ncheckout -q -- a.dat s.dat",
    "checkout path of a commit": "checkout -q other -- sub/b.dat s.dat",
    "checkout in a subdirectory": "%sub/b.dat\n-C sub checkout -q -- b.dat",
    "reset hard": "!a.dat\n!new.dat\n%s.dat\nreset -q --hard",
    "reset hard to a commit": "reset -q --hard other",
    "reset keep": "!x.dat\nreset -q --keep main~1",
    "reset mixed": "!a.dat\nadd a.dat\nreset -q",
    "reset soft": "reset -q --soft main~1",
    "restore": "%a.dat\n!s.dat\nrestore a.dat s.dat",
    "restore staged": "!a.dat\nadd a.dat\nrestore --staged --worktree a.dat",
    "restore of a commit": "restore --source other a.dat s.dat",
    "merge fast forward": "checkout -q -b behind main~1\nmerge -q --ff-only main",
    "merge true": "merge -q --no-edit other",
    "merge squashed": "merge -q --squash other",
    "merge with a local change": "!plain.txt\nmerge -q --no-edit other",
    "merge refused": "!new.dat\nmerge -q --no-edit other",
    "merge with conflict": "merge -q conflict",
    "merge with conflict, theirs": "merge -q conflict\ncheckout -q --theirs a.dat\nadd a.dat",
    "merge with conflict, ours": "merge -q conflict\ncheckout -q --ours a.dat",
    "merge with conflict, resolved": "merge -q conflict\n!a.dat\nadd a.dat\ncommit -q --no-edit",
    "merge aborted": "merge -q conflict\nmerge --abort",
    "merge by strategy": "merge -q --no-edit -X theirs conflict",
    "rebase": "rebase -q other",
    "rebase of many": "checkout -q series\nrebase -q other",
    "rebase by patches": "checkout -q series\nrebase -q --apply other",
    "rebase onto": "rebase -q --onto other main~1",
    "rebase with autostash": "!x.dat\nrebase -q --autostash other",
    "rebase with conflict": "rebase -q conflict",
    "rebase aborted": "rebase -q conflict\nrebase --abort",
    "rebase resolved": "rebase -q conflict\n!a.dat\nadd a.dat\nrebase --continue",
    "cherry-pick": "cherry-pick other",
    "cherry-pick of many": "cherry-pick main..series",
    "cherry-pick uncommitted": "cherry-pick -n other",
    "revert": "revert --no-edit HEAD",
    "revert of many": "checkout -q series\nrevert --no-edit main..series",
    "stash": "!a.dat\n!s.dat\nstash -q",
    "stash and pop": "!a.dat\n!s.dat\nstash -q\nstash pop -q",
    "stash staged and pop": "!a.dat\nadd a.dat\n!s.dat\nstash -q\nstash pop -q --index",
    "stash untracked": "!u.dat\n!sub/u.dat\n!a.dat\nstash -q -u",
    "stash untracked and pop": "!u.dat\n!a.dat\nstash -q -u\nstash pop -q",
    "stash branch": "!a.dat\nstash -q\nstash branch found",
    "am": "format-patch -q --binary -o ../p main..series\nam -q ../p/0001-between.patch",
    "read-tree": "read-tree -m -u HEAD other",
    "read-tree reset": "!a.dat\nread-tree --reset -u other",
    "read-tree prefixed": "read-tree --prefix=copy/ -u other",
    "checkout-index": "%a.dat\n%s.dat\ncheckout-index -f -u a.dat s.dat",
    "checkout-index elsewhere": "checkout-index -a --prefix=export/",
    "sparse checkout": "sparse-checkout set sub\nsparse-checkout disable",
    "sparse checkout stays": "sparse-checkout set --cone sub",
    "sparse index": "sparse-checkout set --cone --sparse-index sub\nswitch -q other",
    "bisect": "bisect start series main~1\nbisect reset",
    "rm and undo": "rm -q a.dat s.dat\ncheckout -q HEAD -- a.dat s.dat",
    "mv": "mv a.dat sub/moved.dat\ncommit -q -m moved",
    "clean and checkout": "%a.dat\n%sub/b.dat\nclean -q -fdx\ncheckout -q .",
    "commit all": "!a.dat\n!s.dat\ncommit -q -a -m more",
    "commit of paths": "!a.dat\n!s.dat\ncommit -q -m more a.dat",
    "commit amended": "!a.dat\ncommit -q -a --amend --no-edit",
    "files and directories": "checkout -q shapes\ncheckout -q main\ncheckout -q shapes",
    "shapes in a rebase": "checkout -q shapes\nrebase -q other",
    "shapes picked": "cherry-pick shapes~2..shapes",
    "untracked cache": "update-index --force-untracked-cache\nswitch -q other\nswitch -q main",
    "index of version 4": "update-index --index-version 4\nswitch -q other\nmerge -q conflict",
}
#: After these some file differs from the index, or git has not said which blob
#: it writes (`apply`, `checkout-index`): then the next status has to look at it.
MAY_CLEAN = {
    "am",
    "checkout-index",
    "rebase by patches",
    "rebase with autostash",
    "reset mixed",
    "restore of a commit",
    "stash and pop",
    "stash branch",
    "stash staged and pop",
    "stash untracked and pop",
}

#: In these git refuses, or stops at a conflict.
FAILING = {
    "checkout refused",
    "merge aborted",
    "merge refused",
    "rebase aborted",
    "rebase resolved",
    "shapes in a rebase",
    *(story for story in STORIES if "conflict" in story),
}


def write_history(git: Git) -> None:
    """Commits on main, and branches that change, add and remove data files."""
    for name, size in (("a", LARGE), ("s", 3000), ("sub/b", LARGE + 5), ("shape", LARGE + 9)):
        git.write(f"{name}.dat", data(f"{name} 1", size))
    git.write("x.dat", data("x", 5000), mode=0o755)
    git.write("empty.dat", b"")
    git.write("plain.txt", b"one\n")
    git.commit_all("one")
    for name, paths in (
        ("other", ("sub/b.dat", "new.dat", "sub/s2.dat")),
        ("conflict", ("a.dat",)),
    ):
        git.run("checkout", "-q", "-b", name, "main")
        for path in paths:
            git.write(path, data(f"{path} of {name}", LARGE + len(path)))
        git.run("rm", "-q", "empty.dat")
        git.commit_all(name)
    git.run("checkout", "-q", "main")
    git.write("a.dat", data("a 2", LARGE + 2))
    git.write("s.dat", data("s 2", 3100))
    git.commit_all("two")
    write_series(git)
    write_shapes(git)
    git.run("checkout", "-q", "main")


def write_series(git: Git) -> None:
    git.run("checkout", "-q", "-b", "series", "main")
    for number in range(2):
        git.write("a.dat", data(f"series {number}", LARGE + 3 + number))
        git.write("s.dat", data(f"small series {number}", 2000 + number))
        git.commit_all("three" if number else "between")


def write_shapes(git: Git) -> None:
    """A data file becomes a directory, then a symlink."""
    git.run("checkout", "-q", "-b", "shapes", "main")
    git.run("rm", "-q", "shape.dat", "sub/b.dat")
    git.write("shape.dat/inner.dat", data("inner", LARGE))
    git.write("sub", data("file", 2000))
    git.commit_all("directory")
    git.run("rm", "-q", "-r", "shape.dat", "sub")
    (git.path / "shape.dat").symlink_to("plain.txt")
    (git.path / "sub").symlink_to("nowhere")
    git.commit_all("symlink")


KINDS = ("data", "twin")


def make_both(directory: Path) -> None:
    for kind in KINDS:
        git = Git(directory / kind).init()
        git.write(".gitattributes", TWIN_ATTRIBUTES)
        if kind == "data":
            configure(git)
        git.commit_all("attributes")
        write_history(git)


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    directory = made_once(tmp_path_factory, "commands", make_both)
    return {kind: directory / kind for kind in KINDS}


@pytest.fixture
def both(templates: dict[str, Path], tmp_path: Path) -> Iterator[tuple[Git, Git]]:
    """A repository with data files, and its twin."""
    copies = []
    for kind, template in templates.items():
        git = Git(Path(shutil.copytree(template, tmp_path / kind / "repository", symlinks=True)))
        git.run("update-index", "-q", "--refresh")
        copies.append(git)
    yield copies[0], copies[1]
    shutil.rmtree(tmp_path, ignore_errors=True)


def tell(git: Git, story: str) -> list[int]:
    """Do what the story says; returns the exit codes."""
    codes = []
    for number, line in enumerate(story.splitlines()):
        if line.startswith("!"):
            git.write(line[1:], data(f"{line} {number}", LARGE + number))
        elif line.startswith("%"):
            (git.path / line[1:]).unlink()
        else:
            codes.append(git.run(*shlex.split(line), check=False).returncode)
    return codes


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize("story", STORIES)
def test_git_does_with_data_files_as_with_others(both: tuple[Git, Git], story: str) -> None:
    ours, twin = both
    codes = tell(twin, STORIES[story])
    assert story in FAILING or not any(codes)
    assert tell(ours, STORIES[story]) == codes
    assert files(ours) == files(twin)
    assert leftovers(ours) == []
    use = ours.filter_use("status")
    assert story in MAY_CLEAN or use.cleans == 0
    assert unnumbered(ours.status()) == unnumbered(twin.status())
    assert staged(ours) == staged(twin)


def staged(git: Git) -> str:
    """Modes, stages and paths in the index."""
    return unnumbered(git.out("ls-files", "--format=%(objectmode) %(stage) %(path)"))
