"""A Ceph cluster of one monitor, one store in memory and one RADOS gateway, on loopback.

An S3 server apart from those that tests always have; needs Debian's packages `radosgw`,
`ceph-mon`, `ceph-osd` and `ceph-common`, root, and a quarter of a minute.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
import uuid
from pathlib import Path

from tests.support.s3server import KEY, SECRET, S3Server, answers, free_port

CONFIG = """\
[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{mon},v1:127.0.0.1:{mon1}]
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
public network = 127.0.0.0/8
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind ipv6 = false
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pgp num = 4
osd crush chooseleaf type = 0
mon allow pool size one = true
mon warn on pool no redundancy = false
mon max pg per osd = 1000
osd objectstore = memstore
memstore device bytes = 4294967296
run dir = {directory}
admin socket = {directory}/$name.asok
pid file = {directory}/$name.pid
log file = {directory}/$name.log
crash dir = {directory}
keyring = {directory}/keyring
mon data = {directory}/mon
osd data = {directory}/osd
osd journal =
mon cluster log file = {directory}/cluster.log
mon data avail warn = 1
mon data avail crit = 1
[client.rgw.x]
rgw frontends = beast endpoint=127.0.0.1:{port}
rgw data = {directory}/rgw
rgw enable usage log = false
"""
_PATIENCE = 120


class Ceph(S3Server):
    """The cluster; it runs until `kill`."""

    def __init__(self, directory: Path) -> None:
        port = free_port()
        super().__init__(f"http://127.0.0.1:{port}")
        self._directory = directory
        self._config = directory / "ceph.conf"
        self._children: list[subprocess.Popen[bytes]] = []
        for name in ("mon", "osd", "rgw"):
            (directory / name).mkdir()
        self._fsid = str(uuid.uuid4())
        text = CONFIG.format(
            fsid=self._fsid, mon=port + 1, mon1=port + 2, port=port, directory=directory
        )
        self._config.write_text(text)
        try:
            self._start_monitor(port + 1, port + 2)
            self._start_store()
            self._start_gateway()
        except BaseException:
            self.kill()
            raise

    def kill(self) -> None:
        """End it all."""
        for child in reversed(self._children):
            child.kill()
            child.wait()

    def _start_monitor(self, second: int, first: int) -> None:
        keyring, map = str(self._directory / "keyring"), str(self._directory / "monmap")
        self._run(
            "ceph-authtool",
            "--create-keyring",
            keyring,
            "--gen-key",
            "-n",
            "mon.",
            "--cap",
            "mon",
            "allow *",
        )
        for user in ("client.admin", "client.rgw.x"):
            self._run(
                "ceph-authtool",
                keyring,
                "--gen-key",
                "-n",
                user,
                "--cap",
                "mon",
                "allow *",
                "--cap",
                "osd",
                "allow *",
            )
        address = f"[v2:127.0.0.1:{second},v1:127.0.0.1:{first}]"
        self._run("monmaptool", "--create", "--fsid", self._fsid, "--addv", "x", address, map)
        self._run("ceph-mon", "--mkfs", "-i", "x", "--monmap", map, "--keyring", keyring)
        self._start("ceph-mon", "-i", "x")

    def _start_store(self) -> None:
        key = self._run("ceph-authtool", "--gen-print-key").strip()
        name = str(uuid.uuid4())
        secret = json.dumps({"cephx_secret": key})
        self._run("ceph", "osd", "new", name, "0", "-i", "-", input=secret)
        with open(self._directory / "keyring", "a") as file:
            file.write(f"[osd.0]\n\tkey = {key}\n")
        self._run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", name)
        self._start("ceph-osd", "-i", "0")

    def _start_gateway(self) -> None:
        self._start("radosgw", "-n", "client.rgw.x")
        self._run(
            "radosgw-admin",
            "user",
            "create",
            "--uid=test",
            "--display-name=test",
            f"--access-key={KEY}",
            f"--secret={SECRET}",
        )
        end = time.monotonic() + _PATIENCE
        while not answers(self.endpoint):
            assert time.monotonic() < end, f"no answer: see {self._directory}"
            time.sleep(0.1)

    def _environ(self) -> dict[str, str]:
        return {**os.environ, "CEPH_CONF": str(self._config)}

    def _run(self, *command: str, input: str | None = None) -> str:
        done = subprocess.run(
            command,
            env=self._environ(),
            input=input,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_PATIENCE,
        )
        assert done.returncode == 0, f"{command}: {done.stdout}"
        return done.stdout

    def _start(self, *command: str) -> None:
        with open(self._directory / f"{command[0]}.out", "wb") as out:
            self._children.append(
                subprocess.Popen(
                    ["setpriv", "--pdeathsig", "KILL", *command, "-f"],
                    env=self._environ(),
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    start_new_session=True,
                )
            )
