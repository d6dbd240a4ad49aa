"""pkt-lines: the packets that Git's protocols are cut into.

Owns the framing of gitprotocol-common(5), "pkt-line Format": a length of four
hex digits, which counts itself, then the payload. Does not know what a payload
means: whether it is text (with a line feed at its end) or content.
"""

from __future__ import annotations

import enum
from typing import Final, TypeAlias

from git_datareg.errors import LocalProtocolError, RemoteProtocolError

Buffer: TypeAlias = bytes | bytearray | memoryview

#: The most that one packet carries (LARGE_PACKET_DATA_MAX of Git's pkt-line.h).
MAX_PAYLOAD: Final = 65516
#: The packet that ends a list or a content.
FLUSH: Final = b"0000"

_HEADER = 4
_MAX_PACKET = _HEADER + MAX_PAYLOAD
_HEX_DIGITS = frozenset(b"0123456789abcdefABCDEF")
_NOTHING = memoryview(b"")


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
    view = memoryview(data)
    pieces: list[Buffer] = []
    for start in range(0, len(view), MAX_PAYLOAD):
        payload = view[start : start + MAX_PAYLOAD]
        pieces += (_header(len(payload)), payload)
    return pieces


class PktParser:
    """Cuts a stream of bytes back into packets.

    A payload that lies whole in one piece of input is given as a view of that
    piece; only a packet that is split between pieces is copied, once. What is
    kept between calls, once `next_packet` gave None, is less than one packet.
    """

    def __init__(self) -> None:
        self._view = _NOTHING
        self._position = 0
        self._split = bytearray()

    def feed(self, data: Buffer) -> None:
        """Take the next piece of the stream.

        Take all packets before the next piece: what is left is copied. A caller
        that uses its buffer again must have done so, and must be done with the
        payloads too.
        """
        if self._position < len(self._view):
            data = b"".join((self._view[self._position :], data))
        self._view = memoryview(data)
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
        if start > len(self._view):
            self._keep_rest()
            return None
        length = _payload_length(self._view[self._position : start])
        if length is None:
            self._position = start
            return FLUSH_PKT
        if start + length > len(self._view):
            self._keep_rest()
            return None
        self._position = start + length
        return self._view[start : self._position]

    @property
    def is_between_packets(self) -> bool:
        """Whether all bytes fed so far were given out: the input may end here."""
        return not self._split and self._position == len(self._view)

    def _keep_rest(self) -> None:
        self._split += self._view[self._position :]
        self._view = _NOTHING
        self._position = 0

    def _next_split(self) -> memoryview | Marker | None:
        """Go on with the packet whose first bytes came with an earlier piece."""
        if not self._fill(_HEADER):
            return None
        length = _payload_length(self._split[:_HEADER])
        if length is not None and not self._fill(_HEADER + length):
            return None
        packet, self._split = self._split, bytearray()
        return FLUSH_PKT if length is None else memoryview(packet).toreadonly()[_HEADER:]

    def _fill(self, size: int) -> bool:
        """Bring the split packet to `size` bytes; say whether there was enough input."""
        if len(self._split) < size:
            end = self._position + size - len(self._split)
            self._split += self._view[self._position : end]
            self._position = min(end, len(self._view))
        return len(self._split) >= size


def _header(length: int) -> bytes:
    return b"%04x" % (_HEADER + length)


def _payload_length(header: bytearray | memoryview) -> int | None:
    """How many bytes follow the header; None for a flush packet."""
    # int() alone would take "-001", "+001", " 001" and "0_01".
    if not _HEX_DIGITS.issuperset(header):
        raise RemoteProtocolError(f"not the length of a packet: {bytes(header)!r}")
    size = int(bytes(header), 16)
    if size == 0:
        return None
    if not _HEADER <= size <= _MAX_PACKET:
        raise RemoteProtocolError(f"no packet can have this length: {bytes(header)!r}")
    return size - _HEADER
