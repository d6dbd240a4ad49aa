"""Sets Git up to use us: filter configuration and hooks, put in and taken out.

What is foreign stays: another's hook goes on running, before ours.
"""

from __future__ import annotations

import os

from git_datareg.errors import UsageError
from git_datareg.files import write_atomically
from git_datareg.git import config
from git_datareg.git.repository import Repository

SECTION = "filter.datareg"
SCOPES = ("global", "system", "local")
#: What each hook is for, as it stands in the file.
_HOOKS = {
    "pre-push": "uploads the data of what is pushed, before any ref moves",
    "post-checkout": "puts large files in place, if git has not waited for it",
    "post-merge": "puts large files in place, if git has not waited for it",
}
_MARK = "# Installed by git-datareg:"
_KEPT = ".before-datareg"
#: The arguments of a hook reach both; so does its input, which can be read only once.
_SCRIPT = """#!/bin/sh
{mark} {purpose}.
before="$0{kept}"
if [ -x "$before" ]; then
    input=$(cat; echo .)
    printf '%s' "${{input%.}}" | "$before" "$@" || exit $?
    printf '%s' "${{input%.}}" | git-datareg {name} "$@"
else
    {guard}exec git-datareg {name} "$@"
fi
"""
#: Without Python, which would cost each checkout its start: is anything noted to be done?
_GUARD = '[ -s "$(git rev-parse --git-dir)/datareg/pending" ] || exit 0\n    '


def configure(repository: Repository | None, scope: str, *, skip_smudge: bool = False) -> None:
    """Write the filter's configuration into one scope, replacing an earlier one.

    With `skip_smudge`, checkouts leave pointers. Raises UsageError for "local"
    without a repository, GitError when git can't write the file.
    """
    if scope == "local" and repository is None:
        raise UsageError("--local needs a repository", "run it inside one, or use --global")
    skip = " --skip" if skip_smudge else ""
    for key, value in (
        ("process", f"git-datareg filter-process{skip}"),
        ("clean", "git-datareg clean -- %f"),
        ("smudge", f"git-datareg smudge{skip} -- %f"),
        ("required", "true"),
    ):
        config.set_value(repository, scope, f"{SECTION}.{key}", value)


def unconfigure(repository: Repository | None, scope: str) -> bool:
    """Take the filter's configuration out of one scope; whether there was any."""
    return config.remove_section(repository, scope, SECTION)


def is_configured(repository: Repository) -> bool:
    """Whether Git would run our filter in this repository, by whatever scope."""
    return any(value.key == f"{SECTION}.process" for value in config.read(repository))


def install_hooks(repository: Repository) -> None:
    """Write our hooks; a foreign one is kept beside ours, which runs it first."""
    directory = _hooks_directory(repository)
    os.makedirs(directory, exist_ok=True)
    for name, purpose in _HOOKS.items():
        path = os.path.join(directory, name)
        guard = "" if name == "pre-push" else _GUARD
        script = _SCRIPT.format(mark=_MARK, purpose=purpose, kept=_KEPT, name=name, guard=guard)
        if os.path.lexists(path) and not _is_ours(path):
            os.replace(path, path + _KEPT)
        write_atomically(path, script.encode(), mode=0o755)


def remove_hooks(repository: Repository) -> None:
    """Take our hooks out and give foreign ones their place back."""
    directory = _hooks_directory(repository)
    for name in _HOOKS:
        path = os.path.join(directory, name)
        if _is_ours(path):
            os.unlink(path)
            if os.path.lexists(path + _KEPT):
                os.replace(path + _KEPT, path)


def _hooks_directory(repository: Repository) -> str:
    # Not `rev-parse --git-path hooks` alone: it is relative when core.hooksPath is.
    output = repository.run("rev-parse", "--git-path", "hooks")
    return os.path.join(repository.top, os.fsdecode(output.removesuffix(b"\n")))


def _is_ours(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return _MARK.encode() in file.read(4096)
    except OSError:
        return False
