"""Where requests go, by variables alone and by botocore; no server is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from git_datareg.errors import StorageDeniedError
from git_datareg.storage import Options
from git_datareg.storage.aws import Access, Account, Timeouts


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "KEY")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "SECRET")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "TOKEN")


def access(bucket: str = "my-bucket", **options: Any) -> Access:
    return Account(bucket, Options(**options), Timeouts(), "s3://place").access()


@pytest.fixture(params=["variables", "botocore"])
def way(request: pytest.FixtureRequest, home: Path) -> str:
    """A file of configuration, even if nothing is in it, takes us through botocore."""
    if request.param == "botocore":
        (home / ".aws").mkdir()
        (home / ".aws/config").write_text("[default]\n")
    way: str = request.param
    return way


ENDPOINTS: list[tuple[dict[str, Any], str]] = [
    ({}, "https://my-bucket.s3.us-east-1.amazonaws.com"),
    ({"region": "eu-west-1"}, "https://my-bucket.s3.eu-west-1.amazonaws.com"),
    ({"region": "cn-north-1"}, "https://my-bucket.s3.cn-north-1.amazonaws.com.cn"),
    ({"region": "us-gov-west-1"}, "https://my-bucket.s3.us-gov-west-1.amazonaws.com"),
    ({"bucket": "a.b.c"}, "https://s3.us-east-1.amazonaws.com/a.b.c"),
    ({"path_style": True}, "https://s3.us-east-1.amazonaws.com/my-bucket"),
    ({"path_style": False}, "https://my-bucket.s3.us-east-1.amazonaws.com"),
    ({"endpoint": "https://s3.example.org"}, "https://s3.example.org/my-bucket"),
    ({"endpoint": "https://s3.example.org/"}, "https://s3.example.org/my-bucket"),
    ({"endpoint": "http://127.0.0.1:9000"}, "http://127.0.0.1:9000/my-bucket"),
    (
        {"endpoint": "https://s3.example.org:8443", "path_style": False},
        "https://my-bucket.s3.example.org:8443",
    ),
    ({"is_anonymous": True}, "https://my-bucket.s3.us-east-1.amazonaws.com"),
]


@pytest.mark.parametrize(("options", "url"), ENDPOINTS, ids=[url for _, url in ENDPOINTS])
def test_both_ways_lead_to_the_same_place(way: str, options: dict[str, Any], url: str) -> None:
    found = access(**options)
    assert found.url == url
    assert found.region == options.get("region", "us-east-1")
    if options.get("is_anonymous"):
        assert found.credentials is None
    else:
        assert found.credentials is not None
        told = found.credentials()
        assert (told["access_key_id"], told["secret_access_key"]) == ("KEY", "SECRET")
        assert told.get("token") == "TOKEN"


@pytest.mark.parametrize(
    ("environ", "region"),
    [
        ({"AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "eu-west-2"}, "eu-west-1"),
        ({"AWS_DEFAULT_REGION": "eu-west-2"}, "eu-west-2"),
    ],
)
def test_the_region_may_be_in_the_environment(
    way: str, environ: dict[str, str], region: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert access().region == region
    assert access(region="ap-south-1").region == "ap-south-1"


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({"AWS_ENDPOINT_URL": "https://one.example.org"}, "https://one.example.org/my-bucket"),
        (
            {
                "AWS_ENDPOINT_URL": "https://one.example.org",
                "AWS_ENDPOINT_URL_S3": "https://two.example.org",
            },
            "https://two.example.org/my-bucket",
        ),
        (
            {
                "AWS_ENDPOINT_URL": "https://one.example.org",
                "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true",
            },
            "https://my-bucket.s3.us-east-1.amazonaws.com",
        ),
    ],
    ids=["general", "of s3", "ignored"],
)
def test_the_endpoint_may_be_in_the_environment(
    way: str, environ: dict[str, str], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert access().url == url
    assert access(endpoint="https://named.example.org").url == "https://named.example.org/my-bucket"


@pytest.mark.parametrize(
    ("config", "url"),
    [
        ("region = eu-west-3", "https://my-bucket.s3.eu-west-3.amazonaws.com"),
        ("s3 =\n  addressing_style = path", "https://s3.us-east-1.amazonaws.com/my-bucket"),
        (
            "s3 =\n  use_dualstack_endpoint = true",
            "https://my-bucket.s3.dualstack.us-east-1.amazonaws.com",
        ),
        ("endpoint_url = https://own.example.org", "https://own.example.org/my-bucket"),
    ],
)
def test_a_profile_says_how_buckets_are_reached(home: Path, config: str, url: str) -> None:
    (home / ".aws").mkdir()
    (home / ".aws/config").write_text(f"[profile work]\n{config}\n")
    (home / ".aws/credentials").write_text(
        "[work]\naws_access_key_id = a\naws_secret_access_key = b\n"
    )
    found = access(profile="work")
    assert found.url == url
    assert found.credentials is not None
    assert found.credentials()["access_key_id"] == "a"


@pytest.mark.parametrize(
    ("environ", "endpoint", "is_signed"),
    [
        ({}, "https://s3.us-east-1.amazonaws.com", True),
        ({}, "https://s3.eu-west-1.amazonaws.com", False),
        ({}, "https://s3.us-east-1.amazonaws.com.evil.example.org", False),
        ({}, "http://s3.us-east-1.amazonaws.com", False),
        ({}, "https://evil.example.org/s3.us-east-1.amazonaws.com", False),
        ({"AWS_ENDPOINT_URL": "https://own.example.org"}, "https://own.example.org", True),
        ({"AWS_ENDPOINT_URL": "https://own.example.org"}, "https://OWN.example.org:443/", True),
        ({"AWS_ENDPOINT_URL": "https://own.example.org"}, "https://own.example.org:444", False),
        ({"AWS_ENDPOINT_URL": "https://own.example.org"}, "https://x.own.example.org", False),
        (
            {"AWS_ENDPOINT_URL": "https://own.example.org"},
            "https://s3.us-east-1.amazonaws.com",
            False,
        ),
    ],
)
def test_what_a_repository_names_is_signed_for_where_one_s_own_requests_go(
    way: str,
    environ: dict[str, str],
    endpoint: str,
    is_signed: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    found = access(endpoint=endpoint, is_trusted=False)
    assert (found.credentials is not None) is is_signed
    # To what the user names they go anyway; without an endpoint, to the user's own.
    assert access(endpoint=endpoint).credentials is not None
    assert access(is_trusted=False).credentials is not None


@pytest.mark.parametrize("name", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"])
def test_authorities_come_from_the_file_that_a_variable_names(
    way: str, name: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert access().authorities is None
    (home / "ca.pem").write_bytes(b"PEM")
    monkeypatch.setenv(name, str(home / "ca.pem"))
    assert access().authorities == b"PEM"
    monkeypatch.setenv(name, "/nowhere.pem")
    with pytest.raises(StorageDeniedError, match=r"No such file.*/nowhere\.pem"):
        access()
