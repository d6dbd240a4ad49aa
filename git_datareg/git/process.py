"""Runs git, and nothing else.

Owns how a child git is started: its environment, its locale, how its failure
becomes a `GitError`. Does not know what any command means.

It reads the process's environment because git needs it (PATH, HOME, proxies,
ssh agents); nothing of ours is configured by it here.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from git_datareg.errors import GitError

#: What ties a git to one repository, as `git rev-parse --local-env-vars` lists it.
#: A git that works on another repository must not inherit it.
LOCAL_VARIABLES = (
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_CONFIG",
    "GIT_CONFIG_PARAMETERS",
    "GIT_CONFIG_COUNT",
    "GIT_OBJECT_DIRECTORY",
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_GRAFT_FILE",
    "GIT_INDEX_FILE",
    "GIT_NO_REPLACE_OBJECTS",
    "GIT_REPLACE_REF_BASE",
    "GIT_PREFIX",
    "GIT_SHALLOW_FILE",
    "GIT_COMMON_DIR",
    "GIT_INTERNAL_SUPER_PREFIX",
    "GIT_QUARANTINE_PATH",
)
#: Set for every git that we start, so that a filter which git may start in turn
#: leaves pointers alone instead of fetching behind our back.
SKIP_SMUDGE = "GIT_DATAREG_SKIP_SMUDGE"
#: What says of a `git -c key=value` that it was said; the values are in GIT_CONFIG_KEY_<n>.
_GIVEN_CONFIG = ("GIT_CONFIG_PARAMETERS", "GIT_CONFIG_COUNT")
#: The most that is told of one command; characters.
_MAX_TOLD = 300

_listener: Callable[[str], None] | None = None


def listen(listener: Callable[[str], None] | None) -> None:
    """Have this listener told of each git that is run, in a line without secrets."""
    global _listener
    _listener = listener


def tell(arguments: Sequence[str], what: str, since: float | None = None) -> None:
    """Tell the listener what came of a git, and how long that took since (monotonic clock)."""
    if _listener is not None:
        words = " ".join(["git", *map(_shown, arguments)])
        took = "" if since is None else f" after {time.monotonic() - since:.3f} s"
        _listener(f"{words[:_MAX_TOLD]}: {what}{took}")


def _shown(word: str) -> str:
    """A word of a command, without what may be secret in a URL that it is or ends in."""
    from git_datareg.location import Location

    start = word.rfind("=", 0, word.find("://") + 1) + 1
    return word[:start] + str(Location(word[start:]))


def environment(
    *, own: bool, transport: bool = False, extra: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The environment for a child git.

    `own`: it works on the repository that our caller (often git) set us on;
    otherwise everything that names a repository is left out. `transport`: it
    talks to a remote, whose hooks on this machine would inherit our switches.
    """
    variables = dict(os.environ)
    if not own:
        for name in LOCAL_VARIABLES:
            variables.pop(name, None)
    # Messages are parsed here and there; LC_ALL would win over LC_MESSAGES.
    variables["LC_ALL"] = "C.UTF-8"
    if not transport:
        variables[SKIP_SMUDGE] = "1"
        variables["GIT_OPTIONAL_LOCKS"] = "0"
    variables.update(extra or {})
    return variables


def users_only() -> dict[str, str]:
    """What makes a git that is not `own` see the user's configuration and no repository's.

    That is the system's, the global one and what the command line gave by `git -c`.
    """
    given = {name: os.environ[name] for name in _GIVEN_CONFIG if name in os.environ}
    # Even around the current directory there is no repository then.
    return {**given, "GIT_DIR": os.devnull}


def with_config(settings: Sequence[tuple[str, str]]) -> dict[str, str]:
    """The variables that give an own git these settings, after all that it has (git-config(1)).

    Unlike `-c`, this takes keys that hold "=", as URLs may.
    """
    count = os.environ.get("GIT_CONFIG_COUNT", "")
    start = int(count) if count.isdigit() else 0
    variables = {"GIT_CONFIG_COUNT": str(start + len(settings))}
    for number, (key, value) in enumerate(settings, start):
        variables[f"GIT_CONFIG_KEY_{number}"] = key
        variables[f"GIT_CONFIG_VALUE_{number}"] = value
    return variables


def run(
    arguments: Sequence[str],
    *,
    own: bool = True,
    cwd: str | None = None,
    input: bytes | Iterable[bytes] | None = None,
    extra: Mapping[str, str] | None = None,
    accept: Sequence[int] = (0,),
) -> bytes:
    """What `git <arguments>` prints. Raises GitError when its exit code is not in `accept`.

    `input` is given to its standard input, which is empty otherwise.
    """
    code, output, errors = run_unchecked(arguments, own=own, cwd=cwd, input=input, extra=extra)
    if code not in accept:
        raise failure(arguments, errors)
    return output


def run_unchecked(
    arguments: Sequence[str],
    *,
    own: bool = True,
    cwd: str | None = None,
    input: bytes | Iterable[bytes] | None = None,
    extra: Mapping[str, str] | None = None,
) -> tuple[int, bytes, str]:
    """Exit code, output and error text of `git <arguments>`."""
    data = input if isinstance(input, bytes) or input is None else b"".join(input)
    began = time.monotonic()
    done = start(
        arguments,
        own=own,
        cwd=cwd,
        extra=extra,
        stdin=subprocess.DEVNULL if data is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    output, errors = done.communicate(data)
    tell(arguments, f"exit code {done.returncode}", began)
    return done.returncode, output, errors.decode("utf-8", "replace")


def start(
    arguments: Sequence[str],
    *,
    own: bool = True,
    transport: bool = False,
    cwd: str | None = None,
    extra: Mapping[str, str] | None = None,
    stdin: int | None = None,
    stdout: int | None = None,
    stderr: int | None = None,
) -> subprocess.Popen[bytes]:
    """A running `git <arguments>`; the caller waits for it. Raises GitError without git."""
    try:
        return subprocess.Popen(
            ["git", *arguments],
            cwd=cwd,
            env=environment(own=own, transport=transport, extra=extra),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
        )
    except FileNotFoundError as error:
        if cwd is not None and not os.path.isdir(cwd):
            raise GitError(f"no such directory: {cwd}") from error
        raise GitError("git is not on PATH", "install git 2.39 or later") from error


def talk_to_remote(
    arguments: Sequence[str], *, input: bytes = b"", extra: Mapping[str, str] | None = None
) -> tuple[int, bytes]:
    """Exit code and output of an own git that talks to a remote.

    What it says to the user goes to our stderr as it comes: progress, the
    remote's words, questions for a password.
    """
    began = time.monotonic()
    child = start(
        arguments, transport=True, extra=extra, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    output, _ = child.communicate(input)
    tell(arguments, f"exit code {child.returncode}", began)
    return child.returncode, output


def pass_through(arguments: Sequence[str]) -> int:
    """The exit code of an own git that uses our standard streams."""
    began = time.monotonic()
    code = start(arguments).wait()
    tell(arguments, f"exit code {code}", began)
    return code


def failure(arguments: Sequence[str], errors: str) -> GitError:
    """The GitError for a git command that failed, in git's own words."""
    # `-c` takes the next word.
    pairs = zip(["", *arguments], arguments, strict=False)
    command = next((word for last, word in pairs if word[:1] != "-" and last != "-c"), "")
    said = [line for line in errors.splitlines() if line.startswith(("fatal:", "error:"))]
    words = (said or errors.splitlines() or ["it said nothing"])[-1 if not said else 0]
    return GitError(f"git {command} failed: {words}", stderr=errors)


def merging_commits() -> list[str]:
    """The commits that the git which started us is merging: it names them by GITHEAD_<id>."""
    return [name.removeprefix("GITHEAD_") for name in os.environ if name.startswith("GITHEAD_")]
