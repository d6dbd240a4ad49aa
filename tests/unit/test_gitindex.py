from __future__ import annotations

import hashlib
import os
import re
import resource
import shutil
import stat
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from git_datareg import gitindex
from git_datareg.gitindex import EntryStat, Patched, patch, patch_file
from tests.support.gitrun import Git

NO_REFRESH = {"GIT_OPTIONAL_LOCKS": "0"}
ODD_NAMES = (
    b"plain.bin",
    b"new\nline",
    b"ends with newline\n",
    b"dir/non-utf8-\xff\xfe",
    b'dir/quote"back\\slash',
    b"-dash",
    b" space /tab\t",
    b"dir/" + b"n" * 250 + b"/" + b"m" * 250,
    b"z/last",
)


# What git makes, and what git says of it afterwards.


def _version(number: int) -> Callable[[Git], None]:
    return lambda git: git.run("update-index", "--index-version", str(number)) and None


def _extended_flags(git: Git) -> None:
    git.write("intended", b"later")
    git.write("skipped", b"skipped")
    git.run("add", "skipped")
    git.run("add", "--intent-to-add", "intended")
    git.run("update-index", "--skip-worktree", "skipped", "plain.bin")


def _extended_flags_compressed(git: Git) -> None:
    _extended_flags(git)
    _version(4)(git)


def _untracked_cache(git: Git) -> None:
    git.run("update-index", "--force-untracked-cache")
    git.write("untracked", b"x")
    git.status()


def _resolved_conflict(git: Git) -> None:
    git.run("checkout", "-q", "-b", "side")
    git.write("conflict", b"side")
    git.commit_all()
    git.run("checkout", "-q", "main")
    git.write("conflict", b"main")
    git.commit_all()
    git.run("merge", "side", check=False)
    git.write("conflict", b"both")
    git.run("add", "conflict")


def _offset_table(git: Git) -> None:
    git.run("config", "index.threads", "4")
    oid = blob_of(git, b"")
    info = "".join(f"100644 {oid} 0\tmany/{n:06d}\n" for n in range(20_000))
    git.run("update-index", "--index-info", input=info)
    git.run("update-index", "--index-version", "4")
    git.run("update-index", "--force-remove", "many/000000")


def _no_checksum(git: Git) -> None:
    data = index_of(git).read_bytes()
    index_of(git).write_bytes(data[:-20] + bytes(20))


KINDS: dict[str, tuple[Callable[[Git], None], int, tuple[bytes, ...]]] = {
    "version 2": (_version(2), 2, (b"TREE",)),
    "version 3": (_extended_flags, 3, ()),
    "version 4": (_version(4), 4, (b"TREE",)),
    "version 4, extended": (_extended_flags_compressed, 4, ()),
    "untracked cache": (_untracked_cache, 2, (b"UNTR",)),
    "resolve undo": (_resolved_conflict, 2, (b"REUC",)),
    "offset table": (_offset_table, 4, (b"IEOT", b"EOIE")),
    "no checksum": (_no_checksum, 2, (b"TREE",)),
}


def index_of(git: Git) -> Path:
    return git.path / ".git" / "index"


def blob_of(git: Git, content: bytes) -> str:
    return git.run("hash-object", "-w", "--stdin", input=content).stdout.strip()


def make(path: Path, *options: str, names: tuple[bytes, ...] = ODD_NAMES) -> Git:
    git = Git(path).init(*options)
    for name in names:
        git.write(name, b"content of " + name)
    git.commit_all()
    return git


def file_of(git: Git, name: bytes) -> bytes:
    return os.path.join(os.fsencode(git.path), name)


def replace_file(git: Git, name: bytes, content: bytes | None = None, age: float = 100) -> None:
    """Give the file a new inode and another mtime."""
    path = file_of(git, name)
    with open(path, "rb") as old:
        content = old.read() if content is None else content
    git.write(name + b".new", content, age_seconds=age)
    os.rename(path + b".new", path)


def staged(git: Git) -> dict[bytes, str]:
    out = git.run_bytes("ls-files", "--stage", "-z").stdout
    lines = [line.partition(b"\t") for line in out.split(b"\0")[:-1]]
    return {name: head.split()[1].decode() for head, _, name in lines}


def updates_for(git: Git, names: tuple[bytes, ...] = ODD_NAMES) -> dict[bytes, EntryStat]:
    oids = staged(git)
    return {name: EntryStat.from_stat(oids[name], os.lstat(file_of(git, name))) for name in names}


def changed(git: Git) -> set[bytes]:
    """What git takes for changed, going by the index as it is."""
    out = git.run_bytes("diff-files", "--name-only", "-z", env=NO_REFRESH).stdout
    return set(out.split(b"\0")[:-1])


def debug_stats(git: Git) -> dict[bytes, list[int]]:
    out = git.run_bytes("ls-files", "--debug", "-z", env=NO_REFRESH).stdout
    shape = rb"([^\0]+)\0  ctime: (\d+):(\d+)\n  mtime: (\d+):(\d+)\n  dev: (\d+)\tino: (\d+)\n"
    shape += rb"  uid: (\d+)\tgid: (\d+)\n  size: (\d+)\tflags: [0-9a-f]+\n"
    found = {m[1]: [int(n) for n in m.groups()[1:]] for m in re.finditer(shape, out)}
    assert found.keys() == staged(git).keys()
    return found


def expected_stats(update: EntryStat) -> list[int]:
    numbers = [*divmod(update.ctime_ns, 10**9), *divmod(update.mtime_ns, 10**9)]
    numbers += [update.dev, update.ino, update.uid, update.gid, update.size]
    return [number % 2**32 for number in numbers]


def entries_end(data: bytes, git: Git) -> int:
    """Where the extensions begin: at the first signature of one that git wrote."""
    places = [data.find(name) for name in (b"TREE", b"UNTR", b"REUC", b"IEOT", b"sdir")]
    return min([place for place in places if place > 0], default=len(data) - 20)


@pytest.mark.parametrize("kind", KINDS)
def test_patched_entries_are_clean_without_a_refresh(tmp_path: Path, kind: str) -> None:
    prepare, version, extensions = KINDS[kind]
    git = make(tmp_path / "repo")
    prepare(git)
    for name in ODD_NAMES:
        replace_file(git, name)
    old = index_of(git).read_bytes()
    assert old[4:8] == version.to_bytes(4, "big")
    assert all(name in old for name in extensions)
    skipped = {b"plain.bin"} if "skipped" in git.out("ls-files") else set()
    assert changed(git) >= set(ODD_NAMES) - skipped
    updates = updates_for(git)

    assert patch_file(index_of(git), updates) == frozenset()

    assert changed(git).isdisjoint(ODD_NAMES)
    stats = debug_stats(git)
    assert {name: stats[name] for name in ODD_NAMES} == {
        name: expected_stats(update) for name, update in updates.items()
    }
    new = index_of(git).read_bytes()
    end = entries_end(old, git)
    assert len(new) == len(old)
    assert new[end:-20] == old[end:-20]
    if kind == "no checksum":
        assert new[-20:] == bytes(20)
    else:
        assert new[-20:] == hashlib.sha1(new[:-20]).digest()
        git.run("fsck", "--strict")


def test_entries_of_a_sha256_repository_are_patched(tmp_path: Path) -> None:
    git = make(tmp_path / "repo", "--object-format=sha256")
    for version in ("2", "4"):
        git.run("update-index", "--index-version", version)
        replace_file(git, b"plain.bin")
        updates = updates_for(git)
        assert changed(git) == {b"plain.bin"}
        assert patch_file(os.fsencode(index_of(git)), updates) == frozenset()
        assert changed(git) == set()
        git.run("fsck", "--strict")


def test_a_sparse_index_is_patched_around_its_directories(tmp_path: Path) -> None:
    git = make(tmp_path / "repo", names=(b"top", b"in/a", b"out/b", b"out/c"))
    git.run("sparse-checkout", "set", "--cone", "--sparse-index", "in")
    old = index_of(git).read_bytes()
    assert b"sdir" in old
    replace_file(git, b"top")
    replace_file(git, b"in/a")
    updates = updates_for(git, (b"top", b"in/a"))
    tree = git.out("rev-parse", "HEAD:out")
    updates[b"out/"] = updates[b"top"]._replace(oid=tree)
    assert patch_file(index_of(git), updates) == {b"out/"}
    assert changed(git) == set()
    assert b"sdir" in index_of(git).read_bytes()
    git.run("fsck")


def test_git_believes_the_patched_stat_data_instead_of_reading_the_file(tmp_path: Path) -> None:
    git = make(tmp_path / "repo", names=(b"file",))
    replace_file(git, b"file", b"CONTENT OF file")
    assert changed(git) == {b"file"}
    assert patch_file(index_of(git), updates_for(git, (b"file",))) == frozenset()
    assert changed(git) == set()


@pytest.mark.parametrize("version", [2, 4])
def test_paths_of_4095_bytes_and_more_are_patched(tmp_path: Path, version: int) -> None:
    git = make(tmp_path / "repo", names=(b"a", b"z"))
    oid = blob_of(git, b"x")
    names = [b"/".join([b"%04d" % n] * 900)[: n - 1] + b"e" for n in (4094, 4095, 4096, 4200)]
    info = b"".join(b"100644 %s 0\t%s\0" % (oid.encode(), name) for name in names)
    git.run("update-index", "--index-version", str(version), "-z", "--index-info", input=info)
    updates = {
        name: EntryStat(oid, 10**9 * n + 1, 2, 3, 4, 5, 6, 7) for n, name in enumerate(names)
    }
    assert patch_file(index_of(git), updates) == frozenset()
    stats = debug_stats(git)
    assert [stats[name] for name in names] == [expected_stats(updates[name]) for name in names]


def test_a_split_index_is_left_alone(tmp_path: Path) -> None:
    git = make(tmp_path / "repo")
    git.run("update-index", "--split-index")
    git.write("added-later", b"x")
    git.run("add", "added-later")
    old = index_of(git).read_bytes()
    assert b"link" in old and b"added-later" in old
    updates = updates_for(git, (b"added-later", b"plain.bin"))
    assert patch_file(index_of(git), updates) == set(updates)
    assert index_of(git).read_bytes() == old


def test_only_the_entry_with_the_object_id_is_patched(tmp_path: Path) -> None:
    git = make(tmp_path / "repo")
    for name in ODD_NAMES:
        replace_file(git, name)
    updates = updates_for(git)
    updates[b"-dash"] = updates[b"-dash"]._replace(oid=blob_of(git, b"other"))
    updates[b"absent"] = updates[b"plain.bin"]
    assert patch_file(index_of(git), updates) == {b"-dash", b"absent"}
    assert changed(git) == {b"-dash"}


def test_stages_symlinks_and_submodules_are_not_patched(tmp_path: Path) -> None:
    git = make(tmp_path / "repo", names=(b"file",))
    oid = staged(git)[b"file"]
    lines = [f"100644 {oid} {stage}\tconflict\n" for stage in (1, 2, 3)]
    lines += [f"120000 {oid} 0\tsymlink\n", f"160000 {git.head()} 0\tsubmodule\n"]
    git.run("update-index", "--index-info", input="".join(lines))
    some = EntryStat(oid, 1, 2, 3, 4, 5, 6, 7)
    updates = {b"conflict": some, b"symlink": some}
    updates[b"submodule"] = some._replace(oid=git.head())
    old = index_of(git).read_bytes()
    assert patch_file(index_of(git), {**updates, b"file": some}) == set(updates)
    stats = debug_stats(git)
    assert stats[b"file"] == expected_stats(some)
    assert patch_file(index_of(git), updates) == set(updates)
    assert len(index_of(git).read_bytes()) == len(old)


def test_a_multiple_of_4_gib_is_stored_as_0(tmp_path: Path) -> None:
    git = make(tmp_path / "repo", names=(b"file",))
    for size, kept in ((2**33, 0), (2**32 + 5, 5)):
        update = updates_for(git, (b"file",))[b"file"]._replace(size=size)
        assert patch_file(index_of(git), {b"file": update}) == frozenset()
        assert debug_stats(git)[b"file"][-1] == kept


def test_a_time_before_1970_is_stored_as_git_stores_it(tmp_path: Path) -> None:
    git = make(tmp_path / "repo", names=(b"file",))
    os.utime(git.path / "file", ns=(-1_500_000_000, -1_500_000_000))
    assert changed(git) == {b"file"}
    assert patch_file(index_of(git), updates_for(git, (b"file",))) == frozenset()
    git.run("config", "core.trustctime", "false")
    assert changed(git) == set()


# Racy entries: Git reads the content of those not older than the index.


def _with_hidden_change(git: Git) -> None:
    """Change `other` so that only its mtime, as old as the index, makes git look."""
    git.run("config", "core.trustctime", "false")
    # In place, so that the inode stays.
    (git.path / "other").write_bytes(b"CONTENT of other")
    now = os.stat(index_of(git)).st_mtime_ns // 10**9 * 10**9 - 50 * 10**9
    data = index_of(git).read_bytes()
    os.utime(git.path / "other", ns=(now, now))
    oid = staged(git)[b"other"]
    update = EntryStat.from_stat(oid, os.stat(git.path / "other"))
    index_of(git).write_bytes(patch(data, {b"other": update}).data)
    os.utime(index_of(git), ns=(now, now))
    assert changed(git) == {b"other"}


def test_a_change_that_git_sees_by_racy_mtime_alone_stays_visible(tmp_path: Path) -> None:
    git = make(tmp_path / "repo", names=(b"file", b"other"))
    _with_hidden_change(git)
    replace_file(git, b"file", age=1000)
    assert patch_file(index_of(git), updates_for(git, (b"file",))) == frozenset()
    assert changed(git) == {b"other"}


def test_without_racy_entries_the_index_is_newer_than_what_was_patched(tmp_path: Path) -> None:
    git = make(tmp_path / "repo", names=(b"file", b"other"))
    then = os.stat(git.path / "other").st_mtime_ns + 2 * 10**9
    os.utime(index_of(git), ns=(then, then))
    # Newer than the index is, older than it will be.
    replace_file(git, b"file", b"CONTENT OF file", age=3)
    assert patch_file(index_of(git), updates_for(git, (b"file",))) == frozenset()
    assert changed(git) == set()
    assert os.stat(index_of(git)).st_mtime_ns > then


# The file and its lock.


def test_the_index_keeps_its_mode(tmp_path: Path) -> None:
    git = make(tmp_path / "repo", names=(b"file",))
    index_of(git).chmod(0o640)
    replace_file(git, b"file")
    assert patch_file(index_of(git), updates_for(git, (b"file",))) == frozenset()
    assert stat.S_IMODE(index_of(git).stat().st_mode) == 0o640


def test_the_index_is_not_replaced_when_nothing_is_patched(tmp_path: Path) -> None:
    git = make(tmp_path / "repo", names=(b"file",))
    updates = updates_for(git, (b"file",))
    before = index_of(git).stat()
    assert patch_file(index_of(git), {b"absent": updates[b"file"]}) == {b"absent"}
    assert patch_file(index_of(git), {}) == frozenset()
    # The entry is as git wrote it, so there is nothing to write.
    assert patch_file(index_of(git), updates) == frozenset()
    after = index_of(git).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert not lock_of(git).exists()


def lock_of(git: Git) -> Path:
    return index_of(git).with_name("index.lock")


def test_all_paths_are_missed_while_another_holds_the_lock(tmp_path: Path) -> None:
    git = make(tmp_path / "repo", names=(b"file",))
    replace_file(git, b"file")
    lock_of(git).write_bytes(b"git's")
    old = index_of(git).read_bytes()
    assert patch_file(index_of(git), updates_for(git, (b"file",)), timeout=0) == {b"file"}
    assert index_of(git).read_bytes() == old
    assert lock_of(git).read_bytes() == b"git's"


def test_the_lock_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git = make(tmp_path / "repo", names=(b"file",))
    replace_file(git, b"file")
    lock_of(git).write_bytes(b"git's")
    waits = []

    def other_finishes_at_the_third_wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            lock_of(git).unlink()

    updates = updates_for(git, (b"file",))
    with monkeypatch.context() as patched:
        patched.setattr(gitindex.time, "sleep", other_finishes_at_the_third_wait)
        assert patch_file(index_of(git), updates, timeout=60) == frozenset()
    assert len(waits) == 3
    assert changed(git) == set()


def test_patches_at_the_same_time_all_arrive(tmp_path: Path) -> None:
    git = make(tmp_path / "repo")
    for name in ODD_NAMES:
        replace_file(git, name)
    single = [{name: update} for name, update in updates_for(git).items()]
    with ThreadPoolExecutor(len(single)) as pool:
        missed = list(pool.map(lambda one: patch_file(index_of(git), one, timeout=60), single))
    assert missed == [frozenset()] * len(single)
    assert changed(git) == set()
    git.run("fsck", "--strict")


@pytest.mark.parametrize("absolute", [False, True])
def test_an_index_that_is_a_symlink_is_locked_and_written_where_it_points(
    tmp_path: Path, absolute: bool
) -> None:
    git = make(tmp_path / "repo", names=(b"file",))
    replace_file(git, b"file")
    updates = updates_for(git, (b"file",))
    real = tmp_path / "elsewhere" / "real-index"
    real.parent.mkdir()
    shutil.copy2(index_of(git), real)
    middle = real.with_name("middle")
    middle.symlink_to("real-index")
    index_of(git).unlink()
    index_of(git).symlink_to(middle if absolute else "../../elsewhere/middle")
    lock = real.with_name("real-index.lock")

    lock.touch()
    assert patch_file(index_of(git), updates, timeout=0) == {b"file"}
    lock.unlink()
    assert patch_file(index_of(git), updates) == frozenset()
    assert index_of(git).is_symlink() and middle.is_symlink()
    assert changed(git) == set()
    assert sorted(real.parent.iterdir()) == [middle, real]


def test_symlinks_that_go_in_circles_fail_and_leave_no_lock(tmp_path: Path) -> None:
    (tmp_path / "index").symlink_to("index")
    with pytest.raises(OSError):
        patch_file(str(tmp_path / "index"), {b"a": SOME})
    assert sorted(os.listdir(tmp_path)) == ["index"]


@pytest.mark.parametrize("name", ["index", "no/such/dir/index", "file/index"])
def test_without_an_index_all_paths_are_missed(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    assert patch_file(str(tmp_path / name), {b"a": SOME}) == {b"a"}
    assert os.listdir(tmp_path) == ["file"]


def test_the_lock_goes_when_writing_fails(tmp_path: Path) -> None:
    git = make(tmp_path / "repo")
    replace_file(git, b"plain.bin")
    updates = updates_for(git)
    old = index_of(git).read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(old) // 2, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            patch_file(index_of(git), updates)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert index_of(git).read_bytes() == old
    assert not lock_of(git).exists()


# The bytes: an index put together here, so that every place in it is known.


SOME = EntryStat("00" * 20, 1, 2, 3, 4, 5, 6, 7)


class Entry(NamedTuple):
    path: bytes
    oid: bytes
    stats: bytes = b"\x11" * 36  # all but the mode
    mode: int = 0o100644
    stage: int = 0
    extended: int | None = None


class Built(NamedTuple):
    data: bytes
    places: list[int]  # of the entries


def offset_number(value: int) -> bytes:
    out = [value & 0x7F]
    while value := value >> 7:
        value -= 1
        out.append(0x80 | (value & 0x7F))
    return bytes(reversed(out))


def build(
    entries: list[Entry], version: int = 2, tail: bytes = b"", algorithm: str = "sha1"
) -> Built:
    out = bytearray(b"DIRC" + version.to_bytes(4, "big") + len(entries).to_bytes(4, "big"))
    places = []
    previous = b""
    for entry in entries:
        places.append(len(out))
        extended = entry.extended is not None
        flags = min(len(entry.path), 0xFFF) | entry.stage << 12 | extended << 14
        body = entry.stats[:24] + entry.mode.to_bytes(4, "big") + entry.stats[24:] + entry.oid
        body += flags.to_bytes(2, "big")
        if entry.extended is not None:
            body += entry.extended.to_bytes(2, "big")
        if version == 4:
            common = 0
            while previous[: common + 1] == entry.path[: common + 1]:
                common += 1
            body += offset_number(len(previous) - common) + entry.path[common:] + b"\0"
        else:
            body += entry.path
            body += bytes(8 - len(body) % 8)
        out += body
        previous = entry.path
    out += tail
    return Built(bytes(out + hashlib.new(algorithm, out).digest()), places)


def resealed(data: bytes) -> bytes:
    return data[:-20] + hashlib.sha1(data[:-20]).digest()


def is_refused(data: bytes, updates: Mapping[bytes, EntryStat]) -> bool:
    return patch(data, updates) == Patched(data, frozenset(updates))


OID = bytes(range(20))
UPDATE = SOME._replace(oid=OID.hex())


def test_what_the_builder_makes_is_an_index_to_git(tmp_path: Path) -> None:
    git = Git(tmp_path / "repo").init()
    entries = [Entry(b"a" * 300, OID), Entry(b"b", OID, extended=0x4000)]
    for version in (3, 4):
        index_of(git).write_bytes(build(entries, version).data)
        assert git.out("ls-files").split() == ["a" * 300, "b"]


@pytest.mark.parametrize("version", [2, 4])
def test_a_sound_index_is_patched(version: int) -> None:
    entries = [Entry(b"a" * 300, OID), Entry(b"b", OID)]
    tail = b"TREE\0\0\0\3abc" + b"sdir\0\0\0\0"
    built = build(entries, version, tail)
    assert patch(built.data, {b"b": UPDATE}).missed == frozenset()
    assert is_refused(built.data, {b"c": UPDATE})


@pytest.mark.parametrize("version", [2, 4])
def test_every_truncated_index_is_refused(version: int) -> None:
    entries = [Entry(b"a" * 200, OID, extended=0x2000), Entry(b"b", OID), Entry(b"c", OID)]
    data = build(entries, version, b"TREE\0\0\0\3abc").data
    for length in range(len(data)):
        cut = data[:length]
        assert is_refused(cut, {b"b": UPDATE})
        # Also where a checksum that fits, or none, hides it; but for a cut at the
        # end of the entries, which is an index too.
        if length < len(data) - 20 and length != len(data) - 20 - 11:
            assert is_refused(cut + hashlib.sha1(cut).digest(), {b"b": UPDATE})
            assert is_refused(cut + bytes(20), {b"b": UPDATE})


def test_every_flipped_byte_is_noticed() -> None:
    data = build([Entry(b"a", OID), Entry(b"b", OID)], 2, b"TREE\0\0\0\3abc").data
    for place in range(len(data)):
        bad = bytearray(data)
        bad[place] ^= 0x40
        assert is_refused(bytes(bad), {b"b": UPDATE})


@pytest.mark.parametrize(
    "data",
    [
        b"",
        build([Entry(b"a", OID)], 1).data,
        build([Entry(b"a", OID)], 5).data,
        resealed(b"DIRK" + build([Entry(b"a", OID)]).data[4:]),
        build([Entry(b"a", OID)], tail=b"link\0\0\0\x14" + bytes(20)).data,
        build([Entry(b"a", OID)], tail=b"newx\0\0\0\0").data,
        build([Entry(b"a", OID)], tail=b"TREE\0\0\1\0abc").data,
        build([Entry(b"a", OID, extended=0x8000)], 3).data,
        build([Entry(b"a", OID, extended=0x0001)], 4).data,
    ],
    ids=["empty", "v1", "v5", "signature", "split", "unknown", "overlong", "flags", "flags v4"],
)
def test_a_foreign_index_is_refused(data: bytes) -> None:
    assert is_refused(data, {b"a": UPDATE})


def test_a_name_that_drops_more_than_there_is_refused() -> None:
    built = build([Entry(b"a", OID)], 4)
    bad = bytearray(built.data)
    bad[built.places[0] + 62] = 1
    assert is_refused(resealed(bytes(bad)), {b"a": UPDATE})


def test_object_ids_of_the_other_hash_or_no_hash_are_refused() -> None:
    data = build([Entry(b"a", OID), Entry(b"b", OID)]).data
    other = UPDATE._replace(oid="0f" * 32)
    assert is_refused(data, {b"a": other})
    assert is_refused(data, {b"a": UPDATE, b"b": other})
    assert is_refused(data, {b"a": UPDATE._replace(oid="0f" * 10)})
    assert is_refused(data, {})


def test_an_entry_inside_a_name_is_not_taken_for_one() -> None:
    # As long as the flags, which hold the length, have no NUL.
    path = b"x" * 300
    oid = b"\x81" * 20
    inner = oid + len(path).to_bytes(2, "big") + path
    built = build([Entry(b"y" * 10 + inner, oid), Entry(b"z", oid)])
    assert is_refused(built.data, {path: UPDATE._replace(oid=oid.hex())})


names = st.lists(
    st.binary(min_size=1, max_size=12).map(lambda b: b.replace(b"\0", b"/") * 30)
    | st.binary(min_size=1, max_size=8).map(lambda b: b.replace(b"\0", b"/")),
    min_size=1,
    max_size=12,
    unique=True,
)
number = st.integers(0, 2**70)


@st.composite
def indexes(draw: st.DrawFn) -> tuple[list[Entry], int, bytes, str]:
    version = draw(st.sampled_from([2, 3, 4]))
    algorithm = draw(st.sampled_from(["sha1", "sha256"]))
    size = hashlib.new(algorithm).digest_size
    oids = [bytes([n]) * size for n in range(2)]
    entries = [
        Entry(
            name,
            draw(st.sampled_from(oids)),
            draw(st.binary(min_size=36, max_size=36)),
            draw(st.sampled_from([0o100644, 0o100755, 0o120000, 0o160000, 1 << 16 | 0o100644])),
            draw(st.sampled_from([0, 0, 0, 2])),
            draw(st.sampled_from([None, 0x2000, 0x4000])) if version > 2 else None,
        )
        for name in sorted(draw(names))
    ]
    tail = draw(st.sampled_from([b"", b"TREE\0\0\0\0", b"ABCD\0\0\0\5\0link"]))
    return entries, version, tail, algorithm


@given(indexes(), st.data(), st.booleans())
def test_nothing_but_stat_fields_and_the_checksum_ever_changes(
    index: tuple[list[Entry], int, bytes, str], data: st.DataObject, with_checksum: bool
) -> None:
    entries, version, tail, algorithm = index
    built = build(entries, version, tail, algorithm)
    size = hashlib.new(algorithm).digest_size
    old = built.data if with_checksum else built.data[:-size] + bytes(size)
    asked = data.draw(st.lists(st.sampled_from([e.path for e in entries]), unique=True))
    oid = (b"\0" * size).hex()
    updates = {
        path: EntryStat(oid, *(data.draw(number) for _ in range(7))) for path in [*asked, b"no/ne"]
    }

    new, missed = patch(old, updates)

    wanted = [
        (entry, place)
        for entry, place in zip(entries, built.places, strict=True)
        if entry.path in asked and entry.mode in (0o100644, 0o100755)
        if entry.stage == 0 and entry.oid.hex() == oid
    ]
    assert missed == updates.keys() - {entry.path for entry, _ in wanted}
    expected = bytearray(old)
    for entry, place in wanted:
        fields = [n.to_bytes(4, "big") for n in expected_stats(updates[entry.path])]
        expected[place : place + 24] = b"".join(fields[:6])
        expected[place + 28 : place + 40] = b"".join(fields[6:])
    if with_checksum:
        expected[-size:] = hashlib.new(algorithm, expected[:-size]).digest()
    assert new == expected
