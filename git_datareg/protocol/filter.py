"""Git's long-running filter process, version 2, as a machine without I/O.

Knows the conversation of gitattributes(5), "Long Running Filter Process", and
gitprotocol-long-running-process. Does not know pipes, files, pointers, or why
a blob is filtered.

    git                                   we
    ClientHello                           ServerHello
    Capabilities                          Capabilities
    then, as often as git likes, one of
    Request Content* EndOfContent         Success Content* Done | Failure | Abort | Delayed
    ListAvailable                         Available | Failure
    and at last
    EndOfInput
"""

from __future__ import annotations

import enum
from typing import Final, NamedTuple, TypeAlias

from git_datareg.errors import LocalProtocolError, ProtocolError, RemoteProtocolError
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

#: Bytes in one list of "key=value" packets, headers included. Git sends no
#: pathname that does not fit a packet ("path name too long for external
#: filter"); as much again is plenty for a ref name and two object ids.
MAX_LIST: Final = 2 * (MAX_PAYLOAD + 4)

_WELCOME = b"git-filter-client"
_ANSWER = b"git-filter-server"
_LIST_AVAILABLE = b"list_available_blobs"
_KNOWN_KEYS = frozenset((b"command", b"pathname", b"ref", b"treeish", b"blob", b"can-delay"))
_HEX_DIGITS = frozenset(b"0123456789abcdef")


class NeedData(enum.Enum):
    """The type of `NEED_DATA`."""

    NEED_DATA = "NEED_DATA"


#: What `next_event` gives while the next event has not come in whole.
NEED_DATA: Final = NeedData.NEED_DATA


class Command(enum.Enum):
    """What git wants done with a blob."""

    CLEAN = "clean"
    SMUDGE = "smudge"


class _Bare:
    """An event that says all by its type: equal to its like only, and never false."""

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class ClientHello(NamedTuple):
    """Git greets; `versions` are those it speaks, 2 among them."""

    versions: tuple[int, ...]


class ServerHello(_Bare):
    """We greet and choose version 2."""


class Capabilities(NamedTuple):
    """From git: what it can use. From us: what of that we will do."""

    names: tuple[str, ...]


class Request(NamedTuple):
    """Git asks for one blob to be filtered; its content follows as `Content`.

    `pathname` is relative to the top of the work tree, in git's own bytes: it
    may hold line feeds, "=" and what is not UTF-8. `ref`, `treeish` and `blob`
    (full hex ids) come with some smudges, since git 2.27. With `can_delay` we may
    answer `Delayed`; git asks again later, without `can_delay` and content.
    """

    command: Command
    pathname: bytes
    can_delay: bool = False
    ref: bytes | None = None
    treeish: str | None = None
    blob: str | None = None


class Content(NamedTuple):
    """A piece of a blob or a file, of any length.

    From git, `data` may be a view of the bytes given to `receive_data`.
    """

    data: Buffer


class EndOfContent(_Bare):
    """The request's content is complete: now, and not before, we may answer."""


class ListAvailable(_Bare):
    """Git asks which delayed blobs are ready."""


class EndOfInput(_Bare):
    """Git hung up between two requests, as it does when it is done."""


class Success(_Bare):
    """The request is granted; our content follows."""


class Done(NamedTuple):
    """Our content is complete. Unless `ok`, git throws away what was sent."""

    ok: bool = True


class Failure(_Bare):
    """We can't filter this blob (or list the delayed ones); nothing else is sent for it."""


class Abort(_Bare):
    """As `Failure`, and git shall not ask for this command again.

    The process lives on: git neither stops nor restarts it, and may still use
    the other command.
    """


class Delayed(_Bare):
    """We answer later, when git asks for what is available."""


class Available(NamedTuple):
    """Delayed blobs that are ready; git asks for each of them next.

    None: there are no more, and git reports what it has not got as missing.
    """

    pathnames: tuple[bytes, ...]


Incoming: TypeAlias = (
    ClientHello | Capabilities | Request | Content | EndOfContent | ListAvailable | EndOfInput
)
Outgoing: TypeAlias = (
    ServerHello | Capabilities | Success | Content | Done | Failure | Abort | Delayed | Available
)


class State(enum.Enum):
    """Where the conversation stands; the comment says whose turn it is."""

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
    (State.IDLE, Request): State.RECEIVING,
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
        self._list: list[bytes] = []
        self._list_size = 0
        self._ended = False
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
        while (packet := self._parser.next_packet()) is not None:
            if packet is FLUSH_PKT:
                return self._enter(self._end_part())
            if self._state is State.RECEIVING:
                return self._enter(Content(packet))
            self._add_to_list(bytes(packet))
        if not self._ended:
            return NEED_DATA
        if self._list or not self._parser.is_between_packets:
            raise RemoteProtocolError("git hung up in the middle of a message")
        return self._enter(EndOfInput())

    def _enter(self, event: Incoming) -> Incoming:
        following = INCOMING.get((self._state, type(event)))
        if following is None:
            raise RemoteProtocolError(f"git said {event!r:.200} too early ({self._state.value})")
        self._state = following
        return event

    def _add_to_list(self, line: bytes) -> None:
        self._list_size += 4 + len(line)
        if self._list_size > MAX_LIST:
            raise RemoteProtocolError(f"git sent a list of more than {MAX_LIST} bytes")
        self._list.append(line.removesuffix(b"\n"))

    def _end_part(self) -> Incoming:
        """What a flush packet completes: the content or a list."""
        if self._state is State.RECEIVING:
            return EndOfContent()
        lines, self._list, self._list_size = self._list, [], 0
        if self._state is State.START:
            return _parse_hello(lines)
        if self._state is State.VERSION_CHOSEN:
            self._offered = _parse_capabilities(lines)
            return Capabilities(self._offered)
        event = _parse_request(lines)
        self._check_agreed(event)
        return event

    def _check_agreed(self, event: Request | ListAvailable) -> None:
        name = event.command.value if isinstance(event, Request) else "delay"
        if name not in self._agreed:
            raise RemoteProtocolError(f"git uses the capability {name}, which was not agreed on")
        self._can_delay = isinstance(event, Request) and event.can_delay

    def _encode(self, event: Outgoing) -> bytes:
        match event:
            case Content(data):
                return b"".join(encode_content(data))
            case Capabilities(names):
                return self._encode_capabilities(names)
            case Available(pathnames):
                return _encode_list(b"pathname=", pathnames) + FLUSH + _status(b"success")
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


#: The events that are the same bytes each time.
_FIXED: Final[dict[type[Outgoing], bytes]] = {
    ServerHello: encode(_ANSWER + b"\n") + encode(b"version=%d\n" % VERSION) + FLUSH,
    Success: _status(b"success"),
    Failure: _status(b"error"),
    Abort: _status(b"abort"),
    Delayed: _status(b"delayed"),
}


def _pairs(lines: list[bytes]) -> list[tuple[bytes, bytes]]:
    """The keys and values: a value may hold "=", a key never does (gitattributes(5))."""
    pairs = []
    for line in lines:
        key, equals, value = line.partition(b"=")
        if not equals:
            raise RemoteProtocolError(f"git sent no key=value: {line[:80]!r}")
        pairs.append((key, value))
    return pairs


def _parse_hello(lines: list[bytes]) -> ClientHello:
    if lines[:1] != [_WELCOME]:
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
    fields = {}
    for key, value in _pairs(lines):
        if key in fields:
            raise RemoteProtocolError(f"git sent {key!r} twice in one request")
        if key in _KNOWN_KEYS:
            fields[key] = value
    command = fields.get(b"command")
    if command == _LIST_AVAILABLE:
        return ListAvailable()
    if command not in (b"clean", b"smudge"):
        raise RemoteProtocolError(f"git sent an unknown command: {command!r:.80}")
    if not fields.get(b"pathname"):
        raise RemoteProtocolError("git sent a request without a pathname")
    return Request(
        Command(_text(command)),
        fields[b"pathname"],
        fields.get(b"can-delay") == b"1",
        fields.get(b"ref"),
        _object_id(fields.get(b"treeish")),
        _object_id(fields.get(b"blob")),
    )


def _object_id(value: bytes | None) -> str | None:
    if value is None:
        return None
    if len(value) not in (40, 64) or not _HEX_DIGITS.issuperset(value):
        raise RemoteProtocolError(f"git sent what is no object id: {value[:80]!r}")
    return value.decode()


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")
