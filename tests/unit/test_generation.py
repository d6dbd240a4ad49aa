from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from git_datareg import generation
from git_datareg.digest import digest_of
from git_datareg.errors import CorruptError
from git_datareg.generation import Collection, Generation, Pack, in_the_way, is_ref_name, parse
from tests.support.gitrun import Git

ID, OTHER, TAG = "1" * 40, "2" * 40, "ab" * 20
FULL = Generation(
    number=7,
    parent=digest_of(b"before"),
    nonce="0123456789abcdef" * 2,
    time="2026-11-27T12:00:00Z",
    object_format="sha1",
    head="refs/heads/main",
    refs={"refs/heads/main": ID, "refs/heads/a/b": OTHER, "refs/tags/v1": TAG},
    peeled={"refs/tags/v1": ID},
    packs=(
        Pack(digest_of(b"pack"), 123, 4, (ID,)),
        Pack(digest_of(b"another"), 2**40, 1_000_000, (OTHER, TAG)),
    ),
    collection=Collection(digest_of(b"keys"), "2026-11-27T11:00:00Z"),
)
FIRST = FULL._replace(number=1, parent=None, refs={}, peeled={}, packs=(), collection=None)
SHA256 = FULL._replace(
    object_format="sha256",
    refs={"refs/heads/main": "3" * 64},
    peeled={},
    packs=(Pack(digest_of(b"pack"), 1, 1, ("3" * 64,)),),
)

#: What JSON can have.
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def fields(of: Generation = FULL) -> Any:
    return json.loads(of.encode().split(b"\n", 2)[2])


def record(value: Any) -> bytes:
    """A record with any content, and the digest of that."""
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return b"git-datareg generation 1\nblake3 %s\n" % digest_of(body).hex.encode() + body


def places(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to each value inside of one."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    for key, each in inner:
        yield (*above, key)
        if isinstance(each, dict | list):
            yield from places(each, (*above, key))


PLACES = list(places(fields()))


@pytest.mark.parametrize("whole", [FULL, FIRST, SHA256])
def test_parse_gives_back_what_was_encoded(whole: Generation) -> None:
    assert parse(whole.encode(), "x") == whole


def test_equal_states_are_equal_texts() -> None:
    turned = dict(reversed(FULL.refs.items()))
    assert FULL._replace(refs=turned).encode() == FULL.encode()


def test_what_later_versions_add_is_ignored() -> None:
    assert parse(record({**fields(), "later": 1}), "x") == FULL


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"number": 0}, "not a number"),
        ({"number": 10**20}, "not a number"),
        ({"number": True}, "not a number"),
        ({"number": 1}, "only the first record"),
        ({"parent": None}, "only the first record"),
        ({"parent": "12"}, "not a record"),
        ({"nonce": "0" * 31}, "no nonce"),
        ({"nonce": "G" * 32}, "no nonce"),
        ({"time": "\x1b[31m"}, "no time"),
        ({"time": "2" * 33}, "no time"),
        ({"object_format": "md5"}, "unknown hash function"),
        ({"object_format": "sha256"}, "not the id of an object"),
        ({"head": "refs/tags/v1"}, "HEAD is no branch"),
        ({"head": "refs/heads/../../config"}, "HEAD is no branch"),
        ({"refs": []}, "refs that are no refs"),
        ({"refs": {"refs/heads/..": ID}}, "not the name of a ref"),
        ({"refs": {"HEAD": ID}}, "not the name of a ref"),
        ({"refs": {"refs/heads/main": "0" * 40}}, "not the id of an object"),
        ({"refs": {"refs/heads/main": ID.upper().replace("1", "A")}}, "not the id of an object"),
        ({"refs": {"refs/heads/a": ID, "refs/heads/a/b": ID}, "peeled": {}}, "folder of another"),
        ({"peeled": {"refs/tags/v2": ID}}, "a tag that is no ref"),
        ({"packs": {}}, "packs that are no packs"),
        ({"packs": fields()["packs"] * 2}, "there twice"),
        ({"packs": [{**fields()["packs"][0], "size": 0}]}, "not a number"),
        ({"packs": [{**fields()["packs"][0], "size": 2**63}]}, "not a number"),
        ({"packs": [{**fields()["packs"][0], "objects": 2**32}]}, "not a number"),
        ({"packs": [{**fields()["packs"][0], "tips": "1"}]}, "a pack without tips"),
        ({"packs": [{**fields()["packs"][0], "tips": ["-x"]}]}, "not the id of an object"),
        ({"collection": []}, "a collection that is none"),
        ({"collection": {"digest": "x", "time": ""}}, "not a record"),
    ],
)
def test_what_can_not_be_is_said(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(CorruptError, match=said) as caught:
        parse(record({**fields(), **changes}), "here/1.json")
    assert "here/1.json" in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("text", [b"", b"\xff", b"[" * 100_000, b"null", b"[]", b"1", b"{}"])
def test_what_is_no_record_is_said(text: bytes) -> None:
    for each in (text, record(text)):
        with pytest.raises(CorruptError, match=r"not a record of refs: x"):
            parse(each, "x")


@pytest.mark.parametrize("version", [b"", b"2", b"1.0", b"1 ", b"\xff\x1b[31m"])
def test_other_versions_are_told_as_such(version: bytes) -> None:
    text = FULL.encode().replace(b"generation 1\n", b"generation %s\n" % version)
    with pytest.raises(
        CorruptError, match=r"a record of version .*only 1 is known here: x"
    ) as caught:
        parse(text, "x")
    assert str(caught.value).isprintable()


def test_a_bit_that_is_flipped_is_said() -> None:
    text = FULL.encode()
    for place in range(len(text)):
        with pytest.raises(CorruptError):
            parse(text[:place] + bytes([text[place] ^ 1]) + text[place + 1 :], "x")


@pytest.mark.parametrize("place", PLACES, ids=str)
@pytest.mark.parametrize(
    "other", [None, True, -1, 1.5, "", "x", "\0", [], [[]], {}, {"": 1}], ids=repr
)
def test_each_value_is_looked_at(place: tuple[Any, ...], other: Any) -> None:
    changed = copy.deepcopy(fields())
    inner = changed
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = other
    try:
        found = parse(record(changed), "x")
    except CorruptError:
        return
    # What passes is a record like any other.
    assert parse(found.encode(), "x") == found


@pytest.mark.parametrize("place", [each for each in PLACES if isinstance(each[-1], str)], ids=str)
def test_each_value_must_be_there(place: tuple[Any, ...]) -> None:
    changed = copy.deepcopy(fields())
    inner = changed
    for key in place[:-1]:
        inner = inner[key]
    del inner[place[-1]]
    if place[0] in ("refs", "peeled") and len(place) > 1 and place[1] != "refs/tags/v1":
        parse(record(changed), "x")
    elif place != ("peeled", "refs/tags/v1"):
        with pytest.raises(CorruptError):
            parse(record(changed), "x")


@given(st.sampled_from(PLACES), values)
def test_no_value_is_a_surprise(place: tuple[Any, ...], other: Any) -> None:
    test_each_value_is_looked_at(place, other)


@given(st.binary(max_size=300))
def test_no_bytes_are_a_surprise(text: bytes) -> None:
    with pytest.raises(CorruptError):
        parse(text, "x")


def test_a_text_that_breaks_off_is_no_record() -> None:
    text = FULL.encode().rstrip()
    for end in range(len(text)):
        with pytest.raises(CorruptError):
            parse(text[:end], "x")


NAMES = [
    "refs/heads/main",
    "refs/heads/a/b",
    "refs/heads/ünïcode/it's+{odd}#1",
    "refs/heads/-x",
    "refs/heads/@",
    "refs/stash",
    "refs/heads/a@b",
    "refs/heads/.a",
    "refs/heads/a.",
    "refs/heads/a/.b",
    "refs/heads/a.lock",
    "refs/heads/a.lock/b",
    "refs/heads/a..b",
    "refs/heads/a b",
    "refs/heads/a~1",
    "refs/heads/a^",
    "refs/heads/a:b",
    "refs/heads/a?",
    "refs/heads/a*",
    "refs/heads/a[b",
    "refs/heads/a\\b",
    "refs/heads/a@{b",
    "refs/heads/a\x7f",
    "refs/heads/a\tb",
    "refs/heads//a",
    "refs/heads/a/",
    "refs/heads/",
    "refs/",
    "refs",
    "/refs/heads/a",
]


@pytest.mark.parametrize("name", NAMES)
def test_names_of_refs_are_gits(tmp_path: Path, name: str) -> None:
    code = Git(tmp_path).run("check-ref-format", name, check=False).returncode
    assert is_ref_name(name) == (code == 0)


@pytest.mark.parametrize(
    "name", ["", "HEAD", "config", "heads/main", "../refs/x", "refs/a\nb", "refs/\ud800"]
)
def test_what_is_below_no_refs_is_no_ref(name: str) -> None:
    assert not is_ref_name(name)


def test_a_ref_is_no_folder_of_another() -> None:
    there = ("refs/heads/a/b", "refs/heads/c")
    assert in_the_way("refs/heads/a", there) == "refs/heads/a/b"
    assert in_the_way("refs/heads/c/d/e", there) == "refs/heads/c"
    assert in_the_way("refs/heads/a/bb", there) is None
    assert in_the_way("refs/heads/a/b", there) is None


def test_a_pack_is_called_as_git_calls_packs_of_the_format() -> None:
    digest = digest_of(b"pack")
    assert generation.pack_name(digest, "sha1") == f"pack-{digest.hex[:40]}"
    assert generation.pack_name(digest, "sha256") == f"pack-{digest.hex}"
