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
import warnings
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING

from git_datareg.errors import DataregError, PartialError, RegistryWarning

if TYPE_CHECKING:
    import argparse
    from threading import Lock
    from typing import NoReturn, TextIO

    from tqdm import tqdm

PROGRAM = "git-datareg"
_NAMED = {"\a": "\\a", "\b": "\\b", "\t": "\\t", "\n": "\\n", "\v": "\\v", "\f": "\\f", "\r": "\\r"}


def say(text: str) -> None:
    """A line about what happens."""
    _write(text)


def warn(text: str) -> None:
    """A line about something that is probably not meant so."""
    _write(f"{PROGRAM}: warning: {_line(text)}")


def show_warnings() -> None:
    """From now on have `warnings` of ours be printed so, each time that they are given."""
    warnings.simplefilter("always", RegistryWarning)
    before = warnings.showwarning

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if issubclass(category, RegistryWarning):
            warn(str(message))
        else:
            before(message, category, filename, lineno, file, line)

    warnings.showwarning = show


def trace(text: str) -> None:
    """A line for who looks for a fault, or for what takes so long."""
    _write(f"{PROGRAM}: trace: {_line(text)}")


def report(error: DataregError, about: bytes | None = None) -> None:
    """A fault, with the file it is about when the fault doesn't say so, and its hints."""
    if isinstance(error, PartialError):
        for failure in error.failures:
            report(failure)
    where = f"{show(about)}: " if about is not None else ""
    _write(f"{PROGRAM}: error: {where}{_line(error.message)}")
    hint(*error.hints)


def hint(*hints: str) -> None:
    """The next step, a line each."""
    for line in hints:
        _write(f"hint: {_line(line)}")


def show(path: bytes | str) -> str:
    """A path for people: as it is, or C-quoted as git does it when it holds control characters."""
    text = path.decode("utf-8", "surrogateescape") if isinstance(path, bytes) else path
    if text.isprintable() or all(map(_is_plain, text)):
        return text
    quoted = ("\\" + char if char in '"\\' else _escaped(char) for char in text)
    return '"' + "".join(quoted) + '"'


def size(count: int) -> str:
    """A number of bytes for people: one decimal and a unit of 1024."""
    value, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if round(value, 1) < 1024:
            break
        value, unit = value / 1024, larger
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
    """A bar on a terminal, while its context lasts; elsewhere silent.

    It shows bytes, files, rate and time left. `total` (bytes) None is not known yet;
    `show` None means: on a terminal. `advance` may be called from any thread.
    """

    def __init__(self, action: str, total: int | None = None, *, show: bool | None = None) -> None:
        self._action = action
        self._total = total
        self._is_forced = show is True
        self._show = sys.stderr is not None and sys.stderr.isatty() if show is None else show
        self._bar: tqdm[NoReturn] | None = None
        self._lock: Lock | None = None
        self._files = 0
        self._all_files: int | None = None

    @classmethod
    def of(cls, arguments: argparse.Namespace, action: str, total: int | None = None) -> Progress:
        """The bar that a command's `-q` and `--progress` ask for."""
        return cls(action, total, show=False if arguments.quiet else arguments.progress)

    def __enter__(self) -> Progress:
        if self._show and self._total != 0:
            from threading import Lock

            from tqdm import tqdm

            self._lock = Lock()
            # Its thread keeps slow bars alive, and would keep us from starting children.
            tqdm.monitor_interval = 0
            # What takes no time needs no bar, unless somebody asked for one.
            delay = 0.0 if self._is_forced else 0.5
            self._bar = tqdm(
                desc=self._action, total=self._total, unit="B", unit_scale=True, delay=delay
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

    def expect(self, size: int, files: int) -> None:
        """So many bytes are to come, in so many files."""
        if self._bar is not None and self._lock is not None:
            with self._lock:
                self._bar.total = size
                self._all_files = files

    def advance(self, size: int, files: int) -> None:
        """So many more bytes have come (or fewer, where some must come again), and files."""
        if self._bar is not None and self._lock is not None:
            with self._lock:
                self._files += files
                of_all = "" if self._all_files is None else f"/{self._all_files}"
                self._bar.set_postfix_str(f"files: {self._files}{of_all}", refresh=False)
                self._bar.update(size)


def _write(text: str) -> None:
    clean = "".join(char if char == "\n" else _escaped(char) for char in text)
    data = (clean + "\n").encode("utf-8", "surrogateescape")
    stream = sys.stderr
    # Python has none when the process was started with a closed one.
    if stream is None:
        return
    try:
        stream.flush()
        os.write(stream.fileno(), data)
    except OSError:
        # Nobody listens any more; what is left to do does not depend on it.
        return


def _line(text: str) -> str:
    """Text whose line ends can't pretend to be lines of ours."""
    return text.replace("\n", "\\n")


def _is_plain(char: str) -> bool:
    # A byte that is not UTF-8 stays, unless terminals take it for a control (C1).
    return char.isprintable() or "\udca0" <= char <= "\udcff"


def _escaped(char: str) -> str:
    """The character, or how a C string spells it when it is not plain."""
    if _is_plain(char):
        return char
    raw = char.encode("utf-8", "surrogateescape")
    return _NAMED.get(char) or "".join(f"\\{byte:03o}" for byte in raw)
