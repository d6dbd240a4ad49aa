"""What git's index holds, and how entries are staged in bulk.

Stat data of single entries is `git_datareg.gitindex`'s business.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from sys import intern
from typing import NamedTuple

from git_datareg.git.repository import Repository

#: Bytes of paths on one command line, far below what it holds (Linux: 2 MiB at least).
_ARGUMENT_BYTES = 128 * 1024


#: What `git check-attr` says of an attribute without a value.
_NO_VALUE = (b"unspecified", b"set", b"unset")


class IndexEntry(NamedTuple):
    """One staged file; `stage` is not 0 in a conflict."""

    mode: str
    id: str
    stage: int
    path: bytes

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file: no symlink, no submodule."""
        return self.mode.startswith("100")


def entries(repository: Repository, paths: Sequence[bytes] = ()) -> list[IndexEntry]:
    """All entries, or those that the pathspecs `paths` (from the top, literal) match."""
    return list(each_entry(repository, paths))


def each_entry(repository: Repository, paths: Sequence[bytes] = ()) -> Iterator[IndexEntry]:
    """As `entries`, one by one: there may be very many."""
    for record in _listed(repository, ("ls-files", "--stage", "-z", "--full-name"), paths):
        head, _, path = record.partition(b"\t")
        mode, id, stage = head.decode().split()
        # Few modes, of very many files.
        yield IndexEntry(intern(mode), id, int(stage), path)


def stage(
    repository: Repository,
    added: Iterable[tuple[str, str, bytes]],
    removed: Iterable[bytes] = (),
) -> None:
    """Stage entries `(mode, id, path)` and drop `removed` paths, all in one step.

    The stat data of added entries is empty: git compares their content at the
    next look, unless it is filled in first.
    """
    null = "0" * (64 if repository.object_format == "sha256" else 40)
    records = [b"0 %s\t%s\0" % (null.encode(), path) for path in removed]
    records += [b"%s %s 0\t%s\0" % (mode.encode(), id.encode(), path) for mode, id, path in added]
    if records:
        repository.run("update-index", "-z", "--index-info", input=b"".join(records))


def filtered(repository: Repository, paths: Sequence[bytes]) -> set[bytes]:
    """Those of `paths` for which the attribute `filter=datareg` is set now."""
    return {path for path, value in attributes(repository, paths, "filter") if value == "datareg"}


def attributes(
    repository: Repository, paths: Sequence[bytes], name: str
) -> list[tuple[bytes, str]]:
    """The paths for which an attribute has a value of its own now (gitattributes(5)), and it."""
    if not paths:
        return []
    output = repository.run(
        "check-attr", "-z", "--stdin", name, input=b"".join(path + b"\0" for path in paths)
    )
    fields = output.split(b"\0")
    found = zip(fields[0::3], fields[2::3], strict=False)
    return [
        (path, value.decode("utf-8", "surrogateescape"))
        for path, value in found
        if value not in _NO_VALUE
    ]


def changed_in_work_tree(repository: Repository, paths: Sequence[bytes] = ()) -> list[bytes]:
    """Paths whose file differs from the index, or is gone."""
    command = ("diff-files", "-z", "--name-only", "--ignore-submodules")
    return list(_listed(repository, command, paths))


def _listed(
    repository: Repository, command: Sequence[str], paths: Sequence[bytes]
) -> Iterable[bytes]:
    """The records that a git command prints about literal pathspecs, each once; none: all."""
    records: dict[bytes, None] = {}
    for part in _parts(paths):
        names = [path.decode("utf-8", "surrogateescape") for path in part]
        output = repository.run("--literal-pathspecs", *command, "--", *names)
        records.update(dict.fromkeys(filter(None, output.split(b"\0"))))
    return records


def _parts(paths: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """The paths in parts that a command line can hold; no paths are one part."""
    start = size = 0
    for number, path in enumerate(paths):
        size += len(path) + 1
        if size > _ARGUMENT_BYTES and number > start:
            yield paths[start:number]
            start, size = number, len(path) + 1
    yield paths[start:]


class StagedChange(NamedTuple):
    """A path whose staged entry is not what HEAD has."""

    path: bytes
    #: The id that HEAD has there; all zeros for none.
    old: str


def staged_changes(repository: Repository) -> list[StagedChange]:
    """What the next commit would change; everything, where there is no commit yet."""
    has_head, _, _ = repository.run_unchecked("rev-parse", "--verify", "--quiet", "HEAD")
    base = "HEAD" if has_head == 0 else _empty_tree(repository)
    output = repository.run("diff-index", "--cached", "-z", "--no-renames", base)
    fields = output.split(b"\0")
    return [
        StagedChange(path, head.split()[2].decode())
        for head, path in zip(fields[0::2], fields[1::2], strict=False)
    ]


def _empty_tree(repository: Repository) -> str:
    return repository.run("hash-object", "-t", "tree", "--stdin", input=b"").decode().strip()
