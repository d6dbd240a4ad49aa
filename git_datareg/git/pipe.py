"""The pipe by which git talks to a program that it started.

Knows when git is done with it. Does not know what is said.
"""

from __future__ import annotations

import os
import select

#: How long git may be silent before we look whether it is still there.
_PATIENCE_MS = 250
#: Our parent may be the shell by which git starts a filter.
_GENERATIONS = 2
_WRITABLE = 0o200
#: How much is read at once while little comes, and while much does; bytes.
_LITTLE = 64 * 1024
_MUCH = 1024 * 1024


class GitPipe:
    """The reading end of a pipe from git.

    Git does not keep its end from other processes that it starts: a hook's
    background job, `git gc --auto` or a file system monitor holds it open as
    long as it runs, and git waits for us to end all the while. So the pipe
    counts as closed when git has closed it. That is seen in proc(5); where
    there is no such thing, or it is not git that started us, it is an
    ordinary pipe.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        #: What is read into while much comes: fresh memory would cost more than to copy.
        self._buffer: bytearray | None = None
        self._is_busy = False
        self._pipe = os.fstat(descriptor)
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLIN)
        self._writer = next((pid for pid in _ancestors() if self._is_held_by(pid)), None)

    def read(self) -> bytes | memoryview:
        """The next bytes, as soon as there are any; none when git is done.

        They may be gone at the next call.
        """
        while self._writer is not None and not self._poll.poll(_PATIENCE_MS):
            # It may have written its last words since.
            if not self._is_held_by(self._writer) and not self._poll.poll(0):
                return b""
        if not self._is_busy:
            data = os.read(self._descriptor, _LITTLE)
            self._is_busy = len(data) == _LITTLE
            return data
        if self._buffer is None:
            self._buffer = bytearray(_MUCH)
        count = os.readv(self._descriptor, [self._buffer])
        self._is_busy = count >= _LITTLE
        return memoryview(self._buffer)[:count].toreadonly()

    def _is_held_by(self, pid: int) -> bool:
        """Whether a process has the writing end open."""
        directory = f"/proc/{pid}/fd"
        try:
            names = os.listdir(directory)
        except OSError:
            return False
        return any(self._is_other_end(f"{directory}/{name}") for name in names)

    def _is_other_end(self, path: str) -> bool:
        try:
            is_writable = os.lstat(path).st_mode & _WRITABLE
            return bool(is_writable) and os.path.samestat(os.stat(path), self._pipe)
        except OSError:
            # Closed since it was listed.
            return False


def _ancestors() -> list[int]:
    """Our parent process and its parent, as far as they can be told."""
    found = [os.getppid()]
    try:
        while len(found) < _GENERATIONS:
            with open(f"/proc/{found[-1]}/stat", "rb") as file:
                # The second field is a name in brackets, which may hold anything.
                found.append(int(file.read().rpartition(b")")[2].split()[1]))
    except (OSError, ValueError, IndexError):
        return found
    return found
