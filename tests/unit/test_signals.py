"""git_datareg.signals: a program that is told to end tidies up and says by what it ended."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from git_datareg import signals

ENDING = [signal.SIGHUP, signal.SIGINT, signal.SIGTERM]


def run(code: str) -> subprocess.CompletedProcess[str]:
    head = "import os, signal, threading\nfrom git_datareg.signals import held, tidied\n"
    words = [sys.executable, "-c", head + code]
    return subprocess.run(words, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("number", ENDING)
def test_a_signal_unwinds_and_then_ends_the_process(number: signal.Signals) -> None:
    done = run(f"""
with tidied():
    try:
        os.kill(os.getpid(), {int(number)})
        threading.Event().wait(60)
    finally:
        print("tidied", flush=True)
print("not reached")
""")
    assert (done.returncode, done.stdout, done.stderr) == (128 + number, "tidied\n", "")


def test_a_second_signal_does_not_disturb_the_tidying() -> None:
    done = run("""
with tidied():
    try:
        signal.raise_signal(signal.SIGINT)
    finally:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        print("tidied", flush=True)
""")
    assert (done.returncode, done.stdout) == (128 + signal.SIGINT, "tidied\n")


def test_the_last_thing_is_done_before_the_end_and_only_then() -> None:
    code = """
last = lambda: print("last", flush=True)
with tidied(last):
    print("nothing yet", flush=True)
with tidied(last):
    try:
        signal.raise_signal(signal.SIGINT)
    finally:
        print("tidied", flush=True)
"""
    done = run(code)
    lines = done.stdout.splitlines()
    assert (done.returncode, lines) == (130, ["nothing yet", "tidied", "last"])


def test_threads_that_still_run_are_not_waited_for() -> None:
    done = run("""
threading.Thread(target=threading.Event().wait).start()
with tidied():
    signal.raise_signal(signal.SIGTERM)
""")
    assert (done.returncode, done.stderr) == (128 + signal.SIGTERM, "")


@pytest.mark.parametrize("number", ENDING)
def test_an_ignored_signal_stays_ignored(number: signal.Signals) -> None:
    done = run(f"""
signal.signal({int(number)}, signal.SIG_IGN)
with tidied():
    signal.raise_signal({int(number)})
    with held():
        signal.raise_signal({int(number)})
    print("goes on")
""")
    assert (done.returncode, done.stdout) == (0, "goes on\n")


@pytest.mark.parametrize("number", ENDING)
@pytest.mark.parametrize("within", ["tidied()", "contextlib.nullcontext()"])
def test_a_step_that_holds_signals_is_finished(number: signal.Signals, within: str) -> None:
    done = run(f"""
import contextlib
if {int(number)} == signal.SIGINT:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
with {within}:
    with held():
        signal.raise_signal({int(number)})
        print("finished", flush=True)
    print("not reached")
""")
    code = 128 + number if within == "tidied()" else -number
    assert (done.returncode, done.stdout, done.stderr) == (code, "finished\n", "")


@pytest.mark.parametrize("context", [signals.held, signals.tidied])
def test_handlers_are_put_back(context: Callable[[], AbstractContextManager[None]]) -> None:
    before = [signal.getsignal(number) for number in ENDING]
    with context():
        assert [signal.getsignal(number) for number in ENDING] != before
    assert [signal.getsignal(number) for number in ENDING] == before


def test_in_other_threads_nothing_happens() -> None:
    before = [signal.getsignal(number) for number in ENDING]
    seen: list[object] = []

    def work() -> None:
        with signals.held(), signals.tidied():
            seen.extend(signal.getsignal(number) for number in ENDING)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == before
