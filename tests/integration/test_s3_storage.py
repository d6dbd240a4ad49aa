"""Storages on S3 servers: access, faults, what is sent where. Large values are apart."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from git_datareg import api
from git_datareg.errors import (
    DataregError,
    ObjectNotFoundError,
    StorageDeniedError,
    StorageError,
    StorageNotFoundError,
    StorageUnavailableError,
    UsageError,
)
from git_datareg.location import Location
from git_datareg.storage import Info, Options, Storage, open_storage, probing
from git_datareg.storage.aws import Timeouts
from git_datareg.storage.retrying import Retrying
from git_datareg.storage.s3 import S3Storage
from tests.support import s3proxy, tls
from tests.support.gitrun import Git, clone
from tests.support.s3proxy import Answer, Proxy, Request, error
from tests.support.s3server import KEY, SECRET, S3Server, S3Servers, credentials

BRIEF = Timeouts(connect=1.0, idle=0.4, slowest=32 * 1024 * 1024)
LARGE = b"0123456789abcdef" * (1024 * 1024 + 1)


@pytest.fixture
def server(s3_servers: S3Servers) -> S3Server:
    return s3_servers.get("seaweedfs")


@pytest.fixture
def with_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in credentials().items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def place(server: S3Server) -> str:
    return server.new_place()


@pytest.fixture
def proxy(server: S3Server) -> Iterator[Proxy]:
    with s3proxy.serve(server.endpoint) as proxy:
        yield proxy


def once(place: str, timeouts: Timeouts | None = None, /, **options: object) -> S3Storage:
    """A storage that tries nothing again."""
    made = Options(**options)  # type: ignore[arg-type]
    return S3Storage(Location.parse(place), made, timeouts=timeouts)


def put(storage: Storage, key: str, value: bytes) -> bool:
    return storage.put(key, io.BytesIO(value), len(value))


def read(storage: Storage, key: str) -> bytes:
    with storage.open(key) as stream:
        return stream.read()


def uses(storage: Storage) -> Iterator[tuple[str, Callable[[], object]]]:
    yield "info", lambda: storage.info("a/b")
    yield "open", lambda: storage.open("a/b")
    yield "part", lambda: storage.open("a/b", 1, 2)
    yield "put", lambda: put(storage, "a/b", b"x")
    yield "put large", lambda: put(storage, "a/large", LARGE)
    yield "list", lambda: list(storage.list(""))
    yield "delete", lambda: storage.delete("a/b")


USES = [name for name, _ in uses(once("s3://bucket"))]
each_use = pytest.mark.parametrize("use", USES)


def assert_worded(fault: DataregError, place: str) -> None:
    """The message names the place, in one line, and no secret is in it or in its hints."""
    text = "\n".join([fault.message, *fault.hints])
    assert place in fault.message
    assert len(fault.message.splitlines()) == 1
    assert KEY not in text and SECRET not in text


# Access


def write_aws(home: Path, config: str = "", keys: str = "") -> None:
    (home / ".aws").mkdir()
    (home / ".aws/config").write_text(config)
    if keys:
        (home / ".aws/credentials").write_text(keys)


KEYS = f"aws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\n"
SERVICES = "[profile work]\nservices = mine\n[services mine]\ns3 =\n  endpoint_url = {}\n"


@pytest.mark.parametrize(
    "config", ["[profile work]\nendpoint_url = {}\n", SERVICES], ids=["profile", "services"]
)
@pytest.mark.parametrize("way", ["option", "variable"])
def test_a_profile_has_keys_and_endpoint(
    home: Path, server: S3Server, place: str, monkeypatch: pytest.MonkeyPatch, config: str, way: str
) -> None:
    write_aws(home, config.format(server.endpoint), f"[work]\n{KEYS}")
    if way == "variable":
        monkeypatch.setenv("AWS_PROFILE", "work")
    storage = once(place, profile="work" if way == "option" else None)
    assert put(storage, "a", b"x") is True
    assert put(storage, "large", LARGE) is True
    assert read(storage, "a") == b"x"
    assert len(server.keys(place)) == 2


def test_the_named_profile_wins_over_keys_in_the_environment(
    home: Path, server: S3Server, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_aws(home, "", f"[work]\n{KEYS}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "WRONG")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "WRONG")
    endpoint = server.endpoint
    assert put(once(place, endpoint=endpoint, profile="work"), "a", b"x") is True
    with pytest.raises(StorageDeniedError):
        put(once(place, endpoint=endpoint), "b", b"x")


def test_credentials_that_end_are_asked_for_by_their_process(
    home: Path, server: S3Server, place: str
) -> None:
    told = {
        "Version": 1,
        "AccessKeyId": KEY,
        "SecretAccessKey": SECRET,
        "Expiration": "2099-01-01T00:00:00Z",
    }
    (home / "keys.json").write_text(json.dumps(told))
    write_aws(home, f"[profile work]\ncredential_process = cat {home}/keys.json\n")
    storage = once(place, profile="work", endpoint=server.endpoint)
    assert put(storage, "a", b"x") is True
    assert read(storage, "a") == b"x"


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("", "work"),
        ("[profile work]\ncredential_process = false\n", "credential"),
        (
            "[profile work]\nca_bundle = /nowhere\naws_access_key_id = a\n"
            "aws_secret_access_key = b\n",
            "/nowhere",
        ),
        ("no section", "config"),
        ("[profile work]\nendpoint_url = nonsense\n", "nonsense"),
    ],
    ids=["no profile", "process fails", "no bundle", "not a file", "no endpoint"],
)
@each_use
def test_a_configuration_that_does_not_work_is_told_as_such(
    home: Path, use: str, config: str, words: str
) -> None:
    write_aws(home, config)
    storage = once("s3://bucket/x", profile="work")
    with pytest.raises(StorageDeniedError, match=words) as caught:
        dict(uses(storage))[use]()
    assert caught.value.hints
    assert len(caught.value.message.splitlines()) == 1


def test_credentials_that_are_not_found_are_not_looked_for_again_at_once(home: Path) -> None:
    write_aws(home, f"[profile work]\ncredential_process = sh -c 'echo >>{home}/asked; false'\n")
    storage = once("s3://bucket/x", profile="work")
    for _, use in uses(storage):
        with pytest.raises(StorageDeniedError):
            use()
    assert (home / "asked").read_text() == "\n"


@each_use
def test_without_any_credentials_it_says_how_to_get_some(place: str, use: str) -> None:
    with pytest.raises(StorageDeniedError, match="no AWS credentials") as caught:
        dict(uses(once(place)))[use]()
    assert_worded(caught.value, place)
    assert "datareg.NAME.profile" in caught.value.hints[0]
    assert "datareg.NAME.anonymous" in caught.value.hints[1]


@pytest.mark.parametrize("variable", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
@each_use
def test_wrong_keys_are_denied(
    server: S3Server,
    place: str,
    with_keys: None,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    use: str,
) -> None:
    monkeypatch.setenv(variable, "WRONG")
    with pytest.raises(StorageDeniedError) as caught:
        dict(uses(once(place, endpoint=server.endpoint)))[use]()
    assert_worded(caught.value, place)
    assert caught.value.hints


def test_a_public_bucket_is_read_without_credentials(server: S3Server) -> None:
    bucket = server.new_bucket()
    server.client.put_object(Bucket=bucket, Key="p/a", Body=b"public")
    statement = {
        "Effect": "Allow",
        "Principal": "*",
        "Action": ["s3:GetObject"],
        "Resource": [f"arn:aws:s3:::{bucket}/*"],
    }
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    server.client.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))
    storage = once(f"s3://{bucket}/p", endpoint=server.endpoint, is_anonymous=True)
    assert read(storage, "a") == b"public"
    assert storage.info("a") == Info("a", 6)
    for use in (lambda: put(storage, "b", b"x"), lambda: put(storage, "b", LARGE)):
        with pytest.raises(StorageDeniedError) as caught:
            use()
        assert "datareg.NAME.anonymous" in caught.value.hints[0]
    server.client.put_object(Bucket=bucket, Key="p/a b", Body=b"odd")
    for key, value in (("a", b"public"), ("a b", b"odd")):
        url = storage.presign(key, 60)
        assert url is not None
        with urllib.request.urlopen(url) as answer:
            assert answer.read() == value
    assert server.keys(f"s3://{bucket}/") == ["p/a", "p/a b"]


def test_keys_in_the_environment_alone_need_no_botocore(
    server: S3Server, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in server.environ.items():
        monkeypatch.setenv(name, value)
    code = (
        "import io, sys\n"
        "from git_datareg.location import Location\n"
        "from git_datareg.storage import open_storage\n"
        "storage = open_storage(Location(sys.argv[1]))\n"
        "loaded = 'obstore' in sys.modules\n"
        "storage.put('a', io.BytesIO(b'x'), 1)\n"
        "print(storage.open('a').read(), loaded, 'botocore' in sys.modules)\n"
    )
    command = [sys.executable, "-c", code, place]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "b'x' False False\n"


# Where credentials go


@pytest.fixture
def stranger() -> Iterator[Proxy]:
    """A server that somebody else's repository names; it has everything, and denies nothing."""
    with s3proxy.serve(rule=lambda _: error(403, "AccessDenied", "Access Denied.")) as proxy:
        yield proxy


@each_use
def test_a_server_that_a_repository_names_gets_no_credentials(
    stranger: Proxy, with_keys: None, monkeypatch: pytest.MonkeyPatch, use: str
) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "TOKEN")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "https://own.example.org")
    storage = once("s3://bucket/x", endpoint=stranger.endpoint, is_trusted=False)
    with pytest.raises(StorageDeniedError) as caught:
        dict(uses(storage))[use]()
    assert_worded(caught.value, "s3://bucket/x")
    hint = f"git config --global --add datareg.trustedEndpoint {stranger.endpoint}"
    assert hint in caught.value.hints
    assert stranger.requests
    for request in stranger.requests:
        assert "authorization" not in request.headers
        assert not [name for name in request.headers if "token" in name or "payer" in name]
        assert KEY not in str(request) and "TOKEN" not in str(request)


@pytest.mark.parametrize("kind", ["variable", "s3 variable", "profile", "other case"])
def test_it_gets_them_when_the_user_s_own_configuration_leads_there(
    home: Path, stranger: Proxy, with_keys: None, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    own = stranger.endpoint
    if kind == "profile":
        write_aws(home, f"[default]\nendpoint_url = {own}\n")
    else:
        name = "AWS_ENDPOINT_URL" if kind == "variable" else "AWS_ENDPOINT_URL_S3"
        monkeypatch.setenv(name, own + "/" if kind == "other case" else own)
    endpoint = own.replace("http", "HTTP") if kind == "other case" else own
    storage = once("s3://bucket/x", endpoint=endpoint, is_trusted=False)
    with pytest.raises(StorageDeniedError):
        storage.open("a")
    assert f"Credential={KEY}/" in stranger.requests[0].headers["authorization"]


@pytest.mark.parametrize("change", ["scheme", "host", "port"])
def test_another_origin_is_another_server(
    stranger: Proxy, with_keys: None, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    own = {
        "scheme": stranger.endpoint.replace("http", "https"),
        "host": stranger.endpoint.replace("127.0.0.1", "localhost"),
        "port": stranger.endpoint[:-1],
    }
    monkeypatch.setenv("AWS_ENDPOINT_URL", own[change])
    storage = once("s3://bucket/x", endpoint=stranger.endpoint, is_trusted=False)
    with pytest.raises(StorageDeniedError):
        storage.open("a")
    assert "authorization" not in stranger.requests[0].headers


def test_an_endpoint_that_is_named_wins_over_the_environment(
    server: S3Server, place: str, stranger: Proxy, with_keys: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # obstore reads more of such variables than AWS has.
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"):
        monkeypatch.setenv(name, stranger.endpoint)
    for name in ("AWS_SKIP_SIGNATURE", "AWS_S3_EXPRESS", "AWS_VIRTUAL_HOSTED_STYLE_REQUEST"):
        monkeypatch.setenv(name, "true")
    monkeypatch.setenv("AWS_CONDITIONAL_PUT", "disabled")
    monkeypatch.setenv("AWS_BUCKET", "other")
    storage = once(place, endpoint=server.endpoint)
    assert [put(storage, "a", value) for value in (b"x", b"y")] == [True, False]
    assert put(storage, "large", LARGE) is True
    assert read(storage, "a") == b"x"
    assert stranger.requests == []


def test_a_redirect_to_another_host_takes_no_credentials_along(
    stranger: Proxy, with_keys: None
) -> None:
    away = {"location": stranger.endpoint.replace("127.0.0.1", "localhost") + "/bucket/x/a"}
    with s3proxy.serve(rule=lambda _: Answer(307, headers=away)) as proxy:
        storage = once("s3://bucket/x", endpoint=proxy.endpoint)
        with pytest.raises(StorageError):
            storage.open("a")
    for request in stranger.requests:
        assert "authorization" not in request.headers


# What can't be meant


@pytest.mark.parametrize(
    "bucket",
    [
        *("", "ab", "x" * 64, "Upper", "under_score", "-dash", "dash-", ".dot", "dot.", "a..b"),
        *("a.-b", "a-.b", "..", "key:secret@bucket", "arn:aws:s3:::bucket", "a%2fb", "b?x"),
        *("b#x", "b\u00fccket", "a b"),
    ],
)
def test_a_name_that_no_bucket_has_is_refused(bucket: str) -> None:
    with pytest.raises(UsageError, match="not the name of a bucket") as caught:
        open_storage(Location(f"s3://{bucket}/prefix"))
    assert "secret" not in caught.value.message


@pytest.mark.parametrize(
    "prefix", ["//", "a//b", "..", "../x", "a/../b", ".", "a/./b", "a?versionId=1", "a#b", "a\\b"]
)
def test_a_prefix_that_could_lead_out_is_refused(prefix: str) -> None:
    with pytest.raises(UsageError):
        open_storage(Location(f"s3://bucket/{prefix}"))


@pytest.mark.parametrize("prefix", ["", "/", "//", "/a", "/a/", "/a/b c/.d"])
def test_a_prefix_may_be_anything_else(prefix: str) -> None:
    storage = open_storage(Location(f"s3://bucket{prefix}"))
    assert storage.url("k") == f"s3://bucket{prefix.rstrip('/')}/k"


@pytest.mark.parametrize(
    "endpoint",
    [
        *("", "host", "host:9000", "ftp://host", "file:///x", "http://", "https://u:SECRET@host"),
        *("https://host?x=y", "https://host#x", "http://host:port", "https://a b", "https://h\\x"),
    ],
)
def test_an_endpoint_that_is_no_server_is_refused(endpoint: str) -> None:
    with pytest.raises(UsageError, match="not the URL of an S3 server") as caught:
        open_storage(Location("s3://bucket"), Options(endpoint=endpoint))
    assert "SECRET" not in caught.value.message


@pytest.mark.parametrize(
    "region", ["", "a.b", "evil.example.org/", "a/b", "-a", "a-", "a b", "a#", "\u00e9", "x" * 64]
)
def test_a_region_that_would_lead_to_another_host_is_refused(
    region: str, monkeypatch: pytest.MonkeyPatch, with_keys: None
) -> None:
    with pytest.raises(UsageError, match="not a region"):
        open_storage(Location("s3://bucket"), Options(region=region))
    if region:
        monkeypatch.setenv("AWS_REGION", region)
        with pytest.raises(UsageError, match="not a region"):
            open_storage(Location("s3://bucket")).presign("k", 1)


# Faults of the server


@each_use
def test_a_bucket_that_is_not_there_is_no_empty_storage(
    s3_servers: S3Servers, with_keys: None, use: str
) -> None:
    # SeaweedFS would make the bucket for whoever puts something into it.
    server = s3_servers.get("moto")
    with pytest.raises(StorageNotFoundError, match="no such bucket") as caught:
        dict(uses(once("s3://no-such-bucket/x", endpoint=server.endpoint)))[use]()
    assert_worded(caught.value, "s3://no-such-bucket/x")


@each_use
def test_a_server_of_something_else_is_no_empty_storage(with_keys: None, use: str) -> None:
    with s3proxy.serve(rule=lambda _: Answer(404, b"<html>nothing here</html>")) as proxy:
        storage = once("s3://bucket/x", endpoint=proxy.endpoint)
        with pytest.raises(StorageNotFoundError, match="not an S3 server: s3://bucket/x"):
            dict(uses(storage))[use]()


def test_that_a_bucket_is_there_is_asked_once(proxy: Proxy, place: str, with_keys: None) -> None:
    storage = once(place, endpoint=proxy.endpoint)
    assert [storage.info("a") for _ in range(3)] == [None] * 3
    assert [each.method for each in proxy.requests] == ["HEAD", "GET", "HEAD", "HEAD"]


@pytest.mark.parametrize(
    ("status", "code", "kind", "hint"),
    [
        (403, "AccessDenied", StorageDeniedError, "s3:ListBucket"),
        (403, "InvalidAccessKeyId", StorageDeniedError, "aws sts get-caller-identity"),
        (403, "RequestTimeTooSkewed", StorageDeniedError, "clock"),
        (400, "ExpiredToken", StorageDeniedError, "aws sso login"),
        (400, "InvalidToken", StorageDeniedError, "aws sts get-caller-identity"),
        (401, "", StorageDeniedError, "aws sts get-caller-identity"),
        (500, "InternalError", StorageUnavailableError, None),
        (503, "SlowDown", StorageUnavailableError, None),
        (429, "TooManyRequests", StorageUnavailableError, None),
        (400, "RequestTimeout", StorageUnavailableError, None),
        (502, "", StorageUnavailableError, None),
        (400, "InvalidRequest", StorageError, None),
        (403, "InvalidObjectState", StorageDeniedError, None),
        (405, "MethodNotAllowed", StorageError, None),
    ],
)
@each_use
def test_what_a_server_refuses_is_told_by_what_helps(
    with_keys: None,
    status: int,
    code: str,
    kind: type[StorageError],
    hint: str | None,
    use: str,
) -> None:
    told = error(status, code, "Told\x1b[31m so.\nIn lines.") if code else Answer(status, b"<html>")
    with s3proxy.serve(rule=lambda _: told) as proxy:
        storage = once("s3://bucket/x", endpoint=proxy.endpoint)
        with pytest.raises(StorageError) as caught:
            dict(uses(storage))[use]()
    # An answer to HEAD has no words, only the status.
    is_mute = use in ("info", "put large")
    assert type(caught.value) is kind or (is_mute and status == 400)
    assert_worded(caught.value, "s3://bucket/x")
    if not is_mute:
        assert code in caught.value.message
        assert caught.value.message.isprintable()
        assert hint is None or hint in " ".join(caught.value.hints)


def test_how_long_to_wait_comes_from_the_server(with_keys: None) -> None:
    def rule(request: Request) -> Answer | None:
        if request.method == "HEAD":
            return Answer(404)
        if request.method == "GET" and "uploads" not in request.query:
            return error(404, "NoSuchKey")
        return error(503, "SlowDown", **{"retry-after": "7"})

    with s3proxy.serve(rule=rule) as proxy:
        storage = once("s3://bucket/x", endpoint=proxy.endpoint)
        with pytest.raises(StorageUnavailableError) as caught:
            put(storage, "large", LARGE)
    assert caught.value.retry_after == 7


@each_use
def test_a_server_that_is_not_there_may_come_back(place: str, with_keys: None, use: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        endpoint = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(StorageUnavailableError, match=f"refused.* at {endpoint}") as caught:
        dict(uses(once(place, endpoint=endpoint)))[use]()
    assert_worded(caught.value, place)


def test_a_server_s_name_that_is_not_known(with_keys: None) -> None:
    storage = once("s3://bucket", endpoint="https://nosuch.invalid")
    with pytest.raises(StorageUnavailableError, match="name is not known"):
        storage.info("a")


@each_use
def test_a_server_that_never_answers_is_not_waited_for(with_keys: None, use: str) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as mute:
        endpoint = f"http://127.0.0.1:{mute.getsockname()[1]}"
        storage = once("s3://bucket/x", BRIEF, endpoint=endpoint)
        with pytest.raises(StorageUnavailableError, match="no answer in time"):
            dict(uses(storage))[use]()


@pytest.mark.parametrize("is_broken", [True, False], ids=["broken off", "stalled"])
def test_an_answer_that_does_not_go_on_is_a_fault_where_it_stops(
    with_keys: None, is_broken: bool
) -> None:
    size = 12 * 1024 * 1024
    is_over = threading.Event()
    wait = None if is_broken else is_over.wait
    headers = {"etag": '"x"', "last-modified": "Wed, 21 Oct 2015 07:28:00 GMT"}

    def rule(request: Request) -> Answer:
        return Answer(200, bytes(size), headers, cut=size // 2, wait=wait)

    with s3proxy.serve(rule=rule) as proxy:
        stream = once("s3://bucket/x", BRIEF, endpoint=proxy.endpoint).open("a")
        assert stream.read(1024 * 1024) == bytes(1024 * 1024)
        with pytest.raises(StorageUnavailableError, match="s3://bucket/x"):
            stream.read()
        stream.close()
        is_over.set()


def test_an_upload_may_be_slow(with_keys: None) -> None:
    slowness = threading.Event()

    def rule(request: Request) -> Answer:
        # The server is still busy when the time-out for reading would be over.
        slowness.wait(3 * BRIEF.idle)
        return Answer(200, headers={"etag": '"x"'})

    with s3proxy.serve(rule=rule) as proxy:
        storage = once("s3://bucket/x", BRIEF._replace(slowest=1024), endpoint=proxy.endpoint)
        assert put(storage, "a", b"x") is True


def test_a_server_that_was_restarted_is_used_on(s3_servers: S3Servers, with_keys: None) -> None:
    server = s3_servers.new("seaweedfs")
    place = server.new_place()
    storage = once(place, endpoint=server.endpoint)
    assert put(storage, "a", b"x") is True
    server.kill()
    with pytest.raises(StorageUnavailableError):
        storage.open("a")
    with pytest.raises(StorageUnavailableError):
        put(storage, "b", b"x")
    assert server.start()
    # It answers before it has found its volumes again, so with patience: what was
    # acknowledged is durable.
    patient = Retrying(storage)
    assert read(patient, "a") == b"x"
    assert put(patient, "b", b"x") is True
    server.kill()


def test_a_request_that_fails_is_made_again_behind_open_storage(
    proxy: Proxy, place: str, with_keys: None
) -> None:
    faults = iter([error(503, "SlowDown"), error(500, "InternalError")])
    proxy.rule = lambda _: next(faults, None)
    storage = open_storage(Location(place), Options(endpoint=proxy.endpoint))
    assert put(storage, "a", b"x") is True
    assert [each.method for each in proxy.requests] == ["PUT"] * 3


# Regions


def elsewhere(request: Request) -> Answer | None:
    """A bucket in eu-west-1, of a server that says so as AWS does."""
    there = {"x-amz-bucket-region": "eu-west-1"}
    if "/eu-west-1/s3/" in request.headers.get("authorization", ""):
        is_bucket = request.method == "HEAD" and request.path.count("/") == 1
        return Answer(200, headers=there) if is_bucket else None
    if request.method == "HEAD":
        return Answer(400, headers=there)
    return Answer(
        400,
        b"<Error><Code>AuthorizationHeaderMalformed</Code><Message>the region 'us-east-1' is"
        b" wrong; expecting 'eu-west-1'</Message><Region>eu-west-1</Region></Error>",
        there,
    )


@each_use
def test_a_bucket_of_another_region_is_found_once(
    s3_servers: S3Servers, with_keys: None, use: str
) -> None:
    # It checks no signature, so none for another region either.
    server = s3_servers.get("moto")
    place = server.new_place()
    put(once(place, endpoint=server.endpoint), "a/b", b"0123")
    with s3proxy.serve(server.endpoint, elsewhere) as proxy:
        storage = once(place, endpoint=proxy.endpoint)
        dict(uses(storage))[use]()
        before = len(proxy.requests)
        assert storage.info("a/b") == (None if use == "delete" else Info("a/b", 4))
        for request in proxy.requests[before:]:
            assert "/eu-west-1/s3/" in request.headers["authorization"]


@pytest.mark.parametrize("region", ["", "evil.example.org/x", "us-east-1"])
def test_a_region_that_does_not_help_leaves_the_fault_as_it_was(
    with_keys: None, region: str
) -> None:
    def rule(request: Request) -> Answer:
        told = error(400, "AuthorizationHeaderMalformed", "no")
        return told._replace(headers={"x-amz-bucket-region": region} if region else {})

    with s3proxy.serve(rule=rule) as proxy:
        storage = once("s3://bucket/x", endpoint=proxy.endpoint)
        for _ in range(2):
            with pytest.raises(StorageError, match="AuthorizationHeaderMalformed"):
                storage.open("a")
    asked = [each for each in proxy.requests if each.path == "/bucket"]
    # botocore follows the region that it is told once by itself.
    assert len(asked) <= 3


# Conditions


def refuses_conditions(request: Request) -> Answer | None:
    if "if-none-match" in request.headers:
        return error(501, "NotImplemented", "A header you provided is not implemented.")
    return None


@pytest.mark.parametrize("value", [b"x", LARGE], ids=len)
def test_a_server_without_conditions_is_looked_at_before(
    proxy: Proxy, place: str, with_keys: None, value: bytes
) -> None:
    proxy.rule = refuses_conditions
    storage = once(place, endpoint=proxy.endpoint)
    assert put(storage, "a", value) is True
    assert put(storage, "a", b"other") is False
    assert put(storage, "b", b"new") is True
    assert put(storage, "b", b"other") is False
    assert (read(storage, "a"), read(storage, "b")) == (value, b"new")


@pytest.mark.parametrize("is_there", [True, False])
def test_a_conflict_is_decided_by_looking(
    proxy: Proxy, place: str, with_keys: None, server: S3Server, is_there: bool
) -> None:
    if is_there:
        put(once(place, endpoint=server.endpoint), "a", b"first")

    def rule(request: Request) -> Answer | None:
        is_put = request.method == "PUT"
        return error(409, "ConditionalRequestConflict", "Conflict") if is_put else None

    proxy.rule = rule
    storage = once(place, endpoint=proxy.endpoint)
    if is_there:
        assert put(storage, "a", b"x") is False
    else:
        with pytest.raises(StorageUnavailableError, match="ConditionalRequestConflict"):
            put(storage, "a", b"x")


@pytest.mark.parametrize(
    ("name", "keeps_its_word"), [("seaweedfs", True), ("moto", True), ("rclone", False)]
)
def test_probing_knows_who_ignores_conditions(
    s3_servers: S3Servers, with_keys: None, name: str, keeps_its_word: bool
) -> None:
    server = s3_servers.get(name)
    place = server.new_place()
    storage = open_storage(Location(place), Options(endpoint=server.endpoint))
    assert probing.creates_once(storage) is keeps_its_word
    assert server.keys(place) == []


def test_probing_knows_who_looks_and_then_puts(server: S3Server, with_keys: None) -> None:
    # One after the other it is right; only a race shows it.
    class LooksFirst(S3Storage):
        def put(self, key: str, source: io.BytesIO, size: int) -> bool:  # type: ignore[override]
            if self.info(key) is not None:
                return False
            # Of an odd number the last one finds no other.
            with suppress(threading.BrokenBarrierError):
                together.wait(10)
            server.client.put_object(
                Bucket=server.bucket, Key=f"{prefix}/{key}", Body=source.read()
            )
            return True

    # Those who come one after the other don't wait for more.
    together = threading.Barrier(1)
    place = server.new_place()
    prefix = place.rpartition("/")[2]
    storage = LooksFirst(Location(place), Options(endpoint=server.endpoint))
    assert probing._takes_turns(storage) is True
    together = threading.Barrier(2)
    assert probing._races(storage) is False
    assert server.keys(place) == []


# What is sent


@pytest.mark.parametrize("value", [b"x", LARGE], ids=len)
def test_encryption_class_and_payer_are_said(
    proxy: Proxy, place: str, with_keys: None, value: bytes
) -> None:
    def rule(request: Request) -> Answer | None:
        if request.method == "HEAD":
            return Answer(404)
        if "uploads" in request.query and request.method == "POST":
            told = "<InitiateMultipartUploadResult><UploadId>u</UploadId>"
            return Answer(200, f"{told}</InitiateMultipartUploadResult>".encode())
        if request.method == "POST":
            return Answer(
                200,
                b"<CompleteMultipartUploadResult><ETag>x</ETag></CompleteMultipartUploadResult>",
            )
        if request.method == "PUT":
            return Answer(200, headers={"etag": '"x"'})
        return error(404, "NoSuchKey")

    proxy.rule = rule
    storage = once(
        place,
        endpoint=proxy.endpoint,
        encryption="aws:kms",
        kms_key="arn:aws:kms:eu-west-1:1:key/2",
        storage_class="STANDARD_IA",
        request_payer=True,
    )
    assert put(storage, "a", value) is True
    with pytest.raises(ObjectNotFoundError):
        storage.open("a")
    begun = (
        proxy.requests[0]
        if value == b"x"
        else next(each for each in proxy.requests if each.method == "POST")
    )
    assert begun.headers["x-amz-server-side-encryption"] == "aws:kms"
    assert begun.headers["x-amz-server-side-encryption-aws-kms-key-id"].endswith("key/2")
    assert begun.headers["x-amz-storage-class"] == "STANDARD_IA"
    for request in proxy.requests:
        assert request.headers["x-amz-request-payer"] == "requester"


def test_nothing_special_is_said_unless_it_is_asked_for(
    proxy: Proxy, place: str, with_keys: None
) -> None:
    put(once(place, endpoint=proxy.endpoint), "a", b"x")
    names = set(proxy.requests[0].headers)
    assert names == {
        "accept",
        "authorization",
        "content-length",
        "host",
        "if-none-match",
        "user-agent",
        "x-amz-content-sha256",
        "x-amz-date",
    }


# Keys and lists


def test_a_list_has_thousands_of_keys_and_nothing_that_is_none(
    server: S3Server, with_keys: None
) -> None:
    bucket = server.new_bucket()
    storage = once(f"s3://{bucket}/p", endpoint=server.endpoint)
    names = [f"o/{number:04}" for number in range(1100)]
    for name in names:
        put(storage, name, b"x")
    for odd in ("p/.hidden", "p/o/.x/y", "p/\u00e9", "p2/other", "p-other", "p/o2"):
        server.client.put_object(Bucket=bucket, Key=odd, Body=b"x")
    assert [info.key for info in storage.list("")] == [*names, "o2"]
    assert [info.key for info in storage.list("o/1")] == names[1000:]
    assert [info.key for info in storage.list("o/")] == names


@pytest.mark.parametrize("prefix", ["", "/a b/c+d&e=f/\u00e9"])
def test_odd_prefixes_and_none_work(server: S3Server, with_keys: None, prefix: str) -> None:
    bucket = server.new_bucket()
    storage = once(f"s3://{bucket}{prefix}", endpoint=server.endpoint)
    assert put(storage, "a/b", b"x") is True
    assert put(storage, "a/large", LARGE) is True
    assert read(storage, "a/b") == b"x"
    assert storage.info("a/large") == Info("a/large", len(LARGE))
    assert [info.key for info in storage.list("a")] == ["a/b", "a/large"]
    storage.delete("a/b")
    key = f"{prefix}/a/large".removeprefix("/")
    assert server.keys(f"s3://{bucket}/") == [key]


def test_a_large_answer_comes_in_pieces(server: S3Server, place: str, with_keys: None) -> None:
    storage = once(place, endpoint=server.endpoint)
    put(storage, "a", LARGE)
    with storage.open("a", 5) as stream:
        assert stream.readable()
        assert stream.read(10) == LARGE[5:15]
        buffer = bytearray(7)
        assert stream.readinto(buffer) == 7  # type: ignore[attr-defined]
        assert buffer == LARGE[15:22]
        assert stream.read(3 * 1024 * 1024 + 1) == LARGE[22 : 23 + 3 * 1024 * 1024]
        assert stream.read() == LARGE[23 + 3 * 1024 * 1024 :]
        assert stream.read() == stream.read(1) == b""
        assert stream.readinto(buffer) == 0  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="closed"):
        stream.read(1)


def test_a_part_is_asked_for_as_a_part(proxy: Proxy, place: str, with_keys: None) -> None:
    storage = once(place, endpoint=proxy.endpoint)
    put(storage, "a", b"0123456789")
    proxy.requests.clear()
    assert storage.open("a", 2, 3).read() == b"234"
    assert storage.open("a", 8).read() == b"89"
    assert storage.open("a").read() == b"0123456789"
    asked = [(each.method, each.headers.get("range")) for each in proxy.requests]
    assert asked == [("GET", "bytes=2-4"), ("GET", "bytes=8-"), ("GET", None)]


# presign


def test_a_presigned_url_is_for_anybody_for_a_while(
    server: S3Server, place: str, with_keys: None
) -> None:
    storage = open_storage(Location(place), Options(endpoint=server.endpoint))
    put(storage, "a/b", b"bytes")
    url = storage.presign("a/b", 60)
    assert url is not None and "X-Amz-Expires=60" in url and SECRET not in url
    with urllib.request.urlopen(url) as answer:
        assert answer.read() == b"bytes"
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(url.replace("a/b", "a/c"))
    assert caught.value.code == 403
    caught.value.close()


@pytest.mark.parametrize("seconds", [0, -1, 7 * 24 * 3600 + 1])
def test_no_signature_holds_for_more_than_a_week(with_keys: None, seconds: int) -> None:
    with pytest.raises(UsageError, match="seconds"):
        once("s3://bucket").presign("a", seconds)
    with pytest.raises(ValueError, match="not a key"):
        once("s3://bucket").presign("../a", 1)


def test_presigning_asks_nobody(with_keys: None, stranger: Proxy) -> None:
    assert once("s3://bucket", endpoint=stranger.endpoint).presign("a", 1)
    assert stranger.requests == []


# The whole way


def test_a_registry_keeps_its_data_in_a_bucket(
    home: Path, server: S3Server, place: str, tmp_path: Path
) -> None:
    write_aws(home, f"[default]\nendpoint_url = {server.endpoint}\n", f"[default]\n{KEYS}")
    files = {"small.dat": b"small" * 1000, "large.dat": LARGE, "empty.dat": b""}
    Git(tmp_path / "registry.git").init("--bare")
    work = Git(tmp_path / "work").init()
    work.run("remote", "add", "origin", "../registry.git")
    work.run("datareg", "init", "--storage", place)
    work.run("datareg", "track", "*.dat")
    for name, content in files.items():
        work.write(name, content)
    work.commit_all()
    assert f"2 objects stored in {place}" in work.run("push", "origin", "main").stderr
    assert len(server.keys(f"{place}/objects/")) == 2
    work.run("datareg", "push", "--all")
    assert len(server.keys(f"{place}/objects/")) == 2
    # Another user, as far as data goes.
    shutil.rmtree(home / "datareg-cache", ignore_errors=True)
    copy = clone(f"datareg::{tmp_path}/registry.git", tmp_path / "clone")
    assert {name: (copy.path / name).read_bytes() for name in files} == files


# Processes


def test_a_program_may_set_other_keys_when_its_own_were_refused(
    home: Path,
    server: S3Server,
    place: str,
    with_keys: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
    work = Git(tmp_path / "work").init()
    work.run("datareg", "init", "--storage", place)
    work.run("datareg", "track", "*.dat")
    work.write("a.dat", b"content")
    work.commit_all()
    work.run("datareg", "push")
    shutil.rmtree(work.path / ".git/datareg/objects")
    right = os.environ["AWS_SECRET_ACCESS_KEY"]
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "WRONG")
    with pytest.raises(StorageDeniedError):
        api.read("a.dat", repo=str(work.path), rev="HEAD", mode="rb")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", right)
    assert api.read("a.dat", repo=str(work.path), rev="HEAD", mode="rb") == b"content"


FORKED = """
import io, os, sys, urllib.request
from git_datareg.location import Location
from git_datareg.storage import Info, open_storage
storage = open_storage(Location(sys.argv[1]))
large = bytes(5 * 1024 * 1024)
storage.put("before", io.BytesIO(b"0123456789"), 10)
if os.fork() == 0:
    for each in (storage, open_storage(Location(sys.argv[1]))):
        print(each.put("b/c", io.BytesIO(b"x"), 1), flush=True)
        assert each.info("before") == Info("before", 10)
        assert each.info("nothing") is None
        assert each.open("before").read() == b"0123456789"
        assert each.open("before", 3, 4).read() == b"3456"
        assert each.open("before", 8).read() == b"89"
        assert each.open("before", 20).read() == b""
        try:
            each.open("nothing")
        except FileNotFoundError:
            pass
        assert each.put("large", io.BytesIO(large), len(large)) in (True, False)
        assert each.open("large").read() == large
        assert [info.key for info in each.list("b")] == ["b/c", "before"]
        with urllib.request.urlopen(each.presign("before", 60)) as answer:
            assert answer.read() == b"0123456789"
    storage.delete("b/c")
    print(storage.info("b/c"), flush=True)
    os._exit(0)
assert os.wait()[1] == 0
print(storage.info("before").size)
"""


def test_a_fork_of_a_process_that_used_s3_goes_on_by_another_way(
    server: S3Server, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in server.environ.items():
        monkeypatch.setenv(name, value)
    command = [sys.executable, "-c", FORKED, place]
    environ = {name: value for name, value in os.environ.items() if "COVERAGE" not in name}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60)
    assert (done.stdout.split(), done.stderr) == (["True", "False", "None", "10"], "")


INTERRUPTED = """
import sys
from git_datareg.location import Location
from git_datareg.storage import open_storage
storage = open_storage(Location(sys.argv[1]))
print("ready", flush=True)
storage.info("x")
"""


def test_a_signal_comes_through_while_the_server_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in credentials().items():
        monkeypatch.setenv(name, value)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        environ = {name: value for name, value in os.environ.items() if "COVERAGE" not in name}
        child = subprocess.Popen(
            [sys.executable, "-c", INTERRUPTED, "s3://bucket"], env=environ, stderr=subprocess.PIPE
        )
        connection, _ = silent.accept()
        child.send_signal(signal.SIGINT)
        # The server would be waited for 30 seconds, several times.
        told = child.communicate(timeout=20)[1]
        connection.close()
    assert b"KeyboardInterrupt" in told


# TLS


def test_more_authorities_are_trusted_by_aws_s_variable(
    server: S3Server, place: str, with_keys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, authority = tls.server_context(tmp_path)
    with s3proxy.serve(server.endpoint, tls=context) as proxy:
        with pytest.raises(StorageUnavailableError, match="certificate is not trusted"):
            put(once(place, endpoint=proxy.endpoint), "a", b"x")
        monkeypatch.setenv("AWS_CA_BUNDLE", str(authority))
        storage = once(place, endpoint=proxy.endpoint)
        assert put(storage, "a", b"x") is True
        assert put(storage, "large", LARGE) is True
        assert read(storage, "large") == LARGE
    # What is sent over TLS need not be hashed once more.
    assert {
        each.headers["x-amz-content-sha256"] for each in proxy.requests if each.part is not None
    } == {"UNSIGNED-PAYLOAD"}
