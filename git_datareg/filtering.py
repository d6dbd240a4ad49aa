"""What clean and smudge mean: content to pointers and back, one file at a time.

Knows pointers and a directory of objects. Does not know git's protocols or
storages. What clean answers depends on content, pathname and tracked data
alone, so that everybody gets the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import NamedTuple

from git_datareg.digest import HEX_LENGTH, digest_of
from git_datareg.objects import ObjectDirectory, ObjectWriter, Unless, never
from git_datareg.pointer import MAX_LENGTH, Pointer, looks_like_pointer

#: Files that tell Git or us how to work; as pointers they would tell nothing.
_NEVER_POINTERS = frozenset((b".gitattributes", b".gitignore", b".gitmodules", b".datareg"))
#: Content up to this many bytes is held in memory before it goes to a file.
_HELD = 1024 * 1024
_CHUNK = 1024 * 1024
#: Larger files are given to git as pointers and put in place when git is done: git would
#: hold them in memory whole.
DEFER_FROM = 1024 * 1024
_SHA256_LENGTH = 64
#: The bytes of the marks of UTF-8, UTF-16 and UTF-32.
_BYTE_ORDER_MARKS = b"\xef\xbb\xbf\xff\xfe"


def is_data(path: bytes) -> bool:
    """Whether a file of that name may become a pointer."""
    name = path.rpartition(b"/")[2]
    return name not in _NEVER_POINTERS and not name.endswith(b".datareg")


def clean(
    spool: Spool,
    path: bytes,
    threshold: int,
    imported: str | None = None,
    unless: Unless = never,
) -> Iterator[bytes]:
    """What Git stores for a file: a pointer, or the data.

    The object that a pointer is to is stored then, if it is not there, `unless` it need not be.

    Empty files, files below the threshold (bytes) and files that are pointers
    already stay as they are. Raises PointerError for a pointer that is not
    understood; then, as with OSError, nothing is stored.

    For a file of an import, `imported` is the id that the index has, "" for
    none: what is plain in its source stays so, whatever tracks it here; data
    that is as it was imported stays in its source's storage; and no threshold
    counts, since that is for one's own files.
    """
    held = spool.held()
    is_pointer = held is not None and Pointer.parse(held) is not None
    if not spool.size or is_pointer or not is_data(path):
        return spool.content()
    if imported is not None:
        text = spool.pointer().encode()
        if _blob_id(iter((text,)), len(text), imported) == imported:
            return iter((text,))
        if _blob_id(spool.content(), spool.size, imported) == imported:
            return spool.content()
    elif spool.size < threshold:
        return spool.content()
    return iter((spool.store(unless).encode(),))


def _blob_id(content: Iterator[bytes], size: int, like: str) -> str:
    """The id that Git gives a blob, with the hash of the id `like`."""
    # Loaded for imports only: the filter must start quickly.
    import hashlib

    hasher = hashlib.new("sha256" if len(like) == _SHA256_LENGTH else "sha1", b"blob %d\0" % size)
    for piece in content:
        hasher.update(piece)
    return hasher.hexdigest()


def smudge(spool: Spool) -> Pointer | None:
    """The pointer that a blob is, or None for one that stays as it is.

    Raises PointerError for a pointer that is not understood.
    """
    held = spool.held()
    return Pointer.parse(held) if held is not None else None


def may_be_converted(spool: Spool) -> bool:
    """Whether content may be a pointer in other line ends or another encoding.

    Git converts blobs by `core.autocrlf`, `eol` and `working-tree-encoding`
    before smudge sees them (gitattributes(5)).
    """
    held = spool.held() or b""
    text = held.replace(b"\0", b"").replace(b"\r", b"").lstrip(_BYTE_ORDER_MARKS)
    is_short = len(held) <= 4 * MAX_LENGTH and len(text) > HEX_LENGTH
    return is_short and text != held and looks_like_pointer(text)


def fingerprint(content: bytes | bytearray) -> Pointer:
    """The pointer that bytes would have as an object."""
    return Pointer(digest_of(content), len(content))


def read_file(path: str) -> Iterator[bytes]:
    """A file's content in pieces."""
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk


class Spool:
    """Holds a blob's content, of any length, until all of it has come.

    A context manager; short content stays in memory, long content in a file
    that is gone at the end. `head` is what has come already, and short.
    """

    def __init__(self, objects: ObjectDirectory, head: bytes = b"") -> None:
        self._objects = objects
        self._held = [head]
        self._size = len(head)
        self._writer: ObjectWriter | None = None

    def __enter__(self) -> Spool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._writer is not None:
            self._writer.__exit__(kind, error, trace)

    def write(self, data: bytes | memoryview) -> None:
        """Take the next piece; OSError when it can't be kept."""
        self._size += len(data)
        if self._writer is None and self._size <= _HELD:
            self._held.append(bytes(data))
            return
        if self._writer is None:
            self._writer = self._objects.writer()
            for piece in self._held:
                self._writer.write(piece)
            self._held.clear()
        self._writer.write(data)

    @property
    def size(self) -> int:
        """Bytes taken so far."""
        return self._size

    def held(self) -> bytes | None:
        """All of the content, if it is short enough to be in memory."""
        return self._all() if self._writer is None else None

    def content(self) -> Iterator[bytes]:
        """All of the content, in pieces."""
        return iter((self._all(),)) if self._writer is None else self._writer.content(_CHUNK)

    def pointer(self) -> Pointer:
        """The pointer that the content has as an object."""
        return fingerprint(self._all()) if self._writer is None else self._writer.pointer

    def store(self, unless: Unless = never) -> Pointer:
        """Make the content an object, as `clean` says; returns its pointer."""
        if self._writer is not None:
            return self._writer.commit(unless=unless)
        return self._objects.store(self._all(), unless)

    def _all(self) -> bytes:
        # Joined once: content that came in one piece is not copied at all.
        if len(self._held) > 1:
            self._held = [b"".join(self._held)]
        return self._held[0]


class Smudged(NamedTuple):
    """A file that Git was given: `blob` is its id in Git, `content` what the file is to hold.

    `deferred`: Git was given the pointer's text, and the content is to follow.
    """

    path: bytes
    blob: str
    content: Pointer
    deferred: bool
