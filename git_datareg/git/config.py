"""Git configuration: the user's settings, read at once and written one by one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from git_datareg.git import process
from git_datareg.git.repository import Repository


class ConfigValue(NamedTuple):
    """One value that git's configuration holds, later ones winning.

    `key` is as git prints it: section and variable in lower case.
    """

    key: str
    value: str
    #: Where it stands: "file:…", "command line:", …
    origin: str


def read(repository: Repository | None) -> list[ConfigValue]:
    """All configuration in force, in git's order; without a repository the user's alone."""
    arguments = ("config", "--list", "-z", "--show-origin")
    if repository is None:
        output = process.run(arguments, own=False, extra=process.users_only())
    else:
        output = repository.run(*arguments)
    fields = output.decode("utf-8", "surrogateescape").split("\0")
    values = []
    for origin, setting in zip(fields[0::2], fields[1::2], strict=False):
        key, has_value, value = setting.partition("\n")
        values.append(ConfigValue(key, value if has_value else "true", origin))
    return values


def keeps_modes(repository: Repository) -> bool:
    """Whether the file system keeps the executable bit, as git found out (core.fileMode)."""
    return _is_on(repository, "core.filemode", "true")


def is_sparse(repository: Repository) -> bool:
    """Whether only a part of the index is in the work tree (core.sparseCheckout)."""
    return _is_on(repository, "core.sparsecheckout", "false")


def _is_on(repository: Repository, key: str, default: str) -> bool:
    values = {each.key: each.value for each in read(repository)}
    return values.get(key, default).lower() not in ("false", "no", "off", "0", "")


def rewritten(url: str, values: Iterable[ConfigValue]) -> str:
    """The URL that git makes of one by `url.<base>.insteadOf`: the longest start wins."""
    best = max(
        (
            value
            for value in values
            if value.key.startswith("url.")
            and value.key.endswith(".insteadof")
            and url.startswith(value.value)
        ),
        key=lambda value: len(value.value),
        default=None,
    )
    if best is None:
        return url
    base = best.key.removeprefix("url.").removesuffix(".insteadof")
    return base + url.removeprefix(best.value)


def set_value(repository: Repository | None, scope: str, key: str, value: str) -> None:
    """Set `key` in one scope ("local", "global", "system"), replacing what was there."""
    _config(repository, f"--{scope}", "--replace-all", key, value)


def remove_section(repository: Repository | None, scope: str, section: str) -> bool:
    """Remove a section; whether it was there."""
    arguments = ("config", f"--{scope}", "--remove-section", section)
    if repository is None:
        code, _, errors = process.run_unchecked(arguments)
    else:
        code, _, errors = repository.run_unchecked(*arguments)
    if code != 0 and "no such section" not in errors.lower():
        raise process.failure(arguments, errors)
    return code == 0


def edit_file(path: str, key: str, *values: str, remove: bool = False) -> None:
    """Change one key of the git-config file `path`, leaving comments and order alone.

    With `remove`, `key` names a section that goes away whole.
    """
    action = ("--remove-section", key) if remove else ("--replace-all", key, *values)
    process.run(("config", f"--file={path}", *action))


def set_all_in_file(path: str, key: str, values: Iterable[str]) -> None:
    """Make these the values of one key of the git-config file `path`; none: leave it alone."""
    for number, value in enumerate(values):
        action = "--add" if number else "--replace-all"
        process.run(("config", f"--file={path}", action, key, value))


def unset_in_file(path: str, key: str) -> None:
    """Remove every value of one key of the git-config file `path`."""
    process.run(("config", f"--file={path}", "--unset-all", key))


def _config(repository: Repository | None, *arguments: str) -> None:
    if repository is None:
        process.run(("config", *arguments))
    else:
        repository.run("config", *arguments)
