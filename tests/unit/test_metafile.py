from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from git_datareg.errors import MetafileError
from git_datareg.metafile import Metafile, is_metafile
from tests.support.gitrun import Git

COMMIT = "0123456789abcdef" * 2 + "01234567"
PLAIN = Metafile("https://example.org/r", "images", COMMIT)
#: What paths of Git may hold, with the odd characters more often.
characters = st.one_of(
    st.sampled_from(" \t\r\n\"'\\#;=[]\udcff\udc80*"),
    st.characters(codec="utf-8", exclude_characters="\0"),
)
texts = st.text(characters, min_size=1, max_size=20)
paths = texts.filter(lambda path: not path.startswith("/") and ".." not in path.split("/"))
clean_texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=20)
revisions = st.none() | clean_texts.map(lambda text: "v" + text)
metafiles = st.builds(
    Metafile,
    url=clean_texts.map(lambda text: "https://example.org/" + text),
    path=paths,
    commit=st.sampled_from([COMMIT, "ab" * 32]),
    rev=revisions,
    storage=st.none() | clean_texts.map(lambda text: "s3://bucket/" + text),
    endpoint=st.none() | clean_texts.map(lambda text: "https://host/" + text),
    region=st.none() | clean_texts.filter(bool),
    include=st.lists(texts, max_size=3).map(tuple),
    exclude=st.lists(texts, max_size=3).map(tuple),
    vendor=st.booleans(),
)


@given(metafiles)
@example(PLAIN._replace(path="a\r", include=("", " x ", "#", ";", "a;b", '"', "\\", "\n")))
@example(PLAIN._replace(path='a\nb = "c" ; \\ \udcff', rev="v1"))
def test_parse_gives_back_what_was_encoded(metafile: Metafile) -> None:
    assert Metafile.parse(metafile.encode(), "x.datareg") == metafile


def test_git_reads_an_odd_path_as_it_was(tmp_path: Path) -> None:
    git = Git(tmp_path)
    path = ' a\r\n;b #c "d" \\ \u00e9\t'
    git.write("f", PLAIN._replace(path=path).encode())
    done = git.run_bytes("config", "--file", "f", "-z", "import.path")
    assert done.stdout == path.encode() + b"\0"


def test_keys_are_written_in_one_order() -> None:
    full = PLAIN._replace(
        rev="main",
        storage="s3://b",
        endpoint="https://e",
        region="r",
        include=("a",),
        exclude=("b",),
        vendor=True,
    )
    keys = [line.split()[0] for line in full.encode().decode().splitlines()[1:]]
    expected = [
        "url",
        "path",
        "rev",
        "commit",
        "storage",
        "endpoint",
        "region",
        "include",
        "exclude",
        "vendor",
    ]
    assert keys == expected


def test_a_text_with_nul_is_not_written() -> None:
    with pytest.raises(ValueError, match="NUL"):
        PLAIN._replace(path="a\0b").encode()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"url = ", "no 'url'"),
        (b"url = -x", "not a URL"),
        (b"url = ext::sh\\nx", "not a URL"),
        (b"path = ", "no 'path'"),
        (b"path = a/../b", "inside a registry"),
        (b"path = ..", "inside a registry"),
        (b"path = /a", "inside a registry"),
        (b"commit = abc", "full id"),
        (b"commit = " + b"g" * 40, "full id"),
        (b"rev = -x", "revision"),
        (b'rev = "a\\nb"', "revision"),
        (b"rev = \x7f", "revision"),
        (b"storage = --x", "not a URL"),
        (b"vendor = 1.5", "neither true nor false"),
        (b"colour = \\x", "line 5"),
    ],
)
def test_what_can_t_be_meant_is_an_error_that_names_the_file(line: bytes, words: str) -> None:
    with pytest.raises(MetafileError, match=words) as caught:
        Metafile.parse(PLAIN.encode() + b"\t" + line + b"\n", "faces.datareg")
    assert "faces.datareg" in caught.value.message
    assert caught.value.exit_code == 6


def test_secrets_in_a_refused_url_are_not_shown() -> None:
    text = PLAIN._replace(url="https://u:SECRET@example.org/\x01").encode()
    with pytest.raises(MetafileError) as caught:
        Metafile.parse(text, "x")
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize("name", [b"rev", b"storage"])
def test_an_empty_value_is_none(name: bytes) -> None:
    assert Metafile.parse(PLAIN.encode() + b"\t" + name + b" =\n", "x") == PLAIN


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        (b"faces.datareg", True),
        (b"a/b c.datareg", True),
        (b".x.datareg", True),
        (b".datareg", False),
        (b"a/.datareg", False),
        (b"faces.datareg/a", False),
        (b"faces.datareg.txt", False),
    ],
)
def test_a_metafile_is_known_by_its_name(path: bytes, answer: bool) -> None:
    assert is_metafile(path) is answer
