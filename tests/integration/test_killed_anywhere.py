"""Every command, killed before each call that changes a file: nothing is lost, nothing is half.

A stand-in for our programs counts the calls of Python's os module that change a file (not
those of its `open`, of ctypes or of libraries), and dies before the n-th one, for n = 1, 2,
3 ... until the command comes to its end. After each: all objects are what their names say,
files are old or complete, and the same command, run again, succeeds without any repair of
ours. Only our own processes are killed, as git's own death is another's test.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from git_datareg.digest import digest_of
from tests.support.filtered import data, pointer
from tests.support.gitrun import Git

pytestmark = pytest.mark.usefixtures("unmeasured")

KILLING = """\
import os, signal, sys

end, mark = int(os.environ["KILL_AT"]), os.environ["KILL_MARK"]
count, opened = 0, os.open

def killing(function, changes=lambda *_: True):
    def called(*arguments, **options):
        global count
        if changes(*arguments):
            count += 1
            if count == end:
                os.close(opened(mark, os.O_CREAT | os.O_WRONLY))
                os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **options)
    return called

for name in ("rename", "replace", "link", "unlink", "rmdir", "mkdir", "symlink", "ftruncate",
             "truncate", "pwrite", "fsync", "copy_file_range", "sendfile", "utime"):
    setattr(os, name, killing(getattr(os, name)))
# What is written to git is no file.
os.write = killing(os.write, lambda descriptor, data: not os.path.exists(
    f"/proc/self/fd/{descriptor}") or os.readlink(f"/proc/self/fd/{descriptor}")[:1] == "/")
os.open = killing(os.open, lambda path, flags, *_: flags & os.O_CREAT)
"""
#: More than what is put in place after the checkout, and less.
LARGE, SMALL = 1024 * 1024 + 7, 3000
NAMES = {"large.dat": LARGE, "small.dat": SMALL, "sub/other.dat": SMALL + 1}
MOST_STEPS = 400


def contents(version: str) -> dict[str, bytes]:
    return {path: data(f"{version} {path}", size) for path, size in NAMES.items()}


OLD, NEW = contents("old"), contents("new")


class Case(NamedTuple):
    """A command, what comes before it, and what is true after it."""

    command: tuple[str, ...]
    #: Changes the prepared place.
    prepare: Callable[[Path], None]
    #: Where the files are that become new, and whether they may be pointers meanwhile.
    files: str | None
    may_be_pointers: bool = False
    #: Raises AssertionError unless the work is done.
    done: Callable[[Path], None] = lambda top: None


def write(git: Git, files: Mapping[str, bytes]) -> None:
    for path, content in files.items():
        git.write(path, content)


def modify(top: Path) -> None:
    write(Git(top / "work"), NEW)


def commit(top: Path) -> None:
    modify(top)
    Git(top / "work").commit_all("new")


def publish(top: Path) -> None:
    commit(top)
    Git(top / "work").run("push", "--quiet", "origin", "main")


def publish_and_forget(top: Path) -> None:
    """The new data is in the storage alone, and the work tree is old."""
    publish(top)
    git = Git(top / "work")
    git.run("checkout", "--quiet", "old")
    shutil.rmtree(git.path / ".git/datareg")
    shutil.rmtree(top / "cache", ignore_errors=True)


def imported(top: Path) -> None:
    empty_consumer(top)
    consumer = Git(top / "consumer")
    consumer.run("datareg", "import", "--quiet", "../remote.git", ".")
    consumer.run("commit", "--quiet", "--message", "import")
    publish(top)


def empty_consumer(top: Path) -> None:
    consumer = Git(top / "consumer").init()
    consumer.run("datareg", "init")
    consumer.commit_all("empty")


def old_objects(top: Path) -> None:
    publish(top)
    for path in (top / "work/.git/datareg/objects").rglob("*"):
        if path.is_file():
            os.utime(path, (1_600_000_000, 1_600_000_000))


def is_staged(top: Path) -> None:
    git = Git(top / "work")
    for path, content in NEW.items():
        assert git.run_bytes("cat-file", "blob", f":{path}").stdout == pointer(content)
        key = digest_of(content).key
        assert (top / "work/.git/datareg/objects" / key).read_bytes() == content


def is_pushed(top: Path) -> None:
    pushed = Git(top / "remote.git").out("rev-parse", "main")
    assert pushed == Git(top / "work").out("rev-parse", "main")
    for content in NEW.values():
        stored = top / "remote.git/datareg/objects" / digest_of(content).key
        assert stored.read_bytes() == content


def is_imported(top: Path) -> None:
    git = Git(top / "consumer")
    git.run("commit", "--quiet", "--message", "all")
    # What is left of a killed process is named so that nobody takes it for a file of theirs.
    left = [line for line in git.status().splitlines() if not line.startswith("?? .tmp-datareg-")]
    assert left == []
    assert (git.path / "remote.datareg").is_file()


def is_clean(top: Path) -> None:
    assert Git(top / "work").status() == ""


CASES = {
    "git add": Case(("git", "add", "."), modify, None, done=is_staged),
    "add": Case(("git", "datareg", "add", "."), modify, None, done=is_staged),
    "checkout": Case(
        ("git", "checkout", "--quiet", "-f", "main"),
        publish_and_forget,
        "work",
        may_be_pointers=True,
        done=is_clean,
    ),
    "fetch": Case(("git", "datareg", "fetch", "--quiet", "main"), publish_and_forget, None),
    "push by hook": Case(("git", "push", "origin", "main"), commit, None, done=is_pushed),
    "push by helper": Case(
        ("git", "push", "datareg::../remote.git", "main"), commit, None, done=is_pushed
    ),
    "get": Case(
        ("git", "datareg", "get", "--quiet", "-f", "../remote.git", "."),
        publish_and_forget,
        "work/remote",
    ),
    "import": Case(
        ("git", "datareg", "import", "--quiet", "-f", "../remote.git", "."),
        lambda top: (publish_and_forget(top), empty_consumer(top))[0],
        "consumer/remote",
        done=is_imported,
    ),
    "update": Case(
        ("git", "datareg", "update", "--quiet", "remote"),
        imported,
        "consumer/remote",
        done=is_imported,
    ),
    "gc": Case(("git", "datareg", "gc", "--older-than", "0", "-q"), old_objects, "work"),
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry that was pushed, and its remote; the branch `old` stays."""
    top = tmp_path_factory.mktemp("prepared")
    Git(top / "remote.git").init("--bare")
    git = Git(top / "work").init()
    git.run("datareg", "init")
    git.run("datareg", "track", "*.dat")
    git.run("remote", "add", "origin", "../remote.git")
    write(git, OLD)
    git.commit_all("old")
    git.run("branch", "old")
    git.run("push", "--quiet", "origin", "main", "old")
    return top


@pytest.fixture
def killing(tmp_path: Path) -> Path:
    """A directory with the stand-ins for our programs."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, module in (("git-datareg", "main"), ("git-remote-datareg", "remote_main")):
        code = f"{KILLING}\nfrom git_datareg.{module} import main\nraise SystemExit(main())\n"
        (programs / name).write_text(f"#!{sys.executable}\n{code}")
        (programs / name).chmod(0o755)
    return programs


@pytest.mark.parametrize("name", list(CASES))
def test_killed_anywhere(
    prepared: Path, killing: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = CASES[name]
    template = tmp_path / "template"
    shutil.copytree(prepared, template, symlinks=True)
    monkeypatch.setenv("GIT_DATAREG_CACHE", str(template / "cache"))
    case.prepare(template)
    step = 0
    while True:
        step += 1
        assert step < MOST_STEPS
        top = tmp_path / "run"
        shutil.copytree(template, top, symlinks=True)
        monkeypatch.setenv("GIT_DATAREG_CACHE", str(top / "cache"))
        place = top / ("consumer" if (top / "consumer").exists() else "work")
        mark = tmp_path / "mark"
        environ = {
            "PATH": f"{killing}{os.pathsep}{os.environ['PATH']}",
            "KILL_AT": str(step),
            "KILL_MARK": str(mark),
        }
        done = run(place, case.command, environ)
        assert "Traceback" not in done.stderr, done.stderr
        was_killed = mark.exists()
        check_objects(top)
        if case.files is not None:
            check_files(top / case.files, may_be_pointers=case.may_be_pointers)
        if was_killed:
            mark.unlink()
            # Git's own, as when git is killed: its next words say so.
            (place / ".git/index.lock").unlink(missing_ok=True)
            again = run(place, case.command, {})
            assert again.returncode == 0, (step, done.stderr, again.stderr)
        else:
            assert done.returncode == 0, (step, done.stderr)
        if case.files is not None:
            check_new(top / case.files)
        case.done(top)
        check_objects(top)
        shutil.rmtree(top)
        if not was_killed:
            break
    assert step > 3


def run(
    place: Path, command: tuple[str, ...], environ: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=place,
        env={**os.environ, **environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


def check_objects(top: Path) -> None:
    """Whatever is under an object's name is that object."""
    for directory in ("cache", "work/.git/datareg", "consumer/.git/datareg", "remote.git/datareg"):
        objects = top / directory / "objects"
        for path in objects.rglob("*"):
            if path.is_file():
                key = str(path.relative_to(objects))
                assert digest_of(path.read_bytes()).key == key, path


def check_files(top: Path, *, may_be_pointers: bool) -> None:
    """Each file is not there, or old, or new; no part of one is ever seen."""
    for path in NAMES:
        if (top / path).is_file():
            found, known = (top / path).read_bytes(), [OLD[path], NEW[path]]
            if may_be_pointers:
                known += [pointer(each) for each in known]
            assert found in known, path


def check_new(top: Path) -> None:
    for path, content in NEW.items():
        assert (top / path).read_bytes() == content, path
