"""All that a source holds, listed once: for programs that ask often.

Submodules, which hold nothing of the source's, are left out.
"""

from __future__ import annotations

import os
import posixpath
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any

from git_datareg import registry
from git_datareg.errors import PathNotFoundError, UnsafePathError
from git_datareg.registry import Source, SourceFile

#: As many as Linux follows for one path (path_resolution(7)).
_MAX_SYMLINKS = 40

Info = dict[str, Any]


def listed(source: Source) -> Listing:
    """The listing of a source; the symlinks' targets are read, too."""
    try:
        found = registry.files(source, "")
    except PathNotFoundError:
        # A commit without files.
        found = []
    links = [each for each in found if each.is_symlink]
    return Listing(found, dict(registry.contents(source, links)) if links else {})


class Listing:
    """All files of a commit by path, and the directories that they make; never changes."""

    def __init__(self, listed: Sequence[SourceFile], links: Mapping[str, bytes]) -> None:
        self.files = {os.fsdecode(each.source_path): each for each in listed}
        #: The target of each symlink.
        self.links = {
            path: os.fsdecode(links[each.blob])
            for path, each in self.files.items()
            if each.is_symlink
        }
        self.children: dict[str, list[str]] = {"": []}
        for path in self.files:
            self._enter(path)
        for names in self.children.values():
            names.sort()
        self._files = sorted(self.files)
        self._folders = sorted(self.children)

    def _enter(self, path: str) -> None:
        """Make a path known to its directory, and that to its own, up to one that is known."""
        while path:
            parent = path.rpartition("/")[0]
            if parent in self.children:
                self.children[parent].append(path)
                return
            self.children[parent] = [path]
            path = parent

    def info(self, name: str, path: str) -> Info | None:
        """What lies at `path`, as fsspec has it, with `name` as its name; None for nothing."""
        file = self.files.get(path)
        if file is not None and not file.is_symlink:
            return _file(name, file)
        try:
            real = self.real(path)
        except (PathNotFoundError, UnsafePathError):
            if file is None:
                raise
            real = path
        target = self.files.get(real)
        if file is None:
            found = _file(name, target) if target is not None else None
            return _directory(name) if real in self.children else found
        found = {"name": name, "size": 0, "type": "link"}
        if target is not None and not target.is_symlink:
            found = _file(name, target)
        return found | {"islink": True, "destination": self.links[path]}

    def find(self, top: str, depth: int | None, *, folders: bool) -> list[str]:
        """The files below a path, itself if it is one; with `folders` directories, too."""
        if top in self.files:
            return [top]
        found = self._below(self._files, top)
        if folders:
            found += self._below(self._folders, top)
            found += [top] if top and top in self.children else []
        if depth is not None:
            most = depth + (top.count("/") + 1 if top else 0)
            found = [each for each in found if each.count("/") < most]
        return found

    def _below(self, names: list[str], top: str) -> list[str]:
        if not top:
            return [each for each in names if each]
        # "0" comes behind "/".
        return names[bisect_left(names, top + "/") : bisect_left(names, top + "0")]

    def real(self, path: str) -> str:
        """The path that `path` means when symlinks are followed; it need not be there.

        Raises UnsafePathError and PathNotFoundError as `registry.followed`.
        """
        for _ in range(_MAX_SYMLINKS):
            link = self._first_link(path)
            if link is None:
                return path
            rest = path.removeprefix(link).removeprefix("/")
            way = posixpath.join(posixpath.dirname(link), self.links[link], rest)
            path = "" if (way := posixpath.normpath(way)) == "." else way
            if path.startswith(("/", "../")) or path == "..":
                raise UnsafePathError(
                    f"symlink leads out of the registry: {link} -> {self.links[link]}"
                )
        raise PathNotFoundError(f"too many symlinks: {path}")

    def _first_link(self, path: str) -> str | None:
        if path in self.children or not self.links:
            return None
        parts = path.split("/")
        tops = ("/".join(parts[:count]) for count in range(1, len(parts) + 1))
        return next((top for top in tops if top in self.links), None)


def _directory(name: str) -> Info:
    return {"name": name, "size": 0, "type": "directory"}


def _file(name: str, file: SourceFile) -> Info:
    return {
        "name": name,
        "size": file.size,
        "type": "file",
        "id": file.pointer.digest.hex if file.pointer is not None else file.blob,
        "data": file.pointer is not None,
        "executable": file.mode == "100755",
    }
