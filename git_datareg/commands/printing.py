"""Data on standard output: lines and JSON, whatever the locale makes of names."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Mapping, Sequence

from git_datareg import ui
from git_datareg.location import Location
from git_datareg.settings import StorageSettings
from git_datareg.standing import Report


def put(line: str) -> None:
    """Print a line; bytes that are not UTF-8 come out as they were."""
    # Python has none when the process was started with a closed one.
    if sys.stdout is None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF), "standard output")
    sys.stdout.buffer.write(line.encode("utf-8", "surrogateescape") + b"\n")


def put_lines(lines: Sequence[str]) -> None:
    """Print lines, all at once."""
    if lines:
        put("\n".join(lines))


def put_paths(paths: Sequence[str]) -> None:
    """Print paths, each on a line of its own, as `ui.show` has them."""
    # Almost always there is nothing to be quoted in any of very many.
    put_lines(paths if "".join(paths).isprintable() else [ui.show(path) for path in paths])


def put_json(value: Mapping[str, object] | Sequence[object]) -> None:
    """Print a value as JSON; bytes that are not UTF-8 become lone surrogates (U+DC80 and on).

    The rows of a list have a line each.
    """
    if isinstance(value, Mapping):
        put(json.dumps(value, indent=2))
    else:
        # Without an indent the encoder is one in C.
        rows = ",\n  ".join(map(json.dumps, value))
        put(f"[\n  {rows}\n]" if rows else "[]")


def standing(found: Report) -> str:
    """How an import stands to its source, in words."""
    if not found.behind:
        return "up to date"
    how = f" by {ui.count(found.commits, 'commit')}" if found.commits is not None else ""
    if found.rewritten:
        how = ", history was rewritten"
    return f"behind{how}: {found.added} added, {found.changed} changed, {found.removed} removed"


def storage_facts(storage: StorageSettings) -> dict[str, object]:
    """What matters of how a storage is set up, without secrets."""
    options = storage.options
    return {
        "url": str(storage.location),
        "readonly": storage.readonly,
        "endpoint": str(Location(options.endpoint)) if options.endpoint else None,
        "region": options.region,
        "profile": options.profile,
        "credentials": options.is_trusted and not options.is_anonymous,
        "include": list(storage.include),
        "exclude": list(storage.exclude),
    }


def storage_words(storage: StorageSettings) -> list[str]:
    """The same but for the URL, in words; what is as usual needs none."""
    facts = storage_facts(storage)
    words = ["read-only"] if storage.readonly else []
    words += [f"{key} {facts[key]}" for key in ("endpoint", "region", "profile") if facts[key]]
    words += [] if facts["credentials"] else ["no credentials"]
    words += [f"include {glob}" for glob in storage.include]
    return words + [f"exclude {glob}" for glob in storage.exclude]
