from __future__ import annotations

from pathlib import Path

import pytest

from git_datareg.errors import UsageError
from git_datareg.git import config, repository
from git_datareg.git.credentials import GitCredentials
from git_datareg.login import Login
from tests.support.gitrun import Git

URL = "https://data.example.org:8443/music/songs"
ADA = Login("ada", "right")


def configure(home: Path, key: str, value: str) -> None:
    """Set a value in the user's configuration."""
    config.edit_file(str(home / "gitconfig"), key, value)


class Helper:
    """A credential helper that keeps what it is asked, and gives what it is told to."""

    def __init__(self, directory: Path) -> None:
        self._answer = directory / "answer"
        self._log = directory / "log"
        self.program = directory / "helper"
        self.program.write_text(
            f'#!/bin/sh\nprintf "%s\\n" "$1" >>{self._log}\ncat >>{self._log}\n'
            f'if [ "$1" = get ]; then cat {self._answer}; fi\n'
        )
        self.program.chmod(0o755)
        self.answers(None)

    def answers(self, login: Login | None) -> None:
        text = "" if login is None else f"username={login.user}\npassword={login.password}\n"
        self._answer.write_text(text)

    @property
    def heard(self) -> list[str]:
        return self._log.read_text().splitlines() if self._log.exists() else []


@pytest.fixture
def helper(home: Path) -> Helper:
    made = Helper(home)
    configure(home, "credential.helper", str(made.program))
    return made


def test_a_helper_s_login_is_given(helper: Helper) -> None:
    helper.answers(ADA)
    assert GitCredentials().fill(URL) == ADA
    assert helper.heard == ["get", "protocol=https", "host=data.example.org:8443"]


def test_the_path_counts_when_the_user_wants_it_to(helper: Helper, home: Path) -> None:
    configure(home, "credential.useHttpPath", "true")
    helper.answers(ADA)
    GitCredentials().fill("https://data.example.org/a%20b/c")
    assert helper.heard == ["get", "protocol=https", "host=data.example.org", "path=a b/c"]


def test_the_user_that_a_url_names_is_told(helper: Helper) -> None:
    helper.answers(ADA)
    assert GitCredentials().fill("https://a%40b@data.example.org/") is not None
    assert "username=a@b" in helper.heard


def test_helpers_hear_how_it_went(helper: Helper) -> None:
    GitCredentials().approve(URL, ADA)
    login = ["protocol=https", "host=data.example.org:8443", "username=ada", "password=right"]
    assert helper.heard == ["store", *login]
    GitCredentials().reject(URL, ADA)
    assert helper.heard == ["store", *login, "erase", *login]


def test_without_an_answer_there_is_no_login(helper: Helper) -> None:
    assert GitCredentials(may_ask=False).fill(URL) is None
    assert helper.heard[0] == "get"


@pytest.mark.parametrize("variable", ["GIT_ASKPASS", "SSH_ASKPASS", "core.askPass"])
def test_who_may_not_be_asked_is_not(
    helper: Helper, home: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    program = home / "askpass"
    program.write_text(f"#!/bin/sh\necho asked >>{home}/asked\necho answer\n")
    program.chmod(0o755)
    if variable == "core.askPass":
        configure(home, variable, str(program))
    else:
        monkeypatch.setenv(variable, str(program))
    assert GitCredentials(may_ask=False).fill(URL) is None
    assert not (home / "asked").exists()
    assert GitCredentials().fill(URL) == Login("answer", "answer")
    assert (home / "asked").exists()


@pytest.mark.parametrize(
    "url",
    [
        *("https://data.example.org/a%0Ab", "https://a%0dhost=evil.org@data.example.org/"),
        *("https://data.example.org/%00", "https://data.exa\nmple.org/", "https://evil.org%0a/\r"),
        *("https:///a", "data.example.org/a", ""),
    ],
)
def test_what_could_be_read_as_another_host_is_refused(helper: Helper, url: str) -> None:
    for use in (
        lambda: GitCredentials().fill(url),
        lambda: GitCredentials().approve(url, ADA),
        lambda: GitCredentials().reject(url, ADA),
    ):
        with pytest.raises(UsageError):
            use()
    with pytest.raises(UsageError):
        GitCredentials().approve(URL, Login("ada", "x\nhost=evil.org"))
    assert helper.heard == []


def test_the_configuration_is_that_of_the_user_s_own_repository(
    helper: Helper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Helper(tmp_path)
    other.answers(Login("eve", "wrong"))
    helper.answers(ADA)
    git = Git(tmp_path / "repository").init()
    git.run("config", "credential.helper", "")
    git.run("config", "--add", "credential.helper", str(other.program))
    assert GitCredentials(repository.find(str(git.path))).fill(URL) == Login("eve", "wrong")
    # A foreign repository names no program that we run.
    assert GitCredentials(repository.open_foreign(str(git.path))).fill(URL) == ADA
    monkeypatch.chdir(git.path)
    assert GitCredentials().fill(URL) == ADA
