"""What clean and smudge make of content: sizes, names, pointers and what looks like one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.filtered import (
    ATTRIBUTES,
    blob,
    configure,
    data,
    leftovers,
    object_file,
    pointer,
)
from tests.support.gitrun import Git, clone

#: What fits one packet of git's, and what is held in memory.
PACKET, HELD = 65516, 1 << 20
SIZES = sorted(
    {0, 1, 2, 1023, 1024, 1025, HELD - 1, HELD, HELD + 1, 2 * HELD, 3 * HELD + 7}
    | {PACKET * count + more for count in (1, 2, 16, 17) for more in (-1, 0, 1)}
)
THRESHOLD = 1000
GOOD = pointer(b"some object that nobody has")
DIGEST = GOOD[29:93]
#: What is a byte or more away from a pointer, and so is data.
NEARLY = {
    "crlf": GOOD.replace(b"\n", b"\r\n"),
    "no last line end": GOOD[:-1],
    "a line more": GOOD + b"\n",
    "a byte more": GOOD + b"x",
    "a space more": GOOD[:-1] + b" \n",
    "a byte before": b"\n" + GOOD,
    "byte order mark": b"\xef\xbb\xbf" + GOOD,
    "utf-16": GOOD.decode().encode("utf-16"),
    "conflict": b"<<<<<<< ours\n" + GOOD + b"=======\n" + GOOD + b">>>>>>> theirs\n",
    "two pointers": GOOD * 2,
    "upper case digest": GOOD.replace(DIGEST, DIGEST.upper()),
    "short digest": GOOD.replace(DIGEST, DIGEST[:-1]),
    "long digest": GOOD.replace(DIGEST, DIGEST + b"0"),
    "size with a zero": GOOD.replace(b"size ", b"size 0"),
    "negative size": GOOD.replace(b"size ", b"size -"),
    "huge size": GOOD.replace(b"size ", b"size 1" + b"0" * 20),
    "no size": GOOD[: GOOD.index(b"size")],
    "keys in another order": b"git-datareg pointer 1\nsize 3\nblake3 " + DIGEST + b"\n",
    "key more": GOOD + b"name x\n",
    "another word": GOOD.replace(b"pointer", b"Pointer"),
    "a longer pointer than any": GOOD + b"#" * 1024,
    "the first line only": b"git-datareg pointer 1\n",
    "a version that is no number": GOOD.replace(b"pointer 1", b"pointer one"),
    "git-lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize 12\n" % DIGEST,
}
#: What only a later git-datareg can have written.
UNKNOWN = {
    "version": GOOD.replace(b"pointer 1", b"pointer 2"),
    "large version": GOOD.replace(b"pointer 1", b"pointer 10"),
    "hash": GOOD.replace(b"blake3", b"blake4"),
}


@pytest.fixture
def git(tmp_path: Path) -> Git:
    return configure(Git(tmp_path / "repository").init())


def come_back(git: Git, contents: dict[str, bytes]) -> None:
    """Remove the files, have git write them again, and look that they are the same."""
    for name in contents:
        (git.path / name).unlink()
    git.run("checkout", "--", ".")
    assert {name: (git.path / name).read_bytes() for name in contents} == contents
    assert git.filter_use("status").cleans == 0
    assert git.status() == ""
    assert leftovers(git) == []


def stage(git: Git, path: str, content: bytes) -> None:
    """Put a blob in the index as it is, past the filter."""
    id = git.run("hash-object", "-w", "--stdin", input=content).stdout.strip()
    git.run("update-index", "--add", "--cacheinfo", f"100644,{id},{path}")


def test_content_of_any_size_comes_back(git: Git) -> None:
    contents = {f"{size}.dat": data(str(size), size) for size in SIZES}
    for name, content in contents.items():
        git.write(name, content)
    git.commit_all()
    for name, content in contents.items():
        assert blob(git, f":{name}") == (pointer(content) if content else b"")
        if content:
            stored = object_file(git.path / ".git/datareg", content)
            assert stored.read_bytes() == content
            assert stored.stat().st_mode & 0o777 == 0o444
    come_back(git, contents)


def test_an_empty_file_is_no_object(git: Git) -> None:
    git.write("empty.dat", b"")
    git.commit_all()
    assert blob(git, ":empty.dat") == b""
    assert not (git.path / ".git/datareg/objects").exists()
    assert git.filter_use("status") == (0, 0, 0)


def test_files_below_the_threshold_stay_blobs(git: Git) -> None:
    git.write(".datareg", b"[datareg]\n\tversion = 1\n\tthreshold = %d\n" % THRESHOLD)
    contents = {f"{size}.dat": data("x", size) for size in range(THRESHOLD - 1, THRESHOLD + 2)}
    for name, content in contents.items():
        git.write(name, content)
    git.commit_all()
    assert blob(git, ":999.dat") == contents["999.dat"]
    assert blob(git, ":1000.dat") == pointer(contents["1000.dat"])
    assert blob(git, ":1001.dat") == pointer(contents["1001.dat"])
    come_back(git, contents)


def test_a_threshold_above_what_is_held_in_memory(git: Git) -> None:
    git.write(".datareg", b"[datareg]\n\tthreshold = 2m\n")
    contents = {"below.dat": data("b", 2 * HELD - 1), "above.dat": data("a", 2 * HELD)}
    for name, content in contents.items():
        git.write(name, content)
    git.commit_all()
    assert blob(git, ":below.dat") == contents["below.dat"]
    assert blob(git, ":above.dat") == pointer(contents["above.dat"])
    come_back(git, contents)


def test_the_threshold_is_the_tracked_one_only(git: Git) -> None:
    git.run("config", "datareg.threshold", "1g")
    git.write("x.dat", b"tiny")
    git.run("add", "x.dat", env={"GIT_DATAREG_THRESHOLD": "1g"})
    assert blob(git, ":x.dat") == pointer(b"tiny")


def test_the_threshold_counts_when_datareg_is_only_in_the_index(git: Git) -> None:
    git.write(".datareg", b"[datareg]\n\tthreshold = 1k\n")
    git.commit_all()
    (git.path / ".datareg").unlink()
    git.write("x.dat", b"tiny")
    git.run("add", "x.dat")
    assert blob(git, ":x.dat") == b"tiny"


def test_a_datareg_of_another_time_stops_the_add(git: Git) -> None:
    git.write(".datareg", b"[datareg]\n\tversion = 2\n\tabove = 1k\n")
    git.write("x.dat", b"content")
    done = git.run("add", "x.dat", check=False)
    assert done.returncode == 128
    assert "of version 2" in done.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"[datareg]\n\tthreshold = many\n", "not a size: 'many'"),
        (b"[datareg\n\tthreshold = 1k\n", "can't read"),
        (b"[datareg]\n\tversion = 2\n\tthreshold = 1k\n", "of version 2"),
    ],
)
def test_a_threshold_that_is_not_understood_stops_the_add(
    git: Git, text: bytes, words: str
) -> None:
    git.write(".datareg", text)
    git.write("x.dat", b"content")
    done = git.run("add", "x.dat", check=False)
    assert done.returncode == 128
    [line] = [line for line in done.stderr.splitlines() if line.startswith("git-datareg: error:")]
    assert "x.dat: " in line
    assert ".datareg" in line
    assert words in line
    assert git.out("ls-files") == ""


def test_a_pointer_is_added_as_it_is(git: Git) -> None:
    git.write("x.dat", GOOD)
    git.run("add", "x.dat")
    assert blob(git, ":x.dat") == GOOD
    assert not (git.path / ".git/datareg/objects").exists()


def test_what_is_nearly_a_pointer_is_data(git: Git) -> None:
    contents = {f"{name}.dat": content for name, content in NEARLY.items()}
    for name, content in contents.items():
        git.write(name, content)
    git.commit_all()
    staged = {name: blob(git, f":{name}") for name in contents}
    assert staged == {name: pointer(content) for name, content in contents.items()}
    come_back(git, contents)


def test_a_blob_that_is_nearly_a_pointer_is_checked_out_as_it_is(git: Git) -> None:
    contents = {f"{name}.dat": content for name, content in NEARLY.items()}
    for name, content in contents.items():
        stage(git, name, content)
    git.run("checkout", ".")
    assert {name: (git.path / name).read_bytes() for name in contents} == contents


@pytest.mark.parametrize("name", UNKNOWN)
def test_a_pointer_of_another_time_is_not_added(git: Git, name: str) -> None:
    git.write("sub/x.dat", UNKNOWN[name])
    done = git.run("add", "sub", check=False)
    assert done.returncode == 128
    assert "git-datareg: error: sub/x.dat: pointer " in done.stderr
    assert "hint: upgrade git-datareg" in done.stderr
    assert git.out("ls-files") == ""


@pytest.mark.parametrize("name", UNKNOWN)
def test_a_pointer_of_another_time_is_not_checked_out(git: Git, name: str) -> None:
    stage(git, "sub/x.dat", UNKNOWN[name])
    done = git.run("checkout", "--", "sub", check=False)
    assert done.returncode == 128
    assert "git-datareg: error: sub/x.dat: pointer " in done.stderr
    git.run("checkout", "--", "sub", env={"GIT_DATAREG_SKIP_SMUDGE": "1"})
    assert (git.path / "sub/x.dat").read_bytes() == UNKNOWN[name]


@pytest.mark.parametrize("name", [".gitattributes", ".gitignore", ".datareg", "x.datareg"])
def test_what_tells_git_or_us_how_to_work_stays_a_blob(git: Git, name: str) -> None:
    git.write(".gitattributes", b"* filter=datareg -text\n")
    git.write(f"sub/{name}", b"# a comment\n")
    git.commit_all()
    assert blob(git, f":sub/{name}") == b"# a comment\n"
    come_back(git, {f"sub/{name}": b"# a comment\n"})


def test_modes_are_kept(git: Git) -> None:
    for name, size in (("small", 100), ("large", 2 * HELD)):
        git.write(f"{name}.dat", data(name, size), mode=0o755)
        git.write(f"{name}-plain.dat", data(name, size), mode=0o644)
    (git.path / "link.dat").symlink_to("small.dat")
    git.commit_all()
    modes = {path.name: path.lstat().st_mode for path in git.path.glob("*.dat")}
    git.run("rm", "-q", "*.dat")
    git.run("reset", "--hard", "-q")
    assert {path.name: path.lstat().st_mode for path in git.path.glob("*.dat")} == modes
    assert git.filter_use("status").cleans == 0
    assert git.status() == ""


NAMES = [
    b"a b.dat",
    b" leading.dat",
    b"line\nbreak.dat",
    b"trailing line break.dat\n",
    b"two line breaks.dat\n\n",
    b"carriage\rreturn.dat",
    b"tab\t.dat",
    b"-dash.dat",
    b"--version.dat",
    b"'single'.dat",
    b'"double".dat',
    b"back\\slash.dat",
    b"$(touch owned).dat",
    b"`touch owned`.dat",
    b"%f.dat",
    b"equals=sign.dat",
    b"*?[star].dat",
    b":(top)magic.dat",
    b"#hash.dat",
    b"~tilde.dat",
    b"\xff\xfe not utf-8.dat",
    "käse und 数据.dat".encode(),
    b"escape\x1b[31m.dat",
    b"n" * 251 + b".dat",
    b"deep/" * 40 + b"deep.dat",
]


@pytest.mark.parametrize("size", [500, HELD + 3], ids=["small", "large"])
def test_any_name_will_do(git: Git, tmp_path: Path, size: int) -> None:
    git.write(".gitattributes", b"* filter=datareg -text -merge -diff\n")
    contents = {name: data(name.hex(), size) for name in NAMES}
    for name, content in contents.items():
        git.write(name, content)
    git.commit_all()
    listed = git.run_bytes("ls-files", "-z").stdout.split(b"\0")
    assert set(listed) == {*NAMES, b".gitattributes", b""}
    copy = configure(clone(git.path, tmp_path / "copy", "--no-checkout"), b"")
    copy.run("checkout", "-q", "main")
    for name, content in contents.items():
        assert (copy.path / os.fsdecode(name)).read_bytes() == content
    assert copy.filter_use("status").cleans == 0
    assert copy.status() == ""
    assert leftovers(copy) == []


@pytest.mark.parametrize("name", [b"\xff.dat", b"line\nbreak.dat", b"escape\x1b[31m.dat"])
def test_a_fault_names_odd_paths_on_one_line(git: Git, name: bytes) -> None:
    git.write(name, UNKNOWN["version"])
    done = git.run_bytes("add", "--", name, check=False)
    [line] = [line for line in done.stderr.splitlines() if line.startswith(b"git-datareg: error:")]
    assert b"pointer of version 2" in line
    assert b"\x1b" not in line


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize(
    "setting", ["core.autocrlf=true", "core.autocrlf=input", "core.eol=crlf", "core.safecrlf=true"]
)
@pytest.mark.parametrize(
    "attributes",
    [
        ATTRIBUTES,
        b"*.dat filter=datareg\n",
        b"* text=auto\n*.dat filter=datareg\n",
        b"*.dat filter=datareg text eol=crlf\n",
        b"*.dat filter=datareg ident\n",
        b"*.dat filter=datareg text working-tree-encoding=ISO-8859-1\n",
    ],
    ids=["no text", "nothing said", "auto", "crlf", "ident", "encoding"],
)
def test_line_ends_are_never_converted(git: Git, setting: str, attributes: bytes) -> None:
    if setting == "core.safecrlf=true" and b"eol=crlf" in attributes:
        pytest.skip("git refuses whatever has line feeds, and so every pointer")
    git.run("config", *setting.split("="))
    git.write(".gitattributes", attributes)
    contents = {
        "unix.dat": b"one\ntwo\n$Id$\n",
        "dos.dat": b"one\r\ntwo\r\n",
        "mixed.dat": b"\r\n\n\r\r\n\xe4",
        "large.dat": b"line\r\n" * (HELD // 5),
    }
    for name, content in contents.items():
        git.write(name, content)
    git.commit_all()
    for name, content in contents.items():
        assert blob(git, f":{name}") == pointer(content)
    come_back(git, contents)
    large = git.run_bytes("cat-file", "--filters", "HEAD:large.dat").stdout
    assert large == contents["large.dat"]


def test_a_pointer_that_stays_is_not_converted_either(git: Git) -> None:
    git.write(".gitattributes", b"*.dat filter=datareg text eol=crlf\n")
    git.write("x.dat", b"content")
    git.commit_all()
    (git.path / "x.dat").unlink()
    git.run("checkout", "x.dat", env={"GIT_DATAREG_SKIP_SMUDGE": "1"})
    assert (git.path / "x.dat").read_bytes() == pointer(b"content")
    assert git.status() == ""


def test_an_encoding_that_can_not_hold_a_pointer_stops_the_add(git: Git) -> None:
    git.write(".gitattributes", b"*.dat filter=datareg working-tree-encoding=UTF-16\n")
    content = "Grüße\n".encode("utf-16")
    git.write("x.dat", content)
    assert git.run("add", "x.dat", check=False).returncode == 128
    assert git.out("ls-files") == ""
    assert (git.path / "x.dat").read_bytes() == content


def test_a_pointer_is_found_behind_an_encoding_that_came_later(git: Git) -> None:
    git.write("x.dat", b"content")
    git.commit_all()
    git.write(".gitattributes", b"*.dat filter=datareg working-tree-encoding=UTF-16\n")
    (git.path / "x.dat").unlink()
    git.run("checkout", "x.dat")
    assert (git.path / "x.dat").read_bytes() == b"content"
