"""`git datareg pre-push`: git's pre-push hook (githooks(5)).

A failure keeps git from pushing, so no ref moves before its objects are stored.
"""

from __future__ import annotations

import argparse
import sys

from git_datareg import pushing, ui
from git_datareg.errors import UsageError
from git_datareg.location import HELPER_PREFIX, Location
from git_datareg.workspace import Workspace


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """As git calls the hook."""
    parser.add_argument("remote", help="the remote's name, or its URL again")
    parser.add_argument("url", help="the URL that is pushed to")


def run(arguments: argparse.Namespace, workspace: Workspace) -> int:
    """Store what the refs on stdin need."""
    if arguments.url.startswith(HELPER_PREFIX):
        # The remote helper does it, with the remote's true refs at hand.
        return 0
    new, old = _updates(sys.stdin.buffer.read())
    project = workspace.project
    for warning in project.settings.warnings:
        ui.warn(warning)
    remote = Location.parse(arguments.url).absolute(project.repository.top)
    name = None if arguments.remote == arguments.url else arguments.remote
    needed = pushing.plan_push(project, new, old, pushing.Destination(remote, name))
    with ui.Progress("uploading", needed.size) as progress:
        progress.expect(needed.size, len(needed.pointers))
        stored = pushing.store(project, needed, remote, advance=progress.advance)
    if stored is not None and stored.new:
        ui.say(f"{ui.count(stored.new, 'object')} stored in {stored}")
    return 0


def _updates(text: bytes) -> tuple[list[str], list[str]]:
    """The commits that are pushed, and those that the remote has."""
    new, old = [], []
    for line in text.splitlines():
        fields = line.decode("utf-8", "surrogateescape").split(" ")
        if len(fields) != 4:
            raise UsageError(f"not a line of git's pre-push hook: {line!r}")
        new.append(fields[1])
        old.append(fields[3])
    return [id for id in new if id.strip("0")], [id for id in old if id.strip("0")]
