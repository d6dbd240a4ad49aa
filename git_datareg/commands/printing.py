"""Data on standard output: lines and JSON, whatever the locale makes of names."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Mapping, Sequence


def put(line: str) -> None:
    """Print a line; bytes that are not UTF-8 come out as they were."""
    # Python has none when the process was started with a closed one.
    if sys.stdout is None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF), "standard output")
    sys.stdout.buffer.write(line.encode("utf-8", "surrogateescape") + b"\n")


def put_json(value: Mapping[str, object] | Sequence[object]) -> None:
    """Print a value as JSON; bytes that are not UTF-8 become lone surrogates (U+DC80 and on)."""
    put(json.dumps(value, indent=2))
