"""What users see on a terminal, and the rules for it.

- Data goes to stdout, everything said about it to stderr.
- A fault is one line, "git-datareg: error: ...", then "hint: ..." lines with
  the next step. No capitals at the start, no period at the end.
- Progress is shown on a terminal only, or when asked for.
- Names from repositories are shown so that they can't move the cursor.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING

from git_datareg.errors import DataregError, PartialError

if TYPE_CHECKING:
    import argparse
    from typing import NoReturn

    from tqdm import tqdm

PROGRAM = "git-datareg"


def say(text: str) -> None:
    """A line about what happens."""
    _write(text)


def warn(text: str) -> None:
    """A line about something that is probably not meant so."""
    _write(f"{PROGRAM}: warning: {text}")


def report(error: DataregError, about: bytes | None = None) -> None:
    """A fault, with the file it is about when the fault doesn't say so, and its hints."""
    if isinstance(error, PartialError):
        for failure in error.failures:
            report(failure)
    where = f"{show(about)}: " if about is not None else ""
    _write(f"{PROGRAM}: error: {where}{error.message}")
    hint(*error.hints)


def hint(*hints: str) -> None:
    """The next step, a line each."""
    for line in hints:
        _write(f"hint: {line}")


def show(path: bytes | str) -> str:
    """A path for people: as it is, or C-quoted when it holds control characters."""
    text = os.fsdecode(path)
    if all(char.isprintable() or "\udc80" <= char <= "\udcff" for char in text):
        return text
    return '"' + text.encode("unicode_escape").decode().replace('"', '\\"') + '"'


def size(count: int) -> str:
    """A number of bytes for people: 3 digits and a unit of 1024."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if value < 1024 or unit == "TiB":
            break
        value /= 1024
    return f"{count} B" if unit == "B" else f"{value:.1f} {unit}"


def count(number: int, noun: str) -> str:
    """A number with its noun: "1 file", "2 files"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def listing(names: Iterable[str], most: int = 10) -> str:
    """Names on lines of their own, cut after `most`."""
    lines = [f"  {name}" for name in names]
    rest = len(lines) - most
    return "\n".join(lines[:most] + ([f"  and {rest} more"] if rest > 0 else []))


class Progress:
    """A bar of bytes on a terminal, while its context lasts; elsewhere silent.

    `total` None is not known yet; `show` None means: on a terminal. `advance`
    may be called from any thread.
    """

    def __init__(self, action: str, total: int | None = None, *, show: bool | None = None) -> None:
        self._action = action
        self._total = total
        self._show = sys.stderr.isatty() if show is None else show
        self._bar: tqdm[NoReturn] | None = None

    @classmethod
    def of(cls, arguments: argparse.Namespace, action: str, total: int | None = None) -> Progress:
        """The bar that a command's `-q` and `--progress` ask for."""
        return cls(action, total, show=False if arguments.quiet else arguments.progress)

    def __enter__(self) -> Progress:
        if self._show and self._total != 0:
            from tqdm import tqdm

            self._bar = tqdm(
                desc=self._action, total=self._total, unit="B", unit_scale=True, delay=0.5
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def advance(self, size: int) -> None:
        """Another object of `size` bytes is done."""
        if self._bar is not None:
            self._bar.update(size)


def _write(text: str) -> None:
    clean = "".join(char if char.isprintable() or char == "\n" else _escape(char) for char in text)
    data = (clean + "\n").encode("utf-8", "surrogateescape")
    stream = sys.stderr
    stream.flush()
    try:
        os.write(stream.fileno(), data)
    except OSError:
        # Nobody listens any more; what is left to do does not depend on it.
        return


def _escape(char: str) -> str:
    return char if "\udc80" <= char <= "\udcff" else char.encode("unicode_escape").decode()
