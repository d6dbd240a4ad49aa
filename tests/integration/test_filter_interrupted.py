"""Git, its filter or both end in the middle; and what users do meanwhile.

A stand-in for `git-datareg` stops, kills or changes something at one given
request; everything else is the real thing.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.filtered import (
    ATTRIBUTES,
    CONFIG,
    LARGE,
    blob,
    data,
    files,
    leftovers,
    object_file,
    pointer,
    stand_in,
)
from tests.support.gitrun import Git, clone

TIMEOUT = 60
CONTENTS = {f"{name}.dat": data(name, LARGE + ord(name)) for name in "abc"}
#: Does something before the file of that name is answered.
AT = """
    import os, signal
    def git():
        # The parent of the shell by which git has started us, if there is one.
        parent = os.getppid()
        with open(f"/proc/{{parent}}/stat") as file:
            name, _, rest = file.read().partition("(")[2].rpartition(")")
        return parent if name == "git" else int(rest.split()[1])
    from git_datareg.commands.filter_process import FilterProcess
    serve = FilterProcess._serve
    def watched(self, request):
        if request.pathname == b"{path}":
            {action}
        serve(self, request)
    FilterProcess._serve = watched
"""
#: Does something when git has written everything.
AT_THE_END = """
    import os, shutil
    from git_datareg.commands.filter_process import FilterProcess
    finish = FilterProcess._finish
    def watched(self):
        {action}
        finish(self)
    FilterProcess._finish = watched
"""


@pytest.fixture(autouse=True)
def installed(home: Path) -> None:
    with (home / "gitconfig").open("a") as file:
        file.write(CONFIG)


@pytest.fixture
def git(tmp_path: Path) -> Git:
    """A repository at an empty commit; `full` has the data files."""
    git = Git(tmp_path / "repository").init()
    git.write(".gitattributes", ATTRIBUTES)
    git.write("mine.dat", b"tracked")
    git.commit_all("empty")
    git.run("checkout", "-q", "-b", "full")
    for path, content in CONTENTS.items():
        git.write(path, content)
    git.commit_all("full")
    git.run("checkout", "-q", "main")
    return git


class Ended:
    """How a command and all that it started have ended."""

    def __init__(self, process: subprocess.Popen[bytes], alive: int) -> None:
        try:
            _, self.errors = process.communicate(timeout=TIMEOUT)
            # The other end is closed when the last of them has ended.
            os.set_blocking(alive, True)
            assert os.read(alive, 1) == b""
        finally:
            os.close(alive)
        self.code = process.returncode


def run(git: Git, *args: str, env: Mapping[str, str]) -> Ended:
    """Run git in a process group of its own, to the end of every process it starts."""
    alive, held = os.pipe()
    process = subprocess.Popen(
        ["git", *args],
        cwd=git.path,
        env={**os.environ, **env},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        pass_fds=[held],
        start_new_session=True,
    )
    os.close(held)
    return Ended(process, alive)


def at(git: Git, path: str, action: str) -> dict[str, str]:
    return stand_in(git.path.parent / "bin", AT.format(path=path, action=action))


def at_the_end(git: Git, action: str) -> dict[str, str]:
    return stand_in(git.path.parent / "bin", AT_THE_END.format(action=action))


def check(git: Git) -> None:
    """The branch `full` is checked out, as if nothing had happened."""
    for path, content in CONTENTS.items():
        assert (git.path / path).read_bytes() == content
    assert git.filter_use("status").cleans == 0
    assert git.status() == ""
    assert leftovers(git) == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_git_is_killed_in_the_middle(git: Git, number: signal.Signals) -> None:
    git.write("mine.dat", b"changed by the user")
    git.write("untracked", b"untracked")
    env = at(git, "c.dat", f"os.kill(git(), {int(number)})")
    ended = run(git, "checkout", "full", env=env)
    assert ended.code == -number
    assert b"Traceback" not in ended.errors
    assert (git.path / "mine.dat").read_bytes() == b"changed by the user"
    assert (git.path / "untracked").read_bytes() == b"untracked"
    for path in ("a.dat", "b.dat"):
        assert (git.path / path).read_bytes() in (CONTENTS[path], pointer(CONTENTS[path]))
    assert not [name for name in leftovers(git) if "tmp" in name]

    # SIGKILL gives git no chance to remove it.
    if number == signal.SIGKILL:
        (git.path / ".git/index.lock").unlink()
    git.run("checkout", "-q", "-f", "full")
    (git.path / "untracked").unlink()
    check(git)


def test_a_killed_git_leaves_data_and_no_pointers(git: Git) -> None:
    env = at(git, "c.dat", f"os.kill(git(), {int(signal.SIGKILL)})")
    ended = run(git, "checkout", "full", env=env)
    assert ended.code == -signal.SIGKILL
    for path in ("a.dat", "b.dat"):
        assert (git.path / path).read_bytes() == CONTENTS[path]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_the_filter_is_killed_between_files(git: Git, number: signal.Signals) -> None:
    ended = run(
        git, "checkout", "full", env=at(git, "c.dat", f"os.kill(os.getpid(), {int(number)})")
    )
    assert ended.code == 128
    assert b"Traceback" not in ended.errors
    assert not (git.path / "c.dat").exists()
    assert files(git).keys() >= {"a.dat", "b.dat", "mine.dat"}
    git.run("checkout", "-q", "-f", "full")
    check(git)


def test_what_a_killed_filter_owed_is_placed_by_the_hook(git: Git) -> None:
    action = f"os.kill(os.getpid(), {int(signal.SIGKILL)})"
    run(git, "checkout", "full", env=at(git, "c.dat", action))
    assert (git.path / "a.dat").read_bytes() == pointer(CONTENTS["a.dat"])
    git.write("b.dat", b"changed by the user")
    git.run("datareg", "post-checkout", "0" * 40, "0" * 40, "1")
    assert (git.path / "a.dat").read_bytes() == CONTENTS["a.dat"]
    assert (git.path / "b.dat").read_bytes() == b"changed by the user"
    assert leftovers(git) == []


def test_what_the_hook_can_not_place_stays_a_pointer_and_noted(git: Git) -> None:
    action = f"os.kill(os.getpid(), {int(signal.SIGKILL)})"
    run(git, "checkout", "full", env=at(git, "c.dat", action))
    object_file(git.path / ".git/datareg", CONTENTS["a.dat"]).unlink()
    done = git.run("datareg", "post-checkout", "0" * 40, "0" * 40, "1")
    assert done.stderr == ""
    assert (git.path / "a.dat").read_bytes() == pointer(CONTENTS["a.dat"])
    assert (git.path / "b.dat").read_bytes() == CONTENTS["b.dat"]
    assert leftovers(git) == [".git/datareg/pending"]


def test_the_hook_leaves_pointers_that_are_wanted(git: Git) -> None:
    action = f"os.kill(os.getpid(), {int(signal.SIGKILL)})"
    run(git, "checkout", "full", env=at(git, "c.dat", action))
    skip = {"GIT_DATAREG_SKIP_SMUDGE": "1"}
    git.run("datareg", "post-checkout", "0" * 40, "0" * 40, "1", env=skip)
    assert (git.path / "a.dat").read_bytes() == pointer(CONTENTS["a.dat"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_the_filter_is_killed_while_git_sends_a_file(git: Git, number: signal.Signals) -> None:
    code = f"""
        import os
        from git_datareg.filtering import Spool
        write = Spool.write
        def watched(self, data):
            write(self, data)
            if self.size > 5 << 20:
                os.kill(os.getpid(), {int(number)})
        Spool.write = watched
    """
    content = data("new", 8 << 20)
    git.write("new.dat", content)
    ended = run(git, "add", "new.dat", env=stand_in(git.path.parent / "bin", code))
    assert ended.code == 128
    assert b"Traceback" not in ended.errors
    assert git.out("ls-files", "new.dat") == ""
    assert (git.path / "new.dat").read_bytes() == content
    assert number == signal.SIGKILL or leftovers(git) == []

    git.run("add", "new.dat")
    assert blob(git, ":new.dat") == pointer(content)


@pytest.mark.parametrize("command", ["clean", "smudge"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_the_one_shot_forms_are_interrupted(git: Git, command: str, number: signal.Signals) -> None:
    process = subprocess.Popen(
        ["git-datareg", command, "x.dat"],
        cwd=git.path,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdin is not None
    # What fits no pipe has been read; so it is in a temporary file.
    process.stdin.write(bytes(8 << 20))
    process.stdin.flush()
    assert [name for name in leftovers(git) if "datareg/tmp/" in name]
    process.send_signal(number)
    _, errors = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 128 + number
    assert errors == b""
    assert leftovers(git) == []


def test_an_interrupt_from_the_terminal_reaches_both(git: Git, tmp_path: Path, home: Path) -> None:
    copy = clone(git.path, tmp_path / "copy", "--no-checkout")
    code = """
        import os, signal, threading
        from git_datareg.layout import ObjectStorage
        started = threading.Barrier(4, action=lambda: os.killpg(0, signal.SIGINT))
        def download(self, pointer, into):
            with into.writer() as writer:
                writer.write(b"some bytes")
                started.wait()
                threading.Event().wait()
        ObjectStorage.download = download
    """
    ended = run(copy, "checkout", "full", env=stand_in(tmp_path / "bin", code))
    assert ended.code == -signal.SIGINT
    assert b"Traceback" not in ended.errors
    assert list((home / "datareg-cache/tmp").iterdir()) == []
    copy.run("checkout", "-q", "-f", "full")
    check(copy)


def test_downloads_that_nobody_waits_for_are_broken_off(
    git: Git, tmp_path: Path, home: Path
) -> None:
    # The first file fails at once, so git gives up, while another's download still runs.
    copy = clone(git.path, tmp_path / "copy", "--no-checkout")
    copy.run("checkout", "-q", "full")
    for name in ("a.dat", "b.dat"):
        object_file(home / "datareg-cache", CONTENTS[name]).unlink()
    copy.run("read-tree", "--empty")
    own = object_file(copy.path / ".git/datareg", CONTENTS["b.dat"])
    own.parent.mkdir(parents=True)
    own.write_bytes(bytes(len(CONTENTS["b.dat"])))
    code = """
        import time
        from git_datareg.layout import ObjectStorage
        def download(self, pointer, into):
            with into.writer() as writer:
                for _ in range(300):
                    writer.write(b"so slow")
                    time.sleep(0.1)
        ObjectStorage.download = download
    """
    ended = run(copy, "checkout", "-f", "full", env=stand_in(tmp_path / "bin", code))
    assert ended.code == 128
    assert b"b.dat: corrupt object" in ended.errors
    assert b"Traceback" not in ended.errors
    assert list((home / "datareg-cache/tmp").iterdir()) == []


@pytest.mark.parametrize(
    ("action", "status"),
    [
        ("open('a.dat', 'w').write('changed')", " M a.dat"),
        ("open('a.dat', 'a').write('appended')", " M a.dat"),
        ("os.unlink('a.dat')", " D a.dat"),
        ("os.unlink('a.dat'); os.symlink('mine.dat', 'a.dat')", " T a.dat"),
        ("os.unlink('a.dat'); os.mkdir('a.dat')", " D a.dat"),
        ("os.unlink('a.dat'); os.mkfifo('a.dat')", " M a.dat"),
        ("os.chmod('a.dat', 0o755)", " M a.dat"),
    ],
)
def test_what_the_user_changes_meanwhile_is_left_alone(git: Git, action: str, status: str) -> None:
    ended = run(git, "checkout", "full", env=at_the_end(git, action))
    assert (ended.code, ended.errors) == (0, b"Switched to branch 'full'\n")
    assert git.status().splitlines()[:1] == [status]
    assert (git.path / "mine.dat").read_bytes() == b"tracked"
    assert (git.path / "b.dat").read_bytes() == CONTENTS["b.dat"]
    assert leftovers(git) == []


def test_a_directory_that_became_a_symlink_is_not_followed(git: Git, tmp_path: Path) -> None:
    git.run("checkout", "-q", "full")
    git.run("mv", "-k", "a.dat", "b.dat", "c.dat", str(git.path))
    (git.path / "sub").mkdir()
    git.run("mv", "a.dat", "sub/a.dat")
    git.commit_all("moved")
    git.run("checkout", "-q", "main")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "a.dat").write_bytes(pointer(CONTENTS["a.dat"]))
    action = f"shutil.rmtree('sub'); os.symlink({str(outside)!r}, 'sub')"
    ended = run(git, "checkout", "-q", "full", env=at_the_end(git, action))
    assert (ended.code, ended.errors) == (0, b"")
    assert (outside / "a.dat").read_bytes() == pointer(CONTENTS["a.dat"])
    assert (git.path / "b.dat").read_bytes() == CONTENTS["b.dat"]


def test_an_index_that_another_git_holds_for_good(git: Git) -> None:
    """The files are in place; that git will have to look at them is said, and can be mended."""
    # It would put all in place before the lock is taken.
    (git.path / ".git/hooks/post-checkout").unlink()
    lock = git.path / ".git/index.lock"
    code = AT_THE_END.format(action=f"open({str(lock)!r}, 'x').close()") + (
        "    from git_datareg import placing\n    placing.LOCK_SECONDS = 0.05\n"
    )
    ended = run(git, "checkout", "-q", "full", env=stand_in(git.path.parent / "bin", code))
    assert ended.code == 0
    assert b"git-datareg: error: " in ended.errors
    assert b"index.lock" in ended.errors
    assert b"git datareg checkout" in ended.errors
    assert {path: (git.path / path).read_bytes() for path in CONTENTS} == CONTENTS
    lock.unlink()
    git.run("datareg", "checkout")
    check(git)


def test_a_lock_that_is_held_for_a_moment_is_waited_for(git: Git) -> None:
    # It would put all in place before the lock is taken.
    (git.path / ".git/hooks/post-checkout").unlink()
    lock = git.path / ".git/index.lock"
    code = AT_THE_END.format(action=f"open({str(lock)!r}, 'x').close()") + (
        "    from git_datareg import gitindex\n"
        f"    gitindex.time.sleep = lambda seconds: os.unlink({str(lock)!r})\n"
    )
    ended = run(git, "checkout", "-q", "full", env=stand_in(git.path.parent / "bin", code))
    assert (ended.code, ended.errors) == (0, b"")
    check(git)


def test_a_background_job_of_a_hook_does_not_hold_git_up(git: Git, tmp_path: Path) -> None:
    hook = git.path / ".git/hooks/post-checkout"
    started = tmp_path / "started"
    hook.write_text(f"#!/bin/sh\nsleep 1000 >/dev/null 2>&1 &\necho $! >{started}\n")
    hook.chmod(0o755)
    try:
        subprocess.run(["git", "checkout", "-q", "full"], cwd=git.path, check=True, timeout=30)
        check(git)
    finally:
        os.kill(int(started.read_text()), signal.SIGKILL)


def test_two_worktrees_at_once(git: Git, tmp_path: Path) -> None:
    git.run("worktree", "add", "-q", "--detach", "../linked", "main")
    linked = Git(tmp_path / "linked")
    for _ in range(5):
        for branch in ("full", "main"):
            running = [
                subprocess.Popen(["git", "checkout", "-q", "--detach", branch], cwd=each.path)
                for each in (git, linked)
            ]
            assert [process.wait(TIMEOUT) for process in running] == [0, 0]
            for each in (git, linked):
                assert each.status() == ""
                assert leftovers(each) == []
    git.run("checkout", "-q", "full")
    check(git)


def test_objects_are_fetched_at_the_same_time(git: Git, tmp_path: Path) -> None:
    copy = clone(git.path, tmp_path / "copy", "--no-checkout")
    code = """
        import threading
        from git_datareg.layout import ObjectStorage
        download = ObjectStorage.download
        together = threading.Barrier(4, timeout=30)
        def waiting(self, pointer, into):
            together.wait()
            download(self, pointer, into)
        ObjectStorage.download = waiting
    """
    ended = run(copy, "checkout", "-q", "-f", "full", env=stand_in(tmp_path / "bin", code))
    assert (ended.code, ended.errors) == (0, b"")
    check(copy)
