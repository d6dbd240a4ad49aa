"""The filter machine against recorded conversations, a git-side peer, and its own tables."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from git_datareg.errors import LocalProtocolError, RemoteProtocolError
from git_datareg.protocol import filter as machine
from git_datareg.protocol.filter import (
    INCOMING,
    MAX_LIST,
    MAX_WHOLE,
    OUTGOING,
    FilterConnection,
    State,
)
from git_datareg.protocol.filter_events import (
    NEED_DATA,
    Abort,
    Answer,
    Available,
    Capabilities,
    ClientHello,
    Command,
    Content,
    Delayed,
    Done,
    EndOfContent,
    EndOfInput,
    Failure,
    Incoming,
    ListAvailable,
    Outgoing,
    Request,
    ServerHello,
    Success,
)
from tests.support.feeding import FEEDINGS, VECTORS, drain, packet, pieces, read_turns, replay

FLUSH = b"0000"
HELLO = packet(b"git-filter-client\n") + packet(b"version=2\n") + FLUSH
OFFER = b"".join(packet(b"capability=%b\n" % n) for n in (b"clean", b"smudge", b"delay")) + FLUSH
ALL = ("clean", "smudge", "delay")


def a_request(command: bytes = b"smudge", pathname: bytes = b"a", *more: bytes) -> bytes:
    lines = (b"command=" + command, b"pathname=" + pathname, *more)
    return b"".join(packet(line + b"\n") for line in lines) + FLUSH


#: More than is told in one piece.
LONG = packet(b"x" * 65516) * 2
A_REQUEST = a_request() + FLUSH
A_DELAYABLE_REQUEST = a_request(b"smudge", b"a", b"can-delay=1") + FLUSH
A_LONG_REQUEST = a_request(b"smudge", b"a", b"can-delay=1") + LONG
A_LIST = packet(b"command=list_available_blobs\n") + FLUSH

#: What may be said when, a second time: a slip in the tables must not pass.
OURS: dict[State, set[type[Outgoing]]] = {
    State.GREETED: {ServerHello},
    State.OFFERED: {Capabilities},
    State.ANSWERING: {Answer, Success, Failure, Abort, Delayed},
    State.SENDING: {Content, Done, Abort},
    State.LISTING: {Available, Failure},
}
GITS: dict[State, set[type[Incoming]]] = {
    State.START: {ClientHello},
    State.VERSION_CHOSEN: {Capabilities},
    State.IDLE: {Request, ListAvailable, EndOfInput},
    State.RECEIVING: {Content, EndOfContent},
}

#: How to get to each state: bytes come from git, events go to it.
WAYS: dict[State, list[bytes | Outgoing]] = {State.START: []}
WAYS[State.GREETED] = [HELLO]
WAYS[State.VERSION_CHOSEN] = [HELLO, ServerHello()]
WAYS[State.OFFERED] = [*WAYS[State.VERSION_CHOSEN], OFFER]
WAYS[State.IDLE] = [*WAYS[State.OFFERED], Capabilities(ALL)]
WAYS[State.RECEIVING] = [*WAYS[State.IDLE], A_LONG_REQUEST]
WAYS[State.ANSWERING] = [*WAYS[State.RECEIVING], FLUSH]
WAYS[State.SENDING] = [*WAYS[State.ANSWERING], Success()]
WAYS[State.LISTING] = [*WAYS[State.IDLE], A_LIST]
WAYS[State.CLOSED] = [*WAYS[State.IDLE], b""]
WAYS[State.ERROR] = [b"zzzz"]

#: One of each thing that we may say, fit for the states above.
SAYINGS: list[Outgoing] = [
    ServerHello(),
    Capabilities(("clean",)),
    Answer(b"all"),
    Success(),
    Content(b"x"),
    Done(),
    Failure(),
    Abort(),
    Delayed(),
    Available((b"a",)),
]

#: One of each thing that git may say.
HEARINGS: dict[type[Incoming], bytes] = {
    ClientHello: HELLO,
    Capabilities: OFFER,
    Request: A_LONG_REQUEST,
    ListAvailable: A_LIST,
    Content: packet(b"content"),
    EndOfContent: FLUSH,
    EndOfInput: b"",
}


def connection_at(state: State) -> FilterConnection:
    connection = FilterConnection()
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
    return sorted((VECTORS / "filter").glob("*.txt"))


@pytest.mark.parametrize("feeding", FEEDINGS)
@pytest.mark.parametrize("path", vectors(), ids=lambda path: path.stem)
def test_a_conversation_goes_as_written(path: Path, feeding: str) -> None:
    replay(machine, FilterConnection(), read_turns(path, machine, packet), feeding)


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
    if state is State.RECEIVING and heard not in (EndOfContent, EndOfInput):
        # Whatever packets come there, they are content.
        heard = Content
    if heard is Content and heard not in GITS[state]:
        # A packet outside of content begins a list, which the end breaks off.
        assert connection.next_event() is NEED_DATA
        connection.receive_data(b"")
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
        connection.receive_data(FLUSH)
    assert connection.state is State.ERROR


def test_the_end_may_come_twice() -> None:
    connection = connection_at(State.IDLE)
    connection.receive_data(b"")
    connection.receive_data(b"")
    assert connection.next_event() == EndOfInput()


def test_the_end_waits_for_what_came_before_it() -> None:
    connection = connection_at(State.IDLE)
    connection.receive_data(A_REQUEST)
    connection.receive_data(b"")
    assert list(drain(machine, connection)) == [Request(Command.SMUDGE, b"a", content=b"")]
    connection.send(Failure())
    assert connection.next_event() == EndOfInput()


def test_what_git_does_not_offer_is_not_announced() -> None:
    connection = connection_at(State.OFFERED)
    with pytest.raises(LocalProtocolError, match="not all of"):
        connection.send(Capabilities(("clean", "list")))
    assert connection.state is State.ERROR


def test_a_capability_that_is_not_utf8_can_be_announced() -> None:
    connection = connection_at(State.VERSION_CHOSEN)
    connection.receive_data(packet(b"capability=\xff\n") + FLUSH)
    event = connection.next_event()
    assert event == Capabilities(("\udcff",))
    assert isinstance(event, Capabilities)
    assert connection.send(event) == packet(b"capability=\xff\n") + FLUSH


@pytest.mark.parametrize("first", [A_REQUEST, A_DELAYABLE_REQUEST])
def test_only_a_request_that_says_so_can_be_delayed(first: bytes) -> None:
    connection = connection_at(State.IDLE)
    connection.receive_data(A_DELAYABLE_REQUEST)
    list(drain(machine, connection))
    assert connection.send(Delayed()) == packet(b"status=delayed\n") + FLUSH
    connection.receive_data(A_REQUEST)
    list(drain(machine, connection))
    with pytest.raises(LocalProtocolError, match="can't be delayed"):
        connection.send(Delayed())
    assert connection.state is State.ERROR


def test_the_longest_pathname_that_git_sends_passes_both_ways() -> None:
    # convert.c refuses a pathname that does not fit one packet with its key.
    pathname = b"p" * (65516 - len("pathname=\n"))
    connection = connection_at(State.IDLE)
    more = (b"ref=refs/heads/" + b"r" * 4096, b"treeish=" + b"0" * 64, b"blob=" + b"f" * 64)
    connection.receive_data(a_request(b"smudge", pathname, *more) + FLUSH)
    event = connection.next_event()
    assert isinstance(event, Request)
    assert event.pathname == pathname

    connection = connection_at(State.LISTING)
    assert packet(b"pathname=" + pathname + b"\n") in connection.send(Available((pathname,)))


def test_a_pathname_that_fits_no_packet_is_our_fault() -> None:
    connection = connection_at(State.LISTING)
    with pytest.raises(LocalProtocolError):
        connection.send(Available((b"p" * 65507,)))
    assert connection.state is State.ERROR


@pytest.mark.parametrize(("size", "lawful"), [(MAX_LIST - 1, True), (MAX_LIST, False)])
def test_a_list_is_limited_before_it_is_complete(size: int, lawful: bool) -> None:
    connection = connection_at(State.IDLE)
    first, second, third = (
        packet(b"k=" + b"x" * (length - 6)) for length in (65520, 65420, size - 65520 - 65420)
    )
    connection.receive_data(first + second)
    assert connection.next_event() is NEED_DATA
    connection.receive_data(third)
    if lawful:
        assert connection.next_event() is NEED_DATA
    else:
        with pytest.raises(RemoteProtocolError, match=f"more than {MAX_LIST} bytes"):
            connection.next_event()


def test_lists_are_limited_one_by_one() -> None:
    connection = connection_at(State.IDLE)
    for _ in range(3):
        connection.receive_data(a_request(b"clean", b"p" * 65000) + FLUSH)
        assert len(list(drain(machine, connection))) == 1
        connection.send(Failure())


@pytest.mark.parametrize("feeding", FEEDINGS)
@pytest.mark.parametrize(("left", "is_whole"), [(0, True), (1, False)])
def test_content_comes_with_its_request_up_to_a_bound_however_it_arrives(
    left: int, is_whole: bool, feeding: str
) -> None:
    first, second = 65516, MAX_WHOLE - len(FLUSH) - 65520 - 4 + left
    content = b"x" * (first + second)
    said = a_request() + packet(content[:first]) + packet(content[first:]) + FLUSH
    connection = connection_at(State.IDLE)
    events: list[Incoming] = []
    for piece in pieces(said, feeding):
        connection.receive_data(piece)
        events += drain(machine, connection)
    if is_whole:
        assert events == [Request(Command.SMUDGE, b"a", content=content)]
    else:
        assert events[0] == Request(Command.SMUDGE, b"a")
        assert events[-1] == EndOfContent()
        found = [bytes(event.data) for event in events if isinstance(event, Content)]
        assert b"".join(found) == content
    assert connection.state is State.ANSWERING


def test_an_answer_is_what_its_parts_are() -> None:
    for data in (b"", b"x", b"y" * 100_000):
        whole, parts = connection_at(State.ANSWERING), connection_at(State.ANSWERING)
        said = [parts.send(event) for event in (Success(), Content(data), Done())]
        assert whole.send(Answer(data)) == b"".join(said)


def test_content_that_came_whole_is_a_view_of_what_came() -> None:
    connection = connection_at(State.RECEIVING)
    data = packet(b"x" * 65516)
    connection.receive_data(data)
    event = connection.next_event()
    assert isinstance(event, Content)
    assert isinstance(event.data, memoryview)
    assert event.data.obj is data


def test_empty_content_is_no_bytes() -> None:
    assert connection_at(State.SENDING).send(Content(b"")) == b""


def test_events_are_equal_to_their_like_only_and_true() -> None:
    for one in (*SAYINGS, EndOfContent(), ListAvailable(), EndOfInput()):
        assert one
        assert [other for other in SAYINGS if one == other] == [one] * (one in SAYINGS)
    assert repr(Success()) == "Success()"


class Reply(NamedTuple):
    status: bytes
    content: bytes


class GitPeer:
    """Git's side as convert.c and sub-process.c have it, with a filter that swaps cases.

    Gives the machine `step` bytes at a time.
    """

    def __init__(self, step: int, delay: bool = False) -> None:
        self.connection = FilterConnection()
        self.step = step
        self.inbox = b""
        self.delayed: dict[bytes, bytes] = {}
        self.requests: list[Request] = []
        names = ALL if delay else ALL[:2]
        self.say(HELLO, lambda events: [ServerHello()])
        assert self.read_list() == [b"git-filter-server", b"version=2"]
        self.say(OFFER, lambda events: [Capabilities(names)])
        assert self.read_list() == [b"capability=" + name.encode() for name in names]

    def say(self, data: bytes, answer: Callable[[list[Incoming]], list[Outgoing]]) -> None:
        events: list[Incoming] = []
        for start in range(0, len(data), self.step):
            self.connection.receive_data(data[start : start + self.step])
            events += drain(machine, self.connection)
        self.inbox += b"".join(map(self.connection.send, answer(events)))

    def read_packet(self) -> bytes | None:
        length = int(self.inbox[:4], 16)
        payload = self.inbox[4:length] if length else None
        self.inbox = self.inbox[max(length, 4) :]
        return payload

    def read_list(self) -> list[bytes]:
        return [line.removesuffix(b"\n") for line in iter(self.read_packet, None)]

    def ask(self, command: bytes, pathname: bytes, content: bytes, *more: bytes) -> Reply:
        full = 65516
        parts = (content[i : i + full] for i in range(0, len(content), full))
        data = a_request(command, pathname, *more) + b"".join(map(packet, parts)) + FLUSH
        self.say(data, self.answer)
        status = self.read_list()[-1]
        if status != b"status=success":
            return Reply(status, b"")
        found = b"".join(iter(self.read_packet, None))
        return Reply(([status, *self.read_list()])[-1], found)

    def answer(self, events: list[Incoming]) -> list[Outgoing]:
        request, *contents = events
        assert isinstance(request, Request)
        self.requests.append(request._replace(content=None))
        if request.content is None:
            assert contents.pop() == EndOfContent()
            data = b"".join(bytes(event.data) for event in contents if isinstance(event, Content))
            assert len(data) > 130_000
        else:
            assert contents == []
            data = request.content
        if request.can_delay:
            self.delayed[request.pathname] = data
            return [Delayed()]
        data = self.delayed.pop(request.pathname, data)
        if request.content is not None and not data.startswith(b"bad"):
            return [Answer(data.swapcase())]
        return [Success(), Content(data.swapcase()), Done(ok=not data.startswith(b"bad"))]

    def list_available(self) -> list[bytes]:
        self.say(A_LIST, lambda events: [Available(tuple(self.delayed))])
        paths = self.read_list()
        assert self.read_list() == [b"status=success"]
        return [path.removeprefix(b"pathname=") for path in paths]


@pytest.mark.parametrize("step", [1, 10, 65521, 1 << 20])
def test_a_git_peer_gets_its_content_filtered(step: int) -> None:
    peer = GitPeer(step)
    for content in (b"", b"one", b"0000", b"x" * 65516, b"y\n" * 50_000, b"z" * 200_000):
        assert peer.ask(b"clean", b"a", content) == (b"status=success", content.swapcase())
    assert peer.ask(b"clean", b"a", b"bad") == (b"status=error", b"BAD")
    assert peer.ask(b"smudge", b"a", b"good") == (b"status=success", b"GOOD")
    assert peer.inbox == b""


@pytest.mark.parametrize("step", [1, 10, 1 << 20])
def test_a_git_peer_gets_delayed_content_later(step: int) -> None:
    peer = GitPeer(step, delay=True)
    for path in (b"a", b"b\n", b"c=\xff"):
        reply = peer.ask(b"smudge", path, b"content of " + path, b"can-delay=1")
        assert reply == (b"status=delayed", b"")
    assert peer.list_available() == [b"a", b"b\n", b"c=\xff"]
    for path in (b"a", b"b\n", b"c=\xff"):
        reply = peer.ask(b"smudge", path, b"")
        assert reply == (b"status=success", (b"content of " + path).swapcase())
    assert peer.list_available() == []


no_nul = st.binary(min_size=1, max_size=60).map(lambda value: value.replace(b"\0", b"\n"))
object_ids = st.text("0123456789abcdef", min_size=40, max_size=40) | st.text(
    "0123456789abcdef", min_size=64, max_size=64
)


@given(
    st.sampled_from(Command),
    no_nul,
    st.booleans(),
    st.none() | no_nul,
    st.none() | object_ids,
    st.none() | object_ids,
    st.integers(1, 50),
)
def test_a_request_comes_through_as_git_means_it(
    command: Command,
    pathname: bytes,
    can_delay: bool,
    ref: bytes | None,
    treeish: str | None,
    blob: str | None,
    step: int,
) -> None:
    fields = [
        ref is not None and b"ref=%b" % ref,
        treeish is not None and b"treeish=%b" % treeish.encode(),
        blob is not None and b"blob=%b" % blob.encode(),
        can_delay and b"can-delay=1",
    ]
    peer = GitPeer(step, delay=True)
    peer.ask(command.value.encode(), pathname, b"", *(field for field in fields if field))
    assert peer.requests == [Request(command, pathname, can_delay, ref, treeish, blob)]


@given(st.sampled_from(State), st.binary(max_size=80), st.sampled_from(FEEDINGS))
def test_no_bytes_of_gits_raise_anything_but_its_fault(
    state: State, data: bytes, feeding: str
) -> None:
    connection = connection_at(state)
    if state is State.CLOSED:
        return
    try:
        for piece in pieces(data, feeding):
            connection.receive_data(piece)
            list(drain(machine, connection))
    except RemoteProtocolError:
        assert connection.state is State.ERROR
