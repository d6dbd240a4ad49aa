"""git_datareg.filtering: what becomes a pointer, and content on its way."""

from __future__ import annotations

from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from git_datareg import filtering
from git_datareg.digest import Digest
from git_datareg.errors import PointerError
from git_datareg.filtering import Spool
from git_datareg.objects import ObjectDirectory
from git_datareg.pointer import Pointer

HELD = 1 << 20
SOME = Pointer(Digest("ab" * 32), 5)
UNKNOWN = SOME.encode().replace(b"pointer 1", b"pointer 2")


@pytest.fixture
def objects(tmp_path: Path) -> ObjectDirectory:
    return ObjectDirectory(str(tmp_path / "objects"))


def pointer(content: bytes) -> Pointer:
    return Pointer(Digest(blake3(content).hexdigest()), len(content))


def temporary(objects: ObjectDirectory) -> list[Path]:
    return list(Path(objects.root).glob("tmp/*"))


def stored(objects: ObjectDirectory) -> list[Path]:
    return list(Path(objects.root).glob("objects/*/*"))


def cleaned(
    objects: ObjectDirectory, content: bytes, path: bytes = b"x.dat", threshold: int = 0
) -> bytes:
    with Spool(objects) as spool:
        spool.write(content)
        answer = b"".join(filtering.clean(spool, path, threshold))
    assert temporary(objects) == []
    return answer


@pytest.mark.parametrize("size", [1, HELD - 1, HELD, HELD + 1, 3 * HELD])
def test_content_becomes_a_pointer_and_an_object(objects: ObjectDirectory, size: int) -> None:
    content = bytes(size)
    assert cleaned(objects, content) == pointer(content).encode()
    [file] = stored(objects)
    assert file.read_bytes() == content
    assert cleaned(objects, content) == pointer(content).encode()
    assert stored(objects) == [file]


@pytest.mark.parametrize(
    ("content", "path", "threshold"),
    [
        (b"", b"x.dat", 0),
        (b"1234", b"x.dat", 5),
        (SOME.encode(), b"x.dat", 0),
        (b"text", b".gitattributes", 0),
        (b"text", b"sub/.gitignore", 0),
        (b"text", b".gitmodules", 0),
        (b"text", b".datareg", 0),
        (b"text", b"sub/faces.datareg", 0),
        (bytes(2 * HELD), b"x.dat", 2 * HELD + 1),
    ],
)
def test_what_stays_as_it_is(
    objects: ObjectDirectory, content: bytes, path: bytes, threshold: int
) -> None:
    assert cleaned(objects, content, path, threshold) == content
    assert stored(objects) == []


def test_the_threshold_itself_is_tracked(objects: ObjectDirectory) -> None:
    assert cleaned(objects, b"12345", threshold=5) == pointer(b"12345").encode()


@pytest.mark.parametrize("name", [b"gitattributes", b"x.datareg.dat", b".gitattributes.dat"])
def test_other_names_are_data(name: bytes) -> None:
    assert filtering.is_data(name)
    assert filtering.is_data(b".datareg/" + name)


def test_an_unknown_pointer_is_neither_cleaned_nor_smudged(objects: ObjectDirectory) -> None:
    with Spool(objects) as spool:
        spool.write(UNKNOWN)
        with pytest.raises(PointerError):
            filtering.clean(spool, b"x.dat", 0)
        with pytest.raises(PointerError):
            filtering.smudge(spool)
    assert stored(objects) == []


def test_smudge_tells_pointers_from_data(objects: ObjectDirectory) -> None:
    for content, expected in ((SOME.encode(), SOME), (b"", None), (b"text", None)):
        with Spool(objects) as spool:
            spool.write(content)
            assert filtering.smudge(spool) == expected
            assert b"".join(spool.content()) == content


def test_long_content_is_no_pointer(objects: ObjectDirectory) -> None:
    content = SOME.encode() + bytes(2 * HELD)
    with Spool(objects) as spool:
        spool.write(content)
        assert filtering.smudge(spool) is None
        assert b"".join(spool.content()) == content
    assert temporary(objects) == []


def test_what_is_not_stored_leaves_nothing(objects: ObjectDirectory) -> None:
    with pytest.raises(KeyboardInterrupt), Spool(objects) as spool:
        spool.write(bytes(2 * HELD))
        assert len(temporary(objects)) == 1
        raise KeyboardInterrupt
    assert temporary(objects) == []
    assert stored(objects) == []


@given(st.lists(st.integers(0, 700_000), max_size=6))
def test_pieces_of_any_length_make_the_same_content(sizes: list[int]) -> None:
    import tempfile

    pieces = [bytes([number]) * size for number, size in enumerate(sizes)]
    content = b"".join(pieces)
    with tempfile.TemporaryDirectory() as root, Spool(ObjectDirectory(root)) as spool:
        for piece in pieces:
            spool.write(memoryview(piece))
        assert spool.size == len(content)
        assert b"".join(spool.content()) == content
        assert spool.held() == (content if len(content) <= HELD else None)
        assert spool.store() == pointer(content)
        assert Path(root, "objects", spool.store().digest.key).read_bytes() == content


@pytest.mark.parametrize(
    "text",
    [
        SOME.encode().replace(b"\n", b"\r\n"),
        UNKNOWN.replace(b"\n", b"\r\n"),
        SOME.encode().decode().encode("utf-16"),
        SOME.encode().decode().encode("utf-16-be"),
        SOME.encode().decode().encode("utf-32"),
        SOME.encode().decode().encode("utf-8-sig"),
    ],
)
def test_what_git_may_have_made_of_a_pointer(objects: ObjectDirectory, text: bytes) -> None:
    with Spool(objects) as spool:
        spool.write(text)
        assert filtering.may_be_converted(spool)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"g",
        b"git-datareg pointer ",
        b"git-datareg pointer \r\n",
        b"text\r\n" * 100,
        bytes(500),
        SOME.encode(),
        UNKNOWN,
        SOME.encode().replace(b"\n", b"\r\n") + bytes(HELD),
    ],
)
def test_what_git_has_not_converted(objects: ObjectDirectory, text: bytes) -> None:
    with Spool(objects) as spool:
        spool.write(text)
        assert not filtering.may_be_converted(spool)


def test_a_file_is_read_in_pieces(tmp_path: Path) -> None:
    content = bytes(range(256)) * 10_000
    path = tmp_path / "file"
    path.write_bytes(content)
    pieces = list(filtering.read_file(str(path)))
    assert b"".join(pieces) == content
    assert max(map(len, pieces)) <= HELD


def test_a_fingerprint_is_the_pointer_to_the_content() -> None:
    assert filtering.fingerprint(b"content") == pointer(b"content")
