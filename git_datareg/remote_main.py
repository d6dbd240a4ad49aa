"""`git-remote-datareg`: Git's remote helper for `datareg::` URLs (gitremote-helpers(7)).

Pumps between git and `protocol.remote_helper`; what is done is in `remote` and
`pushing`. A fault ends the conversation without an answer and with a non-zero
exit code: an empty answer would tell git that all is well.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence

from git_datareg import remote, ui
from git_datareg.errors import DataregError, UsageError
from git_datareg.files import write_all
from git_datareg.location import HELPER_PREFIX, Location
from git_datareg.main import guarded
from git_datareg.protocol import remote_helper as protocol
from git_datareg.protocol.remote_helper import NEED_DATA, HelperConnection, PushResult
from git_datareg.workspace import Workspace

_CAPABILITIES = ("fetch", "push", "option", "object-format", "check-connectivity")
_READ_SIZE = 64 * 1024


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the helper as git calls it: the remote's name and URL; returns its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    return guarded(lambda: _run(given))


def _run(arguments: list[str]) -> int:
    if len(arguments) != 2:
        raise UsageError(
            "git-remote-datareg is called by git", "git clone datareg::<url of a Git repository>"
        )
    name, url = arguments
    stdout = os.dup(1)
    # A stray print, of ours or of a git of ours, must not end up in the conversation.
    os.dup2(2, 1)
    location = Location.parse(url)
    remote.check(location)
    is_named = Location.parse(name) != location and not name.startswith(HELPER_PREFIX)
    workspace = Workspace(os.getcwd(), os.environ)
    Helper(0, stdout, location, name if is_named else None, workspace).run()
    return 0


class Helper:
    """One conversation with one git process."""

    def __init__(
        self, stdin: int, stdout: int, location: Location, name: str | None, workspace: Workspace
    ) -> None:
        self._stdin = stdin
        self._stdout = stdout
        self._location = location
        self._name = name
        self._workspace = workspace
        self._connection = HelperConnection()
        self._options = remote.Options()
        self._refs: tuple[protocol.Ref, ...] = ()

    def run(self) -> None:
        """Serve git until it is done. Raises DataregError for what ends the conversation."""
        for event in self._events():
            match event:
                case protocol.CapabilitiesAsked():
                    self._send(protocol.Capabilities(_CAPABILITIES))
                case protocol.Option(name, value):
                    known = self._options.set(name, value)
                    self._send(protocol.OptionOk() if known else protocol.OptionUnsupported())
                case protocol.ListAsked():
                    self._refs = remote.refs(self._location)
                    self._send(protocol.RefList(self._refs, self._object_format()))
                case protocol.FetchBatch(wants):
                    remote.fetch(self._location, wants, self._options)
                    remote.set_up(self._workspace.repository)
                    self._send(protocol.FetchDone())
                case protocol.PushBatch(specs):
                    self._send(protocol.PushDone(tuple(self._push(specs))))
                case _:
                    return

    def _push(self, specs: Sequence[protocol.PushSpec]) -> list[PushResult]:
        if not self._options.is_set("dry-run"):
            try:
                self._store(specs)
            except DataregError as error:
                # Answered ref by ref, so that git says that each of them stayed.
                ui.report(error)
                return [PushResult(spec.dst, "its data could not be stored") for spec in specs]
        return remote.push(self._location, specs, self._options)

    def _store(self, specs: Sequence[protocol.PushSpec]) -> None:
        from git_datareg import pushing

        project = self._workspace.project
        new = remote.pushed_commits(project.repository, specs)
        old = [ref.oid for ref in self._refs if ref.oid is not None]
        needed = pushing.plan(project, new, old, self._name)
        location = self._location.absolute(project.repository.top)
        show = None if self._options.is_set("progress") else False
        with ui.Progress("uploading", needed.size, show=show) as progress:
            stored = pushing.store(project, needed, location, advance=progress.advance)
        if stored is not None and stored.new and self._options.verbosity:
            ui.say(f"{ui.count(stored.new, 'object')} stored in {stored.storage}")

    def _object_format(self) -> str | None:
        if not self._options.is_set("object-format"):
            return None
        is_sha256 = any(ref.oid is not None and len(ref.oid) == 64 for ref in self._refs)
        return "sha256" if is_sha256 else "sha1"

    def _events(self) -> Iterator[protocol.Incoming]:
        while True:
            event = self._connection.next_event()
            if event is NEED_DATA:
                self._connection.receive_data(os.read(self._stdin, _READ_SIZE))
            else:
                yield event

    def _send(self, event: protocol.Outgoing) -> None:
        write_all(self._stdout, self._connection.send(event))
