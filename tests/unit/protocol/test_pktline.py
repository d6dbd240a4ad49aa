"""pkt-lines: what is written can be read, however it is cut; what git would refuse is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from git_datareg.errors import LocalProtocolError, RemoteProtocolError
from git_datareg.protocol.pktline import (
    FLUSH,
    FLUSH_PKT,
    MAX_PAYLOAD,
    Marker,
    PktParser,
    encode,
    encode_content,
)
from tests.support.feeding import FEEDINGS, pieces

LARGEST = b"x" * MAX_PAYLOAD


def take(parser: PktParser) -> bytes | Marker | None:
    packet = parser.next_packet()
    return bytes(packet) if isinstance(packet, memoryview) else packet


def parse(fed: list[bytes]) -> list[bytes | Marker]:
    parser = PktParser()
    found: list[bytes | Marker] = []
    for piece in fed:
        parser.feed(piece)
        while (packet := take(parser)) is not None:
            found.append(packet)
    return found


# The examples of gitprotocol-common(5), and the limits.
@pytest.mark.parametrize("feeding", FEEDINGS)
@pytest.mark.parametrize(
    ("data", "packet"),
    [
        (b"0006a\n", b"a\n"),
        (b"0005a", b"a"),
        (b"000bfoobar\n", b"foobar\n"),
        (b"0004", b""),
        (b"0000", FLUSH_PKT),
        (b"00080000", b"0000"),
        (b"000Aabcdef", b"abcdef"),
        (b"fff0" + LARGEST, LARGEST),
    ],
    ids=["line", "no LF", "word", "empty", "flush", "like a flush", "capital", "largest"],
)
def test_a_packet_is_read(data: bytes, packet: bytes | Marker, feeding: str) -> None:
    assert parse(pieces(data, feeding, trailing=b"0009h")) == [packet]


@pytest.mark.parametrize("feeding", FEEDINGS)
@pytest.mark.parametrize(
    "header",
    [*b"0001 0002 0003 fff1 ffff -001 +00a 0_0a 0x0a zzzz".split(), b" 00a", b"00\n0", b"\0\xff00"],
)
def test_a_length_that_cannot_be_is_the_peers_fault(header: bytes, feeding: str) -> None:
    with pytest.raises(RemoteProtocolError, match="length"):
        parse(pieces(header, feeding, trailing=b"abcdef"))


def test_a_bad_length_is_reported_again_when_asked_again() -> None:
    parser = PktParser()
    parser.feed(b"0001")
    for _ in range(2):
        with pytest.raises(RemoteProtocolError):
            parser.next_packet()


@pytest.mark.parametrize("feeding", FEEDINGS)
@pytest.mark.parametrize("packets", [[], [b"a\n"], [b"0000", b"", LARGEST]])
def test_a_list_is_read_once_all_of_it_is_here(packets: list[bytes], feeding: str) -> None:
    data = b"".join(b"%04x%b" % (4 + len(each), each) for each in packets) + FLUSH
    parser = PktParser()
    found = None
    for piece in pieces(data, feeding, trailing=b"0005x"):
        assert found is None
        parser.feed(piece)
        found = parser.next_list(200_000)
    assert found == packets
    assert parser.next_packet() == (b"x" if feeding == "with trailing data" else None)


@pytest.mark.parametrize("feeding", FEEDINGS)
def test_a_list_is_limited_with_its_headers_and_its_end(feeding: str) -> None:
    data = b"0005a0006bb0000"
    for limit, found in ((len(data), [b"a", b"bb"]), (len(data) - 1, None)):
        parser = PktParser()
        for piece in pieces(data, feeding, trailing=b"0005x"):
            parser.feed(piece)
            last = parser.next_list(limit)
        assert last == found
        assert (parser.waiting >= limit) is (found is None)


@given(st.lists(st.binary(min_size=1, max_size=30), max_size=5), st.integers(1, 20), st.booleans())
def test_a_buffer_may_be_used_again_for_each_piece(
    packets: list[bytes], size: int, as_list: bool
) -> None:
    data = b"".join(map(encode, packets)) + FLUSH
    parser, buffer = PktParser(), bytearray(size)
    found: list[bytes | Marker] = []
    for start in range(0, len(data), size):
        piece = data[start : start + size]
        buffer[: len(piece)] = piece
        parser.feed(memoryview(buffer)[: len(piece)])
        if as_list:
            found += parser.next_list(1000) or []
        else:
            while (packet := take(parser)) is not None:
                found.append(packet)
        buffer[:] = bytes(size)
    assert found == packets + [FLUSH_PKT] * (not as_list)


def test_a_packet_is_written() -> None:
    assert encode(b"a\n") == b"0006a\n"
    assert encode(memoryview(b"foobar")) == b"000afoobar"
    assert encode(LARGEST) == b"fff0" + LARGEST


@pytest.mark.parametrize("length", [0, MAX_PAYLOAD + 1])
def test_what_no_packet_can_carry_is_our_fault(length: int) -> None:
    with pytest.raises(LocalProtocolError, match=f"carry {length} bytes"):
        encode(b"x" * length)


@pytest.mark.parametrize(
    ("length", "lengths"),
    [
        (0, []),
        (1, [1]),
        (MAX_PAYLOAD, [MAX_PAYLOAD]),
        (MAX_PAYLOAD + 1, [MAX_PAYLOAD, 1]),
        (200_000, [65516, 65516, 65516, 3452]),
    ],
)
def test_content_is_split_into_the_largest_packets(length: int, lengths: list[int]) -> None:
    packets = parse([b"".join(encode_content(b"x" * length))])
    assert [len(packet) for packet in packets if isinstance(packet, bytes)] == lengths


def test_content_is_not_copied_on_its_way_out() -> None:
    data = bytes(100_000)
    views = [piece for piece in encode_content(data) if isinstance(piece, memoryview)]
    assert [view.obj is data for view in views] == [True, True]


def test_packets_that_came_whole_are_views_of_what_came() -> None:
    data = b"".join(encode_content(bytes(MAX_PAYLOAD * 3)))
    parser = PktParser()
    parser.feed(data)
    for _ in range(3):
        packet = parser.next_packet()
        assert isinstance(packet, memoryview)
        assert packet.obj is data


def test_packets_are_read_only() -> None:
    parser = PktParser()
    parser.feed(b"000")
    assert parser.next_packet() is None
    parser.feed(b"6ab")
    packet = parser.next_packet()
    assert isinstance(packet, memoryview)
    assert packet.readonly


def test_a_buffer_may_be_used_again_once_all_packets_were_taken() -> None:
    buffer = bytearray(b"0006ab0008c")
    parser = PktParser()
    parser.feed(buffer)
    assert take(parser) == b"ab"
    assert parser.next_packet() is None
    buffer[:] = b"def0005gxxx"
    parser.feed(memoryview(buffer)[:8])
    assert take(parser) == b"cdef"
    assert take(parser) == b"g"
    assert parser.next_packet() is None


def test_input_may_be_fed_before_the_last_was_taken() -> None:
    parser = PktParser()
    for piece in (b"0006ab00", b"05c00", b"00"):
        parser.feed(piece)
    assert take(parser) == b"ab"
    assert take(parser) == b"c"
    assert parser.next_packet() is FLUSH_PKT


def test_it_is_known_whether_the_input_may_end() -> None:
    parser = PktParser()
    assert parser.is_between_packets
    for piece, between in ((b"00", False), (b"05", False), (b"a", True), (b"0000", True)):
        parser.feed(piece)
        parser.next_packet()
        assert parser.is_between_packets is between
    parser.feed(b"0000")
    assert not parser.is_between_packets


payloads = st.binary(min_size=1, max_size=40) | st.just(LARGEST)


@given(st.lists(payloads | st.none(), max_size=8), st.data())
def test_what_is_written_is_read_however_it_is_cut(
    packets: list[bytes | None], data: st.DataObject
) -> None:
    stream = b"".join(FLUSH if packet is None else encode(packet) for packet in packets)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    fed = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    expected = [FLUSH_PKT if packet is None else packet for packet in packets]
    assert parse(fed) == expected


@given(st.binary(max_size=200))
def test_any_bytes_give_packets_or_the_peers_fault(stream: bytes) -> None:
    try:
        packets = parse([stream])
    except RemoteProtocolError:
        return
    assert sum(4 if isinstance(packet, Marker) else 4 + len(packet) for packet in packets) <= len(
        stream
    )
