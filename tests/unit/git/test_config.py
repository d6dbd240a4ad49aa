from __future__ import annotations

from pathlib import Path

import pytest

from git_datareg.errors import GitError
from git_datareg.git import config, repository
from git_datareg.git.config import ConfigValue
from git_datareg.git.repository import Repository
from tests.support.gitrun import Git


@pytest.fixture
def git(tmp_path: Path) -> Git:
    return Git(tmp_path / "repository").init()


@pytest.fixture
def opened(git: Git) -> Repository:
    return repository.find(str(git.path))


def test_all_values_come_with_their_origin(git: Git, opened: Repository) -> None:
    git.run("config", "datareg.Sub.Key", "two\nlines = x")
    with (git.path / ".git/config").open("a") as file:
        file.write("[bare]\n\tkey\n")
    values = {value.key: value for value in config.read(opened)}
    assert values["datareg.Sub.key"].value == "two\nlines = x"
    assert values["datareg.Sub.key"].origin == f"file:{git.path}/.git/config"
    assert values["bare.key"].value == "true"
    assert values["user.name"].value == "Ada Tester"


def test_without_a_repository_the_one_around_us_does_not_count(
    git: Git, monkeypatch: pytest.MonkeyPatch
) -> None:
    git.run("config", "of.repository", "x")
    monkeypatch.chdir(git.path)
    monkeypatch.setenv("GIT_DIR", ".git")
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "of.commandline")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "y")
    keys = {value.key for value in config.read(None)}
    assert {"user.name", "of.commandline"} <= keys
    assert "of.repository" not in keys


def test_values_are_set_and_sections_removed(git: Git, opened: Repository, home: Path) -> None:
    before = (home / "gitconfig").read_bytes()
    for scope, where in (("local", opened), ("global", None)):
        config.set_value(where, scope, "filter.x.process", "a")
        config.set_value(where, scope, "filter.x.process", "b")
        assert git.out("config", f"--{scope}", "--get-all", "filter.x.process") == "b"
        assert config.remove_section(where, scope, "filter.x")
        assert not config.remove_section(where, scope, "filter.x")
    assert (home / "gitconfig").read_bytes() == before


def test_a_file_that_can_not_be_written_is_gits_failure(git: Git, opened: Repository) -> None:
    config.set_value(opened, "local", "filter.x.process", "a")
    (git.path / ".git/config.lock").touch()
    with pytest.raises(GitError, match="could not lock config file"):
        config.set_value(opened, "local", "filter.x.process", "b")
    with pytest.raises(GitError, match="could not lock config file"):
        config.remove_section(opened, "local", "filter.x")


def test_files_are_edited_in_place(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("; kept\n[a]\n\tone = 1\n\ttwo = 2\n[b]\n\tx = y\n")
    config.edit_file(str(path), "a.one", "9")
    config.unset_in_file(str(path), "a.two")
    config.edit_file(str(path), "b", remove=True)
    assert path.read_text() == "; kept\n[a]\n\tone = 9\n"


RULES = [
    ("url.https://host/.insteadof", "gh:"),
    ("url.ssh://git@host/special/.insteadof", "gh:special/"),
    ("url.first.insteadof", "same:"),
    ("url.second.insteadof", "same:"),
    ("url.pushed.pushinsteadof", "https:"),
]


@pytest.mark.parametrize(
    "url", ["gh:a/b", "gh:special/x", "same:z", "https://other/x", "/path", "g", "gh"]
)
def test_urls_are_rewritten_as_git_does(git: Git, url: str) -> None:
    for key, value in RULES:
        git.run("config", "--add", key, value)
    values = [ConfigValue(key, value, "") for key, value in RULES]
    assert config.rewritten(url, values) == git.out("ls-remote", "--get-url", url)
