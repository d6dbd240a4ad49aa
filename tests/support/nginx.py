"""A real nginx on loopback, with what a test of web storages needs of it.

Every location below serves the same directory, `root`; a test makes a folder of
its own in it. The server has one process for its work, and ends with the context.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

USER, PASSWORD = "ada", "secret"
#: What `/busy/` and `/limited/` tell a client to wait, in seconds.
RETRY_AFTER = 7
_PATIENCE = 10.0
#: Where bodies grow, below the root: on the same file system, so that they are then renamed.
_INCOMING = ".incoming"

_CONFIG = """\
daemon off;
{user}
worker_processes 1;
pid {scratch}/nginx.pid;
error_log {scratch}/error.log;
events {{ worker_connections 512; }}
http {{
    access_log {scratch}/access.log;
    client_body_temp_path {root}/{incoming};
    proxy_temp_path {scratch}/proxy;
    fastcgi_temp_path {scratch}/fastcgi;
    uwsgi_temp_path {scratch}/uwsgi;
    scgi_temp_path {scratch}/scgi;
    client_max_body_size 64m;
    default_type application/octet-stream;
    limit_req_zone $server_port zone=limited:64k rate=1r/m;
    server {{
        listen 127.0.0.1:{port};
        listen 127.0.0.1:{tls_port} ssl;
        ssl_certificate {scratch}/server.crt;
        ssl_certificate_key {scratch}/server.key;
        absolute_redirect off;

        location /static/ {{ alias {root}/; }}
        location /listed/ {{ alias {root}/; autoindex on; }}
        location /gzip/ {{ alias {root}/; gzip on; gzip_min_length 1; gzip_types *; }}
        location /basic/ {{
            alias {root}/;
            auth_basic "data";
            auth_basic_user_file {scratch}/users;
        }}
        location /forbidden/ {{ return 403; }}
        location /busy/ {{ add_header Retry-After {retry_after} always; return 503; }}
        location /limited/ {{
            alias {root}/;
            limit_req zone=limited;
            limit_req_status 429;
            add_header Retry-After {retry_after} always;
        }}
        location /whole/ {{ alias {root}/; max_ranges 0; }}
        location /moved/ {{ rewrite ^/moved/(.*)$ /static/$1 permanent; }}
        location /secure/ {{ return 307 https://127.0.0.1:{tls_port}$request_uri; }}
        location /downgraded/ {{ rewrite ^/downgraded/(.*)$ http://127.0.0.1:{port}/static/$1; }}
        location /loop/ {{ return 302 $request_uri; }}

        location /dav/ {{
            alias {root}/;
            dav_methods PUT DELETE MKCOL;
        }}
        location /dav-without-folders/ {{ alias {root}/; dav_methods PUT DELETE; }}
        location /dav-small/ {{
            alias {root}/;
            dav_methods PUT DELETE MKCOL;
            client_max_body_size 1k;
        }}
        # Read by all, written by those who log in.
        location /dav-basic/ {{
            alias {root}/;
            dav_methods PUT DELETE MKCOL;
            limit_except GET {{
                auth_basic "data";
                auth_basic_user_file {scratch}/users;
            }}
        }}
    }}
}}
"""

_OPENSSL_CONFIG = """\
[req]
distinguished_name = name
[name]
[authority]
basicConstraints = critical, CA:true
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[server]
basicConstraints = CA:false
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = DNS:localhost, DNS:data.example.org, IP:127.0.0.1
"""


class Nginx(NamedTuple):
    """A running server."""

    root: Path
    port: int
    tls_port: int
    #: The authority that its certificate is from, and one that has nothing to do with it.
    authority: Path
    other_authority: Path
    access_log: Path

    def url(self, path: str) -> str:
        """The URL of a path by plain HTTP."""
        return f"http://127.0.0.1:{self.port}/{path}"

    def is_tidy(self) -> bool:
        """Whether nothing is left of bodies that broke off, once the server has seen that."""
        end = time.monotonic() + _PATIENCE
        while os.listdir(self.root / _INCOMING) and time.monotonic() < end:
            time.sleep(0.02)
        return not os.listdir(self.root / _INCOMING)

    def tls_url(self, path: str, host: str = "127.0.0.1") -> str:
        """The URL of a path by HTTPS."""
        return f"https://{host}:{self.tls_port}/{path}"


@contextmanager
def serve(directory: Path) -> Iterator[Nginx]:
    """A server whose files are all below `directory`, which exists."""
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        raise RuntimeError("nginx is not installed: apt-get install nginx-light")
    scratch, root = directory / "server", directory / "root"
    scratch.mkdir()
    root.mkdir()
    _make_certificates(scratch)
    hashed = _output("openssl", "passwd", "-apr1", PASSWORD)
    (scratch / "users").write_text(f"{USER}:{hashed}")
    port, tls_port = _free_ports()
    config = scratch / "nginx.conf"
    config.write_text(
        _CONFIG.format(
            # Else root's server would do its work as a user who can't come here.
            user="user root;" if os.getuid() == 0 else "",
            scratch=scratch,
            root=root,
            incoming=_INCOMING,
            port=port,
            tls_port=tls_port,
            retry_after=RETRY_AFTER,
        )
    )
    with (scratch / "output").open("wb") as output:
        child = subprocess.Popen(
            [program, "-p", str(scratch), "-c", str(config), "-e", str(scratch / "error.log")],
            stdout=output,
            stderr=output,
        )
    try:
        _wait_for(child, port, scratch)
        yield Nginx(
            root,
            port,
            tls_port,
            scratch / "authority.crt",
            scratch / "other.crt",
            scratch / "access.log",
        )
    finally:
        child.terminate()
        child.wait()


def _wait_for(child: subprocess.Popen[bytes], port: int, scratch: Path) -> None:
    end = time.monotonic() + _PATIENCE
    while child.poll() is None and time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.02)
    said = (scratch / "output").read_text() + (scratch / "error.log").read_text()
    raise RuntimeError(f"nginx did not start: {said}")


def _free_ports() -> tuple[int, int]:
    with socket.socket() as first, socket.socket() as second:
        for each in (first, second):
            each.bind(("127.0.0.1", 0))
        return first.getsockname()[1], second.getsockname()[1]


def _make_certificates(scratch: Path) -> None:
    config = scratch / "openssl.conf"
    config.write_text(_OPENSSL_CONFIG)
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30"]
    for name in ("authority", "other"):
        files = ["-keyout", f"{scratch}/{name}.key", "-out", f"{scratch}/{name}.crt"]
        about = ["-subj", f"/CN=test {name}", "-extensions", "authority", "-config", str(config)]
        _output("openssl", "req", "-x509", *key, *files, *about)
    signer = ["-CA", f"{scratch}/authority.crt", "-CAkey", f"{scratch}/authority.key"]
    files = ["-keyout", f"{scratch}/server.key", "-out", f"{scratch}/server.crt"]
    about = ["-subj", "/CN=test server", "-extensions", "server", "-config", str(config)]
    _output("openssl", "req", "-x509", *key, *files, *about, *signer)


def _output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{command[:2]} failed: {done.stderr}")
    return done.stdout
