from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from git_datareg import registry
from git_datareg.errors import IsDirectoryError, PathNotFoundError, PointerError, UnsafePathError
from git_datareg.location import Location
from git_datareg.registry import Source
from tests.support.filtered import data, pointer
from tests.support.gitrun import Git

Opener = Callable[[], Source]


@pytest.fixture
def git(tmp_path: Path) -> Git:
    """A registry without a filter: pointers are just written."""
    git = Git(tmp_path / "reg").init()
    git.write("data/a.bin", pointer(data("a")))
    git.write("data/run.bin", pointer(data("run")), mode=0o755)
    git.write("data/plain", b"plain")
    git.write("top", b"top")
    (git.path / "link").symlink_to("data")
    (git.path / "data/up").symlink_to("../top")
    return git


@pytest.fixture
def opened(git: Git, tmp_path: Path) -> Opener:
    def open() -> Source:
        git.commit_all()
        environ = {"HOME": str(tmp_path)}
        return registry.open_source(Location(str(git.path)), None, str(tmp_path / "c"), environ)

    return open


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://example.org/music.git", "music"),
        ("https://example.org/music/", "music"),
        ("host:music.git", "music"),
        ("host:deep/music", "music"),
        ("ssh://host/music.git/", "music"),
        ("/srv/music.git", "music"),
        ("/srv/music/.git", "music"),
        ("/srv/x/../music", "music"),
        ("file:///srv/music.git", "music"),
        ("/", "registry"),
    ],
)
def test_a_registry_has_the_name_that_a_clone_would_have(
    opened: Opener, url: str, name: str
) -> None:
    assert opened()._replace(location=Location(url)).name == name


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("", b""),
        (".", b""),
        ("./", b""),
        ("a", b"a"),
        ("a/", b"a"),
        ("a//b/./c/..", b"a/b"),
        ("\udcff", b"\xff"),
        ("..a", b"..a"),
        (" ", b" "),
    ],
)
def test_paths_are_spelled_as_git_does(path: str, wanted: bytes) -> None:
    assert registry.normal(path) == wanted


@pytest.mark.parametrize("path", ["..", "../a", "a/../..", "/", "/a", "//a"])
def test_a_path_stays_inside(path: str) -> None:
    with pytest.raises(PathNotFoundError, match="not a path inside a registry"):
        registry.normal(path)


def test_entries_tell_what_a_file_is(opened: Opener) -> None:
    found = {each.path: each for each in registry.entries(opened(), recursive=True)}
    assert list(found) == ["data/a.bin", "data/plain", "data/run.bin", "data/up", "link", "top"]
    a, run, plain, link = (found[name] for name in ("data/a.bin", "data/run.bin", "top", "link"))
    assert (a.type, a.size, a.is_data, a.is_executable) == ("file", 3000, True, False)
    assert (run.is_data, run.is_executable) == (True, True)
    assert (plain.size, plain.is_data) == (3, False)
    assert (link.type, link.size, link.is_data) == ("link", 4, False)


def test_files_are_relative_to_what_is_asked_for(opened: Opener) -> None:
    source = opened()
    assert [each.path for each in registry.files(source, "data")] == [
        b"a.bin",
        b"plain",
        b"run.bin",
        b"up",
    ]
    [only] = registry.files(source, "data/a.bin")
    assert (only.path, only.source_path, only.size) == (b"", b"data/a.bin", 3000)
    assert (only.mode, only.is_symlink, only.blob_size) == ("100644", False, 104)
    assert [each.path for each in registry.files(source, ".", ["*.bin"], ["run*"])] == [
        b"data/a.bin"
    ]


def test_only_chosen_pointers_are_read(opened: Opener, git: Git) -> None:
    git.write("data/later", b"git-datareg pointer 2\nblake3 " + b"0" * 64 + b"\nsize 1\n")
    source = opened()
    with pytest.raises(PointerError, match="data/later: pointer of version 2"):
        registry.files(source, "data")
    assert len(registry.files(source, "data", (), ["later"])) == 4
    assert len(registry.names(source, "data")) == 5


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("data/a.bin", b"data/a.bin"),
        ("link", b"data"),
        ("link/a.bin", b"data/a.bin"),
        ("link/up", b"top"),
        ("data/up", b"top"),
        ("link/nothing", b"data/nothing"),
        ("nothing/at/all", b"nothing/at/all"),
        ("top/x", b"top/x"),
        (".", b""),
    ],
)
def test_symlinks_are_followed_to_where_they_lead(opened: Opener, path: str, wanted: bytes) -> None:
    assert registry.followed(opened(), path) == wanted


def test_a_symlink_may_lead_to_the_top(opened: Opener, git: Git) -> None:
    (git.path / "data/above").symlink_to("..")
    source = opened()
    assert registry.followed(source, "data/above") == b""
    assert registry.followed(source, "data/above/top") == b"top"
    with pytest.raises(IsDirectoryError):
        registry.file(source, "data/above")


@pytest.mark.parametrize("target", ["/etc/passwd", "../x", "../../reg/top", "..", "data/../../x"])
def test_symlinks_that_lead_out_are_refused(opened: Opener, git: Git, target: str) -> None:
    (git.path / "out").symlink_to(target)
    with pytest.raises(UnsafePathError, match="symlink leads out of the registry: out -> "):
        registry.followed(opened(), "out/x")


def test_symlinks_in_circles_end(opened: Opener, git: Git) -> None:
    (git.path / "one").symlink_to("two")
    (git.path / "two").symlink_to("one")
    with pytest.raises(PathNotFoundError, match="too many symlinks: one"):
        registry.followed(opened(), "one")


def test_contents_come_in_parts_and_each_once(
    opened: Opener, git: Git, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(10):
        git.write(f"many/{number}", b"x" * number)
        git.write(f"same/{number}", b"same")
    source = opened()
    files = registry.files(source, ".", ["many", "same"])
    wanted = {b"x" * number for number in range(10)} | {b"same"}
    for part in (10**9, 1, 20):
        monkeypatch.setattr(registry, "_PART", part)
        found = list(registry.contents(source, files))
        assert {content for _, content in found} == wanted
        assert len(found) == len(wanted)
    assert list(registry.contents(source, ())) == []


def test_ids_are_those_of_the_other_object_format(opened: Opener, git: Git) -> None:
    source = opened()
    files = registry.files(source, ".")
    assert all(key == id for key, id in registry.blob_ids(source, files, "sha1").items())
    ids = registry.blob_ids(source, files, "sha256")
    [top] = [each.blob for each in files if each.path == b"top"]
    other = Git(git.path.parent / "other").init("--object-format=sha256")
    assert other.run("hash-object", "--stdin", input="top").stdout.strip() == ids[top]


def test_the_state_of_a_path_is_content_and_mode(opened: Opener, git: Git) -> None:
    first = opened()
    git.write("elsewhere", b"x")
    second = opened()
    for path in ("top", "data", "data/a.bin"):
        assert registry.state_of(first, first.commit, path) == registry.state_of(
            second, second.commit, path
        )
    assert registry.state_of(first, first.commit, ".") != registry.state_of(
        second, second.commit, "."
    )
    (git.path / "top").chmod(0o755)
    third = opened()
    assert registry.state_of(third, third.commit, "top") != registry.state_of(
        third, first.commit, "top"
    )
    assert registry.state_of(third, third.commit, "nothing") is None
    assert registry.state_of(third, "0" * 40, "top") is None


def test_a_registry_that_another_names_is_read_with_the_users_logins(
    opened: Opener, tmp_path: Path
) -> None:
    source = opened()
    for each in (source, source.open_other(source.location, None)):
        assert each.project.settings.netrc == str(tmp_path / ".netrc")
