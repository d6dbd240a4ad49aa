"""What the exceptions of other libraries mean as faults of ours, as far as they tell."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from git_datareg.errors import (
    StorageDeniedError,
    StorageError,
    StorageNotConfiguredError,
    StorageNotFoundError,
    StorageReadOnlyError,
    StorageUnavailableError,
)
from git_datareg.location import Location

_NOT_FOUND = 404
_DENIED = (401, 403)
#: Statuses that may pass, of those that blame the client.
_PASSING = (408, 409, 423, 425, 429)
#: Where libraries keep the status of HTTP.
_STATUS = ("status_code", "status", "code", "http_status")
#: What is said instead of a status, in the class's name or the message.
_DENIED_WORDS = re.compile("forbidden|denied|unauthorized|credential|authenticat|login", re.I)
_URL = re.compile(r"[a-zA-Z][\w+.-]*://[^\s'\"<>]+")
_SHOWN = 200
_MIN_SECRET = 4


def is_absent(error: BaseException) -> bool:
    """Whether it says that a file is not there."""
    return isinstance(error, (FileNotFoundError, NotADirectoryError)) or any(
        _status(each) == _NOT_FOUND for each in _chain(error)
    )


def fault_of(error: Exception, location: Location, secrets: Sequence[str] = ()) -> StorageError:
    """The fault of a storage there; a later try is worth it unless something else is sure.

    None of the secrets, and no URL with a query, gets into its message.
    """
    message = f"{_words(error, secrets)}: {location}"
    statuses = [status for each in _chain(error) if (status := _status(each)) is not None]
    if is_absent(error):
        return StorageNotFoundError(message, "create it, or change its URL")
    if isinstance(error, NotImplementedError):
        return StorageReadOnlyError(f"its file system can't do that: {location}")
    if isinstance(error, ImportError):
        return StorageNotConfiguredError(message)
    if _is_denied(error, statuses):
        return StorageDeniedError(message, "check the credentials, and what they allow")
    if any(400 <= status < 500 and status not in _PASSING for status in statuses):
        return StorageError(message)
    fault = StorageUnavailableError(message)
    fault.retry_after = next(filter(None, map(_retry_after, _chain(error))), None)
    return fault


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An exception, and those that it was raised from: some wrap what the server said."""
    seen: set[int] = set()
    each: BaseException | None = error
    while each is not None and id(each) not in seen:
        seen.add(id(each))
        yield each
        each = each.__cause__


def _is_denied(error: BaseException, statuses: Sequence[int]) -> bool:
    if isinstance(error, PermissionError) or any(status in _DENIED for status in statuses):
        return True
    if statuses or isinstance(error, (ConnectionError, TimeoutError)):
        return False
    return any(_DENIED_WORDS.search(f"{type(each).__name__} {each}") for each in _chain(error))


def _status(error: BaseException) -> int | None:
    for holder in (error, getattr(error, "response", None)):
        for name in _STATUS:
            value = getattr(holder, name, None)
            if isinstance(value, str) and value.isdigit():
                value = int(value)
            # An enumeration of statuses is one, too.
            if isinstance(value, int) and 100 <= value < 600:
                return int(value)
    return None


def _retry_after(error: BaseException) -> float | None:
    for holder in (error, getattr(error, "response", None)):
        headers = getattr(holder, "headers", None) or {}
        try:
            return float(headers.get("Retry-After") or headers["retry-after"])
        except (KeyError, ValueError, TypeError, AttributeError):
            continue
    return None


def _words(error: BaseException, secrets: Sequence[str]) -> str:
    """What it says, on one line; its kind, where it says nothing."""
    strerror = getattr(error, "strerror", None)
    lines = [line.strip() for line in str(strerror or error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    for secret in secrets:
        if len(secret) >= _MIN_SECRET:
            text = text.replace(secret, "...")
    text = _URL.sub(lambda match: str(Location(match[0])), text)
    shown = "".join(char if char.isprintable() else "?" for char in text[:_SHOWN])
    return f"{type(error).__name__}: {shown}" if isinstance(error, KeyError) else shown
