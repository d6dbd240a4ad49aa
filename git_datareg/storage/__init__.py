"""Storages: places that keep values under keys, as one small interface.

A back end knows how to reach its place and nothing of objects, pointers or
repositories; what lies where is `git_datareg.layout`'s business. What differs
between places is said by `Properties`, never by the class.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, Protocol

from git_datareg.errors import StorageNotConfiguredError
from git_datareg.location import Location

if TYPE_CHECKING:
    from git_datareg.storage.credentials import Credentials


class Options(NamedTuple):
    """How a place is to be reached, where its URL doesn't say: what is configured for it.

    Everything but `endpoint` and `region` comes from the user alone, never from
    a repository. A back end leaves alone what means nothing to it.
    """

    #: S3: the server's URL, for any but AWS.
    endpoint: str | None = None
    region: str | None = None
    #: Whether the user named the place, endpoint included, so that the user's credentials
    #: may go there. Else they go to where the user's own configuration has them go anyway.
    is_trusted: bool = True
    #: Whether addresses of this machine and its network may be reached by what is not trusted.
    allow_private: bool = False
    #: S3: the profile of AWS's configuration files that has credentials, region, endpoint.
    profile: str | None = None
    #: Whether to send no credentials at all.
    is_anonymous: bool = False
    #: S3: whether the reader pays ("requester pays").
    request_payer: bool = False
    #: S3, server-side encryption: "AES256" or "aws:kms".
    encryption: str | None = None
    kms_key: str | None = None
    storage_class: str | None = None
    #: S3: whether the bucket is in the path or in the host's name; None as suits the endpoint.
    path_style: bool | None = None
    #: HTTP: whether the server takes PUT.
    put: bool = False
    #: HTTP: who is asked for a login when the server wants one, in this order.
    credentials: tuple[Credentials, ...] = ()
    #: The file (or directory) of certificates to trust, instead of the system's.
    ca_file: str | None = None
    #: How many requests at once; None as suits the place.
    connections: int | None = None
    #: fsspec: arguments of the file system, each a name and its text.
    arguments: tuple[tuple[str, str], ...] = ()


class Properties(NamedTuple):
    """What callers may count on for a storage."""

    #: Whether `put` and `delete` can work at all.
    writable: bool
    #: How many requests at once serve it best.
    connections: int
    #: Whether a request waits for another machine, so that small ones gain by going at once too.
    is_remote: bool = True
    #: Whether a part of a value costs no more than that part.
    has_ranges: bool = True
    #: Above so many bytes `put` by itself sends a value in parts, several at once.
    splits_above: int | None = None
    #: Whether `list` works.
    can_list: bool = True
    #: Whether of many who put one key at once exactly one gets True, and its value stays.
    #: Elsewhere `put` looks first, and who comes in between may be replaced.
    is_exclusive: bool = True


class Info(NamedTuple):
    """A value that is there: its key and its bytes' number."""

    key: str
    size: int
    #: When it was put, in seconds since the epoch by the storage's clock: only `list` tells
    #: it, and not of every storage.
    modified: float | None = None


class Storage(Protocol):
    """Values by key. Keys are relative, of ASCII, with "/" between their parts.

    No part is empty or begins with a dot; ValueError for such a key. No key is
    the folder of another. Every method may be called from several threads at
    once. Faults of the place are a StorageError that names it: NotFound when it
    is not there, Denied when credentials or permissions are the cause, ReadOnly
    for a write to what is only read, Unavailable when a later try may succeed.
    A place that is not there yet, but that the first `put` would make, holds no
    values.
    """

    @property
    def location(self) -> Location:
        """Where it is, for messages and metafiles."""
        ...

    @property
    def properties(self) -> Properties:
        """What this storage can do; the same for its whole life."""
        ...

    def info(self, key: str) -> Info | None:
        """The value's size, or None when there is no such key."""
        ...

    def open(self, key: str, offset: int = 0, length: int | None = None) -> BinaryIO:
        """The value's bytes from `offset` on, as a stream that the caller closes.

        With `length` the caller reads no more than so many bytes, so that no
        more need be asked for; whether the stream ends there is not promised.
        Raises ObjectNotFoundError when there is no such key. A stream may end
        early or hold wrong bytes: callers verify. Reading it raises
        StorageUnavailableError when the connection breaks.
        """
        ...

    def put(self, key: str, source: BinaryIO, size: int) -> bool:
        """Store `size` bytes of `source` under a new key; False when the key is there already.

        All or nothing: until the whole value is stored, the key is absent,
        also after a crash. What is there is never replaced: of many who put
        one key at once, one gets True; `Properties.is_exclusive` says where that is
        not so. Raises IntegrityError when `source` has more or fewer bytes; what
        `source` itself raises comes through as it is.
        """
        ...

    def replace(self, key: str, value: bytes) -> None:
        """Store a small value under a key, in place of the one that may be there.

        For hints alone: of several at once any may win, and a reader may for a moment find
        none.
        """
        ...

    def list(self, prefix: str) -> Iterator[Info]:
        """The values whose keys begin with `prefix`, sorted by key.

        What is put or deleted meanwhile may be among them or not. Raises
        StorageError where `Properties.can_list` is false.
        """
        ...

    def delete(self, key: str) -> None:
        """Remove a value; no fault when there is none."""
        ...

    def flush(self) -> None:
        """Return when everything that `put` stored would survive a loss of power."""
        ...

    def file(self, key: str) -> str | None:
        """A file on this machine that holds the value, or None; it must not be changed."""
        ...

    def url(self, key: str) -> str:
        """A URL that names the value; nothing is looked up."""
        ...

    def presign(self, key: str, seconds: int) -> str | None:
        """A URL that anybody may GET for so many seconds; None where there is no such thing.

        The storage itself is not asked.
        """
        ...


def checked(key: str) -> str:
    """The key itself; raises ValueError for one that could lead out of a storage."""
    if not key.isascii() or any(part[:1] in ("", ".") for part in key.split("/")):
        raise ValueError(f"not a key: {key!r}")
    return key


def open_storage(
    location: Location, options: Options | None = None, *, writable: bool = True
) -> Storage:
    """The storage at `location`; nothing is asked or created yet.

    What another machine serves is asked again when it fails (`retrying`). Raises
    StorageNotConfiguredError for a scheme that no back end serves.
    """
    from git_datareg.storage import tracing

    storage = _connected(location, options or Options(), writable)
    if tracing.is_on():
        storage = tracing.Tracing(storage)
    if storage.properties.is_remote:
        from git_datareg.storage.retrying import Retrying

        storage = Retrying(storage)
    return storage


def _connected(location: Location, options: Options, writable: bool) -> Storage:
    # Each is imported when it is needed: some bring large libraries with them.
    if location.path is not None:
        from git_datareg.storage.local import LocalStorage

        return LocalStorage(location, writable=writable)
    if location.scheme == "memory":
        from git_datareg.storage.memory import MemoryStorage

        return MemoryStorage.shared(location, writable=writable)
    if location.scheme == "s3":
        from git_datareg.storage.s3 import S3Storage

        return S3Storage(location, options, writable=writable)
    if location.scheme in ("http", "https"):
        from git_datareg.storage.http import HttpStorage

        return HttpStorage(location, options, writable=writable)
    if location.scheme in ("ssh", "sftp"):
        from git_datareg.storage.sftp import SftpStorage

        return SftpStorage(location, options, writable=writable)
    from git_datareg.storage import filesystems

    if filesystems.serves(location, options):
        return filesystems.FileSystemStorage(location, options, writable=writable)
    raise StorageNotConfiguredError(
        f"no storage back end for {location.scheme}: {location}",
        "gs, az, abfs, webdav and more need: pip install 'git-datareg[fsspec]', and its package",
    )
