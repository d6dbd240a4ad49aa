"""Has git, and the programs that it starts on its way to a remote, ask nobody for anything.

For URLs that the user did not name. Knows how git finds ssh and calls it
(connect.c); what the user configured of that stays in force.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence

from git_datareg.git import process
from git_datareg.git.config import ConfigValue

#: An empty GIT_ASKPASS keeps git from asking by the other ways to name such a program, too.
_NOBODY = {
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "",
    "SSH_ASKPASS": "",
    "SSH_ASKPASS_REQUIRE": "never",
    # A credential helper that has windows of its own.
    "GCM_INTERACTIVE": "never",
    "GIT_PROTOCOL_FROM_USER": "0",
    "GIT_ALLOW_PROTOCOL": "https:ssh",
}
_OPENSSH = ("-o", "BatchMode=yes")
_PLINK = ("-batch",)
#: By the names of GIT_SSH_VARIANT; any other is OpenSSH to git. A "simple" one has no options.
_BY_VARIANT = {"plink": _PLINK, "putty": _PLINK, "tortoiseplink": _PLINK, "simple": ()}
#: By the names of programs that git knows.
_BY_PROGRAM = {"ssh": _OPENSSH, "plink": _PLINK, "tortoiseplink": _PLINK}


def environment(config: Sequence[ConfigValue], host: str | None) -> dict[str, str]:
    """The variables for a git that talks to a remote by https or ssh, and by nothing else.

    `config` is the user's; `host` is where ssh is to go, None for https. An ssh
    that git does not know by its name is started to see what it is, as git does
    it.
    """
    if host is None:
        return _NOBODY
    values = {each.key: each.value for each in config}
    inherited = process.environment(own=False)
    command = inherited.get("GIT_SSH_COMMAND", values.get("core.sshcommand"))
    if command is None:
        command = shlex.quote(inherited.get("GIT_SSH") or "ssh")
    variant = inherited.get("GIT_SSH_VARIANT") or values.get("ssh.variant", "")
    options = _options(command, variant.lower(), host, {**inherited, **_NOBODY})
    return {**_NOBODY, "GIT_SSH_COMMAND": " ".join([command, *options])}


def _options(command: str, variant: str, host: str, environ: Mapping[str, str]) -> Sequence[str]:
    """What keeps an ssh from asking."""
    if variant not in ("", "auto"):
        return _BY_VARIANT.get(variant, _OPENSSH)
    try:
        program = os.path.basename(shlex.split(command)[0]).lower().removesuffix(".exe")
    except (ValueError, IndexError):
        program = ""
    if program in _BY_PROGRAM:
        return _BY_PROGRAM[program]
    # As git calls it: by a shell. OpenSSH would tell its configuration, and not connect.
    script = f'{command} {" ".join(_OPENSSH)} -G "$@"'
    done = subprocess.run(
        ["sh", "-c", script, command, host],
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return _OPENSSH if done.returncode == 0 else ()
