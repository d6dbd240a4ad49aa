"""`git datareg storage`: what it writes to `.datareg`, shows and refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.support.gitrun import Git


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    git = Git(tmp_path_factory.mktemp("template")).init()
    git.run("datareg", "init")
    return git.path


@pytest.fixture
def git(template: Path, tmp_path: Path) -> Git:
    return Git(Path(shutil.copytree(template, tmp_path / "repository", symlinks=True)))


def storage(git: Git, *args: str) -> str:
    return git.out("datareg", "storage", *args)


def fails(git: Git, *args: str) -> tuple[int, str]:
    done = git.run("datareg", "storage", *args, check=False)
    assert done.stdout == ""
    return done.returncode, done.stderr


def test_storages_are_added_chosen_listed_and_removed(git: Git) -> None:
    storage(git, "add", "one", "s3://bucket/one")
    storage(git, "add", "--default", "two", "/srv/two")
    assert storage(git, "list").splitlines() == ["  one\ts3://bucket/one", "* two\t/srv/two"]
    assert storage(git, "default") == "two"
    storage(git, "default", "one")
    assert storage(git).splitlines() == ["* one\ts3://bucket/one", "  two\t/srv/two"]
    storage(git, "remove", "one")
    assert storage(git, "default") == ""
    assert storage(git, "list") == "  two\t/srv/two"


def test_the_file_is_as_documented(git: Git) -> None:
    storage(git, "add", "-d", "origin", "s3://my-bucket/music")
    assert (git.path / ".datareg").read_text() == (
        "[datareg]\n\tversion = 1\n\tstorage = origin\n"
        '[storage "origin"]\n\turl = s3://my-bucket/music\n'
    )


def test_the_list_is_json_when_asked(git: Git) -> None:
    storage(git, "add", "-d", "web", "https://data.example.org/music")
    git.run("config", "--file=.datareg", "storage.web.readonly", "true")
    [row] = json.loads(storage(git, "list", "--json"))
    assert row == {
        "name": "web",
        "url": "https://data.example.org/music",
        "default": True,
        "readonly": True,
        "endpoint": None,
        "region": None,
        "profile": None,
        "credentials": True,
        "include": [],
        "exclude": [],
    }


def test_the_list_shows_how_storages_are_set_up(git: Git) -> None:
    endpoint = "https://s3.example.org"
    add = ("add", "-d", "--endpoint", endpoint, "--region", "north", "--readonly")
    storage(git, *add, "-I", "*.jpg", "-I", "*.png", "-X", "drafts/*", "one", "s3://bucket/one")
    git.run("config", "datareg.one.profile", "work")
    words = (
        f"read-only, endpoint {endpoint}, region north, profile work, include *.jpg, "
        "include *.png, exclude drafts/*"
    )
    assert storage(git, "list") == f"* one\ts3://bucket/one  ({words})"
    [row] = json.loads(storage(git, "list", "--json"))
    assert row == {
        "name": "one",
        "default": True,
        "url": "s3://bucket/one",
        "readonly": True,
        "endpoint": endpoint,
        "region": "north",
        "profile": "work",
        "credentials": True,
        "include": ["*.jpg", "*.png"],
        "exclude": ["drafts/*"],
    }
    # Whoever clones it has not named the endpoint: it gets none of their credentials.
    git.run("config", "--unset", "datareg.one.endpoint")
    assert "no credentials" in storage(git, "list")
    git.run("config", "--global", "datareg.trustedEndpoint", endpoint.upper() + "/")
    assert "no credentials" not in storage(git, "list")


def test_the_embedded_storage_is_the_default_while_there_is_no_other(
    git: Git, tmp_path: Path
) -> None:
    remote = Git(tmp_path / "r.git").init("--bare")
    git.run("remote", "add", "origin", f"datareg::{remote.path}")
    assert storage(git, "list") == f"* (embedded)\t{remote.path}/datareg"
    storage(git, "add", "-d", "own", "/srv")
    assert storage(git, "list").splitlines() == [
        "* own\t/srv",
        f"  (embedded)\t{remote.path}/datareg",
    ]


def test_the_users_configuration_is_shown_as_it_counts(git: Git) -> None:
    storage(git, "add", "-d", "team", "/srv/team")
    git.run("config", "datareg.team.url", "/home/me/team")
    git.run("config", "datareg.mine.url", "/home/me/mine")
    git.run("config", "datareg.storage", "mine")
    assert storage(git, "list").splitlines() == ["  team\t/home/me/team", "* mine\t/home/me/mine"]
    assert storage(git, "default") == "mine"


def test_comments_and_other_keys_stay(git: Git) -> None:
    text = '; ours\n[datareg]\n\tversion = 1\n[storage "a"]\n\turl = /a ; the first\n'
    git.write(".datareg", text.encode())
    storage(git, "add", "b", "/b")
    storage(git, "remove", "b")
    assert (git.path / ".datareg").read_text() == text


def test_a_path_is_made_absolute_and_a_relative_url_stays(git: Git) -> None:
    (git.path / "sub").mkdir()
    sub = Git(git.path / "sub")
    storage(sub, "add", "path", "data")
    storage(sub, "add", "beside", "../store")
    assert storage(git, "list").splitlines() == [
        f"  path\t{git.path}/sub/data",
        "  beside\t../store",
    ]


def test_adding_the_same_again_is_no_fault_and_another_is_refused(git: Git) -> None:
    storage(git, "add", "a", "/a")
    storage(git, "add", "a", "/a")
    code, said = fails(git, "add", "a", "/b")
    assert code == 4
    assert "there is a storage 'a' already: /a" in said
    assert storage(git, "list") == "  a\t/a"


@pytest.mark.parametrize("name", ["", "a b", "a.b", 'a"b', "a\nb", "-x"])
def test_what_is_no_name_is_wrong_usage(git: Git, name: str) -> None:
    assert fails(git, "add", "--", name, "/srv")[0] == 2 or name == "-x"


@pytest.mark.parametrize("url", ["", "-x", "/a\nb"])
def test_what_is_no_url_is_wrong_usage(git: Git, url: str) -> None:
    before = (git.path / ".datareg").read_bytes()
    assert fails(git, "add", "--", "a", url)[0] == 2
    assert (git.path / ".datareg").read_bytes() == before


@pytest.mark.parametrize(
    "url", ["https://me:secret@host/x", "https://token@host/x", "s3://key:secret@bucket/x"]
)
def test_a_password_is_not_published(git: Git, url: str) -> None:
    code, said = fails(git, "add", "a", url)
    assert code == 2
    assert "secret" not in said
    assert "token" not in said
    assert "hint: git config datareg.a.url URL" in said
    assert "storage" not in (git.path / ".datareg").read_text()


@pytest.mark.parametrize("command", [["remove", "x"], ["default", "x"]])
def test_a_storage_that_is_not_there_is_named(git: Git, command: list[str]) -> None:
    code, said = fails(git, *command)
    assert code == 5
    assert "no storage named 'x' in .datareg" in said


@pytest.mark.parametrize("command", [["add", "a"], ["nonsense"], ["remove"], ["list", "x"]])
def test_wrong_usage_is_said_in_a_line(git: Git, command: list[str]) -> None:
    code, said = fails(git, *command)
    assert code == 2
    assert said.startswith("git-datareg: error: ")


def test_ignored_keys_are_named(git: Git) -> None:
    git.write(".datareg", b'[core]\n\tfsmonitor = rm\n[storage "a"]\n\turl = /a\n\tkey = secret\n')
    said = git.run("datareg", "storage", "list").stderr
    assert "warning: .datareg: key core.fsmonitor is not allowed there, ignored" in said
    assert "warning: .datareg: key storage.a.key is not allowed there, ignored" in said
    assert "secret" not in said


def test_a_file_that_can_not_be_read_is_corrupt(git: Git) -> None:
    git.write(".datareg", b"[storage")
    assert fails(git, "list")[0] == 6
    assert fails(git, "add", "a", "/a")[0] in (6, 128)


def test_a_lock_on_the_file_gives_one_clear_line(git: Git) -> None:
    (git.path / ".datareg.lock").touch()
    code, said = fails(git, "add", "a", "/a")
    assert code == 128
    assert said.count("\n") == 1


def test_a_bare_repository_has_no_file_to_edit(tmp_path: Path) -> None:
    bare = Git(tmp_path / "bare.git").init("--bare")
    assert fails(bare, "add", "a", "/a")[0] == 2
    assert storage(bare, "list") == ""


def test_outside_of_a_repository_it_is_not_found(tmp_path: Path) -> None:
    assert fails(Git(tmp_path), "list")[0] == 3
