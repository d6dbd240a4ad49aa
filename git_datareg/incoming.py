"""Packs of a serverless registry on their way into a repository: verified, several at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

from git_datareg.digest import Hasher
from git_datareg.errors import IntegrityError
from git_datareg.generation import Pack
from git_datareg.git import objects, packs
from git_datareg.git.repository import Repository
from git_datareg.history import History
from git_datareg.transfer import storage_faults

_CHUNK = 1024 * 1024
#: Packs of at most so many bytes come several at once, and are held in memory meanwhile.
_SMALL = 4 * 1024 * 1024
_AHEAD = 32


def bring(
    history: History,
    repository: Repository,
    known: Iterable[Pack],
    wants: Iterable[str],
    *,
    show: bool = False,
) -> None:
    """Bring those of the `known` packs that a repository needs to hold all that it wants.

    Some of it may be nowhere. Raises as `take_in`.
    """
    known = tuple(known)
    tips = {tip for pack in known for tip in pack.tips}
    here = set(objects.existing(repository, sorted(tips))) if tips else set()
    lacking = [pack for pack in known if not here.issuperset(pack.tips)]
    take_in(history, repository, lacking, show=show)
    if len(lacking) < len(known) and not objects.reaches_all(repository, wants):
        # Git has thrown out parts of what no ref needed.
        rest = [pack for pack in known if pack not in lacking]
        take_in(history, repository, rest, show=show)


def take_in(
    history: History, repository: Repository, wanted: Sequence[Pack], *, show: bool = False
) -> None:
    """Put the objects of some packs into a repository, as one pack.

    All or nothing. Raises IntegrityError for a pack that is not what it should be, GitError
    when git refuses it, and any StorageError.
    """
    if not wanted:
        return
    with ThreadPoolExecutor(history.storage.properties.connections) as pool:
        source = _Incoming(history, repository.object_format, wanted, pool)
        try:
            total = sum(pack.objects for pack in wanted)
            packs.take_in(repository, source.packs(), total, show=show)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


class _Incoming:
    """The packs' bytes; small ones are asked for ahead."""

    def __init__(
        self,
        history: History,
        object_format: str,
        wanted: Sequence[Pack],
        pool: ThreadPoolExecutor,
    ) -> None:
        self._history = history
        self._object_format = object_format
        self._todo = deque(pack for pack in wanted if pack.size <= _SMALL)
        self._wanted = wanted
        self._pool = pool
        self._coming: dict[Pack, Future[bytes]] = {}

    def packs(self) -> list[Callable[[], Iterator[bytes]]]:
        """The packs, as `git.packs.take_in` has them."""
        return [partial(self._pieces, pack) for pack in self._wanted]

    def _pieces(self, pack: Pack) -> Iterator[bytes]:
        while self._todo and len(self._coming) < _AHEAD:
            following = self._todo.popleft()
            self._coming[following] = self._pool.submit(self._whole, following)
        coming = self._coming.pop(pack, None)
        if coming is None:
            yield from self._verified(pack)
        else:
            yield coming.result()

    def _whole(self, pack: Pack) -> bytes:
        return b"".join(self._verified(pack))

    def _verified(self, pack: Pack) -> Iterator[bytes]:
        hasher = Hasher()
        with storage_faults(str(self._history)):
            stream = self._history.open_pack(pack, self._object_format)
        with stream:
            while hasher.size <= pack.size:
                with storage_faults(str(self._history)):
                    piece = stream.read(min(_CHUNK, pack.size + 1 - hasher.size))
                if not piece:
                    break
                hasher.update(piece)
                yield piece
        if (hasher.size, hasher.digest()) != (pack.size, pack.digest):
            raise IntegrityError(
                f"corrupt pack {pack.digest} in {self._history}",
                "restore it from a copy, or push again from a clone that is whole",
            )
