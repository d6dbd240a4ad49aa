"""Whether a storage can have a serverless registry's refs: it is tried out, once per machine."""

from __future__ import annotations

from git_datareg.errors import StorageDeniedError
from git_datareg.notes import Notes
from git_datareg.storage import Storage, probing

_NOTE = "exclusive"


def check(storage: Storage, notes: Notes) -> None:
    """Raise StorageDeniedError where two pushes at once could undo each other.

    Costs dozens of requests, unless it is noted. What was refused is tried again the
    next time. Raises what the storage raises.
    """
    if not storage.properties.is_exclusive:
        raise _refusal(storage, "its file system creates no file in one step")
    # On this machine the kernel is asked for just that, and says so where it can't.
    if not storage.properties.is_remote or notes.read(_NOTE) is not None:
        return
    if not probing.creates_once(storage):
        raise _refusal(storage, "its server ignores that a key must be new (If-None-Match: *)")
    notes.write(_NOTE, f"{storage.location}\n")


def _refusal(storage: Storage, why: str) -> StorageDeniedError:
    return StorageDeniedError(
        f"no pushes to {storage.location}: of two at once, the one could undo the other there",
        f"{why}; reading works",
    )
