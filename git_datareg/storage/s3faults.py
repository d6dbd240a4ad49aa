"""What S3 servers answer when they refuse, and what that means for whoever asked.

Two libraries bring such answers, each in its own shape (obstore has a text for us).
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import Any, NamedTuple, NoReturn, TypeVar

from git_datareg.errors import (
    StorageDeniedError,
    StorageError,
    StorageNotFoundError,
    StorageUnavailableError,
)

_MAX_DETAIL = 200
_CHECK_KEYS = "check the credentials: aws sts get-caller-identity"
_CHECK_POLICY = (
    "check the policies of the bucket and of the user; without s3:ListBucket"
    " S3 denies what is not there, too"
)
#: Codes that are about credentials, whatever their status is, and what helps.
_DENIED = {
    "AccessDenied": _CHECK_POLICY,
    "ExpiredToken": "renew the credentials, for example: aws sso login",
    "ExpiredTokenException": "renew the credentials, for example: aws sso login",
    "TokenRefreshRequired": "renew the credentials, for example: aws sso login",
    "InvalidToken": _CHECK_KEYS,
    "InvalidAccessKeyId": _CHECK_KEYS,
    "SignatureDoesNotMatch": _CHECK_KEYS,
    "RequestTimeTooSkewed": "set this machine's clock",
}
#: Codes of what may pass, although their status doesn't say so.
_PASSING = frozenset(("RequestTimeout", "SlowDown", "InternalError", "OperationAborted"))
_ABSENT = frozenset(("NoSuchKey", "NotFound", "404"))
_ELSEWHERE = frozenset(("AuthorizationHeaderMalformed", "PermanentRedirect", "TemporaryRedirect"))
#: What obstore's text has for a connection that failed, and how we call it; the first counts.
_BROKEN = (
    (r"dns error", "the server's name is not known"),
    (r'message: "(?:Connection refused)"', "connection refused"),
    (r"kind: Timeout|TimedOut", "no answer in time"),
    (r"certificate|UnknownIssuer|BadSignature", "the server's certificate is not trusted"),
    (r"InvalidContentType|BadScheme", "the server speaks another protocol than the URL says"),
)

_Result = TypeVar("_Result")


class Reply(NamedTuple):
    """A refusal: HTTP's status (None without an answer), S3's code, and a few words."""

    status: int | None
    code: str
    detail: str
    #: Seconds that the server wants us to wait.
    retry_after: float | None = None

    @property
    def is_taken(self) -> bool:
        """Whether a condition that the key is new failed."""
        # 304 is what some versions of MinIO answer to PUT.
        return self.status in (304, 412)

    @property
    def is_absent(self) -> bool:
        """Whether the key is not there; of a bucket nothing is said."""
        return self.status == 404 and self.code in _ABSENT

    @property
    def is_no_bucket(self) -> bool:
        """Whether the bucket is not there."""
        return self.code == "NoSuchBucket"

    @property
    def is_elsewhere(self) -> bool:
        """Whether the bucket may be in another region; an answer to HEAD has no code."""
        bare = self.status == 400 and self.code in ("", "400")
        return self.code in _ELSEWHERE or bare or self.status in (301, 307, 308)


class Rejected(Exception):
    """Something that was asked of a server was not done."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply)
        self.reply = reply


def of_obstore(error: Exception) -> Reply:
    """What an exception of obstore's tells; its text is all there is."""
    text = str(error)
    shown, _, debug = text.partition("Debug source")
    status = re.search(r"status code: (\d{3}) ?([^:]*)", shown)
    if status is not None:
        detail = _tag("Message", shown) or status[2]
        code = _tag("Code", shown)
        if status[1] == "404" and "performing HEAD" in shown:
            # An answer to HEAD has no words. Any other without them is not from S3.
            code = "NotFound"
        return Reply(int(status[1]), code, _clean(detail))
    if type(error).__name__ == "UnauthenticatedError":
        return Reply(401, "", _clean(shown.rpartition("provider: ")[2]))
    if "Received non-partial response" in shown:
        return Reply(501, "", "the server gives no parts of a value")
    for pattern, words in _BROKEN:
        if re.search(pattern, debug):
            return Reply(None, "", words)
    return Reply(None, "", "the connection broke")


def asked(request: Callable[[], _Result]) -> _Result:
    """What a call of obstore gives; raises Rejected for obstore's exceptions."""
    try:
        return _interruptible(request)
    except Rejected:
        raise
    except Exception as error:
        from obstore.exceptions import BaseError

        if not isinstance(error, (BaseError, FileNotFoundError, NotImplementedError)):
            raise
        raise Rejected(of_obstore(error)) from error


def _interruptible(request: Callable[[], _Result]) -> _Result:
    """Make a call so that a signal is not kept from the main thread for as long as it takes."""
    if threading.current_thread() is not threading.main_thread():
        return request()
    outcomes: SimpleQueue[Callable[[], _Result]] = SimpleQueue()

    def work() -> None:
        try:
            result = request()
        except BaseException as error:
            outcomes.put(partial(_raised, error))
        else:
            outcomes.put(lambda: result)

    threading.Thread(target=work, daemon=True).start()
    return outcomes.get()()


def _raised(error: BaseException) -> NoReturn:
    raise error


def of_botocore(error: Any) -> Reply:
    """What a ClientError or a BotoCoreError tells."""
    response = getattr(error, "response", None)
    if response is None:
        return Reply(None, "", _clean(str(error).replace("\n", " ")))
    told = response.get("Error", {})
    meta = response.get("ResponseMetadata", {})
    after = str(meta.get("HTTPHeaders", {}).get("retry-after", ""))
    return Reply(
        meta.get("HTTPStatusCode"),
        str(told.get("Code", "")),
        _clean(str(told.get("Message", ""))),
        float(after) if after.isascii() and after.isdigit() else None,
    )


def fault(reply: Reply, place: str, *hints: str) -> StorageError:
    """The fault that a reply is; `place` names the storage. With hints of the caller's."""
    told = f"{reply.detail} ({reply.code})" if reply.code else reply.detail
    message = f"{told or f'status {reply.status}'}: {place}"
    if reply.is_no_bucket:
        return StorageNotFoundError(
            f"no such bucket: {place}", "create it, or change its URL: git datareg storage list"
        )
    if reply.status == 404 and not reply.code:
        return StorageNotFoundError(
            f"what answers is not an S3 server: {place}", "check the endpoint"
        )
    if reply.code in _DENIED or reply.status in (401, 403):
        own = (_DENIED[reply.code],) if reply.code in _DENIED else (_CHECK_KEYS, _CHECK_POLICY)
        return StorageDeniedError(message, *(hints or own))
    if _may_pass(reply):
        unavailable = StorageUnavailableError(message)
        unavailable.retry_after = reply.retry_after
        return unavailable
    return StorageError(message)


def _may_pass(reply: Reply) -> bool:
    if reply.status is None or reply.code in _PASSING:
        return True
    return reply.status in (408, 409, 429) or (reply.status >= 500 and reply.status != 501)


def _tag(name: str, text: str) -> str:
    found = re.search(rf"<{name}>(.*?)</{name}>", text, re.DOTALL)
    return found[1].strip() if found else ""


def _clean(text: str) -> str:
    """A server's words as part of a message: one line, nothing that steers a terminal."""
    line = "".join(char if char.isprintable() else " " for char in " ".join(text.split()))
    line = line[:_MAX_DETAIL].rstrip(". ")
    # An acronym stays as it is.
    return line[:1].lower() + line[1:] if line[1:2].islower() or line[1:2] == " " else line
