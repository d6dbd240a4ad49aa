"""Git's index file: the stat data of single entries, written in place.

Owns the byte layout of gitformat-index(5), versions 2 to 4, as far as that
needs, and Git's lock on the file. Does not know pointers, filters or why a
file changed; what it can't do exactly it leaves to `git update-index`.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Mapping
from functools import lru_cache
from struct import Struct
from struct import error as StructError
from typing import NamedTuple

_HEADER = Struct(">4sII")
_EXTENSION = Struct(">4sI")
_TIMES_AND_INODE = Struct(">6I")
_OWNER_AND_SIZE = Struct(">3I")
_MODE_AT, _OWNER_AT, _OID_AT = 24, 28, 40
_STAGE, _EXTENDED, _LENGTH = 0x3000, 0x4000, 0x0FFF
#: Extended flags Git knows: skip-worktree and intent-to-add.
_KNOWN_EXTENDED = 0x6000
#: What Git hashes with, by the length of an object id in hex.
_ALGORITHMS = {40: "sha1", 64: "sha256"}
#: Git's limit (lockfile.c) for a chain of symlinks to the index.
_MAX_SYMLINKS = 5


class EntryStat(NamedTuple):
    """What the index is to remember of one file whose content is the blob `oid`.

    `oid` is 40 or 64 hex digits; times are nanoseconds since 1970, `size` is in bytes.
    """

    oid: str
    mtime_ns: int
    ctime_ns: int
    dev: int
    ino: int
    uid: int
    gid: int
    size: int

    @classmethod
    def from_stat(cls, oid: str, result: os.stat_result) -> EntryStat:
        """The stat data of a file that was found to hold `oid`."""
        return cls(
            oid,
            _one(result.st_mtime_ns),
            result.st_ctime_ns,
            _one(result.st_dev),
            result.st_ino,
            _one(result.st_uid),
            _one(result.st_gid),
            result.st_size,
        )


@lru_cache(maxsize=64)
def _one(number: int) -> int:
    """The same number, and the same object for many files: there may be a million."""
    return number


class Patched(NamedTuple):
    """An index after `patch`, and the paths that are as they were."""

    data: bytes | bytearray
    missed: frozenset[bytes]


class _Foreign(Exception):
    """The index is damaged, or of a kind that can't be patched."""


class _Walk(NamedTuple):
    """What one pass over the entries found."""

    places: dict[bytes, int]
    end: int
    racy: bool


def patch(data: bytes, updates: Mapping[bytes, EntryStat]) -> Patched:
    """The index `data` with new stat data for the paths in `updates`.

    Only the stat fields of entries with that path, stage 0, a regular file's
    mode and the given object id are overwritten, and the trailing checksum is
    renewed (or stays all zero, see index.skipHash in git-config(1)). Entries
    never move and extensions stay as they are. Every other path is in `missed`:
    all of them when the index is damaged, split or of an unknown version, or
    when the object ids are not of one length. Never raises for what is in `data`.
    """
    return _patch(data, updates, 0)[0]


def patch_file(
    index_path: bytes | str, updates: Mapping[bytes, EntryStat], *, timeout: float = 5.0
) -> frozenset[bytes]:
    """Patch the index at `index_path` under Git's lock; returns the paths missed.

    As `patch`; readers see the old or the new file. All paths are missed when
    there is no index or when its lock can't be had within `timeout` seconds.
    The index is not replaced when nothing changes. OSError goes to the caller,
    the lock is gone by then.

    The file may keep its old mtime: while other entries are not older than the
    index, Git compares their content (Documentation/technical/racy-git), and a
    newer index would make changes to them invisible. So entries patched with
    an mtime before the index's are the ones that Git trusts for certain.
    """
    path = _resolve(os.fsencode(index_path))
    lock_path = path + b".lock"
    lock = _lock(lock_path, timeout)
    if lock is None:
        return frozenset(updates)
    try:
        missed, changed = _write_patched(path, lock, updates)
        if changed:
            os.rename(lock_path, path)
    except BaseException:
        os.unlink(lock_path)
        raise
    if not changed:
        os.unlink(lock_path)
    return missed


def _patch(data: bytes, updates: Mapping[bytes, EntryStat], since: int) -> tuple[Patched, bool]:
    """`patch`, and whether an entry that was not patched has an mtime >= `since` (seconds)."""
    sizes = {len(update.oid) for update in updates.values()}
    if len(sizes) != 1 or not sizes <= _ALGORITHMS.keys():
        return Patched(data, frozenset(updates)), True
    (hex_size,) = sizes
    try:
        checksum = _checksum(data, hex_size)
        walk = _walk(data, hex_size // 2, updates, since)
    except (_Foreign, StructError, ValueError, IndexError):
        return Patched(data, frozenset(updates)), True
    if not walk.places:
        return Patched(data, frozenset(updates)), walk.racy
    buffer = bytearray(data)
    for path, at in walk.places.items():
        _put(buffer, at, updates[path])
    if any(checksum):
        with memoryview(buffer) as view:
            checksum = _digest(view[: -len(checksum)], hex_size)
        buffer[-len(checksum) :] = checksum
    return Patched(buffer, frozenset(updates.keys() - walk.places.keys())), walk.racy


def _checksum(data: bytes, hex_size: int) -> bytes:
    """The trailing checksum, known to be right or all zero."""
    body, checksum = memoryview(data)[: -(hex_size // 2)], data[-(hex_size // 2) :]
    if any(checksum) and _digest(body, hex_size) != checksum:
        raise _Foreign
    return checksum


def _digest(body: memoryview, hex_size: int) -> bytes:
    # hashlib takes 5 ms to import, and most Git commands patch nothing.
    import hashlib

    return hashlib.new(_ALGORITHMS[hex_size], body, usedforsecurity=False).digest()


def _walk(data: bytes, hash_size: int, updates: Mapping[bytes, EntryStat], since: int) -> _Walk:
    """Go over the whole index and find the entries to patch.

    A search for the bytes of an entry would be faster by a few milliseconds in
    an index of 100,000 entries, but names and extensions can be made to hold
    such bytes, and only the walk knows a split index and racy entries.
    """
    signature, version, count = _HEADER.unpack_from(data)
    if signature != b"DIRC" or version not in (2, 3, 4):
        raise _Foreign
    visit = _walk_compressed if version == 4 else _walk_padded
    walk = visit(data, count, hash_size, updates, since)
    _check_extensions(data, walk.end, len(data) - hash_size)
    return walk


def _walk_padded(
    data: bytes, count: int, hash_size: int, updates: Mapping[bytes, EntryStat], since: int
) -> _Walk:
    """Versions 2 and 3: whole names, entries padded with NUL to a multiple of 8 bytes."""
    head = Struct(f">8xI{_OID_AT + hash_size - 12}xH").unpack_from
    lengths = {min(len(path), _LENGTH) for path in updates}
    places: dict[bytes, int] = {}
    racy = False
    at = _HEADER.size
    for _ in range(count):
        mtime, flags = head(data, at)
        length = flags & _LENGTH
        name_at = at + _OID_AT + hash_size + 2
        if flags & _EXTENDED:
            name_at = _skip_extended(data, name_at)
        if length == _LENGTH:
            length = data.index(0, name_at) - name_at
        if flags & _LENGTH in lengths:
            path = data[name_at : name_at + length]
            if path in updates and _is_entry(data, at, flags, updates[path].oid):
                places[path] = at
                mtime = -1
        if mtime >= since:
            racy = True
        at += (name_at - at + length + 8) & ~7
    return _Walk(places, at, racy)


def _walk_compressed(
    data: bytes, count: int, hash_size: int, updates: Mapping[bytes, EntryStat], since: int
) -> _Walk:
    """Version 4: each name is given by what differs from the one before, no padding."""
    head = Struct(f">8xI{_OID_AT + hash_size - 12}xH").unpack_from
    places: dict[bytes, int] = {}
    racy = False
    path = b""
    at = _HEADER.size
    for _ in range(count):
        mtime, flags = head(data, at)
        name_at = at + _OID_AT + hash_size + 2
        if flags & _EXTENDED:
            name_at = _skip_extended(data, name_at)
        drop = data[name_at]
        name_at += 1
        if drop & 0x80:
            drop, name_at = _long_number(data, drop, name_at)
        if drop > len(path):
            raise _Foreign
        end = data.index(0, name_at)
        path = path[: len(path) - drop] + data[name_at:end]
        if path in updates and _is_entry(data, at, flags, updates[path].oid):
            places[path] = at
            mtime = -1
        if mtime >= since:
            racy = True
        at = end + 1
    return _Walk(places, at, racy)


def _skip_extended(data: bytes, at: int) -> int:
    """The place after the extended flags; Git, too, stops at one it does not know."""
    if int.from_bytes(data[at : at + 2], "big") & ~_KNOWN_EXTENDED:
        raise _Foreign
    return at + 2


def _long_number(data: bytes, byte: int, at: int) -> tuple[int, int]:
    """An "offset encoding" number (gitformat-pack(5)) that began with `byte`, and its end."""
    value = byte & 0x7F
    while byte & 0x80:
        byte = data[at]
        at += 1
        value = ((value + 1) << 7) | (byte & 0x7F)
    return value, at


def _is_entry(data: bytes, at: int, flags: int, oid: str) -> bool:
    """Whether the entry at `at` is a regular file's, merged, and holds `oid`."""
    mode = int.from_bytes(data[at + _MODE_AT : at + _OWNER_AT], "big")
    if flags & _STAGE or stat.S_IFMT(mode) != stat.S_IFREG or mode >> 16:
        return False
    return data[at + _OID_AT : at + _OID_AT + len(oid) // 2] == bytes.fromhex(oid)


def _check_extensions(data: bytes, at: int, end: int) -> None:
    """Make sure that `at` begins extensions that reach to `end` and may be passed over."""
    while at < end:
        name, size = _EXTENSION.unpack_from(data, at)
        # A lower-case name means: keep off unless you understand it. `sdir` only
        # says that there are entries for directories; `link` is a split index.
        if not name[:1].isupper() and name != b"sdir":
            raise _Foreign
        at += _EXTENSION.size + size
    if at != end:
        raise _Foreign


def _put(buffer: bytearray, at: int, update: EntryStat) -> None:
    """Write the stat fields, each cut to 32 bits as Git does (statinfo.c).

    For a multiple of 4 GiB that leaves size 0, which makes every Git compare
    the content; the 0x80000000 of Git >= 2.43 is "modified" for older ones.
    """
    times = (*divmod(update.ctime_ns, 10**9), *divmod(update.mtime_ns, 10**9))
    numbers = (*times, update.dev, update.ino, update.uid, update.gid, update.size)
    cut = [number & 0xFFFFFFFF for number in numbers]
    _TIMES_AND_INODE.pack_into(buffer, at, *cut[:6])
    _OWNER_AND_SIZE.pack_into(buffer, at + _OWNER_AT, *cut[6:])


def _resolve(path: bytes) -> bytes:
    """Where Git would lock and write an index that may be a symlink."""
    for _ in range(_MAX_SYMLINKS):
        try:
            target = os.readlink(path)
        except OSError:
            break
        path = os.path.join(os.path.dirname(path), target)
    return path


def _lock(path: bytes, timeout: float) -> int | None:
    """Create Git's lock file, waiting for its present holder; None: not to be had."""
    deadline = time.monotonic() + timeout
    pause = 0.005
    while True:
        try:
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            left = deadline - time.monotonic()
            if left <= 0:
                return None
        except (FileNotFoundError, NotADirectoryError):
            return None
        time.sleep(min(pause, left))
        pause = min(pause * 2, 0.1)


def _write_patched(
    path: bytes, lock: int, updates: Mapping[bytes, EntryStat]
) -> tuple[frozenset[bytes], bool]:
    """Write the patched index to `lock` and close it: paths missed, whether it differs.

    Not synced: Git does not sync its index either (core.fsync), and it can be made anew.
    """
    with open(lock, "wb") as out:
        try:
            with open(path, "rb") as index:
                old = os.fstat(index.fileno())
                data = index.read()
        except FileNotFoundError:
            return frozenset(updates), False
        patched, racy = _patch(data, updates, old.st_mtime_ns // 10**9)
        if patched.data == data:
            return patched.missed, False
        out.write(patched.data)
        out.flush()
        os.fchmod(lock, stat.S_IMODE(old.st_mode))
        if racy:
            os.utime(lock, ns=(old.st_atime_ns, old.st_mtime_ns))
    return patched.missed, True
