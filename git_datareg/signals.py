"""Signals that end a program: it first tidies up, or first finishes a step.

Knows no files and nothing of ours. What is done here only works in the main
thread (signal(7)); in others it does nothing.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_ENDING = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)


class Interrupted(BaseException):
    """A signal asks the program to end; only cleaning up may come between."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def tidied(last: Callable[[], None] | None = None) -> Iterator[None]:
    """Context in which a signal that ends the program unwinds it first.

    So that temporary files and locks are given up; `last` is for those of other
    threads. The process then ends at once, whatever they wait for, with the exit
    code by which shells tell the signal: 128 and its number.
    """
    before = _handle(_unwind)
    try:
        yield
    except Interrupted as interrupted:
        if last is not None:
            last()
        os._exit(128 + interrupted.number)
    finally:
        _restore(before)


@contextmanager
def held() -> Iterator[None]:
    """Context that a signal does not break off; it counts at its end."""
    arrived: list[int] = []
    before = _handle(lambda number, _: arrived.append(number))
    try:
        yield
    finally:
        _restore(before)
        for late in arrived:
            signal.raise_signal(late)


@contextmanager
def blocked() -> Iterator[None]:
    """Context in which the kernel keeps such signals back, also from a process forked in it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def unblock() -> None:
    """Let the signals through that `blocked` kept back, in a process forked in it."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)


def _handle(handler: signal._HANDLER) -> dict[signal.Signals, signal._HANDLER]:
    """Have the signals go to `handler`, but for ignored ones; returns where they went."""
    before: dict[signal.Signals, signal._HANDLER] = {}
    for number in _ENDING:
        present = signal.getsignal(number)
        if present is None or present == signal.SIG_IGN:
            continue
        try:
            before[number] = signal.signal(number, handler)
        except ValueError:
            # Not the main thread. To ask `threading` would cost start-up time.
            return {}
    return before


def _restore(before: dict[signal.Signals, signal._HANDLER]) -> None:
    for number, handler in before.items():
        signal.signal(number, handler)


def _unwind(number: int, _: FrameType | None) -> None:
    # A second one, as git passes on what the terminal has sent us too, would
    # break off the tidying.
    for each in _ENDING:
        signal.signal(each, signal.SIG_IGN)
    raise Interrupted(number)
