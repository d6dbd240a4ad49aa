"""pkt-lines: the packets that Git's protocols are cut into.

Owns the framing of gitprotocol-common(5), "pkt-line Format": a length of four
hex digits, which counts itself, then the payload. Does not know what a payload
means: whether it is text (with a line feed at its end) or content.
"""

from __future__ import annotations

import enum
from binascii import unhexlify
from functools import cache
from typing import Final, TypeAlias

from git_datareg.errors import LocalProtocolError, RemoteProtocolError

Buffer: TypeAlias = bytes | bytearray | memoryview

#: The most that one packet carries (LARGE_PACKET_DATA_MAX of Git's pkt-line.h).
MAX_PAYLOAD: Final = 65516
#: The packet that ends a list or a content.
FLUSH: Final = b"0000"

_HEADER = 4
_MAX_PACKET = _HEADER + MAX_PAYLOAD


class Marker(enum.Enum):
    """Packets that carry no payload."""

    FLUSH_PKT = "flush-pkt"


#: What the parser gives for a flush packet. Not `FLUSH`: content may be those bytes.
FLUSH_PKT: Final = Marker.FLUSH_PKT


def encode(payload: Buffer) -> bytes:
    """One packet with `payload`.

    Raises LocalProtocolError for more than `MAX_PAYLOAD` bytes, and for none:
    gitprotocol-common(5) says that an empty packet should not be sent.
    """
    if not 0 < len(payload) <= MAX_PAYLOAD:
        raise LocalProtocolError(f"a packet can't carry {len(payload)} bytes")
    return b"".join((_header(len(payload)), payload))


def encode_content(data: Buffer) -> list[Buffer]:
    """Packets for content of any length: header, payload, header, payload ...

    Fit for `b"".join` or `os.writev`; the payloads are views of `data`, nothing
    is copied. No flush packet at the end; none at all for empty `data`.
    """
    if 0 < len(data) <= MAX_PAYLOAD:
        return [_header(len(data)), data]
    view = memoryview(data)
    pieces: list[Buffer] = []
    for start in range(0, len(view), MAX_PAYLOAD):
        payload = view[start : start + MAX_PAYLOAD]
        pieces += (_header(len(payload)), payload)
    return pieces


class PktParser:
    """Cuts a stream of bytes back into packets.

    A payload that lies whole in one piece of input is given as a view of that
    piece; only what is split between pieces is copied.
    """

    def __init__(self) -> None:
        self._data: Buffer = b""
        self._position = 0
        self._split = bytearray()

    def feed(self, data: Buffer) -> None:
        """Take the next piece of the stream.

        Its buffer may be used again when `next_packet` or `next_list` has given None, and
        nobody uses the payloads any more. What is left when a piece is fed is copied.
        """
        if self._position < len(self._data):
            data = b"".join((memoryview(self._data)[self._position :], data))
        self._data = data
        self._position = 0

    def next_packet(self) -> memoryview | Marker | None:
        """The payload of the next packet, `FLUSH_PKT`, or None when more input is needed.

        Raises RemoteProtocolError for a length that is not four hex digits, is
        larger than Git allows, or is 1 to 3: those are the delimiters of other
        protocols.
        """
        if self._split:
            return self._next_split()
        start = self._position + _HEADER
        if start > len(self._data):
            self._keep_rest()
            return None
        length = _length(bytes(self._data[self._position : start]))
        if not length:
            self._position = start
            return FLUSH_PKT
        if self._position + length > len(self._data):
            self._keep_rest()
            return None
        self._position += length
        return memoryview(self._data)[start : self._position]

    def next_list(self, limit: int) -> list[bytes] | None:
        """The payloads of all packets up to the next flush packet, if that is within `limit` bytes.

        None if it does not, or not yet: then fewer than `limit` bytes are `waiting`. Until it
        is whole, a list is read anew after each piece of input. Raises RemoteProtocolError as
        `next_packet`. Not to be called when that has given None since the last flush packet.
        """
        data, position = self._data, self._position
        end = min(len(data), position + limit)
        found: list[bytes] = []
        while (start := position + _HEADER) <= end:
            length = _length(bytes(data[position:start]))
            if not length:
                self._position = start
                return found
            position += length
            found.append(bytes(data[start:position]))
        self._data, self._position = bytes(data[self._position :]), 0
        return None

    @property
    def waiting(self) -> int:
        """How many bytes were fed and not given out."""
        return len(self._split) + len(self._data) - self._position

    @property
    def is_between_packets(self) -> bool:
        """Whether all bytes fed so far were given out: the input may end here."""
        return self.waiting == 0

    def _keep_rest(self) -> None:
        self._split += self._data[self._position :]
        self._data = b""
        self._position = 0

    def _next_split(self) -> memoryview | Marker | None:
        """Go on with the packet whose first bytes came with an earlier piece."""
        if not self._fill(_HEADER):
            return None
        length = _length(bytes(self._split[:_HEADER]))
        if not self._fill(length):
            return None
        packet, self._split = self._split, bytearray()
        return memoryview(packet).toreadonly()[_HEADER:] if length else FLUSH_PKT

    def _fill(self, size: int) -> bool:
        """Bring the split packet to `size` bytes; say whether there was enough input."""
        if len(self._split) < size:
            end = self._position + size - len(self._split)
            self._split += self._data[self._position : end]
            self._position = min(end, len(self._data))
        return len(self._split) >= size


def _header(length: int) -> bytes:
    return b"%04x" % (_HEADER + length)


@cache
def _length(header: bytes) -> int:
    """How many bytes the packet has, with its header; 0 for a flush packet, which has no more.

    Remembered, since a conversation has few different ones, and very many packets.
    """
    try:
        # int() would take "-001", "0x01", " 001" and "0_01".
        length = int.from_bytes(unhexlify(header), "big")
    except ValueError:
        raise RemoteProtocolError(f"not the length of a packet: {header!r}") from None
    if length and not _HEADER <= length <= _MAX_PACKET:
        raise RemoteProtocolError(f"no packet can have this length: {header!r}")
    return length
