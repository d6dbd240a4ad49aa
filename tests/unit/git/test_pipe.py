"""git_datareg.git.pipe: a pipe ends when the process at its other end lets go of it."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from git_datareg.git.pipe import GitPipe

#: Reads its input to the end and says what it was.
READER = """
import os
from git_datareg.git.pipe import GitPipe
pipe = GitPipe(0)
os.write(2, b"r")
found = b""
while data := pipe.read():
    found += data
os.write(1, found + b"|end")
"""


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        try:
            os.close(end)
        except OSError:
            continue


def test_bytes_come_as_they_are_written(pipe: tuple[int, int]) -> None:
    reader = GitPipe(pipe[0])
    for data in (b"abc", b"c"):
        os.write(pipe[1], data)
        assert reader.read() == data
    os.close(pipe[1])
    assert reader.read() == b""
    assert reader.read() == b""


def test_a_file_will_do() -> None:
    with open(__file__, "rb") as file:
        assert GitPipe(file.fileno()).read().startswith(b'"""')


def test_much_comes_through_as_well_as_little(tmp_path: Path) -> None:
    data = random.Random(0).randbytes(5 * 1024 * 1024 + 3)
    path = tmp_path / "much"
    path.write_bytes(data)
    found = bytearray()
    with path.open("rb") as file:
        reader = GitPipe(file.fileno())
        while piece := reader.read():
            found += piece
    assert found == data


@pytest.mark.parametrize("wrapped", [False, True], ids=["child", "child of a shell"])
def test_an_end_that_somebody_else_holds_does_not_count(wrapped: bool) -> None:
    """As a background job that a hook has started holds git's end of the pipe."""
    words = [sys.executable, "-c", READER]
    if wrapped:
        words = ["sh", "-c", '"$@"; exit $?', "sh", *words]
    process = subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    sleeper = subprocess.Popen(["sleep", "1000"], pass_fds=[process.stdin.fileno()])
    try:
        assert process.stderr.read(1) == b"r"
        process.stdin.write(b"last words")
        process.stdin.close()
        assert process.stdout.read() == b"last words|end"
        assert process.wait(60) == 0
    finally:
        sleeper.kill()
        sleeper.wait()
        process.stdout.close()
        process.stderr.close()


def test_a_writer_that_is_slow_is_waited_for() -> None:
    """In a pipeline no ancestor holds the pipe: silence means nothing there."""
    script = f'(read line; echo late) | {sys.executable} -c "$1"'
    process = subprocess.Popen(
        ["sh", "-c", script, "sh", READER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    assert process.stderr.read(1) == b"r"
    # Longer than it waits before it looks around; nothing but time can show this.
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.6)
    output, _ = process.communicate(b"go\n", timeout=60)
    assert output == b"late\n|end"
