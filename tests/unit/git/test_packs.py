from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from git_datareg.errors import CorruptError, GitError, IntegrityError
from git_datareg.git import objects, packs
from git_datareg.git.packs import HEADER
from git_datareg.git.repository import Repository, open_foreign
from tests.support.gitrun import Git

FORMATS = ["sha1", "sha256"]


def history(git: Git, object_format: str = "sha1") -> list[str]:
    """Three commits, of which each changes one of a few files."""
    git.init(f"--object-format={object_format}")
    commits = []
    for number in range(3):
        git.write("same.txt", b"always the same\n" * 100)
        git.write("some/file.txt", b"".join(b"line %d\n" % line for line in range(number, 300)))
        commits.append(git.commit_all(f"commit {number}"))
    return commits


def opened(git: Git) -> Repository:
    return open_foreign(str(git.path))


def written(
    repository: Repository, new: list[str], old: list[str], directory: Path
) -> tuple[bytes, int]:
    """A pack's bytes, and how many objects it has."""
    directory.mkdir()
    made = packs.write(repository, new, old, str(directory), show=False)
    assert made is not None
    content = Path(made.content).read_bytes()
    assert Path(made.idx).stat().st_size
    return content, packs.count(content[:HEADER])


def pieces(content: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


def broken(content: bytes) -> Iterator[bytes]:
    """All bytes of a pack; then it turns out that they were not the right ones."""
    yield content
    raise IntegrityError("corrupt pack")


def taken(git: Git, each: list[Callable[[], Iterator[bytes]]], objects: int) -> None:
    packs.take_in(opened(git), each, objects, show=False)


def has_packs(git: Git) -> bool:
    return any(each.suffix == ".pack" for each in (git.path / ".git/objects/pack").iterdir())


@pytest.mark.parametrize("object_format", FORMATS)
@pytest.mark.parametrize("size", [1, 7, 20, 100_000])
def test_packs_come_in_as_one(tmp_path: Path, object_format: str, size: int) -> None:
    source = Git(tmp_path / "source")
    commits = history(source, object_format)
    made = [
        written(opened(source), [new], old, tmp_path / new)
        for new, old in zip(commits, [[], commits[:1], commits[1:2]], strict=True)
    ]
    target = Git(tmp_path / "target").init(f"--object-format={object_format}")
    total = sum(count for _, count in made)
    taken(target, [partial(pieces, content, size) for content, _ in made], total)
    target.run("fsck", "--strict", commits[-1])
    assert len(list((target.path / ".git/objects/pack").glob("*.pack"))) == 1


def test_a_pack_is_complete_in_itself(tmp_path: Path) -> None:
    source = Git(tmp_path / "source")
    commits = history(source)
    content, count = written(opened(source), commits[-1:], commits[:-1], tmp_path / "made")
    # A commit, two trees and a file: the rest is there.
    assert count == 4
    target = Git(tmp_path / "target").init()
    taken(target, [partial(pieces, content, 100)], count)
    assert target.out("cat-file", "-s", f"{commits[-1]}:some/file.txt")


def test_nothing_new_is_no_pack(tmp_path: Path) -> None:
    source = Git(tmp_path / "source")
    commits = history(source)
    assert packs.write(opened(source), commits[:1], commits, str(tmp_path), show=False) is None


def test_what_git_fsck_refuses_is_not_packed(tmp_path: Path) -> None:
    source = Git(tmp_path / "source")
    history(source)
    text = f"tree {source.out('rev-parse', 'HEAD^{tree}')}\nauthor nobody\ncommitter x\n\nx\n"
    made = source.run("hash-object", "-t", "commit", "-w", "--literally", "--stdin", input=text)
    with pytest.raises(GitError, match="index-pack"):
        packs.write(opened(source), [made.stdout.strip()], [], str(tmp_path), show=False)


@pytest.mark.parametrize("where", ["first", "last"])
def test_nothing_comes_in_when_one_is_corrupt(tmp_path: Path, where: str) -> None:
    source, target = Git(tmp_path / "source"), Git(tmp_path / "target").init()
    commits = history(source)
    first = written(opened(source), commits[:1], [], tmp_path / "first")
    second = written(opened(source), commits[1:], commits[:1], tmp_path / "second")
    each = [partial(pieces, content, 1000) for content, _ in (first, second)]
    each[0 if where == "first" else 1] = partial(
        broken, first[0] if where == "first" else second[0]
    )
    with pytest.raises(IntegrityError, match="corrupt pack"):
        taken(target, each, first[1] + second[1])
    assert not has_packs(target)
    assert objects.existing(opened(target), commits) == []


def test_nothing_comes_in_when_it_is_not_what_was_said(tmp_path: Path) -> None:
    source, target = Git(tmp_path / "source"), Git(tmp_path / "target").init()
    commits = history(source)
    content, count = written(opened(source), commits, [], tmp_path / "made")
    for wrong in (count - 1, count + 1):
        with pytest.raises((CorruptError, GitError)):
            taken(target, [partial(pieces, content, 1000)], wrong)
    assert not has_packs(target)


@pytest.mark.parametrize("change", [20, 40, -30])
def test_git_refuses_what_it_can_not_read(tmp_path: Path, change: int) -> None:
    source, target = Git(tmp_path / "source"), Git(tmp_path / "target").init()
    commits = history(source)
    content, count = written(opened(source), commits, [], tmp_path / "made")
    bad = bytearray(content)
    bad[change] ^= 0xFF
    with pytest.raises(GitError, match="index-pack failed"):
        taken(target, [partial(pieces, bytes(bad), 1000)], count)
    assert not has_packs(target)


@pytest.mark.parametrize("content", [b"", b"PACK", b"PACK\0\0\0\x09\0\0\0\x01", b"\x89PNG" * 30])
def test_what_is_no_pack_is_said(tmp_path: Path, content: bytes) -> None:
    target = Git(tmp_path / "target").init()
    with pytest.raises(CorruptError):
        taken(target, [partial(pieces, content, 1000)], 1)
    assert not has_packs(target)


def test_an_object_that_is_in_two_packs_is_no_harm(tmp_path: Path) -> None:
    source, target = Git(tmp_path / "source"), Git(tmp_path / "target").init()
    commits = history(source)
    first = written(opened(source), commits[1:2], [], tmp_path / "first")
    second = written(opened(source), commits[2:], [], tmp_path / "second")
    each = [partial(pieces, content, 1000) for content, _ in (first, second)]
    taken(target, each, first[1] + second[1])
    target.run("fsck", "--strict", commits[-1])
    target.run("update-ref", "refs/heads/main", commits[-1])
    # It can be packed and fetched on, too.
    target.run("repack", "-adq")
    target.run("fsck", "--strict")


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="no second file system")
def test_the_pack_may_be_on_another_file_system(tmp_path: Path) -> None:
    source = Git(tmp_path / "source")
    commits = history(source)
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        made = packs.write(opened(source), commits, [], directory, show=False)
        assert made is not None
        assert Path(made.content).stat().st_dev != source.path.stat().st_dev
        assert sorted(Path(each).name for each in os.listdir(directory)) == ["new.idx", "new.pack"]
