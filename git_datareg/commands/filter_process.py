"""`git datareg filter-process`: git's long-running filter, from pipe to pipe.

Pumps between git and `protocol.filter`; what clean and smudge mean is in
`filtering`. Whatever goes wrong with one file is said on stderr and answered
as that file's failure; git decides what that means.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING

from git_datareg import ui
from git_datareg.errors import DataregError, ObjectNotFoundError, RemoteProtocolError
from git_datareg.files import write_all
from git_datareg.filtering import (
    DEFER_FROM,
    Smudged,
    Spool,
    clean,
    fingerprint,
    may_be_converted,
    read_file,
    smudge,
)
from git_datareg.git.pipe import GitPipe
from git_datareg.pointer import Pointer
from git_datareg.protocol import filter_events as protocol
from git_datareg.protocol.filter import FilterConnection, State
from git_datareg.protocol.filter_events import NEED_DATA, Command, Request

if TYPE_CHECKING:
    import argparse

    from git_datareg.workspace import Workspace

#: What we do, of what git offers.
_CAPABILITIES = ("clean", "smudge", "delay")
_PIPE_SIZE = 1024 * 1024


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No arguments but the switch that `install --skip-smudge` writes."""
    parser.add_argument("--skip", action="store_true", help="leave pointers as they are")


def run(arguments: argparse.Namespace, workspace: Workspace) -> int:
    """Serve git until it hangs up."""
    return serve(workspace, skip=arguments.skip)


def serve(workspace: Workspace, *, skip: bool) -> int:
    """Serve the git that our standard streams lead to, until it hangs up."""
    stdout = os.dup(1)
    # A stray print must not end up in the conversation.
    os.dup2(2, 1)
    try:
        FilterProcess(0, stdout, workspace, skip=skip).run()
    except _HungUp:
        return 1
    return 0


class _HungUp(Exception):
    """Git went away in the middle of an answer."""


class FilterProcess:
    """One conversation with one git command, from its greeting to its end."""

    def __init__(self, stdin: int, stdout: int, workspace: Workspace, *, skip: bool) -> None:
        self._stdin = GitPipe(stdin)
        self._stdout = stdout
        self._workspace = workspace
        self._skip = skip or workspace.skips_smudge
        _enlarge(stdin)
        _enlarge(stdout)
        self._connection = FilterConnection()
        self._delayed: dict[bytes, tuple[Request, Pointer]] = {}
        #: By path: a rebase may check out a file several times.
        self._smudged: dict[bytes, Smudged] = {}
        self._faults = 0
        self._has_cleaned = False

    def run(self) -> None:
        """Serve git until it hangs up; then put the deferred files in place.

        Also when it was killed: what it has written shall not stay a pointer.
        """
        try:
            self._converse()
        except (DataregError, OSError, _HungUp):
            self._finish()
            raise
        self._finish()

    def _converse(self) -> None:
        try:
            while True:
                event = self._next()
                if isinstance(event, Request):
                    self._serve(event)
                elif isinstance(event, protocol.ListAvailable):
                    self._send(protocol.Available(tuple(self._workspace.bringer.ready())))
                elif isinstance(event, protocol.ClientHello):
                    self._send(protocol.ServerHello())
                elif isinstance(event, protocol.Capabilities):
                    known = tuple(name for name in _CAPABILITIES if name in event.names)
                    self._send(protocol.Capabilities(known))
                else:
                    break
        finally:
            self._workspace.close()

    def _serve(self, request: Request) -> None:
        try:
            with Spool(self._workspace.own_objects, request.content or b"") as spool:
                if request.content is None:
                    for piece in self._pieces():
                        spool.write(piece)
                if request.command is Command.CLEAN:
                    self._clean(request, spool)
                else:
                    self._smudge(request, spool)
        except (DataregError, OSError) as error:
            if isinstance(error, RemoteProtocolError):
                raise
            self._fail(request, error)

    def _clean(self, request: Request, spool: Spool) -> None:
        imported = self._workspace.imported(request.pathname)
        threshold = self._workspace.threshold
        unless = self._workspace.unless
        self._answer(clean(spool, request.pathname, threshold, imported, unless))
        self._has_cleaned = True

    def _smudge(self, request: Request, spool: Spool) -> None:
        retried = self._delayed.pop(request.pathname, None)
        if retried is not None and not request.can_delay:
            if spool.size:
                raise RemoteProtocolError("git sent content for a blob that was delayed")
            self._bring(*retried)
            return
        pointer = self._pointer(request, spool)
        if pointer is None:
            self._note(request, spool.pointer(), deferred=False)
            self._answer(spool.content())
        elif self._skip:
            self._leave(request, pointer)
        elif self._give(request, pointer):
            return
        elif not self._workspace.bringer.wants(request.pathname, request.treeish):
            self._leave(request, pointer)
        elif self._look_ahead(request, pointer) and self._give(request, pointer):
            return
        elif request.can_delay:
            self._workspace.bringer.start(pointer, request.pathname, request.treeish)
            self._delayed[request.pathname] = (request, pointer)
            self._send(protocol.Delayed())
        else:
            self._bring(request, pointer)

    def _pointer(self, request: Request, spool: Spool) -> Pointer | None:
        """The pointer that Git stores for the file; None when it stores the file itself."""
        if request.blob is not None and may_be_converted(spool):
            return Pointer.parse(self._workspace.blob(request.blob))
        return None if self._skip else smudge(spool)

    def _leave(self, request: Request, pointer: Pointer) -> None:
        """Answer with the pointer, which is what the file is to hold."""
        text = pointer.encode()
        self._note(request, fingerprint(text), deferred=False)
        self._send(protocol.Answer(text))

    def _give(self, request: Request, pointer: Pointer) -> bool:
        """Answer with the object's content, or with its pointer when that is to follow.

        False, and no answer, when it is not on this machine.
        """
        if pointer.size < DEFER_FROM:
            content = self._workspace.content(pointer)
            if content is not None:
                self._note(request, pointer, deferred=False)
                self._send(protocol.Answer(content))
            return content is not None
        path = self._workspace.object_file(pointer)
        if path is not None:
            deferred = _writes_work_tree(request) and not self._workspace.is_rebasing
            self._note(request, pointer, deferred=deferred)
            self._answer(iter((pointer.encode(),)) if deferred else read_file(path))
        return path is not None

    def _look_ahead(self, request: Request, pointer: Pointer) -> bool:
        """Have what Git asks for next come at once, on the first checkout of all files."""
        if not request.can_delay or request.treeish is None or pointer.size >= DEFER_FROM:
            return False
        if not self._workspace.is_first_checkout:
            return False
        path, asked = request.pathname, self._smudged
        return self._workspace.bringer.look_ahead(pointer, path, request.treeish, asked)

    def _bring(self, request: Request, pointer: Pointer) -> None:
        """Answer with an object that is fetched now, unless it came meanwhile."""
        if self._give(request, pointer):
            return
        self._workspace.bringer.bring(pointer, request.pathname, request.treeish)
        if not self._give(request, pointer):
            raise ObjectNotFoundError(f"object {pointer.digest} is gone from the cache")

    def _note(self, request: Request, content: Pointer, *, deferred: bool) -> None:
        """Remember a file for the end, when Git has written work tree and index."""
        if _writes_work_tree(request) and request.blob is not None:
            file = Smudged(request.pathname, request.blob, content, deferred)
            self._workspace.note(file)
            self._smudged[request.pathname] = file

    def _fail(self, request: Request, error: DataregError | OSError) -> None:
        """Say what went wrong, hear git out, and answer with failure."""
        fault = error if isinstance(error, DataregError) else _as_fault(error)
        ui.report(fault, request.pathname)
        if request.command is Command.SMUDGE and not self._faults:
            ui.hint("once that is mended: git datareg pull (puts in place all that it can)")
            ui.hint("to go on with pointers: set GIT_DATAREG_SKIP_SMUDGE=1")
        self._faults += 1
        if self._connection.state is State.RECEIVING:
            for _ in self._pieces():
                pass
        if self._connection.state is State.SENDING:
            self._send(protocol.Done(ok=False))
        else:
            self._send(protocol.Failure())

    def _finish(self) -> None:
        if self._has_cleaned:
            for warning in self._workspace.ensure_hooks():
                ui.warn(warning)
        if self._smudged:
            failures = self._workspace.settle(self._smudged.values())
            for path, error in failures:
                ui.report(error, path)
            if failures:
                ui.hint("once that is mended: git datareg checkout")

    def _answer(self, pieces: Iterator[bytes]) -> None:
        # The first piece before the status: a fault up to here is an honest "error".
        first, second = next(pieces, b""), next(pieces, None)
        if second is None:
            self._send(protocol.Answer(first))
            return
        self._send(protocol.Success(), protocol.Content(first))
        for piece in chain((second,), pieces):
            self._send(protocol.Content(piece))
        self._send(protocol.Done())

    def _pieces(self) -> Iterator[memoryview]:
        """The content of a request that it did not come with."""
        while isinstance(event := self._next(), protocol.Content):
            yield memoryview(event.data)

    def _next(self) -> protocol.Incoming:
        while (event := self._connection.next_event()) is NEED_DATA:
            self._connection.receive_data(self._stdin.read())
        return event

    def _send(self, *events: protocol.Outgoing) -> None:
        data = b"".join([self._connection.send(event) for event in events])
        try:
            write_all(self._stdout, data)
        except BrokenPipeError as error:
            raise _HungUp from error


def _writes_work_tree(request: Request) -> bool:
    """Whether git is writing a file and its index entry: only then may an answer be delayed."""
    return request.can_delay and request.blob is not None


def _enlarge(descriptor: int) -> None:
    """Give a pipe room for what is read at once (fcntl(2), F_SETPIPE_SZ)."""
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _PIPE_SIZE)
    except OSError:
        # Not a pipe, or over the user's limit: slower, not wrong.
        return


def _as_fault(error: OSError) -> DataregError:
    where = f": {os.fsdecode(error.filename)}" if error.filename else ""
    return DataregError(f"{error.strerror or error}{where}")
