"""The files of one source, opened or brought here: what Python programs read.

Knows where a source's objects are and how a stream begins.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import cast

from git_datareg import copying, delivery, files, registry, streaming
from git_datareg.errors import DataregError, StorageUnavailableError
from git_datareg.objects import LocalObjects
from git_datareg.registry import Source, SourceFile
from git_datareg.sources import Sources
from git_datareg.streaming import Reader

#: Content of plain files that is held at once when many are read; bytes.
_MOST_PLAIN = 64 * 1024 * 1024


class SourceReader:
    """Reads files of a source; where its objects are is looked up once. Safe for threads."""

    def __init__(self, source: Source, local: LocalObjects, jobs: int) -> None:
        self.source = source
        self._local = local
        self._jobs = jobs

    @cached_property
    def _sources(self) -> Sources:
        return self.source.sources()

    def open(self, file: SourceFile, *, whole: bool = False) -> Reader:
        """A file as a stream that the caller closes; see `streaming.open_stored`.

        With `whole` all its bytes are here and verified on return.
        """
        if file.pointer is None:
            content = registry.content(self.source, file)
            return Reader(cast(io.RawIOBase, io.BytesIO(content)), len(content))
        here = streaming.open_local(file.pointer, self._local)
        if here is not None:
            return here
        want = self._sources.want(file.pointer, file.source_path)
        try:
            return streaming.open_stored(want, self._local.cache, whole=whole)
        except StorageUnavailableError:
            raise
        except DataregError as error:
            # The storage may have moved since the commit; if not, the first fault says more.
            later = self.source.later_sources().want(file.pointer, file.source_path)
            try:
                return streaming.open_stored(later, self._local.cache, whole=whole)
            except DataregError:
                raise error from None

    def copy(self, file: SourceFile, path: str, content: bytes | None = None) -> None:
        """Copy a file, verified, to `path`, in one step; its directory must be there.

        `content` is that of a plain file, if it is at hand. What is at `path` is
        replaced. Raises OSError for the target.
        """
        mode = 0o777 if file.mode == "100755" else 0o666
        with files.new_file(os.path.dirname(path) or ".", mode=mode) as new:
            if content is not None:
                new.write(content)
            else:
                with self.open(file, whole=True) as stream:
                    if file.pointer is not None:
                        copying.copy_into(stream.fileno(), new.fileno(), file.size)
                    else:
                        new.write(stream.read())
            new.commit(path, sync=False)

    def bring(self, files: Iterable[SourceFile]) -> None:
        """Bring the data of many files into the cache at once; raises as `delivery.bring`."""
        delivery.bring(self.source, files, self._local, jobs=self._jobs)

    def plain(self, files: Iterable[SourceFile]) -> Mapping[str, bytes]:
        """The contents of those files that are plain in Git, by blob, read at once.

        As far as they fit into some memory: what is left out is opened one by one.
        """
        chosen, size = {}, 0
        for each in files:
            if each.pointer is None and each.blob not in chosen:
                size += each.blob_size
                if size > _MOST_PLAIN:
                    break
                chosen[each.blob] = each
        return dict(registry.contents(self.source, chosen.values())) if chosen else {}
