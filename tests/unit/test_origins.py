"""git_datareg.origins: objects of imports, by way of the registries that they came from."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from git_datareg import origins, projects, registry
from git_datareg.downloads import Want
from git_datareg.errors import DataregError, ObjectNotFoundError
from git_datareg.filtering import fingerprint
from git_datareg.git import repository
from git_datareg.location import Location
from git_datareg.objects import LocalObjects, ObjectDirectory
from git_datareg.origins import Origins
from git_datareg.registry import Source
from git_datareg.sources import Sources
from git_datareg.transfer import Failure
from tests.support.filtered import SMALL, data, object_file
from tests.support.githttp import serve
from tests.support.gitrun import Git

CONTENT = data("origin", SMALL)
POINTER = fingerprint(CONTENT)
METAFILE = """\
[import]
\turl = {url}
\tpath = {path}
\tcommit = {commit}
\tstorage = /nowhere/at/all
"""


class Chain:
    """Repositories that import `data` from each other: the last one has the data itself."""

    def __init__(self, directory: Path, length: int) -> None:
        self.directory = directory
        self.cache = ObjectDirectory(str(directory / "cache"))
        self.opened: list[str] = []
        self.repositories = [Git(directory / f"r{number}").init() for number in range(length)]
        last = self.repositories[-1]
        last.write("data", POINTER.encode())
        last.commit_all()
        for number in range(length - 2, -1, -1):
            self.link(number, str(self.repositories[number + 1].path))

    def link(self, number: int, url: str) -> None:
        """Have a repository's metafile name the next one by this URL."""
        git, after = self.repositories[number], self.repositories[number + 1]
        git.write("data", POINTER.encode())
        text = METAFILE.format(url=url, path="data", commit=after.head())
        git.write("data.datareg", text.encode())
        git.commit_all()

    def store(self, number: int) -> None:
        """Put the object where a repository's embedded storage is."""
        file = object_file(self.repositories[number].path / ".git/datareg", CONTENT)
        file.parent.mkdir(parents=True)
        file.write_bytes(CONTENT)

    def open(self, location: Location, rev: str | None) -> Source:
        environ = {"GIT_DATAREG_CACHE": self.cache.root, "HOME": str(self.directory)}
        return registry.open_source(location, rev, self.cache.root, environ)

    def fetch(self) -> None:
        """Bring the object for the first repository."""
        here = repository.find(str(self.repositories[0].path))
        project = projects.open_project(here, os.environ)
        project = project._replace(local=LocalObjects(None, self.cache))
        known = Sources(project)
        ways = Origins(self.open).of_project(project, known)
        origins.fetch(known.want(POINTER, b"data"), ways, self.cache)


@pytest.fixture
def chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Chain:
    chain = Chain(tmp_path, 4)
    really = registry.open_source

    def noted(location: Location, *args: Any, **options: Any) -> Source:
        chain.opened.append(location.url)
        return really(location, *args, **options)

    monkeypatch.setattr(registry, "open_source", noted)
    return chain


@pytest.mark.parametrize("number", [1, 2, 3])
def test_each_registry_of_a_chain_is_asked_until_one_has_it(chain: Chain, number: int) -> None:
    chain.store(number)
    chain.fetch()
    assert chain.cache.find(POINTER) is not None
    # The embedded storage of the next one is known without opening it.
    assert len(set(chain.opened)) == number - 1


def test_the_first_fault_is_told_when_none_has_it(chain: Chain) -> None:
    with pytest.raises(DataregError, match=r"r1/\.git/datareg"):
        chain.fetch()
    assert len(set(chain.opened)) == 3


def test_a_registry_that_is_gone_ends_the_way(chain: Chain) -> None:
    chain.store(3)
    shutil.rmtree(chain.repositories[2].path)
    with pytest.raises(DataregError, match=r"r1/\.git/datareg"):
        chain.fetch()


def test_a_registry_whose_storage_has_moved_since_is_asked_for_the_new_one(chain: Chain) -> None:
    first = chain.repositories[1]
    disk = chain.directory / "disk"
    object_file(disk, CONTENT).parent.mkdir(parents=True)
    object_file(disk, CONTENT).write_bytes(CONTENT)
    text = f'[datareg]\n\tversion = 1\n\tstorage = s\n[storage "s"]\n\turl = {disk}\n'
    first.write(".datareg", text.encode())
    first.commit_all("moved")
    chain.fetch()
    assert chain.cache.find(POINTER) is not None


@pytest.fixture
def served(tmp_path: Path, chain: Chain) -> Iterator[str]:
    with serve(tmp_path) as url:
        yield url


def test_a_registry_elsewhere_does_not_lead_to_this_machine(chain: Chain, served: str) -> None:
    chain.link(0, f"{served}/r1/.git")
    chain.store(2)
    with pytest.raises(DataregError):
        chain.fetch()
    assert {Location(url).scheme for url in chain.opened} == {"http"}
    chain.link(0, str(chain.repositories[1].path))
    chain.fetch()


def test_what_a_way_brings_is_brought_for_all_and_the_rest_told(chain: Chain) -> None:
    chain.store(1)
    absent = fingerprint(b"absent")
    here = repository.find(str(chain.repositories[0].path))
    project = projects.open_project(here, os.environ)
    ways = Origins(chain.open).of_project(project, Sources(project))
    failures = [
        Failure(pointer, path, ObjectNotFoundError(f"first {path!r}"))
        for pointer in (POINTER, absent)
        for path in (b"data", b"no import")
    ]
    still = origins.download(failures, ways, chain.cache, jobs=2)
    assert {(each.pointer, each.path) for each in still} == {
        (absent, b"data"),
        (absent, b"no import"),
        (POINTER, b"no import"),
    }
    assert all(str(each.error).startswith("first") for each in still)
    assert chain.cache.find(POINTER) is not None
    assert len(chain.opened) == len(set(chain.opened)) == 3


def test_a_source_is_asked_for_its_storages_of_today_first(chain: Chain) -> None:
    source = chain.open(Location(str(chain.repositories[1].path)), None)
    known = source.sources()
    chain.store(3)
    ways = Origins(source.open_other).of_source(source, known)
    want = Want(POINTER, b"data", known.storages(b"data"))
    origins.fetch(want, ways, chain.cache)
    assert chain.cache.find(POINTER) is not None
