"""A small web server on loopback that answers as a test says, and remembers what it was asked.

For servers that lie, log or redirect; what real ones do is nginx's part
(`tests.support.nginx`). It can be an HTTP proxy, too.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple


class Request(NamedTuple):
    """What was asked; header names are in lower case."""

    method: str
    #: As it was spelled: a whole URL when we are a proxy.
    target: str
    headers: Mapping[str, str]
    body: bytes


class Answer(NamedTuple):
    """What to say. Headers come as they are: without `Content-Length` the connection ends it."""

    status: int
    headers: Mapping[str, str] = {}
    body: bytes = b""

    @classmethod
    def of(cls, body: bytes, status: int = 200, **headers: str) -> Answer:
        """An honest answer; a header's name has "_" for "-"."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return cls(status, {"Content-Length": str(len(body)), **named}, body)


class WebServer:
    """A running server."""

    def __init__(self, server: ThreadingHTTPServer, scheme: str) -> None:
        self.port = server.server_port
        self.url = f"{scheme}://127.0.0.1:{self.port}"
        self.requests: list[Request] = []
        #: What tells a thread of a tunnel to end.
        self.is_over = threading.Event()

    @property
    def asked(self) -> list[str]:
        """Method and target of all requests."""
        return [f"{request.method} {request.target}" for request in self.requests]


@contextmanager
def serve(
    answer: Callable[[Request], Answer], certificate: tuple[Path, Path] | None = None
) -> Iterator[WebServer]:
    """A server that gives these answers; with a certificate and its key, by HTTPS."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    found = WebServer(server, "http" if certificate is None else "https")
    server.RequestHandlerClass = _handler(answer, found)
    # Not waited for: a client may keep its connection as long as it likes.
    server.daemon_threads = True
    server.block_on_close = False
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield found
    finally:
        found.is_over.set()
        server.shutdown()
        thread.join()
        server.server_close()


def _handler(answer: Callable[[Request], Answer], found: WebServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            pass

        def handle(self) -> None:
            # A client that is gone is the test's own doing.
            with suppress(OSError):
                super().handle()

        def _reply(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(self.command, self.path, headers, body)
            found.requests.append(request)
            said = answer(request)
            self.send_response_only(said.status)
            for name, value in said.headers.items():
                self.send_header(name, value)
            if said.headers.keys().isdisjoint(("Content-Length", "Transfer-Encoding")):
                self.send_header("Connection", "close")
            self.end_headers()
            if self.command == "CONNECT" and said.status == 200:
                self._tunnel()
            elif self.command != "HEAD":
                self.wfile.write(said.body)

        def _tunnel(self) -> None:
            self.close_connection = True
            host, _, port = self.path.rpartition(":")
            with socket.create_connection((host, int(port))) as server:
                back = threading.Thread(target=_pass_on, args=(server, self.connection))
                back.start()
                _pass_on(self.connection, server)
                back.join()

        do_GET = do_HEAD = do_PUT = do_DELETE = do_MKCOL = do_CONNECT = _reply

    return Handler


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(64 * 1024):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
