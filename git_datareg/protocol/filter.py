"""Git's long-running filter process, version 2, as a machine without I/O.

Knows the conversation of gitattributes(5), "Long Running Filter Process", and
gitprotocol-long-running-process. Does not know pipes, files, pointers, or why
a blob is filtered.

    git                                   we
    ClientHello                           ServerHello
    Capabilities                          Capabilities
    then, as often as git likes, one of
    Request (Content* EndOfContent)       Answer | Success Content* Done | Failure | Abort | Delayed
    ListAvailable                         Available | Failure
    and at last
    EndOfInput
"""

from __future__ import annotations

import enum
from typing import Final

from git_datareg.errors import LocalProtocolError, ProtocolError, RemoteProtocolError
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
    NeedData,
    Outgoing,
    Request,
    ServerHello,
    Success,
)
from git_datareg.protocol.pktline import (
    FLUSH,
    FLUSH_PKT,
    MAX_PAYLOAD,
    Buffer,
    PktParser,
    encode,
    encode_content,
)

#: The one version of the protocol there is.
VERSION: Final = 2

#: Bytes in one list of "key=value" packets, with headers and the flush packet. Git sends no
#: pathname that does not fit a packet ("path name too long for external
#: filter"); as much again is plenty for a ref name and two object ids.
MAX_LIST: Final = 2 * (MAX_PAYLOAD + 4)

#: Content of up to so many bytes, counted likewise, is told in one piece.
MAX_WHOLE: Final = MAX_LIST

_WELCOME = b"git-filter-client"
_ANSWER = b"git-filter-server"
_LIST_AVAILABLE = b"list_available_blobs"
_HEX_DIGITS = b"0123456789abcdef"


_COMMANDS: Final[dict[bytes | None, Command]] = {each.encode(): each for each in Command}


class State(enum.StrEnum):
    """Where the conversation stands; the comment says whose turn it is.

    Of strings, whose hash is at hand: the tables are looked up several times per file.
    """

    START = "start"  # git's
    GREETED = "greeted"  # ours
    VERSION_CHOSEN = "version chosen"  # git's
    OFFERED = "offered"  # ours
    IDLE = "idle"  # git's
    RECEIVING = "receiving"  # git's
    ANSWERING = "answering"  # ours
    SENDING = "sending"  # ours
    LISTING = "listing"  # ours
    CLOSED = "closed"  # nobody's
    ERROR = "error"  # nobody's


#: What git may send, and where it takes us. An absent pair is git's fault.
INCOMING: Final[dict[tuple[State, type[Incoming]], State]] = {
    (State.START, ClientHello): State.GREETED,
    (State.VERSION_CHOSEN, Capabilities): State.OFFERED,
    (State.IDLE, Request): State.RECEIVING,  # and on, if all of its content has come
    (State.IDLE, ListAvailable): State.LISTING,
    (State.IDLE, EndOfInput): State.CLOSED,
    (State.RECEIVING, Content): State.RECEIVING,
    (State.RECEIVING, EndOfContent): State.ANSWERING,
}

#: What we may send, and where it takes us. An absent pair is our fault. "The
#: filter must not send any response before it received the content and the
#: final flush packet", so nothing leaves RECEIVING. `Abort` may be said "at any
#: point in the protocol", but git looks for it only where it reads a status.
OUTGOING: Final[dict[tuple[State, type[Outgoing]], State]] = {
    (State.GREETED, ServerHello): State.VERSION_CHOSEN,
    (State.OFFERED, Capabilities): State.IDLE,
    (State.ANSWERING, Answer): State.IDLE,
    (State.ANSWERING, Success): State.SENDING,
    (State.ANSWERING, Failure): State.IDLE,
    (State.ANSWERING, Abort): State.IDLE,
    (State.ANSWERING, Delayed): State.IDLE,
    (State.SENDING, Content): State.SENDING,
    (State.SENDING, Done): State.IDLE,
    (State.SENDING, Abort): State.IDLE,
    (State.LISTING, Available): State.IDLE,
    (State.LISTING, Failure): State.IDLE,
}

_GITS_TURN = frozenset(state for state, _ in INCOMING)


class FilterConnection:
    """Our side of the conversation with one git process.

    Any ProtocolError leaves `state` at ERROR, for good. Git then kills and
    restarts us at need ("does not adhere to the protocol", gitattributes(5)).
    """

    def __init__(self) -> None:
        self._parser = PktParser()
        self._state = State.START
        self._ended = False
        #: Git's request while it is not sure whether its content comes along.
        self._asked: Request | None = None
        self._offered: tuple[str, ...] = ()
        self._agreed: frozenset[str] = frozenset()
        self._can_delay = False

    @property
    def state(self) -> State:
        """Where the conversation stands."""
        return self._state

    def receive_data(self, data: Buffer) -> None:
        """Take bytes from git; none at all mean that git closed its end.

        Take all events before the next call. Raises LocalProtocolError for
        bytes after the end.
        """
        if not data:
            self._ended = True
        elif self._ended:
            self._state = State.ERROR
            raise LocalProtocolError("bytes after the end of git's input")
        else:
            self._parser.feed(data)

    def next_event(self) -> Incoming | NeedData:
        """The next thing git said, or `NEED_DATA`.

        Raises RemoteProtocolError when it breaks the protocol or ends in the
        middle. Raises LocalProtocolError when it is not git's turn: to wait for
        git while it waits for our answer would be to wait for ever.
        """
        try:
            if self._state not in _GITS_TURN:
                raise LocalProtocolError(f"it is not git's turn to speak ({self._state.value})")
            return self._read()
        except ProtocolError:
            self._state = State.ERROR
            raise

    def send(self, event: Outgoing) -> bytes:
        """The bytes that say `event`; the caller writes them, all of them, in order.

        Raises LocalProtocolError when it may not be said now.
        """
        try:
            following = OUTGOING.get((self._state, type(event)))
            if following is None:
                raise LocalProtocolError(f"{event!r:.200} can't be said now ({self._state.value})")
            data = self._encode(event)
        except ProtocolError:
            self._state = State.ERROR
            raise
        self._state = following
        return data

    def _read(self) -> Incoming | NeedData:
        event = self._next_piece() if self._state is State.RECEIVING else self._next_message()
        if event is not None:
            return self._enter(event)
        if not self._ended:
            return NEED_DATA
        if self._asked is not None or not self._parser.is_between_packets:
            raise RemoteProtocolError("git hung up in the middle of a message")
        return self._enter(EndOfInput())

    def _enter(self, event: Incoming) -> Incoming:
        following = INCOMING.get((self._state, type(event)))
        if following is None:
            raise RemoteProtocolError(f"git said {event!r:.200} too early ({self._state.value})")
        self._state = following
        if isinstance(event, Request) and event.content is not None:
            self._state = INCOMING[following, EndOfContent]
        return event

    def _next_piece(self) -> Content | EndOfContent | None:
        packet = self._parser.next_packet()
        if packet is None:
            return None
        return EndOfContent() if packet is FLUSH_PKT else Content(packet)

    def _next_message(self) -> Incoming | None:
        """What git says next, or None while it has not come in whole."""
        if self._asked is not None:
            return self._next_request(self._asked)
        lines = self._parser.next_list(MAX_LIST)
        if lines is None:
            if self._parser.waiting >= MAX_LIST:
                raise RemoteProtocolError(f"git sent a list of more than {MAX_LIST} bytes")
            return None
        if self._state is State.IDLE:
            event = _parse_request(lines)
            self._check_agreed(event)
            return event if isinstance(event, ListAvailable) else self._next_request(event)
        if self._state is State.START:
            return _parse_hello(lines)
        self._offered = _parse_capabilities(lines)
        return Capabilities(self._offered)

    def _next_request(self, asked: Request) -> Request | None:
        """The request with its content, or without if that is long; None if it is not clear yet."""
        content = self._parser.next_list(MAX_WHOLE)
        if content is None and self._parser.waiting < MAX_WHOLE:
            self._asked = asked
            return None
        self._asked = None
        return asked if content is None else asked._replace(content=b"".join(content))

    def _check_agreed(self, event: Request | ListAvailable) -> None:
        name = event.command.value if isinstance(event, Request) else "delay"
        if name not in self._agreed:
            raise RemoteProtocolError(f"git uses the capability {name}, which was not agreed on")
        self._can_delay = isinstance(event, Request) and event.can_delay

    def _encode(self, event: Outgoing) -> bytes:
        match event:
            case Answer(data):
                return b"".join((_SUCCESS, *encode_content(data), FLUSH, FLUSH))
            case Content(data):
                return b"".join(encode_content(data))
            case Capabilities(names):
                return self._encode_capabilities(names)
            case Available(pathnames):
                return _encode_list(b"pathname=", pathnames) + FLUSH + _SUCCESS
            case Delayed() if not self._can_delay:
                raise LocalProtocolError("this request can't be delayed")
            case Failure() if self._state is State.LISTING:
                return FLUSH + _status(b"error")
            case Abort() if self._state is State.SENDING:
                return FLUSH + _status(b"abort")
            case Done(ok):
                return FLUSH + (FLUSH if ok else _status(b"error"))
            case _:
                return _FIXED[type(event)]

    def _encode_capabilities(self, names: tuple[str, ...]) -> bytes:
        """Git dies of a capability that it did not offer."""
        if not set(names).issubset(self._offered):
            raise LocalProtocolError(f"git offers {self._offered}, not all of {names}")
        self._agreed = frozenset(names)
        values = tuple(name.encode("utf-8", "surrogateescape") for name in names)
        return _encode_list(b"capability=", values) + FLUSH


def _encode_list(key: bytes, values: tuple[bytes, ...]) -> bytes:
    return b"".join(encode(key + value + b"\n") for value in values)


def _status(value: bytes) -> bytes:
    return encode(b"status=" + value + b"\n") + FLUSH


_SUCCESS: Final = _status(b"success")

#: The events that are the same bytes each time.
_FIXED: Final[dict[type[Outgoing], bytes]] = {
    ServerHello: encode(_ANSWER + b"\n") + encode(b"version=%d\n" % VERSION) + FLUSH,
    Success: _SUCCESS,
    Failure: _status(b"error"),
    Abort: _status(b"abort"),
    Delayed: _status(b"delayed"),
}


def _pairs(lines: list[bytes]) -> list[tuple[bytes, bytes]]:
    """The keys and values: a value may hold "=", a key never does (gitattributes(5))."""
    pairs = []
    for line in lines:
        key, equals, value = line.removesuffix(b"\n").partition(b"=")
        if not equals:
            raise RemoteProtocolError(f"git sent no key=value: {line[:80]!r}")
        pairs.append((key, value))
    return pairs


def _parse_hello(lines: list[bytes]) -> ClientHello:
    if not lines or lines[0].removesuffix(b"\n") != _WELCOME:
        raise RemoteProtocolError(f"not the greeting of a git filter client: {lines[:1]}")
    values = [value for key, value in _pairs(lines[1:]) if key == b"version"]
    if not all(value.isdigit() and len(value) < 10 for value in values):
        raise RemoteProtocolError(f"git sent versions that are no numbers: {values}")
    versions = tuple(int(value) for value in values)
    if VERSION not in versions:
        raise RemoteProtocolError(
            f"git speaks the filter protocol versions {versions}, but only {VERSION} is known here"
        )
    return ClientHello(versions)


def _parse_capabilities(lines: list[bytes]) -> tuple[str, ...]:
    names = tuple(_text(value) for key, value in _pairs(lines) if key == b"capability")
    if not names:
        raise RemoteProtocolError(f"git offers no capabilities: {lines[:1]}")
    return names


def _parse_request(lines: list[bytes]) -> Request | ListAvailable:
    """The request that a list spells; keys that a later git may add are passed over.

    An unknown command is a fault: git sends only those that were agreed on, and
    its documentation has no answer that would mean "not known here".
    """
    pairs = _pairs(lines)
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise RemoteProtocolError(f"git sent a key twice in one request: {lines!r:.200}")
    name = fields.get(b"command")
    if name == _LIST_AVAILABLE:
        return ListAvailable()
    command = _COMMANDS.get(name)
    if command is None:
        raise RemoteProtocolError(f"git sent an unknown command: {name!r:.80}")
    pathname = fields.get(b"pathname")
    if not pathname:
        raise RemoteProtocolError("git sent a request without a pathname")
    return Request(
        command,
        pathname,
        fields.get(b"can-delay") == b"1",
        fields.get(b"ref"),
        _object_id(fields.get(b"treeish")),
        _object_id(fields.get(b"blob")),
    )


def _object_id(value: bytes | None) -> str | None:
    if value is None:
        return None
    if len(value) not in (40, 64) or value.strip(_HEX_DIGITS):
        raise RemoteProtocolError(f"git sent what is no object id: {value[:80]!r}")
    return value.decode()


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")
