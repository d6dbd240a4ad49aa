"""Conversations in SFTP, through the user's own ssh: requests of many threads at once.

Owns the connections to a machine. Does not know what the files there mean.
"""

from __future__ import annotations

import atexit
import itertools
import os
import select
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from typing import TypeAlias

from git_datareg.errors import (
    RemoteProtocolError,
    StorageDeniedError,
    StorageError,
    StorageNotConfiguredError,
    StorageNotFoundError,
    StorageUnavailableError,
)
from git_datareg.git import ssh
from git_datareg.protocol import sftp
from git_datareg.sshurl import SshUrl

#: A machine that says nothing for so long, and owes replies, is taken for gone; seconds.
_IDLE = 60.0
#: How long a connection may take to end by itself.
_GRACE = 1.0
#: After a refusal it is not asked again so soon: it would say, and ask the user, the same.
_REFUSED = 30.0
#: More connections than this to one machine only load it.
_MOST = 4
_PIECE = 256 * 1024
_SHOWN = 200
#: The exit code of an ssh that failed itself; any other is that of what it started.
_SSH_FAILED = 255
#: That of a shell without the command.
_NO_COMMAND = 127

Waiting: TypeAlias = "SimpleQueue[sftp.Reply | None]"


class Channel:
    """One connection. Its methods may be called from several threads at once.

    They raise StorageUnavailableError when it is broken, and then it stays so.
    """

    def __init__(self, url: SshUrl, running: ssh.Ssh, *, ask: bool) -> None:
        self._url = url
        self._ssh = running
        self._ask = ask
        self._numbers = itertools.count(1)
        self._waiting: dict[int, Waiting] = {}
        self._sending = threading.Lock()
        self._last_heard = time.monotonic()
        self._is_connected = False
        #: Why it can't be used any more. While it is None, what we send to is open.
        self._fault: StorageError | None = None
        self._is_over = threading.Event()
        #: Handles that nobody needs, to be told with the next request.
        self._unneeded: deque[bytes] = deque()
        #: An entry for each who uses it now; appending and popping need no lock.
        self.users: deque[None] = deque()
        self.extensions: frozenset[str] = frozenset()
        #: How many bytes one read or write may have.
        self.data_limit = sftp.SAFE_DATA
        os.set_blocking(running.input, False)
        threading.Thread(target=self._listen, name="sftp", daemon=True).start()

    def connect(self) -> None:
        """Begin the conversation. Raises any StorageError: here ssh's own faults show."""
        version: Waiting = SimpleQueue()
        self._waiting[0] = version
        self._write(sftp.hello())
        # While ssh asks the user something, nothing is heard.
        reply = self._received(version, is_patient=self._ask)
        assert isinstance(reply, sftp.Version), "no other reply has the number 0"
        self._is_connected = True
        self.extensions = reply.extensions
        if sftp.LIMITS in self.extensions:
            self.data_limit = sftp.data_limit(self.ask(sftp.limits()))

    @property
    def is_alive(self) -> bool:
        """Whether nothing is known to be wrong with it."""
        return self._fault is None

    def ask(self, request: sftp.Request) -> sftp.Reply:
        """The reply to a request."""
        return self.receive(self.send(request))

    def send(self, request: sftp.Request) -> Waiting:
        """Send a request, whose reply `receive` gives; the server works in this order."""
        number = next(self._numbers)
        waiting: Waiting = SimpleQueue()
        self._waiting[number] = waiting
        self._write(sftp.encode(request, number))
        return waiting

    def receive(self, waiting: Waiting) -> sftp.Reply:
        """The reply to a request that was sent; can be had once."""
        return self._received(waiting)

    def tell(self, *requests: sftp.Request) -> None:
        """Send requests whose replies nobody wants; it does not matter if they get lost."""
        packets = [sftp.encode(request, next(self._numbers)) for request in requests]
        with suppress(StorageError):
            self._write(b"".join(packets))

    def forget(self, handle: bytes) -> None:
        """Give up a handle some time; to be used where no lock may be taken."""
        self._unneeded.append(handle)

    def end(self) -> None:
        """Break it off, when what was sent has been done."""
        if self._sending.acquire(timeout=_GRACE):
            self._fault = self._fault or self._unavailable("the connection was closed here")
            self._ssh.hang_up()
            self._sending.release()
        if not self._is_over.wait(_GRACE):
            self._give_up(self._fault or self._unavailable("the connection was closed here"))

    def _received(self, waiting: Waiting, *, is_patient: bool = False) -> sftp.Reply:
        while True:
            try:
                reply = waiting.get(timeout=_IDLE)
            except Empty:
                if not is_patient and time.monotonic() - self._last_heard >= _IDLE:
                    self._give_up(self._unavailable(f"no word for {_IDLE:.0f} s"))
                continue
            if reply is None:
                raise self._broken()
            return reply

    def _broken(self) -> StorageError:
        # Anew for each who hears of it: several threads may.
        fault = self._fault
        assert fault is not None, "it is told before anybody hears that it is over"
        return type(fault)(fault.message, *fault.hints)

    def _give_up(self, fault: StorageError) -> None:
        """End it without waiting for the listener: a shell around ssh may die before ssh does."""
        self._break(fault)
        self._ssh.stop()

    def _break(self, fault: StorageError) -> None:
        """Tell all who wait, and all who come, that it is over."""
        self._fault = self._fault or fault
        self._is_over.set()
        while self._waiting:
            with suppress(KeyError):
                self._waiting.popitem()[1].put(None)

    def _write(self, data: bytes) -> None:
        with self._sending:
            if self._fault is not None:
                raise self._broken()
            while self._unneeded:
                request = sftp.close(self._unneeded.popleft())
                data = sftp.encode(request, next(self._numbers)) + data
            left = memoryview(data)
            try:
                while left:
                    left = left[self._written(left) :]
            except BaseException:
                # Half a packet makes the rest unintelligible.
                self._give_up(self._unavailable("a request was broken off"))
                raise

    def _written(self, data: memoryview) -> int:
        try:
            return os.write(self._ssh.input, data)
        except BlockingIOError:
            poll = select.poll()
            poll.register(self._ssh.input, select.POLLOUT)
            if not poll.poll(_IDLE * 1000):
                self._give_up(self._unavailable(f"nothing taken for {_IDLE:.0f} s"))
            if self._fault is not None:
                raise self._broken() from None
            return 0
        except OSError as error:
            # Why it is over shows at its other end.
            if not self._is_over.wait(_IDLE):
                self._give_up(self._unavailable("ssh is gone"))
            raise self._broken() from error

    def _listen(self) -> None:
        """Give each reply to who waits for it, until there are no more."""
        replies, said = sftp.Replies(), ""
        try:
            while data := os.read(self._ssh.output, _PIECE):
                self._last_heard = time.monotonic()
                for number, reply in replies.feed(data):
                    waiting = self._waiting.pop(number, None)
                    if waiting is not None:
                        waiting.put(reply)
        except (OSError, RemoteProtocolError) as error:
            said = str(error)
        finally:
            self._break(self._ended(self._ssh.ended(), said))
            # Nobody begins to send any more, and who does now has an end.
            with self._sending:
                self._ssh.close()

    def _ended(self, code: int, said: str) -> StorageError:
        """Why it is over, as far as anybody has said."""
        lines = self._ssh.said()
        words = said or _last(lines)
        if self._is_connected:
            return self._unavailable(words or "the connection ended")
        name = str(self._url.location)
        fault = _refusal(lines, self._url, ask=self._ask)
        if fault is None and code == _NO_COMMAND and "not found" in words:
            return StorageNotConfiguredError(
                f"no ssh ({words}) for {name}", "look at GIT_SSH_COMMAND and core.sshCommand"
            )
        if fault is None and (said or (code >= 0 and code != _SSH_FAILED)):
            fault = _no_sftp(words or f"exit code {code}", name)
        return fault or self._unavailable(words or f"ssh ended with {code}")

    def _unavailable(self, why: str) -> StorageUnavailableError:
        return StorageUnavailableError(f"{why}: {self._url.location}")


def _last(lines: list[str]) -> str:
    """What was said last, fit for a message: it may come from the other machine."""
    text = lines[-1] if lines else ""
    return "".join(char if char.isprintable() else "?" for char in text[:_SHOWN])


def _no_sftp(why: str, name: str) -> StorageError:
    return StorageNotFoundError(
        f"no SFTP at {name} ({why})",
        "its sshd must offer the subsystem sftp; or use another storage:"
        " git datareg storage add -d NAME URL",
    )


def _refusal(lines: list[str], url: SshUrl, *, ask: bool) -> StorageError | None:
    """The fault that ssh's words tell, if another attempt would come out the same."""
    name = str(url.location)
    by_hand = (
        f"ssh {url.destination}" if url.port is None else f"ssh -p {url.port} {url.destination}"
    )

    def told(*words: str) -> str:
        return next((_last([line]) for line in lines if any(word in line for word in words)), "")

    if told("IDENTIFICATION HAS CHANGED", "REVOKED HOST KEY", "host key mismatch"):
        return StorageDeniedError(
            f"the host key is not the one that ssh knows: {name}",
            f"if the server has a new one, see what ssh says: {by_hand}",
        )
    if told("Host key verification failed", "host key is known for"):
        return StorageDeniedError(
            f"the host key is not known to ssh: {name}",
            f"look at it, and accept it once: {by_hand}",
        )
    if denied := told("Permission denied", "Too many authentication failures"):
        why = "check your keys" if ask else "ssh could not ask for a password; check your keys"
        return StorageDeniedError(f"{denied}: {name}", f"{why}: {by_hand}")
    if refused := told("subsystem request failed"):
        return _no_sftp(refused, name)
    if wrong := told("Bad owner or permissions", "Bad configuration option", "bad configuration"):
        return StorageNotConfiguredError(f"{wrong}: {name}")
    return None


class Channels:
    """The connections to one machine, as many as are used at once. Made when they are needed."""

    def __init__(self, url: SshUrl, command: tuple[str, ...], *, ask: bool, most: int) -> None:
        self._url = url
        self._command = command
        self._ask = ask
        self._most = most
        self._lock = threading.Lock()
        self._channels: list[Channel] = []
        self._is_opening = False
        self._refusal: StorageError | None = None
        self._refused_until = 0.0

    @contextmanager
    def use(self) -> Iterator[Channel]:
        """A connection, maybe with others who use it too. Raises any StorageError."""
        channel = self.take()
        try:
            yield channel
        finally:
            channel.users.pop()

    def take(self) -> Channel:
        """As `use`; the caller removes an entry from `users` when it needs it no more."""
        with self._lock:
            self._channels = [each for each in self._channels if each.is_alive]
            best = min(self._channels, key=lambda each: len(each.users), default=None)
            if best is None:
                best = self._first()
            has_room = not self._is_opening and len(self._channels) < self._most
            if is_ours := bool(best.users) and has_room:
                self._is_opening = True
            best.users.append(None)
        return self._another(best) if is_ours else best

    def end(self) -> None:
        """Break all of them off."""
        for channel in self._channels:
            channel.end()

    def _first(self) -> Channel:
        """The connection on which the others wait: only one at a time may ask the user."""
        if self._refusal is not None and time.monotonic() < self._refused_until:
            raise type(self._refusal)(self._refusal.message, *self._refusal.hints)
        try:
            channel = self._opened(ask=self._ask)
        except StorageUnavailableError:
            raise
        except StorageError as error:
            self._refusal, self._refused_until = error, time.monotonic() + _REFUSED
            raise
        self._channels.append(channel)
        return channel

    def _another(self, busy: Channel) -> Channel:
        """One more connection, which asks nobody; the busy one if there can't be more."""
        try:
            channel = self._opened(ask=False)
        except StorageError:
            self._most = len(self._channels)
            return busy
        except BaseException:
            busy.users.pop()
            raise
        finally:
            self._is_opening = False
        channel.users.append(None)
        busy.users.pop()
        with self._lock:
            self._channels.append(channel)
        return channel

    def _opened(self, *, ask: bool) -> Channel:
        url = self._url
        running = ssh.start(self._command, url.destination, url.port, "sftp", ask=ask)
        channel = Channel(url, running, ask=ask)
        channel.connect()
        return channel


#: By process (a fork has none of them), program, machine, and whether it may ask.
_known: dict[tuple[object, ...], Channels] = {}
_lock = threading.Lock()


def channels(url: SshUrl, *, ask: bool, most: int | None = None) -> Channels:
    """The connections to the machine of a URL; all who ask alike share them, for good."""
    command = ssh.command()
    key = (os.getpid(), command, url.destination, url.port, ask)
    with _lock:
        if key not in _known:
            if not _known:
                atexit.register(_end)
            _known[key] = Channels(url, command, ask=ask, most=min(_MOST, most or _MOST))
        return _known[key]


def _end() -> None:
    for key, channels in _known.items():
        if key[0] == os.getpid():
            channels.end()
