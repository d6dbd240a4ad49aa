"""What headers of HTTP's answers say. Pure: text in, value out."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple

_RANGE = re.compile(r"bytes\s+(?:(\d{1,18})-(\d{1,18})|\*)/(\d{1,18}|\*)", re.IGNORECASE)


class ContentRange(NamedTuple):
    """Which bytes of a value an answer has (RFC 9110, 14.4); None for what it doesn't say."""

    first: int | None
    #: The last byte's own place.
    last: int | None
    total: int | None


def content_range(text: str | None) -> ContentRange | None:
    """What `Content-Range` says; None for none, or one that makes no sense."""
    found = _RANGE.fullmatch((text or "").strip())
    if found is None:
        return None
    first, last, total = (int(part) if part and part != "*" else None for part in found.groups())
    if first is not None and last is not None and (last < first or last >= (total or last + 1)):
        return None
    return ContentRange(first, last, total)


def content_length(text: str | None) -> int | None:
    """What `Content-Length` says; None for none, or one that makes no sense."""
    # Told twice, and the same, it may come as "5, 5" (RFC 9110, 8.6).
    parts = {part.strip() for part in (text or "").split(",")}
    [number, *more] = parts
    is_number = number.isascii() and number.isdigit() and len(number) <= 18
    return int(number) if is_number and not more else None


def retry_after(text: str | None, now: datetime | None = None) -> float | None:
    """The seconds to wait by `Retry-After`: a number of them, or a date (RFC 9110, 10.2.3)."""
    spelled = (text or "").strip()
    if spelled.isascii() and spelled.isdigit() and len(spelled) <= 9:
        return float(spelled)
    try:
        then = parsedate_to_datetime(spelled)
    except (ValueError, IndexError, OverflowError):
        return None
    then = then.replace(tzinfo=UTC) if then.tzinfo is None else then
    return max(0.0, (then - (now or datetime.now(UTC))).total_seconds())


def offers_basic(text: str | None) -> bool:
    """Whether `WWW-Authenticate` has the scheme "Basic", or there is none to say otherwise."""
    return text is None or bool(re.search(r"(?:^|,)\s*basic\b", text, re.IGNORECASE))


def is_encoded(text: str | None) -> bool:
    """Whether `Content-Encoding` says that the bytes are not the value's own."""
    return (text or "identity").strip().lower() != "identity"
