from __future__ import annotations

import io
import shutil
from pathlib import Path

import pytest

from git_datareg import reading, registry
from git_datareg.digest import digest_of
from git_datareg.errors import IntegrityError, ObjectNotFoundError
from git_datareg.layout import ObjectStorage
from git_datareg.location import Location
from git_datareg.objects import LocalObjects, ObjectDirectory
from git_datareg.pointer import Pointer
from git_datareg.reading import SourceReader
from git_datareg.storage import open_storage
from tests.support.gitrun import Git

DATA = b"data of a file"
POINTER = Pointer(digest_of(DATA), len(DATA))


@pytest.fixture
def git(tmp_path: Path) -> Git:
    git = Git(tmp_path / "registry").init()
    git.write(".datareg", f'[storage "disk"]\n\turl = {tmp_path}/disk\n'.encode())
    git.write("data", POINTER.encode())
    git.write("plain", b"plain")
    git.write("other", b"other")
    git.commit_all()
    store(tmp_path / "disk", DATA)
    return git


def store(place: Path, data: bytes) -> None:
    storage = ObjectStorage(open_storage(Location(str(place))))
    storage.upload(POINTER, io.BytesIO(data))


@pytest.fixture
def reader(git: Git, tmp_path: Path) -> SourceReader:
    cache = str(tmp_path / "cache")
    source = registry.open_source(Location(str(git.path)), None, cache, {"HOME": "/"})
    return SourceReader(source, LocalObjects(None, ObjectDirectory(cache)), 2)


def test_data_and_plain_files_are_opened(reader: SourceReader) -> None:
    for path, content in {"data": DATA, "plain": b"plain"}.items():
        with reader.open(registry.file(reader.source, path)) as stream:
            assert (stream.size, stream.read()) == (len(content), content)
            assert not stream.writable()


def test_what_is_here_needs_no_storage(reader: SourceReader, tmp_path: Path) -> None:
    file = registry.file(reader.source, "data")
    reader.bring([file])
    shutil.rmtree(tmp_path / "disk")
    assert reader.open(file, whole=True).read() == DATA


def test_the_storage_is_also_looked_for_where_it_is_now(
    reader: SourceReader, git: Git, tmp_path: Path
) -> None:
    (tmp_path / "disk").rename(tmp_path / "moved")
    file = registry.file(reader.source, "data")
    with pytest.raises(Exception, match="disk"):
        reader.open(file)
    (tmp_path / "disk").mkdir()
    git.write(".datareg", f'[storage "disk"]\n\turl = {tmp_path}/moved\n'.encode())
    git.commit_all()
    assert reader.open(file).read() == DATA


def test_the_fault_of_the_commits_own_storage_is_told(
    reader: SourceReader, git: Git, tmp_path: Path
) -> None:
    [stored] = [path for path in (tmp_path / "disk/objects").rglob("*") if path.is_file()]
    stored.write_bytes(DATA[::-1])
    git.write(".datareg", f'[storage "disk"]\n\turl = {tmp_path}/empty\n'.encode())
    git.commit_all()
    (tmp_path / "empty").mkdir()
    with pytest.raises(IntegrityError, match=f"{tmp_path}/disk"):
        reader.open(registry.file(reader.source, "data"))
    stored.unlink()
    with pytest.raises(ObjectNotFoundError, match=f"{tmp_path}/disk"):
        reader.open(registry.file(reader.source, "data"))


def test_plain_files_are_read_at_once_as_far_as_they_fit(
    reader: SourceReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = registry.files(reader.source, "")
    contents = {each.blob: each.path for each in files}
    found = {contents[blob]: content for blob, content in reader.plain(files).items()}
    assert found.keys() == {b".datareg", b"other", b"plain"}
    assert found[b"plain"] == b"plain"
    monkeypatch.setattr(reading, "_MOST_PLAIN", 7)
    assert reader.plain(files[2:]) == {registry.file(reader.source, "other").blob: b"other"}
    assert reader.plain([]) == {}
