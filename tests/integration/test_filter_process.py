"""The programs that git calls, called as git calls them: start-up, memory, the one-shot forms."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from tests.support.filtered import (
    blob,
    configure,
    data,
    leftovers,
    object_file,
    pointer,
    stand_in,
)
from tests.support.gitrun import Git

#: What a clean must not load: each costs milliseconds of every `git add` and `git status`.
HEAVY = {
    "argparse",
    "asyncio",
    "concurrent.futures",
    "ctypes",
    "dataclasses",
    "dulwich",
    "hashlib",
    "importlib.metadata",
    "inspect",
    "json",
    "logging",
    "pathlib",
    "shutil",
    "socket",
    "subprocess",
    "tempfile",
    "threading",
    "tqdm",
    "urllib",
    "urllib.parse",
    "zlib",
}
MEMORY_LIMIT = 64 << 20


def packet(payload: bytes) -> bytes:
    return b"%04x" % (len(payload) + 4) + payload


def packets(*lines: bytes) -> bytes:
    """A list of lines and the flush packet at its end."""
    return b"".join(map(packet, lines)) + b"0000"


HELLO = packets(b"git-filter-client\n", b"version=2\n") + packets(
    b"capability=clean\n", b"capability=smudge\n", b"capability=delay\n"
)
WELCOME = packets(b"git-filter-server\n", b"version=2\n") + packets(
    b"capability=clean\n", b"capability=smudge\n", b"capability=delay\n"
)


def request(command: str, path: bytes, content: bytes) -> bytes:
    lines = [content[at : at + 65516] for at in range(0, len(content), 65516)]
    return packets(b"command=%s\n" % command.encode(), b"pathname=%s\n" % path) + packets(*lines)


def answer(content: bytes) -> bytes:
    return packets(b"status=success\n") + packets(content) + b"0000"


@pytest.fixture
def git(tmp_path: Path) -> Git:
    return configure(Git(tmp_path / "repository").init())


def converse(git: Git, *words: str, said: Iterable[bytes]) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*words, "filter-process"],
        cwd=git.path,
        input=b"".join(said),
        capture_output=True,
        timeout=60,
    )


@pytest.mark.parametrize("text", [None, b"[datareg]\n\tversion = 1\n"], ids=["no file", "plain"])
def test_a_clean_loads_little(git: Git, text: bytes | None) -> None:
    git.run("datareg", "install", "--local")
    if text is not None:
        git.write(".datareg", text)
    program = Path(sys.executable).parent / "git-datareg"
    said = [HELLO, request("clean", b"x.dat", b"content")]
    words = [sys.executable, "-X", "importtime", str(program)]
    done = converse(git, *words, said=said)
    assert done.stdout == WELCOME + answer(pointer(b"content"))
    lines = done.stderr.decode().splitlines()
    loaded = {line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")}
    assert {"blake3", "git_datareg.filtering"} <= loaded
    # What a virtual environment loads before the program is not ours.
    assert loaded & HEAVY <= loaded_by_site()
    assert {name for name in loaded if name.startswith("git_datareg")} == {
        "git_datareg",
        "git_datareg.commands",
        "git_datareg.commands.filter_process",
        "git_datareg.copying",
        "git_datareg.digest",
        "git_datareg.errors",
        "git_datareg.files",
        "git_datareg.filtering",
        "git_datareg.git",
        "git_datareg.git.pipe",
        "git_datareg.git.places",
        "git_datareg.main",
        "git_datareg.objects",
        "git_datareg.pointer",
        "git_datareg.protocol",
        "git_datareg.protocol.filter",
        "git_datareg.protocol.filter_events",
        "git_datareg.protocol.pktline",
        "git_datareg.signals",
        "git_datareg.ui",
        "git_datareg.workspace",
    }


def loaded_by_site() -> set[str]:
    code = "import sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("text", [None, b"[datareg]\n\tversion = 1\n"], ids=["no file", "plain"])
def test_a_clean_starts_no_process(git: Git, text: bytes | None) -> None:
    git.run("datareg", "install", "--local")
    if text is not None:
        git.write(".datareg", text)
    git.run("add", ".")
    git.write("x.dat", b"content")
    trace = git.path.parent / "trace"
    git.run("add", "x.dat", env={"GIT_TRACE2_EVENT": str(trace)})
    assert trace.read_text().count('"event":"start"') == 1


def test_several_requests_in_one_conversation(git: Git) -> None:
    contents = [b"one", data("large", 3 << 20), b"two"]
    said = [request("clean", b"%d.dat" % at, content) for at, content in enumerate(contents)]
    done = converse(git, "git-datareg", said=[HELLO, *said])
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == WELCOME + b"".join(answer(pointer(content)) for content in contents)


def test_a_smudge_without_metadata_gives_the_data(git: Git) -> None:
    content = data("large", 3 << 20)
    git.write("x.dat", content)
    git.run("add", "x.dat")
    done = converse(git, "git-datareg", said=[HELLO, request("smudge", b"x.dat", pointer(content))])
    assert (done.returncode, done.stderr) == (0, b"")
    found = done.stdout.removeprefix(WELCOME + packets(b"status=success\n"))
    assert len(found) > len(content)
    assert found.endswith(b"0000" + b"0000")
    assert not (git.path / ".git/datareg/pending").exists()


def test_a_fault_in_one_file_does_not_end_the_conversation(git: Git) -> None:
    unknown = pointer(b"x").replace(b"pointer 1", b"pointer 2")
    said = [HELLO, request("clean", b"bad.dat", unknown), request("clean", b"good.dat", b"good")]
    done = converse(git, "git-datareg", said=said)
    assert done.returncode == 0
    assert done.stdout == WELCOME + packets(b"status=error\n") + answer(pointer(b"good"))
    assert b"git-datareg: error: bad.dat: pointer of version 2" in done.stderr


@pytest.mark.parametrize("at", [4, 30, len(HELLO) + 20, -5])
def test_a_conversation_that_is_cut_short_is_said_on_one_line(git: Git, at: int) -> None:
    said = (HELLO + request("clean", b"x.dat", data("x", 2 << 20)))[:at]
    done = converse(git, "git-datareg", said=[said])
    assert done.returncode == 128
    [line] = done.stderr.splitlines()
    assert line.startswith(b"git-datareg: error: git hung up")
    assert leftovers(git) == []


def test_what_is_no_conversation_is_a_fault(git: Git) -> None:
    done = converse(git, "git-datareg", said=[b"not a packet"])
    assert (done.returncode, done.stdout) == (128, b"")
    assert b"Traceback" not in done.stderr


def test_what_is_printed_does_not_get_into_the_conversation(git: Git, tmp_path: Path) -> None:
    code = """
        from git_datareg.commands.filter_process import FilterProcess
        serve = FilterProcess._serve
        def talkative(self, request):
            print("a stray line", flush=True)
            serve(self, request)
        FilterProcess._serve = talkative
    """
    program = Path(stand_in(tmp_path / "bin", code)["PATH"].partition(":")[0], "git-datareg")
    done = converse(git, str(program), said=[HELLO, request("clean", b"x.dat", b"x")])
    assert done.stdout == WELCOME + answer(pointer(b"x"))
    assert done.stderr == b"a stray line\n"


def one_shot(git: Git, *words: str | bytes, content: bytes) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["git-datareg", *words], cwd=git.path, input=content, capture_output=True, timeout=60
    )


@pytest.mark.parametrize("path", [b"x.dat", b"-x.dat", b"\xff\n.dat"])
@pytest.mark.parametrize("size", [0, 1, 1 << 20, (1 << 20) + 1])
def test_the_one_shot_forms(git: Git, path: bytes, size: int) -> None:
    content = data("x", size)
    cleaned = one_shot(git, "clean", "--", path, content=content)
    assert (cleaned.returncode, cleaned.stderr) == (0, b"")
    assert cleaned.stdout == (pointer(content) if content else b"")
    smudged = one_shot(git, "smudge", "--", path, content=cleaned.stdout)
    assert (smudged.returncode, smudged.stderr) == (0, b"")
    assert smudged.stdout == content
    skipped = one_shot(git, "smudge", "--skip", "--", path, content=cleaned.stdout)
    assert skipped.stdout == cleaned.stdout


def test_the_one_shot_forms_serve_git(git: Git) -> None:
    git.run("config", "--unset", "filter.datareg.process")
    content = data("x", 2 << 20)
    git.write("sub/'x y'.dat", content)
    git.run("add", "sub")
    assert blob(git, ":sub/'x y'.dat") == pointer(content)
    (git.path / "sub/'x y'.dat").unlink()
    git.run("checkout", "sub")
    assert (git.path / "sub/'x y'.dat").read_bytes() == content
    assert leftovers(git) == []


@pytest.mark.parametrize("command", ["clean", "smudge"])
def test_a_one_shot_fault_names_the_path(git: Git, command: str) -> None:
    unknown = pointer(b"x").replace(b"blake3", b"blake4")
    done = one_shot(git, command, "--", "sub/x.dat", content=unknown)
    assert (done.returncode, done.stdout) == (6, b"")
    assert done.stderr.startswith(b"git-datareg: error: sub/x.dat: pointer with the hash blake4")


def test_a_one_shot_smudge_without_the_object(git: Git) -> None:
    done = one_shot(git, "smudge", "--", "x.dat", content=pointer(b"nobody has this"))
    assert (done.returncode, done.stdout) == (3, b"")
    assert b"git-datareg: error: x.dat: object " in done.stderr


def test_outside_of_a_repository(tmp_path: Path) -> None:
    done = one_shot(Git(tmp_path), "clean", "--", "x.dat", content=b"content")
    assert (done.returncode, done.stdout) == (3, b"")
    assert b"git-datareg: error: not a git repository" in done.stderr


@pytest.mark.parametrize("words", [["filter-process"], ["clean", "x.dat"]])
def test_memory_does_not_grow_with_the_file(git: Git, words: list[str]) -> None:
    size = 200 << 20
    code = (
        "import os, sys\n"
        "from git_datareg.main import main\n"
        "code = main(sys.argv[1:])\n"
        "lines = open('/proc/self/status').read().splitlines()\n"
        "[peak] = [line.split()[1] for line in lines if line.startswith('VmHWM')]\n"
        "os.write(2, peak.encode())\n"
        "raise SystemExit(code)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words],
        cwd=git.path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    piece = bytes(65516)
    if words[0] == "filter-process":
        process.stdin.write(HELLO + packets(b"command=clean\n", b"pathname=x.dat\n"))
        piece = packet(piece)
    for _ in range(size // 65516):
        process.stdin.write(piece)
    end = b"0000" if words[0] == "filter-process" else b""
    _, errors = process.communicate(end, timeout=60)
    assert process.returncode == 0
    assert int(errors) * 1024 < MEMORY_LIMIT


@pytest.fixture
def roomy() -> Iterator[Path]:
    """A directory for 4 GiB: in memory where there is plenty, so that no disk is in the way."""
    fast = Path("/dev/shm")
    room = shutil.disk_usage(fast).free if fast.is_dir() else 0
    with tempfile.TemporaryDirectory(dir=fast if room > 8 << 30 else None) as path:
        yield Path(path)


@pytest.mark.slow
@pytest.mark.usefixtures("unmeasured")
def test_a_file_of_4_gib_is_added_in_little_memory(git: Git, roomy: Path, tmp_path: Path) -> None:
    (git.path / ".git/datareg").symlink_to(roomy)
    with (git.path / "huge.dat").open("wb") as file:
        file.truncate((4 << 30) + 1)
    os.utime(git.path / "huge.dat", (1, 1))
    report = tmp_path / "status"
    code = f"""
        import atexit, shutil
        atexit.register(shutil.copyfile, "/proc/self/status", {str(report)!r})
    """
    git.run("add", ".", env=stand_in(tmp_path / "bin", code))
    [peak] = [line for line in report.read_text().splitlines() if line.startswith("VmHWM")]
    assert int(peak.split()[1]) * 1024 < MEMORY_LIMIT
    assert blob(git, ":huge.dat").endswith(b"\nsize 4294967297\n")
    [stored] = (roomy / "objects").glob("*/*")
    assert stored.stat().st_size == (4 << 30) + 1
    assert git.filter_use("status") == (0, 0, 0)


def test_the_own_object_is_found_before_the_cache(git: Git, home: Path) -> None:
    git.write("x.dat", b"content")
    git.run("add", "x.dat")
    (git.path / "x.dat").unlink()
    git.run("checkout", "x.dat")
    assert (git.path / "x.dat").read_bytes() == b"content"
    assert not object_file(home / "datareg-cache", b"content").exists()
