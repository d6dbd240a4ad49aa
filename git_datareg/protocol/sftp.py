"""SFTP, version 3: its packets, as requests to send and replies to understand.

Owns the encoding of draft-ietf-secsh-filexfer-02, the version that OpenSSH and
all others speak, and the few of OpenSSH's extensions that we use (its file
PROTOCOL, section 4). Does not know what a path means, or how bytes get anywhere.
"""

from __future__ import annotations

import stat as modes
import struct
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple, TypeAlias

from git_datareg.errors import LocalProtocolError, RemoteProtocolError

#: What every server takes in one read or write ("all servers SHOULD support packets
#: of at least 34000 bytes").
SAFE_DATA: Final = 32 * 1024
#: The most that is asked for or given at once; OpenSSH's packets have 256 KiB.
_MAX_DATA = 255 * 1024
#: No server has a reason for longer packets than this.
_MAX_PACKET = 1024 * 1024
_VERSION = 3
_SHOWN = 100

_INIT, _VERSION_REPLY = 1, 2
_OPEN, _CLOSE, _READ, _WRITE, _LSTAT = 3, 4, 5, 6, 7
_OPENDIR, _READDIR, _REMOVE, _MKDIR, _STAT, _RENAME = 11, 12, 13, 14, 17, 18
_STATUS, _HANDLE, _DATA, _NAME, _ATTRS = 101, 102, 103, 104, 105
_EXTENDED, _EXTENDED_REPLY = 200, 201

_READ_FLAG, _WRITE_FLAG, _CREATE_FLAG, _EXCLUSIVE_FLAG = 0x01, 0x02, 0x08, 0x20
_HAS_SIZE, _HAS_OWNER, _HAS_MODE, _HAS_TIMES, _HAS_EXTENDED = 0x1, 0x2, 0x4, 0x8, 0x80000000

#: What a status says.
OK, EOF, NO_SUCH_FILE, PERMISSION_DENIED, FAILURE, BAD_MESSAGE = range(6)
OP_UNSUPPORTED: Final = 8

#: Extensions of OpenSSH.
FSYNC: Final = "fsync@openssh.com"
LIMITS: Final = "limits@openssh.com"
EXPAND_PATH: Final = "expand-path@openssh.com"


class Request(NamedTuple):
    """What is asked, without the number that ties it to its reply."""

    kind: int
    fields: tuple[bytes, ...]


class Attributes(NamedTuple):
    """What a server says of a file; None where it doesn't say."""

    size: int | None
    mode: int | None
    mtime: int | None

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file; a server that doesn't tell has nothing else."""
        return self.mode is None or modes.S_ISREG(self.mode)

    @property
    def is_directory(self) -> bool:
        """Whether it is a directory."""
        return self.mode is not None and modes.S_ISDIR(self.mode)

    @property
    def is_link(self) -> bool:
        """Whether it is a symlink."""
        return self.mode is not None and modes.S_ISLNK(self.mode)


class Version(NamedTuple):
    """The reply to `hello`: which extensions there are."""

    extensions: frozenset[str]


class Status(NamedTuple):
    """How a request ended that has nothing to give."""

    code: int
    message: str


class Handle(NamedTuple):
    """An open file or directory."""

    handle: bytes


class Data(NamedTuple):
    """Bytes of a file; less than was asked for is not its end."""

    data: bytes


class Entry(NamedTuple):
    """A name in a directory, itself not followed if it is a symlink."""

    name: bytes
    attributes: Attributes


class Names(NamedTuple):
    """Some of a directory's entries, "." and ".." among them, or the one path that was asked."""

    entries: tuple[Entry, ...]


class Found(NamedTuple):
    """The attributes of a file."""

    attributes: Attributes


class Extended(NamedTuple):
    """The reply to an extension."""

    data: bytes


Reply: TypeAlias = Version | Status | Handle | Data | Names | Found | Extended


class Numbered(NamedTuple):
    """A reply, and the number of its request; 0 for the version, which answers `hello`."""

    number: int
    reply: Reply


def hello() -> bytes:
    """The packet that begins a conversation; nothing else may be sent before its reply."""
    return struct.pack(">IBI", 5, _INIT, _VERSION)


def encode(request: Request, number: int) -> bytes:
    """The packet of a request; numbers must not repeat among those without a reply."""
    length = 5 + sum(map(len, request.fields))
    if not 0 < number < 2**32 or length > _MAX_PACKET:
        raise LocalProtocolError(f"not a request: number {number}, {length} bytes")
    return b"".join((struct.pack(">IBI", length, request.kind, number), *request.fields))


def open_to_read(path: bytes) -> Request:
    """A handle for reading a file."""
    return _open(path, _READ_FLAG)


def open_new(path: bytes) -> Request:
    """A handle for writing a file that must not be there."""
    return _open(path, _WRITE_FLAG | _CREATE_FLAG | _EXCLUSIVE_FLAG)


def _open(path: bytes, flags: int) -> Request:
    return Request(_OPEN, (_string(path), _number(flags), _number(0)))


def close(handle: bytes) -> Request:
    """Give up a handle; the status may tell a fault of an earlier write."""
    return Request(_CLOSE, (_string(handle),))


def read(handle: bytes, offset: int, length: int) -> Request:
    """`Data` of a file, or `EOF`."""
    return Request(_READ, (_string(handle), _long(offset), _number(length)))


def write(handle: bytes, offset: int, data: bytes) -> Request:
    """Bytes to a place in a file."""
    return Request(_WRITE, (_string(handle), _long(offset), _number(len(data)), data))


def stat(path: bytes) -> Request:
    """`Found`: the attributes of what a path leads to."""
    return Request(_STAT, (_string(path),))


def lstat(path: bytes) -> Request:
    """`Found`, of a symlink itself."""
    return Request(_LSTAT, (_string(path),))


def open_directory(path: bytes) -> Request:
    """A handle for `read_directory`."""
    return Request(_OPENDIR, (_string(path),))


def read_directory(handle: bytes) -> Request:
    """`Names`, the next ones each time, at last `EOF`."""
    return Request(_READDIR, (_string(handle),))


def make_directory(path: bytes) -> Request:
    """A new directory, with the mode that the server gives."""
    return Request(_MKDIR, (_string(path), _number(0)))


def remove(path: bytes) -> Request:
    """Remove a file."""
    return Request(_REMOVE, (_string(path),))


def rename(path: bytes, target: bytes) -> Request:
    """Give a file another name, which must not be taken ("it is an error if there already exists").

    OpenSSH does it by link(2), where the file system has links.
    """
    return Request(_RENAME, (_string(path), _string(target)))


def fsync(handle: bytes) -> Request:
    """The extension FSYNC: put a file, or a directory, to disk."""
    return _extended(FSYNC, _string(handle))


def limits() -> Request:
    """The extension LIMITS, whose reply is for `data_limit`."""
    return _extended(LIMITS)


def expand_path(path: bytes) -> Request:
    """The extension EXPAND_PATH: `Names` with what a path with "~user" leads to."""
    return _extended(EXPAND_PATH, _string(path))


def _extended(name: str, *fields: bytes) -> Request:
    return Request(_EXTENDED, (_string(name.encode()), *fields))


def data_limit(reply: Reply) -> int:
    """How many bytes a read or a write may have, after the reply to `limits`."""
    if not isinstance(reply, Extended) or len(reply.data) < 32:
        return SAFE_DATA
    _, read, write, _ = struct.unpack_from(">QQQQ", reply.data)
    return max(SAFE_DATA, min(read or SAFE_DATA, write or SAFE_DATA, _MAX_DATA))


class Replies:
    """Takes a server's bytes as they come, and gives the replies that are whole."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Numbered]:
        """The replies that end in `data`, in their order.

        Raises RemoteProtocolError for what is none; what follows can't be
        understood then. It shows what a shell says that doesn't speak SFTP.
        """
        self._buffer += data
        start, buffer = 0, self._buffer
        try:
            while len(buffer) - start >= 5:
                (length,) = struct.unpack_from(">I", buffer, start)
                if not 0 < length <= _MAX_PACKET:
                    text = bytes(buffer[start : start + _SHOWN])
                    raise RemoteProtocolError(f"not SFTP: {text!r}")
                end = start + 4 + length
                if len(buffer) < end:
                    break
                yield _decoded(buffer[start + 4], memoryview(buffer)[start + 5 : end].tobytes())
                start = end
        finally:
            del self._buffer[:start]


def _decoded(kind: int, body: bytes) -> Numbered:
    fields = _Fields(body)
    number = fields.number()
    if kind == _VERSION_REPLY:
        # The number is the version: that of both which is lower.
        if number != _VERSION:
            raise RemoteProtocolError(f"SFTP of version {number}, not {_VERSION}")
        return Numbered(0, Version(frozenset(_names(fields))))
    decode = _DECODERS.get(kind)
    if decode is None:
        raise RemoteProtocolError(f"not a reply of SFTP: packet of type {kind}")
    return Numbered(number, decode(fields))


def _names(fields: _Fields) -> Iterator[str]:
    while fields.has_more:
        name, _ = fields.string(), fields.string()
        yield name.decode("ascii", "replace")


class _Fields:
    """A packet's fields, one after the other."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._next = 0

    @property
    def has_more(self) -> bool:
        return self._next < len(self._body)

    def number(self) -> int:
        return int.from_bytes(self._take(4), "big")

    def long(self) -> int:
        return int.from_bytes(self._take(8), "big")

    def string(self) -> bytes:
        return self._take(self.number())

    def rest(self) -> bytes:
        return self._take(len(self._body) - self._next)

    def attributes(self) -> Attributes:
        flags = self.number()
        size = self.long() if flags & _HAS_SIZE else None
        if flags & _HAS_OWNER:
            self._take(8)
        mode = self.number() if flags & _HAS_MODE else None
        times = [self.number(), self.number()] if flags & _HAS_TIMES else [None, None]
        for _ in range(self.number() if flags & _HAS_EXTENDED else 0):
            self.string(), self.string()
        return Attributes(size, mode, times[1])

    def _take(self, size: int) -> bytes:
        start, self._next = self._next, self._next + size
        if self._next > len(self._body):
            raise RemoteProtocolError("a packet of SFTP that ends too early")
        return self._body[start : self._next]


def _status(fields: _Fields) -> Status:
    code = fields.number()
    # Some servers leave out the words.
    message = fields.string() if fields.has_more else b""
    return Status(code, message.decode("utf-8", "replace"))


def _entries(fields: _Fields) -> Names:
    found = []
    for _ in range(fields.number()):
        name, _ = fields.string(), fields.string()
        found.append(Entry(name, fields.attributes()))
    return Names(tuple(found))


_DECODERS: Final[dict[int, Callable[[_Fields], Reply]]] = {
    _STATUS: _status,
    _HANDLE: lambda fields: Handle(fields.string()),
    _DATA: lambda fields: Data(fields.string()),
    _NAME: _entries,
    _ATTRS: lambda fields: Found(fields.attributes()),
    _EXTENDED_REPLY: lambda fields: Extended(fields.rest()),
}


def _string(value: bytes) -> bytes:
    return _number(len(value)) + value


def _number(value: int) -> bytes:
    return value.to_bytes(4, "big")


def _long(value: int) -> bytes:
    return value.to_bytes(8, "big")
