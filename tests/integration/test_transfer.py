"""Objects from a storage elsewhere: what an interrupt leaves, and what a trace tells.

A stand-in for `git-datareg` takes the directory that is the storage for a remote one,
and has its answers hang where a test wants that; everything else is the real thing.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from tests.support.consumers import datareg
from tests.support.filtered import configure, data, object_file, stand_in
from tests.support.gitrun import Git, clone

PART = 1_500_000
#: Three parts; one that goes whole, by way of a temporary file; one that goes through memory.
CONTENTS = {
    "large.dat": data("large", 2 * PART + 7),
    "medium.dat": data("medium", 1_400_000),
    "small.dat": data("small"),
}
LARGE = CONTENTS["large.dat"]
#: What would wait forever fails instead.
TIMEOUT = 60

REMOTE = f"""
    import io, os, threading
    from git_datareg import arriving, downloads
    from git_datareg.storage import Properties, local
    for module in (arriving, downloads):
        module.PART = {PART}
    local.Properties = lambda **_: Properties(writable=True, connections=8)
    local.LocalStorage.file = lambda self, key: None
    asked = local.LocalStorage.open
    def open(self, key, offset=0, length=None):
        if length is not None:
            os.write(2, b"part %d\\n" % (offset // {PART}))
        return asked(self, key, offset, length)
    local.LocalStorage.open = open
"""
#: The first part comes, and nothing else to its end. All that hangs ends by a signal.
HANGING = """
    has_come = threading.Event()
    def end():
        has_come.wait()
        os.kill(os.getpid(), {signal})
    together = threading.Barrier(4, action=end)
    def hang():
        together.wait()
        threading.Event().wait()
    class Half(io.RawIOBase):
        def __init__(self, stream):
            self.stream = stream
        def read(self, size=-1):
            if self.stream.tell():
                hang()
            return self.stream.read(1 << 20)
    def open(self, key, offset=0, length=None):
        stream = asked(self, key, offset, length)
        size = os.fstat(stream.fileno()).st_size
        if not key.startswith("objects/") or (length is not None and offset == 0):
            return stream
        if size == {medium}:
            return Half(stream)
        hang()
    put = arriving.Arrival.put
    def watched(self, number, data):
        put(self, number, data)
        has_come.set()
    arriving.Arrival.put = watched
    local.LocalStorage.open = open
"""


@pytest.fixture
def copy(tmp_path: Path) -> Git:
    """A clone with pointers only, whose storage is a directory."""
    git = configure(Git(tmp_path / "work").init())
    git.run("datareg", "storage", "add", "-d", "s", str(tmp_path / "storage"))
    for name, content in CONTENTS.items():
        git.write(name, content)
    git.commit_all()
    git.run("datareg", "push", "--all")
    copy = configure(clone(git.path, tmp_path / "copy", "--no-checkout"), b"")
    copy.run("checkout", "-q", "main", env={"GIT_DATAREG_SKIP_SMUDGE": "1"})
    return copy


def fetch(copy: Git, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run `git-datareg fetch`, without git in between."""
    return subprocess.run(
        ["git-datareg", "fetch"],
        cwd=copy.path,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_ends_it_though_all_hangs_and_leaves_only_what_can_be_gone_on_with(
    copy: Git, tmp_path: Path, home: Path, number: signal.Signals
) -> None:
    medium = len(CONTENTS["medium.dat"])
    code = REMOTE + HANGING.format(signal=int(number), medium=medium)
    done = fetch(copy, stand_in(tmp_path / "hanging", code))
    assert (done.returncode, done.stderr) == (128 + number, "")
    [left] = (home / "datareg-cache/tmp").iterdir()
    assert left.name == "object-part-" + "".join(object_file(Path(), LARGE).parts[1:])

    done = fetch(copy, stand_in(tmp_path / "remote", REMOTE))
    assert sorted(done.stderr.splitlines()) == ["3 objects fetched", "part 1", "part 2"]
    for content in CONTENTS.values():
        assert object_file(home / "datareg-cache", content).read_bytes() == content
    assert list((home / "datareg-cache/tmp").iterdir()) == []


def traced(text: str) -> list[str]:
    """The lines of a trace, with the times left out; every other line is a fault."""
    lines = []
    for line in text.splitlines():
        assert line.startswith("git-datareg: trace: "), line
        lines.append(re.sub(r"\d+\.\d{3} s$", "N s", line.removeprefix("git-datareg: trace: ")))
    return lines


TRACE = {"GIT_DATAREG_TRACE": "1"}


def test_a_trace_tells_what_is_asked_of_storages_and_of_git(copy: Git, tmp_path: Path) -> None:
    done = datareg(copy, "fetch", "-q", env=TRACE)
    lines = traced(done.stderr)
    # Larger ones are copied by the kernel, without being opened as a stream.
    name = object_file(Path(), CONTENTS["small.dat"])
    assert f"{tmp_path}/storage: open {name}: done after N s" in lines
    assert [line for line in lines if line.startswith("git ") and "exit code 0 after N s" in line]
    assert datareg(copy, "fetch", "-q").stderr == ""


def test_a_trace_of_the_filter_and_of_the_helper_goes_to_stderr_too(
    copy: Git, tmp_path: Path
) -> None:
    copy.run("read-tree", "--empty")
    done = copy.run("checkout", "-f", "main", env=TRACE)
    name = object_file(Path(), CONTENTS["small.dat"])
    assert f"git-datareg: trace: {tmp_path}/storage: open {name}: done after 0." in done.stderr
    assert (copy.path / "small.dat").read_bytes() == CONTENTS["small.dat"]

    copy.write("new.dat", b"new")
    copy.commit_all()
    remote = Git(tmp_path / "remote.git").init("--bare")
    done = copy.run("push", f"datareg::{remote.path}", "main", env=TRACE)
    name = object_file(Path(), b"new")
    assert f"storage: put {name} (3 bytes): done after 0." in done.stderr
    assert "git-datareg: trace: git push" in done.stderr
