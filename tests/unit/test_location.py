from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from git_datareg.errors import UsageError
from git_datareg.location import Location, check_repository
from tests.support.gitrun import Git

texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]) | st.just("\udcff"))


@pytest.mark.parametrize(
    ("text", "scheme", "path"),
    [
        ("/srv/data", "file", "/srv/data"),
        ("data", "file", "data"),
        ("./a:b", "file", "./a:b"),
        ("/a::b", "file", "/a::b"),
        ("a/b://c", "file", "a/b://c"),
        (":x", "file", ":x"),
        ("::x", "file", "::x"),
        ("file:///srv/data", "file", "/srv/data"),
        ("FILE:///srv/a%20b%C3%A9%FF", "file", "/srv/a b\u00e9\udcff"),
        ("file://localhost/srv", "file", "/srv"),
        ("file:///srv/a?b#c+d", "file", "/srv/a?b#c+d"),
        ("file:///srv/a%2525", "file", "/srv/a%25"),
        ("https://example.org/x", "https", None),
        ("HTTPS://example.org/x", "https", None),
        ("s3://bucket/prefix", "s3", None),
        ("git+ssh://host/x", "git+ssh", None),
        ("host:path", "ssh", None),
        ("user@host:path/to", "ssh", None),
        ("user@[::1]:path", "ssh", None),
        ("[::1]:path", "ssh", None),
        ("C:\\data", "ssh", None),
        ("C:/data", "ssh", None),
        ("ext::sh -c evil", "ext", None),
        ("helper:://host/x", "helper", None),
        ("\u00e9://x", "ssh", None),
    ],
)
def test_a_location_is_here_or_elsewhere(text: str, scheme: str, path: str | None) -> None:
    location = Location.parse(text)
    assert (location.scheme, location.path, location.url) == (scheme, path, text)


def test_the_prefix_of_our_remote_helper_is_taken_off() -> None:
    assert Location.parse("datareg::https://a/b") == Location("https://a/b")


@pytest.mark.parametrize("code", [*range(32), 127])
def test_control_characters_are_refused(code: int) -> None:
    for text in (f"https://host/{chr(code)}", f"/srv/{chr(code)}", f"file:///%{code:02X}"):
        with pytest.raises(UsageError) as caught:
            Location.parse(text)
        assert chr(code) not in caught.value.message


@pytest.mark.parametrize("text", ["", "datareg::", "-x", "--upload-pack=evil", "datareg::-x"])
def test_what_is_empty_or_could_be_an_option_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        Location.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        *("ssh://-oProxyCommand=evil/x", "ssh://-oProxyCommand=evil@host/x", "git+ssh://-x/y"),
        *("ssh://me@-oProxyCommand=evil/x", "ssh://[-oProxyCommand=evil]/x", "ssh://[-x]:22/y"),
        *("SSH://-x/y", "ssh://-me:secret@host/x", "https://-host/x", "git://-host/x"),
        *("me@-oProxyCommand=evil:x", "[-oProxyCommand=evil]:x", "[-me@host]:x", "[me@-host]:x"),
        *("host:-x", "me@host:--upload-pack=evil", "datareg::ssh://-x/y", "s3://-bucket/x"),
        # git takes the escapes away before it hands the parts to ssh.
        *("ssh://%2doProxyCommand=evil/x", "ssh://me%40%2DoProxyCommand=evil/x"),
        *("ssh://%2Dme@host/x", "https://%2dhost/x"),
    ],
)
def test_no_part_of_a_url_can_be_taken_for_an_option(text: str) -> None:
    with pytest.raises(UsageError, match=r"begins with a dash: [^\n]*$") as caught:
        Location.parse(text)
    assert "secret" not in caught.value.message


@pytest.mark.parametrize(
    "text",
    [
        *(
            "ssh://host/-x",
            "ssh://host/~-x",
            "https://host/-x",
            "ssh://me-@host-/x",
            "me@host:x/-y",
        ),
        *("https://me:-secret@host/x", "https://host/x?-y", "./-x", "/-x", "file:///-x", "a/-b:-c"),
    ],
)
def test_a_dash_elsewhere_is_a_dash(text: str) -> None:
    assert Location.parse(text).url == text


@pytest.mark.parametrize("escape", ["%0a", "%0A", "%0d", "%00", "%1b", "%7f"])
@pytest.mark.parametrize(
    "form",
    [
        *("https://h{}ost/x", "https://host/x{}", "https://u{}:SECRET@host/x", "ssh://host{}/x"),
        *(
            "https://u:SECRET{}@host/x",
            "s3://bucket/{}",
            "https://host/x?y={}",
            "datareg::ssh://h{}/",
        ),
        "file:///srv/x{}",
    ],
)
def test_control_characters_are_refused_in_their_escapes_too(form: str, escape: str) -> None:
    with pytest.raises(UsageError, match=r"^control characters in ") as caught:
        Location.parse(form.format(escape))
    assert "SECRET" not in caught.value.message


@pytest.mark.parametrize("text", ["/srv/%0a", "a%0ab", "host:a%0ab", "https://host/%250a%20"])
def test_what_is_no_escape_or_no_control_character_is_left_alone(text: str) -> None:
    assert Location.parse(text).url == text


@pytest.mark.parametrize(
    "text",
    [
        "file://",
        "file://data",
        "file://host/data",
        "file:///a%00b",
        "file://localhost",
        "file://./x",
    ],
)
def test_what_can_t_be_meant_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        Location.parse(text)
    assert caught.value.exit_code == 2


SECRETS = [
    ("https://u:SECRET@host/x", "https://host/x"),
    ("https://SECRET@host/x", "https://host/x"),
    ("https://u:SECRET@host:80/a@b", "https://host:80/a@b"),
    ("https://u@x:SECRET@host/x", "https://host/x"),
    ("https://u:SEC/RET@host/x", "https://host/x"),
    ("https://u:SEC?RET#@host/x", "https://host/x"),
    ("https://u:SECRET@[bad/x", "https://[bad/x"),
    ("https://host/x?token=SECRET", "https://host/x"),
    ("https://host?SECRET", "https://host"),
    ("s3://KEY:SEC/RET+x@bucket/p", "s3://bucket/p"),
    ("ssh://me:SECRET@host/x", "ssh://me@host/x"),
    ("ssh://me@host/x", "ssh://me@host/x"),
    ("ext::https://u:SECRET@host/x", "ext::https://host/x"),
    ("https://host:8080/a@b", "https://host:8080/a@b"),
    ("https://[::1]/a@b", "https://[::1]/a@b"),
    ("https://host:/a@b", "https://host:/a@b"),
    ("me@host:x", "me@host:x"),
    ("/a@b://c@d", "/a@b://c@d"),
    ("file:///a@b", "file:///a@b"),
]


@pytest.mark.parametrize(("text", "shown"), SECRETS)
def test_secrets_are_never_shown(text: str, shown: str) -> None:
    location = Location.parse(text)
    assert str(location) == f"{location}" == shown
    assert repr(location) == f"Location({shown!r})"
    assert "SECRET" not in repr([location]) + repr({"a": (location,)})
    assert location.url == text


@pytest.mark.parametrize(("text", "shown"), SECRETS)
def test_secrets_are_in_no_message(text: str, shown: str) -> None:
    with pytest.raises(UsageError) as caught:
        Location.parse(text + "\n")
    with pytest.raises(UsageError) as resolving:
        Location("../" * 9).resolve(Location(text))
    words = repr(caught.value) + str(caught.value.hints) + repr(resolving.value)
    assert not {"SECRET", "SEC", "RET"} & set(words.replace("/", " ").replace(":", " ").split())
    assert "SECRET" not in words


@given(texts)
def test_any_text_is_a_location_or_refused(text: str) -> None:
    try:
        location = Location.parse(text)
    except UsageError:
        return
    assert location.scheme
    assert str(location)
    assert repr(location)
    assert location.path != ""
    assert location.absolute("/top").absolute("/other") == location.absolute("/top")


BASES = [
    "https://example.org/a/b.git",
    "https://example.org/a/b.git/",
    "https://u:p@example.org:80/a/b",
    "ssh://git@example.org:22/a/b",
    "git@example.org:a/b/c",
    "git@example.org:a",
    "example.org:/a/b",
    "helper:://host/a/b",
    "file:///srv/a%20b/c",
    "/srv/git/a",
    "/srv/git/a/",
    "/srv/./a",
    "//srv/a b/c",
    "/srv/x/../a",
    "/srv/a:b/c",
    "./a/b",
    "../a/b",
    "a/b",
    "a",
]
RELATIVE = ["../x", "./x", "../x/", ".././x", "./../x", "../x/../y", "../x y", "../.x", "../../x"]


@pytest.mark.parametrize("base", BASES)
def test_relative_urls_are_resolved_as_git_does_for_submodules(base: str, tmp_path: Path) -> None:
    git = Git(tmp_path).init()
    git.run("config", "remote.origin.url", base)
    modules, index = [], []
    for number, url in enumerate(RELATIVE):
        modules.append(f'[submodule "m{number}"]\n\tpath = m{number}\n\turl = "{url}"\n')
        index.append(f"160000 {'1' * 40}\tm{number}\n")
    git.write(".gitmodules", "".join(modules).encode())
    git.run("update-index", "--add", "--index-info", input="".join(index))
    ours = {}
    for number, url in enumerate(RELATIVE):
        try:
            ours[f"m{number}"] = Location.parse(url).resolve(Location.parse(base)).url
        except UsageError:
            # Git goes on, to `https://x` or `.:x`, or fails as well.
            assert url == "../../x"
    git.run("submodule", "--quiet", "init", "--", *ours)
    told = git.out("config", "-z", "--get-regexp", r"^submodule\..*\.url$").split("\0")[:-1]
    assert told == [f"submodule.{name}.url\n{url}" for name, url in ours.items()]


@pytest.mark.parametrize(
    ("base", "url"),
    [
        ("https://example.org/b", "../../x"),
        ("https://example.org", "../x"),
        ("https://example.org/", "../x"),
        ("git@example.org:a", "../../x"),
        ("example.org:/a", "../../x"),
        ("file:///a", "../../x"),
        ("/a", "../../x"),
        ("/", "../x"),
        ("a", "../../x"),
        (".", "../x"),
        ("..", "../x"),
        ("../a", "../../x"),
        ("a", "../-x"),
    ],
)
def test_what_leads_out_of_the_base_is_refused(base: str, url: str) -> None:
    with pytest.raises(UsageError):
        Location(url).resolve(Location(base))


@pytest.mark.parametrize(
    ("base", "url", "result"),
    [
        ("https://example.org/a/b", "..", "https://example.org/a"),
        ("https://example.org/a/b", ".", "https://example.org/a/b"),
        ("/srv/a", "..", "/srv"),
        ("https://example.org", "./x", "https://example.org/x"),
        ("https://example.org/a", "https://other.org/b", "https://other.org/b"),
        ("https://example.org/a", "/srv", "/srv"),
        ("https://u:p@example.org/a", "../b", "https://u:p@example.org/b"),
    ],
)
def test_other_urls_are_resolved(base: str, url: str, result: str) -> None:
    location = Location.parse(url)
    assert location.resolve(Location.parse(base)) == Location(result)


def test_only_what_begins_with_dots_is_relative() -> None:
    assert all(Location(text).is_relative for text in (".", "..", "./a", "../a"))
    assert not any(Location(text).is_relative for text in ("a", ".a", "..a", "/a", "file://./a"))


@pytest.mark.parametrize(
    ("text", "absolute"),
    [
        ("a", "/top/a"),
        ("./a", "/top/a"),
        ("../a", "/a"),
        ("/a", "/a"),
        ("a//b/", "/top/a/b"),
        ("x/y://z", "/top/x/y:/z"),
        ("file:///a", "file:///a"),
        ("https://host/a", "https://host/a"),
        ("host:a", "host:a"),
    ],
)
def test_paths_are_made_to_hold_from_anywhere(text: str, absolute: str) -> None:
    assert Location.parse(text).absolute("/top") == Location(absolute)


def test_only_what_git_serves_itself_is_reached() -> None:
    for url in ("/path", "host:path", "https://host/", "git://host/", "file:///x"):
        check_repository(Location(url))
    for url in ("ext::sh -c x", "fd::1", "s3://bucket", "foo::bar"):
        with pytest.raises(UsageError):
            check_repository(Location(url))
