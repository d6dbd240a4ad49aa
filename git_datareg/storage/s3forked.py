"""What we ask of obstore, asked by botocore: for the child of a process that used obstore.

obstore's threads are lost in a fork, and whoever asks it then waits for ever. Data loaders
fork, so a slower way is better than none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from git_datareg.storage import s3faults
from git_datareg.storage.s3faults import Rejected


class ForkedStore:
    """A bucket by a client of botocore; raises Rejected for what the server refuses.

    `request` is said with every request, `attributes` with each new value.
    """

    def __init__(
        self, client: Any, bucket: str, request: Mapping[str, str], attributes: Mapping[str, str]
    ) -> None:
        self._client = client
        self._named = {"Bucket": bucket, **request}
        self._attributes = attributes

    def head(self, path: str) -> dict[str, int]:
        """The value's `size`."""
        return {"size": self._call("head_object", Key=path)["ContentLength"]}

    def get(self, path: str, *, options: Mapping[str, Any]) -> ForkedAnswer:
        """The value, or the `range` of it that the options name."""
        wanted = options.get("range")
        if wanted is None:
            return ForkedAnswer(self._call("get_object", Key=path))
        if isinstance(wanted, Mapping):
            text = f"bytes={wanted['offset']}-"
        else:
            text = f"bytes={wanted[0]}-{wanted[1] - 1}"
        return ForkedAnswer(self._call("get_object", Key=path, Range=text))

    def put(self, path: str, data: bytes, *, mode: str, **_: object) -> None:
        """Store a value; with the mode "create" only under a new key."""
        condition = {"IfNoneMatch": "*"} if mode == "create" else {}
        self._call("put_object", Key=path, Body=data, **condition, **self._attributes)

    def delete(self, path: str) -> None:
        """Remove a value."""
        self._call("delete_object", Key=path)

    def list(
        self, root: str | None, *, offset: str | None, chunk_size: int
    ) -> Iterator[list[dict[str, Any]]]:
        """Path, size and age of all that is below `root` and behind `offset`."""
        named = {"Prefix": f"{root}/"} if root else {}
        if offset is not None:
            named["StartAfter"] = offset
        while True:
            page = self._call("list_objects_v2", MaxKeys=chunk_size, **named)
            yield [
                {"path": each["Key"], "size": each["Size"], "last_modified": each["LastModified"]}
                for each in page.get("Contents", ())
            ]
            if not page.get("IsTruncated"):
                return
            named["ContinuationToken"] = page["NextContinuationToken"]

    def sign(self, path: str, seconds: int) -> str:
        """A URL by which anybody may GET the value for so long."""
        named = {**self._named, "Key": path}
        url: str = self._client.generate_presigned_url(
            "get_object", Params=named, ExpiresIn=seconds
        )
        return url

    def _call(self, operation: str, **arguments: Any) -> Any:
        with _rejected():
            return getattr(self._client, operation)(**self._named, **arguments)


class ForkedAnswer:
    """An answer to GET."""

    def __init__(self, told: Mapping[str, Any]) -> None:
        self._body = told["Body"]
        # "bytes 0-9/100"
        part = told.get("ContentRange", "").partition(" ")[2].partition("/")[0]
        first = int(part.partition("-")[0]) if part else 0
        self.range = (first, first + told["ContentLength"])

    def bytes(self) -> _Bytes:
        """All of it."""
        with _rejected():
            return _Bytes(self._body.read())

    def stream(self, chunk_size: int) -> Iterator[Any]:
        """All of it, piece by piece."""
        with _rejected():
            yield from self._body.iter_chunks(chunk_size)


class _Bytes(bytes):
    """As obstore's own kind of bytes."""

    def to_bytes(self) -> bytes:
        return bytes(self)


@contextmanager
def _rejected() -> Iterator[None]:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise Rejected(s3faults.of_botocore(error)) from error
