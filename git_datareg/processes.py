"""Many small jobs in several processes at once, since the interpreter runs one thread at a time.

Owns the children. Does not know what they do: it must need nothing that a
child shares with us but files, and bear being done again.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from typing import IO, NoReturn, TypeVar

from git_datareg import signals
from git_datareg.files import write_all

#: Fewer items than this are done before a child has started and ended (about 10 ms).
_WORTH = 500
#: More children than this only wait for the file system.
_MOST = 8

_Item = TypeVar("_Item")


def shares(items: Sequence[_Item]) -> list[Sequence[_Item]]:
    """The items in as many consecutive parts as are worth a child each; else all in one.

    One part it is, too, while other threads run, also those of a library in C that
    the program has loaded: what they hold, say a lock, a child would wait for in vain.
    """
    parts = 1
    if sys.platform == "linux" and _threads() == 1:
        parts = max(1, min(len(os.sched_getaffinity(0)), _MOST, len(items) // _WORTH))
    size = max(1, -(-len(items) // parts))
    return [items[start : start + size] for start in range(0, len(items), size)]


def _threads() -> int:
    """How many threads the kernel knows of in this process (proc(5))."""
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        # Not to be told: as many as it may be.
        return 2


def in_children(
    parts: Sequence[Sequence[_Item]], work: Callable[[Sequence[_Item]], None]
) -> list[bool]:
    """Do the work on each part in a child of its own, all at once; whether each did it all.

    Why one did not is not told: to do it here will show. No child outlives this
    call, also when it is interrupted.
    """
    children: list[int] = []
    try:
        for part in parts:
            # A signal in between would unwind the child as if it were us, or be lost.
            with signals.blocked():
                child = os.fork()
                if not child:
                    _work(work, part)
                children.append(child)
        return [_has_done(children) for _ in parts]
    finally:
        for child in children:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGTERM)
            _ended(child)


def told_by_children(
    parts: Sequence[Sequence[_Item]], work: Callable[[Sequence[_Item]], bytes]
) -> list[bytes | None]:
    """As `in_children`, with what the work of each part returns; None where it was not done."""
    # It takes long to load, and a checkout needs only the rest of this module.
    from tempfile import TemporaryFile

    with ExitStack() as stack:
        files = [stack.enter_context(TemporaryFile(buffering=0)) for _ in parts]

        def tell(item: Sequence[tuple[IO[bytes], Sequence[_Item]]]) -> None:
            [(file, part)] = item
            write_all(file.fileno(), work(part))

        done = in_children([[each] for each in zip(files, parts, strict=True)], tell)
        return [_read(file) if is_done else None for file, is_done in zip(files, done, strict=True)]


def _read(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()


def _has_done(children: list[int]) -> bool:
    """Wait for the first child, which is none of ours then."""
    status = _ended(children[0])
    del children[0]
    return status == 0


def _ended(child: int) -> int | None:
    # An embedding program may have waited for all its children.
    with suppress(ChildProcessError):
        return os.waitpid(child, 0)[1]
    return None


def _work(work: Callable[[Sequence[_Item]], None], part: Sequence[_Item]) -> NoReturn:
    code = 1
    try:
        with signals.tidied():
            signals.unblock()
            work(part)
        code = 0
    finally:
        # Nothing of ours may run twice: no exit handler, no flush, no traceback.
        os._exit(code)
