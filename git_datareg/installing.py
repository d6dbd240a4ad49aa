"""Sets Git up to use us: filter configuration and hooks, put in and taken out.

What is foreign stays: another's hook goes on running. Before a push it comes
first, since it may refuse it; after a checkout last, so that it sees the data.
"""

from __future__ import annotations

import os

from git_datareg.errors import UsageError
from git_datareg.files import open_regular, write_atomically
from git_datareg.git import config
from git_datareg.git.repository import Repository

SECTION = "filter.datareg"
SCOPES = ("global", "system", "local")
_MARK = "# Installed by git-datareg:"
_KEPT = ".before-datareg"
#: What another's hook reads from its input reaches ours too; it can be read only once.
_PRE_PUSH = """#!/bin/sh
{mark} uploads the data of what is pushed, before any ref moves.
if ! command -v git-datareg >/dev/null 2>&1; then
    echo "git-datareg: error: git-datareg is not on PATH; without it the data of this push is" \\
        "not stored, so nothing is pushed" >&2
    echo "hint: install git-datareg, or push what needs no data: git push --no-verify" >&2
    exit 1
fi
before="$0{kept}"
if [ -x "$before" ]; then
    input=$(cat; echo .)
    printf '%s' "${{input%.}}" | "$before" "$@" || exit $?
    printf '%s' "${{input%.}}" | git-datareg {name} "$@"
else
    exec git-datareg {name} "$@"
fi
"""
#: Whether there is anything to do is seen without Python, whose start each
#: checkout would pay for. Our exit code would become that of `git checkout`.
_POST = """#!/bin/sh
{mark} puts large files in place, if git has not waited for it.
if [ -s "$(git rev-parse --git-dir)/datareg/pending" ]; then
    if command -v git-datareg >/dev/null 2>&1; then
        git-datareg {name} "$@"
    else
        echo "git-datareg: warning: git-datareg is not on PATH; large files stay pointers" >&2
    fi
fi
before="$0{kept}"
if [ -x "$before" ]; then
    exec "$before" "$@"
fi
exit 0
"""
_HOOKS = {"pre-push": _PRE_PUSH, "post-checkout": _POST, "post-merge": _POST}


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


def install_hooks(repository: Repository) -> tuple[str, ...]:
    """Write our hooks where they are missing; a foreign one is kept beside ours, which runs it.

    Nothing changes where a hook is ours already or calls us. Returns what could
    not be done, a line each, so that the user can do it.
    """
    directory = _hooks_directory(repository)
    if os.path.exists(directory) and not os.path.isdir(directory):
        return (
            f"hooks are switched off (core.hooksPath is {directory}): pushes upload data only "
            "to datareg:: URLs, or by git datareg push",
        )
    os.makedirs(directory, exist_ok=True)
    warnings = (_install_hook(directory, name, script) for name, script in _HOOKS.items())
    return tuple(warning for warning in warnings if warning is not None)


def ensure_hooks(repository: Repository) -> tuple[str, ...]:
    """Write our hooks in a repository that has new data, if it lacks the one that stores it.

    For those whose filter is configured for all repositories: there `git clone`
    brings no hooks. Returns warnings, a line each. A directory that core.hooksPath
    names is left alone: it may serve repositories that have nothing to do with us.
    """
    hook = os.path.join(_hooks_directory(repository), "pre-push")
    if _is_ours(hook) or _calls_us(hook, "pre-push"):
        return ()
    if any(each.key == "core.hookspath" for each in config.read(repository)):
        return (f"no hook uploads data on git push: {hook} is not ours; run git datareg init",)
    return install_hooks(repository)


def set_up(repository: Repository) -> tuple[str, ...]:
    """Configure our filter and hooks, as far as that is still to be done.

    Returns what could not be done, a line each. A bare repository needs neither.
    """
    values = {each.key: each.value for each in config.read(repository)}
    if values.get("core.bare") == "true":
        return ()
    if f"{SECTION}.process" not in values:
        configure(repository, "local")
    if "core.hookspath" in values:
        # They may be those of all the user's repositories. Pushes through
        # `datareg::` do without; `git datareg init` asks for them.
        return ()
    return install_hooks(repository)


def remove_hooks(repository: Repository) -> None:
    """Take our hooks out and give foreign ones their place back."""
    directory = _hooks_directory(repository)
    for name in _HOOKS:
        path = os.path.join(directory, name)
        if _is_ours(path):
            os.unlink(path)
            if os.path.lexists(path + _KEPT):
                os.replace(path + _KEPT, path)


def _install_hook(directory: str, name: str, script: str) -> str | None:
    """Write one hook; a warning when that can't be done."""
    path = os.path.join(directory, name)
    text = script.format(mark=_MARK, kept=_KEPT, name=name).encode()
    if _head(path) == text and os.access(path, os.X_OK):
        return None
    if os.path.lexists(path) and not _is_ours(path):
        if _calls_us(path, name):
            return None
        if os.path.lexists(path + _KEPT):
            return (
                f"{path} is another's hook, and so is {path}{_KEPT}: both are left as they are; "
                f'add to the first: git-datareg {name} "$@"'
            )
        os.replace(path, path + _KEPT)
    write_atomically(path, text, mode=0o755)
    return None


def _hooks_directory(repository: Repository) -> str:
    # Not `rev-parse --git-path hooks` alone: it is relative when core.hooksPath is.
    output = repository.run("rev-parse", "--git-path", "hooks")
    return os.path.join(repository.top, os.fsdecode(output.removesuffix(b"\n")))


def _is_ours(path: str) -> bool:
    return _MARK.encode() in _head(path)


def _calls_us(path: str, name: str) -> bool:
    """Whether someone has put our command into a hook of their own, which git would run."""
    head = _head(path)
    called = f"git-datareg {name}".encode() in head or f"git datareg {name}".encode() in head
    return called and os.access(path, os.X_OK)


def _head(path: str) -> bytes:
    """The beginning of a hook, which is all of ours; empty without one."""
    try:
        with open(open_regular(path), "rb") as file:
            return file.read(64 * 1024)
    except OSError:
        return b""
