"""Starts ssh for us as git would: the same program, settings, keys and known hosts.

Owns which ssh that is (git(1), "GIT_SSH_COMMAND"; git-config(1), "core.sshCommand")
and what it is told. Does not know what is spoken through it.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from typing import BinaryIO

from git_datareg.errors import StorageNotConfiguredError
from git_datareg.git import process

#: As sftp(1) does: nothing but the conversation goes through the connection.
_BARE = (
    "-oForwardX11=no",
    "-oForwardAgent=no",
    "-oClearAllForwardings=yes",
    "-oPermitLocalCommand=no",
    "-oRemoteCommand=none",
    "-oRequestTTY=no",
)
#: A peer that is gone is noticed within a minute, and not never.
_PATIENCE = ("-oConnectTimeout=30", "-oServerAliveInterval=15", "-oServerAliveCountMax=4")
#: How long an ssh may take to end by itself, seconds.
_GRACE = 1.0
_MAX_SAID = 64 * 1024
#: They are told by other options what we tell ssh.
_OTHERS = frozenset(("plink", "plink.exe", "putty", "tortoiseplink", "tortoiseplink.exe"))


class Ssh:
    """A running ssh. What it says to the user, questions aside, is kept for messages."""

    def __init__(self, child: subprocess.Popen[bytes], errors: BinaryIO) -> None:
        assert child.stdin is not None and child.stdout is not None, "they are pipes"
        self._child = child
        self._input, self._output = child.stdin, child.stdout
        self._errors = errors
        #: Descriptors: for what is sent, and for what comes.
        self.input, self.output = self._input.fileno(), self._output.fileno()

    def said(self) -> list[str]:
        """The lines that it has written for the user so far."""
        # Not by seek: the file's position is the child's, too.
        text = os.pread(self._errors.fileno(), _MAX_SAID, 0).decode("utf-8", "replace")
        return [line.strip() for line in text.splitlines() if line.strip()]

    def hang_up(self) -> None:
        """Send no more, which ends it; nobody may be sending."""
        with suppress(OSError):
            self._input.close()

    def stop(self) -> None:
        """Have it end at once; `input` stays open, so that who is sending fails."""
        self._child.terminate()

    def ended(self) -> int:
        """Its exit code, when it has nothing to give any more; it is stopped if need be."""
        for stop in (self._child.terminate, self._child.kill):
            try:
                return self._child.wait(_GRACE)
            except subprocess.TimeoutExpired:
                stop()
        return self._child.wait()

    def close(self) -> None:
        """Give up what is left when it has ended."""
        self.hang_up()
        self._output.close()
        self._errors.close()


def command() -> tuple[str, ...]:
    """The ssh that git would start here and now: the words before its own arguments.

    Raises StorageNotConfiguredError when it is none that takes OpenSSH's options.
    """
    shell = os.environ.get("GIT_SSH_COMMAND") or _configured()
    program = os.environ.get("GIT_SSH") or "ssh"
    name = (shell.split() or [""])[0].strip("\"'") if shell else program
    if os.path.basename(name).lower() in _OTHERS:
        raise StorageNotConfiguredError(
            f"only OpenSSH can be used for storage, not {name}",
            "name it in GIT_SSH_COMMAND or core.sshCommand",
        )
    # As git does it (prepare_shell_cmd in its run-command.c).
    return ("sh", "-c", f'{shell} "$@"', shell) if shell else (program,)


def _configured() -> str:
    code, output, _ = process.run_unchecked(("config", "--get", "core.sshCommand"))
    return output.decode("utf-8", "surrogateescape").strip() if code == 0 else ""


def can_ask() -> bool:
    """Whether ssh can ask the user for a password, or about a host's key."""
    if os.environ.get("GIT_TERMINAL_PROMPT", "").lower() in ("0", "false", "no", "off"):
        return False
    if os.environ.get("SSH_ASKPASS"):
        return True
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def start(
    command: Sequence[str], destination: str, port: int | None, subsystem: str, *, ask: bool
) -> Ssh:
    """Start a subsystem of another machine; whether that works shows in what it says.

    Unless `ask`, it fails where it would have to ask the user. Raises
    StorageNotConfiguredError without ssh.
    """
    arguments: Sequence[str] = (
        *command,
        *_BARE,
        *_PATIENCE,
        *(() if ask else ("-oBatchMode=yes",)),
        *(() if port is None else ("-p", str(port))),
        *("-s", destination, subsystem),
    )
    # A file takes all that it says without anybody reading it.
    errors = tempfile.TemporaryFile()  # noqa: SIM115
    try:
        child = subprocess.Popen(
            arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, bufsize=0
        )
    except OSError as error:
        errors.close()
        raise StorageNotConfiguredError(
            f"{error.strerror or error}: {command[0]}", "install OpenSSH's client"
        ) from error
    return Ssh(child, errors)
