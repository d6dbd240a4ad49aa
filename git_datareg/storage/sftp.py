"""A directory of a machine that ssh reaches, as storage: `ssh://`, `sftp://`, `host:path`.

What lies there is as in a directory of this machine (`local`), so that a place can
be used both ways. A new value grows beside the others, and gets its name by a
rename that never replaces.
"""

from __future__ import annotations

import os
import posixpath
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import BinaryIO, cast

from git_datareg.errors import (
    IntegrityError,
    ObjectNotFoundError,
    StorageDeniedError,
    StorageError,
    StorageNotFoundError,
    StorageUnavailableError,
)
from git_datareg.git import ssh
from git_datareg.location import Location
from git_datareg.protocol import sftp
from git_datareg.sshurl import SshUrl
from git_datareg.storage import Info, Options, Properties, checked
from git_datareg.storage.channel import Channel, Channels, channels
from git_datareg.storage.handles import Stream, write_all
from git_datareg.storage.place import Place

_CONNECTIONS = 8
#: As in `local`: where new values grow, and what killed writers left there.
_INCOMING = b".incoming"
_PREFIX = b"value-"
_DAY = 24 * 3600
#: How many requests without data are.
_BATCH = 64


class SftpStorage(Place):
    """Values as files below one directory, which the first `put` makes in an existing one."""

    def __init__(self, location: Location, options: Options, *, writable: bool = True) -> None:
        super().__init__(
            location, Properties(writable=writable, connections=options.connections or _CONNECTIONS)
        )
        self._connection = _Connection(SshUrl.parse(location), options)
        self._is_tidy = False
        #: Whether the directory is there, or can be made; asked once.
        self._has_root = False
        self._made: set[str] = set()
        #: The files that may not be on disk yet.
        self._unsynced: dict[bytes, None] = {}

    def info(self, key: str) -> Info | None:
        """See Storage."""
        checked(key)
        with self._connection.use() as (channel, root):
            return self._info(channel, root, key, channel.ask(sftp.stat(_path(root, key))))

    def open(self, key: str, offset: int = 0, length: int | None = None) -> BinaryIO:
        """See Storage."""
        checked(key)
        with self._connection.use() as (channel, root):
            path = _path(root, key)
            found, opened = channel.send(sftp.stat(path)), channel.send(sftp.open_to_read(path))
            reply = channel.receive(opened)
            info = self._info(channel, root, key, channel.receive(found))
            if isinstance(reply, sftp.Handle):
                if info is not None:
                    end = info.size if length is None else min(info.size, offset + length)
                    stream = Stream(channel, reply.handle, offset, end, self._fault)
                    return cast(BinaryIO, stream)
                channel.forget(reply.handle)
            elif info is not None:
                raise self._fault(reply)
            raise ObjectNotFoundError(f"not in {self.location}: {key}")

    def put(self, key: str, source: BinaryIO, size: int) -> bool:
        """See Storage."""
        checked(key)
        self._check_writable()
        with self._connection.use() as (channel, root):
            found = channel.send(sftp.stat(_path(root, key)))
            temporary, handle = self._new_file(channel, root)
            leftovers = [sftp.close(handle), sftp.remove(temporary)]
            try:
                if self._info(channel, root, key, channel.receive(found)) is not None:
                    return False
                self._make_directories(channel, root, key)
                if not write_all(channel, handle, source, size, self._fault):
                    raise IntegrityError(f"not {size} bytes, as promised for {self.url(key)}")
                # Another may get this handle as soon as it is closed.
                closing = leftovers.pop(0)
                # It may tell that what was written before has failed.
                self._expect_ok(channel.ask(closing))
                if not self._name(channel, root, temporary, key):
                    return False
                leftovers.clear()
                return True
            finally:
                self._give_up(channel, leftovers)

    def list(self, prefix: str) -> Iterator[Info]:
        """See Storage."""
        directory = prefix.rpartition("/")[0]
        with self._connection.use() as (channel, root):
            found = sorted(self._values(channel, root, checked(directory) if directory else ""))
            if not found:
                self._check_root(channel, root)
        yield from (info for info in found if info.key.startswith(prefix))

    def delete(self, key: str) -> None:
        """See Storage."""
        checked(key)
        self._check_writable()
        with self._connection.use() as (channel, root):
            reply = channel.ask(sftp.remove(_path(root, key)))
            if _is_absent(reply):
                self._check_root(channel, root)
            else:
                self._expect_ok(reply)

    def flush(self) -> None:
        """See Storage. Where the server can't sync (only OpenSSH's can), nothing is done."""
        todo = list(self._unsynced)
        if not todo:
            return
        with self._connection.use() as (channel, root):
            if sftp.FSYNC in channel.extensions:
                self._sync(channel, todo)
                above = {directory for path in todo for directory in _above(path, root)}
                self._sync(channel, sorted(above, reverse=True), are_directories=True)
        for path in todo:
            self._unsynced.pop(path, None)

    def _info(self, channel: Channel, root: bytes, key: str, reply: sftp.Reply) -> Info | None:
        """What the reply to a `stat` of the key's file says."""
        if _is_absent(reply):
            self._check_root(channel, root)
            return None
        if not isinstance(reply, sftp.Found):
            raise self._fault(reply)
        size, _, mtime = reply.attributes
        if not reply.attributes.is_file or size is None:
            return None
        if self.properties.writable and (mtime is None or mtime > time.time() - _DAY):
            # Another may have put it just now, and `flush` is asked for all.
            self._unsynced[_path(root, key)] = None
        return Info(key, size)

    def _check_root(self, channel: Channel, root: bytes) -> None:
        """Tell a storage that is empty (and made by the first put) from one that is not there."""
        if self._has_root:
            return
        parent = posixpath.dirname(root) or b"."
        # Itself at last: another's first put may just have made it.
        requests = sftp.lstat(root), sftp.stat(parent), sftp.stat(root)
        asked = [channel.send(request) for request in requests]
        entry, above, there = map(channel.receive, asked)
        can_be_made = self.properties.writable and _is_absent(entry) and _is_directory(above)
        if not _is_directory(there) and not can_be_made:
            if isinstance(there, sftp.Status) and there.code == sftp.PERMISSION_DENIED:
                raise self._fault(there)
            raise StorageNotFoundError(
                f"storage is not there: {self.location}",
                "create it, or change its URL: git datareg storage list",
            )
        self._has_root = True

    def _new_file(self, channel: Channel, root: bytes) -> tuple[bytes, bytes]:
        """A new file for a value that is to come, and its handle."""
        incoming = b"%s/%s" % (root, _INCOMING)
        path = b"%s/%s%s" % (incoming, _PREFIX, os.urandom(8).hex().encode())
        reply = channel.ask(sftp.open_new(path))
        if _is_absent(reply):
            self._check_root(channel, root)
            # Who is there already says so, and we don't care.
            channel.tell(sftp.make_directory(root), sftp.make_directory(incoming))
            reply = channel.ask(sftp.open_new(path))
        if not isinstance(reply, sftp.Handle):
            raise self._fault(reply, incoming)
        if not self._is_tidy:
            self._is_tidy = True
            self._remove_stale(channel, incoming, path)
        return path, reply.handle

    def _remove_stale(self, channel: Channel, incoming: bytes, new: bytes) -> None:
        """Remove what killed writers left, by the clock that gave the new file its time."""
        reply = channel.ask(sftp.stat(new))
        now = reply.attributes.mtime if isinstance(reply, sftp.Found) else None
        if now is None:
            return
        for _, (name, attributes) in self._entries(channel, {"": incoming}):
            age = now - (now if attributes.mtime is None else attributes.mtime)
            if name.startswith(_PREFIX) and age > _DAY:
                channel.tell(sftp.remove(b"%s/%s" % (incoming, name)))

    def _make_directories(self, channel: Channel, root: bytes, key: str) -> None:
        """The directories of a key; the server makes them before it names the file."""
        for end, char in enumerate(key):
            if char == "/" and key[:end] not in self._made:
                channel.tell(sftp.make_directory(_path(root, key[:end])))
                self._made.add(key[:end])

    def _give_up(self, channel: Channel, leftovers: Sequence[sftp.Request]) -> None:
        """Remove what a put leaves, as far as it can be; a fault that is on its way says more."""
        with suppress(StorageError):
            for each in [channel.send(request) for request in leftovers]:
                channel.receive(each)

    def _name(self, channel: Channel, root: bytes, temporary: bytes, key: str) -> bool:
        """Give a whole file its name; False when that is taken."""
        path = _path(root, key)
        reply = channel.ask(sftp.rename(temporary, path))
        if _is_absent(reply):
            # The directory was removed since we made it.
            self._made.clear()
            self._make_directories(channel, root, key)
            reply = channel.ask(sftp.rename(temporary, path))
        if isinstance(reply, sftp.Status) and reply.code == sftp.OK:
            self._unsynced[path] = None
            return True
        found = channel.ask(sftp.stat(path))
        if self._info(channel, root, key, found) is not None:
            return False
        if isinstance(found, sftp.Found):
            raise StorageUnavailableError(f"not a file: {self.url(key)}")
        raise self._fault(reply, path)

    def _values(self, channel: Channel, root: bytes, top: str) -> Iterator[Info]:
        """The values below a directory, in no order."""
        todo = deque([top])
        while todo:
            batch = [todo.popleft() for _ in range(min(_BATCH, len(todo)))]
            found: list[tuple[str, sftp.Attributes]] = []
            links: list[str] = []
            directories = {each: _path(root, each) if each else root for each in batch}
            for directory, (raw, attributes) in self._entries(channel, directories):
                if raw.startswith(b".") or not raw.isascii():
                    continue
                name = f"{directory}/{raw.decode()}" if directory else raw.decode()
                if attributes.is_link or attributes.mode is None:
                    links.append(name)
                else:
                    found.append((name, attributes))
            asked = [(name, channel.send(sftp.stat(_path(root, name)))) for name in links]
            for name, waiting in asked:
                reply = channel.receive(waiting)
                if isinstance(reply, sftp.Found):
                    found.append((name, reply.attributes))
            todo += (name for name, attributes in found if attributes.is_directory)
            for name, attributes in found:
                if attributes.is_file and attributes.size is not None:
                    yield Info(name, attributes.size, attributes.mtime)

    def _entries(
        self, channel: Channel, directories: dict[str, bytes]
    ) -> Iterator[tuple[str, sftp.Entry]]:
        """What is in directories, read all at once; nothing of those that are not there."""
        handles: dict[str, bytes] = {}
        asked = [
            (each, channel.send(sftp.open_directory(directories[each]))) for each in directories
        ]
        try:
            for each, waiting in asked:
                reply = channel.receive(waiting)
                if isinstance(reply, sftp.Handle):
                    handles[each] = reply.handle
                elif not _is_absent(reply):
                    raise self._fault(reply, directories[each])
            while handles:
                asked = [
                    (each, channel.send(sftp.read_directory(handles[each]))) for each in handles
                ]
                for each, waiting in asked:
                    reply = channel.receive(waiting)
                    if isinstance(reply, sftp.Names):
                        yield from ((each, entry) for entry in reply.entries)
                    elif isinstance(reply, sftp.Status) and reply.code == sftp.EOF:
                        channel.forget(handles.pop(each))
                    else:
                        raise self._fault(reply, directories[each])
        finally:
            for handle in handles.values():
                channel.forget(handle)

    def _sync(
        self, channel: Channel, paths: Sequence[bytes], *, are_directories: bool = False
    ) -> None:
        """Have files put to disk; a directory as well, where the server opens it."""
        for start in range(0, len(paths), _BATCH):
            batch = paths[start : start + _BATCH]
            opened = [channel.send(sftp.open_to_read(path)) for path in batch]
            syncing = []
            for path, reply in zip(batch, map(channel.receive, opened), strict=True):
                if isinstance(reply, sftp.Handle):
                    syncing.append((path, channel.send(sftp.fsync(reply.handle))))
                    channel.forget(reply.handle)
                elif not _is_absent(reply) and not are_directories:
                    raise self._fault(reply, path)
            for path, waiting in syncing:
                reply = channel.receive(waiting)
                if not are_directories:
                    self._expect_ok(reply, path)

    def _expect_ok(self, reply: sftp.Reply, path: bytes = b"") -> None:
        if not isinstance(reply, sftp.Status) or reply.code != sftp.OK:
            raise self._fault(reply, path)

    def _fault(self, reply: sftp.Reply, path: bytes = b"") -> StorageError:
        where = f"{self.location} ({os.fsdecode(path)})" if path else str(self.location)
        if not isinstance(reply, sftp.Status):
            return StorageUnavailableError(f"the server gave a {type(reply).__name__}: {where}")
        words = reply.message or f"SFTP status {reply.code}"
        if reply.code == sftp.PERMISSION_DENIED:
            return StorageDeniedError(f"{words}: {where}", "check the permissions of the storage")
        # All that OpenSSH says of a full disk, for one, is "Failure".
        return StorageUnavailableError(f"the server could not do it ({words}): {where}")


class _Connection:
    """How a storage reaches its directory: the connections of this process, and the path there."""

    def __init__(self, url: SshUrl, options: Options) -> None:
        self._url = url
        self._options = options
        self._root = self._url.path
        self._found: tuple[int, Channels] | None = None

    @contextmanager
    def use(self) -> Iterator[tuple[Channel, bytes]]:
        """A connection, and the path of the storage's directory. Raises any StorageError."""
        found = self._found
        # After a fork, the connections are our parent's.
        if found is None or found[0] != os.getpid():
            ask = self._options.is_trusted and ssh.can_ask()
            most = self._options.connections
            found = self._found = (os.getpid(), channels(self._url, ask=ask, most=most))
        with found[1].use() as channel:
            if self._root.startswith(b"~"):
                self._root = self._expanded(channel, self._root)
            yield channel, self._root

    def _expanded(self, channel: Channel, path: bytes) -> bytes:
        if sftp.EXPAND_PATH in channel.extensions:
            reply = channel.ask(sftp.expand_path(path))
            if isinstance(reply, sftp.Names) and reply.entries:
                return reply.entries[0].name
        raise StorageNotFoundError(
            f"the server does not know this home: {self._url.location}", "write the path in full"
        )


def existing(url: SshUrl, suffixes: Sequence[str], options: Options) -> set[str]:
    """The suffixes that make a file's path of a place's path. Raises any StorageError."""
    with _Connection(url, options).use() as (channel, path):
        asked = [channel.send(sftp.stat(path + each.encode())) for each in suffixes]
        replies = [channel.receive(each) for each in asked]
    found = set()
    for each, reply in zip(suffixes, replies, strict=True):
        if isinstance(reply, sftp.Found) and reply.attributes.is_file:
            found.add(each)
    return found


def _path(root: bytes, name: str) -> bytes:
    return b"%s/%s" % (root.rstrip(b"/"), os.fsencode(name))


def _above(path: bytes, root: bytes) -> Iterator[bytes]:
    """The directories that a file below the root is in, and the one that has the root."""
    while len(path) > len(root):
        path = posixpath.dirname(path)
        yield path
    yield posixpath.dirname(root) or b"."


def _is_absent(reply: sftp.Reply) -> bool:
    return isinstance(reply, sftp.Status) and reply.code == sftp.NO_SUCH_FILE


def _is_directory(reply: sftp.Reply) -> bool:
    return isinstance(reply, sftp.Found) and reply.attributes.is_directory
