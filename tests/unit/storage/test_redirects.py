from __future__ import annotations

import pytest

from git_datareg.errors import StorageError
from git_datareg.storage import redirects
from git_datareg.storage.weburl import WebUrl


def target(url: str, reference: str | None) -> str:
    return redirects.target(WebUrl.parse(url), reference).text


@pytest.mark.parametrize(
    ("url", "reference", "expected"),
    [
        ("https://a.org/x", "/y", "https://a.org/y"),
        ("https://a.org/x", "https://b.org/y?sig=1", "https://b.org/y?sig=1"),
        ("http://a.org/x", "https://a.org/x", "https://a.org/x"),
        ("http://a.org/x", "http://b.org/x", "http://b.org/x"),
    ],
)
def test_a_redirect_leads_to_web_servers(url: str, reference: str, expected: str) -> None:
    assert target(url, reference) == expected


@pytest.mark.parametrize("reference", ["http://a.org/x", "HTTP://a.org/x"])
def test_a_redirect_from_https_to_http_is_refused(reference: str) -> None:
    with pytest.raises(StorageError, match="from https to http") as caught:
        target("https://a.org/x?sig=SECRET", reference + "?sig=SECRET")
    assert "https://a.org/x to http://a.org/x" in caught.value.message
    assert "SECRET" not in caught.value.message


@pytest.mark.parametrize("reference", ["file:///etc/passwd", "ftp://a.org/", "data:x"])
def test_a_redirect_to_anything_else_is_refused(reference: str) -> None:
    with pytest.raises(StorageError, match=r"no URL of a web server: https://a\.org/x"):
        target("https://a.org/x", reference)


@pytest.mark.parametrize("reference", [None, ""])
def test_a_redirect_to_nowhere_is_a_fault(reference: str | None) -> None:
    with pytest.raises(StorageError, match="does not say where to"):
        target("https://a.org/x", reference)


def test_a_redirect_to_a_folder_only_adds_a_slash() -> None:
    def is_to_folder(url: str, found: str) -> bool:
        return redirects.is_to_folder(WebUrl.parse(url), WebUrl.parse(found))

    assert is_to_folder("https://a.org/x", "https://a.org/x/")
    assert is_to_folder("http://a.org/x", "https://a.org/x/?q")
    assert not is_to_folder("https://a.org/x", "https://a.org/x/y")
    assert not is_to_folder("https://a.org/x/", "https://a.org/x/")
