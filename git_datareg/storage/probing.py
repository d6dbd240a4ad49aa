"""Whether a storage keeps its word that nothing is ever replaced: it is tried out.

Some servers take the condition that a key be new, and ignore it. A registry whose refs
are in such a storage would lose pushes.
"""

from __future__ import annotations

import io
import threading
import uuid
from contextlib import suppress

from git_datareg.errors import StorageDeniedError
from git_datareg.storage import Storage

_RACERS = 8
_ROUNDS = 3


def creates_once(storage: Storage) -> bool:
    """Whether of all that put one new key nobody is told so whose value is not there.

    They come one after the other and several at once. The one whose value it is may be told
    otherwise, when a reply was lost. Costs some dozens of requests. Leaves nothing behind
    where deleting is allowed. Raises what the storage does otherwise.
    """
    return _takes_turns(storage) and all(_races(storage) for _ in range(_ROUNDS))


def _takes_turns(storage: Storage) -> bool:
    key = _new_key()
    try:
        told = [_put(storage, key, value) for value in (b"first", b"second", b"first")]
        return told[1:] == [False, False] and _value(storage, key) == b"first"
    finally:
        # Who may push need not be allowed to delete.
        with suppress(StorageDeniedError):
            storage.delete(key)


def _races(storage: Storage) -> bool:
    key = _new_key()
    told: dict[int, bool | BaseException] = {}
    together = threading.Barrier(_RACERS)

    def race(number: int) -> None:
        together.wait()
        try:
            told[number] = _put(storage, key, b"%d" % number)
        except BaseException as error:
            told[number] = error

    racers = [threading.Thread(target=race, args=(each,), daemon=True) for each in range(_RACERS)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    try:
        for outcome in told.values():
            if isinstance(outcome, BaseException):
                raise outcome
        winners = {b"%d" % number for number, has_won in told.items() if has_won}
        return winners <= {_value(storage, key)}
    finally:
        # Who may push need not be allowed to delete.
        with suppress(StorageDeniedError):
            storage.delete(key)


def _new_key() -> str:
    return f"probe/{uuid.uuid4().hex}"


def _put(storage: Storage, key: str, value: bytes) -> bool:
    return storage.put(key, io.BytesIO(value), len(value))


def _value(storage: Storage, key: str) -> bytes:
    with storage.open(key) as stream:
        return stream.read(100)
