from __future__ import annotations

import os
from pathlib import Path

import pytest

from git_datareg import projects, sources
from git_datareg import storages as storages_module
from git_datareg.digest import digest_of
from git_datareg.errors import (
    StorageDeniedError,
    StorageError,
    StorageNotConfiguredError,
    StorageReadOnlyError,
)
from git_datareg.git import repository
from git_datareg.location import Location
from git_datareg.metafile import Metafile
from git_datareg.pointer import Pointer
from git_datareg.projects import Project, Remote
from git_datareg.sources import Sources
from git_datareg.storage.refusing import RefusingStorage
from tests.support.filtered import pointer
from tests.support.gitrun import Git

METAFILE = "[import]\n\turl = {url}\n\tpath = p\n\tcommit = {commit}\n\tstorage = {storage}\n"


@pytest.fixture
def git(tmp_path: Path) -> Git:
    git = Git(tmp_path / "work").init()
    Git(tmp_path / "remote.git").init("--bare")
    git.run("remote", "add", "origin", "../remote.git")
    return git


def opened(git: Git, treeish: str | None = None) -> Project:
    return projects.open_project(repository.find(str(git.path)), os.environ, treeish)


def configure(git: Git, text: str) -> None:
    git.write(".datareg", f"[datareg]\n\tversion = 1\n{text}".encode())


def storages(git: Git, path: bytes = b"x", treeish: str | None = None) -> list[str]:
    return [str(each) for each in Sources(opened(git, treeish), treeish).storages(path)]


# Where a repository is configured


def test_the_tracked_file_is_read_where_it_is_first(git: Git) -> None:
    tracked = git.path / ".datareg"
    configure(git, "\tstorage = committed\n")
    git.commit_all()
    first = git.head()
    configure(git, "\tstorage = staged\n")
    git.run("add", ".datareg")
    configure(git, "\tstorage = here\n")
    assert opened(git).settings.default == "here"
    assert opened(git, first).settings.default == "committed"
    tracked.unlink()
    assert opened(git).settings.default == "staged"
    git.run("rm", "--quiet", "--cached", ".datareg")
    assert opened(git).settings.default == "committed"


def test_a_foreign_repository_is_configured_by_its_head_and_the_user(
    git: Git, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(git, "\tstorage = committed\n")
    git.commit_all()
    configure(git, "\tstorage = here\n")
    git.run("config", "datareg.jobs", "3")
    monkeypatch.chdir(git.path)
    project = projects.open_project(repository.open_foreign(str(git.path)), os.environ)
    assert project.settings.default == "committed"
    assert project.settings.jobs != 3
    assert project.local.own is None
    assert [remote.name for remote in project.remotes] == ["origin"]


def test_remotes_are_absolute_and_as_git_rewrites_them(git: Git, tmp_path: Path) -> None:
    git.run("remote", "add", "wrapped", "datareg::../other.git")
    git.run("remote", "add", "alias", "gh:a/b")
    git.run("config", "url.https://github.com/.insteadOf", "gh:")
    git.run("config", "remote.broken.url", "-x")
    git.run("config", "--add", "remote.origin.url", "/second")
    found = {remote.name: remote.location.url for remote in opened(git).remotes}
    assert found == {
        "origin": f"{tmp_path}/remote.git",
        "wrapped": f"{tmp_path}/other.git",
        "alias": "https://github.com/a/b",
    }


def test_the_default_remote_is_origin_or_the_only_one(git: Git) -> None:
    git.run("remote", "add", "another", "/another")
    remote = opened(git).default_remote
    assert remote is not None and remote.name == "origin"
    git.run("remote", "rename", "origin", "renamed")
    assert opened(git).default_remote is None
    git.run("remote", "remove", "another")
    remote = opened(git).default_remote
    assert remote is not None and remote.name == "renamed"


# Where a push stores


def store(git: Git, remote: str, name: str | None = None) -> str:
    return str(storages_module.storage_for_push(opened(git), Location(remote), name))


def test_the_embedded_storage_is_in_the_remote(git: Git, tmp_path: Path) -> None:
    Git(tmp_path / "tree").init()
    for spelled in ("remote.git", "remote", "remote.git/"):
        assert store(git, f"{tmp_path}/{spelled}") == f"{tmp_path}/remote.git/datareg"
    assert store(git, f"file://{tmp_path}/remote.git") == f"{tmp_path}/remote.git/datareg"
    assert store(git, f"{tmp_path}/tree") == f"{tmp_path}/tree/.git/datareg"
    for url in (f"{tmp_path}/nothing", str(tmp_path), "https://host/r.git", "host:r.git"):
        with pytest.raises(StorageNotConfiguredError) as caught:
            store(git, url)
        assert caught.value.hints == ("git datareg storage add -d NAME URL",)


def test_the_default_storage_or_a_named_one_is_used(git: Git, tmp_path: Path) -> None:
    configure(
        git,
        '\tstorage = near\n[storage "near"]\n\turl = ../near\n'
        f'[storage "far"]\n\turl = {tmp_path}/far\n\treadonly = true\n',
    )
    assert store(git, f"{tmp_path}/remote.git") == f"{tmp_path}/near"
    with pytest.raises(StorageReadOnlyError, match="storage 'far' is read-only"):
        store(git, f"{tmp_path}/remote.git", "far")
    with pytest.raises(StorageNotConfiguredError, match="no storage named 'x'"):
        store(git, f"{tmp_path}/remote.git", "x")


def test_a_storage_that_is_only_read_can_be_looked_at(git: Git, tmp_path: Path) -> None:
    configure(git, '\tstorage = far\n[storage "far"]\n\turl = ../far\n\treadonly = true\n')
    remote = Location(f"{tmp_path}/remote.git")
    for name in (None, "far"):
        found = storages_module.storage_pushed_to(opened(git), remote, name)
        assert str(found) == f"{tmp_path}/far"
        assert not found.storage.properties.writable
    git.run("config", "datareg.far.readonly", "false")
    assert storages_module.storage_pushed_to(opened(git), remote).storage.properties.writable
    with pytest.raises(StorageNotConfiguredError, match="no storage named 'x'"):
        storages_module.storage_pushed_to(opened(git), remote, "x")


# Where a path is read


def test_the_default_storage_is_asked_first_and_the_remote_last(git: Git, tmp_path: Path) -> None:
    (tmp_path / "remote.git/datareg").mkdir()
    configure(
        git,
        '\tstorage = b\n[storage "a"]\n\turl = /a\n[storage "b"]\n\turl = ../b\n'
        '[storage "up"]\n\turl = ../../../../../../../../../../../../../../../../up\n'
        '[storage "new"]\n\turl = gopher://x\n',
    )
    remote = f"{tmp_path}/remote.git/datareg"
    assert storages(git) == [f"{tmp_path}/b", "/a", "gopher://x", remote]
    git.run("remote", "remove", "origin")
    assert storages(git) == ["/a", "gopher://x"]


def test_an_imported_file_is_sought_where_it_came_from(git: Git, tmp_path: Path) -> None:
    source = Git(tmp_path / "source.git").init("--bare")
    text = METAFILE.format(url=source.path, commit="1" * 40, storage="/hint")
    git.write("faces.datareg", text.encode())
    git.write("faces/sub/a.dat", pointer(b"x"))
    git.commit_all()
    expected = ["/hint", f"{source.path}/datareg"]
    assert storages(git, b"faces/sub/a.dat") == expected
    assert storages(git, b"faces") == expected
    assert storages(git, b"faces/sub/a.dat", git.head()) == expected
    assert storages(git, b"facesx") == storages(git, b"elsewhere/faces") == []


def test_an_import_may_have_had_several_metafiles(git: Git, tmp_path: Path) -> None:
    configure(git, '\tstorage = own\n[storage "own"]\n\turl = ../own\n')
    metafiles = [
        Metafile.parse(
            METAFILE.format(url="https://h/r", commit="1" * 40, storage=hint).encode(), ""
        )
        for hint in ("/one", "/two", "/one")
    ]
    found = Sources(opened(git))
    own = f"{tmp_path}/own"
    assert [str(each) for each in found.storages_of(metafiles, b"a")] == ["/one", "/two", own]
    assert [str(each) for each in found.storages_of([], b"a")] == [own]


# What a registry elsewhere may name


def refusal(
    git: Git, registry: str, storage: str, user: dict[str, str] | None = None
) -> StorageError | None:
    """Why a registry elsewhere, with this storage in its `.datareg`, is not followed there."""
    git.write(".datareg", f'[storage "main"]\n{storage}'.encode())
    git.commit_all()
    for key, value in (user or {}).items():
        git.run("config", "--global", key, value)
    project = projects.open_project(repository.open_foreign(str(git.path)), os.environ)
    project = project._replace(remotes=(Remote("origin", Location(registry)),))
    [found] = Sources(project).storages(b"x")
    if isinstance(found.storage, RefusingStorage):
        with pytest.raises(StorageError) as caught:
            found.storage.info("key")
        # That this version can't open it is another matter.
        if isinstance(caught.value, StorageDeniedError):
            return caught.value
    return None


HTTPS, HTTP = "https://git.example.org/r.git", "http://127.0.0.1:8080/r.git"
PRIVATE = {"datareg.allowPrivate": "true"}


@pytest.mark.parametrize(
    ("registry", "storage", "reason"),
    [
        (HTTPS, "url = https://10.0.0.1/x", "the private address 10.0.0.1"),
        (HTTPS, "url = https://localhost/x", "the private address localhost"),
        (HTTPS, "url = http://data.example.org/x", "a URL with http:"),
        (HTTPS, "url = s3://b/x\nendpoint = https://10.0.0.1", "the private address 10.0.0.1"),
        (HTTPS, "url = s3://b/x\nendpoint = http://s3.example.org", "a URL with http:"),
        (HTTP, "url = http://127.0.0.2/x", "a URL with http:"),
        # Its own host, but by another scheme.
        (HTTP, "url = https://127.0.0.1/x", "the private address 127.0.0.1"),
        (
            HTTP,
            "url = s3://b/x\nendpoint = https://127.0.0.1:9000",
            "the private address 127.0.0.1",
        ),
    ],
)
def test_a_place_that_is_not_public_is_refused(
    git: Git, registry: str, storage: str, reason: str
) -> None:
    place = storage.rpartition(" = ")[2]
    fault = refusal(git, registry, storage)
    assert fault is not None
    assert fault.message == f"{registry} may not name {reason} as its storage: {place}"
    url = storage.partition("\n")[0].removeprefix("url = ")
    assert fault.hints == (f"if you trust it: git config --global datareg.main.url {url}",)


@pytest.mark.parametrize(
    ("registry", "storage", "user"),
    [
        (HTTPS, "url = https://data.example.org/x", {}),
        (HTTPS, "url = s3://b/x", {}),
        (HTTPS, "url = s3://b/x\nendpoint = https://s3.example.org", {}),
        # What it is reached by itself is no other place.
        (HTTP, "url = http://127.0.0.1:9000/x", {}),
        (HTTP, "url = s3://b/x\nendpoint = http://127.0.0.1:9000", {}),
        (HTTP, "url = ../data", {}),
        # A directory that a team has mounted.
        (HTTPS, "url = /mnt/share", {}),
        (HTTPS, "url = https://10.0.0.1/x", PRIVATE),
        (HTTPS, "url = s3://b/x\nendpoint = https://10.0.0.1", PRIVATE),
        # What the user names is the user's own.
        (HTTPS, "url = s3://b/x", {"datareg.main.url": "http://10.0.0.1/x"}),
        ("/srv/r.git", "url = http://10.0.0.1/x", {}),
    ],
)
def test_other_places_are_followed(
    git: Git, registry: str, storage: str, user: dict[str, str]
) -> None:
    assert refusal(git, registry, storage, user) is None


def test_to_allow_private_addresses_allows_nothing_else(git: Git) -> None:
    assert refusal(git, HTTPS, "url = http://10.0.0.1/x", PRIVATE) is None
    fault = refusal(git, HTTPS, "url = http://data.example.org/x", PRIVATE)
    assert fault is not None and "a URL with http:" in fault.message


def test_a_hint_that_is_of_no_use_says_so_when_it_is_asked(git: Git) -> None:
    text = METAFILE.format(url="https://host/r", commit="1" * 40, storage="gopher://x")
    git.write("faces.datareg", text.encode())
    git.commit_all()
    [storage] = Sources(opened(git)).storages(b"faces/a")
    with pytest.raises(StorageNotConfiguredError, match="no storage back end for gopher"):
        storage.has(Pointer(digest_of(b""), 0))


@pytest.mark.parametrize("allow", ["false", "true"])
def test_a_hint_of_a_registry_elsewhere_does_not_lead_to_this_machine(
    git: Git, tmp_path: Path, allow: str
) -> None:
    git.run("config", "--global", "datareg.allowPrivate", allow)
    for name, hint in (("path", tmp_path), ("file", f"file://{tmp_path}"), ("near", "../near")):
        text = METAFILE.format(url="https://example.org/r", commit="1" * 40, storage=hint)
        git.write(f"{name}.datareg", text.encode())
        git.write(f"{name}/a.dat", pointer(b"x"))
    git.commit_all()
    here = projects.open_project(repository.open_foreign(str(git.path)), os.environ, "HEAD")
    elsewhere = here._replace(remotes=(Remote("origin", Location("https://example.org/m.git")),))
    for name in ("path", "file", "near"):
        path = f"{name}/a.dat".encode()
        assert len(Sources(here, "HEAD").storages(path)) == 1
        assert Sources(elsewhere, "HEAD").storages(path) == []


def test_metafiles_are_those_staged_committed_and_being_merged(
    git: Git, monkeypatch: pytest.MonkeyPatch
) -> None:
    git.write("one.datareg", b"1")
    git.write(".datareg", b"")
    git.commit_all()
    git.run("checkout", "--quiet", "--orphan", "other")
    git.run("rm", "--quiet", "-r", "--cached", ".")
    git.write("two.datareg", b"2")
    git.run("add", "two.datareg")
    found = sources.metafile_ids(repository.find(str(git.path)), None)
    assert set(found) == {b"two.datareg"}
    monkeypatch.setenv("GITHEAD_" + git.out("rev-parse", "main"), "main")
    found = sources.metafile_ids(repository.find(str(git.path)), None)
    assert set(found) == {b"one.datareg", b"two.datareg"}
    found = sources.metafile_ids(repository.find(str(git.path)), "main")
    assert set(found) == {b"one.datareg"}
