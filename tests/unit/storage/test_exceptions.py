from __future__ import annotations

from http import HTTPStatus

import pytest

from git_datareg.errors import (
    StorageDeniedError,
    StorageError,
    StorageNotConfiguredError,
    StorageNotFoundError,
    StorageReadOnlyError,
    StorageUnavailableError,
)
from git_datareg.location import Location
from git_datareg.storage.exceptions import fault_of, is_absent

PLACE = Location("gs://bucket/x")


class Response:
    def __init__(self, status: int, **headers: str) -> None:
        self.status_code = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


class HTTPError(Exception):
    """As httpx, aiohttp, Google's and Azure's libraries have it, each with other names."""

    def __init__(self, text: str = "said", **attributes: object) -> None:
        super().__init__(text)
        self.__dict__.update(attributes)


class DefaultCredentialsError(Exception):
    pass


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (FileNotFoundError(2, "No such file"), StorageNotFoundError),
        (HTTPError(status=404), StorageNotFoundError),
        (HTTPError(response=Response(404)), StorageNotFoundError),
        (PermissionError(13, "Permission denied"), StorageDeniedError),
        (HTTPError(status_code=401), StorageDeniedError),
        (HTTPError(code="403"), StorageDeniedError),
        (HTTPError(status=HTTPStatus.FORBIDDEN), StorageDeniedError),
        (OSError("Forbidden: b/o\nmore"), StorageDeniedError),
        (DefaultCredentialsError("none found"), StorageDeniedError),
        (RuntimeError("530 Login incorrect"), StorageDeniedError),
        (caused(RuntimeError("failed"), HTTPError(status_code=403)), StorageDeniedError),
        (HTTPError(status=400), StorageError),
        (HTTPError(status=429), StorageUnavailableError),
        (HTTPError(status=409), StorageUnavailableError),
        (HTTPError(status=500), StorageUnavailableError),
        (HTTPError("Forbidden fruit", status=503), StorageUnavailableError),
        (ConnectionRefusedError(111, "login refused"), StorageUnavailableError),
        (TimeoutError(), StorageUnavailableError),
        (HTTPError(code=5), StorageUnavailableError),
        (ImportError("no module x"), StorageNotConfiguredError),
        (NotImplementedError(), StorageReadOnlyError),
        (Exception(), StorageUnavailableError),
    ],
)
def test_an_exception_is_the_fault_that_it_tells(
    error: Exception, fault: type[StorageError]
) -> None:
    found = fault_of(error, PLACE)
    assert type(found) is fault
    assert "gs://bucket/x" in found.message


@pytest.mark.parametrize(
    ("error", "absent"),
    [
        (FileNotFoundError(), True),
        (NotADirectoryError(), True),
        (caused(RuntimeError(), HTTPError(status=404)), True),
        (OSError(), False),
        (HTTPError(status=403), False),
        (HTTPError(status=True), False),
    ],
)
def test_what_is_not_there_is_told_from_other_faults(error: Exception, absent: bool) -> None:
    assert is_absent(error) is absent


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (HTTPError(status=503, headers={"Retry-After": "7"}), 7.0),
        (HTTPError(response=Response(429, retry_after="3")), 3.0),
        (caused(RuntimeError(), HTTPError(status=503, headers={"Retry-After": "2"})), 2.0),
        (HTTPError(status=503, headers={"Retry-After": "Wed, 21 Oct"}), None),
        (HTTPError(status=503, headers={}), None),
        (HTTPError(status=503, headers=None), None),
        (HTTPError(status=503, headers="none"), None),
    ],
)
def test_how_long_a_server_wants_us_to_wait_is_kept(
    error: Exception, seconds: float | None
) -> None:
    found = fault_of(error, PLACE)
    assert isinstance(found, StorageUnavailableError)
    assert found.retry_after == seconds


def test_a_message_is_one_line_without_secrets() -> None:
    error = RuntimeError(
        "\n  can't get https://ada:pw@host/x?sig=SIG with key hunter2, 'az://c/y?token=T'\x1b[31m\n"
        "second line"
    )
    message = fault_of(error, PLACE, ["hunter2", "pw"]).message
    assert message == ("can't get https://host/x with key ..., 'az://c/y'?[31m: gs://bucket/x")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (EOFError(), "EOFError: "),
        (KeyError("size"), "KeyError: 'size': "),
        (OSError(28, "No space left on device", "/a/secret/path"), "No space left on device: "),
        (ValueError("x" * 500), "x" * 200 + ": "),
    ],
)
def test_a_message_says_what_it_can(error: Exception, words: str) -> None:
    assert fault_of(error, PLACE).message == f"{words}gs://bucket/x"


def test_causes_that_go_in_a_circle_have_an_end() -> None:
    first, second = RuntimeError("first"), RuntimeError("second")
    first.__cause__, second.__cause__ = second, first
    assert not is_absent(first)
