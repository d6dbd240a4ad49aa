from __future__ import annotations

import io
import threading
from collections.abc import Callable

import pytest

from git_datareg import history, plainfiles
from git_datareg.digest import digest_of
from git_datareg.errors import (
    CorruptError,
    ObjectNotFoundError,
    StorageDeniedError,
    StorageReadOnlyError,
    StorageUnavailableError,
)
from git_datareg.generation import Generation, Pack
from git_datareg.history import HINT_KEY, History, State, record_key
from git_datareg.location import Location
from git_datareg.storage import Properties
from git_datareg.storage.memory import MemoryStorage
from git_datareg.storage.wrapping import Wrapper

ID = "1" * 40


def following(state: State | None, nonce: str = "0" * 32) -> Generation:
    """A generation that may come after that state."""
    return Generation(
        number=state.generation.number + 1 if state else 1,
        parent=state.digest if state else None,
        nonce=nonce,
        time="2026-11-27T12:00:00Z",
        object_format="sha1",
        head="refs/heads/main",
        refs={"refs/heads/main": ID},
        peeled={},
        packs=(),
    )


class Failing(Wrapper):
    """A storage whose calls may be broken by a test."""

    def __init__(self, storage: MemoryStorage) -> None:
        super().__init__(lambda: storage)
        self.storage = storage
        #: Called with a key before and after each put; what it raises is raised.
        self.before: Callable[[str], None] = lambda key: None
        self.after: Callable[[str], None] = lambda key: None
        self.properties_given = storage.properties
        self.opened: list[str] = []

    @property
    def properties(self) -> Properties:
        return self.properties_given

    def open(self, key: str, offset: int = 0, length: int | None = None) -> io.BufferedIOBase:
        self.opened.append(key)
        return super().open(key, offset, length)  # type: ignore[return-value]

    def put(self, key: str, source: io.BytesIO, size: int) -> bool:  # type: ignore[override]
        self.before(key)
        done = super().put(key, source, size)
        self.after(key)
        return done

    def replace(self, key: str, value: bytes) -> None:
        self.before(key)
        super().replace(key, value)


@pytest.fixture
def storage() -> Failing:
    return Failing(MemoryStorage(Location("memory://registry")))


@pytest.fixture
def past(storage: Failing) -> History:
    return History(storage)


def pushed(past: History, times: int = 1) -> State:
    """The state after so many more pushes."""
    state = past.newest()
    for _ in range(times):
        new = following(state)
        assert past.append(new)
        state = past.told(new, state)
    assert state is not None
    return state


def cut(key: str) -> None:
    raise StorageUnavailableError(f"cut off: {key}")


def remove(storage: Failing, key: str) -> None:
    storage.delete(key)


def put(storage: Failing, key: str, text: bytes) -> None:
    storage.storage.replace(key, text)


def text_of(storage: Failing, key: str) -> bytes:
    with storage.storage.open(key) as stream:
        return stream.read()


def test_there_is_nothing_at_first(past: History) -> None:
    assert past.newest() is None
    assert not past.is_told()


def test_the_newest_is_what_was_appended(past: History, storage: Failing) -> None:
    state = pushed(past, 3)
    assert state.generation.number == 3
    assert History(storage).newest() == state
    assert past.is_told()


def test_who_looks_again_needs_two_requests(past: History, storage: Failing) -> None:
    pushed(past, 5)
    storage.opened.clear()
    past.newest()
    assert storage.opened == [HINT_KEY, record_key(6)]


@pytest.mark.parametrize(
    "hint", [None, 1, 3, b"", b"\xff", b"{", b"[]"], ids=["none", "1", "3", "0", "ff", "{", "[]"]
)
@pytest.mark.parametrize("lists", [True, False])
def test_a_hint_that_lags_is_no_harm(
    past: History, storage: Failing, hint: bytes | int | None, lists: bool
) -> None:
    state = pushed(past, 5)
    storage.properties_given = storage.properties_given._replace(can_list=lists)
    if hint is None:
        remove(storage, HINT_KEY)
    else:
        put(
            storage, HINT_KEY, text_of(storage, record_key(hint)) if isinstance(hint, int) else hint
        )
    assert past.newest() == state


def test_where_old_records_are_gone_the_last_ones_do(past: History, storage: Failing) -> None:
    state = pushed(past, 5)
    for number in range(1, 5):
        remove(storage, record_key(number))
    assert past.newest() == state
    remove(storage, HINT_KEY)
    assert past.newest() == state


@pytest.mark.parametrize("number", [2, 4, 5])
def test_a_record_that_does_not_follow_is_said(
    past: History, storage: Failing, number: int
) -> None:
    pushed(past, 5)
    changed = following(None)._replace(number=number, parent=digest_of(b"other"))
    put(storage, record_key(number), changed.encode())
    put(storage, HINT_KEY, text_of(storage, record_key(1)))
    with pytest.raises(CorruptError, match=rf"record {number} does not follow on {number - 1}"):
        past.newest()


@pytest.mark.parametrize("text", [b"", b"{}", b"\0" * 100])
def test_a_record_that_is_none_is_said(past: History, storage: Failing, text: bytes) -> None:
    pushed(past, 2)
    put(storage, record_key(3), text)
    with pytest.raises(CorruptError, match=r"0003 in memory://registry"):
        past.newest()


def test_a_record_of_another_number_is_said(past: History, storage: Failing) -> None:
    pushed(past, 2)
    put(storage, record_key(3), text_of(storage, record_key(2)))
    with pytest.raises(CorruptError, match="not the record of this number"):
        past.newest()


def test_a_record_without_end_is_said(
    past: History, storage: Failing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "MAX_LENGTH", 1000)
    put(storage, record_key(1), b"x" * 1001)
    with pytest.raises(CorruptError, match="more than 1000 bytes"):
        past.newest()


def test_of_two_at_once_one_is_appended(past: History, storage: Failing) -> None:
    state = pushed(past)
    assert past.append(following(state, "1" * 32))
    assert not past.append(following(state, "2" * 32))
    newest = past.newest()
    assert newest is not None
    assert newest.generation.nonce == "1" * 32


def test_of_many_at_once_one_is_appended(past: History) -> None:
    state = pushed(past)
    won: list[int] = []
    start = threading.Barrier(16)

    def push(number: int) -> None:
        start.wait()
        if past.append(following(state, f"{number:032x}")):
            won.append(number)

    threads = [threading.Thread(target=push, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    newest = past.newest()
    assert newest is not None
    assert [f"{number:032x}" for number in won] == [newest.generation.nonce]


def test_a_reply_that_is_lost_is_no_loss(past: History, storage: Failing) -> None:
    state = pushed(past)
    storage.after = cut
    new = following(state)
    assert past.append(new)
    assert History(storage).newest() == State(new, digest_of(new.encode()))


def test_a_retry_after_a_lost_reply_finds_its_own(past: History, storage: Failing) -> None:
    new = following(pushed(past))
    assert past.append(new)
    # As a client that asks again by itself sees it.
    assert past.append(new)


def test_a_request_that_is_lost_is_a_fault(past: History, storage: Failing) -> None:
    state = pushed(past)
    storage.before = cut
    with pytest.raises(StorageUnavailableError, match="cut off"):
        past.append(following(state))
    assert past.newest() == state


def test_a_request_that_is_lost_while_another_was_quicker_is_a_fault(
    past: History, storage: Failing
) -> None:
    state = pushed(past)
    other = following(state, "1" * 32)

    def overtaken(key: str) -> None:
        storage.storage.put(key, io.BytesIO(other.encode()), len(other.encode()))
        cut(key)

    storage.before = overtaken
    with pytest.raises(StorageUnavailableError, match="cut off"):
        past.append(following(state, "2" * 32))
    newest = past.newest()
    assert newest is not None
    assert newest.generation == other


def test_a_hint_that_can_not_be_written_is_no_fault(past: History, storage: Failing) -> None:
    state = pushed(past)
    new = following(state)
    assert past.append(new)
    storage.before = cut
    told = past.told(new, state)
    assert text_of(storage, HINT_KEY) == state.generation.encode()
    assert past.newest() == told


def test_who_tells_late_does_not_hide_what_came_after(past: History, storage: Failing) -> None:
    before = pushed(past)
    first = following(before)
    assert past.append(first)
    state = past.newest()
    assert state is not None
    second = following(state)._replace(refs={"refs/heads/main": "2" * 40})
    assert past.append(second)
    newest = past.told(second, state)
    assert past.told(first, before) == state
    assert text_of(storage, HINT_KEY) == second.encode()
    assert text_of(storage, "info/refs").startswith(b"2" * 40)
    assert past.newest() == newest


def test_who_may_only_read_takes_refused_for_absent(past: History, storage: Failing) -> None:
    state = pushed(past)

    class Closed(Failing):
        def open(self, key: str, offset: int = 0, length: int | None = None) -> io.BufferedIOBase:
            try:
                return super().open(key, offset, length)
            except ObjectNotFoundError as error:
                raise StorageDeniedError(f"403: {key}") from error

    closed = Closed(storage.storage)
    with pytest.raises(StorageDeniedError):
        History(closed).newest()
    closed.properties_given = closed.properties_given._replace(writable=False)
    assert History(closed).newest() == state


def test_a_pack_and_its_index_are_stored_once(past: History, storage: Failing) -> None:
    pack = Pack(digest_of(b"content"), 7, 1, (ID,))
    for _ in range(2):
        past.put_pack(pack, "sha1", io.BytesIO(b"content"), io.BytesIO(b"index"))
    with past.open_pack(pack, "sha1") as stream:
        assert stream.read() == b"content"
    keys = [info.key for info in storage.list("objects/")]
    name = f"objects/pack/pack-{pack.digest.hex[:40]}"
    assert sorted(keys) == [f"{name}.idx", f"{name}.pack"]


def test_something_else_where_the_pack_belongs_is_said(past: History, storage: Failing) -> None:
    pack = Pack(digest_of(b"content"), 7, 1, (ID,))
    put(storage, history.pack_keys(pack.digest, "sha1")[0], b"other")
    with pytest.raises(StorageUnavailableError, match="not what was stored there"):
        past.put_pack(pack, "sha1", io.BytesIO(b"content"), io.BytesIO(b"index"))


def test_a_pack_that_is_gone_is_said(past: History) -> None:
    with pytest.raises(ObjectNotFoundError):
        past.open_pack(Pack(digest_of(b"x"), 1, 1, (ID,)), "sha1")


def test_where_nothing_can_be_written_nothing_is_appended(past: History) -> None:
    state = pushed(past)
    reader = MemoryStorage.shared(Location("memory://other"), writable=False)
    with pytest.raises(StorageReadOnlyError):
        History(reader).append(following(state))


def test_plain_files_say_what_the_record_says(past: History, storage: Failing) -> None:
    pack = Pack(digest_of(b"content"), 7, 1, (ID,))
    new = following(None)._replace(
        refs={"refs/tags/v1": "2" * 40, "refs/heads/\udcff": ID},
        peeled={"refs/tags/v1": ID},
        packs=(pack,),
    )
    assert past.append(new)
    past.told(new, None)
    assert text_of(storage, "HEAD") == b"ref: refs/heads/main\n"
    name = f"pack-{pack.digest.hex[:40]}.pack"
    assert text_of(storage, "objects/info/packs") == f"P {name}\n\n".encode()
    lines = [
        f"{ID}\trefs/heads/".encode() + b"\xff\n",
        f"{'2' * 40}\trefs/tags/v1\n".encode(),
        f"{ID}\trefs/tags/v1^{{}}\n".encode(),
    ]
    assert text_of(storage, "info/refs") == b"".join(lines)


def test_plain_files_that_stay_are_not_written() -> None:
    old = following(None)
    new = old._replace(number=2, refs={"refs/heads/main": "2" * 40})
    assert [key for key, _ in plainfiles.changed(new, old)] == ["info/refs"]
    assert [key for key, _ in plainfiles.changed(new, None)] == [
        "objects/info/packs",
        "HEAD",
        "info/refs",
    ]
