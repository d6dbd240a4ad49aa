from __future__ import annotations

import gc
import os
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from git_datareg.errors import GitError
from git_datareg.git.reader import ObjectReader, PathEntry
from git_datareg.git.repository import open_foreign
from tests.support.gitrun import Git


@pytest.fixture(params=["sha1", "sha256"])
def git(tmp_path: Path, request: pytest.FixtureRequest) -> Git:
    git = Git(tmp_path / "repo").init(f"--object-format={request.param}")
    git.write("a/b/c.txt", b"deep\n")
    git.write("a/b.txt", b"\n")
    git.write("a/run.sh", b"", mode=0o755)
    git.write(b"a/odd\nname \xff", b"odd")
    (git.path / "link").symlink_to("a")
    git.commit_all()
    return git


@pytest.fixture
def reader(git: Git) -> ObjectReader:
    return ObjectReader(open_foreign(str(git.path)))


def test_objects_are_found_by_any_name(git: Git, reader: ObjectReader) -> None:
    head = git.out("rev-parse", "HEAD")
    found = reader.find("HEAD")
    assert found is not None and (found.id, found.kind) == (head, "commit")
    blob = reader.find("main:a/b/c.txt")
    assert blob is not None and (blob.kind, blob.content) == ("blob", b"deep\n")
    empty = reader.find("HEAD:a/run.sh")
    assert empty is not None and empty.content == b""


@pytest.mark.parametrize(
    "name", ["nothing", "", "HEAD\n", "HEAD\0", "HEAD:nothing", "a b c", "missing", "0" * 40, "-x"]
)
def test_what_is_not_there_is_none(reader: ObjectReader, name: str) -> None:
    assert reader.find(name) is None
    # The answers that follow are still the right ones.
    found = reader.find("HEAD:a/b.txt")
    assert found is not None and found.content == b"\n"


def test_paths_are_looked_up_in_trees(git: Git, reader: ObjectReader) -> None:
    modes = {
        b"": "040000",
        b"a": "040000",
        b"a/b": "040000",
        b"a/b/c.txt": "100644",
        b"a/run.sh": "100755",
        b"link": "120000",
        b"a/odd\nname \xff": "100644",
    }
    entries = {path: reader.entry("HEAD", path) for path in modes}
    assert {path: entry.mode for path, entry in entries.items() if entry} == modes
    assert entries[b"a/b"] == PathEntry("040000", git.out("rev-parse", "HEAD:a/b"))
    for path in (b"b", b"a/b/c.txt/d", b"a/c", b"link/b", b"a/", b"/a", b"a//b", b"nothing/x"):
        assert reader.entry("HEAD", path) is None
    assert reader.entry("nothing", b"a") is None


def test_files_with_an_end_are_found_in_one_directory(git: Git, reader: ObjectReader) -> None:
    for path in ("a/x.end", "a/run.end", "a/end", "a/.end", "a/y.endless", "a/below/z.end"):
        git.write(path, path.encode(), mode=0o755 if "run" in path else 0o644)
    git.write("a/dir.end/file", b"x")
    (git.path / "a/link.end").symlink_to("x.end")
    git.commit_all()
    found = reader.files_ending("HEAD", b"a", b".end")
    assert found == {
        name: git.out("rev-parse", f"HEAD:a/{name.decode()}")
        for name in (b".end", b"run.end", b"x.end")
    }
    for elsewhere in (b"", b"nowhere", b"a/end"):
        assert reader.files_ending("HEAD", elsewhere, b".end") == {}


def test_many_objects_come_in_order_each_once(git: Git, reader: ObjectReader) -> None:
    contents = [b"x" * (number % 300) + b"%d" % number for number in range(1200)]
    (git.path / "many").mkdir()
    for number, content in enumerate(contents):
        (git.path / "many" / str(number)).write_bytes(content)
    names = [f"many/{number}" for number in range(len(contents))]
    lines = git.run("hash-object", "-w", "--stdin-paths", input="\n".join(names)).stdout
    ids = lines.split()
    assert [content for _, content in reader.read([*ids, ids[0]])] == contents
    with pytest.raises(GitError, match="is missing in"):
        list(reader.read([ids[0], "1" * len(ids[0])]))


def test_threads_get_their_own_answers(reader: ObjectReader) -> None:
    names = {"HEAD:a/b.txt": b"\n", "HEAD:a/b/c.txt": b"deep\n", "HEAD:a/run.sh": b""}

    def ask(number: int) -> bool:
        name = list(names)[number % 3]
        found = reader.find(name)
        return found is not None and found.content == names[name]

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(300)))


def test_a_git_that_ended_is_started_again(reader: ObjectReader) -> None:
    assert reader.find("HEAD") is not None
    assert reader._child is not None
    reader._child.kill()
    reader._child.wait()
    with pytest.raises(GitError, match=r"ended|failed"):
        reader.find("HEAD")
    assert reader.find("HEAD") is not None


def test_a_fault_is_told_in_gits_words(git: Git, reader: ObjectReader) -> None:
    git.write("large", random.Random(0).randbytes(100_000))
    id = git.out("hash-object", "-w", "large")
    loose = git.path / ".git/objects" / id[:2] / id[2:]
    loose.chmod(0o644)
    content = bytearray(loose.read_bytes())
    content[len(content) // 2] ^= 1
    loose.write_bytes(content)
    with pytest.raises(GitError, match=r"git cat-file failed: \S+"):
        reader.find(id)


def test_a_forked_process_has_a_git_of_its_own(reader: ObjectReader) -> None:
    assert reader.find("HEAD") is not None
    child = os.fork()
    if child == 0:
        is_right = False
        try:
            found = reader.find("HEAD:a/b.txt")
            is_right = found is not None and found.content == b"\n"
        finally:
            os._exit(0 if is_right else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    found = reader.find("HEAD:a/b/c.txt")
    assert found is not None and found.content == b"deep\n"


def test_its_git_ends_with_it(reader: ObjectReader, git: Git) -> None:
    own = ObjectReader(reader.repository)
    own.find("HEAD")
    assert own._child is not None
    pid = own._child.pid
    del own
    gc.collect()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    reader.close()
    reader.close()
