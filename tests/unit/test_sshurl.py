from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from git_datareg.errors import UsageError
from git_datareg.location import Location
from git_datareg.sshurl import SshUrl


def parsed(url: str) -> SshUrl:
    return SshUrl.parse(Location.parse(url))


# What git makes of the same (git-clone(1), "Git URLs"; parse_connect_url in its connect.c).
@pytest.mark.parametrize(
    ("url", "destination", "port", "path"),
    [
        ("ssh://host/srv/a.git", "host", None, b"/srv/a.git"),
        ("ssh://ada@host:22/srv/a.git/", "ada@host", 22, b"/srv/a.git"),
        ("ssh://host:/a", "host", None, b"/a"),
        ("ssh://host/a%20b/%C3%A9", "host", None, b"/a b/\xc3\xa9"),
        ("ssh://ada@host/~/a", "ada@host", None, b"a"),
        ("ssh://host/~bob/a", "host", None, b"~bob/a"),
        ("ssh://host", "host", None, b"."),
        ("ssh://[::1]:2222/a", "::1", 2222, b"/a"),
        ("ssh://ada@[fe80::1%25eth0]/a", "ada@fe80::1%eth0", None, b"/a"),
        ("ssh://ada%40example.org@host/a", "ada@example.org@host", None, b"/a"),
        ("sftp://host/a//b/./c", "host", None, b"/a/b/c"),
        ("git+ssh://host/a", "host", None, b"/a"),
        ("host:a.git", "host", None, b"a.git"),
        ("ada@host:/srv/a b.git", "ada@host", None, b"/srv/a b.git"),
        ("host:a%20b", "host", None, b"a%20b"),
        ("host:~/a", "host", None, b"a"),
        ("host:~bob/a", "host", None, b"~bob/a"),
        ("host:", "host", None, b"."),
        ("[host:2222]:a", "host", 2222, b"a"),
        ("ada@[host:2222]:a", "ada@host", 2222, b"a"),
        ("[::1]:a", "::1", None, b"a"),
        ("ada@[::1]:/a", "ada@::1", None, b"/a"),
    ],
)
def test_a_place_is_what_git_takes_it_for(
    url: str, destination: str, port: int | None, path: bytes
) -> None:
    found = parsed(url)
    assert (found.destination, found.port, found.path) == (destination, port, path)
    assert SshUrl.parse(found.location) == found


@pytest.mark.parametrize(
    "url",
    [
        *("ssh://-oProxyCommand=x/a", "ssh://-x@host/a", "ssh://@host/a", "ssh:///a"),
        *("ssh://ada:secret@host/a", "ssh://a b/a", "ssh://a$(x)/a", "ssh://a;b/a", "ssh://%2Dx/a"),
        *("ssh://host:99999/a", "ssh://host:0/a", "ssh://host:x/a", "ssh://host:-1/a"),
        *("ssh://host%0A/a", "ssh://a'b@host/a"),
    ],
)
def test_what_ssh_could_misunderstand_is_refused(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        parsed(url)
    assert "secret" not in caught.value.message


@pytest.mark.parametrize("url", ["ssh://host/a.git", "host:a.git", "ssh://ada@host:22/~bob/a"])
def test_what_lies_below_is_on_the_same_machine(url: str) -> None:
    found, below = parsed(url), parsed(url).below("/.git/datareg")
    assert below.path == found.path + b"/.git/datareg"
    assert below._replace(path=found.path) == found


# What is not UTF-8 comes as such a surrogate.
LETTERS = st.characters(codec="utf-8", exclude_characters="/", min_codepoint=32) | st.just("\udcff")
NAMES = st.text(LETTERS, min_size=1)


@given(st.lists(NAMES.filter(lambda name: name not in (".", "~") and name[0] != "~"), min_size=1))
def test_every_path_survives_in_a_url(names: list[str]) -> None:
    path = b"/" + "/".join(names).encode("utf-8", "surrogateescape")
    for each in (path, path[1:]):
        url = SshUrl("ada", "host", None, each)
        assert SshUrl.parse(url.location) == url
