"""Conversations with Git: read from vectors, fed to a protocol machine in three ways.

A vector is a text file, a line for each thing that happens:

    # ...            a comment
    git> b'...'      git sends this: one packet's payload, or one line with its LF
    git> flush       git sends a flush packet
    git> end         git closes its end
    raw> b'...'      git sends these bytes, just so
    event ...        the machine gives this event
    fault ...        the machine raises RemoteProtocolError with these words; the last line
    send ...         we send this event
    us<  b'...'      these bytes come of it: one packet's payload, or one line with its LF
    us<  flush       and a flush packet

Values are Python expressions. Packets are put together here, not by the code
under test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

from git_datareg.errors import LocalProtocolError, RemoteProtocolError

VECTORS = Path(__file__).parent.parent / "vectors"

#: What is said arrives: in one piece each time; byte by byte; at once with all
#: that git says later.
FEEDINGS = ("whole", "byte by byte", "with trailing data")


def packet(payload: bytes) -> bytes:
    """A pkt-line; None is not one: a flush packet is `b"0000"`."""
    return f"{len(payload) + 4:04x}".encode() + payload


def line(text: bytes) -> bytes:
    """A line as it is."""
    return text


class Turn(NamedTuple):
    """What git says until it waits for us, what the machine makes of it, and our answers."""

    said: bytes
    ended: bool
    events: list[Any]
    fault: str | None
    answers: list[tuple[Any, bytes]]


def read_turns(path: Path, module: ModuleType, frame: Callable[[bytes], bytes]) -> list[Turn]:
    """The conversation of a vector; `module` has its events, `frame` wraps what is said."""
    turns: list[Turn] = []
    for text in path.read_text("ascii").splitlines():
        word, _, value = text.partition(" ")
        value = value.strip()
        if word in ("", "#"):
            continue
        if word in ("git>", "raw>", "event", "fault") and (not turns or turns[-1].answers):
            turns.append(Turn(b"", False, [], None, []))
        turns[-1] = _with(turns[-1], word, value, module, frame)
    return turns


def _with(
    turn: Turn, word: str, value: str, module: ModuleType, frame: Callable[[bytes], bytes]
) -> Turn:
    match word, value:
        case "git>", "end":
            return turn._replace(ended=True)
        case "git>", _:
            return turn._replace(said=turn.said + _bytes(value, frame))
        case "raw>", _:
            return turn._replace(said=turn.said + _bytes(value, line))
        case "event", _:
            return turn._replace(events=[*turn.events, eval(value, vars(module).copy())])
        case "fault", _:
            return turn._replace(fault=value)
        case "send", _:
            return turn._replace(answers=[*turn.answers, (eval(value, vars(module).copy()), b"")])
        case "us<", _:
            event, data = turn.answers[-1]
            return turn._replace(answers=[*turn.answers[:-1], (event, data + _bytes(value, frame))])
        case _:
            raise ValueError(f"not a line of a vector: {word} {value}")


def _bytes(value: str, frame: Callable[[bytes], bytes]) -> bytes:
    return b"0000" if value == "flush" else frame(eval(value))


def pieces(data: bytes, feeding: str, trailing: bytes = b"") -> list[bytes]:
    """`data` cut as `feeding` says; `trailing` comes only with the feeding of that name."""
    if feeding == "byte by byte":
        return [data[i : i + 1] for i in range(len(data))]
    return [data + trailing] if feeding == "with trailing data" else [data]


def replay(module: ModuleType, connection: Any, turns: list[Turn], feeding: str) -> None:
    """Hold the conversation; assert that each event and each answer is the written one."""
    said = [(turn.said, turn.ended) for turn in turns]
    if feeding == "with trailing data":
        said = [(b"".join(data for data, _ in said), said[-1][1])] + [(b"", False)] * len(said)
    for turn, (data, ended) in zip(turns, said, strict=False):
        found = _events(module, connection, data, ended, feeding)
        for event in turn.events:
            given = next(found)
            assert given == event
            assert type(given) is type(event)
        if turn.fault is not None:
            _assert_fault(module, connection, found, turn.fault)
            return
        assert list(found) == []
        for event, answer in turn.answers:
            assert connection.send(event) == answer


def _events(
    module: ModuleType, connection: Any, data: bytes, ended: bool, feeding: str
) -> Iterator[Any]:
    """The events until it is our turn or all was said."""
    fed = [piece for piece in pieces(data, feeding) if piece] + ([b""] if ended else [])
    if feeding == "with trailing data":
        for piece in fed:
            connection.receive_data(piece)
        fed = []
    yield from drain(module, connection)
    for piece in fed:
        connection.receive_data(piece)
        yield from drain(module, connection)


def drain(module: ModuleType, connection: Any) -> Iterator[Any]:
    """The events that can be had without more bytes and without our answer."""
    gits_turn = {state for state, _ in module.INCOMING}
    while connection.state in gits_turn:
        event = connection.next_event()
        if event is module.NEED_DATA:
            return
        yield event


def _assert_fault(module: ModuleType, connection: Any, found: Iterator[Any], words: str) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        list(found)
    assert words in str(caught.value)
    assert connection.state is module.State.ERROR
    with pytest.raises(LocalProtocolError):
        connection.next_event()
