"""A proxy on loopback that does to a conversation what bad networks and servers do.

It stands before any server that speaks HTTP/1.1 (nginx, one for S3, ...) and passes
everything on, until a fault is planned:

    with badproxy.before(server_port) as proxy:
        proxy.plan(Cut(after=1000), Answer(503, {"Retry-After": "1"}))
        ... talk to proxy.url: the first request's answer breaks off after 1000 bytes of
        its body, the second never reaches the server, all later ones pass

A request takes the next fault of the plan, or, when there is none, `proxy.always`.
`proxy.skip` may leave requests out of it. Without TLS only: it reads what passes.
"""

from __future__ import annotations

import select
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import NamedTuple

_BUFFER = 64 * 1024
_END_OF_HEAD = b"\r\n\r\n"


class Pass(NamedTuple):
    """No fault."""


class Refuse(NamedTuple):
    """The connection is reset as soon as the request comes."""


class Cut(NamedTuple):
    """The connection ends after so many bytes of the answer's body, or is reset then."""

    after: int
    is_reset: bool = False


class Stall(NamedTuple):
    """After so many bytes of the answer's body nothing comes any more."""

    after: int = 0


class Corrupt(NamedTuple):
    """One byte of the answer's body, if it has that many, is another."""

    at: int = 0


class Delay(NamedTuple):
    """The request waits before it goes on: how a distant server looks."""

    seconds: float


class CutRequest(NamedTuple):
    """Both connections end after so many bytes of the request, head and all."""

    after: int


class Lost(NamedTuple):
    """The server does what it is asked, but its answer never comes: the connection ends."""


class Answer(NamedTuple):
    """The proxy answers by itself; the server hears nothing."""

    status: int
    headers: Mapping[str, str] = {}
    body: bytes = b""
    reason: str = "Planned"


Fault = Pass | Refuse | Cut | Stall | Corrupt | Delay | CutRequest | Lost | Answer


class BadProxy:
    """The running proxy. Its methods may be called at any time, from any thread."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._planned: deque[Fault] = deque()
        self._threads: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept)
        self._is_over = threading.Event()
        #: What a request meets that finds the plan empty.
        self.always: Fault = Pass()
        #: Requests that meet no fault: told by their first line, "GET /x HTTP/1.1".
        self.skip: Callable[[str], bool] = lambda line: False
        #: The first lines of all requests, without "HTTP/1.1".
        self.requests: list[str] = []
        #: How many connections there have been.
        self.connections = 0
        self._open: set[socket.socket] = set()

    @property
    def port(self) -> int:
        """The port to talk to."""
        port: int = self._listener.getsockname()[1]
        return port

    @property
    def url(self) -> str:
        """The URL to talk to, without a slash at its end."""
        return f"http://127.0.0.1:{self.port}"

    def plan(self, *faults: Fault) -> None:
        """Have the next requests meet these, one each, in this order."""
        with self._lock:
            self._planned.extend(faults)

    def disconnect(self) -> None:
        """End all connections, as servers do with those that nobody used for a while."""
        with self._lock:
            for client in self._open:
                with suppress(OSError):
                    client.shutdown(socket.SHUT_RDWR)

    def count(self, start: str) -> int:
        """How many requests began so, for example with "GET /objects/"."""
        return sum(line.startswith(start) for line in list(self.requests))

    def _next(self, line: str) -> Fault:
        with self._lock:
            self.requests.append(line.removesuffix(" HTTP/1.1"))
            if self.skip(line):
                return Pass()
            return self._planned.popleft() if self._planned else self.always

    def start(self) -> None:
        """Begin to serve."""
        self._accepting.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            thread = threading.Thread(target=self._serve, args=(client,))
            self._threads.append(thread)
            thread.start()

    def close(self) -> None:
        """End all connections, also those that stall."""
        self._is_over.set()
        with suppress(OSError):
            # Wakes the thread that accepts; close alone does not.
            self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join()
        self._listener.close()
        for thread in self._threads:
            thread.join()

    def _serve(self, client: socket.socket) -> None:
        # A peer that is gone is nothing to tell: faults are our business.
        address = ("127.0.0.1", self._server_port)
        with self._lock:
            self._open.add(client)
        with suppress(OSError), socket.create_connection(address) as server:
            _Conversation(client, server, self._next, self._is_over).run()
        with self._lock:
            self._open.remove(client)
        client.close()


class _Over(Exception):
    """The conversation ends here."""


class _Conversation:
    """One client's connection, and ours to the server for it.

    A request begins where the client speaks after the server has: nobody sends
    a second request before the first is answered.
    """

    def __init__(
        self,
        client: socket.socket,
        server: socket.socket,
        choose: Callable[[str], Fault],
        is_over: threading.Event,
    ) -> None:
        self._client = client
        self._server = server
        self._choose = choose
        self._is_over = is_over
        self._fault: Fault = Pass()
        self._is_answered = True
        #: What has passed of the request and of the answer's body; None before the body.
        self._sent = 0
        self._body: int | None = None
        self._head = b""

    def run(self) -> None:
        """Pass on what comes until one side ends or a fault does."""
        with suppress(_Over):
            while not self._is_over.is_set():
                # Woken now and then, to see that it is over.
                ready, _, _ = select.select([self._client, self._server], [], [], 0.1)
                if self._server in ready:
                    self._answer(self._received(self._server))
                if self._client in ready:
                    self._request(self._received(self._client))

    def _received(self, peer: socket.socket) -> bytes:
        data = peer.recv(_BUFFER)
        if not data:
            raise _Over
        return data

    def _request(self, data: bytes) -> None:
        if self._is_answered:
            self._is_answered, self._sent, self._body, self._head = False, 0, None, b""
            self._fault = self._choose(data.partition(b"\r\n")[0].decode("latin-1"))
            self._begin(data)
        if isinstance(self._fault, CutRequest):
            self._server.sendall(data[: max(0, self._fault.after - self._sent)])
            self._sent += len(data)
            if self._sent >= self._fault.after:
                raise _Over
        else:
            self._server.sendall(data)

    def _begin(self, data: bytes) -> None:
        match self._fault:
            case Refuse():
                self._reset()
            case Delay(seconds):
                self._is_over.wait(seconds)
            case Answer():
                self._speak(self._fault, data)

    def _speak(self, answer: Answer, data: bytes) -> None:
        headers = {"Content-Length": str(len(answer.body)), **answer.headers, "Connection": "close"}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = f"HTTP/1.1 {answer.status} {answer.reason}\r\n{lines}\r\n".encode()
        body = b"" if data.startswith(b"HEAD ") else answer.body
        self._client.sendall(head + body)
        self._client.shutdown(socket.SHUT_WR)
        # What of the request was not read would turn the end into a reset.
        self._client.settimeout(5)
        while self._client.recv(_BUFFER):
            pass
        raise _Over

    def _answer(self, data: bytes) -> None:
        if data.startswith(b"HTTP/1.1 100 "):
            # The request goes on.
            self._client.sendall(data)
            return
        self._is_answered = True
        if isinstance(self._fault, Lost):
            raise _Over
        before = self._body
        head, body = self._parted(data)
        self._client.sendall(head)
        if isinstance(self._fault, (Cut, Stall)) and self._body is not None:
            left = self._fault.after - (before or 0)
            self._client.sendall(body[: max(0, left)])
            if self._body >= self._fault.after:
                self._stop(self._fault)
            return
        if isinstance(self._fault, Corrupt) and body:
            at = self._fault.at - (before or 0)
            if 0 <= at < len(body):
                body = body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]
        self._client.sendall(body)

    def _parted(self, data: bytes) -> tuple[bytes, bytes]:
        """What of `data` is the answer's head and what its body, which is counted."""
        if self._body is None:
            seen = len(self._head)
            self._head += data
            end = self._head.find(_END_OF_HEAD)
            if end < 0:
                return data, b""
            begin = end + len(_END_OF_HEAD) - seen
            self._body = len(data) - begin
            return data[:begin], data[begin:]
        self._body += len(data)
        return b"", data

    def _stop(self, fault: Cut | Stall) -> None:
        if isinstance(fault, Stall):
            self._wait_for_client()
        elif fault.is_reset:
            self._reset()
        raise _Over

    def _wait_for_client(self) -> None:
        """Be silent until the client gives up."""
        while not self._is_over.is_set():
            if select.select([self._client], [], [], 0.1)[0]:
                return

    def _reset(self) -> None:
        self._client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise _Over


@contextmanager
def before(server_port: int) -> Iterator[BadProxy]:
    """A proxy before the server on that port of 127.0.0.1."""
    proxy = BadProxy(server_port)
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.close()
