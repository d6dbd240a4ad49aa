from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from git_datareg.errors import GitError
from git_datareg.git import objects, repository
from git_datareg.git.objects import NamedBlob, TreeEntry
from git_datareg.git.repository import Repository
from tests.support.gitrun import Git, clone

FILES = {
    b"a": b"a",
    b"sub/b": b"bb",
    b"sub/deep/new\nline": b"c",
    b"sub/\xe9": b"d",
    b"sub-x": b"e",
}


@pytest.fixture(params=["sha1", "sha256"])
def git(request: pytest.FixtureRequest, tmp_path: Path) -> Git:
    git = Git(tmp_path / "repository").init(f"--object-format={request.param}")
    for path, content in FILES.items():
        git.write(path, content)
    (git.path / "link").symlink_to("a")
    git.commit_all()
    return git


@pytest.fixture
def opened(git: Git) -> Repository:
    return repository.find(str(git.path))


def id_of(git: Git, content: bytes) -> str:
    head = b"blob %d\0" % len(content)
    return hashlib.new(git.out("rev-parse", "--show-object-format"), head + content).hexdigest()


def test_a_tree_is_listed_in_one_level_or_whole(git: Git, opened: Repository) -> None:
    top = objects.tree_entries(opened, "HEAD", recursive=False)
    assert [(entry.path, entry.kind) for entry in top] == [
        (b"a", "blob"),
        (b"link", "blob"),
        (b"sub-x", "blob"),
        (b"sub", "tree"),
    ]
    assert top[0] == TreeEntry("100644", "blob", id_of(git, b"a"), 1, b"a")
    assert top[3].size is None
    whole = objects.tree_entries(opened, "HEAD", recursive=True)
    assert {entry.path for entry in whole} == {*FILES, b"link"}


def test_a_path_names_a_file_or_what_is_in_a_directory(opened: Repository) -> None:
    [itself] = objects.tree_entries(opened, "HEAD", b"sub", recursive=False)
    assert itself.kind == "tree"
    below = objects.tree_entries(opened, "HEAD", b"sub/", recursive=False)
    assert [entry.path for entry in below] == [b"sub/b", b"sub/deep", b"sub/\xe9"]
    [entry] = objects.tree_entries(opened, "HEAD", b"sub/\xe9", recursive=False)
    assert entry.size == 1
    assert objects.tree_entries(opened, "HEAD", b"su", recursive=True) == []


def test_contents_are_found_by_path(opened: Repository) -> None:
    assert objects.blob_at(opened, "HEAD", "sub/b") == b"bb"
    assert objects.blob_at(opened, "", "a") == b"a"
    assert objects.blob_at(opened, "HEAD", "sub") is None
    assert objects.blob_at(opened, "nothing", "a") is None


def test_the_paths_of_a_tree_come_in_the_order_of_their_bytes(opened: Repository) -> None:
    paths = objects.tree_paths(opened, "HEAD").split(b"\0")
    assert paths == [*sorted([*FILES, b"link"]), b""]
    assert objects.tree_paths(opened, "HEAD", b"sub").split(b"\0")[0].startswith(b"sub/")
    assert objects.tree_paths(opened, "HEAD", b"nothing") == b""


def test_sizes_of_what_is_here_are_told(git: Git, opened: Repository) -> None:
    ids = [id_of(git, b"bb"), "1" * len(id_of(git, b"bb")), id_of(git, b"a")]
    assert objects.sizes(opened, ids) == {ids[0]: 2, ids[2]: 1}
    assert objects.sizes(opened, []) == {}


def test_blobs_are_read_in_order_each_once(git: Git, opened: Repository) -> None:
    ids = [id_of(git, content) for content in (b"bb", b"a", b"bb")]
    assert list(objects.read_blobs(opened, ids)) == [(ids[0], b"bb"), (ids[1], b"a")]
    assert list(objects.read_blobs(opened, [])) == []
    with pytest.raises(GitError, match="is missing in"):
        list(objects.read_blobs(opened, [ids[0], "1" * len(ids[0])]))


def test_large_blobs_are_left_out_when_small_ones_are_asked_for(
    git: Git, opened: Repository
) -> None:
    ids = [id_of(git, content) for content in (b"a", b"bb")]
    assert list(objects.read_small_blobs(opened, ids, 1)) == [(ids[0], b"a")]
    assert list(objects.read_small_blobs(opened, [], 1)) == []


def test_what_exists_is_named_by_its_full_id(git: Git, opened: Repository) -> None:
    head = git.head()
    asked = ["1" * len(head), "HEAD", head, "HEAD:sub/b", "HEAD:not there", "nothing at all"]
    assert objects.existing(opened, asked) == [head, head, id_of(git, b"bb")]
    assert objects.existing(opened, []) == []


def test_new_small_blobs_are_found_between_commits(git: Git, opened: Repository) -> None:
    old = git.head()
    git.write("small", b"1234")
    git.write("large", b"12345")
    git.write("sub/b", b"new")
    git.commit_all()
    git.run("rm", "--quiet", "small")
    git.commit_all()
    new = git.head()
    found = objects.small_blobs_between(opened, [new], [old, "1" * len(old)], limit=5)
    assert set(found) == {
        NamedBlob(id_of(git, b"1234"), b"small"),
        NamedBlob(id_of(git, b"new"), b"sub/b"),
    }
    assert objects.small_blobs_between(opened, [new], [new], limit=5) == []
    everything = objects.small_blobs_between(opened, [new], [], limit=100)
    assert NamedBlob(id_of(git, b"12345"), b"large") in everything


def test_files_are_found_in_many_trees_at_once(git: Git, opened: Repository) -> None:
    first = git.head()
    git.run("rm", "--quiet", "a")
    git.write("sub/b", b"changed")
    git.commit_all()
    git.run("tag", "of-a-blob", f"{first}:a")
    found = objects.files_in_trees(
        opened, [first, "HEAD", "of-a-blob", first], lambda file: file.path != b"sub-x"
    )
    assert found == {
        NamedBlob(id_of(git, b"a"), b"a"),
        NamedBlob(id_of(git, b"bb"), b"sub/b"),
        NamedBlob(id_of(git, b"changed"), b"sub/b"),
        NamedBlob(id_of(git, b"c"), b"sub/deep/new\nline"),
        NamedBlob(id_of(git, b"d"), b"sub/\xe9"),
    }


def test_no_blob_is_fetched_to_look_through_trees(git: Git, tmp_path: Path) -> None:
    git.run("config", "uploadpack.allowFilter", "true")
    url = f"file://{git.path}"
    partial = clone(url, tmp_path / "partial", "--filter=blob:none", "--no-checkout")
    opened = repository.find(str(partial.path))
    assert len(objects.files_in_trees(opened, ["HEAD"], lambda file: True)) == len(FILES)
    listed = partial.out("rev-list", "--objects", "--all", "--missing=print")
    assert listed.count("?") == len(FILES)


@pytest.mark.parametrize("number", [1, 2, 250])
def test_blobs_are_written_few_or_many(git: Git, opened: Repository, number: int) -> None:
    contents = [b"%d" % each * 50 for each in range(number)] + [b"", b"", b"x" * 5000]
    ids = objects.write_blobs(opened, contents)
    assert ids == [id_of(git, content) for content in contents]
    assert [content for _, content in objects.read_blobs(opened, ids)] == list(
        dict.fromkeys(contents)
    )
    packs = list((git.path / ".git/objects/pack").glob("*.pack"))
    assert bool(packs) == (number > 100)
    git.run("fsck", "--strict")


def test_writing_nothing_writes_nothing(opened: Repository) -> None:
    assert objects.write_blobs(opened, []) == []
