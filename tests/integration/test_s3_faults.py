"""`git push`, `clone` and `datareg fetch` with S3 when the network, the server or we break off.

Whole programs before a real server, with a proxy in between that does the damage. What
must hold: nothing corrupt is taken, no ref moves without its data, and who runs the same
command again moves only what is missing.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import pytest

from git_datareg.digest import digest_of
from tests.support import s3proxy
from tests.support.filtered import data
from tests.support.gitrun import Git
from tests.support.s3proxy import Answer, Proxy, Request, Rule
from tests.support.s3server import S3Server, S3Servers, credentials

MIB = 1024 * 1024
PART = 8 * MIB
SMALL = {f"small/{number}.dat": data(f"{number}", 3000) for number in range(24)}
#: Goes in three parts, both ways.
LARGE = data("large", 2 * PART + 1234)
FILES = SMALL | {"large.dat": LARGE}
#: What would wait forever fails instead.
TIMEOUT = 120

Damage = Callable[[Proxy], None]


def key(content: bytes) -> str:
    """The end of the key under which a storage has this content."""
    return f"/objects/{digest_of(content).key}"


KEYS = {key(content) for content in FILES.values()}


def key_in(path: str) -> str:
    return path[path.index("/objects/") :] if "/objects/" in path else path


class World:
    """A registry and its maintainer, whose storage is behind the proxy."""

    def __init__(self, path: Path, server: S3Server, proxy: Proxy) -> None:
        self.path = path
        self.server = server
        self.proxy = proxy
        self.place = server.new_place()
        self.remote = Git(path / "registry.git").init("--bare")
        self.work = Git(path / "work").init()
        self.work.run("remote", "add", "origin", "../registry.git")
        self.work.run("datareg", "init", "--storage", self.place)
        self.work.run("datareg", "track", "*.dat")
        for name, content in FILES.items():
            self.work.write(name, content)
        self.work.commit_all()

    def push(self) -> subprocess.CompletedProcess[str]:
        return self.work.run("push", "origin", "main", check=False)

    def clone(self, name: str) -> subprocess.CompletedProcess[str]:
        """Clone with an empty cache, `name` naming both."""
        url = f"datareg::{self.remote.path}"
        return Git(self.path).run("clone", "-q", url, name, check=False, env=self.cache(name))

    def cache(self, name: str) -> dict[str, str]:
        return {"GIT_DATAREG_CACHE": str(self.path / f"{name}-cache")}

    def cached(self, name: str) -> set[str]:
        """The keys of all that is in a cache; what is there must be whole."""
        found = set()
        for path in (self.path / f"{name}-cache/objects").glob("*/*"):
            found.add(key(path.read_bytes()))
            assert str(path).endswith(key(path.read_bytes()))
        return found

    def stored(self) -> set[str]:
        """The keys of all objects in the storage; what is there must be whole."""
        bucket, _, prefix = self.place.removeprefix("s3://").partition("/")
        found = set()
        for name in self.server.keys(f"{self.place}/objects/"):
            answer = self.server.client.get_object(Bucket=bucket, Key=name)
            content = answer["Body"].read()
            assert f"{prefix}{key(content)}" == name
            found.add(key(content))
        return found

    def has_pushed(self) -> bool:
        return self.remote.run("rev-parse", "-q", "--verify", "main", check=False).returncode == 0

    def is_cloned(self, name: str) -> bool:
        copy = Git(self.path / name)
        content = {each: (copy.path / each).read_bytes() for each in FILES}
        return content == FILES and not copy.out("status", "--porcelain")


@pytest.fixture(scope="module")
def server(s3_servers: S3Servers) -> S3Server:
    # Of its own, since it is restarted.
    return s3_servers.new("seaweedfs")


@pytest.fixture
def world(home: Path, server: S3Server, tmp_path: Path) -> Iterator[World]:
    lines = [f"{name.lower()} = {value}" for name, value in credentials().items()]
    with s3proxy.serve(server.endpoint) as proxy:
        (home / ".aws").mkdir()
        text = "\n".join(["[default]", f"endpoint_url = {proxy.endpoint}", *lines])
        (home / ".aws/config").write_text(text)
        yield World(tmp_path, server, proxy)


#: What hotels and firewalls answer in the server's place.
PAGE = b"<html>Please log in</html>"


def every(nth: int, make: Callable[[], Answer], *, method: str = "") -> Rule:
    """Each so-manieth request (of a method) is answered by the proxy, the others pass."""
    numbers = count(1)

    def rule(request: Request) -> Answer | None:
        if method and request.method != method:
            return None
        return make() if next(numbers) % nth == 0 else None

    return rule


def rule(made: Rule) -> Damage:
    def damage(proxy: Proxy) -> None:
        proxy.rule = made

    return damage


def lost(proxy: Proxy) -> None:
    """The server does all, but every fifth answer never comes."""
    numbers = count(1)
    proxy.spoil = lambda _, answer: Answer(0) if next(numbers) % 5 == 0 else answer


def short(proxy: Proxy) -> None:
    """Every third answer with an object breaks off in the middle."""
    numbers = count(1)

    def spoil(request: Request, answer: Answer) -> Answer:
        is_short = request.method == "GET" and len(answer.body) > 1000 and next(numbers) % 3 == 0
        return answer._replace(cut=len(answer.body) // 2) if is_short else answer

    proxy.spoil = spoil


#: Not every fourth: it takes four requests to go on with a large upload that broke off, so
#: that each attempt would meet it.
PASSING = {
    "busy": rule(every(3, lambda: s3proxy.error(503, "SlowDown"))),
    "too many": rule(every(5, lambda: Answer(429, b"", {"Retry-After": "1"}))),
    "refused": rule(every(3, lambda: Answer(0))),
    "unasked login": rule(every(3, lambda: Answer(200, PAGE), method="PUT")),
    "bad gateway": rule(every(5, lambda: Answer(502, b"<html>Bad gateway</html>"))),
    "lost": lost,
    "short": short,
}


@pytest.mark.parametrize("damage", PASSING.values(), ids=PASSING)
def test_what_passes_is_waited_for_both_ways(world: World, damage: Damage) -> None:
    damage(world.proxy)
    done = world.push()
    assert done.returncode == 0, done.stderr
    assert world.stored() == KEYS
    assert world.has_pushed()
    done = world.clone("copy")
    assert done.returncode == 0, done.stderr
    assert world.is_cloned("copy")
    assert world.cached("copy") == KEYS


#: Half of the objects.
BAD = {each for each in KEYS if each.removeprefix("/objects/")[0] in "02468ace"}


def html(request: Request) -> Answer | None:
    is_bad = request.method == "GET" and key_in(request.path) in BAD
    return Answer(200, PAGE) if is_bad else None


def flipped(request: Request, answer: Answer) -> Answer:
    if request.method != "GET" or key_in(request.path) not in BAD:
        return answer
    return answer._replace(body=bytes([answer.body[0] ^ 1]) + answer.body[1:])


@pytest.mark.parametrize("kind", ["html", "flipped"])
def test_wrong_bytes_are_never_taken_and_the_rest_is(world: World, kind: str) -> None:
    assert world.push().returncode == 0
    if kind == "html":
        world.proxy.rule = html
    else:
        world.proxy.spoil = flipped
    done = world.clone("copy")
    assert done.returncode != 0
    assert "corrupt object" in done.stderr and "Traceback" not in done.stderr
    assert BAD and world.cached("copy") == KEYS - BAD
    assert all(
        (world.path / "copy" / name).read_bytes() in (content, pointer(content))
        for name, content in FILES.items()
        if (world.path / "copy" / name).exists()
    )

    world.proxy.rule, world.proxy.spoil = None, lambda _, answer: answer
    world.proxy.requests.clear()
    copy = Git(world.path / "copy")
    copy.run("datareg", "pull", env=world.cache("copy"))
    asked = {key_in(each.path) for each in world.proxy.requests if each.method == "GET"}
    assert asked & KEYS == BAD
    assert world.is_cloned("copy")


def pointer(content: bytes) -> bytes:
    return f"git-datareg pointer 1\nblake3 {digest_of(content)}\nsize {len(content)}\n".encode()


class Hanging:
    """A rule: of some requests only so many pass, later ones wait for ever."""

    def __init__(self, concerns: Callable[[Request], bool], passing: int) -> None:
        self._concerns = concerns
        self._numbers = count()
        self._passing = passing
        self.hangs = threading.Event()

    def __call__(self, request: Request) -> Answer | None:
        if not self._concerns(request) or next(self._numbers) < self._passing:
            return None
        self.hangs.set()
        threading.Event().wait()
        return None


def killed(
    world: World, hanging: Hanging, command: list[str], cwd: Path, env: dict[str, str]
) -> None:
    """Run a command until a request hangs, and then kill it with all its children.

    When it returns the proxy knows no request of theirs any more.
    """
    world.proxy.rule = hanging
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env={**os.environ, **env},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        assert hanging.hangs.wait(TIMEOUT)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    # What they had sent may not have been read yet.
    known = -1
    while known != len(world.proxy.requests):
        known = len(world.proxy.requests)
        time.sleep(0.3)
    world.proxy.rule = None
    world.proxy.requests.clear()


@pytest.mark.parametrize("passing", [0, 1, 5, 17, 24])
def test_after_a_killed_push_no_ref_has_moved_and_only_the_rest_is_sent(
    world: World, passing: int
) -> None:
    hanging = Hanging(lambda each: each.method == "PUT" and "/objects/" in each.path, passing)
    killed(world, hanging, ["git", "push", "origin", "main"], world.work.path, {})
    assert not world.has_pushed()
    there = world.stored()
    assert there < KEYS
    sent = {each.part for each in world.proxy.answered if each.part is not None}

    done = world.push()
    assert done.returncode == 0, done.stderr
    assert world.stored() == KEYS and world.has_pushed()
    put = [each for each in world.proxy.requests if each.method == "PUT"]
    # Small ones are sent without asking whether they are there: it costs less.
    assert sent.isdisjoint(each.part for each in put if each.part is not None)


@pytest.mark.parametrize("passing", [0, 1, 5, 17, 26])
def test_after_a_killed_fetch_only_the_rest_is_asked_for(world: World, passing: int) -> None:
    assert world.push().returncode == 0
    env = {"GIT_DATAREG_SKIP_SMUDGE": "1"} | world.cache("copy")
    url = f"datareg::{world.remote.path}"
    Git(world.path).run("clone", "-q", url, "copy", env=env)
    hanging = Hanging(lambda each: each.method == "GET" and key_in(each.path) in KEYS, passing)
    killed(world, hanging, ["git", "datareg", "fetch"], world.path / "copy", world.cache("copy"))
    there = world.cached("copy")
    assert there < KEYS

    copy = Git(world.path / "copy")
    copy.run("datareg", "pull", env=world.cache("copy"))
    assert world.is_cloned("copy") and world.cached("copy") == KEYS
    asked = [key_in(each.path) for each in world.proxy.requests if each.method == "GET"]
    assert there.isdisjoint(asked)
    # Parts whose answers were on their way when we were killed have to come again.
    assert asked.count(key(LARGE)) <= 3


def test_a_server_that_is_restarted_meanwhile_is_waited_for(world: World) -> None:
    is_down = threading.Event()
    numbers = count()

    def balance(request: Request) -> Answer | None:
        """As balancers do: what is not well again gets no requests."""
        if request.method == "PUT" and next(numbers) == 4:
            is_down.set()
        return s3proxy.error(503, "ServiceUnavailable") if is_down.is_set() else None

    world.proxy.rule = balance
    with ThreadPoolExecutor(1) as pool:
        pushing = pool.submit(world.push)
        assert is_down.wait(TIMEOUT)
        # Not by a thread that ends: the server would end with it.
        world.server.kill()  # type: ignore[attr-defined]
        assert world.server.start()  # type: ignore[attr-defined]
        # It answers before it has found its volumes again.
        bucket = world.server.bucket
        world.server.client.put_object(Bucket=bucket, Key=f"well-{world.path.name}", Body=b"")
        is_down.clear()
        done = pushing.result()
    if done.returncode != 0:
        # When it takes too long we give up, and say so; what is there by now stays.
        assert "ServiceUnavailable" in done.stderr and "Traceback" not in done.stderr
        assert not world.has_pushed()
        done = world.push()
    assert done.returncode == 0, done.stderr
    assert world.stored() == KEYS and world.has_pushed()
    assert world.clone("copy").returncode == 0
    assert world.is_cloned("copy")
