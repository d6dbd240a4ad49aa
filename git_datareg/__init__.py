"""Data registries that are just Git.

Start at `git_datareg.api`: open, read, list, get, import and update data files
of any Git repository that is a registry. Every fault it reports is a
`DataregError`. What is not named in `__all__`, here or in `api`, is internal
and may change in any release.

Owns what `import git_datareg` gives. Holds no logic, and loads no more than
the errors until more is asked for: each start of git's filter runs this file.
"""

from __future__ import annotations

from git_datareg.errors import (
    CorruptError,
    DataregError,
    GitError,
    IntegrityError,
    IsDirectoryError,
    LocalChangesError,
    LocalProtocolError,
    MetafileError,
    NotFoundError,
    ObjectNotFoundError,
    PartialError,
    PathNotFoundError,
    PointerError,
    ProtocolError,
    RefusedError,
    RemoteProtocolError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    StorageDeniedError,
    StorageError,
    StorageNotConfiguredError,
    StorageNotFoundError,
    StorageReadOnlyError,
    StorageUnavailableError,
    TargetExistsError,
    UnsafePathError,
    UsageError,
)

__version__ = "0.1.0"

__all__ = [
    "CorruptError",
    "DataregError",
    "GitError",
    "IntegrityError",
    "IsDirectoryError",
    "LocalChangesError",
    "LocalProtocolError",
    "MetafileError",
    "NotFoundError",
    "ObjectNotFoundError",
    "PartialError",
    "PathNotFoundError",
    "PointerError",
    "ProtocolError",
    "RefusedError",
    "RemoteProtocolError",
    "RepositoryNotFoundError",
    "RevisionNotFoundError",
    "StorageDeniedError",
    "StorageError",
    "StorageNotConfiguredError",
    "StorageNotFoundError",
    "StorageReadOnlyError",
    "StorageUnavailableError",
    "TargetExistsError",
    "UnsafePathError",
    "UsageError",
    "__version__",
    "api",
]


def __getattr__(name: str) -> object:
    """Load `api` on first use (PEP 562)."""
    if name == "api":
        from importlib import import_module

        return import_module("git_datareg.api")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
