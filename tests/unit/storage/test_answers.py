from __future__ import annotations

from datetime import UTC, datetime

import pytest

from git_datareg.storage import answers
from git_datareg.storage.answers import ContentRange


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bytes 0-9/10", ContentRange(0, 9, 10)),
        ("bytes 5-9/*", ContentRange(5, 9, None)),
        ("BYTES  5-5/6", ContentRange(5, 5, 6)),
        (" bytes 0-0/1 ", ContentRange(0, 0, 1)),
        ("bytes */0", ContentRange(None, None, 0)),
        ("bytes */*", ContentRange(None, None, None)),
    ],
)
def test_a_content_range_says_which_bytes(text: str, expected: ContentRange) -> None:
    assert answers.content_range(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *(None, "", "bytes", "bytes 0-9", "bytes 9-0/10", "bytes 0-10/10", "items 0-9/10"),
        *("bytes -1-9/10", "bytes 0-/10", "bytes 0-9/10, bytes 0-9/10", "bytes 0-9/x"),
        *("bytes 0-1" + "0" * 20 + "/*", "bytes \u0661-\u0662/10x", "bytes=0-9/10"),
    ],
)
def test_a_content_range_without_sense_is_none(text: str | None) -> None:
    assert answers.content_range(text) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *(("0", 0), ("123", 123), (" 5 ", 5), ("5, 5", 5)),
        *((None, None), ("", None), ("5, 6", None), ("-1", None), ("5.0", None), ("1e3", None)),
        *(("+5", None), ("\u0665", None), ("9" * 30, None)),
    ],
)
def test_a_content_length_is_one_number(text: str | None, expected: int | None) -> None:
    assert answers.content_length(text) == expected


NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *(("0", 0.0), ("7", 7.0), (" 120 ", 120.0)),
        ("Fri, 02 Jan 2026 03:04:35 GMT", 30.0),
        # The two old forms of RFC 9110, 5.6.7.
        ("Friday, 02-Jan-26 03:05:05 GMT", 60.0),
        ("Fri Jan  2 03:04:06 2026", 1.0),
        ("Fri, 02 Jan 2026 03:04:00 GMT", 0.0),
        *((None, None), ("", None), ("soon", None), ("-3", None), ("1.5", None)),
        *(("9" * 30, None), ("Fri, 99 Jan 2026 03:04:35 GMT", None)),
    ],
)
def test_how_long_to_wait_is_a_number_or_a_date(text: str | None, expected: float | None) -> None:
    assert answers.retry_after(text, NOW) == expected


def test_a_date_far_ahead_of_now_is_a_long_time() -> None:
    wait = answers.retry_after("Fri, 02 Jan 2099 03:04:35 GMT")
    assert wait is not None
    assert wait > 3600


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *((None, True), ('Basic realm="x"', True), ("basic", True)),
        *(('Bearer x, Basic realm="x"', True), ("Bearer,Basic", True)),
        *(("Negotiate", False), ("", False), ('Bearer realm="Basic"', False), ("Basically", False)),
    ],
)
def test_whether_a_password_would_do_is_told(text: str | None, expected: bool) -> None:
    assert answers.offers_basic(text) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [(None, False), ("identity", False), (" Identity", False), ("gzip", True), ("br, gzip", True)],
)
def test_an_encoded_body_is_told_from_a_plain_one(text: str | None, expected: bool) -> None:
    assert answers.is_encoded(text) is expected
