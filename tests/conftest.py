"""Seals every test off from the user's machine: home, Git's configuration, network.

The tests see a Git without any configuration but a name, an empty home and an
empty cache of their own, and reach nothing beyond loopback. What they start
inherits this by its environment (but for the network).
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from tests.support import nginx
from tests.support.s3server import S3Servers

# How long an example takes says more about the machine than about the code.
hypothesis.settings.register_profile("project", deadline=None)
hypothesis.settings.load_profile("project")

GIT_CONFIG = """\
[user]
\tname = Ada Tester
\temail = ada@example.org
[init]
\tdefaultBranch = main
"""

#: Other surroundings in which all must work, too, by the name that DATAREG_TEST_VARIANT gives:
#: what is configured, and variables. See `make variants`.
VARIANTS = {
    "": ("", {}),
    "sha256": ("", {"GIT_DEFAULT_HASH": "sha256"}),
    "workers": ("[checkout]\n\tworkers = 4\n\tthresholdForParallelism = 1\n", {}),
    "many-files": ("[feature]\n\tmanyFiles = true\n", {}),
    "umask": ("", {}),
}
VARIANT = os.environ.get("DATAREG_TEST_VARIANT", "")

#: Whatever begins so could steer git, our program or a client library.
OUTSIDE_PREFIXES = ("GIT_", "XDG_", "AWS_", "SSH_")
OUTSIDE_NAMES = ("EDITOR", "VISUAL", "PAGER", "LANGUAGE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


def _is_from_outside(name: str) -> bool:
    return (
        name.startswith(OUTSIDE_PREFIXES)
        or name in OUTSIDE_NAMES
        or name.lower().endswith("_proxy")
    )


def _seal(patch: pytest.MonkeyPatch, home: Path, ceiling: Path) -> None:
    """Point the process and its children at `home` and nothing else."""
    for name in [name for name in os.environ if _is_from_outside(name)]:
        patch.delenv(name)
    config = home / "gitconfig"
    configured, variables = VARIANTS[VARIANT]
    config.write_text(GIT_CONFIG + configured)
    (home / "cwd").mkdir()
    settings = {
        "HOME": home,
        "XDG_CONFIG_HOME": home / ".config",
        "XDG_CACHE_HOME": home / ".cache",
        "XDG_DATA_HOME": home / ".local/share",
        "XDG_STATE_HOME": home / ".local/state",
        "GIT_CONFIG_GLOBAL": config,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_CEILING_DIRECTORIES": ceiling,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_EDITOR": ":",
        "GIT_DATAREG_CACHE": home / "datareg-cache",
        "AWS_EC2_METADATA_DISABLED": "true",
        "LC_ALL": "C",
        "TZ": "UTC",
        **variables,
    }
    if VARIANT == "umask":
        os.umask(0o077)
    for name, value in settings.items():
        patch.setenv(name, str(value))
    # A test that forgets to say where must not work on this project's own repository.
    patch.chdir(home / "cwd")


def _is_loopback(address: object) -> bool:
    if not isinstance(address, tuple):  # AF_UNIX
        return True
    host = str(address[0])
    if host in ("localhost", ""):
        return True
    try:
        return ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


def _close_network(patch: pytest.MonkeyPatch) -> None:
    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex
    lookup = socket.getaddrinfo

    def check(address: object) -> None:
        if not _is_loopback(address):
            raise RuntimeError(f"a test may not reach the network: {address!r}")

    def guarded_connect(self: socket.socket, address: Any) -> None:
        check(address)
        connect(self, address)

    def guarded_connect_ex(self: socket.socket, address: Any) -> int:
        check(address)
        return connect_ex(self, address)

    def guarded_lookup(host: Any, *args: Any, **kwargs: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        check((name or "", 0))
        return lookup(host, *args, **kwargs)

    patch.setattr(socket.socket, "connect", guarded_connect)
    patch.setattr(socket.socket, "connect_ex", guarded_connect_ex)
    patch.setattr(socket, "getaddrinfo", guarded_lookup)


@pytest.fixture(scope="session", autouse=True)
def sealed_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The seal for fixtures that live longer than one test."""
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("session-home")
        _seal(patch, home, tmp_path_factory.getbasetemp())
        # The installed programs of the environment that runs the tests.
        own_bin = os.path.dirname(sys.executable)
        # Compiled once, not by each of the thousands of programs that the tests start.
        patch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
        patch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path_factory.mktemp("compiled")))
        # Ignored signals are inherited: under nohup, for one, programs would not be interrupted.
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) == signal.SIG_IGN:
                is_int = number == signal.SIGINT
                signal.signal(number, signal.default_int_handler if is_int else signal.SIG_DFL)
        patch.setenv("PATH", own_bin + os.pathsep + os.environ.get("PATH", os.defpath))
        _close_network(patch)
        umask = os.umask(0o022)
        time.tzset()
        yield
        os.umask(umask)
    time.tzset()


@pytest.fixture(autouse=True)
def home(
    sealed_session: None,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Path]:
    """This test's own home directory; `gitconfig` in it is Git's global configuration."""
    path = tmp_path_factory.mktemp("home")
    _seal(monkeypatch, path, tmp_path_factory.getbasetemp())
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def web(sealed_session: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[nginx.Nginx]:
    """A real web server for all tests of this process; each has a folder of its own in it."""
    with nginx.serve(tmp_path_factory.mktemp("nginx")) as server:
        yield server


@pytest.fixture(scope="session")
def s3_servers(
    sealed_session: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[S3Servers]:
    """S3 servers on loopback, each started when it is first asked for."""
    servers = S3Servers(tmp_path_factory.mktemp("s3"))
    yield servers
    servers.close()


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that start programs by the hundred, on ways that other tests go as well.

    What these programs reach is not measured: to start coverage takes twice as long as
    to start one of them.
    """
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
