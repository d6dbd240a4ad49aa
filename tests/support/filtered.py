"""Repositories with data files: the filter's configuration, content, and what is there afterwards.

Knows how git is told to use git-datareg. What git does with it is for the tests.
"""

from __future__ import annotations

import hashlib
import os
import random
import re
import stat
import sys
import textwrap
from pathlib import Path
from typing import NamedTuple

from blake3 import blake3

from tests.support.gitrun import Git

#: As `git datareg install` writes it.
CONFIG = """\
[filter "datareg"]
\tprocess = git-datareg filter-process
\tclean = git-datareg clean -- %f
\tsmudge = git-datareg smudge -- %f
\trequired = true
"""
ATTRIBUTES = b"*.dat filter=datareg -text -merge -diff\n"
#: Git is given the content of a small file, and the pointer of a large one at first.
SMALL, LARGE = 3000, (1 << 20) + 17
_COMMIT = re.compile("~[0-9a-f]{7,}")


class File(NamedTuple):
    """What a work tree has at a path."""

    kind: str
    executable: bool
    digest: str


def data(seed: str, size: int = SMALL) -> bytes:
    """Bytes that depend on `seed` alone."""
    return random.Random(seed).randbytes(size)


def pointer(content: bytes) -> bytes:
    """The pointer to content, spelled from the format's text and not by our program."""
    return b"git-datareg pointer 1\nblake3 %s\nsize %d\n" % (
        blake3(content).hexdigest().encode(),
        len(content),
    )


def object_file(root: Path, content: bytes) -> Path:
    """Where a storage, a cache or a `.git/datareg` keeps the content."""
    name = blake3(content).hexdigest()
    return root / "objects" / name[:2] / name[2:]


def configure(git: Git, attributes: bytes = ATTRIBUTES) -> Git:
    """Have a repository use the filter, as `git datareg install --local` and `track` do."""
    config = git.path / os.fsdecode(git.out("rev-parse", "--git-dir")) / "config"
    with config.open("a") as file:
        file.write(CONFIG)
    if attributes:
        git.write(".gitattributes", attributes)
    return git


def blob(git: Git, name: str) -> bytes:
    """What Git stores under a name such as `HEAD:path` or `:path`."""
    return git.run_bytes("cat-file", "blob", name).stdout


def files(git: Git) -> dict[str, File]:
    """Everything in the work tree, but for `.git` and what tells the filter what to do."""
    found = {}
    for folder, directories, names in os.walk(git.path):
        directories[:] = [name for name in directories if name != ".git"]
        for name in names:
            path = Path(folder, name)
            relative = os.path.relpath(path, git.path)
            if name not in (".git", ".gitattributes"):
                found[unnumbered(relative)] = _file(path)
    return found


def unnumbered(text: str) -> str:
    """Text without the ids of commits in the names that git makes up in conflicts."""
    return _COMMIT.sub("~", text)


def _file(path: Path) -> File:
    mode = path.lstat().st_mode
    content = os.fsencode(path.readlink()) if stat.S_ISLNK(mode) else path.read_bytes()
    kind = "link" if stat.S_ISLNK(mode) else "file"
    return File(kind, bool(mode & 0o100), hashlib.sha256(content).hexdigest())


def stand_in(directory: Path, code: str) -> dict[str, str]:
    """A `git-datareg` that runs `code` before it becomes the real one; returns the PATH for it."""
    directory.mkdir()
    script = directory / "git-datareg"
    main = "from git_datareg.main import main\nraise SystemExit(main())\n"
    script.write_text(f"#!{sys.executable}\n{textwrap.dedent(code)}\n{main}")
    script.chmod(0o755)
    return {"PATH": f"{directory}{os.pathsep}{os.environ['PATH']}"}


def leftovers(git: Git) -> list[str]:
    """What the filter must not leave in the repository: notes, locks, temporary files."""
    top = git.path / git.out("rev-parse", "--git-common-dir")
    found = [path for path in top.rglob("*") if path.name == "pending" or path.suffix == ".lock"]
    found += [path for path in git.path.rglob(".tmp-datareg-*")]
    found += [path for path in (top / "datareg/tmp").glob("*")]
    return [str(path.relative_to(git.path)) for path in found]
