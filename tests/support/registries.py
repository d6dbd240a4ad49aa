"""A registry as its publisher made it: a bare repository with pushed data, and the work tree.

Knows git's and our command line, no internals. Uses no HOME but the current one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tests.support.filtered import LARGE, SMALL, data
from tests.support.gitrun import TIMEOUT, Argument, Git

#: What the registry's branch `main` has, by path: a file that git is given as its
#: pointer at first, one that it is given whole, one in a directory, and no data file.
FILES = {
    "data/large.dat": data("large", LARGE),
    # Not as long as before, since git may have no finer clock than seconds to tell by.
    "data/small.dat": data("small, new", SMALL + 1),
    "data/sub/deep.dat": data("deep"),
    "plain.txt": b"plain\n",
}
#: With these, commits of the same content have the same id.
SAME_TIME = dict.fromkeys(("GIT_AUTHOR_DATE", "GIT_COMMITTER_DATE"), "2001-02-03T04:05:06Z")
#: What `data/small.dat` was in the first commit, the tag v1.
OLD_SMALL = data("small, old")


class Registry(NamedTuple):
    """The published repository and the one it was published from, side by side."""

    remote: Git
    work: Git

    @property
    def path(self) -> str:
        """Where the published repository is."""
        return str(self.remote.path)

    @property
    def storage(self) -> Path:
        """The published repository's embedded storage."""
        return self.remote.path / "datareg"


def publish(directory: Path, *, object_format: str = "sha1") -> Registry:
    """Make a registry below an empty directory: two commits on main, a tag, another branch."""
    remote = Git(directory / "registry.git").init("--bare", f"--object-format={object_format}")
    remote.run("config", "uploadpack.allowFilter", "true")
    work = Git(directory / "work").init(f"--object-format={object_format}")
    # Relative, so that both can be copied together.
    work.run("remote", "add", "origin", "../registry.git")
    work.run("datareg", "init")
    work.run("datareg", "track", "*.dat")
    for path, content in {**FILES, "data/small.dat": OLD_SMALL}.items():
        work.write(path, content)
    work.commit_all("first")
    work.run("tag", "--annotate", "--message", "first", "v1")
    work.write("data/small.dat", FILES["data/small.dat"])
    work.commit_all("second")
    work.run("branch", "other", "v1")
    work.run("push", "--quiet", "--set-upstream", "origin", "main", "other", "v1")
    return Registry(remote, work)


def copied(registry: Registry, directory: Path) -> Registry:
    """A copy of the registry below a directory, for one test to change."""
    for each in registry:
        shutil.copytree(each.path, directory / each.path.name, symlinks=True)
    return Registry(*(Git(directory / each.path.name) for each in registry))


def files_of(git: Git) -> dict[str, bytes]:
    """The content of the work tree's files that `FILES` names; absent ones are left out."""
    paths = ((name, git.path / name) for name in FILES)
    return {name: path.read_bytes() for name, path in paths if path.is_file()}


def objects_in(storage: Path) -> set[str]:
    """The ids of all objects in a storage that is a directory."""
    return {path.parent.name + path.name for path in storage.glob("objects/*/*")}


def refs_of(git: Git) -> dict[str, str]:
    """Every ref of a repository with the id it points to."""
    lines = git.out("for-each-ref", "--format=%(refname) %(objectname)").splitlines()
    return dict(line.split(" ") for line in lines)


def path_without_us() -> str:
    """PATH without the directory that has our programs."""
    own = os.path.dirname(sys.executable)
    path = os.pathsep.join(
        each for each in os.environ["PATH"].split(os.pathsep) if os.path.abspath(each) != own
    )
    assert shutil.which("git-datareg", path=path) is None
    return path


def run_unprivileged(
    git: Git, *args: Argument, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `git args` as someone for whom permissions count, even where root runs the tests."""
    drop = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--"]
    return subprocess.run(
        [*(drop if os.geteuid() == 0 else []), "git", *args],
        cwd=git.path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={**os.environ, **(env or {})},
        timeout=TIMEOUT,
    )
