"""Which of many objects a storage has already, without asking for each of them.

Objects are named by digests, so they are spread evenly: one folder of 256 tells how
many there are. Where a listing is cheaper than a request for each object it is made.
"""

from __future__ import annotations

from collections.abc import Collection

from git_datareg import workers
from git_datareg.errors import StorageDeniedError
from git_datareg.layout import ObjectStorage, object_key
from git_datareg.pointer import Pointer

#: Fewer objects are asked for one by one.
_WORTH = 64
#: How many keys one request lists (S3's ListObjectsV2; others give more).
_PAGE = 1000
_FOLDERS = 256
_OBJECTS = "objects/"


def listed(
    storage: ObjectStorage, pointers: Collection[Pointer], *, most: int
) -> dict[str, int] | None:
    """The sizes of the objects that are there, by key; those of others may be among them.

    None where it costs less to ask for each, or where we may not list: not everybody
    who may read and write may. Raises the storage's other faults.
    """
    if len(pointers) < _WORTH or not storage.storage.properties.can_list:
        return None
    try:
        return _listed(storage, pointers, most)
    except StorageDeniedError:
        return None


def _listed(
    storage: ObjectStorage, pointers: Collection[Pointer], most: int
) -> dict[str, int] | None:
    folders = sorted({_folder(pointer) for pointer in pointers})
    found = _sizes(storage, folders[0])
    pages = -(-len(found) // _PAGE) or 1
    all_pages = -(-len(found) * _FOLDERS // _PAGE) or 1
    if all_pages <= len(folders) // most:
        # Page by page, but in a few of them.
        return _sizes(storage, _OBJECTS)
    if pages * len(folders) >= len(pointers):
        return None
    for _, sizes in workers.each(folders[1:], lambda folder: _sizes(storage, folder), most=most):
        found |= sizes
    return found


def _folder(pointer: Pointer) -> str:
    return object_key(pointer.digest).rpartition("/")[0] + "/"


def _sizes(storage: ObjectStorage, prefix: str) -> dict[str, int]:
    return {info.key: info.size for info in storage.storage.list(prefix)}
