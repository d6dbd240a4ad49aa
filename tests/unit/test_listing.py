from __future__ import annotations

import os
from pathlib import Path

import pytest

from git_datareg import registry
from git_datareg.digest import digest_of
from git_datareg.errors import PathNotFoundError, UnsafePathError
from git_datareg.listing import Listing, listed
from git_datareg.location import Location
from git_datareg.pointer import Pointer
from git_datareg.registry import SourceFile
from tests.support.gitrun import Git

POINTER = Pointer(digest_of(b"x"), 1)


def listing(*paths: str, links: dict[str, str] | None = None) -> Listing:
    files = [SourceFile(b"", path.encode(), "100644", f"id of {path}", None, 7) for path in paths]
    targets = {}
    for path, target in (links or {}).items():
        files.append(SourceFile(b"", path.encode(), "120000", f"id of {path}", None, 3))
        targets[f"id of {path}"] = target.encode()
    return Listing(files, targets)


def test_directories_are_what_files_are_in() -> None:
    found = listing("a-b", "a/x/1", "a/x/2", "a/y", "b")
    assert found.children == {
        "": ["a", "a-b", "b"],
        "a": ["a/x", "a/y"],
        "a/x": ["a/x/1", "a/x/2"],
    }
    assert listing().children == {"": []}


@pytest.mark.parametrize(
    ("top", "depth", "folders", "expected"),
    [
        ("", None, False, "a-b a/x/1 a/x/2 a/y b"),
        ("a", None, False, "a/x/1 a/x/2 a/y"),
        ("a", 1, False, "a/y"),
        ("a", 1, True, "a/y a/x a"),
        ("", 1, True, "a-b b a"),
        ("", None, True, "a-b a/x/1 a/x/2 a/y b a a/x"),
        ("a/x", None, True, "a/x/1 a/x/2 a/x"),
        ("a/y", 1, True, "a/y"),
        ("nothing", None, True, ""),
    ],
)
def test_what_is_below_is_found(top: str, depth: int | None, folders: bool, expected: str) -> None:
    found = listing("a-b", "a/x/1", "a/x/2", "a/y", "b")
    assert found.find(top, depth, folders=folders) == expected.split()


def test_a_file_and_a_directory_are_told() -> None:
    found = listing("a/x")
    assert found.info("shown", "a/x") == {
        "name": "shown",
        "size": 7,
        "type": "file",
        "id": "id of a/x",
        "data": False,
        "executable": False,
    }
    assert found.info("a", "a") == {"name": "a", "size": 0, "type": "directory"}
    assert found.info("a", "b") is None
    data = Listing([SourceFile(b"", b"d", "100755", "blob", POINTER, 130)], {})
    assert data.info("d", "d") == {
        "name": "d",
        "size": 1,
        "type": "file",
        "id": POINTER.digest.hex,
        "data": True,
        "executable": True,
    }


def test_symlinks_are_followed() -> None:
    links = {"to-file": "a/x", "a/up": "../b", "to-dir": "a", "a/b/self": "..", "top": "."}
    found = listing("a/x", "a/b/c", "b", links=links)
    for path, real in {
        "to-file": "a/x",
        "a/up": "b",
        "to-dir": "a",
        "to-dir/x": "a/x",
        "to-dir/up": "b",
        "a/b/self/b/self/x": "a/x",
        "top": "",
        "top/to-dir/x": "a/x",
        "nothing/x": "nothing/x",
        "b/x": "b/x",
    }.items():
        assert found.real(path) == real
    info = found.info("to-file", "to-file") or {}
    assert (info["type"], info["size"], info["id"]) == ("file", 7, "id of a/x")
    assert (info["islink"], info["destination"]) == (True, "a/x")
    assert (found.info("to-dir", "to-dir") or {})["type"] == "link"
    assert (found.info("n", "to-dir/x") or {})["name"] == "n"
    assert (found.info("n", "to-dir/b") or {})["type"] == "directory"


@pytest.mark.parametrize("target", ["../x", "/etc/passwd", "a/../../x", ".."])
def test_a_symlink_that_leads_out_is_not_followed(target: str) -> None:
    found = listing("a/x", links={"out": target})
    with pytest.raises(UnsafePathError, match="out -> "):
        found.real("out")
    assert (found.info("out", "out") or {})["type"] == "link"
    with pytest.raises(UnsafePathError):
        found.info("out/x", "out/x")


def test_symlinks_in_circles_end() -> None:
    found = listing(links={"a": "b", "b": "a"})
    with pytest.raises(PathNotFoundError, match="too many symlinks"):
        found.real("a")
    assert (found.info("a", "a") or {})["type"] == "link"


def test_a_hundred_thousand_files_are_no_trouble() -> None:
    found = listing(*(f"d{n % 300}/sub/{n}" for n in range(100_000)))
    assert len(found.find("", None, folders=False)) == 100_000
    assert sum(len(found.children[each]) for each in found.children) == 100_600
    assert len(found.find("d7", None, folders=False)) == len(found.children["d7/sub"])


def test_a_commit_is_listed(tmp_path: Path) -> None:
    git = Git(tmp_path / "registry").init()
    git.write("a", POINTER.encode())
    git.write("empty", b"")
    os.symlink("a", git.path / "link")
    git.commit_all()
    source = registry.open_source(
        Location(str(git.path)), None, str(tmp_path / "cache"), {"HOME": "/"}
    )
    found = listed(source)
    assert found.children == {"": ["a", "empty", "link"]}
    assert found.files["a"].pointer == POINTER
    assert found.links == {"link": "a"}


def test_a_commit_without_files_is_empty(tmp_path: Path) -> None:
    git = Git(tmp_path / "registry").init()
    git.run("commit", "--quiet", "--allow-empty", "-m", "nothing")
    source = registry.open_source(
        Location(str(git.path)), None, str(tmp_path / "cache"), {"HOME": "/"}
    )
    assert listed(source).children == {"": []}
