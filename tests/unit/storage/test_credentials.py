from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from git_datareg.errors import StorageDeniedError
from git_datareg.login import Login
from git_datareg.storage.credentials import Credentials, Logins, Netrc

URL = "https://data.example.org:8443/music"
ADA, EVE = Login("ada", "right"), Login("eve", "wrong")


class Source:
    """Credentials that have these logins, one after the other, and write down what they hear."""

    def __init__(self, *logins: Login) -> None:
        self._logins = list(logins)
        self.heard: list[str] = []

    def fill(self, url: str) -> Login | None:
        assert url == URL
        self.heard.append("fill")
        return self._logins[0] if self._logins else None

    def approve(self, url: str, login: Login) -> None:
        self.heard.append(f"approve {login.user}")

    def reject(self, url: str, login: Login) -> None:
        self.heard.append(f"reject {login.user}")
        self._logins.pop(0)


def logins(*sources: Credentials, known: Login | None = None) -> Logins:
    return Logins(URL, sources, known)


def is_right(login: Login) -> bool:
    return login == ADA


def test_sources_are_asked_in_order_until_one_s_login_is_taken() -> None:
    empty, wrong, right, last = Source(), Source(EVE), Source(ADA), Source(ADA)
    found = logins(empty, wrong, right, last)
    assert found.current is None
    found.find(None, is_right)
    assert found.current == ADA
    heard = [source.heard for source in (empty, wrong, right, last)]
    assert heard == [["fill"], ["fill", "reject eve"], ["fill", "approve ada"], []]


def test_when_no_login_is_taken_nobody_is_asked_again() -> None:
    source = Source(EVE, ADA)
    found = logins(source)
    for _ in range(3):
        found.find(None, is_right)
    assert found.current is None
    assert source.heard == ["fill", "reject eve"]


def test_what_the_url_says_comes_first_and_is_not_tried_twice() -> None:
    source = Source(EVE)
    found = logins(source, known=EVE)
    assert found.current == EVE
    tried: list[Login] = []
    found.find(EVE, lambda login: bool(tried.append(login)))
    assert tried == []
    assert found.current is None
    assert source.heard == ["fill", "reject eve"]


def test_one_thread_asks_for_all() -> None:
    source = Source(ADA)
    found = logins(source)

    def use(_: int) -> list[Login]:
        tried: list[Login] = []

        def attempt(login: Login) -> bool:
            tried.append(login)
            return is_right(login)

        found.find(None, attempt)
        return tried

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(use, range(50))) == [[ADA]] * 50
    assert source.heard == ["fill", "approve ada"]


def test_a_fault_in_between_is_neither_yes_nor_no() -> None:
    source = Source(ADA)
    found = logins(source)

    def attempt(login: Login) -> bool:
        raise StorageDeniedError("broken")

    with pytest.raises(StorageDeniedError):
        found.find(None, attempt)
    assert source.heard == ["fill"]
    found.find(None, is_right)
    assert found.current == ADA


# netrc


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "netrc"


def test_a_netrc_file_names_hosts(path: Path) -> None:
    path.write_text("machine data.example.org login ada password right\n")
    netrc = Netrc(str(path))
    assert netrc.fill(URL) == ADA
    assert netrc.fill("https://DATA.example.org/") == ADA
    assert netrc.fill("https://ada@data.example.org/") == ADA
    assert netrc.fill("https://eve@data.example.org/") is None
    assert netrc.fill("https://example.org/") is None
    # CVE-2024-47081: the host is what a request goes to, whatever the URL looks like.
    assert netrc.fill("https://data.example.org:@evil.org/") is None
    netrc.approve(URL, ADA)
    netrc.reject(URL, ADA)
    assert netrc.fill(URL) == ADA


def test_a_default_entry_is_for_all_hosts(path: Path) -> None:
    path.write_text("default login ada password right\n")
    assert Netrc(str(path)).fill(URL) == ADA


@pytest.mark.parametrize("case", ["missing", "a directory", "empty"])
def test_a_file_without_logins_has_none(path: Path, case: str) -> None:
    if case == "a directory":
        path.mkdir()
    elif case == "empty":
        path.write_text("")
    assert Netrc(str(path)).fill(URL) is None


def test_a_file_that_is_wrong_is_told_without_its_text(path: Path) -> None:
    path.write_text("machine data.example.org login ada passwrd SECRET\n")
    with pytest.raises(StorageDeniedError, match=rf"not a netrc file: {path}, line 1") as caught:
        Netrc(str(path)).fill(URL)
    assert "SECRET" not in str(caught.value)
    assert caught.value.__cause__ is None
