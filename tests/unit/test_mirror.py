from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from git_datareg import mirror
from git_datareg.errors import (
    RepositoryNotFoundError,
    RevisionNotFoundError,
    StorageUnavailableError,
    UsageError,
)
from git_datareg.git.reader import ObjectReader
from git_datareg.location import Location
from tests.support.githttp import serve
from tests.support.gitrun import Git


class Served:
    """A repository with a few commits, behind a URL, and a cache."""

    def __init__(self, directory: Path, url: str, *options: str) -> None:
        self.work = Git(directory / "work").init(*options)
        self.commits = [self.commit(str(number)) for number in range(3)]
        self.work.run("tag", "--annotate", "--message", "one", "v1", self.commits[0])
        self.work.run("branch", "side", self.commits[1])
        self.bare = Git(directory / "served" / "x.git").init("--bare", *options)
        self.work.run("remote", "add", "origin", str(self.bare.path))
        self.push()
        self.url = f"{url}/x.git"
        self.cache = str(directory / "cache")

    def commit(self, content: str) -> str:
        self.work.write(f"file-{content}", content.encode())
        return self.work.commit_all(content)

    def push(self) -> None:
        self.work.run("push", "--quiet", "--force", "--prune", "origin", "refs/heads/*", "v1")

    def open(self, rev: str | None = None, url: str | None = None) -> str:
        repository, commit = mirror.open_revision(Location(url or self.url), rev, self.cache)
        assert ObjectReader(repository).entry(commit, b"") is not None
        return commit

    @property
    def directory(self) -> Path:
        [found] = Path(self.cache, "mirrors").glob("*.git")
        return found


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "served").mkdir()
    with serve(tmp_path / "served") as url:
        yield url


@pytest.fixture
def served(tmp_path: Path, url: str) -> Served:
    return Served(tmp_path, url)


def test_every_kind_of_revision_is_found(served: Served) -> None:
    one, two, three = served.commits
    kinds = {
        None: three,
        "main": three,
        "HEAD": three,
        "@": three,
        "HEAD~1": two,
        "side": two,
        "refs/heads/side": two,
        "v1": one,
        "main~2": one,
        two: two,
        two[:10]: two,
    }
    assert {rev: served.open(rev) for rev in kinds} == kinds


def test_what_is_on_this_machine_is_read_in_place(served: Served) -> None:
    for spelled in (str(served.bare.path), f"file://{served.bare.path}", str(served.work.path)):
        repository, commit = mirror.open_revision(Location(spelled), "v1", served.cache)
        assert commit == served.commits[0]
        assert repository.places.git_dir.startswith(str(served.work.path.parent))
    assert not os.path.exists(served.cache)
    without_suffix = str(served.bare.path).removesuffix(".git")
    assert mirror.open_revision(Location(without_suffix), None, served.cache)[1]


def test_new_commits_are_seen_and_gone_branches_forgotten(served: Served) -> None:
    served.open()
    new = served.commit("new")
    served.work.run("branch", "-D", "side")
    served.push()
    assert served.open() == new
    with pytest.raises(RevisionNotFoundError, match=r"no such revision: side in http://"):
        served.open("side")


def test_a_rewritten_history_is_followed(served: Served) -> None:
    served.open()
    served.work.run("checkout", "--quiet", "--orphan", "fresh")
    fresh = served.commit("fresh")
    served.work.run("branch", "-M", "fresh", "main")
    served.work.run("tag", "--force", "v1", fresh)
    served.push()
    served.work.run("push", "--quiet", "--force", "origin", "v1")
    assert served.open() == served.open("v1") == fresh


def test_the_default_branch_is_the_remotes(served: Served) -> None:
    served.bare.run("symbolic-ref", "HEAD", "refs/heads/side")
    assert served.open() == served.open("HEAD") == served.commits[1]
    served.bare.run("update-ref", "--no-deref", "HEAD", served.commits[0])
    assert served.open() == served.commits[0]


def test_a_default_branch_without_commits_is_told_with_the_others(served: Served) -> None:
    served.open()
    served.bare.run("symbolic-ref", "HEAD", "refs/heads/trunk")
    assert served.open("side") == served.commits[1]
    with pytest.raises(RevisionNotFoundError, match="the default branch has no commits") as fault:
        served.open()
    assert "main" in fault.value.hints[0] and "side" in fault.value.hints[0]


def test_an_empty_repository_says_so(tmp_path: Path, url: str) -> None:
    Git(tmp_path / "served/empty.git").init("--bare")
    for spelled in (f"{url}/empty.git", str(tmp_path / "served/empty.git")):
        with pytest.raises(RevisionNotFoundError, match="no commits yet"):
            mirror.open_revision(Location(spelled), None, str(tmp_path / "cache"))


def test_a_full_id_that_is_there_needs_no_network(tmp_path: Path) -> None:
    (tmp_path / "served").mkdir()
    with serve(tmp_path / "served") as url:
        served = Served(tmp_path, url)
        served.open("side")
    for known in (served.commits[1], served.commits[1][:10]):
        assert served.open(known) == served.commits[1]
    for rev in ("main", "side", served.commits[0], served.commits[1][:6], "0" * 40):
        with pytest.raises(StorageUnavailableError, match="can't read"):
            served.open(rev)


def test_commits_that_no_branch_has_are_asked_for(served: Served) -> None:
    served.bare.run("config", "uploadpack.allowAnySHA1InWant", "true")
    alone = served.work.out("commit-tree", "-m", "alone", "HEAD^{tree}")
    served.work.run("push", "--quiet", "origin", f"{alone}:refs/pull/1/head")
    served.open()
    assert served.open(alone) == alone
    assert served.open("refs/pull/1/head") == alone
    for rev in ("f" * 40, "refs/pull/2/head", "refs/bad name"):
        with pytest.raises(RevisionNotFoundError, match=f"no such revision: {rev}"):
            served.open(rev)


@pytest.mark.parametrize("rev", ["", "-x", "--all", "main:", "nothing", "main file", "main\nv1"])
def test_what_is_no_revision_is_not_found(served: Served, rev: str) -> None:
    for url in (served.url, str(served.bare.path)):
        if rev == "":
            assert served.open(rev, url) == served.commits[2]
            continue
        with pytest.raises(RevisionNotFoundError):
            served.open(rev, url)


def test_a_repository_with_sha256_has_a_mirror_of_its_kind(tmp_path: Path, url: str) -> None:
    served = Served(tmp_path, url, "--object-format=sha256")
    assert served.open("v1") == served.commits[0]
    assert len(served.open()) == 64
    assert not list(Path(served.cache, "mirrors").glob("*.new"))


def test_a_source_that_changes_its_hash_is_followed(tmp_path: Path, served: Served) -> None:
    served.open()
    served.bare.path.rename(tmp_path / "before")
    bare = Git(served.bare.path).init("--bare", "--object-format=sha256")
    work = Git(tmp_path / "work256").init("--object-format=sha256")
    work.write("file", b"x")
    id = work.commit_all()
    work.run("push", "--quiet", str(bare.path), "main")
    assert served.open() == id


def test_a_shallow_source_can_be_read(tmp_path: Path, url: str, served: Served) -> None:
    Git(tmp_path).run(
        "clone",
        "--quiet",
        "--bare",
        "--depth=1",
        f"file://{served.bare.path}",
        "served/shallow.git",
    )
    assert served.open(None, f"{url}/shallow.git") == served.commits[2]


@pytest.mark.parametrize(
    ("spell", "kind"),
    [
        ("{}/nothing.git", RepositoryNotFoundError),
        ("http://127.0.0.1:1/x.git", StorageUnavailableError),
        ("/nowhere/at/all", RepositoryNotFoundError),
        ("ext::sh -c date", UsageError),
        ("s3://bucket/x", UsageError),
    ],
)
def test_what_can_not_be_reached_says_so(
    tmp_path: Path, url: str, spell: str, kind: type[Exception]
) -> None:
    with pytest.raises(kind):
        mirror.open_revision(Location(spell.format(url)), None, str(tmp_path / "cache"))


def test_a_password_in_a_url_is_not_told(tmp_path: Path) -> None:
    with pytest.raises(StorageUnavailableError) as fault:
        mirror.open_revision(
            Location("http://me:hunter2@127.0.0.1:1/x.git"), None, str(tmp_path / "cache")
        )
    assert "hunter2" not in repr(fault.value) + str(fault.value)


@pytest.mark.parametrize(
    "harm", ["index lock", "ref lock", "no HEAD", "empty directory", "bad packs", "a file"]
)
def test_a_mirror_that_a_crash_left_broken_is_made_again(served: Served, harm: str) -> None:
    served.open()
    new = served.commit("new")
    served.push()
    directory = served.directory
    match harm:
        case "index lock":
            (directory / "packed-refs.lock").touch()
            (directory / "shallow.lock").touch()
        case "ref lock":
            (directory / "refs/datareg/asked.lock").touch()
        case "no HEAD":
            (directory / "HEAD").unlink()
        case "empty directory":
            directory.rename(directory.with_name("away"))
            directory.mkdir()
        case "bad packs":
            for path in directory.glob("objects/*/*"):
                path.chmod(0o644)
                path.write_bytes(b"bad")
        case _:
            directory.rename(directory.with_name("away"))
            directory.touch()
    assert served.open() == new
    assert served.open("v1") == served.commits[0]


def test_a_commit_that_is_there_in_part_is_fetched_again(served: Served) -> None:
    served.open()
    new = served.commit("new")
    served.push()
    # As a fetch leaves it that was killed while it unpacked.
    mirrored = Git(served.directory)
    commit = served.work.run_bytes("cat-file", "commit", new).stdout
    id = mirrored.run("hash-object", "-w", "-t", "commit", "--stdin", input=commit).stdout.strip()
    assert id == new
    assert served.open(new) == new
    assert mirrored.out("ls-tree", "--name-only", new).splitlines()[-1] == "file-new"


def test_many_threads_share_a_mirror(served: Served) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: served.open(), range(8)))
    assert set(found) == {served.commits[2]}
    assert len(list(Path(served.cache, "mirrors").glob("*.git"))) == 1


_OPEN = """
import sys
from git_datareg import mirror
from git_datareg.location import Location
print(mirror.open_revision(Location(sys.argv[1]), None, sys.argv[2])[1])
"""


def _opening(served: Served) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _OPEN, served.url, served.cache],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_many_processes_make_one_mirror(served: Served) -> None:
    running = [_opening(served) for _ in range(8)]
    assert [process.communicate(timeout=120)[0] for process in running] == [
        served.commits[2] + "\n"
    ] * 8
    assert len(list(Path(served.cache, "mirrors").glob("*.git"))) == 1


def test_a_killed_process_gives_up_its_hold(served: Served) -> None:
    served.open()
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, signal\nfrom git_datareg.git import bare\n"
            "with bare.locked(sys.argv[1]):\n    print(flush=True)\n    signal.pause()\n",
            str(served.directory),
        ],
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None and process.stdout.readline() == b"\n"
    waiting = _opening(served)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert waiting.communicate(timeout=60)[0] == served.commits[2] + "\n"


def test_configuration_on_the_command_line_counts(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", f"url.{served.url}.insteadOf")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "http://elsewhere.example.org/x")
    assert served.open(None, "http://elsewhere.example.org/x") == served.commits[2]


def test_a_repository_around_us_does_not_lead_git_astray(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Git(tmp_path / "own").init()
    monkeypatch.chdir(own.path)
    monkeypatch.setenv("GIT_DIR", str(own.path / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(own.path / ".git/index"))
    assert served.open() == served.commits[2]
    assert own.out("for-each-ref") == ""


def test_an_unwritable_cache_is_an_os_error_that_names_it(served: Served, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    served.cache = str(tmp_path / "file")
    with pytest.raises(OSError, match="file"):
        served.open()


# What is fetched


def large_files(count: int = 3) -> dict[str, bytes]:
    """Files that are left at the remote, by name."""
    return {
        f"large-{number}": random.Random(number).randbytes(mirror.BLOB_LIMIT + 1)
        for number in range(count)
    }


def objects_of(served: Served) -> str:
    """What the mirror holds, as git lists it."""
    git = Git(served.directory)
    return git.out("cat-file", "--batch-all-objects", "--batch-check=%(objecttype) %(objectsize)")


def test_a_revision_is_fetched_in_one_go_without_its_history(tmp_path: Path) -> None:
    requests: list[str] = []
    (tmp_path / "served").mkdir()
    with serve(tmp_path / "served", requests) as url:
        served = Served(tmp_path, url)
        served.open()
        # What the server can do, its refs, a pack: each git fetch is these three.
        assert len(requests) == 3
        assert objects_of(served).count("commit") == 1
        for rev in ("v1", served.commits[1], "refs/heads/side"):
            requests.clear()
            served.open(rev)
            # One more to find out what both have.
            assert len(requests) <= 4
        requests.clear()
        served.open(served.commits[0])
        assert requests == []


def test_large_files_are_fetched_when_they_are_wanted_all_at_once(tmp_path: Path) -> None:
    requests: list[str] = []
    (tmp_path / "served").mkdir()
    with serve(tmp_path / "served", requests) as url:
        served = Served(tmp_path, url)
        served.bare.run("config", "uploadpack.allowFilter", "true")
        for name, content in large_files().items():
            served.work.write(name, content)
        served.work.write("limit", b"x" * (mirror.BLOB_LIMIT - 1))
        commit = served.work.commit_all()
        served.push()
        assert served.open() == commit
        repository, _ = mirror.open_revision(Location(served.url), commit, served.cache)
        reader = ObjectReader(repository)
        limit = reader.entry(commit, b"limit")
        assert limit is not None and reader.find(limit.id) is not None
        ids = [entry.id for name in large_files() if (entry := reader.entry(commit, name.encode()))]
        assert len(ids) == 3
        assert [reader.find(id) for id in ids] == [None] * 3
        requests.clear()
        mirror.fetch_blobs(Location(served.url), ids, served.cache)
        assert len(requests) <= 3
        found = dict(ObjectReader(repository).read(ids))
        assert list(found.values()) == list(large_files().values())


def test_a_server_without_filters_gives_all(served: Served) -> None:
    served.bare.run("config", "uploadpack.allowFilter", "false")
    for name, content in large_files().items():
        served.work.write(name, content)
    commit = served.work.commit_all()
    served.push()
    assert served.open() == commit
    assert objects_of(served).count(f"blob {mirror.BLOB_LIMIT + 1}") == 3


def test_only_what_is_new_is_fetched(served: Served) -> None:
    served.bare.run("config", "uploadpack.allowFilter", "true")
    for number in range(200):
        served.work.write(f"many/{number}", random.Random(number).randbytes(1000))
    served.work.commit_all()
    served.push()
    served.open()
    served.work.write("many/0", b"new")
    served.work.commit_all()
    served.push()
    before = {path: path.stat().st_size for path in served.directory.glob("objects/pack/*.pack")}
    served.open()
    [new] = set(served.directory.glob("objects/pack/*.pack")) - before.keys()
    assert new.stat().st_size < max(before.values()) / 5


def test_many_fetches_leave_few_packs_and_open_readers_go_on(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "_MAX_PACKS", 3)
    served.bare.run("config", "uploadpack.allowFilter", "true")
    first = served.open()
    repository, _ = mirror.open_revision(Location(served.url), first, served.cache)
    reader = ObjectReader(repository)
    assert reader.find(first) is not None
    commits = []
    for number in range(5):
        commits.append(served.commit(f"more {number}"))
        served.push()
        assert served.open() == commits[-1]
        assert len(list(served.directory.glob("objects/pack/*.pack"))) <= 4
    for commit in (first, *commits):
        entry = reader.entry(commit, b"file-2")
        assert entry is not None and reader.find(entry.id) is not None
        assert served.open(commit) == commit


@pytest.fixture
def dumb(tmp_path: Path) -> Iterator[str]:
    """Plain files behind a web server."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "served"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_repository_of_plain_files_behind_a_web_server_is_read(tmp_path: Path, dumb: str) -> None:
    (tmp_path / "served").mkdir()
    served = Served(tmp_path, dumb)
    served.bare.run("update-server-info")
    one, two, three = served.commits
    kinds = {None: three, "v1": one, "side": two, "main~2": one, two: two, three[:9]: three}
    assert {rev: served.open(rev) for rev in kinds} == kinds
    with pytest.raises(RevisionNotFoundError, match="no such revision: nothing"):
        served.open("nothing")
    assert mirror.commits_between(Location(served.url), one, three, served.cache) == 2


# How commits stand to each other


def test_the_commits_between_two_are_counted(served: Served) -> None:
    one, two, three = served.commits
    served.work.run("checkout", "--quiet", "--orphan", "other")
    other = served.commit("other")
    served.push()
    for url in (served.url, str(served.bare.path)):
        location = Location(url)
        assert mirror.commits_between(location, one, three, served.cache) == 2
        assert mirror.commits_between(location, three, three, served.cache) == 0
        for old, new in ((three, one), (other, three), (one, other), ("0" * 40, three)):
            assert mirror.commits_between(location, old, new, served.cache) is None
    new = served.commit("more")
    served.push()
    assert mirror.commits_between(Location(served.url), other, new, served.cache) == 1
    assert two


def test_commits_are_counted_without_their_content(served: Served) -> None:
    served.bare.run("config", "uploadpack.allowFilter", "true")
    one, _, three = served.commits
    served.open()
    assert mirror.commits_between(Location(served.url), one, three, served.cache) == 2
    history = Git(served.directory / "history")
    kinds = history.out("cat-file", "--batch-all-objects", "--batch-check=%(objecttype)").split()
    assert set(kinds) == {"commit", "tag"}


def test_a_commit_that_no_branch_has_is_counted_from(served: Served) -> None:
    alone = served.work.out("commit-tree", "-p", "HEAD", "-m", "alone", "HEAD^{tree}")
    served.work.run("push", "--quiet", "origin", f"{alone}:refs/pull/1/head")
    assert mirror.commits_between(Location(served.url), served.commits[0], alone, served.cache) == 3
