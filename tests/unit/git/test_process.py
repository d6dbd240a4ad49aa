from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from git_datareg.errors import GitError
from git_datareg.git import process
from git_datareg.git import repository as repository_module
from tests.support.gitrun import Git


def test_every_variable_that_ties_git_to_a_repository_is_known(tmp_path: Path) -> None:
    named = set(Git(tmp_path).out("rev-parse", "--local-env-vars").split())
    # Of grafts and replaced objects nothing leads elsewhere; newer gits may drop some.
    assert named <= set(process.LOCAL_VARIABLES)


def test_a_foreign_git_inherits_nothing_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in process.LOCAL_VARIABLES:
        monkeypatch.setenv(name, "x")
    assert not set(process.LOCAL_VARIABLES) & set(process.environment(own=False))
    assert set(process.LOCAL_VARIABLES) <= set(process.environment(own=True))


def test_a_git_that_talks_to_a_remote_has_none_of_our_switches() -> None:
    ours = {"GIT_DATAREG_SKIP_SMUDGE", "GIT_OPTIONAL_LOCKS"}
    assert ours <= set(process.environment(own=True))
    assert not ours & set(process.environment(own=True, transport=True))


def test_extra_variables_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", "/ours")
    assert process.environment(own=False, extra={"GIT_DIR": "/theirs"})["GIT_DIR"] == "/theirs"


@pytest.mark.parametrize("given", [None, "2", "nonsense"])
def test_settings_come_after_those_that_are_given(
    monkeypatch: pytest.MonkeyPatch, given: str | None
) -> None:
    if given is not None:
        monkeypatch.setenv("GIT_CONFIG_COUNT", given)
    start = 2 if given == "2" else 0
    assert process.with_config([("a.b=c", "d"), ("e.f", "g")]) == {
        "GIT_CONFIG_COUNT": str(start + 2),
        f"GIT_CONFIG_KEY_{start}": "a.b=c",
        f"GIT_CONFIG_VALUE_{start}": "d",
        f"GIT_CONFIG_KEY_{start + 1}": "e.f",
        f"GIT_CONFIG_VALUE_{start + 1}": "g",
    }


def test_git_takes_such_settings() -> None:
    extra = process.with_config([("url.http://a/?b=c.insteadOf", "x")])
    output = process.run(["config", "--get-regexp", "^url"], extra=extra)
    assert output == b"url.http://a/?b=c.insteadof x\n"


def test_a_failure_is_in_gits_own_words(tmp_path: Path) -> None:
    with pytest.raises(GitError) as caught:
        process.run(["rev-parse", "--verify", "nothing"], cwd=str(Git(tmp_path).init().path))
    assert caught.value.message == "git rev-parse failed: fatal: Needed a single revision"
    assert "Needed a single revision" in caught.value.stderr


def test_a_code_that_is_accepted_is_no_failure(tmp_path: Path) -> None:
    assert process.run(["config", "--get", "no.such"], accept=(0, 1)) == b""


def test_a_git_that_says_nothing_fails_all_the_same() -> None:
    assert (
        process.failure(["--git-dir=x", "show"], "").message == "git show failed: it said nothing"
    )
    assert process.failure(["show"], "a\nb\n").message == "git show failed: b"


def test_input_may_come_in_pieces(tmp_path: Path) -> None:
    git = Git(tmp_path).init()
    whole = process.run(["hash-object", "--stdin"], cwd=str(git.path), input=b"ab")
    assert process.run(["hash-object", "--stdin"], cwd=str(git.path), input=[b"a", b"b"]) == whole


def test_without_git_it_is_said_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(GitError, match=f"no such directory: {tmp_path}/gone"):
        process.run(["version"], cwd=str(tmp_path / "gone"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GitError) as caught:
        process.run(["version"])
    assert caught.value.hints == ("install git 2.39 or later",)


def test_what_git_says_while_it_talks_to_a_remote_is_not_kept_from_the_user(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code, output = process.talk_to_remote(["ls-remote", "--", str(tmp_path)])
    assert (code, output) == (128, b"")
    assert "does not appear to be a git repository" in capfd.readouterr().err


def test_the_users_configuration_alone_has_what_the_command_line_gave(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    git = Git(tmp_path).init()
    git.run("config", "of.repository", "x")
    monkeypatch.chdir(git.path)
    monkeypatch.setenv("GIT_CONFIG_PARAMETERS", "'of.commandline'='y'")
    output = process.run(["config", "--list"], own=False, extra=process.users_only())
    assert b"of.commandline=y" in output
    assert b"of.repository" not in output


def test_commits_that_are_being_merged_are_known_by_their_variables(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert process.merging_commits() == []
    monkeypatch.setenv("GITHEAD_" + "1" * 40, "theirs")
    assert process.merging_commits() == ["1" * 40]


def test_start_leaves_streams_to_the_caller() -> None:
    with process.start(["version"], stdout=subprocess.PIPE) as child:
        assert child.communicate()[0].startswith(b"git version")
    assert child.returncode == 0


@pytest.fixture
def told() -> Iterator[list[str]]:
    lines: list[str] = []
    process.listen(lambda line: lines.append(re.sub(r"\d+\.\d{3} s$", "N s", line)))
    yield lines
    process.listen(None)


def test_each_git_that_is_run_is_told(tmp_path: Path, told: list[str]) -> None:
    path = str(Git(tmp_path).init().path)
    process.run(["rev-parse", "--git-dir"], cwd=path)
    process.run_unchecked(["rev-parse", "--verify", "--quiet", "nothing"], cwd=path)
    process.talk_to_remote(["ls-remote", path])
    repository = repository_module.find(path)
    del told[3:]
    with repository.start("cat-file", "--batch") as child:
        child.communicate()
    assert [line.removeprefix("git ") for line in told] == [
        "rev-parse --git-dir: exit code 0 after N s",
        "rev-parse --verify --quiet nothing: exit code 1 after N s",
        f"ls-remote {path}: exit code 0 after N s",
        f"{told[3].partition(' ')[2].partition('cat-file')[0]}cat-file --batch: begun",
    ]


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        ("https://ada:SECRET@example.org/a?token=SECRET", "https://example.org/a"),
        ("--url=https://SECRET@example.org/a=b", "--url=https://example.org/a=b"),
        ("remote.o.url=https://SECRET@host/x?a=SECRET", "remote.o.url=https://host/x"),
        ("ssh://git@host/path", "ssh://git@host/path"),
        ("--format=%(refname)", "--format=%(refname)"),
        ("", ""),
    ],
)
def test_no_secret_of_a_url_is_told(told: list[str], word: str, shown: str) -> None:
    process.tell(["x", word], "begun")
    assert told == [f"git x {shown}: begun"]


def test_a_long_command_is_cut(told: list[str]) -> None:
    process.tell(["x"] * 1000, "begun")
    assert len(told[0]) < 400


def test_nothing_is_told_to_nobody() -> None:
    process.tell(["x"], "begun")
