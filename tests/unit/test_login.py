from __future__ import annotations

import pickle

import pytest

from git_datareg.errors import UsageError
from git_datareg.login import Login, has_control


def test_the_header_is_that_of_the_specification() -> None:
    # RFC 7617, section 2.
    assert Login("Aladdin", "open sesame").header == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
    assert Login("test", "123\u00a3").header == "Basic dGVzdDoxMjPCow=="
    assert Login("ada", "").header == "Basic YWRhOg=="


def test_a_password_is_in_no_text_of_it() -> None:
    login = Login("ada", "SECRET")
    assert "SECRET" not in f"{login} {login!r} {[login]}"
    assert pickle.loads(pickle.dumps(login)) == login


@pytest.mark.parametrize(
    "login", [Login("a:b", "x"), Login("a\n", "x"), Login("a", "x\r"), Login("a", "\0")]
)
def test_what_would_be_read_otherwise_is_not_sent(login: Login) -> None:
    with pytest.raises(UsageError):
        _ = login.header


def test_control_characters_are_seen() -> None:
    assert [has_control(text) for text in ("", "a b", "\u00e9", "\t", "a\nb", "\x7f")] == [
        *(False, False, False),
        *(True, True, True),
    ]
