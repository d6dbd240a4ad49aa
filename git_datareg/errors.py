"""Every fault that git-datareg reports, as one tree.

    DataregError                  any expected fault; `exit_code` is the contract's
    ├── UsageError                2    the call's words are off
    ├── NotFoundError             3    (also FileNotFoundError)
    │   ├── RepositoryNotFoundError    no repository at that path or URL
    │   ├── RevisionNotFoundError      no such branch, tag or commit
    │   ├── PathNotFoundError          no such path at that revision
    │   └── ObjectNotFoundError        no storage that was asked has the object
    ├── IsDirectoryError          3    (also IsADirectoryError) a file was meant
    ├── RefusedError              4    going on would destroy data of the user's
    │   ├── TargetExistsError          (also FileExistsError)
    │   ├── LocalChangesError          files differ from what is recorded
    │   └── UnsafePathError            a name from outside that leads out of its place
    ├── StorageError              5
    │   ├── StorageNotConfiguredError  nowhere to put or get objects
    │   ├── StorageNotFoundError       the configured place is not there
    │   ├── StorageDeniedError         (also PermissionError)
    │   ├── StorageReadOnlyError       (also OSError) a write to a place that is only read
    │   └── StorageUnavailableError    may work later: network, server, disk
    ├── CorruptError              6
    │   ├── IntegrityError             bytes that are not what their name says
    │   ├── PointerError               a pointer of a version or hash unknown here
    │   └── MetafileError              an import metafile or `.datareg` that can't be read
    ├── GitError                  128  git itself failed
    ├── ProtocolError             128
    │   ├── LocalProtocolError         we broke a protocol: a bug of ours
    │   └── RemoteProtocolError        the peer broke it
    └── PartialError              1    some were done, some failed; each was reported

Where Python has a class of its own for a fault, ours derive from it too, with
its `errno`, so that code that uses the API like `open()` catches what it
expects (in numbers, which are the same on all systems: each start of git's
filter loads this module). All survive pickling: pools hand them on. Printing
and exit codes are the business of the programs (`git_datareg.main`).
"""

from __future__ import annotations


class RegistryWarning(UserWarning):
    """Something about a registry that its user should know of, and that stops nothing.

    It goes through Python's `warnings`; our programs print it.
    """


class DataregError(Exception):
    """An expected fault, fit to be shown to a user.

    `message` is one line that names the path or URL; `hints` are next steps,
    a line each.
    """

    exit_code = 1

    def __init__(self, message: str, *hints: str) -> None:
        super().__init__(message)
        self.message = message
        self.hints = hints

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[object, ...]:
        # With the attributes: else what a subclass adds would be lost between processes.
        return (type(self), (self.message, *self.hints), self.__dict__)


class UsageError(DataregError):
    """The arguments don't go together or name something that can't be meant."""

    exit_code = 2


class NotFoundError(DataregError, FileNotFoundError):
    """Something that was named does not exist."""

    exit_code = 3
    errno = 2  # ENOENT


class RepositoryNotFoundError(NotFoundError):
    """There is no Git repository at the path or URL."""


class RevisionNotFoundError(NotFoundError):
    """The repository has no such branch, tag or commit."""


class PathNotFoundError(NotFoundError):
    """The revision (or the work tree) has no such path."""


class ObjectNotFoundError(NotFoundError):
    """None of the storages asked has the object."""


class IsDirectoryError(DataregError, IsADirectoryError):
    """A directory was named where a file is needed."""

    exit_code = 3
    errno = 21  # EISDIR


class RefusedError(DataregError):
    """Going on would destroy something of the user's."""

    exit_code = 4


class TargetExistsError(RefusedError, FileExistsError):
    """The target of a write is already there."""

    errno = 17  # EEXIST


class LocalChangesError(RefusedError):
    """Files have changes that are recorded nowhere."""


class UnsafePathError(RefusedError):
    """A name from outside (a tree, a metafile) that leads out of its place."""


class StorageError(DataregError):
    """A storage could not do what was asked of it."""

    exit_code = 5


class StorageNotConfiguredError(StorageError):
    """No storage is configured and none follows from the Git remote."""


class StorageNotFoundError(StorageError):
    """The configured storage is not there."""


class StorageDeniedError(StorageError, PermissionError):
    """The storage refuses us: credentials or permissions."""

    errno = 13  # EACCES


class StorageReadOnlyError(StorageError, OSError):
    """A write to a storage, or a registry, that can only be read."""

    errno = 30  # EROFS


class StorageUnavailableError(StorageError):
    """The storage failed in a way that may pass: network, server, disk.

    `retry_after` is how many seconds the server wants us to wait, if it said so.
    """

    retry_after: float | None = None


class CorruptError(DataregError):
    """Bytes that can't be what they claim to be."""

    exit_code = 6


class IntegrityError(CorruptError):
    """An object's bytes don't have the digest or size that names them."""


class PointerError(CorruptError):
    """A pointer of a version or an algorithm that is not known here."""


class MetafileError(CorruptError):
    """An import metafile or a `.datareg` file that can't be understood."""


class GitError(DataregError):
    """Git failed. `stderr` is what it said."""

    exit_code = 128

    def __init__(self, message: str, *hints: str, stderr: str = "") -> None:
        super().__init__(message, *hints)
        self.stderr = stderr


class ProtocolError(DataregError):
    """A conversation with Git left its protocol; it can't go on."""

    exit_code = 128


class LocalProtocolError(ProtocolError):
    """We were about to say what the protocol does not allow: a bug of ours."""


class RemoteProtocolError(ProtocolError):
    """The peer said what the protocol does not allow."""


class PartialError(DataregError):
    """Part of the work failed; what could be done is done.

    `failures` are the single faults, already worded for the user.
    """

    exit_code = 1

    def __init__(self, message: str, *hints: str, failures: tuple[DataregError, ...] = ()) -> None:
        super().__init__(message, *hints)
        self.failures = failures
