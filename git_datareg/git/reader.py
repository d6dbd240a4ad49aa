"""Reads one repository's objects through one git that stays (git-cat-file(1), --batch-command).

For questions that come one by one, each too small for a process of its own. It
follows no working directory and no index; what it is asked for is named by ids
and revisions.
"""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import IO, NamedTuple

from git_datareg.errors import GitError
from git_datareg.git import process
from git_datareg.git.repository import Repository

#: Requests that are sent before their answers are read. All of them fit into
#: a pipe (64 KiB), so that neither side waits for the other.
_AHEAD = 500
#: Trees that are remembered: those on the way to paths that are asked for.
_TREES = 1000
_TREE = "040000"

#: Id, type and content.
_Answer = tuple[bytes, bytes, bytes]


class Found(NamedTuple):
    """An object that was asked for: its full id, its type and its content."""

    id: str
    kind: str
    content: bytes


class PathEntry(NamedTuple):
    """What a tree has at a path: Git's mode with six digits, and the object's id."""

    mode: str
    id: str

    @property
    def is_tree(self) -> bool:
        """Whether it is a directory."""
        return self.mode == _TREE

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file."""
        return self.mode.startswith("100")


class ObjectReader:
    """The objects of one repository, read by one git process that starts when it is needed.

    Safe for several threads; a forked process gets a git of its own. It ends
    with `close`, or when nobody refers to it any more.
    """

    def __init__(self, repository: Repository) -> None:
        self.repository = repository
        self._id_bytes = 32 if repository.object_format == "sha256" else 20
        self._child: subprocess.Popen[bytes] | None = None
        self._pid = 0
        self._lock = threading.Lock()
        self._trees: dict[str, Found] = {}

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """End the git; a later question starts another."""
        child, self._child = self._child, None
        if child is None:
            return
        assert child.stdin is not None and child.stdout is not None
        with suppress(OSError):
            child.stdin.close()
        child.stdout.close()
        if self._pid == os.getpid():
            child.wait()
        else:
            # Our parent's; Popen would warn that it was not waited for.
            child.returncode = 0

    def find(self, name: str) -> Found | None:
        """The object with a name (gitrevisions(7)), or None when there is none.

        Its content is in memory: not for files of unknown size.
        """
        # The protocol has a line for each name.
        if not name.strip() or "\n" in name or "\0" in name:
            return None
        [answer] = self._ask([name])
        if answer is None:
            return None
        id, kind, content = answer
        return Found(id.decode(), kind.decode(), content)

    def read(self, ids: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """Id and content of each of the objects named, each once, in order.

        Raises GitError when one is missing.
        """
        wanted = list(dict.fromkeys(ids))
        for start in range(0, len(wanted), _AHEAD):
            part = wanted[start : start + _AHEAD]
            for id, answer in zip(part, self._ask(part), strict=True):
                if answer is None:
                    raise GitError(f"object {id} is missing in {self.repository.top}")
                yield id, answer[2]

    def entry(self, treeish: str, path: bytes) -> PathEntry | None:
        """What a commit or a tree has at a path, or None; b"" is its root.

        Only trees are read for it, and remembered, so that many paths cost little.
        """
        root = self._tree(treeish)
        entry = PathEntry(_TREE, root.id) if root is not None else None
        for name in path.split(b"/") if path else ():
            tree = self._tree(entry.id) if entry is not None and entry.is_tree else None
            if tree is None:
                return None
            entry = _entry_in(tree.content, name, self._id_bytes)
        return entry

    def files_ending(self, treeish: str, directory: bytes, end: bytes) -> dict[bytes, str]:
        """The files right in a directory of a commit whose names end so: name and id."""
        found = self.entry(treeish, directory)
        tree = self._tree(found.id) if found is not None and found.is_tree else None
        if tree is None or end + b"\0" not in tree.content:
            return {}
        return {
            name: entry.id
            for name, entry in _entries(tree.content, self._id_bytes)
            if name.endswith(end) and entry.is_file
        }

    def _tree(self, treeish: str) -> Found | None:
        if treeish not in self._trees:
            found = self.find(treeish + "^{tree}")
            if found is None:
                return None
            if len(self._trees) >= _TREES:
                self._trees.clear()
            self._trees[treeish] = found
        return self._trees.get(treeish)

    def _ask(self, names: Sequence[str]) -> list[_Answer | None]:
        lines = "".join([*(f"contents {name}\n" for name in names), "flush\n"])
        with self._lock:
            source, answers = self._streams()
            try:
                source.write(lines.encode("utf-8", "surrogateescape"))
                source.flush()
                return [self._answer(answers) for _ in names]
            except (OSError, EOFError) as error:
                self.close()
                raise self._fault(names) from error

    def _streams(self) -> tuple[IO[bytes], IO[bytes]]:
        if self._child is not None and self._pid != os.getpid():
            # A fork: its answers would mix with our parent's.
            self.close()
        if self._child is None:
            self._pid = os.getpid()
            self._child = self.repository.start("cat-file", "--batch-command", "--buffer")
        assert self._child.stdin is not None and self._child.stdout is not None
        return self._child.stdin, self._child.stdout

    @staticmethod
    def _answer(answers: IO[bytes]) -> _Answer | None:
        head = answers.readline()
        if not head.endswith(b"\n"):
            raise EOFError
        fields = head.split()
        if len(fields) != 3 or not fields[2].isdigit():
            # "<name> missing", and so on.
            return None
        size = int(fields[2])
        content = answers.read(size + 1)
        if len(content) != size + 1:
            raise EOFError
        return fields[0], fields[1], content[:-1]

    def _fault(self, names: Sequence[str]) -> GitError:
        """Why git ended, in its own words."""
        lines = "".join(f"{name}\n" for name in names).encode("utf-8", "surrogateescape")
        code, _, errors = self.repository.run_unchecked("cat-file", "--batch", input=lines)
        if code != 0:
            return process.failure(["cat-file"], errors)
        return GitError(f"git cat-file ended in {self.repository.top}", "run the command again")


def _entry_in(tree: bytes, name: bytes, id_bytes: int) -> PathEntry | None:
    """The entry with a name in the text of a tree."""
    if b" %b\0" % name not in tree:
        return None
    return next((entry for found, entry in _entries(tree, id_bytes) if found == name), None)


def _entries(tree: bytes, id_bytes: int) -> Iterator[tuple[bytes, PathEntry]]:
    """The entries in the text of a tree, which has of each: mode, space, name, NUL, id."""
    at = 0
    while at < len(tree):
        end = tree.index(b"\0", at)
        mode, _, name = tree[at:end].partition(b" ")
        at = end + 1 + id_bytes
        yield name, PathEntry(mode.decode().zfill(6), tree[end + 1 : at].hex())
