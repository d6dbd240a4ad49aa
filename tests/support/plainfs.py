"""A file system of fsspec for tests: `plain://`, a directory with as little as fsspec has.

What it can do is what `AbstractFileSystem` makes of a few methods, so that
everything else goes fsspec's own ways.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Any

import fsspec
from fsspec.spec import AbstractBufferedFile, AbstractFileSystem


class PlainFileSystem(AbstractFileSystem):  # type: ignore[misc]
    """Files of this machine by absolute paths. `before` is told each method's name and path."""

    protocol = "plain"
    root_marker = "/"

    def __init__(
        self,
        secret: str = "",
        before: Callable[[str, str], None] = lambda name, path: None,
    ) -> None:
        super().__init__()
        if not isinstance(secret, str):
            raise ValueError(f"not a secret: {secret}")
        self.before = before

    def ls(self, path: str, detail: bool = True, **kwargs: Any) -> list[Any]:
        """See fsspec."""
        self.before("ls", path)
        path = self._strip_protocol(path)
        if not os.path.isdir(path):
            found = [self.info(path)]
        else:
            found = [self.info(f"{path}/{name}") for name in os.listdir(path)]
        return found if detail else [each["name"] for each in found]

    def info(self, path: str, **kwargs: Any) -> dict[str, Any]:
        """See fsspec."""
        self.before("info", path)
        path = self._strip_protocol(path)
        kind = "directory" if os.path.isdir(path) else "file"
        return {"name": path, "type": kind, "size": os.stat(path).st_size}

    def _open(self, path: str, mode: str = "rb", **kwargs: Any) -> Any:
        self.before("open", path)
        return open(path, mode)

    def mkdir(self, path: str, create_parents: bool = True, **kwargs: Any) -> None:
        """See fsspec."""
        self.before("mkdir", path)
        os.mkdir(path)

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        """See fsspec."""
        self.before("makedirs", path)
        os.makedirs(path, exist_ok=exist_ok)

    def cp_file(self, path1: str, path2: str, **kwargs: Any) -> None:
        """See fsspec."""
        self.before("cp_file", path1)
        with open(path1, "rb") as source, open(path2, "wb") as target:
            target.write(source.read())

    def _rm(self, path: str) -> None:
        self.before("rm", path)
        if os.path.isdir(path):
            raise IsADirectoryError(errno.EISDIR, "Is a directory", path)
        os.unlink(path)


class Upload(AbstractBufferedFile):  # type: ignore[misc]
    """As fsspec's clouds write: what was written is a file when it is closed, whoever closes it."""

    def _initiate_upload(self) -> None:
        self.parts = b""

    def _upload_chunk(self, final: bool = False) -> bool:
        self.parts += self.buffer.getvalue()
        if final:
            # Binary, and "x" where a new one is meant.
            with open(self.path, "xb" if self.mode == "xb" else "wb") as file:
                file.write(self.parts)
        return True


class CloudFileSystem(PlainFileSystem):
    """The same as a cloud has it: `cloud://bucket/path`, and directories are made as needed."""

    protocol = "cloud"
    root_marker = ""
    #: The directory that has the buckets.
    top = ""

    def info(self, path: str, **kwargs: Any) -> dict[str, Any]:
        """See fsspec."""
        found = super().info(f"{self.top}/{self._strip_protocol(path)}")
        return {**found, "name": found["name"].removeprefix(f"{self.top}/")}

    def ls(self, path: str, detail: bool = True, **kwargs: Any) -> list[Any]:
        """See fsspec."""
        path = self._strip_protocol(path)
        return [self.info(f"{path}/{name}") for name in os.listdir(f"{self.top}/{path}")]

    def cat_file(self, path: str, start: int = 0, end: int | None = None, **kwargs: Any) -> bytes:
        """See fsspec."""
        with open(f"{self.top}/{path}", "rb") as file:
            return file.read()[start:end]

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: Any) -> None:
        """See fsspec."""
        with self.open(path, "xb" if mode == "create" else "wb") as file:
            file.write(value)

    def _open(self, path: str, mode: str = "rb", block_size: Any = None, **kwargs: Any) -> Any:
        self.before("open", path)
        path = f"{self.top}/{path}"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return Upload(self, path, mode, block_size=1024 * 1024)

    def _rm(self, path: str) -> None:
        super()._rm(f"{self.top}/{path}")


fsspec.register_implementation("plain", PlainFileSystem, clobber=True)
fsspec.register_implementation("cloud", CloudFileSystem, clobber=True)
