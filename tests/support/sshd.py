"""A real sshd on loopback, for the user who runs the tests, and an ssh that knows it.

ssh looks for its files in the home that the system knows of, whatever HOME says. So
the ssh that the tests use is told of others, by GIT_SSH_COMMAND as a user would.
"""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

_SERVER = """\
ListenAddress 127.0.0.1
Port {port}
HostKey {directory}/host_key
AuthorizedKeysFile {directory}/authorized_keys
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
MaxStartups 100
{more}
"""
#: What `more` is unless a test says something else.
SFTP = "Subsystem sftp internal-sftp"
_CLIENT = """\
Host *
    IdentityFile {directory}/user_key
    IdentitiesOnly yes
    IdentityAgent none
    UserKnownHostsFile {directory}/known_hosts
    GlobalKnownHostsFile none
"""
_FOUND = shutil.which("sshd", path=os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin")


class Sshd:
    """A server; `directory` has its files and the client's, which tests may change."""

    def __init__(self, directory: Path, more: str = SFTP) -> None:
        assert _FOUND is not None, "no sshd on this machine: apt-get install openssh-server"
        self.directory = directory
        self.user = pwd.getpwuid(os.getuid()).pw_name
        self.port = _free_port()
        #: For tests that give it one by `more`.
        self.home: Path | None = None
        self._more = more
        self._child: subprocess.Popen[bytes] | None = None
        for name in ("host_key", "user_key"):
            make_key(directory / name)
        public = (directory / "user_key.pub").read_text()
        (directory / "authorized_keys").write_text(public)
        (directory / "config").write_text(_CLIENT.format(directory=directory))
        self.know("host_key")

    @property
    def command(self) -> str:
        """What GIT_SSH_COMMAND is to be."""
        return shlex.join(["ssh", "-F", str(self.directory / "config")])

    def url(self, path: str | Path) -> str:
        """The URL of an absolute path of this machine, by the server."""
        return f"ssh://{self.user}@127.0.0.1:{self.port}{quote(str(path), safe='/~')}"

    def know(self, key: str) -> None:
        """Have the client know the key in the file of that name as the server's."""
        kind, public, *_ = (self.directory / f"{key}.pub").read_text().split()
        line = f"[127.0.0.1]:{self.port} {kind} {public}\n"
        (self.directory / "known_hosts").write_text(line)

    def start(self) -> None:
        """Start it; it accepts connections when this returns."""
        if os.getuid() == 0:
            # Debian's service would make it.
            os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
        config = self.directory / "sshd_config"
        config.write_text(_SERVER.format(port=self.port, directory=self.directory, more=self._more))
        log = self.directory / "log"
        with log.open("wb") as file:
            self._child = subprocess.Popen(
                [str(_FOUND), "-D", "-e", "-f", str(config)], stdin=subprocess.DEVNULL, stderr=file
            )
        deadline = time.monotonic() + 30
        while b"Server listening on" not in log.read_bytes():
            is_alive = self._child.poll() is None and time.monotonic() < deadline
            assert is_alive, f"sshd did not start: {log.read_text()}"
            time.sleep(0.01)

    def kill(self) -> None:
        """End it and all its connections at once."""
        if self._child is not None:
            family = [*descendants(self._child.pid), self._child.pid]
            # First the one that would start more.
            for pid in reversed(family):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._child.wait()
            self._child = None

    def freeze(self) -> None:
        """Let the connections that there are go on without a word; new ones are served."""
        assert self._child is not None
        for pid in descendants(self._child.pid):
            os.kill(pid, signal.SIGSTOP)


@contextmanager
def serve(directory: Path, more: str = SFTP) -> Iterator[Sshd]:
    """A server that runs; `more` are lines of its configuration."""
    directory.mkdir(parents=True, exist_ok=True)
    server = Sshd(directory, more)
    server.start()
    try:
        yield server
    finally:
        server.kill()


def make_key(path: Path) -> None:
    """A new key pair without a passphrase, in `path` and `path`.pub."""
    path.unlink(missing_ok=True)
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", str(path)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def descendants(pid: int) -> list[int]:
    """The children of a process, and theirs, the later ones first."""
    parents: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with suppress(OSError):
                # proc(5): the name, which may hold anything, is in brackets.
                fields = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
                parents.setdefault(int(fields[1]), []).append(int(entry))
    found: list[int] = []
    todo = [pid]
    while todo:
        todo += parents.get(todo.pop(0), [])
        found = [*todo, *(each for each in found if each not in todo)]
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
