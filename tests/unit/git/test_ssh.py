from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from git_datareg.errors import StorageNotConfiguredError
from git_datareg.git import ssh
from tests.support.gitrun import Git


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Git:
    git = Git(tmp_path / "repo").init()
    monkeypatch.chdir(git.path)
    return git


def ran(command: tuple[str, ...], path: Path) -> str:
    """What a command that writes its arguments to a file was given."""
    running = ssh.start(command, "ada@host", 22, "sftp", ask=False)
    assert running.ended() == 0
    running.close()
    return path.read_text().strip()


def test_without_configuration_it_is_ssh(repository: Git) -> None:
    assert ssh.command() == ("ssh",)


def test_git_s_settings_count_in_git_s_order(
    repository: Git, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = tmp_path / "told"
    program = tmp_path / "a program"
    program.write_text(f'#!/bin/sh\necho GIT_SSH "$@" >{told}\n')
    program.chmod(0o755)
    monkeypatch.setenv("GIT_SSH", str(program))
    assert ran(ssh.command(), told).startswith("GIT_SSH -o")
    repository.run("config", "core.sshCommand", f"f() {{ echo configured $* >{told}; }}; f one")
    assert ran(ssh.command(), told).startswith("configured one -o")
    monkeypatch.setenv("GIT_SSH_COMMAND", f"f() {{ echo given $* >{told}; }}; f")
    assert ran(ssh.command(), told).endswith("-oBatchMode=yes -p 22 -s ada@host sftp")


def test_what_git_runs_it_with_is_what_we_do(
    repository: Git, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = tmp_path / "told"
    monkeypatch.setenv("GIT_SSH_COMMAND", f"f() {{ echo $* >{told}; exit 1; }}; f -F 'a b'")
    repository.run("ls-remote", "ssh://ada@host:22/x", check=False)
    words = told.read_text().split()
    assert words[:3] == ["-F", "a", "b"]
    ours = ssh.start(ssh.command(), "ada@host", 22, "sftp", ask=True)
    assert ours.ended() == 1
    ours.close()
    assert told.read_text().split()[:3] == ["-F", "a", "b"]
    assert {"-p", "22", "ada@host"} <= set(words) & set(told.read_text().split())


@pytest.mark.parametrize("command", ["plink", "/opt/bin/TortoisePlink.exe -batch", "'putty' -x"])
def test_another_program_than_openssh_is_refused_by_name(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_SSH_COMMAND", command)
    with pytest.raises(StorageNotConfiguredError, match="OpenSSH") as caught:
        ssh.command()
    assert command.split()[0].strip("'") in caught.value.message


def test_a_program_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_SSH", "/nonexistent/ssh")
    with pytest.raises(StorageNotConfiguredError, match="/nonexistent/ssh"):
        ssh.start(ssh.command(), "host", None, "sftp", ask=False)


@pytest.mark.parametrize("value", ["0", "false", "No", "off"])
def test_who_wants_no_prompts_is_not_asked(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_ASKPASS", "/usr/bin/true")
    monkeypatch.setenv("GIT_TERMINAL_PROMPT", value)
    assert not ssh.can_ask()
    monkeypatch.setenv("GIT_TERMINAL_PROMPT", "1")
    assert ssh.can_ask()


def test_where_nobody_sits_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GIT_TERMINAL_PROMPT")
    code = "from git_datareg.git import ssh; print(ssh.can_ask())"
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        # Which has no terminal.
        start_new_session=True,
    )
    assert done.stdout == b"False\n"


def test_one_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh, "_GRACE", 0.05)
    script = "trap '' TERM; echo last words >&2; echo; while :; do sleep 0.1; done"
    running = ssh.start(("sh", "-c", script), "host", None, "sftp", ask=False)
    assert os.read(running.output, 1) == b"\n"
    assert running.ended() == -9
    assert running.said() == ["last words"]
    running.close()
