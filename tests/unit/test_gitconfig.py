from __future__ import annotations

from itertools import product
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from git_datareg import gitconfig
from git_datareg.gitconfig import Item
from tests.support.gitrun import Git

names = st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True)
sections = st.from_regex(r"[a-z0-9-]{1,8}", fullmatch=True)
#: With the characters that matter more often, and bytes that are not UTF-8.
characters = st.one_of(
    st.sampled_from(" \t\r\n\v\f\"\\#;=[]'\b\udc80\udcff\u00e9\u2028"),
    st.characters(codec="utf-8", exclude_characters="\0"),
)
values = st.text(characters, max_size=12)
subsections = st.none() | st.text(characters.filter(lambda char: char != "\n"), max_size=8)
items = st.builds(Item, sections, subsections, names, values)


def as_git_spells(found: list[Item]) -> list[tuple[bytes, bytes]]:
    """The items as `git config -z --list` gives them."""
    return [
        (
            ".".join(part for part in item[:3] if part is not None).encode(
                "utf-8", "surrogateescape"
            ),
            item.value.encode("utf-8", "surrogateescape"),
        )
        for item in found
    ]


def read_by_git(git: Git, text: bytes) -> list[tuple[bytes, bytes]] | None:
    """What git makes of the text; None when it refuses it."""
    path = git.path / "read-by-git"
    path.write_bytes(text)
    done = git.run_bytes("config", "-z", "--list", "--file", path, "--no-includes", check=False)
    if done.returncode != 0:
        return None
    records = [record.partition(b"\n") for record in done.stdout.split(b"\0")[:-1]]
    return [(key, value if has_value else b"true") for key, has_value, value in records]


def read_by_us(text: bytes) -> list[tuple[bytes, bytes]] | None:
    try:
        return as_git_spells(gitconfig.parse(text))
    except ValueError:
        return None


@settings(max_examples=60)
@given(st.lists(items, max_size=4))
def test_parse_gives_back_what_was_encoded(found: list[Item]) -> None:
    assert gitconfig.parse(gitconfig.encode(found)) == found


def test_git_reads_what_was_encoded_as_we_do(tmp_path: Path) -> None:
    odd = [
        *("", " ", "a b", " a", "a ", "a\tb", "a\r", "\ra", "a\rb", "a\n", "\n", "a\\", "\\n"),
        *('"', 'a"b"', "#", "a#b", ";", "a ; b", "=", "[x]", "\v", "\f", "a\b", "\udcff", "\u00e9"),
    ]
    found = [
        Item("a", subsection, "key", left + right)
        for subsection in (None, "", "x y", 'x"#]\\', "\udcff\t\r", "X.y")
        for left, right in product(odd, odd)
    ]
    assert read_by_git(Git(tmp_path), gitconfig.encode(found)) == as_git_spells(found)


PIECES = ["[a]", '[A "', '"]', "[", "]", "b", "=", " = ", '"', "\\", "\n", "\r\n", ";", "#", " "]
PIECES += ["c", "\\n", '\\"', "\\x", ".", "-", "1", "\n\tk = ", '[s "x"] k=', "\udcff", "\\\n"]


def test_git_and_we_read_the_same_into_any_text(tmp_path: Path) -> None:
    random = Random(20)
    git = Git(tmp_path)
    texts = [random.choices(PIECES, k=random.randint(1, 12)) for _ in range(300)]
    encoded = [("[s]\nk =" + "".join(text)).encode("utf-8", "surrogateescape") for text in texts]
    refused = [text for text in encoded if read_by_us(text) is None]
    for text in refused[:60]:
        assert (text, read_by_git(git, text)) == (text, None)
    # Those that both take go through one git: each ends with its line.
    taken = b"\n\n".join(text for text in encoded if text not in refused)
    assert 50 < len(refused) < 250
    assert read_by_git(git, taken) == read_by_us(taken)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"", []),
        (b"[a]", []),
        (b"[a]\nb = c\n", [("a", None, "b", "c")]),
        (b"[A]B=c", [("a", None, "b", "c")]),
        (b"[a]\nb\n", [("a", None, "b", "true")]),
        (b"[a]\nb =\n", [("a", None, "b", "")]),
        (b"[a]\nb = c ; d \\\n e = f\n", [("a", None, "b", "c"), ("a", None, "e", "f")]),
        (b"[a]\nb = c\\\n d\n", [("a", None, "b", "c d")]),
        (b"[a]\nb = c\\", [("a", None, "b", "c")]),
        (b"[a.B]\nc = d\n", [("a", "b", "c", "d")]),
        (b'[a.B "C"]\nd = e\n', [("a", "b.C", "d", "e")]),
        (b'[a\t "x\\"#\\y"]\nb = c\n', [("a", 'x"#y', "b", "c")]),
        (b"\xef\xbb\xbf; mark\r\n[a] # note\r\nb = c\r\n", [("a", None, "b", "c")]),
        (b"[a]\nb=1\n[c]\nd=2\n[a]\nb=3\n", [("a", None, "b", "1"), ("c", None, "d", "2")]),
    ],
)
def test_text_is_read_in_order(
    text: bytes, expected: list[tuple[str, ...]], tmp_path: Path
) -> None:
    found = gitconfig.parse(text)
    assert found[: len(expected)] == expected
    assert as_git_spells(found) == read_by_git(Git(tmp_path), text)


@pytest.mark.parametrize(
    "text",
    [
        *(b"[]\nb=c", b"[a\nb=c", b"[a b]", b'[a "b]', b'[a "b" ]', b'[a "b\\\n"]', b"[a_b]"),
        *(b"[a]\n= c", b"[a]\n1b = c", b"[a]\nb c", b"[a]\nb ; c", b"[a]\nb_c = d", b"\x0c[a]"),
        *(b"[a]\nb = \\x", b'[a]\nb = "c', b'[a]\nb = "c\nd"', b"[", b'[a "', b'[a "\\', b"[a "),
    ],
)
def test_what_git_refuses_is_refused_with_its_line(text: bytes, tmp_path: Path) -> None:
    assert read_by_git(Git(tmp_path), text) is None
    with pytest.raises(ValueError, match=rf"line {text.splitlines().index(bad_line(text)) + 1}$"):
        gitconfig.parse(text)


def bad_line(text: bytes) -> bytes:
    first, *rest = text.splitlines()
    return rest[0] if first == b"[a]" else first


@pytest.mark.parametrize("text", [b"b = c\n", b"[a]\nb = c\0d\n"])
def test_what_git_would_take_for_nothing_we_know_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"line 1|NUL"):
        gitconfig.parse(text)


def test_nothing_is_included(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("[user]\n\tkey = secret\n")
    text = f'[include]\n\tpath = {secret}\n[includeIf "gitdir:/"]\n\tpath = {secret}\n'
    found = gitconfig.parse(text.encode())
    assert [item.section for item in found] == ["include", "includeif"]


@pytest.mark.parametrize(
    "item",
    [
        Item("a", None, "b", "c\0d"),
        Item("a", "x\ny", "b", "c"),
        Item("a", "x\0y", "b", "c"),
        Item("a b", None, "b", "c"),
        Item("", None, "b", "c"),
        Item("a.b", None, "b", "c"),
        Item("a", None, "", "c"),
        Item("a", None, "1b", "c"),
        Item("a", None, "b]\nevil", "c"),
    ],
)
def test_what_the_syntax_cannot_hold_is_not_written(item: Item) -> None:
    with pytest.raises(ValueError, match=r"cannot hold|not the name"):
        gitconfig.encode([item])


def test_a_run_of_one_section_has_one_header() -> None:
    found = [Item("a", None, "b", "1"), Item("a", None, "c", ""), Item("a", "x", "b", "2")]
    assert gitconfig.encode(found) == b'[a]\n\tb = 1\n\tc = ""\n[a "x"]\n\tb = 2\n'


WORDS = ["true", "YES", "on", "1", "2", "010", "false", "No", "off", "", "0", "00"]


def test_booleans_are_git_s(tmp_path: Path) -> None:
    git = Git(tmp_path)
    git.write("f", gitconfig.encode(Item("a", None, f"k{i}", w) for i, w in enumerate(WORDS)))
    for number, word in enumerate(WORDS):
        told = git.out("config", "--file", "f", "--type=bool", f"a.k{number}")
        assert (word, told) == (word, str(gitconfig.is_true(word)).lower())


@pytest.mark.parametrize("word", ["maybe", "tru", "1.0", "\u00b2", " true"])
def test_what_is_no_boolean_is_refused(word: str) -> None:
    with pytest.raises(ValueError, match="neither true nor false"):
        gitconfig.is_true(word)


def test_a_long_text_takes_no_long_time() -> None:
    text = b"[a]\n" + b"\tkey = some value ; and a note\n" * 5_000
    assert len(gitconfig.parse(text)) == 5_000
