from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from git_datareg import chains, registry
from git_datareg.errors import RefusedError, StorageUnavailableError
from git_datareg.imports import Target
from git_datareg.location import Location
from git_datareg.metafile import Metafile
from git_datareg.registry import Source
from git_datareg.workspace import Workspace
from tests.support.gitrun import Git

NOWHERE = "0" * 40


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Git]:
    """Makes a repository whose imports are given as target="registry:path"."""

    def repository(name: str, **imports: str) -> Git:
        git = Git(tmp_path / name)
        if not git.path.exists():
            git.init()
        git.write("README", b"a repository\n")
        for target, spelled in imports.items():
            where, _, path = spelled.rpartition(":")
            url = where if "/" in where else str(tmp_path / where)
            target = target.replace("__", "/")
            git.write(f"{target}/file", b"imported\n")
            git.write(f"{target}.datareg", Metafile(url, path, NOWHERE).encode())
        git.commit_all()
        return git

    return repository


def check(tmp_path: Path, source: str, path: str, target: str, own: str = "C") -> None:
    """Import `path` of a source to the target in the repository C."""
    workspace = Workspace(str(tmp_path / own), os.environ)
    opened = workspace.open_source(Location(str(tmp_path / source)), None)
    chains.refuse_circle(
        workspace.project,
        Target(workspace.repository, os.fsencode(target)),
        opened,
        path,
        workspace.open_source,
    )


def circle(tmp_path: Path, source: str, path: str, target: str, own: str = "C") -> str:
    with pytest.raises(RefusedError) as caught:
        check(tmp_path, source, path, target, own)
    assert caught.value.exit_code == 4
    return caught.value.message.removeprefix("imports in a circle: ")


def test_a_chain_that_ends_elsewhere_is_none(make: Callable[..., Git], tmp_path: Path) -> None:
    make("A")
    make("B", faces="A:faces")
    make("C")
    check(tmp_path, "B", "faces", "faces")


def test_a_repository_is_no_source_of_the_same_place(
    make: Callable[..., Git], tmp_path: Path
) -> None:
    make("C")
    assert circle(tmp_path, "C", "faces", "faces") == "C:faces <- C:faces"
    assert circle(tmp_path, "C", "faces/sub", "faces") == "C:faces <- C:faces/sub"
    assert circle(tmp_path, "C", ".", "copy") == "C:copy <- C:."
    check(tmp_path, "C", "faces", "other")
    check(tmp_path, "C", "faces", "faces-2")


def test_a_circle_is_shown_link_by_link(make: Callable[..., Git], tmp_path: Path) -> None:
    make("A", faces="C:faces")
    make("B", faces="A:faces")
    make("C")
    assert circle(tmp_path, "B", "faces", "faces") == ("C:faces <- B:faces <- A:faces <- C:faces")
    check(tmp_path, "B", "faces", "others")
    check(tmp_path, "B", "README", "faces")


def test_paths_are_followed_into_imports(make: Callable[..., Git], tmp_path: Path) -> None:
    make("A", y="C:z")
    make("B", data__x="A:y/in")
    make("C")
    assert circle(tmp_path, "B", "data/x/deep", "z/in/deep/er") == (
        "C:z/in/deep/er <- B:data/x/deep <- A:y/in/deep <- C:z/in/deep"
    )
    check(tmp_path, "B", "data/x/deep", "z/in/other")


def test_a_directory_with_imports_comes_from_several(
    make: Callable[..., Git], tmp_path: Path
) -> None:
    make("A")
    make("B", data__one="A:one", data__two="C:two", data__one__sub="C:nested")
    make("C")
    assert circle(tmp_path, "B", "data", "two") == "C:two <- B:data <- C:two"
    assert circle(tmp_path, "B", ".", "two/x") == "C:two/x <- B:. <- C:two"
    # What an import brought with it is that one's own business.
    check(tmp_path, "B", "data", "nested")
    check(tmp_path, "B", "data/one", "two")


def test_long_circles_are_found(make: Callable[..., Git], tmp_path: Path) -> None:
    for number in range(8):
        make(f"R{number}", x=f"R{number + 1}:x")
    make("R8", x="C:x")
    make("C")
    assert circle(tmp_path, "R0", "x", "x").count(" <- ") == 10


def test_circles_of_others_and_endless_chains_end(make: Callable[..., Git], tmp_path: Path) -> None:
    make("A", x="B:x")
    make("B", x="A:x")
    # Each link leads deeper; it has no end of its own.
    make("D", x="D:x/x")
    make("C")
    check(tmp_path, "B", "x", "x")
    check(tmp_path, "D", "x", "x")


def test_the_recorded_commit_is_followed_where_the_revision_is_gone(
    make: Callable[..., Git], tmp_path: Path
) -> None:
    a = make("A", x="C:x")
    b = make("B")
    text = Metafile(str(a.path), "x", a.head(), rev="gone").encode()
    b.write("x.datareg", text)
    b.commit_all()
    make("C")
    assert circle(tmp_path, "B", "x", "x") == "C:x <- B:x <- A:x <- C:x"


@pytest.mark.parametrize("text", [b"", b"no metafile", b"[import]\n\turl = -x\n\tpath = x\n"])
def test_what_can_not_be_read_or_reached_ends_its_branch(
    make: Callable[..., Git], tmp_path: Path, text: bytes
) -> None:
    make("A", y="nowhere:y", z="C:z")
    a = Git(tmp_path / "A")
    a.write("w.datareg", text)
    a.commit_all()
    make("C")
    check(tmp_path, "A", "y", "y")
    check(tmp_path, "A", "w", "w")
    assert circle(tmp_path, "A", ".", "z") == "C:z <- A:. <- C:z"


@pytest.mark.parametrize(
    "spelled",
    [
        *(
            "https://example.org/our/C.git",
            "https://example.org/our/C",
            "https://e@example.org/our/C/",
        ),
        *("git@example.org:our/C.git", "ssh://git@example.org:22/our/C.git"),
        *("https://EXAMPLE.org:443/our/C", "datareg::https://example.org/our/C"),
    ],
)
def test_we_are_known_by_our_remotes_however_spelled(
    make: Callable[..., Git], tmp_path: Path, spelled: str
) -> None:
    make("A", x=f"{spelled}:x")
    make("C").run("remote", "add", "upstream", "https://example.org/our/C.git")
    assert circle(tmp_path, "A", "x", "x") == "C:x <- A:x <- C:x"


@pytest.mark.parametrize(
    "spelled", ["{}/C", "{}/C/.git", "file://{}/C", "{}/link", "../C", "{}/./C/"]
)
def test_we_are_known_by_our_place_however_spelled(
    make: Callable[..., Git], tmp_path: Path, spelled: str
) -> None:
    (tmp_path / "link").symlink_to("C")
    make("A", x=f"{spelled.format(tmp_path)}:x")
    make("C")
    assert circle(tmp_path, "A", "x", "x") == "C:x <- A:x <- C:x"


def test_a_linked_worktree_is_the_same_repository(make: Callable[..., Git], tmp_path: Path) -> None:
    c = make("C")
    c.run("worktree", "add", "--quiet", str(tmp_path / "tree"))
    make("A", x="C:x", y="tree:y")
    assert circle(tmp_path, "A", "x", "x", own="tree") == "tree:x <- A:x <- tree:x"
    assert circle(tmp_path, "A", "y", "y", own="tree") == "tree:y <- A:y <- tree:y"


def test_what_a_foreign_registry_may_not_name_is_not_opened(
    make: Callable[..., Git], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make("C")
    a = make("A", x="B:x", y="https://10.0.0.1/B.git:y", z="https://example.org/B.git:z")
    workspace = Workspace(str(tmp_path / "C"), os.environ)
    asked: list[tuple[str, str | None]] = []

    def opener(location: Location, rev: str | None, *_: object, is_foreign: bool = False) -> Source:
        # What a registry elsewhere names is opened as a foreign one.
        assert is_foreign == (location.url in foreigners)
        asked.append((location.url, rev))
        raise StorageUnavailableError("no way")

    def walk(source: Source) -> list[tuple[str, str | None]]:
        asked.clear()
        target = Target(workspace.repository, b"new")
        chains.refuse_circle(workspace.project, target, source, ".", opener)
        return asked

    source = workspace.open_source(Location(str(a.path)), None)
    monkeypatch.setattr(registry, "open_source", opener)
    foreigners: set[str] = set()
    assert {url for url, _ in walk(source)} == {
        str(tmp_path / "B"),
        "https://10.0.0.1/B.git",
        "https://example.org/B.git",
    }
    # The same registry, had from elsewhere.
    foreign = source._replace(location=Location("https://example.org/A.git"))
    public = "https://example.org/B.git"
    foreigners |= {public, "https://10.0.0.1/B.git"}
    assert walk(foreign) == [(public, None), (public, NOWHERE)]
    Git(tmp_path / "C").run("config", "datareg.allowPrivate", "true")
    workspace = Workspace(str(tmp_path / "C"), os.environ)
    assert {url for url, _ in walk(foreign)} == {"https://10.0.0.1/B.git", public}
