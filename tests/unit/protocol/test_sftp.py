"""SFTP: packets as the draft has them, and whatever a server may send instead."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from git_datareg.errors import LocalProtocolError, RemoteProtocolError
from git_datareg.protocol import sftp
from git_datareg.protocol.sftp import Attributes, Entry, Numbered, Replies
from tests.support.feeding import FEEDINGS, pieces


def string(value: bytes) -> bytes:
    return struct.pack(">I", len(value)) + value


def packet(kind: int, body: bytes) -> bytes:
    return struct.pack(">IB", len(body) + 1, kind) + body


def reply(kind: int, number: int, *fields: bytes) -> bytes:
    return packet(kind, struct.pack(">I", number) + b"".join(fields))


def u32(value: int) -> bytes:
    return struct.pack(">I", value)


def u64(value: int) -> bytes:
    return struct.pack(">Q", value)


def test_a_conversation_begins_with_the_version() -> None:
    assert sftp.hello() == b"\0\0\0\5\1\0\0\0\3"


# The types and fields of draft-ietf-secsh-filexfer-02, section 6.
@pytest.mark.parametrize(
    ("request_", "kind", "body"),
    [
        (sftp.open_to_read(b"/a"), 3, string(b"/a") + u32(1) + u32(0)),
        (sftp.open_new(b"/a"), 3, string(b"/a") + u32(0x2A) + u32(0)),
        (sftp.close(b"h"), 4, string(b"h")),
        (sftp.read(b"h", 2**40, 7), 5, string(b"h") + u64(2**40) + u32(7)),
        (sftp.write(b"h", 5, b"data"), 6, string(b"h") + u64(5) + string(b"data")),
        (sftp.lstat(b"a"), 7, string(b"a")),
        (sftp.open_directory(b"a"), 11, string(b"a")),
        (sftp.read_directory(b"h"), 12, string(b"h")),
        (sftp.remove(b"a"), 13, string(b"a")),
        (sftp.make_directory(b"a"), 14, string(b"a") + u32(0)),
        (sftp.stat(b"a"), 17, string(b"a")),
        (sftp.rename(b"a", b"b"), 18, string(b"a") + string(b"b")),
        (sftp.fsync(b"h"), 200, string(b"fsync@openssh.com") + string(b"h")),
        (sftp.limits(), 200, string(b"limits@openssh.com")),
        (sftp.expand_path(b"~a"), 200, string(b"expand-path@openssh.com") + string(b"~a")),
    ],
)
def test_a_request_is_encoded_as_the_draft_says(
    request_: sftp.Request, kind: int, body: bytes
) -> None:
    assert sftp.encode(request_, 9) == reply(kind, 9, body)


@pytest.mark.parametrize("number", [0, -1, 2**32])
def test_a_number_that_is_none_is_our_fault(number: int) -> None:
    with pytest.raises(LocalProtocolError):
        sftp.encode(sftp.close(b"h"), number)


def test_a_request_that_no_server_would_take_is_our_fault() -> None:
    with pytest.raises(LocalProtocolError):
        sftp.encode(sftp.write(b"h", 0, bytes(1024 * 1024)), 1)


ALL = 0x8000000F
ATTRIBUTES = u32(ALL) + u64(7) + u32(1) * 2 + u32(0o100644) + u32(5) + u32(6) + u32(1)
ATTRIBUTES += string(b"x") + string(b"y")
REPLIES = [
    (packet(2, u32(3)), Numbered(0, sftp.Version(frozenset()))),
    (
        packet(2, u32(3) + string(b"fsync@openssh.com") + string(b"1")),
        Numbered(0, sftp.Version(frozenset((sftp.FSYNC,)))),
    ),
    (reply(101, 1, u32(4), string(b"Failure"), string(b"en")), sftp.Status(4, "Failure")),
    (reply(101, 1, u32(2)), sftp.Status(sftp.NO_SUCH_FILE, "")),
    (reply(102, 1, string(b"\0h")), sftp.Handle(b"\0h")),
    (reply(103, 1, string(b"data")), sftp.Data(b"data")),
    (reply(103, 1, string(b"")), sftp.Data(b"")),
    (
        reply(104, 1, u32(2), *[string(b"a"), string(b"-rw a"), ATTRIBUTES] * 2),
        sftp.Names((Entry(b"a", Attributes(7, 0o100644, 6)),) * 2),
    ),
    (reply(105, 1, u32(0)), sftp.Found(Attributes(None, None, None))),
    (reply(105, 1, ATTRIBUTES), sftp.Found(Attributes(7, 0o100644, 6))),
    (reply(201, 1, b"anything"), sftp.Extended(b"anything")),
]
WHOLE = [
    (raw, expected if isinstance(expected, Numbered) else Numbered(1, expected))
    for raw, expected in REPLIES
]


@pytest.mark.parametrize("feeding", FEEDINGS)
@pytest.mark.parametrize(("raw", "expected"), WHOLE)
def test_a_reply_is_understood_however_it_is_cut(
    raw: bytes, expected: Numbered, feeding: str
) -> None:
    replies = Replies()
    found = [each for piece in pieces(raw * 3, feeding) for each in replies.feed(piece)]
    assert found == [expected] * 3


@pytest.mark.parametrize(
    "raw",
    [
        packet(2, u32(3) + string(b"name") + string(b"1")),
        reply(101, 1, u32(4), string(b"Failure")),
        reply(102, 1, string(b"handle")),
        reply(103, 1, string(b"data")),
        reply(104, 1, u32(1), string(b"a"), string(b"-rw a"), ATTRIBUTES),
        reply(105, 1, ATTRIBUTES),
    ],
)
def test_a_packet_that_ends_in_a_field_is_a_fault(raw: bytes) -> None:
    body = raw[4:]
    list(Replies().feed(raw))
    for size in (2, 3, len(body) - 1):
        with pytest.raises(RemoteProtocolError, match="too early"):
            list(Replies().feed(u32(size) + body[:size] + b"next"))


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (b"This account is closed.\n", "This account is closed"),
        (b"\0\0\0\0\0", "not SFTP"),
        (packet(2, u32(2)), "version 2"),
        (reply(3, 1, b""), "type 3"),
        (reply(0, 1, b""), "type 0"),
        (b"\x7f\xff\xff\xff\x67", "not SFTP"),
    ],
)
def test_what_is_no_reply_is_told_and_shown(raw: bytes, told: str) -> None:
    with pytest.raises(RemoteProtocolError, match=told):
        list(Replies().feed(raw))


@given(st.binary(max_size=200))
def test_whatever_comes_is_a_reply_or_a_fault_of_the_peer(data: bytes) -> None:
    replies = Replies()
    try:
        for each in replies.feed(packet(104, data)):
            assert isinstance(each, Numbered)
    except RemoteProtocolError:
        pass


def test_a_kind_of_file_is_told_by_its_mode() -> None:
    file, folder, link = (Attributes(1, mode, 1) for mode in (0o100600, 0o040700, 0o120777))
    assert (file.is_file, file.is_directory, file.is_link) == (True, False, False)
    assert (folder.is_file, folder.is_directory, folder.is_link) == (False, True, False)
    assert (link.is_file, link.is_directory, link.is_link) == (False, False, True)
    unknown = Attributes(1, None, None)
    assert (unknown.is_file, unknown.is_directory, unknown.is_link) == (True, False, False)


@pytest.mark.parametrize(
    ("read", "write", "limit"),
    [(261120, 261120, 261120), (2**40, 2**40, 261120), (0, 0, 32768), (100_000, 50_000, 50_000)],
)
def test_packets_are_as_large_as_both_sides_like(read: int, write: int, limit: int) -> None:
    told = sftp.Extended(u64(262144) + u64(read) + u64(write) + u64(10))
    assert sftp.data_limit(told) == limit


@pytest.mark.parametrize("told", [sftp.Status(8, "unsupported"), sftp.Extended(b"short")])
def test_a_server_without_limits_gets_small_packets(told: sftp.Reply) -> None:
    assert sftp.data_limit(told) == sftp.SAFE_DATA
