from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from git_datareg.digest import Digest, Hasher, digest_of

#: From the BLAKE3 paper's test vectors: no input, and the bytes 0, 1, 2.
EMPTY = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
THREE = "e1be4d7a8ab5560aa4199eea339849ba8e293d55ca0a81006726d184519e647f"


def test_the_hash_is_blake3() -> None:
    assert digest_of(b"").hex == EMPTY
    assert digest_of(bytes((0, 1, 2))).hex == THREE


@given(st.binary(max_size=5000), st.integers(0, 5000))
def test_pieces_give_what_the_whole_gives(data: bytes, cut: int) -> None:
    hasher = Hasher()
    hasher.update(data[:cut])
    hasher.update(memoryview(data)[cut:])
    assert hasher.digest() == digest_of(bytearray(data))
    assert hasher.size == len(data)


def test_a_digest_may_be_asked_for_before_the_end() -> None:
    hasher = Hasher()
    assert hasher.digest().hex == EMPTY
    hasher.update(bytes((0, 1)))
    hasher.digest()
    hasher.update(bytes((2,)))
    assert hasher.digest().hex == THREE


def test_parse_takes_what_str_gives() -> None:
    assert Digest.parse(EMPTY) == digest_of(b"")
    assert str(digest_of(b"")) == EMPTY


@pytest.mark.parametrize(
    "text", ["", EMPTY[:-1], EMPTY + "0", EMPTY.upper(), EMPTY[:-1] + "g", EMPTY[:-1] + "\n"]
)
def test_parse_refuses_anything_else(text: str) -> None:
    with pytest.raises(ValueError, match="lower-case hex"):
        Digest.parse(text)


def test_the_message_of_a_refusal_stays_short() -> None:
    with pytest.raises(ValueError, match="hex") as caught:
        Digest.parse("x" * 10_000)
    assert len(str(caught.value)) < 200


def test_a_key_spreads_objects_over_256_directories() -> None:
    assert Digest.parse(EMPTY).key == f"af/{EMPTY[2:]}"
