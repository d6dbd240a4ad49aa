"""`git-remote-datareg`: Git's remote helper for `datareg::` URLs (gitremote-helpers(7)).

Pumps between git and `protocol.remote_helper`; what is done is in `remote` and
`pushing`. A fault ends the conversation without an answer and with a non-zero
exit code: an empty answer would tell git that all is well.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TypeAlias

from git_datareg import installing, registries, remote, settings, ui
from git_datareg.errors import DataregError, UsageError
from git_datareg.files import write_all
from git_datareg.git import config
from git_datareg.location import Location
from git_datareg.main import guarded
from git_datareg.pointer import Pointer
from git_datareg.protocol import remote_helper as protocol
from git_datareg.protocol.remote_helper import NEED_DATA, HelperConnection, PushResult
from git_datareg.remote import WrappedRemote
from git_datareg.settings import Settings
from git_datareg.workspace import Workspace

if TYPE_CHECKING:
    from git_datareg.serverless_remote import ServerlessRemote

#: What answers git's questions.
Target: TypeAlias = "WrappedRemote | ServerlessRemote"

_CAPABILITIES = ("fetch", "push", "option", "object-format")
_READ_SIZE = 64 * 1024
#: A sign for each of us that waits for the one that we start: gits that lack objects
#: fetch them by us.
_DEPTH_VARIABLE = "GIT_DATAREG_DEPTH"
_MAX_DEPTH = 5


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
    if os.environ.get(remote.INNER_VARIABLE) == url:
        raise UsageError(
            f"the configuration leads from {Location.parse(url)} back to git-remote-datareg",
            "look for it: git config --show-origin --get-regexp '^url\\.datareg::'",
        )
    before = os.environ.get(_DEPTH_VARIABLE, "")
    if len(before) >= _MAX_DEPTH:
        raise UsageError(f"git-remote-datareg is started by itself, again and again: {url}")
    os.environ[_DEPTH_VARIABLE] = f"{before}+"
    stdout = os.dup(1)
    # A stray print, of ours or of a git of ours, must not end up in the conversation.
    os.dup2(2, 1)
    workspace = Workspace(os.getcwd(), os.environ)
    Helper(0, stdout, _target(name, url, workspace), workspace).run()
    return 0


def _target(name: str, url: str, workspace: Workspace) -> Target:
    spelled = remote.find(name, url, os.getcwd(), workspace.repository_or_none)
    if registries.may_be_one(spelled.location):
        own = _settings(workspace)
        registry = registries.find(spelled.location, own, workspace.repository_or_none)
        if registry is not None:
            from git_datareg.serverless_remote import ServerlessRemote

            return ServerlessRemote(spelled, registry, own.cache)
    return WrappedRemote(spelled)


def _settings(workspace: Workspace) -> Settings:
    """The user's own settings: a `.datareg` that can't be read must not keep its mending out."""
    return settings.build(config.read(workspace.repository_or_none), None, os.environ)


class Helper:
    """One conversation with one git process."""

    def __init__(self, stdin: int, stdout: int, target: Target, workspace: Workspace) -> None:
        self._stdin = stdin
        self._stdout = stdout
        self._target = target
        self._remote = target.spelled
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
                    known = self._is_served(name) and self._options.set(name, value)
                    self._send(protocol.OptionOk() if known else protocol.OptionUnsupported())
                case protocol.ListAsked(for_push):
                    self._send(self._list(for_push=for_push))
                case protocol.FetchBatch(wants):
                    self._fetch(wants)
                    self._send(protocol.FetchDone())
                case protocol.PushBatch(specs):
                    self._send(protocol.PushDone(tuple(self._push(specs))))
                    self._target.tidy(self._workspace.repository)
                case _:
                    return

    def _is_served(self, option: str) -> bool:
        if option == "filter" and not self._target.can_filter:
            # Git goes on without a word.
            ui.warn("no partial clone: git's configuration makes the remote's URL one of ours")
            return False
        return True

    def _list(self, *, for_push: bool) -> protocol.RefList:
        self._refs = self._target.refs(for_push=for_push)
        location = self._remote.location
        if isinstance(self._target, WrappedRemote) and registries.may_be_one(location):
            registries.note_gits(location, _settings(self._workspace))
        if self._remote.is_configured:
            # Now, since git fetches nothing from an empty registry.
            self._set_up()
        if not self._options.asks_object_format:
            return protocol.RefList(self._refs)
        default = self._workspace.repository.object_format if for_push else "sha1"
        format = self._target.object_format(self._refs, default)
        return protocol.RefList(self._refs, format)

    def _fetch(self, wants: Sequence[protocol.Want]) -> None:
        self._target.fetch(wants, self._refs, self._workspace.repository, self._options)
        self._set_up()

    def _set_up(self) -> None:
        repository = self._workspace.repository
        try:
            remote.settle(self._remote, repository)
            warnings = installing.set_up(repository)
        except (DataregError, OSError) as error:
            # What was asked for is done; a repository that is only read must not fail for it.
            warnings = (f"git-datareg is not set up in {repository.top}: {error}",)
        for warning in warnings:
            ui.warn(warning)

    def _push(self, specs: Sequence[protocol.PushSpec]) -> list[PushResult]:
        data: Sequence[Pointer] = ()
        if not self._options.is_set("dry-run"):
            reason = "nothing can be pushed there"
            try:
                self._target.prepare()
                reason = "its data could not be stored"
                data = self._store(specs)
            except DataregError as error:
                # Answered ref by ref, so that git says that each of them stayed.
                ui.report(error)
                return [PushResult(spec.dst, reason) for spec in specs]
        digests = [pointer.digest for pointer in data]
        return self._target.push(self._workspace.repository, specs, self._options, digests)

    def _store(self, specs: Sequence[protocol.PushSpec]) -> Sequence[Pointer]:
        """Store the data that a push needs; what that is."""
        from git_datareg import pushing

        project = self._workspace.project
        for warning in project.settings.warnings:
            ui.warn(warning)
        new = remote.pushed_commits(project.repository, specs)
        old = [ref.oid for ref in self._refs if ref.oid is not None]
        destination = pushing.Destination(
            self._remote.location,
            self._remote.name if self._remote.is_configured else None,
            frozenset(ref.name for ref in self._refs),
        )
        needed = pushing.plan_push(project, new, old, destination)
        show = None if self._options.is_set("progress") else False
        with ui.Progress("uploading", needed.size, show=show) as progress:
            progress.expect(needed.size, len(needed.pointers))
            stored = pushing.store(project, needed, destination.location, advance=progress.advance)
        if stored is not None and stored.new and self._options.verbosity:
            ui.say(f"{ui.count(stored.new, 'object')} stored in {stored}")
        return list(needed.pointers)

    def _events(self) -> Iterator[protocol.Incoming]:
        while True:
            event = self._connection.next_event()
            if event is NEED_DATA:
                self._connection.receive_data(os.read(self._stdin, _READ_SIZE))
            else:
                yield event

    def _send(self, event: protocol.Outgoing) -> None:
        write_all(self._stdout, self._connection.send(event))
