"""A server on loopback between a client and an S3 server: it notes, counts, and spoils.

It passes everything on as it is, the Host header too, so that signatures stay right.
A rule may answer instead, or wait; without a server behind it the rule is all there is.
"""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ssl import SSLContext
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit


class Request(NamedTuple):
    """What a client asked; names of headers in lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    size: int

    @property
    def part(self) -> int | None:
        """The number of the part that is sent, if it is one."""
        return int(self.query["partNumber"]) if self.method == "PUT" and self.query else None


class Answer(NamedTuple):
    """What a rule answers."""

    #: 0 is none at all: the connection ends.
    status: int
    body: bytes = b""
    headers: Mapping[str, str] = {}
    #: How many bytes of the body are sent; then `wait` is called, and the connection ends.
    cut: int | None = None
    wait: Callable[[], object] | None = None


Rule = Callable[[Request], Answer | None]


def error(status: int, code: str, message: str = "", **headers: str) -> Answer:
    """A refusal as S3 words it."""
    body = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return Answer(status, body.encode(), headers)


class Proxy:
    """The server; `requests` has all that came, `answered` what was given an answer.

    `rule`, and `spoil` for answers that are passed on, may be set at any time.
    """

    def __init__(self, endpoint: str, upstream: str | None, rule: Rule | None) -> None:
        self.endpoint = endpoint
        self.upstream = upstream
        self.rule = rule
        self.spoil: Callable[[Request, Answer], Answer] = lambda _, answer: answer
        self.requests: list[Request] = []
        self.answered: list[Request] = []
        self._changed = threading.Condition()

    def note(self, requests: list[Request], request: Request) -> None:
        """Put a request to one of the two lists."""
        with self._changed:
            requests.append(request)
            self._changed.notify_all()

    def wait_until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds of the two lists."""
        with self._changed:
            assert self._changed.wait_for(holds, timeout=60)

    def parts(self) -> list[int]:
        """The numbers of the parts that were sent, in the order of their coming."""
        return [each.part for each in self.requests if each.part is not None]


class _Server(ThreadingHTTPServer):
    # Some handlers wait for ever, on purpose.
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64


@contextmanager
def serve(
    upstream: str | None = None, rule: Rule | None = None, tls: SSLContext | None = None
) -> Iterator[Proxy]:
    """Serve until the end of the context."""
    server = _Server(("127.0.0.1", 0), _Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    scheme = "http" if tls is None else "https"
    proxy = Proxy(f"{scheme}://127.0.0.1:{server.server_port}", upstream, rule)
    server.proxy = proxy  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        try:
            self._handle()
        except OSError:
            # One of the two is gone, and so the other hears nothing.
            self.close_connection = True

    do_HEAD = do_PUT = do_POST = do_DELETE = do_GET

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _handle(self) -> None:
        proxy: Proxy = self.server.proxy  # type: ignore[attr-defined]
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query, True).items()}
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, url.path, query, headers, len(body))
        proxy.note(proxy.requests, request)
        answer = proxy.rule(request) if proxy.rule is not None else None
        if answer is None:
            assert proxy.upstream is not None, f"no rule for {request}"
            answer = proxy.spoil(request, self._passed_on(proxy.upstream, body))
        proxy.note(proxy.answered, request)
        self._answer(answer)

    def _passed_on(self, upstream: str, body: bytes) -> Answer:
        connection = http.client.HTTPConnection(urlsplit(upstream).netloc, timeout=60)
        try:
            connection.putrequest(
                self.command, self.path, skip_host=True, skip_accept_encoding=True
            )
            for name, value in self.headers.items():
                if name.lower() not in ("expect", "connection"):
                    connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            return Answer(answer.status, answer.read(), dict(answer.getheaders()))
        finally:
            connection.close()

    def _answer(self, answer: Answer) -> None:
        if not answer.status:
            self.close_connection = True
            return
        self.send_response_only(answer.status)
        headers = {"content-length": str(len(answer.body))}
        headers |= {name.lower(): value for name, value in answer.headers.items()}
        for name, value in headers.items():
            if name not in ("connection", "transfer-encoding"):
                self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body[: answer.cut])
        if answer.cut is not None:
            self.close_connection = True
            if answer.wait is not None:
                answer.wait()
