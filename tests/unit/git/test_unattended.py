from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from git_datareg import mirror
from git_datareg.errors import DataregError
from git_datareg.git import unattended
from git_datareg.git.config import ConfigValue
from git_datareg.location import Location
from tests.support.gitrun import Git

BATCH = " -o BatchMode=yes"


def command(**config: str) -> str:
    values = [ConfigValue(key.replace("_", "."), value, "file:x") for key, value in config.items()]
    return unattended.environment(values, "example.org")["GIT_SSH_COMMAND"]


def script(directory: Path, name: str, text: str) -> str:
    path = directory / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_by_https_nobody_is_asked_and_ssh_is_left_alone() -> None:
    variables = unattended.environment((), None)
    assert variables["GIT_TERMINAL_PROMPT"] == "0"
    assert variables["GIT_ASKPASS"] == variables["SSH_ASKPASS"] == ""
    assert variables["GIT_ALLOW_PROTOCOL"] == "https:ssh"
    assert "GIT_SSH_COMMAND" not in variables


def test_openssh_is_told_not_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    assert command() == "ssh" + BATCH
    assert command(core_sshcommand="ssh -i 'my key'") == "ssh -i 'my key'" + BATCH
    assert command(core_sshcommand="/opt/SSH.exe") == "/opt/SSH.exe" + BATCH
    monkeypatch.setenv("GIT_SSH", "/opt/my tools/ssh")
    assert command() == "'/opt/my tools/ssh'" + BATCH
    # In the order in which git looks.
    assert command(core_sshcommand="ssh -4") == "ssh -4" + BATCH
    monkeypatch.setenv("GIT_SSH_COMMAND", "ssh -6")
    assert command(core_sshcommand="ssh -4") == "ssh -6" + BATCH


@pytest.mark.parametrize(
    ("variant", "options"),
    [
        *(("ssh", BATCH), ("SSH", BATCH), ("anything", BATCH), ("plink", " -batch")),
        *(("putty", " -batch"), ("tortoiseplink", " -batch"), ("simple", "")),
    ],
)
def test_the_variant_that_is_configured_says_how(
    monkeypatch: pytest.MonkeyPatch, variant: str, options: str
) -> None:
    given = "/opt/connect --fast"
    assert command(core_sshcommand=given, ssh_variant=variant) == given + options
    monkeypatch.setenv("GIT_SSH_VARIANT", variant)
    assert command(core_sshcommand=given, ssh_variant="simple") == given + options


@pytest.mark.parametrize("name", ["plink", "PLINK.EXE", "tortoiseplink", "/opt/TortoisePlink.exe"])
def test_other_programs_that_git_knows_have_their_own_option(name: str) -> None:
    assert command(core_sshcommand=name) == f"{name} -batch"


@pytest.mark.parametrize("variant", [{}, {"ssh_variant": "auto"}])
def test_an_unknown_program_is_asked_what_it_is(tmp_path: Path, variant: dict[str, str]) -> None:
    log = tmp_path / "log"
    text = f'echo "$@" >> {shlex.quote(str(log))}; [ "$1" = -x ] && [ "$4" = -G ]'
    wrapper = script(tmp_path, "my ssh", text)
    quoted = shlex.quote(wrapper)
    assert command(core_sshcommand=f"{quoted} -x", **variant) == f"{quoted} -x" + BATCH
    assert log.read_text() == "-x -o BatchMode=yes -G example.org\n"
    assert command(core_sshcommand=f"TERM=dumb {quoted} -x") == f"TERM=dumb {quoted} -x" + BATCH
    # It takes no options; nor does one that is not there.
    assert command(core_sshcommand=quoted, **variant) == quoted
    assert command(core_sshcommand="/nowhere/x", **variant) == "/nowhere/x"
    assert command(core_sshcommand="no 'end", **variant) == "no 'end"


def test_git_starts_ssh_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "log"
    variables = "$GIT_TERMINAL_PROMPT,$GIT_ASKPASS,$SSH_ASKPASS,$SSH_ASKPASS_REQUIRE"
    text = f'echo "$@" "{variables}" >> {shlex.quote(str(log))}\nexit 255'
    monkeypatch.setenv("GIT_ASKPASS", "/bin/echo")
    monkeypatch.setenv("SSH_ASKPASS", "/bin/echo")
    Git(tmp_path).run("config", "--global", "core.sshCommand", script(tmp_path, "ssh", text))
    location = Location("ssh://me@example.org/x.git")
    for is_foreign in (True, False):
        with pytest.raises(DataregError):
            mirror.open_revision(location, None, str(tmp_path), is_foreign=is_foreign)
    foreign, users = log.read_text().splitlines()
    assert foreign.startswith("-o BatchMode=yes ") and foreign.endswith(" 0,,,never")
    assert "BatchMode" not in users and users.endswith(" 0,/bin/echo,/bin/echo,")
