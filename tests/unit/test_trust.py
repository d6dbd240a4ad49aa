from __future__ import annotations

import pytest

from git_datareg import trust
from git_datareg.location import Location


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org/a.git",
        "https://ada:secret@example.org:8443/a.git",
        "https://8.8.8.8/a.git",
        "https://[2606:4700::1]/a",
        "HTTPS://Example.ORG/a",
        "ssh://git@example.org/a.git",
        "sftp://git@example.org/a",
        "git@example.org:a.git",
        "example.org:a.git",
        "s3://bucket/prefix",
        "gs://bucket",
        "https://localhost.example.org/a",
        "https://10.example.org/a",
        "https://0x.example.org/a",
        "datareg::https://example.org/a",
    ],
)
def test_public_places_that_are_encrypted_may_be_named(url: str) -> None:
    assert trust.objection(Location.parse(url)) is None


@pytest.mark.parametrize(
    "url",
    [
        *("/home/ada/secret", "secret", "./secret", "../secret", "~/secret", "file:///home/ada"),
        *("FILE:///home/ada", "file://localhost/home", "datareg::/home/ada", "/a:b", "./a:b"),
    ],
)
@pytest.mark.parametrize("allow", [False, True])
def test_places_on_this_machine_may_not(url: str, allow: bool) -> None:
    assert trust.objection(Location.parse(url), allow_private=allow) == "a place on this machine"


@pytest.mark.parametrize(
    ("url", "scheme"),
    [
        ("ext::sh -c evil", "ext"),
        ("fd::7", "fd"),
        ("git://example.org/a", "git"),
        ("http://example.org/a", "http"),
        ("HTTP://example.org/a", "http"),
        ("ftp://example.org/a", "ftp"),
        ("memory://a", "memory"),
        ("local://etc/passwd", "local"),
        ("simplecache::file:///etc", "simplecache"),
        ("git+ssh://example.org/a", "git+ssh"),
    ],
)
@pytest.mark.parametrize("allow", [False, True])
def test_other_transports_may_not(url: str, scheme: str, allow: bool) -> None:
    assert trust.objection(Location.parse(url), allow_private=allow) == f"a URL with {scheme}:"


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "LOCALHOST", "localhost.", "a.localhost", "ip6-localhost"),
        *("127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7F.1", "0177.0.0.1"),
        *("127.0.0.1.", "0", "0.0.0.0", "10.0.0.1", "172.16.3.4", "192.168.1.1", "100.64.0.1"),
        *("169.254.169.254", "224.0.0.1", "255.255.255.255", "[::1]", "[::]", "[fe80::1]"),
        *("[fd00::1]", "[::ffff:127.0.0.1]", "[::ffff:10.0.0.1]", "[::127.0.0.1]"),
        *("[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[ff02::1]", "012.0.0.1", "0xa.1"),
    ],
)
@pytest.mark.parametrize(
    "form", ["https://{}/a", "https://u:p@{}:8080/a", "ssh://git@{}/a", "git@{}:a", "{}:a"]
)
def test_private_addresses_may_not_unless_the_user_says_so(form: str, host: str) -> None:
    location = Location.parse(form.format(host))
    reason = trust.objection(location)
    assert reason is not None and reason.startswith("the private address ")
    assert trust.objection(location, allow_private=True) is None


@pytest.mark.parametrize(
    "url",
    [
        *("https:///a", "https://@/a", "https://good.org\\@127.0.0.1/a", "https://a b/c"),
        *(
            "https://%31%32%37.0.0.1/a",
            "https://\uff11\uff12\uff17.0.0.1/a",
            "https://bücher.example/a",
        ),
        *("https://[::1/a", "https://[fe80::1%25eth0]/a", "https://[no]/a", "https://.a/b"),
        *("ssh://-oProxyCommand=evil/a", "ssh://-oProxyCommand=evil@example.org/a"),
        *("https://a:b:c/d", "https://a:80x/d", "[no]:a"),
    ],
)
def test_hosts_that_programs_may_read_in_different_ways_may_not(url: str) -> None:
    assert trust.objection(Location(url), allow_private=True) == "a host that is none"


def test_what_comes_behind_a_user_is_the_host() -> None:
    for url in ("https://example.org@127.0.0.1/a", "https://a@example.org@127.0.0.1#@example.org"):
        assert trust.objection(Location(url)) == "the private address 127.0.0.1"
