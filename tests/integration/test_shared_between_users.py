"""Several users of one machine: a cache and a Git remote that a group shares."""

from __future__ import annotations

import os
import shutil
import site
import stat
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.support.filtered import data, object_file

ROOT = Path(__file__).resolve().parents[2]
GROUP = 4242
ADA, BEN, EVE = 4001, 4002, 4003

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setpriv") is None, reason="only root can be several users"
)


class User:
    """Somebody with a home, who is in the group or not, and whose umask keeps others out."""

    def __init__(self, top: Path, number: int, groups: Sequence[int], cache: Path) -> None:
        self.home = top / f"home{number}"
        self.home.mkdir(mode=0o700)
        os.chown(self.home, number, number)
        keep = ["--clear-groups"] if not groups else ["--groups", ",".join(map(str, groups))]
        self._switch = ["setpriv", "--reuid", str(number), "--regid", str(number), *keep]
        self._environ = {
            **os.environ,
            "HOME": str(self.home),
            "GIT_CONFIG_GLOBAL": str(self.home / "gitconfig"),
            "GIT_DATAREG_CACHE": str(cache),
            "PATH": f"{top / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join([str(ROOT), *site.getsitepackages()]),
            "PYTHONDONTWRITEBYTECODE": "1",
            "GIT_AUTHOR_NAME": "x",
            "GIT_AUTHOR_EMAIL": "x@example.org",
            "GIT_COMMITTER_NAME": "x",
            "GIT_COMMITTER_EMAIL": "x@example.org",
        }
        self.run("git", "config", "--global", "safe.directory", "*")

    def run(self, *command: str, cwd: Path | None = None, check: bool = True) -> str:
        """What a command says of this user; with umask 077."""
        done = subprocess.run(
            [*self._switch, "sh", "-c", 'umask 077; exec "$@"', "sh", *command],
            cwd=cwd or self.home,
            env=self._environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
        )
        assert "Traceback" not in done.stdout
        assert not check or done.returncode == 0, done.stdout
        return done.stdout


@pytest.fixture
def top() -> Iterator[Path]:
    """A directory that others may enter, too; pytest's own is root's alone."""
    place = Path("/var/tmp") / f"datareg-test-{os.getpid()}"
    place.mkdir(mode=0o755)
    yield place
    shutil.rmtree(place)


@pytest.fixture
def cache(top: Path) -> Path:
    """A cache as an administrator makes it for a group."""
    place = top / "cache"
    place.mkdir()
    os.chown(place, 0, GROUP)
    place.chmod(0o2770)
    return place


@pytest.fixture
def users(top: Path, cache: Path) -> tuple[User, User]:
    found = User(top, ADA, [GROUP], cache), User(top, BEN, [GROUP], cache)
    for python in (sys.executable, "/usr/bin/python3"):
        install(top / "bin", python)
        if found[0].run("git", "datareg", "--version", check=False).startswith("git-datareg"):
            return found
    pytest.skip("no Python that another user may run has what is needed")


def install(programs: Path, python: str) -> None:
    """Our programs, run by a Python that is not behind root's own home."""
    programs.mkdir(exist_ok=True)
    for name in ("git-datareg", "git-remote-datareg"):
        (programs / name).write_text(f'#!/bin/sh\nexec {python} {ROOT}/bin/{name} "$@"\n')
        (programs / name).chmod(0o755)


@pytest.fixture
def remote(top: Path) -> Path:
    """A Git remote that a group shares, as git makes it."""
    place = top / "remote.git"
    subprocess.run(["git", "init", "-q", "--bare", "--shared=0660", str(place)], check=True)
    for path in (place, *place.rglob("*")):
        os.chown(path, 0, GROUP)
        if path.is_dir():
            path.chmod(0o2770)
    return place


def begin(user: User, remote: Path, name: str) -> Path:
    """The user has pushed one data file of that name."""
    work = user.home / "work"
    user.run("git", "clone", "-q", f"datareg::{remote}", "work")
    user.run("git", "datareg", "init", cwd=work)
    user.run("git", "datareg", "track", "*.dat", cwd=work)
    write(user, work / f"{name}.dat", data(name))
    user.run("git", "add", ".", cwd=work)
    user.run("git", "commit", "-q", "-m", name, cwd=work)
    user.run("git", "push", "-q", "origin", "HEAD:main", cwd=work)
    return work


def write(user: User, path: Path, content: bytes) -> None:
    path.write_bytes(content)
    number = user.home.stat().st_uid
    os.chown(path, number, number)


def test_both_push_to_one_remote_and_read_what_the_other_pushed(
    users: tuple[User, User], remote: Path
) -> None:
    ada, ben = users
    begin(ada, remote, "ada")
    work = ben.home / "work"
    ben.run("git", "clone", "-q", f"datareg::{remote}", "work")
    assert (work / "ada.dat").read_bytes() == data("ada")
    # Into the same folder of the storage, too.
    for number in range(40):
        write(ben, work / f"{number}.dat", data(str(number)))
    ben.run("git", "add", ".", cwd=work)
    ben.run("git", "commit", "-q", "-m", "ben", cwd=work)
    ben.run("git", "push", "-q", "origin", "HEAD:main", cwd=work)
    for path in (remote / "datareg").rglob("*"):
        mode = path.stat().st_mode
        assert mode & stat.S_IRGRP, path
        assert not mode & 0o007, path
        assert not path.is_dir() or mode & stat.S_IWGRP, path


def test_a_cache_is_filled_by_one_and_read_by_the_other(
    users: tuple[User, User], remote: Path, cache: Path
) -> None:
    ada, ben = users
    begin(ada, remote, "ada")
    ada.run("git", "clone", "-q", f"datareg::{remote}", "again")
    there = object_file(cache, data("ada"))
    assert there.stat().st_uid == ADA
    assert stat.S_IMODE(there.stat().st_mode) == 0o440
    object_file(remote / "datareg", data("ada")).unlink()
    ben.run("git", "clone", "-q", f"datareg::{remote}", "work")
    assert (ben.home / "work/ada.dat").read_bytes() == data("ada")


def test_what_another_has_put_there_falsely_is_not_taken(
    users: tuple[User, User], remote: Path, cache: Path
) -> None:
    ada, ben = users
    begin(ada, remote, "ada")
    ada.run("git", "clone", "-q", f"datareg::{remote}", "again")
    there = object_file(cache, data("ada"))
    there.chmod(0o640)
    there.write_bytes(bytes(len(data("ada"))))
    ben.run("git", "clone", "-q", f"datareg::{remote}", "work")
    assert (ben.home / "work/ada.dat").read_bytes() == data("ada")
    assert there.read_bytes() == data("ada")
    assert there.stat().st_uid == BEN


def test_a_symlink_in_the_place_of_an_object_is_not_followed(
    users: tuple[User, User], remote: Path, cache: Path
) -> None:
    ada, ben = users
    begin(ada, remote, "ada")
    there = object_file(cache, data("ada"))
    ada.run("mkdir", "-p", str(there.parent))
    secret = ben.home / "secret"
    write(ben, secret, bytes(len(data("ada"))))
    ada.run("ln", "-s", str(secret), str(there))
    for path in (cache / "objects").rglob("*"):
        if path.is_dir():
            path.chmod(0o2770)
    (cache / "objects").chmod(0o2770)
    ben.run("git", "clone", "-q", f"datareg::{remote}", "work")
    assert (ben.home / "work/ada.dat").read_bytes() == data("ada")
    assert secret.read_bytes() == bytes(len(data("ada")))


def test_each_has_mirrors_of_their_own(users: tuple[User, User], remote: Path, cache: Path) -> None:
    ada, ben = users
    begin(ada, remote, "ada")
    for user in (ada, ben):
        listed = user.run("git", "datareg", "list", f"file://{remote}")
        assert "ada.dat" in listed
        user.run("git", "datareg", "get", "-q", f"file://{remote}", "ada.dat", "-o", "got")
        assert (user.home / "got").read_bytes() == data("ada")


@pytest.mark.parametrize("kind", ["directory", "symlink"])
def test_a_directory_that_another_has_made_for_us_is_refused(
    users: tuple[User, User], remote: Path, cache: Path, kind: str
) -> None:
    ada, ben = users
    begin(ada, remote, "ada")
    part = str(cache / f"user-{BEN}")
    ada.run(*(["mkdir", part] if kind == "directory" else ["ln", "-s", str(ben.home), part]))
    url = f"ssh://nobody@127.0.0.1:1{remote}"
    said = ben.run("git", "datareg", "list", url, check=False)
    assert f"not a directory of yours: {cache}/user-{BEN}" in said
    assert "hint: set GIT_DATAREG_CACHE" in said


def test_who_is_not_in_the_group_gets_a_message(
    top: Path, users: tuple[User, User], cache: Path
) -> None:
    eve = User(top, EVE, [], cache)
    said = eve.run("git", "datareg", "gc", check=False)
    assert "Traceback" not in said
    url = f"ssh://nobody@127.0.0.1:1{top}/x.git"
    said = eve.run("git", "datareg", "list", url, check=False)
    assert "git-datareg: error: " in said
    assert str(cache) in said
