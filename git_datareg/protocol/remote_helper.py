"""The helper's side of Git's remote helper protocol, as a machine without I/O.

Knows the lines of gitremote-helpers(7) for the capabilities "fetch", "push",
"option" and "object-format". Does not know pipes, repositories, or how objects
and refs get from one place to another.

Each command gets its one answer before git sends the next. When something fails
as a whole there is no answer: say why on stderr and exit without one ("If a fatal
error occurs, ..."). An empty list, or less than all pushed refs, would tell git
that all is well.
"""

from __future__ import annotations

import enum
import re
from typing import Final, NamedTuple, TypeAlias

from git_datareg.errors import LocalProtocolError, ProtocolError, RemoteProtocolError

#: Bytes in one line. The longest are push options: they travel on in one
#: pkt-line (65516 bytes), and quoting makes at most four bytes of one.
MAX_LINE: Final = 4 * 65536

#: Bytes in one batch of fetch or push lines. There is a line for each ref, of
#: some 100 bytes, and repositories with a million refs exist.
MAX_BATCH: Final = 256 * 1024 * 1024

_HEX_DIGITS = frozenset("0123456789abcdef")
#: The output of quote_c_style() in Git's quote.c.
_QUOTED = re.compile(rb'"((?:[^"\\]|\\[abfnrtv"\\]|\\[0-3][0-7][0-7])*)"')
_ESCAPE = re.compile(rb"\\([0-3][0-7][0-7]|.)")
_ESCAPES = dict(zip(b'abfnrtv"\\', b'\a\b\f\n\r\t\v"\\', strict=True))


class NeedData(enum.Enum):
    """The type of `NEED_DATA`."""

    NEED_DATA = "NEED_DATA"


#: What `next_event` gives while the next event has not come in whole.
NEED_DATA: Final = NeedData.NEED_DATA


class _Bare:
    """An event that says all by its type: equal to its like only, and never false."""

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class CapabilitiesAsked(_Bare):
    """Git asks what we can do; always the first command."""


class Option(NamedTuple):
    """Git sets an option; `value` is without its quotes, and empty if there was none."""

    name: str
    value: str


class ListAsked(NamedTuple):
    """Git asks for the refs; `for_push` when it is going to push."""

    for_push: bool


class Want(NamedTuple):
    """An object to fetch, and the ref that was listed with it."""

    oid: str
    name: str


class FetchBatch(NamedTuple):
    """Git asks for objects and all they need."""

    wants: tuple[Want, ...]


class PushSpec(NamedTuple):
    """One ref to push: `src` is any local revision, or empty to delete `dst`."""

    force: bool
    src: str
    dst: str


class PushBatch(NamedTuple):
    """Git asks for refs to be pushed."""

    specs: tuple[PushSpec, ...]


class EndOfInput(_Bare):
    """Git is done: it said so by a blank line, or hung up between two commands."""


class Capabilities(NamedTuple):
    """What we can do, a line each; with "*" before it, git must know it too."""

    names: tuple[str, ...]


class OptionOk(_Bare):
    """The option is set."""


class OptionUnsupported(_Bare):
    """The option is not known here."""


class OptionError(NamedTuple):
    """The option is known, but not this value; `message` is one line."""

    message: str


class Ref(NamedTuple):
    """A ref of the remote: it points to `symref`, or else to `oid`, or else nobody knows."""

    name: str
    oid: str | None = None
    symref: str | None = None


class RefList(NamedTuple):
    """The refs of the remote.

    `object_format` ("sha1", "sha256") only if git set the option of that name
    and we announced the capability of that name.
    """

    refs: tuple[Ref, ...]
    object_format: str | None = None


class FetchDone(_Bare):
    """All objects of the batch are in the repository."""


class PushResult(NamedTuple):
    """How one ref fared: pushed, or refused for the reason `error` (one line).

    Git knows some reasons and puts them in words of its own: "non-fast
    forward", "fetch first", "stale info", "already exists", "needs force",
    "no match", "up to date", "remote ref updated since checkout".
    """

    dst: str
    error: str | None = None


class PushDone(NamedTuple):
    """How each ref of the batch fared: exactly one result for each spec."""

    results: tuple[PushResult, ...]


Incoming: TypeAlias = CapabilitiesAsked | Option | ListAsked | FetchBatch | PushBatch | EndOfInput
Outgoing: TypeAlias = (
    Capabilities | OptionOk | OptionUnsupported | OptionError | RefList | FetchDone | PushDone
)


class State(enum.Enum):
    """Where the conversation stands; the comment says whose turn it is."""

    START = "start"  # git's
    DESCRIBING = "describing"  # ours
    IDLE = "idle"  # git's
    OPTION = "option"  # ours
    LISTING = "listing"  # ours
    FETCHING = "fetching"  # ours
    PUSHING = "pushing"  # ours
    CLOSED = "closed"  # nobody's
    ERROR = "error"  # nobody's


#: What git may send, and where it takes us. An absent pair is git's fault.
INCOMING: Final[dict[tuple[State, type[Incoming]], State]] = {
    (State.START, CapabilitiesAsked): State.DESCRIBING,
    (State.IDLE, Option): State.OPTION,
    (State.IDLE, ListAsked): State.LISTING,
    (State.IDLE, FetchBatch): State.FETCHING,
    (State.IDLE, PushBatch): State.PUSHING,
    (State.IDLE, EndOfInput): State.CLOSED,
}

#: What we may send, and where it takes us. An absent pair is our fault.
OUTGOING: Final[dict[tuple[State, type[Outgoing]], State]] = {
    (State.DESCRIBING, Capabilities): State.IDLE,
    (State.OPTION, OptionOk): State.IDLE,
    (State.OPTION, OptionUnsupported): State.IDLE,
    (State.OPTION, OptionError): State.IDLE,
    (State.LISTING, RefList): State.IDLE,
    (State.FETCHING, FetchDone): State.IDLE,
    (State.PUSHING, PushDone): State.IDLE,
}

_GITS_TURN = frozenset(state for state, _ in INCOMING)


class HelperConnection:
    """Our side of the conversation with one git process.

    Names and values are text, with bytes that are not UTF-8 as surrogates
    (`os.fsencode` gives them back). Any ProtocolError leaves `state` at ERROR,
    for good.
    """

    def __init__(self, max_line: int = MAX_LINE, max_batch: int = MAX_BATCH) -> None:
        self._max_line = max_line
        self._max_batch = max_batch
        self._buffer = bytearray()
        self._searched = 0
        self._ended = False
        self._state = State.START
        self._announced: frozenset[str] = frozenset()
        self._batch: list[Want | PushSpec] = []
        self._batch_size = 0
        self._pushed: list[str] = []

    @property
    def state(self) -> State:
        """Where the conversation stands."""
        return self._state

    def receive_data(self, data: bytes) -> None:
        """Take bytes from git; none at all mean that git closed its end.

        Raises LocalProtocolError for bytes after the end.
        """
        if not data:
            self._ended = True
        elif self._ended:
            self._state = State.ERROR
            raise LocalProtocolError("bytes after the end of git's input")
        self._buffer += data

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

        Raises LocalProtocolError when it may not be said now, or holds what
        would break a line.
        """
        try:
            following = OUTGOING.get((self._state, type(event)))
            if following is None:
                raise LocalProtocolError(f"{event!r:.200} can't be said now ({self._state.value})")
            lines = self._encode(event)
            if any("\n" in line or "\0" in line for line in lines):
                raise LocalProtocolError(f"a line would be broken: {event!r:.200}")
            data = "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")
        except ProtocolError:
            self._state = State.ERROR
            raise
        self._state = following
        return data

    def _read(self) -> Incoming | NeedData:
        while (line := self._next_line()) is not None:
            event = self._parse(_text(line), len(line))
            if event is not None:
                return self._enter(event)
        if not self._ended:
            return NEED_DATA
        if self._buffer or self._batch:
            raise RemoteProtocolError("git hung up in the middle of a command")
        return self._enter(EndOfInput())

    def _next_line(self) -> bytes | None:
        end = self._buffer.find(b"\n", self._searched)
        length = len(self._buffer) if end < 0 else end
        if length > self._max_line:
            raise RemoteProtocolError(f"git sent a line of more than {self._max_line} bytes")
        if end < 0:
            self._searched = length
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._searched = 0
        return line

    def _parse(self, line: str, size: int) -> Incoming | None:
        """The event that a line is or completes; None in the middle of a batch."""
        if not line:
            return self._end_batch() if self._batch else EndOfInput()
        word, _, rest = line.partition(" ")
        if word in ("fetch", "push"):
            self._check_announced(word)
            self._add_to_batch(_parse_want(rest) if word == "fetch" else _parse_spec(rest), size)
            return None
        if self._batch:
            # "Zero or more protocol options may be entered after the last
            # 'push' command": git itself never did, and its own helpers die of it.
            raise RemoteProtocolError(f"git sent {line!r:.80} in the middle of a batch")
        if word == "option":
            self._check_announced(word)
            return _parse_option(rest)
        if line in _PLAIN_COMMANDS:
            return _PLAIN_COMMANDS[line]
        raise RemoteProtocolError(f"git sent an unknown command: {line!r:.80}")

    def _check_announced(self, word: str) -> None:
        if word not in self._announced:
            raise RemoteProtocolError(f"git uses the capability {word}, which was not announced")

    def _add_to_batch(self, item: Want | PushSpec, size: int) -> None:
        self._batch_size += size
        if self._batch_size > self._max_batch:
            raise RemoteProtocolError(f"git sent a batch of more than {self._max_batch} bytes")
        if self._batch and type(self._batch[0]) is not type(item):
            raise RemoteProtocolError("git mixed fetch and push in one batch")
        self._batch.append(item)

    def _end_batch(self) -> FetchBatch | PushBatch:
        batch, self._batch, self._batch_size = self._batch, [], 0
        wants = tuple(item for item in batch if isinstance(item, Want))
        if wants:
            return FetchBatch(wants)
        specs = tuple(item for item in batch if isinstance(item, PushSpec))
        self._pushed = sorted(spec.dst for spec in specs)
        return PushBatch(specs)

    def _enter(self, event: Incoming) -> Incoming:
        following = INCOMING.get((self._state, type(event)))
        if following is None:
            raise RemoteProtocolError(f"git said {event!r:.200} out of turn ({self._state.value})")
        self._state = following
        return event

    def _encode(self, event: Outgoing) -> list[str]:
        match event:
            case Capabilities(names):
                if not all(names):
                    raise LocalProtocolError("an empty capability would end the list")
                self._announced = frozenset(name.removeprefix("*") for name in names)
                return [*names, ""]
            case OptionOk():
                return ["ok"]
            case OptionUnsupported():
                return ["unsupported"]
            case OptionError(message):
                return [f"error {message}"]
            case RefList(refs, object_format):
                head = [f":object-format {object_format}"] if object_format else []
                return [*head, *map(_encode_ref, refs), ""]
            case FetchDone():
                return [""]
        # Git takes a ref that is not mentioned for one that was up to date.
        if sorted(result.dst for result in event.results) != self._pushed:
            raise LocalProtocolError(f"not one result for each ref: {event!r:.200}")
        return [*map(_encode_result, event.results), ""]


_PLAIN_COMMANDS: Final[dict[str, Incoming]] = {
    "capabilities": CapabilitiesAsked(),
    "list": ListAsked(for_push=False),
    "list for-push": ListAsked(for_push=True),
}


def _text(line: bytes) -> str:
    if b"\0" in line:
        raise RemoteProtocolError(f"git sent a NUL: {line[:80]!r}")
    return line.decode("utf-8", "surrogateescape")


def _parse_option(rest: str) -> Option:
    # Git before 2.45 sends "option object-format" without a value.
    name, _, value = rest.partition(" ")
    if not name:
        raise RemoteProtocolError("git sent an option without a name")
    return Option(name, _unquote(value) if value.startswith('"') else value)


def _parse_want(rest: str) -> Want:
    oid, _, name = rest.partition(" ")
    if not _is_object_id(oid) or not name:
        raise RemoteProtocolError(f"git sent no object to fetch: {rest!r:.80}")
    return Want(oid, name)


def _parse_spec(rest: str) -> PushSpec:
    """The parts of "[+]src:dst".

    The last colon parts them: `src` may be an expression such as "HEAD:folder".
    """
    src, colon, dst = rest.rpartition(":")
    if not colon or not dst:
        raise RemoteProtocolError(f"git sent no ref to push: {rest!r:.80}")
    return PushSpec(src.startswith("+"), src.removeprefix("+"), dst)


def _is_object_id(text: str) -> bool:
    return len(text) in (40, 64) and _HEX_DIGITS.issuperset(text)


def _unquote(quoted: str) -> str:
    match = _QUOTED.fullmatch(quoted.encode("utf-8", "surrogateescape"))
    if match is None:
        raise RemoteProtocolError(f"git sent quotes that can't be undone: {quoted!r:.80}")
    return _text(_ESCAPE.sub(_unescape, match[1]))


def _unescape(match: re.Match[bytes]) -> bytes:
    escape = match[1]
    return bytes((int(escape, 8) if len(escape) == 3 else _ESCAPES[escape[0]],))


def _encode_ref(ref: Ref) -> str:
    if ref.oid is not None and not _is_object_id(ref.oid):
        raise LocalProtocolError(f"not an object id: {ref!r:.200}")
    if not ref.name or " " in ref.name or " " in (ref.symref or ""):
        raise LocalProtocolError(f"not the name of a ref: {ref!r:.200}")
    value = f"@{ref.symref}" if ref.symref else ref.oid or "?"
    return f"{value} {ref.name}"


def _encode_result(result: PushResult) -> str:
    if result.error is None:
        return f"ok {result.dst}"
    error = result.error
    if error.startswith('"'):
        # Git would take what stands in the quotes for the whole reason.
        error = '"' + error.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return f"error {result.dst} {error}".rstrip(" ")
