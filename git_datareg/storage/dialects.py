"""What file systems of fsspec do each in its own way, by their schemes."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any, Final

#: What we have back ends for.
OURS: Final = frozenset(("file", "memory", "http", "https", "s3", "ssh", "sftp"))
#: Those that lead to this machine, or around another one, or run code.
REFUSED: Final = frozenset(
    (
        *("local", "asynclocal", "data", "pyscript", "dask", "jupyter", "jlab", "dbfs"),
        *("git", "dvc", "datareg", "generic", "reference", "dir", "cached", "blockcache"),
        *("filecache", "simplecache", "async_wrapper", "asyncwrapper", "zip", "tar", "libarchive"),
    )
)
#: They create an object only if there is none, in one step, and nobody sees half of it.
CREATING: Final = frozenset(("gs", "gcs", "az", "abfs", "abfss"))
#: No directories, but buckets, which are not ours to make; an object is there when it is whole.
BUCKETS: Final = CREATING | {"s3a", "oss", "oci", "ocilake", "tos", "tosfs", "obs", "cos", "cosn"}
#: What a repository may name: the user's credentials go to that cloud, and nowhere else.
FOREIGN: Final = CREATING
#: One connection, of which a thread must have its own.
PER_THREAD: Final = frozenset(("ftp",))

#: What makes them known, where fsspec by itself does not know them.
PACKAGES: Final[Mapping[str, str]] = {"abfss": "adlfs"}
#: Arguments that suit us better than the file system's own defaults.
ARGUMENTS: Final[Mapping[str, Mapping[str, object]]] = {
    # We ask again ourselves.
    "webdav": {"retry": False},
}
#: The loggers of its libraries.
LOGGERS: Final[Mapping[str, tuple[str, ...]]] = {
    **{key: ("gcsfs", "google") for key in ("gs", "gcs")},
    **{key: ("adlfs", "azure", "msal") for key in ("az", "abfs", "abfss")},
    "webdav": ("webdav4", "httpx", "httpcore"),
    "s3a": ("s3fs", "aiobotocore", "botocore"),
}
#: How one is told to send no credentials.
ANONYMOUS: Final[Mapping[str, Mapping[str, object]]] = {
    **{key: {"token": "anon"} for key in ("gs", "gcs")},
    **{key: {"anon": True} for key in ("az", "abfs", "abfss", "s3a", "oss")},
}


def hush(scheme: str) -> None:
    """Keep what its libraries log off stderr, where Python puts it if nobody has said otherwise.

    Among it are tracebacks of faults that we report. A program that sets up
    logging has it all.
    """
    import logging

    for name in ("fsspec", *LOGGERS.get(scheme, ())):
        logger = logging.getLogger(name)
        if not logger.handlers:
            logger.addHandler(logging.NullHandler())


def write(scheme: str, system: Any, path: str, value: bytes) -> None:
    """Write a whole file, in a directory that is there."""
    if scheme == "webdav":
        # fsspec's way looks at the directory each time, and lists all that is in it.
        system.client.upload_fileobj(io.BytesIO(value), path, overwrite=True)
    else:
        system.pipe_file(path, value)


def abandon(scheme: str, file: Any) -> None:
    """Give up an upload that is not whole."""
    # To close it, now or when it is collected, would make a value of what is there.
    file.closed = True
    # What Google holds of it costs nothing, and vanishes; gcsfs would try for a minute.
    if scheme not in ("gs", "gcs"):
        file.discard()


def rename(scheme: str, system: Any, path: str, target: str) -> None:
    """Give a file another name; in one step, and not one that is taken, where that can be had."""
    if scheme == "webdav":
        # RFC 4918, section 9.9.3: with "Overwrite: F" it fails when there is one.
        system.client.move(path, target, overwrite=False)
        return
    from fsspec.spec import AbstractFileSystem

    if type(system).mv is AbstractFileSystem.mv:
        # It copies too, and takes brackets in a path for a pattern.
        system.cp_file(path, target)
        system.rm_file(path)
    else:
        system.mv(path, target)


def closer(scheme: str, system: Any) -> Callable[[], object] | None:
    """What closes the connections of a file system that doesn't do so when it is dropped."""
    if scheme == "webdav":
        close: Callable[[], object] = system.client.http.close
        return close
    return None
