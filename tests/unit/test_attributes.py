from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from git_datareg import attributes
from git_datareg.attributes import PLAIN, TRACKED

#: What a command line can hold, bytes that are not UTF-8 among it.
PATTERNS = (
    st.binary(min_size=1)
    .map(lambda raw: raw.replace(b"\0", b"").decode("utf-8", "surrogateescape"))
    .filter(bool)
)


@given(st.lists(PATTERNS, unique=True, max_size=4))
def test_what_is_tracked_is_listed_and_can_be_untracked(patterns: list[str]) -> None:
    text = b""
    for pattern in patterns:
        text = attributes.track(text, pattern)
    assert attributes.patterns(text) == patterns
    for pattern in patterns:
        text = attributes.untrack(text, pattern)
    assert text == b""


@pytest.mark.parametrize(
    ("pattern", "line"),
    [
        ("*.dat", b"*.dat"),
        ("a b", b'"a b"'),
        ("#a", b'"#a"'),
        ('"a', b'"\\"a"'),
        ('a"b', b'a"b'),
        ("a\\b", b"a\\b"),
        ("a b\\*", b'"a b\\\\*"'),
        ("a\tb\n", b'"a\\011b\\012"'),
        ("\x7f", b'"\\177"'),
        ("\udce9", b"\xe9"),
    ],
)
def test_a_pattern_is_quoted_where_it_must_be(pattern: str, line: bytes) -> None:
    assert attributes.track(b"", pattern) == line + b" " + TRACKED + b"\n"


@pytest.mark.parametrize(
    ("text", "patterns"),
    [
        (b"", []),
        (b"*.a filter=datareg\n*.b\tfilter=datareg -text\r\n*.c -filter\n", ["*.a", "*.b"]),
        (b"# x filter=datareg\n[attr]x filter=datareg\n", []),
        (b"  indented filter=datareg", ["indented"]),
        (b'"a\\tb\\"\\101\\x" filter=datareg', ['a\tb"Ax']),
        (b'"not ended filter=datareg', []),
        (b"\xef\xbb\xbf*.a filter=datareg\n", ["*.a"]),
        (b"*.a filter=datareg-not\n*.b !filter\n*.c\n", []),
    ],
)
def test_what_others_wrote_is_read_as_git_does(text: bytes, patterns: list[str]) -> None:
    assert attributes.patterns(text) == patterns


def test_tracking_twice_changes_nothing() -> None:
    text = b"*.dat\tfilter=datareg"
    assert attributes.track(text, "*.dat") == text


def test_foreign_lines_stay() -> None:
    foreign = b"# comment\r\n\n*.dat text\n"
    tracked = attributes.track(foreign, "*.dat")
    assert tracked.startswith(foreign)
    assert attributes.untrack(tracked, "*.dat") == foreign
    assert attributes.untrack(foreign, "*.dat") == foreign


def test_a_path_is_a_pattern_for_itself_alone() -> None:
    assert attributes.literal("a*/b?[c]\\d") == "/a\\*/b\\?\\[c]\\\\d"


def test_an_import_has_a_line_for_its_data_and_one_for_each_plain_file() -> None:
    text = attributes.with_import(b"*.x text", "faces", ["a", "b/c"], ["README", "b/d e"])
    assert text == (
        b"*.x text\n/faces/** " + TRACKED + b"\n/faces/README " + PLAIN + b"\n"
        b'"/faces/b/d e" ' + PLAIN + b"\n"
    )
    assert attributes.with_import(text, "faces", [""], []) == (
        b"*.x text\n/faces " + TRACKED + b"\n"
    )
    assert attributes.with_import(text, "faces", [], ["all"]) == b"*.x text\n"
    assert attributes.with_import(text, "face", [], []) == text
