"""The user's credential helpers, asked by way of `git credential` (git-credential(1))."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import unquote, urlsplit

from git_datareg.errors import UsageError
from git_datareg.git import process
from git_datareg.git.repository import Repository
from git_datareg.login import Login, has_control

#: git asks by a program that one of these or core.askPass names; an empty one is none, and
#: the first counts. And it asks on the terminal, unless it must not.
_SILENT = {"GIT_ASKPASS": "", "SSH_ASKPASS": "", "GIT_TERMINAL_PROMPT": "0"}


class GitCredentials:
    """Logins as git finds them for its own remotes, `credential.useHttpPath` included.

    The configuration is the repository's where there is one of the user's own, else the
    user's alone. Without `may_ask` nobody is asked: helpers answer, or there is no login.
    """

    def __init__(self, repository: Repository | None = None, *, may_ask: bool = True) -> None:
        self._repository = repository if repository is not None and repository.own else None
        self._may_ask = may_ask

    def fill(self, url: str) -> Login | None:
        """The login for the URL, from a helper or the user.

        Raises UsageError for a URL that would put more into a helper's input
        than it says (a line break in any part).
        """
        code, output = self._run("fill", _described(url))
        if code != 0:
            return None
        lines = output.decode("utf-8", "replace").split("\n")
        said = {name: value for name, _, value in (line.partition("=") for line in lines)}
        if "username" not in said or "password" not in said:
            return None
        return Login(said["username"], said["password"])

    def approve(self, url: str, login: Login) -> None:
        """Have helpers keep a login that worked."""
        self._run("approve", _with(url, login))

    def reject(self, url: str, login: Login) -> None:
        """Have helpers forget a login that did not."""
        self._run("reject", _with(url, login))

    def _run(self, action: str, attributes: Mapping[str, str]) -> tuple[int, bytes]:
        text = "".join(f"{name}={value}\n" for name, value in attributes.items()) + "\n"
        extra = {} if self._may_ask else dict(_SILENT)
        if self._repository is None:
            extra |= process.users_only()
        code, output, _ = process.run_unchecked(
            ["credential", action],
            own=self._repository is not None,
            cwd=self._repository.top if self._repository is not None else None,
            input=text.encode(),
            extra=extra,
        )
        return code, output


def _described(url: str) -> dict[str, str]:
    """A URL as git-credential(1) wants it; git itself drops the path unless it is to count."""
    if has_control(url):
        # Python's own parser would leave them out.
        raise UsageError("control characters in a URL")
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    attributes = {"protocol": parts.scheme, "host": host, "path": unquote(parts.path).lstrip("/")}
    if user:
        attributes["username"] = unquote(user.partition(":")[0])
    _check(attributes)
    if not attributes["protocol"] or not host:
        raise UsageError("a URL without scheme or host has no login")
    return attributes


def _with(url: str, login: Login) -> dict[str, str]:
    attributes = {**_described(url), "username": login.user, "password": login.password}
    _check(attributes)
    return attributes


def _check(attributes: Mapping[str, str]) -> None:
    # CVE-2020-5260, CVE-2024-52006: helpers would answer for another host.
    if any(has_control(value) for value in attributes.values()):
        raise UsageError("control characters in a URL or a login for it")
