from __future__ import annotations

import contextlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from git_datareg.digest import Digest, digest_of
from git_datareg.errors import PointerError
from git_datareg.pointer import MAX_LENGTH, Pointer, looks_like_pointer

digests = st.binary(max_size=8).map(digest_of)
pointers = st.builds(Pointer, digests, st.integers(0, 2**63 - 1))
POINTER = Pointer(digest_of(b"x"), 1)


@given(pointers)
def test_parse_gives_back_what_was_encoded(pointer: Pointer) -> None:
    text = pointer.encode()
    assert Pointer.parse(text) == pointer
    assert looks_like_pointer(text)
    assert len(text) <= MAX_LENGTH


@pytest.mark.parametrize("at", range(len(POINTER.encode()) + 1))
def test_a_changed_byte_never_spells_the_same_value(at: int) -> None:
    text = POINTER.encode()
    changed = [text[:at] + bytes([byte]) + text[at + 1 :] for byte in range(256)]
    inserted = [text[:at] + bytes([byte]) + text[at:] for byte in range(256)]
    for other in {*changed, *inserted, text[:at] + text[at + 1 :], text[:at]} - {text}:
        with contextlib.suppress(PointerError):
            parsed = Pointer.parse(other)
            assert parsed != POINTER
            assert parsed is None or parsed.encode() == other


@given(st.binary(max_size=200).map(lambda tail: b"git-datareg pointer 1\n" + tail))
@example(b"git-datareg pointer 1\nblake3 \nsize 0\n")
@example(b"git-datareg pointer 1\nblake3 " + b"0" * 64 + b"\nsize \xb2\n")
def test_whatever_parses_is_its_own_encoding(text: bytes) -> None:
    with contextlib.suppress(PointerError):
        parsed = Pointer.parse(text)
        assert parsed is None or parsed.encode() == text


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (b"git-datareg pointer 2\n", "version 2"),
        (b"git-datareg pointer 9999999999999999999\nx\n", "version 9999999999999999999"),
        (POINTER.encode().replace(b"blake3", b"sha2-256"), "sha2-256"),
    ],
)
def test_what_a_later_version_wrote_is_an_error_with_a_way_out(text: bytes, name: str) -> None:
    with pytest.raises(PointerError, match=name) as caught:
        Pointer.parse(text)
    assert "upgrade git-datareg" in caught.value.hints


@pytest.mark.parametrize(
    "text",
    [
        b"git-datareg pointer 99999999999999999999\n",
        b"git-datareg pointer \n",
        POINTER.encode().replace(b"blake3", b"BLAKE3"),
        POINTER.encode().replace(b"blake3", b""),
        POINTER.encode().replace(b"blake3 ", b"sha256 x"),
        b"git-datareg pointer 2\n" + b"x" * MAX_LENGTH,
    ],
)
def test_what_no_version_would_write_is_data(text: bytes) -> None:
    assert Pointer.parse(text) is None


@given(st.integers(0, 30))
def test_the_head_of_a_pointer_is_never_taken_for_data(length: int) -> None:
    assert looks_like_pointer(POINTER.encode()[:length])


@pytest.mark.parametrize("head", [b"x", b"git-datareg pointers", b"\x89PNG\r\n"])
def test_other_heads_are_told_at_once(head: bytes) -> None:
    assert not looks_like_pointer(head)


def test_a_pointer_has_three_lines() -> None:
    pointer = Pointer(Digest("ab" * 32), 1234)
    text = b"git-datareg pointer 1\nblake3 " + b"ab" * 32 + b"\nsize 1234\n"
    assert pointer.encode() == text
