"""Real S3 servers on loopback, from packages: one that does all, a mock, and one that lies.

SeaweedFS knows signatures, conditions and checksums. moto checks no signature. rclone
ignores the condition that a key be new. Each is started when it is first asked for.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

KEY, SECRET = "AKTEST", "SKTESTSKTEST"
REGION = "us-east-1"
#: Seconds in which a server must answer; it takes one or two.
_PATIENCE = 60


class S3Server:
    """A server that runs: where it is, and what a client's environment must have."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint

    @property
    def environ(self) -> Mapping[str, str]:
        """What a user of the server has in the environment."""
        return {**credentials(), "AWS_ENDPOINT_URL_S3": self.endpoint}

    @cached_property
    def client(self) -> Any:
        """A client of botocore, to look behind the storage's back."""
        return client(self.endpoint)

    @cached_property
    def bucket(self) -> str:
        """A bucket that all tests may use, each below a prefix of its own."""
        return self.new_bucket()

    def new_bucket(self) -> str:
        """A bucket for one test alone."""
        name = f"b-{uuid.uuid4().hex}"
        self.client.create_bucket(Bucket=name)
        return name

    def new_place(self) -> str:
        """The URL of a place where nothing is yet."""
        return f"s3://{self.bucket}/p-{uuid.uuid4().hex}"

    def keys(self, place: str) -> list[str]:
        """All keys in the bucket of a place that begin with its prefix."""
        bucket, _, prefix = place.removeprefix("s3://").partition("/")
        told = self.client.list_objects_v2(Bucket=bucket, Prefix=prefix)
        return [each["Key"] for each in told.get("Contents", ())]

    def unfinished(self, place: str) -> list[str]:
        """The ids of multipart uploads below a place that were begun and not ended."""
        bucket, _, prefix = place.removeprefix("s3://").partition("/")
        told = self.client.list_multipart_uploads(Bucket=bucket, Prefix=prefix)
        return [each["UploadId"] for each in told.get("Uploads", ())]


def credentials() -> Mapping[str, str]:
    """The environment of the one user that the servers know."""
    return {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": REGION}


def client(endpoint: str) -> Any:
    """A client of botocore for any server, with the keys that ours know."""
    from botocore.config import Config
    from botocore.session import Session

    return Session().create_client(
        "s3",
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id=KEY,
        aws_secret_access_key=SECRET,
        config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
    )


class S3Servers:
    """The servers of a test session, each started on demand, all killed by `close`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._stack = ExitStack()
        self._started: dict[str, S3Server] = {}

    def get(self, name: str) -> S3Server:
        """The server `name`: "seaweedfs", "moto", "rclone" or "ceph"."""
        if name not in self._started:
            self._started[name] = self.new(name)
        return self._started[name]

    def new(self, name: str, port: int | None = None) -> S3Server:
        """A server of its own for a test that does something to it."""
        directory = self._directory / f"{name}-{uuid.uuid4().hex[:8]}"
        directory.mkdir()
        if name == "ceph":
            from tests.support.ceph import Ceph

            ceph = Ceph(directory)
            self._stack.callback(ceph.kill)
            return ceph
        start = {"seaweedfs": _seaweedfs, "moto": _moto, "rclone": _rclone}[name]
        server = _Process(start, directory, port)
        self._stack.callback(server.kill)
        return server

    def close(self) -> None:
        """Kill them all."""
        self._stack.close()


class _Process(S3Server):
    """A server that is a child of ours."""

    def __init__(
        self, command: Callable[[Path, int], list[str]], directory: Path, port: int | None
    ) -> None:
        self._command = command
        self._directory = directory
        for _ in range(5):
            self.port = port or free_port()
            super().__init__(f"http://127.0.0.1:{self.port}")
            if self.start():
                return
        raise AssertionError((directory / "log").read_text(errors="replace")[-5000:])

    def start(self) -> bool:
        """Start it, also again, over the same data; whether it answers."""
        command = self._command(self._directory, self.port)
        if shutil.which("setpriv"):
            # Not even a test process that is killed leaves it behind.
            command = ["setpriv", "--pdeathsig", "KILL", *command]
        with open(self._directory / "log", "ab") as log:
            self._child = subprocess.Popen(
                command,
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                # Its sockets are where nobody has to tidy up.
                env={**os.environ, "TMPDIR": str(self._directory)},
            )
        end = time.monotonic() + _PATIENCE
        while self._child.poll() is None and time.monotonic() < end:
            if answers(self.endpoint):
                return True
            time.sleep(0.02)
        self.kill()
        return False

    def kill(self) -> None:
        """End it at once: asked politely, SeaweedFS takes a quarter of a minute."""
        with suppress(ProcessLookupError):
            os.killpg(self._child.pid, 9)
        self._child.wait()


def _seaweedfs(directory: Path, port: int) -> list[str]:
    user = {
        "name": "test",
        "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    (directory / "s3.json").write_text(json.dumps({"identities": [user]}))
    (directory / "data").mkdir(exist_ok=True)
    ports = {"s3": 0, "filer": 1, "volume": 2, "master": 3, "admin": 4}
    return [
        "weed",
        "-logtostderr=true",
        "mini",
        f"-dir={directory / 'data'}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        "-master.telemetry=false",
        *(f"-{name}.port={port + place}" for name, place in ports.items()),
        "-metricsPort=0",
        "-admin.ui=false",
        "-webdav=false",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        f"-s3.config={directory / 's3.json'}",
        "-filer.localSocket=filer.sock",
        "-s3.localSocket=s3.sock",
        "-s3.localFilerSocket=filer.sock",
    ]


def _moto(directory: Path, port: int) -> list[str]:
    return ["moto_server", "-H", "127.0.0.1", "-p", str(port)]


def _rclone(directory: Path, port: int) -> list[str]:
    (directory / "rclone.conf").touch()
    (directory / "data").mkdir(exist_ok=True)
    return [
        *("rclone", "--config", str(directory / "rclone.conf"), "serve", "s3"),
        *("--addr", f"127.0.0.1:{port}", "--auth-key", f"{KEY},{SECRET}"),
        str(directory / "data"),
    ]


def answers(endpoint: str) -> bool:
    """Whether a server answers there, whatever it says."""
    try:
        urllib.request.urlopen(endpoint, timeout=2).close()
    except urllib.error.HTTPError as error:
        error.close()
    except OSError:
        return False
    return True


def free_port() -> int:
    """A port with four free ones behind it, and as many 10,000 higher, for SeaweedFS' gRPC.

    Below those that the system gives to connections.
    """
    while True:
        port = random.randrange(10_000, 22_000, 5)
        if all(_is_free(port + place + more) for place in range(5) for more in (0, 10_000)):
            return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
