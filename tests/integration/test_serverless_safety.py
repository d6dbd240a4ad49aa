"""Serverless registries under many pushes at once, cut connections, and kills at every step."""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from git_datareg import generation
from git_datareg.generation import Generation
from git_datareg.storage import Options
from tests.support import clouds, s3proxy
from tests.support.filtered import data
from tests.support.gitrun import Git, clone
from tests.support.s3proxy import Answer, Request
from tests.support.s3server import S3Servers
from tests.support.served import refs_at

CLIENTS, ROUNDS = 8, 20
#: Rounds where an emulator in one thread serves, and each client takes a second to start.
FEW_ROUNDS = 4
#: Of all requests so many are lost, and so many replies.
LOST = 0.02


class Place(NamedTuple):
    """Where a registry is, and how its records are read behind our program's back."""

    url: str
    records: Callable[[], list[bytes]]
    rounds: int = ROUNDS


class Outcome(NamedTuple):
    """What a client pushed, and what it was told."""

    ref: str
    #: None for a deletion.
    commit: str | None
    exit_code: int
    said: str


def cut(proxy: s3proxy.Proxy, seed: int) -> None:
    """Have some requests, and some replies, be lost."""
    chance = random.Random(seed)
    lock = threading.Lock()

    def rule(request: Request) -> Answer | None:
        with lock:
            return Answer(0) if chance.random() < LOST else None

    def spoil(request: Request, answer: Answer) -> Answer:
        with lock:
            return Answer(0) if chance.random() < LOST else answer

    proxy.rule, proxy.spoil = rule, spoil


def in_cloud(kind: str, options: Options) -> Place:
    """A registry in an emulated cloud, by the user's own configuration."""
    import fsspec

    url = f"{kind}://{clouds.BUCKET}/{uuid.uuid4()}"
    git = Git(Path.home())
    git.run("config", "--global", "datareg.cloud.url", url)
    for name, value in options.arguments:
        git.run("config", "--global", "--add", "datareg.cloud.option", f"{name}={value}")
    arguments = dict(options.arguments)

    def records() -> list[bytes]:
        system = fsspec.filesystem(kind, skip_instance_cache=True, **arguments)
        return [system.cat_file(key) for key in sorted(system.ls(f"{url}/git/refs", detail=False))]

    return Place(f"datareg::{url}", records, FEW_ROUNDS)


CLOUDS = [
    *(["gs"] if clouds.has_google() else []),
    *(["az"] if clouds.has_azure() else []),
]


@pytest.fixture(params=["directory", "s3", *CLOUDS])
def place(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    if request.param == "directory":
        served = tmp_path / "served"

        def on_disk() -> list[bytes]:
            return [path.read_bytes() for path in sorted((served / "git/refs").iterdir())]

        yield Place(f"datareg::{served}", on_disk)
        return
    if request.param == "gs":
        # It would ask for the kind of each bucket, in a way that the emulator doesn't know.
        monkeypatch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
        with clouds.google() as options:
            yield in_cloud("gs", options)
        return
    if request.param == "az":
        with clouds.azure(tmp_path / "azurite") as options:
            yield in_cloud("az", options)
        return
    servers: S3Servers = request.getfixturevalue("s3_servers")
    server = servers.get("seaweedfs")
    url = server.new_place()
    bucket, _, prefix = url.removeprefix("s3://").partition("/")

    def in_bucket() -> list[bytes]:
        keys = sorted(key for key in all_keys(server.client, bucket, f"{prefix}/git/refs/"))
        return [server.client.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys]

    with s3proxy.serve(server.endpoint) as proxy:
        cut(proxy, 1)
        for name, value in {**server.environ, "AWS_ENDPOINT_URL_S3": proxy.endpoint}.items():
            monkeypatch.setenv(name, value)
        yield Place(f"datareg::{url}", in_bucket)


def all_keys(client: object, bucket: str, prefix: str) -> Iterator[str]:
    pages = client.get_paginator("list_objects_v2")  # type: ignore[attr-defined]
    for page in pages.paginate(Bucket=bucket, Prefix=prefix):
        yield from (each["Key"] for each in page.get("Contents", ()))


class Client:
    """Somebody who pushes, again and again, to a branch of their own and to one of all."""

    def __init__(self, number: int, place: Place, directory: Path) -> None:
        self.git = Git(directory / f"client{number}")
        self.number = number
        self.place = place
        self.outcomes: list[Outcome] = []
        self._chance = random.Random(number)

    def run(self) -> None:
        for round in range(self.place.rounds):
            kind = self._chance.choice(["own", "shared", "shared", "forced", "deleted"])
            getattr(self, f"_{kind}")(f"client {self.number} round {round} {kind}")

    def _own(self, name: str) -> None:
        self._push(f"refs/heads/own{self.number}", self._commit(name, "own"), "--force")

    def _shared(self, name: str) -> None:
        # By hand, since a pull that fails would stop.
        self.git.run("fetch", "--quiet", "origin", check=False)
        self.git.run("checkout", "--quiet", "--detach", "origin/main")
        self._push("refs/heads/main", self._commit(name, "shared"))

    def _forced(self, name: str) -> None:
        self._push("refs/heads/forced", self._commit(name, "forced"), "--force")

    def _deleted(self, name: str) -> None:
        self._push("refs/heads/forced", None)

    def _commit(self, name: str, path: str) -> str:
        self.git.write(f"{path}.dat", data(name, 1000 + self._chance.randrange(1000)))
        return self.git.commit_all(name)

    def _push(self, ref: str, commit: str | None, *options: str) -> None:
        done = self.git.run(
            *("push", "--quiet", *options, "origin", f"{commit or ''}:{ref}"),
            check=False,
        )
        self.outcomes.append(Outcome(ref, commit, done.returncode, done.stderr))


def begin(place: Place, directory: Path) -> list[Client]:
    """A registry with one commit, and its clients."""
    first = Git(directory / "first").init()
    first.run("datareg", "init")
    first.run("datareg", "track", "*.dat")
    first.commit_all("first")
    first.run("remote", "add", "origin", place.url)
    first.run("push", "--quiet", "origin", "main")
    first.run("fetch", "--quiet", "origin")
    for number in range(CLIENTS):
        shutil.copytree(first.path, directory / f"client{number}")
    return [Client(number, place, directory) for number in range(CLIENTS)]


def moves(generations: list[Generation]) -> list[tuple[str, str | None]]:
    """Each change of a ref, in the order of the generations."""
    found: list[tuple[str, str | None]] = []
    before: Mapping[str, str] = {}
    for each in generations:
        for ref in sorted({*before, *each.refs}):
            if before.get(ref) != each.refs.get(ref):
                found.append((ref, each.refs.get(ref)))
        before = each.refs
    return found


@pytest.mark.usefixtures("unmeasured")
def test_of_many_at_once_what_is_acknowledged_is_there_once(place: Place, tmp_path: Path) -> None:
    clients = begin(place, tmp_path)
    threads = [threading.Thread(target=client.run) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    texts = place.records()
    generations = [generation.parse(text, "record") for text in texts]
    assert [each.number for each in generations] == list(range(1, len(generations) + 1))
    counted = Counter(moves(generations))
    outcomes = [each for client in clients for each in client.outcomes]
    assert len(outcomes) == CLIENTS * place.rounds
    for each in outcomes:
        assert "Traceback" not in each.said
        assert "internal error" not in each.said
        if each.commit is None:
            continue
        there = counted[each.ref, each.commit]
        if each.exit_code == 0:
            assert there == 1, each
        elif "rejected" in each.said:
            assert there == 0, each
        else:
            # The network failed so often that we gave up.
            assert "git-datareg: error: " in each.said
            assert there <= 1, each
    deletions = sum(each.commit is None and each.exit_code == 0 for each in outcomes)
    assert counted["refs/heads/forced", None] <= deletions + sum(
        "git-datareg: error: " in each.said for each in outcomes
    )
    # Where nobody else pushes nobody is refused.
    own = [each for each in outcomes if each.ref.startswith("refs/heads/own")]
    assert not [each for each in own if "rejected" in each.said]
    refused = [each for each in outcomes if "rejected" in each.said]
    assert all("fetch first" in each.said or "rejected]" in each.said for each in refused)
    assert len([each for each in outcomes if each.exit_code == 0]) > CLIENTS * place.rounds / 4
    whole = clone(place.url, tmp_path / "whole", "--mirror")
    whole.run("fsck", "--strict")
    refs = whole.out("for-each-ref", "--format=%(refname) %(objectname)").splitlines()
    assert dict(line.split() for line in refs) == generations[-1].refs


#: Stands for git-remote-datareg; is killed at the n-th call of its storage.
KILLED = """\
import os, signal, sys
from git_datareg import consolidation
from git_datareg.storage.local import LocalStorage

count, end = 0, int(os.environ["KILL_AT"])
consolidation.MOST_PACKS = 1
consolidation.due.__defaults__ = (1,)

def killing(method):
    def called(self, *arguments):
        global count
        count += 1
        if count == end:
            os.kill(os.getpid(), signal.SIGKILL)
        return method(self, *arguments)
    return called

for name in ("info", "open", "put", "replace", "list", "delete", "flush"):
    setattr(LocalStorage, name, killing(getattr(LocalStorage, name)))

from git_datareg.remote_main import main

sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def killing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that has such a git-remote-datareg."""
    programs = tmp_path / "bin"
    programs.mkdir()
    program = programs / "git-remote-datareg"
    program.write_text(f"#!{sys.executable}\n{KILLED}")
    program.chmod(0o755)
    return programs


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize("is_first", [False, True])
def test_killed_at_any_step_a_push_leaves_old_or_new(
    tmp_path: Path, killing: Path, is_first: bool
) -> None:
    work = Git(tmp_path / "work").init()
    work.run("datareg", "init")
    work.run("datareg", "track", "*.dat")
    served = tmp_path / "template"
    if not is_first:
        work.write("a.dat", data("old"))
        work.commit_all("old")
        work.run("push", "--quiet", f"datareg::{served}", "main")
        work.run("push", "--quiet", f"datareg::{served}", "main:other")
    old = refs_at(f"datareg::{served}", tmp_path) if not is_first else None
    work.write("a.dat", data("new", 4000))
    new = work.commit_all("new")
    steps = 0
    while True:
        steps += 1
        place = tmp_path / f"served{steps}"
        if not is_first:
            shutil.copytree(served, place)
        url = f"datareg::{place}"
        environ = {
            "PATH": f"{killing}{os.pathsep}{os.environ['PATH']}",
            "KILL_AT": str(steps),
        }
        done = work.run("push", "--quiet", url, "main", check=False, env=environ)
        assert "Traceback" not in done.stderr
        listed = Git(tmp_path).run("ls-remote", "--refs", url, check=False)
        found = {name: id for id, name in (line.split("\t") for line in listed.stdout.splitlines())}
        is_new = found.get("refs/heads/main") == new
        if not is_new:
            assert found == (old or {})
        if listed.returncode == 0 and found:
            cloned = clone(url, tmp_path / f"clone{steps}")
            assert (cloned.path / "a.dat").read_bytes() == (
                data("new", 4000) if is_new else data("old")
            )
            cloned.run("fsck", "--strict")
        if done.returncode == 0 and "died of signal" not in done.stderr:
            break
        # Without any repair.
        work.run("push", "--quiet", url, "main")
        assert refs_at(url, tmp_path)["refs/heads/main"] == new
        assert steps < 100
    assert steps > 10
    assert is_new


def test_what_a_killed_push_left_is_no_part_of_a_listing(tmp_path: Path) -> None:
    work = Git(tmp_path / "work").init()
    work.run("commit", "--quiet", "--allow-empty", "--message", "x")
    url = f"datareg::{tmp_path}/served"
    work.run("push", "--quiet", url, "main")
    (tmp_path / "served/.incoming").mkdir(exist_ok=True)
    (tmp_path / "served/.incoming/half").write_bytes(b"x")
    found = json.loads(Git(tmp_path).out("datareg", "gc", "--storage", url, "--json"))
    assert found == []
