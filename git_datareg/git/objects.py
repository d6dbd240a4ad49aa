"""Git's objects: trees listed, blobs read and written in bulk, histories walked.

Every question is one git process, however many objects it is about.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from sys import intern
from typing import NamedTuple

from git_datareg.errors import GitError
from git_datareg.git.repository import Repository

#: Below this many blobs, loose objects are what git itself would write.
_PACK_FROM = 100
#: History as it is, and as git-push takes it: replaced by nothing (git-replace(1)).
_WALK = ("--no-replace-objects", "rev-list")
_CHUNK = 64 * 1024


class TreeEntry(NamedTuple):
    """One line of a tree: `mode` and `kind` as in git-ls-tree(1)."""

    mode: str
    #: "blob", "tree" or "commit" (a submodule).
    kind: str
    id: str
    #: Bytes of a blob; None for what is not one, or is not here (in a partial clone).
    size: int | None
    #: From the tree's root.
    path: bytes


class NamedBlob(NamedTuple):
    """A blob as a history walk meets it first: its id and a path it has there.

    The path is empty for a blob that a tag names.
    """

    id: str
    path: bytes


def tree_entries(
    repository: Repository, treeish: str, path: bytes = b"", *, recursive: bool
) -> list[TreeEntry]:
    """What a tree has at `path`, or below it if that ends in a slash; in git's order.

    Nothing there gives an empty list. Subdirectories are entries unless `recursive`;
    then the order is that of the paths' bytes.
    """
    arguments = ["--literal-pathspecs", "ls-tree", "-z", "--long", "--full-tree"]
    command = [*arguments, *(["-r"] if recursive else []), treeish]
    return _parse_tree(repository.run(*command, *(["--", _text(path)] if path else [])))


def tree_paths(repository: Repository, treeish: str, path: bytes = b"") -> bytes:
    """The paths of all files at and below `path`, sorted, each with a NUL behind it."""
    command = ["--literal-pathspecs", "ls-tree", "-r", "-z", "--name-only", "--full-tree", treeish]
    return repository.run(*command, *(["--", _text(path)] if path else []))


def small_files(
    repository: Repository, treeish: str, limit: int
) -> Generator[NamedBlob, None, None]:
    """The regular files of a tree that have at most `limit` bytes, by the bytes of their paths.

    Those whose blobs a partial clone lacks are left out. Read as they are asked for; to be
    closed by who does not take all. Ends early when git does.
    """
    command = ("ls-tree", "-r", "-z", "--long", "--full-tree", treeish)
    child = repository.at_hand.start(*command)
    assert child.stdin is not None and child.stdout is not None
    child.stdin.close()
    try:
        rest = b""
        while piece := os.read(child.stdout.fileno(), _CHUNK):
            *records, rest = (rest + piece).split(b"\0")
            for record in records:
                head, _, path = record.partition(b"\t")
                mode, _, id, size = head.split()
                if mode.startswith(b"100") and size.isdigit() and int(size) <= limit:
                    yield NamedBlob(id.decode(), path)
    finally:
        child.stdout.close()
        child.kill()
        child.wait()


def files_ending(repository: Repository, treeish: str, suffix: bytes) -> dict[bytes, str]:
    """Path and id of all regular files of a tree whose names end in `suffix`."""
    output = repository.run("ls-tree", "-r", "-z", "--full-tree", treeish)
    found: dict[bytes, str] = {}
    # Few do, of very many: so the others are not even split.
    end = output.find(suffix + b"\0")
    while end >= 0:
        end += len(suffix)
        head, _, path = output[output.rfind(b"\0", 0, end) + 1 : end].partition(b"\t")
        mode, _, id = head.decode().split()
        if mode.startswith("100"):
            found[path] = id
        end = output.find(suffix + b"\0", end)
    return found


def blob_at(repository: Repository, treeish: str, path: str) -> bytes | None:
    """The content of the file `path` in a tree ("" is the index), or None without one."""
    code, output, _ = repository.run_unchecked("cat-file", "blob", f"{treeish}:{path}")
    return output if code == 0 else None


def read_blobs(repository: Repository, ids: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """Id and content of each of the objects named, in order.

    Raises GitError when one is missing.
    """
    wanted = list(dict.fromkeys(ids))
    if not wanted:
        return
    output = repository.run("cat-file", "--batch", "--buffer", input=_lines(wanted))
    at = 0
    for id in wanted:
        end = output.index(b"\n", at)
        head = output[at:end].split()
        if len(head) != 3:
            raise GitError(f"object {id} is missing in {repository.top}")
        size = int(head[2])
        yield id, output[end + 1 : end + 1 + size]
        at = end + 1 + size + 1


def sizes(repository: Repository, ids: Iterable[str]) -> dict[str, int]:
    """The sizes in bytes of those of the objects that are here, by id."""
    output = repository.run(
        "cat-file",
        "--batch-check=%(objectname) %(objectsize)",
        "--buffer",
        input=_lines(ids),
    )
    pairs = (line.split() for line in output.decode().splitlines())
    return {id: int(size) for id, size in pairs if size.isdigit()}


def read_small_blobs(
    repository: Repository, ids: Iterable[str], limit: int
) -> Iterator[tuple[str, bytes]]:
    """As `read_blobs`, for those of the objects that have at most `limit` bytes."""
    wanted = list(dict.fromkeys(ids))
    if not wanted:
        return
    known = sizes(repository, wanted)
    yield from read_blobs(repository, [id for id in wanted if known.get(id, limit + 1) <= limit])


def small_blobs_between(
    repository: Repository, new: Sequence[str], old: Sequence[str], *, limit: int
) -> list[NamedBlob]:
    """The blobs below `limit` bytes that the commits `new` reach and `old` don't.

    Commits and trees that are old are not looked at. Ids that are not here are
    passed over: they can't bound the walk.
    """
    lines = [*new, *(f"^{id}" for id in old)]
    output = repository.run(
        *_WALK,
        "--objects",
        "--filter=object:type=blob",
        f"--filter=blob:limit={limit}",
        # Else the commits are listed too, and a tagged blob could not be told from them.
        "--filter-provided-objects",
        "--ignore-missing",
        "--stdin",
        input=_lines(lines),
    )
    return _named_blobs(output)


def _named_blobs(output: bytes) -> list[NamedBlob]:
    # A path that holds a line break is cut here; it serves only messages and prefixes.
    pairs = (line.partition(b" ") for line in output.split(b"\n") if line)
    return [NamedBlob(id.decode(), path) for id, _, path in pairs]


def small_blobs_unpushed(repository: Repository, *, limit: int) -> list[NamedBlob]:
    """The blobs below `limit` bytes that git would keep, and that no remote-tracking ref reaches.

    Kept is what all refs and their reflogs reach, and what is in an index of any work tree.
    What a partial clone has from its remote is left out: it was pushed.
    """

    def reached(*starts: str) -> list[NamedBlob]:
        return _named_blobs(
            repository.at_hand.run(
                *_WALK,
                "--objects",
                "--filter=object:type=blob",
                f"--filter=blob:limit={limit}",
                "--filter-provided-objects",
                "--exclude-promisor-objects",
                *starts,
            )
        )

    # Not by --not: an index is not compared with the commits that it was made of.
    pushed = {blob.id for blob in reached("--remotes")}
    kept = reached("--all", "--reflog", "--indexed-objects")
    return [blob for blob in kept if blob.id not in pushed]


def files_in_trees(
    repository: Repository, treeishes: Iterable[str], is_wanted: Callable[[NamedBlob], bool]
) -> set[NamedBlob]:
    """The wanted ones among all regular files of some trees; what is no tree has none.

    Each tree is read once, however many commits share it, and no blob is
    looked at, so that a partial clone fetches none.
    """
    roots = existing(repository, (f"{treeish}^{{tree}}" for treeish in dict.fromkeys(treeishes)))
    level = {(b"", id) for id in roots}
    found: set[NamedBlob] = set()
    while level:
        trees = dict(read_blobs(repository, sorted({id for _, id in level})))
        below: set[tuple[bytes, str]] = set()
        for prefix, tree in level:
            for mode, name, id in _tree_lines(trees[tree], len(tree) // 2):
                file = NamedBlob(id, prefix + name)
                if mode == b"40000":
                    below.add((file.path + b"/", id))
                elif mode.startswith(b"100") and is_wanted(file):
                    found.add(file)
        level = below
    return found


def _tree_lines(tree: bytes, id_size: int) -> Iterator[tuple[bytes, bytes, str]]:
    """Mode, name and id of each entry of a tree object."""
    at = 0
    while at < len(tree):
        end = tree.index(b"\0", at)
        mode, _, name = tree[at:end].partition(b" ")
        at = end + 1 + id_size
        yield mode, name, tree[end + 1 : at].hex()


def existing(repository: Repository, ids: Iterable[str]) -> list[str]:
    """The full ids of those of `ids` (or other names of objects) that this repository has."""
    wanted = list(ids)
    if not wanted:
        return []
    output = repository.run("cat-file", "--batch-check=%(objectname)", input=_lines(wanted))
    return [line.decode() for line in output.split(b"\n") if line and b" " not in line]


def refs(repository: Repository) -> list[str]:
    """The ids that the refs of a repository have, each once, HEAD's too."""
    found = repository.run("for-each-ref", "--format=%(objectname)").decode().split()
    return list(dict.fromkeys([*found, *existing(repository, ["HEAD"])]))


def named(repository: Repository, names: Sequence[str]) -> list[tuple[str, str] | None]:
    """The full id and the type of what each name means, None where it means nothing."""
    if not names:
        return []
    output = repository.run(
        "cat-file", "--batch-check=%(objectname) %(objecttype)", input=_lines(names)
    )
    # "<name> missing" and the like, where it means nothing; a name may hold a space.
    kinds = ("commit", "tree", "blob", "tag")
    fields = [line.decode("utf-8", "surrogateescape").split(" ") for line in output.split(b"\n")]
    return [
        (each[0], each[1]) if len(each) == 2 and each[1] in kinds else None
        for each in fields[: len(names)]
    ]


def peeled(repository: Repository, ids: Iterable[str]) -> dict[str, str]:
    """What annotated tags finally point to, by their ids; what is no tag is left out."""
    wanted = list(dict.fromkeys(ids))
    found = named(repository, wanted)
    tags = [each[0] for each in found if each is not None and each[1] == "tag"]
    targets = named(repository, [f"{tag}^{{}}" for tag in tags])
    return {tag: target[0] for tag, target in zip(tags, targets, strict=True) if target}


def independent(repository: Repository, ids: Iterable[str]) -> list[str]:
    """The same objects, less the commits that others of them come after.

    Those that are not here, or are no commits, stay.
    """
    wanted = list(dict.fromkeys(ids))
    found = named(repository, wanted)
    commits = [each[0] for each in found if each is not None and each[1] == "commit"]
    if len(commits) < 2:
        return wanted
    code, output, _ = repository.run_unchecked(
        "--no-replace-objects", "merge-base", "--independent", *commits
    )
    # Where a history ends before it should, as in shallow ones, less is known, and all stay.
    kept = set(output.decode().split()) if code == 0 else set(commits)
    return [id for id in wanted if id in kept or id not in commits]


def count_reached(repository: Repository, ids: Iterable[str]) -> int:
    """How many objects some of them reach, themselves counted; raises GitError if one lacks."""
    return int(repository.run(*_WALK, "--objects", "--count", "--stdin", input=_lines(ids)))


def reaches_all(repository: Repository, ids: Iterable[str]) -> bool:
    """Whether objects are here with all that they reach, taking that for granted of refs."""
    command = (*_WALK, "--objects", "--stdin", "--not", "--all", "--quiet")
    return repository.run_unchecked(*command, input=_lines(ids))[0] == 0


def check_complete(repository: Repository, new: Sequence[str], old: Sequence[str]) -> None:
    """Raise GitError when, being shallow, the history of `new` ends before it comes to `old`.

    Then it can't be pushed to where nobody has the rest.
    """
    try:
        with open(os.path.join(repository.places.common_dir, "shallow"), "rb") as file:
            ends = set(file.read().decode().split())
    except FileNotFoundError:
        return
    found = repository.run(*_WALK, "--stdin", input=_lines([*new, *(f"^{id}" for id in old)]))
    if not ends.isdisjoint(found.decode().split()):
        raise GitError(
            "shallow update not allowed: the history here ends before what is there",
            "git fetch --unshallow, and push again",
        )


def blob_id(content: bytes, object_format: str) -> str:
    """The id that Git gives a blob with this content."""
    return hashlib.new(object_format, b"blob %d\0" % len(content) + content).hexdigest()


def write_blobs(repository: Repository, contents: Iterable[bytes]) -> list[str]:
    """Store blobs and return their ids, in order: many at once as one pack.

    All are stored or none. Large contents are held in memory; it is for
    pointers and small files.
    """
    blobs = list(contents)
    ids = [blob_id(content, repository.object_format) for content in blobs]
    unique = dict(zip(ids, blobs, strict=True))
    if not unique:
        return []
    pack = _pack(list(unique.values()), repository.object_format)
    command = ("unpack-objects", "-q") if len(unique) < _PACK_FROM else ("index-pack", "--stdin")
    repository.run(*command, input=pack)
    return ids


def _pack(blobs: Sequence[bytes], object_format: str) -> bytes:
    """A pack with these blobs, whole; gitformat-pack(5)."""
    pack = bytearray(b"PACK" + (2).to_bytes(4, "big") + len(blobs).to_bytes(4, "big"))
    for content in blobs:
        size = len(content)
        byte = 3 << 4 | size & 15
        size >>= 4
        while size:
            pack.append(byte | 0x80)
            byte = size & 0x7F
            size >>= 7
        pack.append(byte)
        pack += zlib.compress(content, 1)
    return bytes(pack + hashlib.new(object_format, pack).digest())


def _parse_tree(output: bytes) -> list[TreeEntry]:
    entries = []
    for record in output.split(b"\0"):
        if record:
            head, _, path = record.partition(b"\t")
            mode, kind, id, text = head.decode().split()
            size = int(text) if text.isdigit() else None
            # Few modes and kinds, of very many files.
            entries.append(TreeEntry(intern(mode), intern(kind), id, size, path))
    return entries


def _lines(names: Iterable[str]) -> bytes:
    return "".join(f"{name}\n" for name in names).encode("utf-8", "surrogateescape")


def _text(path: bytes) -> str:
    return path.decode("utf-8", "surrogateescape")
