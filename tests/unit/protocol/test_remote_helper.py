"""The helper machine against recorded conversations, a git-side peer, and its own tables."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from git_datareg.errors import LocalProtocolError, RemoteProtocolError
from git_datareg.protocol import remote_helper as machine
from git_datareg.protocol.remote_helper import (
    INCOMING,
    NEED_DATA,
    OUTGOING,
    Capabilities,
    CapabilitiesAsked,
    EndOfInput,
    FetchBatch,
    FetchDone,
    HelperConnection,
    Incoming,
    ListAsked,
    Option,
    OptionError,
    OptionOk,
    OptionUnsupported,
    Outgoing,
    PushBatch,
    PushDone,
    PushResult,
    PushSpec,
    Ref,
    RefList,
    State,
    Want,
)
from tests.support.feeding import FEEDINGS, VECTORS, drain, line, pieces, read_turns, replay

OID = "0123456789abcdef0123456789abcdef01234567"
ALL = Capabilities(("fetch", "push", "option", "object-format"))

#: What may be said when, a second time: a slip in the tables must not pass.
OURS: dict[State, set[type[Outgoing]]] = {
    State.DESCRIBING: {Capabilities},
    State.OPTION: {OptionOk, OptionUnsupported, OptionError},
    State.LISTING: {RefList},
    State.FETCHING: {FetchDone},
    State.PUSHING: {PushDone},
}
GITS: dict[State, set[type[Incoming]]] = {
    State.START: {CapabilitiesAsked},
    State.IDLE: {Option, ListAsked, FetchBatch, PushBatch, EndOfInput},
}

#: How to get to each state: bytes come from git, events go to it.
WAYS: dict[State, list[bytes | Outgoing]] = {State.START: []}
WAYS[State.DESCRIBING] = [b"capabilities\n"]
WAYS[State.IDLE] = [b"capabilities\n", ALL]
WAYS[State.OPTION] = [*WAYS[State.IDLE], b"option verbosity 1\n"]
WAYS[State.LISTING] = [*WAYS[State.IDLE], b"list\n"]
WAYS[State.FETCHING] = [*WAYS[State.IDLE], f"fetch {OID} refs/heads/a\n\n".encode()]
WAYS[State.PUSHING] = [*WAYS[State.IDLE], b"push a:refs/heads/a\npush :refs/heads/b\n\n"]
WAYS[State.CLOSED] = [*WAYS[State.IDLE], b"\n"]
WAYS[State.ERROR] = [b"hello\n"]

#: One of each thing that we may say, fit for the states above.
SAYINGS: list[Outgoing] = [
    ALL,
    OptionOk(),
    OptionUnsupported(),
    OptionError("why"),
    RefList((Ref("HEAD", None, "refs/heads/a"), Ref("refs/heads/a", OID))),
    FetchDone(),
    PushDone((PushResult("refs/heads/b", "why"), PushResult("refs/heads/a"))),
]

#: One of each thing that git may say.
HEARINGS: dict[type[Incoming], bytes] = {
    CapabilitiesAsked: b"capabilities\n",
    Option: b"option progress true\n",
    ListAsked: b"list for-push\n",
    FetchBatch: f"fetch {OID} refs/heads/a\n\n".encode(),
    PushBatch: b"push a:b\n\n",
    EndOfInput: b"\n",
}


def connection_at(state: State) -> HelperConnection:
    connection = HelperConnection()
    for step in WAYS[state]:
        if not isinstance(step, bytes):
            connection.send(step)
            continue
        connection.receive_data(step)
        try:
            list(drain(machine, connection))
        except RemoteProtocolError:
            assert state is State.ERROR
    assert connection.state is state
    return connection


def vectors() -> list[Path]:
    return sorted((VECTORS / "remote_helper").glob("*.txt"))


@pytest.mark.parametrize("feeding", FEEDINGS)
@pytest.mark.parametrize("path", vectors(), ids=lambda path: path.stem)
def test_a_conversation_goes_as_written(path: Path, feeding: str) -> None:
    replay(machine, HelperConnection(), read_turns(path, machine, line), feeding)


def test_there_are_vectors_for_every_event() -> None:
    text = "".join(path.read_text("ascii") for path in vectors())
    assert [heard for heard in HEARINGS if f"\nevent {heard.__name__}(" not in text] == []
    assert [said for said in SAYINGS if f"\nsend {type(said).__name__}(" not in text] == []


def test_every_state_can_be_reached() -> None:
    assert set(WAYS) == set(State)
    for state in State:
        connection_at(state)


@pytest.mark.parametrize("event", SAYINGS, ids=lambda event: type(event).__name__)
@pytest.mark.parametrize("state", State)
def test_we_may_say_what_the_table_allows_and_nothing_else(state: State, event: Outgoing) -> None:
    connection = connection_at(state)
    if type(event) not in OURS.get(state, ()):
        with pytest.raises(LocalProtocolError):
            connection.send(event)
        assert connection.state is State.ERROR
    else:
        assert connection.send(event)
        assert connection.state is OUTGOING[state, type(event)]


@pytest.mark.parametrize("heard", HEARINGS, ids=lambda event: event.__name__)
@pytest.mark.parametrize("state", GITS)
def test_git_may_say_what_the_table_allows_and_nothing_else(
    state: State, heard: type[Incoming]
) -> None:
    connection = connection_at(state)
    connection.receive_data(HEARINGS[heard])
    if heard not in GITS[state]:
        with pytest.raises(RemoteProtocolError):
            connection.next_event()
        assert connection.state is State.ERROR
    else:
        assert type(connection.next_event()) is heard
        assert connection.state is INCOMING[state, heard]


@pytest.mark.parametrize("state", [state for state in State if state not in GITS])
def test_to_wait_for_git_when_it_waits_for_us_is_our_fault(state: State) -> None:
    connection = connection_at(state)
    with pytest.raises(LocalProtocolError, match=f"not git's turn.*{state.value}"):
        connection.next_event()
    assert connection.state is State.ERROR


def test_bytes_after_the_end_are_our_fault() -> None:
    connection = connection_at(State.IDLE)
    connection.receive_data(b"")
    with pytest.raises(LocalProtocolError, match="after the end"):
        connection.receive_data(b"list\n")
    assert connection.state is State.ERROR


def test_git_may_end_without_a_blank_line() -> None:
    connection = connection_at(State.IDLE)
    connection.receive_data(b"")
    assert connection.next_event() == EndOfInput()


@pytest.mark.parametrize(
    ("state", "event"),
    [
        (State.DESCRIBING, Capabilities(("fetch\npush",))),
        (State.DESCRIBING, Capabilities(("fetch", ""))),
        (State.OPTION, OptionError("two\nlines")),
        (State.OPTION, OptionError("a\0b")),
        (State.LISTING, RefList((), "sha1\n")),
        (State.LISTING, RefList((Ref("refs/heads/a\nb", OID),))),
        (State.LISTING, RefList((Ref("refs/heads/a b", OID),))),
        (State.LISTING, RefList((Ref("", OID),))),
        (State.LISTING, RefList((Ref("HEAD", None, "refs/heads/a b"),))),
        (State.LISTING, RefList((Ref("HEAD", OID[:39]),))),
        (State.LISTING, RefList((Ref("HEAD", OID.upper()),))),
        (State.LISTING, RefList((Ref("HEAD", ""),))),
        (State.PUSHING, PushDone((PushResult("refs/heads/a"), PushResult("refs/heads/b", "a\nb")))),
    ],
    ids=lambda value: getattr(value, "value", None) or ascii(value)[:60],
)
def test_what_would_break_a_line_is_our_fault(state: State, event: Outgoing) -> None:
    connection = connection_at(state)
    with pytest.raises(LocalProtocolError):
        connection.send(event)
    assert connection.state is State.ERROR


@pytest.mark.parametrize(
    "dsts",
    [[], ["refs/heads/a"], ["refs/heads/a"] * 2, ["refs/heads/a", "refs/heads/b"] * 2, ["a", "b"]],
    ids=str,
)
def test_a_push_is_answered_for_each_ref_or_not_at_all(dsts: list[str]) -> None:
    connection = connection_at(State.PUSHING)
    with pytest.raises(LocalProtocolError, match="one result for each ref"):
        connection.send(PushDone(tuple(map(PushResult, dsts))))
    assert connection.state is State.ERROR


def test_the_symref_of_a_ref_goes_before_its_object_id() -> None:
    ref = Ref("HEAD", OID, "refs/heads/a")
    assert connection_at(State.LISTING).send(RefList((ref,))) == b"@refs/heads/a HEAD\n\n"


@pytest.mark.parametrize("feeding", FEEDINGS)
@pytest.mark.parametrize(("length", "lawful"), [(50, True), (51, False)])
def test_lines_are_limited(length: int, lawful: bool, feeding: str) -> None:
    connection = HelperConnection(max_line=50)
    connection.receive_data(b"capabilities\n")
    list(drain(machine, connection))
    connection.send(ALL)
    said = b"option verbosity ".ljust(length, b"1") + b"\n"
    found: list[Incoming] = []
    try:
        for piece in pieces(said, feeding, trailing=b"list"):
            connection.receive_data(piece)
            found += drain(machine, connection)
    except RemoteProtocolError as fault:
        assert "more than 50 bytes" in str(fault)
    assert found == ([Option("verbosity", "1" * 33)] if lawful else [])
    assert connection.state is (State.OPTION if lawful else State.ERROR)


def test_a_line_is_limited_before_it_is_complete() -> None:
    connection = HelperConnection(max_line=50)
    connection.receive_data(b"c" * 51)
    with pytest.raises(RemoteProtocolError, match="a line of more than 50 bytes"):
        connection.next_event()


def test_batches_are_limited_one_by_one() -> None:
    connection = HelperConnection(max_batch=20)
    connection.receive_data(b"capabilities\n")
    list(drain(machine, connection))
    connection.send(ALL)
    for _ in range(2):
        connection.receive_data(b"push a:bcd\npush b:cde\n\n")
        assert len(list(drain(machine, connection))) == 1
        connection.send(PushDone((PushResult("bcd"), PushResult("cde"))))
    connection.receive_data(b"push a:bcd\npush b:cdef\n")
    with pytest.raises(RemoteProtocolError, match="a batch of more than 20 bytes"):
        connection.next_event()


def test_a_batch_of_many_refs_passes() -> None:
    connection = connection_at(State.IDLE)
    wants = tuple(Want(OID, f"refs/tags/{number}") for number in range(20_000))
    connection.receive_data("".join(f"fetch {oid} {name}\n" for oid, name in wants).encode())
    assert connection.next_event() is NEED_DATA
    connection.receive_data(b"\n")
    assert connection.next_event() == FetchBatch(wants)


def test_events_are_equal_to_their_like_only_and_true() -> None:
    for one in (*SAYINGS, CapabilitiesAsked(), EndOfInput()):
        assert one
        assert [other for other in SAYINGS if one == other] == [one] * (one in SAYINGS)
    assert repr(FetchDone()) == "FetchDone()"


def quote_c_style(value: bytes) -> bytes:
    """As quote.c has it, with core.quotePath on."""
    names = {7: "a", 8: "b", 9: "t", 10: "n", 11: "v", 12: "f", 13: "r", 34: '"', 92: "\\"}
    quoted = [
        f"\\{names[byte]}"
        if byte in names
        else f"\\{byte:03o}"
        if byte < 0x20 or byte >= 0x7F
        else chr(byte)
        for byte in value
    ]
    text = "".join(quoted).encode()
    return text if text == value else b'"' + text + b'"'


class GitPeer:
    """Git's side as transport-helper.c has it; gives the machine `step` bytes at a time."""

    def __init__(self, step: int) -> None:
        self.connection = HelperConnection()
        self.step = step
        self.inbox = b""
        self.heard: list[Incoming] = []
        self.say(b"capabilities\n", ALL)
        assert self.read_list() == [b"fetch", b"push", b"option", b"object-format"]

    def say(self, data: bytes, answer: Outgoing) -> None:
        for start in range(0, len(data), self.step):
            self.connection.receive_data(data[start : start + self.step])
            self.heard += drain(machine, self.connection)
        self.inbox += self.connection.send(answer)

    def read_line(self) -> bytes:
        text, _, self.inbox = self.inbox.partition(b"\n")
        return text

    def read_list(self) -> list[bytes]:
        return list(iter(self.read_line, b""))

    def set_option(self, name: bytes, value: bytes) -> None:
        self.say(b"option %b %b\n" % (name, quote_c_style(value)), OptionOk())
        assert self.read_line() == b"ok"

    def read_refs(self, answer: RefList) -> list[tuple[bytes, bytes]]:
        self.say(b"list\n", answer)
        pairs = (text.split(b" ") for text in self.read_list())
        return [(name, value) for value, name in pairs]

    def push(self, specs: list[bytes], answer: PushDone) -> dict[bytes, bytes | None]:
        self.say(b"".join(b"push %b\n" % spec for spec in specs) + b"\n", answer)
        found: dict[bytes, bytes | None] = {}
        for text in self.read_list():
            word, dst, *why = text.split(b" ", 2)
            found[dst] = None if word == b"ok" else why[0]
        return found


@pytest.mark.parametrize("step", [1, 10, 1 << 20])
def test_a_git_peer_lists_fetches_and_pushes(step: int) -> None:
    peer = GitPeer(step)
    peer.set_option(b"verbosity", b"1")
    refs = RefList((Ref("HEAD", symref="refs/heads/a"), Ref("refs/heads/a", OID)))
    assert peer.read_refs(refs) == [
        (b"HEAD", b"@refs/heads/a"),
        (b"refs/heads/a", OID.encode()),
    ]
    peer.say(f"fetch {OID} refs/heads/a\nfetch {OID} HEAD\n\n".encode(), FetchDone())
    assert peer.read_line() == b""
    done = PushDone((PushResult("refs/heads/a"), PushResult("refs/heads/b", "fetch first")))
    assert peer.push([b"+a:refs/heads/a", b":refs/heads/b"], done) == {
        b"refs/heads/a": None,
        b"refs/heads/b": b"fetch first",
    }
    assert peer.inbox == b""
    assert peer.heard == [
        CapabilitiesAsked(),
        Option("verbosity", "1"),
        ListAsked(for_push=False),
        FetchBatch((Want(OID, "refs/heads/a"), Want(OID, "HEAD"))),
        PushBatch((PushSpec(True, "a", "refs/heads/a"), PushSpec(False, "", "refs/heads/b"))),
    ]


@given(st.binary(max_size=60).map(lambda value: value.replace(b"\0", b"\n")), st.integers(1, 80))
def test_an_options_value_comes_through_as_git_means_it(value: bytes, step: int) -> None:
    peer = GitPeer(step)
    peer.set_option(b"push-option", value)
    assert peer.heard[1:] == [Option("push-option", value.decode("utf-8", "surrogateescape"))]


names = st.binary(min_size=1, max_size=30).map(
    lambda value: b"refs/heads/" + bytes(byte for byte in value if byte > 0x20 and byte != 0x3A)
)


@given(names, names, st.booleans(), st.text(st.characters(exclude_categories=["C"]), max_size=30))
def test_a_pushed_name_comes_back_as_it_went(src: bytes, dst: bytes, force: bool, why: str) -> None:
    peer = GitPeer(1000)
    peer.connection.receive_data(b"push %b%b:%b\n\n" % (b"+" * force, src, dst))
    event = peer.connection.next_event()
    assert isinstance(event, PushBatch)
    (spec,) = event.specs
    assert spec == (force, *(name.decode("utf-8", "surrogateescape") for name in (src, dst)))
    answer = peer.connection.send(PushDone((PushResult(spec.dst, why),)))
    assert answer.startswith(b"error %b" % dst)
    if not why.startswith('"'):
        assert answer == (b"error %b %b" % (dst, why.encode())).rstrip(b" ") + b"\n\n"


@given(st.sampled_from([State.START, State.IDLE]), st.binary(max_size=80))
def test_no_bytes_of_gits_raise_anything_but_its_fault(state: State, data: bytes) -> None:
    connection = connection_at(state)
    try:
        for piece in (data, b"\n", b""):
            connection.receive_data(piece)
            list(drain(machine, connection))
            if not data:
                return
    except RemoteProtocolError:
        assert connection.state is State.ERROR
