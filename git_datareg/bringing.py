"""Brings objects for a checkout while Git goes on asking: many at once.

Git lets a filter answer "later" (gitattributes(5), "delay") and asks at the
end what has arrived. What fails is told last, since Git stops at the first
failure: so everything else is in place by then.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

from git_datareg.errors import ObjectNotFoundError, StorageUnavailableError
from git_datareg.globs import is_chosen
from git_datareg.objects import ObjectDirectory, ObjectWriter, remove_leftovers
from git_datareg.origins import Opener, Origins, Ways, fetch
from git_datareg.pointer import Pointer
from git_datareg.projects import Project
from git_datareg.sources import Sources

#: Git walks its whole list of delayed paths for each answer, so a few large
#: answers cost less than many small ones.
_BATCH = 1000
_BATCH_SECONDS = 0.5


class Bringer:
    """Brings objects into the cache for one git command. Close it at the end.

    `open_project` gives the project as the commit that is checked out (or None)
    configures it; it is asked once per commit, and not before anything is missing.
    `opener` opens the registries of imports, when their storages can't be found without.
    """

    def __init__(self, open_project: Callable[[str | None], Project], opener: Opener) -> None:
        self._open_project = open_project
        self._origins = Origins(opener)
        self._projects: dict[str | None, tuple[Project, Sources, Ways]] = {}
        self._pool: ThreadPoolExecutor | None = None
        self._caches: dict[str, _ClosableDirectory] = {}
        self._running: dict[Pointer, Future[None]] = {}
        self._arrived = threading.Condition()
        self._waiting: dict[Pointer, list[bytes]] = {}
        self._ready: list[bytes] = []
        self._failed: list[bytes] = []

    def wants(self, path: bytes, treeish: str | None) -> bool:
        """Whether the file's object is to be brought, by the globs of what is fetched."""
        settings = self._project(treeish)[0].settings
        return is_chosen(path, settings.include, settings.exclude)

    def bring(self, pointer: Pointer, path: bytes, treeish: str | None) -> str:
        """The object's file in the cache, fetched now if need be; raises DataregError."""
        running = self._running.get(pointer)
        project, sources, ways = self._project(treeish)
        if running is not None:
            running.result()
        else:
            fetch(sources.want(pointer, path), ways, project.local.cache)
        found = project.local.find(pointer)
        if found is None:
            raise ObjectNotFoundError(f"object {pointer.digest} is gone from the cache")
        return found

    def start(self, pointer: Pointer, path: bytes, treeish: str | None) -> None:
        """Begin to bring an object; `path` is in a later `ready` whether it came or not.

        Raises DataregError, and promises nothing, when it can't be told from where.
        """
        project, sources, ways = self._project(treeish)
        want, cache = sources.want(pointer, path), self._cache(project)
        with self._arrived:
            self._waiting.setdefault(pointer, []).append(path)
            if pointer in self._running and not self._running[pointer].done():
                return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(project.settings.jobs)
        future = self._pool.submit(fetch, want, ways, cache)
        self._running[pointer] = future
        future.add_done_callback(lambda done: self._on_done(pointer, done))

    def ready(self) -> list[bytes]:
        """Started paths that are decided, at least one; none left: an empty list.

        What came is told as it comes, what failed when all else is told.
        """
        with self._arrived:
            self._arrived.wait_for(lambda: self._ready or not self._waiting)
            deadline = time.monotonic() + _BATCH_SECONDS
            self._arrived.wait_for(
                lambda: len(self._ready) >= _BATCH or not self._waiting,
                timeout=max(0.0, deadline - time.monotonic()),
            )
            told, self._ready = self._ready, []
            if not told:
                told, self._failed = self._failed, []
            return told

    def close(self) -> None:
        """Break off what is still running, without waiting for it; its temporary files go."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        for cache in self._caches.values():
            cache.close()
            remove_leftovers(cache)

    def _on_done(self, pointer: Pointer, future: Future[None]) -> None:
        with self._arrived:
            paths = self._waiting.pop(pointer, [])
            failed = future.cancelled() or future.exception() is not None
            (self._failed if failed else self._ready).extend(paths)
            self._arrived.notify_all()

    def _cache(self, project: Project) -> _ClosableDirectory:
        root = project.local.cache.root
        return self._caches.setdefault(root, _ClosableDirectory(root))

    def _project(self, treeish: str | None) -> tuple[Project, Sources, Ways]:
        if treeish not in self._projects:
            project = self._open_project(treeish)
            # Those of other threads, which find the way to what a storage lacks.
            ways = self._origins.of_project(project, Sources(project, treeish))
            self._projects[treeish] = (project, Sources(project, treeish), ways)
        return self._projects[treeish]


class _ClosableDirectory(ObjectDirectory):
    """Objects that threads are writing; `close` takes their files away from them."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self._is_closed = False
        #: By thread: each writes one object at a time.
        self._writers: dict[int, ObjectWriter] = {}

    def check_open(self) -> None:
        """Raise StorageUnavailableError after `close`."""
        if self._is_closed:
            raise StorageUnavailableError("broken off")

    def writer(self) -> ObjectWriter:
        """As ObjectDirectory; raises StorageUnavailableError after `close`."""
        writer = super().writer()
        self._writers[threading.get_ident()] = writer
        if self._is_closed:
            writer.__exit__(None, None, None)
        self.check_open()
        return writer

    def close(self) -> None:
        """Discard what is being written; whoever writes it meets a fault."""
        self._is_closed = True
        for writer in list(self._writers.values()):
            # Its thread may be doing the same.
            with suppress(OSError):
                writer.__exit__(None, None, None)
