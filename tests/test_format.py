"""docs/format.md, the vectors and the program say the same."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from git_datareg import attributes, generation, settings
from git_datareg.digest import digest_of
from git_datareg.errors import CorruptError, DataregError, MetafileError, PointerError
from git_datareg.filtering import Smudged
from git_datareg.layout import MARKER, check_marker, object_key
from git_datareg.location import Location
from git_datareg.metafile import Metafile
from git_datareg.placing import note
from git_datareg.pointer import Pointer

ROOT = Path(__file__).resolve().parents[1]
VECTORS = ROOT / "tests/vectors"
TEXT = (ROOT / "docs/format.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*) ?(.*)\n((?:.*\n)*?)```$", TEXT, re.MULTILINE)
OBJECT = (VECTORS / "storage/object.txt").read_bytes()


def blocks(kind: str) -> dict[str, str]:
    return {name: content for word, name, content in BLOCKS if word == kind}


def cases(folder: str) -> list[Any]:
    expected = json.loads((VECTORS / folder / "expected.json").read_text("ascii"))
    return [pytest.param(folder, name, value, id=name) for name, value in expected.items()]


def vector(folder: str, name: str) -> bytes:
    return (VECTORS / folder / name).read_bytes()


@pytest.mark.parametrize("name", list(blocks("vector")))
def test_the_document_shows_the_vectors(name: str) -> None:
    assert blocks("vector")[name].encode() == (VECTORS / name).read_bytes()


def test_the_document_shows_one_vector_at_least_of_each_kind() -> None:
    shown = {name.partition("/")[0] for name in blocks("vector")}
    assert shown == {"pointer", "metafile", "datareg", "storage", "generation"}


@pytest.mark.parametrize("folder", ["pointer", "metafile", "datareg", "storage", "generation"])
def test_something_is_expected_of_every_vector(folder: str) -> None:
    listed = {case.id for case in cases(folder)}
    there = {path.name for path in (VECTORS / folder).iterdir()}
    assert there - listed - {"object.txt"} == {"expected.json"}
    assert listed <= there


@pytest.mark.parametrize(("folder", "name", "expected"), cases("pointer"))
def test_pointers_are_read_as_the_vectors_say(folder: str, name: str, expected: Any) -> None:
    text = vector(folder, name)
    if expected == "error":
        with pytest.raises(PointerError):
            Pointer.parse(text)
    elif expected == "data":
        assert Pointer.parse(text) is None
    else:
        pointer = Pointer.parse(text)
        assert pointer is not None
        assert (pointer.digest.hex, pointer.size) == (expected["blake3"], expected["size"])
        assert pointer.encode() == text


@pytest.mark.parametrize(("folder", "name", "expected"), cases("metafile"))
def test_metafiles_are_read_as_the_vectors_say(folder: str, name: str, expected: Any) -> None:
    text = vector(folder, name)
    if expected == "error":
        with pytest.raises(MetafileError, match=re.escape(name)):
            Metafile.parse(text, name)
        return
    lists = {key: tuple(expected[key]) for key in ("include", "exclude")}
    assert Metafile.parse(text, name) == Metafile(**(expected | lists))


@pytest.mark.parametrize(
    "name", ["plain", "least", "vendored", "sha256", "not_utf8", "quoted", "endpoint"]
)
def test_metafiles_are_written_as_the_vectors_say(name: str) -> None:
    text = vector("metafile", name + ".datareg")
    assert Metafile.parse(text, name).encode() == text


@pytest.mark.parametrize(("folder", "name", "expected"), cases("datareg"))
def test_configuration_is_read_as_the_vectors_say(folder: str, name: str, expected: Any) -> None:
    text = vector(folder, name)
    if expected == "error":
        with pytest.raises(MetafileError, match=r"\.datareg"):
            settings.build((), text, {"HOME": "/"})
        return
    found = settings.build((), text, {"HOME": "/"})
    storages = {each.name: [each.location.url, each.readonly] for each in found.storages.values()}
    assert storages == expected["storages"]
    assert found.default == expected["default"]
    assert found.threshold == expected["threshold"]
    assert len(found.warnings) == len(expected["ignored"])
    for warning, key in zip(found.warnings, expected["ignored"], strict=True):
        assert f" {key} " in warning


@pytest.mark.parametrize(("folder", "name", "expected"), cases("generation"))
def test_generations_are_read_as_the_vectors_say(folder: str, name: str, expected: Any) -> None:
    text = vector(folder, name)
    if expected == "error":
        with pytest.raises(CorruptError, match=re.escape(name)):
            generation.parse(text, name)
        return
    found = generation.parse(text, name)
    parent = found.parent.hex if found.parent is not None else None
    assert (found.number, parent) == (expected["number"], expected["parent"])
    assert digest_of(text).hex == expected["digest"]


@pytest.mark.parametrize("name", ["first.txt", "second.txt"])
def test_generations_are_written_as_the_vectors_say(name: str) -> None:
    text = vector("generation", name)
    assert generation.parse(text, name).encode() == text


@pytest.mark.parametrize(("folder", "name", "expected"), cases("storage"))
def test_markers_are_read_as_the_vectors_say(folder: str, name: str, expected: Any) -> None:
    text = vector(folder, name)
    if expected == "ok":
        check_marker(text, "storage")
    else:
        with pytest.raises(CorruptError, match="storage"):
            check_marker(text, "storage")


def test_the_marker_is_written_as_the_document_says() -> None:
    assert MARKER.decode() == blocks("vector")["storage/plain.json"]


def test_the_example_object_has_the_digest_and_key_of_the_document() -> None:
    plain = [content for word, _, content in BLOCKS if not word]
    digest = digest_of(OBJECT)
    assert plain == [f"{digest}\n", f"{object_key(digest)}\n"]
    assert Pointer.parse(vector("pointer", "plain.txt")) == Pointer(digest, len(OBJECT))


def test_lines_of_gitattributes_are_those_of_the_document() -> None:
    shown = blocks("gitattributes")
    assert attributes.track(b"", "music/**").decode() == shown["music/**"]
    text = attributes.with_import(b"", "faces", ["a"], ["README.md"]).decode()
    assert text.splitlines(keepends=True)[1] == shown["/faces/README.md"]


def relative_urls() -> list[list[str]]:
    rows = re.findall(r"^\| `(.*)` \| `(\.\..*|\./.*)` \| `?(.*?)`? \|$", TEXT, re.MULTILINE)
    assert len(rows) == 5
    return [list(row) for row in rows]


@pytest.mark.parametrize(("remote", "relative", "result"), relative_urls())
def test_relative_urls_are_resolved_as_the_document_says(
    remote: str, relative: str, result: str
) -> None:
    base, location = Location.parse(remote), Location.parse(relative)
    if result == "refused":
        with pytest.raises(DataregError):
            location.resolve(base)
    else:
        assert location.resolve(base) == Location(result)


def test_notes_of_deferred_files_are_written_as_the_document_says(tmp_path: Path) -> None:
    pointer = vector("pointer", "plain.txt")
    content = Pointer.parse(pointer)
    assert content is not None
    note(str(tmp_path), Smudged(b"a b", "1" * 40, content, deferred=True))
    written = (tmp_path / "datareg/pending").read_bytes()
    assert written == b"\0\0a b\0" + b"1" * 40 + b"\0" + pointer
