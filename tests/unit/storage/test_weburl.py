from __future__ import annotations

import pytest

from git_datareg.errors import UsageError
from git_datareg.storage.weburl import Origin, WebUrl, user_of


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("https://example.org", "https://example.org/"),
        ("HTTPS://Example.ORG:443/A", "https://example.org/A"),
        ("http://example.org:8080/a/", "http://example.org:8080/a/"),
        ("http://example.org:80", "http://example.org/"),
        ("https://ada:secret@example.org/a", "https://example.org/a"),
        ("https://[2001:DB8::1]:8443/a", "https://[2001:db8::1]:8443/a"),
        ("https://example.org/a b/\u00e9", "https://example.org/a%20b/%C3%A9"),
        ("https://example.org/a%20b%2F", "https://example.org/a%20b%2F"),
        ("https://example.org/a?sig=x%2B&b= c", "https://example.org/a?sig=x%2B&b=%20c"),
        ("https://example.org/a#part", "https://example.org/a"),
        ("https://b\u00fccher.example/", "https://xn--bcher-kva.example/"),
        ("https://example.org./a", "https://example.org./a"),
    ],
)
def test_a_url_is_spelled_as_it_is_sent(text: str, sent: str) -> None:
    assert WebUrl.parse(text).text == sent


@pytest.mark.parametrize(
    "text",
    [
        *("", "example.org", "/a", "ftp://example.org", "file:///a", "https:///a", "https:example"),
        *("https://exam ple.org/", "https://example.org\\@evil.org/", "https://exa\tmple.org/"),
        *("https://example.org:0/", "https://example.org:99999/", "https://example.org:x/"),
        *("https://[::1/", "https://[::1]x/", "https://[v1.x]/", "https://-a.org/"),
        *("https://example.org/a\nb", "https://a%2eb/", "https://" + "\u00e9" * 80 + "/"),
    ],
)
def test_what_is_no_url_or_could_be_read_in_two_ways_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        WebUrl.parse(text)


def test_a_fault_does_not_show_the_password() -> None:
    with pytest.raises(UsageError) as caught:
        WebUrl.parse("https://ada:SECRET@exam ple.org/?sig=SECRET")
    assert "SECRET" not in str(caught.value)


def test_the_query_is_sent_and_not_shown() -> None:
    url = WebUrl.parse("https://example.org/base?sig=SECRET")
    below = url.below("objects/ab/c d?")
    assert below.text == "https://example.org/base/objects/ab/c%20d%3F?sig=SECRET"
    assert below.target == "/base/objects/ab/c%20d%3F?sig=SECRET"
    assert str(below) == "https://example.org/base/objects/ab/c%20d%3F"


@pytest.mark.parametrize("base", ["https://example.org", "https://example.org/"])
def test_keys_may_be_right_below_the_host(base: str) -> None:
    assert WebUrl.parse(base).below("a/b").text == "https://example.org/a/b"
    assert WebUrl.parse(base).below("").text == "https://example.org/"


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("/x", "https://example.org/x"),
        ("x", "https://example.org/a/x"),
        ("../x?y", "https://example.org/x?y"),
        ("//other.org/x", "https://other.org/x"),
        ("http://other.org", "http://other.org/"),
        ("https://u:p@other.org/", "https://other.org/"),
    ],
)
def test_a_reference_is_read_against_the_url(reference: str, expected: str) -> None:
    assert WebUrl.parse("https://example.org/a/b?q").joined(reference).text == expected


@pytest.mark.parametrize("reference", ["ftp://x/", "https://[::1", "javascript:x"])
def test_a_reference_to_elsewhere_is_refused(reference: str) -> None:
    with pytest.raises(UsageError):
        WebUrl.parse("https://example.org/a").joined(reference)


def test_origins_are_one_when_all_three_parts_are() -> None:
    def origin(text: str) -> Origin:
        return WebUrl.parse(text).origin

    assert origin("https://a.org/x") == origin("HTTPS://A.org:443")
    others = ("http://a.org", "https://a.org:444", "https://b.a.org", "http://a.org:443")
    assert all(origin(other) != origin("https://a.org") for other in others)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://example.org/", None),
        ("https://@example.org/", None),
        ("https://ada@example.org/", ("ada", None)),
        ("https://ada:@example.org/", ("ada", "")),
        ("https://ada:p%40ss:x@example.org/", ("ada", "p@ss:x")),
        ("https://:token@example.org/", ("", "token")),
        ("https://ada@home:x@example.org/", ("ada@home", "x")),
    ],
)
def test_the_user_of_a_url_is_told(text: str, expected: tuple[str, str | None] | None) -> None:
    assert user_of(text) == expected


@pytest.mark.parametrize("user", ["a%0Ab", "a%0d", "a:b%00", "a:%7F"])
def test_control_characters_in_a_user_are_refused(user: str) -> None:
    with pytest.raises(UsageError):
        user_of(f"https://{user}@example.org/")
