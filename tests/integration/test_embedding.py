"""Where a Git remote that ssh reaches keeps data: real git and SFTP, through one real sshd."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from git_datareg.embedding import over_ssh
from git_datareg.errors import StorageDeniedError, StorageNotFoundError, UsageError
from git_datareg.location import Location
from git_datareg.storage import open_storage
from tests.support import sshd
from tests.support.gitrun import Git, clone
from tests.support.sshd import Sshd


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    home = tmp_path_factory.mktemp("remote-home")
    # SFTP begins there, as it would in a home; git does not, so no test clones from it.
    with sshd.serve(tmp_path_factory.mktemp("sshd"), f"{sshd.SFTP} -d {home}") as server:
        server.home = home
        yield server


@pytest.fixture
def server(shared_server: Sshd, monkeypatch: pytest.MonkeyPatch) -> Sshd:
    monkeypatch.setenv("GIT_SSH_COMMAND", shared_server.command)
    return shared_server


def put(location: Location, value: bytes = b"x") -> None:
    assert open_storage(location).put("objects/x", io.BytesIO(value), len(value))


@pytest.mark.parametrize(
    ("named", "lies"),
    [
        ("a b.git", "a b.git"),
        ("plain", "plain/.git"),
        ("short", "short.git"),
        ("outer", "outer.git/.git"),
    ],
)
def test_it_lies_where_git_finds_the_repository(
    server: Sshd, tmp_path: Path, named: str, lies: str
) -> None:
    work, _, rest = lies.partition("/")
    remote = Git(tmp_path / work).init(*([] if rest else ["--bare"]))
    if rest:
        remote.write("file", b"x")
        remote.commit_all()
    url = server.url(tmp_path / named)
    clone(url, tmp_path / "clone")
    place = over_ssh(Location.parse(url))
    assert place is not None
    put(place)
    assert (tmp_path / lies / "datareg/objects/x").read_bytes() == b"x"
    # As a remote on that machine has it.
    assert place.url == server.url(tmp_path / lies / "datareg")


def test_a_repository_wins_over_one_with_another_name(server: Sshd, tmp_path: Path) -> None:
    for name in ("both", "both.git"):
        Git(tmp_path / name).init("--bare")
    place = over_ssh(Location.parse(server.url(tmp_path / "both")))
    assert place is not None and place.url == server.url(tmp_path / "both/datareg")


@pytest.mark.parametrize("form", ["ssh://{}/~/in home.git", "[{}]:in home.git", "[{}]:./in home"])
def test_a_path_in_a_home_stays_in_it(server: Sshd, form: str) -> None:
    assert server.home is not None
    if not (server.home / "in home.git").exists():
        Git(server.home / "in home.git").init("--bare")
    below = f"127.0.0.1:{server.port}"
    url = form.format(f"{server.user}@{below}").replace(f"[{server.user}@", f"{server.user}@[")
    place = over_ssh(Location.parse(url))
    expected = f"ssh://{server.user}@{below}/~/in%20home.git/datareg"
    assert place is not None and place.url == expected


def test_where_there_is_no_repository_there_is_no_storage(server: Sshd, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("empty", "nothing"):
        assert over_ssh(Location.parse(server.url(tmp_path / name))) is None


@pytest.mark.parametrize("url", ["/srv/a.git", "https://host/a.git", "file:///srv/a", "s3://b/a"])
def test_what_ssh_does_not_reach_has_none_here(url: str) -> None:
    assert over_ssh(Location.parse(url)) is None


def test_what_ssh_can_t_be_given_is_refused() -> None:
    with pytest.raises(UsageError):
        over_ssh(Location.parse("ssh://-oProxyCommand=x/a.git"))


def test_a_host_for_git_alone_is_told_from_one_without_a_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Git(tmp_path / "a.git").init("--bare")
    with sshd.serve(tmp_path / "sshd", 'ForceCommand git-shell -c "$SSH_ORIGINAL_COMMAND"') as host:
        monkeypatch.setenv("GIT_SSH_COMMAND", host.command)
        url = host.url(tmp_path / "a.git")
        clone(url, tmp_path / "clone")
        with pytest.raises(StorageNotFoundError, match="no SFTP"):
            over_ssh(Location.parse(url))


def test_who_is_not_let_in_is_told(server: Sshd, tmp_path: Path) -> None:
    url = server.url(tmp_path / "a.git").replace(server.user, "somebody", 1)
    with pytest.raises(StorageDeniedError):
        over_ssh(Location.parse(url))
