"""Open files of SFTP: what is read is asked for ahead, what is written is answered behind."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import BinaryIO

from git_datareg.errors import StorageError
from git_datareg.protocol import sftp
from git_datareg.storage.channel import Channel, Waiting
from git_datareg.storage.pieces import Pieces

#: How many packets of data are under way; a connection of OpenSSH holds 2 MiB.
_WINDOW = 12

#: The fault that a server's reply tells.
Fault = Callable[[sftp.Reply], StorageError]


class Stream(Pieces):
    """The bytes of an open file from `start` to `end`, asked for ahead."""

    def __init__(self, channel: Channel, handle: bytes, start: int, end: int, fault: Fault) -> None:
        super().__init__()
        self._channel = channel
        self._handle = handle
        self._next, self._end = start, end
        self._fault = fault
        self._asked: deque[tuple[int, int, Waiting]] = deque()
        self._window = 2
        channel.users.append(None)

    def _fetched(self) -> bytes:
        while self._next < self._end and len(self._asked) < self._window:
            size = min(self._channel.data_limit, self._end - self._next)
            self._ask(self._next, size)
            self._next += size
        self._window = min(2 * self._window, _WINDOW)
        if not self._asked:
            return b""
        offset, size, waiting = self._asked.popleft()
        reply = self._channel.receive(waiting)
        if isinstance(reply, sftp.Status) and reply.code == sftp.EOF:
            # It is shorter than it was: what was asked for beyond is nothing, too.
            self._asked.clear()
            self._next = self._end
            return b""
        if not isinstance(reply, sftp.Data) or not reply.data:
            raise self._fault(reply)
        if len(reply.data) < size:
            # A server may give less, say when it is busy: the rest comes before what follows.
            self._ask(offset + len(reply.data), size - len(reply.data))
            self._asked.rotate(1)
        return reply.data

    def _ask(self, offset: int, size: int) -> None:
        waiting = self._channel.send(sftp.read(self._handle, offset, size))
        self._asked.append((offset, size, waiting))

    def close(self) -> None:
        """See io.RawIOBase."""
        if not self.closed:
            # Also where a stream that nobody closed is collected: whatever that thread holds.
            self._channel.forget(self._handle)
            self._channel.users.pop()
        super().close()


def write_all(channel: Channel, handle: bytes, source: BinaryIO, size: int, fault: Fault) -> bool:
    """Copy a source to a new file; whether it had so many bytes. All of them are answered."""
    offset, waiting = 0, deque[Waiting]()
    while offset < size and (data := _piece(source, min(channel.data_limit, size - offset))):
        waiting.append(channel.send(sftp.write(handle, offset, data)))
        offset += len(data)
        if len(waiting) >= _WINDOW:
            _expect_ok(channel.receive(waiting.popleft()), fault)
    for each in waiting:
        _expect_ok(channel.receive(each), fault)
    return offset == size and not source.read(1)


def _expect_ok(reply: sftp.Reply, fault: Fault) -> None:
    if not isinstance(reply, sftp.Status) or reply.code != sftp.OK:
        raise fault(reply)


def _piece(source: BinaryIO, size: int) -> bytes:
    """So many bytes of a source that may give less at a time; less only at its end."""
    first = source.read(size)
    if not first or len(first) == size:
        return first
    found = bytearray(first)
    while len(found) < size and (more := source.read(size - len(found))):
        found += more
    return bytes(found)
