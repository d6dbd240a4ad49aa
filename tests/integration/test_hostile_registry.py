"""Registries whose publisher means harm: nothing of theirs leads out of a target or runs.

Their trees are written byte by byte, since git's own commands refuse to make most of them.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from blake3 import blake3

from git_datareg import api
from git_datareg.errors import UnsafePathError
from tests.support import githttp
from tests.support.consumers import below, consumer, datareg, fault
from tests.support.filtered import object_file, pointer
from tests.support.gitrun import Git, clone

FILE, EXECUTABLE, LINK, DIRECTORY, MODULE = "100644", "100755", "120000", "40000", "160000"
#: Mode, name and object id of an entry of a tree.
Entry = tuple[str, bytes, str]


class Evil:
    """A bare repository whose objects are made by plumbing alone."""

    def __init__(self, path: Path) -> None:
        self.git = Git(path).init("--bare")

    def blob(self, content: bytes = b"evil\n") -> str:
        return self._object("blob", content)

    def tree(self, *entries: Entry) -> str:
        """A tree of just these bytes, in this order."""
        lines = [
            mode.encode() + b" " + name + b"\0" + bytes.fromhex(id) for mode, name, id in entries
        ]
        return self._object("tree", b"".join(lines))

    def publish(self, tree: str) -> None:
        text = f"tree {tree}\nauthor E <e@example.org> 1 +0000\ncommitter E <e@example.org> 1 +0000"
        commit = self._object("commit", f"{text}\n\nevil\n".encode())
        self.git.run("update-ref", "refs/heads/main", commit)

    def publish_data(self, *entries: Entry) -> None:
        """Publish entries in the directory `data`."""
        self.publish(self.tree((DIRECTORY, b"data", self.tree(*entries))))

    def nested(self, tree: str, depth: int) -> str:
        """The tree below `depth` directories "d": written here, as git takes its time."""
        for _ in range(depth):
            content = b"40000 d\0" + bytes.fromhex(tree)
            whole = b"tree %d\0" % len(content) + content
            tree = hashlib.sha1(whole).hexdigest()
            file = self.git.path / "objects" / tree[:2] / tree[2:]
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(zlib.compress(whole))
        return tree

    def _object(self, kind: str, content: bytes) -> str:
        made = self.git.run(
            "hash-object", "-t", kind, "-w", "--literally", "--stdin", input=content
        )
        return made.stdout.strip()


@pytest.fixture
def evil(tmp_path: Path) -> Evil:
    return Evil(tmp_path / "evil.git")


@pytest.fixture(params=["path", "file", "http"])
def url(request: pytest.FixtureRequest, evil: Evil, tmp_path: Path) -> Iterator[str]:
    """The registry's URL: read in place, or by way of a mirror."""
    if request.param != "http":
        yield {"path": "{}", "file": "file://{}"}[request.param].format(evil.git.path)
        return
    with githttp.serve(tmp_path) as root:
        yield f"{root}/evil.git"


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """An empty directory, in one that holds nothing else."""
    path = tmp_path / "around" / "here"
    path.mkdir(parents=True)
    return path


def nothing_came(here: Path) -> bool:
    return os.listdir(here) == [] and os.listdir(here.parent) == [here.name]


#: What some file system takes for ".git", and what leads out of a directory.
UNSAFE_NAMES = [
    b".git",
    b".GIT",
    b".git.",
    b".git ",
    b".git. . ",
    b"git~1",
    b"GIT~1",
    b".git::$INDEX_ALLOCATION",
    b".g\xe2\x80\x8cit",
    b"\xef\xbb\xbf.git",
    b"a\\.git\\hooks",
    b".git\\config",
    b"..",
    b".",
    b"../out",
    b"../../out",
    b"/out",
    b"sub/../../out",
    b"./a",
]


def test_names_that_lead_out_are_refused(evil: Evil, url: str, here: Path) -> None:
    # As a file, and as a directory. The mirror has the same trees, so a few do there.
    names = UNSAFE_NAMES if url == str(evil.git.path) else [b".git", b"..", b"/out"]
    inner = evil.tree((FILE, b"config", evil.blob()))
    trees = [
        evil.tree((FILE, b"Good", evil.blob()), entry)
        for name in names
        for entry in ((FILE, name, evil.blob()), (DIRECTORY, name, inner))
    ]
    evil.publish(evil.tree(*((DIRECTORY, b"%03d" % n, tree) for n, tree in enumerate(trees))))
    for number in range(len(trees)):
        with pytest.raises(UnsafePathError, match="unsafe path"):
            api.get(url, f"{number:03}", here / "out")
        assert nothing_came(here)
    fault(datareg(here, "get", url, "000", check=False), 4, "unsafe path")
    assert nothing_came(here)
    # What can't be written can still be looked at.
    assert datareg(here, "list", "-R", url).stdout.count("\n") == 2 * len(trees)


def test_names_that_lead_out_are_not_imported(evil: Evil, tmp_path: Path) -> None:
    git = consumer(tmp_path / "consumer")
    for name in (b"..", b".git", b"../.git"):
        evil.publish_data((FILE, b"Good", evil.blob()), (FILE, name, evil.blob()))
        fault(datareg(git, "import", "../evil.git", "data", check=False), 4, "unsafe path")
        assert git.status() == ""


@pytest.mark.parametrize("path", ["..", "../..", "/etc", "data/../../x", ".git/../.."])
@pytest.mark.parametrize("command", ["get", "list"])
def test_paths_that_lead_out_are_refused(evil: Evil, here: Path, command: str, path: str) -> None:
    evil.publish_data((FILE, b"good", evil.blob()))
    done = datareg(here, command, str(evil.git.path), path, check=False)
    fault(done, 3, "not a path inside a registry")
    assert nothing_came(here)


def test_a_slash_in_a_name_is_just_a_directory(evil: Evil, url: str, here: Path) -> None:
    evil.publish_data((FILE, b"a/b", evil.blob()))
    datareg(here, "get", url, "data")
    assert below(here) == {"data/a/b": b"evil\n"}


@pytest.mark.parametrize("first", [FILE, LINK])
def test_a_file_that_is_a_directory_too_is_refused(evil: Evil, here: Path, first: str) -> None:
    # The classic way out: a symlink, and then a file behind it.
    inner = evil.tree((FILE, b"out", evil.blob()))
    sub = (DIRECTORY, b"sub", inner)
    evil.publish_data(sub, (first, b"x", evil.blob(b"sub")), (DIRECTORY, b"x", inner))
    done = datareg(here, "get", str(evil.git.path), "data", check=False)
    fault(done, 4, "unsafe path 'x': the registry has it twice")
    assert nothing_came(here)


@pytest.mark.parametrize("second", [FILE, EXECUTABLE, LINK])
@pytest.mark.parametrize("first", [FILE, LINK])
def test_a_file_that_is_there_twice_comes_once_or_not_at_all(
    evil: Evil, here: Path, first: str, second: str
) -> None:
    sub = (FILE, b"sub", evil.blob(b"good"))
    evil.publish_data(sub, (first, b"x", evil.blob(b"sub")), (second, b"x", evil.blob(b"sub")))
    done = datareg(here, "get", str(evil.git.path), "data", check=False)
    if done.returncode == 0:
        assert below(here) == {"data/sub": b"good", "data/x": below(here)["data/x"]}
        assert below(here)["data/x"] in (b"sub", "sub")
    else:
        fault(done, 4, "unsafe path 'x': the registry has it twice")
        assert nothing_came(here)


def test_a_symlink_that_leads_out_through_another_is_refused(
    evil: Evil, url: str, here: Path
) -> None:
    # Each by itself stays inside, as its text says it: data/x/y/a is data, data/x/b is data/x.
    inner = evil.tree((LINK, b"a", evil.blob(b"../..")))
    outer = evil.tree((LINK, b"b", evil.blob(b"y/a/../..")), (DIRECTORY, b"y", inner))
    evil.publish_data((DIRECTORY, b"x", outer))
    done = datareg(here, "get", url, "data", check=False)
    fault(done, 4, "symlink leads out of the target: data/x/b -> y/a/../..", "-X x/b")
    assert nothing_came(here)
    datareg(here, "get", url, "data", "-X", "x/b")
    assert below(here) == {"data/x/y/a": "../.."}


@pytest.mark.parametrize("target", [b"a\0b", b"", b"x" * 5000, b"../" * 40, b"/", b"sub/../.."])
def test_a_symlink_to_where_none_may_lead_is_refused(evil: Evil, here: Path, target: bytes) -> None:
    evil.publish_data((FILE, b"good", evil.blob()), (LINK, b"x", evil.blob(target)))
    done = datareg(here, "get", str(evil.git.path), "data", check=False)
    fault(done, 4, "symlink leads out of the target: data/x -> ")
    assert nothing_came(here)


def test_a_symlink_that_git_reads_settings_through_is_refused(evil: Evil, here: Path) -> None:
    evil.publish_data((LINK, b".gitmodules", evil.blob(b"x")), (FILE, b"x", evil.blob()))
    done = datareg(here, "get", str(evil.git.path), "data", check=False)
    fault(done, 4, "a symlink can't be .gitmodules")
    assert nothing_came(here)


def test_a_pointer_in_a_symlink_is_a_symlink(evil: Evil, here: Path) -> None:
    text = pointer(b"content")
    evil.publish_data((FILE, b"good", evil.blob()), (LINK, b"x", evil.blob(text)))
    datareg(here, "get", str(evil.git.path), "data")
    assert os.fsencode((here / "data/x").readlink()) == text
    long = datareg(here, "list", "-l", str(evil.git.path), "data").stdout
    assert [line.split()[0] for line in long.splitlines()] == ["file", "link"]
    assert datareg(here, "list", "--data-only", str(evil.git.path), "data").stdout == ""


def test_modes_that_git_has_no_name_for_give_no_rights(evil: Evil, url: str, here: Path) -> None:
    modes = ["100600", "100664", "100666", "100777", "104755", "106711"]
    devices = ["10644", "20666", "60660", "140000", "177777"]
    entries = [(mode, mode.encode(), evil.blob()) for mode in (*modes, *devices)]
    evil.publish_data(*entries, ("120777", b"link", evil.blob(b"100600")))
    datareg(here, "get", url, "data")
    found = {path.name: path.lstat().st_mode for path in (here / "data").iterdir()}
    plain, executable = 0o100644, 0o100755
    assert found.pop("link") == 0o120777
    assert found == dict(zip(modes, [plain] * 3 + [executable] * 3, strict=True))


def test_an_entry_that_is_no_tree_is_one_line(evil: Evil, url: str, here: Path) -> None:
    evil.publish_data((FILE, b"good", evil.blob()), (DIRECTORY, b"x", evil.blob()))
    for arguments in (["get"], ["list", "-R"], ["list", "-lR"]):
        done = datareg(here, *arguments, url, "data", check=False)
        assert done.returncode in (5, 6, 128)
        assert "git-datareg: error: " in done.stderr and "internal error" not in done.stderr
        assert nothing_came(here)


@pytest.mark.parametrize("size", [300, 70_000])
def test_a_name_that_no_file_system_takes_is_one_line(
    evil: Evil, url: str, here: Path, size: int
) -> None:
    evil.publish_data((FILE, b"good", evil.blob()), (FILE, b"x" * size, evil.blob()))
    fault(datareg(here, "get", url, "data", check=False), 5, "File name too long")
    assert nothing_came(here)
    assert datareg(here, "list", url, "data").stdout == f"good\n{'x' * size}\n"
    datareg(here, "get", url, "data", "-X", "xxx*")
    assert below(here) == {"data/good": b"evil\n"}


def test_a_deep_tree_comes_or_leaves_nothing(evil: Evil, here: Path) -> None:
    # Deeper than paths may be long, and than Python's functions may call themselves.
    tree = evil.tree((FILE, b"file", evil.blob()))
    tree = evil.nested(tree, 2200)
    url = str(evil.git.path)
    evil.publish_data((DIRECTORY, b"d", tree), (FILE, b"too" + b"o" * 300, evil.blob()))
    try:
        fault(datareg(here, "get", url, "data", check=False), 5, "File name too long")
        assert nothing_came(here)
        datareg(here, "get", url, "data", "-X", "too*")
        assert len(datareg(here, "list", "-R", url, "data").stdout) > 2200 * 2
    finally:
        # Too deep for pytest.
        for each in here.iterdir():
            subprocess.run(["rm", "-rf", each], check=True)


def test_names_that_differ_in_case_alone_are_two_files(evil: Evil, here: Path) -> None:
    evil.publish_data((FILE, b"A", evil.blob(b"1")), (FILE, b"a", evil.blob(b"2")))
    datareg(here, "get", str(evil.git.path), "data")
    assert below(here) == {"data/A": b"1", "data/a": b"2"}


def test_names_can_not_steer_a_terminal(evil: Evil, url: str, here: Path) -> None:
    names = [b"\x1b[31mred", b"a\rb", b"bell\a", b"line\nend", b"\x7f", b"\xc2\x9b31m", b"\x9b31m"]
    evil.publish_data(*((FILE, name, evil.blob()) for name in sorted(names)))
    for arguments in (["list"], ["list", "-l"], ["list", "-R"]):
        done = datareg(here, *arguments, url, "data")
        assert len(done.stdout.splitlines()) == len(names)
        assert not set(done.stdout) & {"\x1b", "\r", "\a", "\x7f", "\x9b", "\udc9b"}
    missing = datareg(here, "get", url, "data/\x1b[31m", check=False)
    fault(missing, 3, "no such path: data/\\033[31m")


HUGE = 2**63


def _pointer_of(size: int, content: bytes = b"content") -> bytes:
    digest = blake3(content).hexdigest()
    return f"git-datareg pointer 1\nblake3 {digest}\nsize {size}\n".encode()


@pytest.mark.parametrize(
    ("size", "code", "words"),
    [(size, 6, "corrupt object") for size in (0, 6, 8, HUGE - 1)],
)
def test_a_pointer_with_a_wrong_size_is_corrupt(
    evil: Evil, here: Path, home: Path, size: int, code: int, words: str
) -> None:
    content = b"content"
    object = object_file(evil.git.path / "datareg", content)
    object.parent.mkdir(parents=True)
    object.write_bytes(content)
    evil.publish_data((FILE, b"x", evil.blob(_pointer_of(size))))
    done = datareg(here, "get", str(evil.git.path), "data", check=False)
    fault(done, code, "data/x: ", words)
    assert nothing_came(here)
    assert list((home / "datareg-cache").glob("objects/*/*")) == []
    [line] = datareg(here, "list", "-l", str(evil.git.path), "data").stdout.splitlines()
    assert line.split()[:2] == ["data", str(size)]


def test_a_pointer_to_more_than_there_can_be_is_a_file(evil: Evil, here: Path) -> None:
    text = _pointer_of(HUGE)
    evil.publish_data((FILE, b"x", evil.blob(text)))
    datareg(here, "get", str(evil.git.path), "data")
    assert below(here) == {"data/x": text}


@pytest.mark.parametrize("what", ["link to a file", "link to nothing", "directory"])
def test_an_object_that_is_no_file_is_not_taken(
    evil: Evil, here: Path, tmp_path: Path, what: str
) -> None:
    content = b"content"
    object = object_file(evil.git.path / "datareg", content)
    object.parent.mkdir(parents=True)
    (tmp_path / "secret").write_bytes(b"secret!")
    if what == "directory":
        object.mkdir()
    else:
        object.symlink_to(tmp_path / ("secret" if what == "link to a file" else "nothing"))
    evil.publish_data((FILE, b"x", evil.blob(pointer(content))))
    done = datareg(here, "get", str(evil.git.path), "data", check=False)
    assert done.returncode in (3, 5, 6)
    fault(done, done.returncode, "data/x: ")
    assert nothing_came(here)


def test_submodules_are_not_looked_into(evil: Evil, url: str, here: Path, tmp_path: Path) -> None:
    trap = f"ext::sh -c touch% {tmp_path}/trapped"
    text = f'[submodule "x"]\n\tpath = x\n\turl = {trap}\n\tupdate = !touch {tmp_path}/trapped\n'
    modules = (FILE, b".gitmodules", evil.blob(text.encode()))
    evil.publish(evil.tree(modules, (FILE, b"f", evil.blob()), (MODULE, b"x", "1" * 40)))
    datareg(here, "get", url, ".", "-o", "all")
    assert below(here).keys() == {"all/.gitmodules", "all/f"}
    assert "x" in datareg(here, "list", "-R", url).stdout.splitlines()
    assert not (tmp_path / "trapped").exists()


TRAP_URLS = [
    "ext::sh -c touch% {trap}",
    "datareg::ext::sh -c touch% {trap}",
    "datareg::datareg::ext::sh -c touch% {trap}",
    "fd::7",
    "EXT::sh -c touch% {trap}",
    "--upload-pack=touch {trap}",
    "-oProxyCommand=touch {trap}",
    "ssh://-oProxyCommand=touch% {trap}/x",
    "ssh://%2doProxyCommand=touch%20{trap}/x",
    "ssh://me@-oProxyCommand=touch% {trap}/x",
    "-oProxyCommand=touch:x",
    "me@-oProxyCommand=touch:x",
    "127.0.0.1:--upload-pack=touch",
    "http://127.0.0.1:1/%0d%0aHost:x",
    "https://h%0aost/x",
    "file:///nowhere%0a",
    "http://127.0.0.1:1/a\nb",
    "file:///nowhere/\x1b[31m",
    "",
]


@pytest.mark.parametrize("command", ["list", "get", "import"])
def test_urls_run_nothing(tmp_path: Path, command: str) -> None:
    git = consumer(tmp_path / "consumer")
    # Whoever lets git run anything.
    git.run("config", "--global", "protocol.allow", "always")
    # The other commands read them in the same way.
    for url in TRAP_URLS if command == "list" else TRAP_URLS[::5]:
        spelled = url.format(trap=tmp_path / "trapped")
        done = datareg(git, command, "--", spelled, "x", check=False)
        fault(done, 2)
        assert "\x1b" not in done.stderr
    assert not (tmp_path / "trapped").exists()
    assert git.status() == ""


REVISIONS = [
    "--upload-pack=touch {trap}",
    "--output={trap}",
    "-x",
    "main:data",
    "refs/heads/*",
    "refs/heads/main:refs/heads/other",
    "refs/heads/../../../../trapped",
    "+refs/heads/main",
    "main/",
    "heads//main",
    "/main",
    "main.lock",
    "main.",
    ".main",
    "^main",
    "main..other",
    ":/evil",
    "@{{u}}",
    "main@{{0}}x",
    "a b",
    "a\nb",
    "\x1b[31m",
    "0" * 40,
    "x" * 5000,
]


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize("url", ["path", "http"], indirect=True)
def test_revisions_name_commits_or_nothing(
    evil: Evil, url: str, here: Path, tmp_path: Path
) -> None:
    evil.publish_data((FILE, b"good", evil.blob()))
    for rev in REVISIONS:
        spelled = rev.format(trap=tmp_path / "trapped")
        done = datareg(here, "get", f"--rev={spelled}", url, "data", check=False)
        fault(done, 3, "no such revision: ")
        assert "\x1b" not in done.stderr
        assert nothing_came(here)
        assert not (tmp_path / "trapped").exists()


def test_refs_with_odd_names_are_names(evil: Evil, url: str, here: Path, tmp_path: Path) -> None:
    evil.publish_data((FILE, b"good", evil.blob()))
    ref = f"refs/heads/--upload-pack=touch${{IFS}}{tmp_path}/trapped"
    evil.git.run("update-ref", ref, "main")
    datareg(here, "get", url, "data")
    done = datareg(here, "list", f"--rev={ref}", url, "data")
    assert done.stdout == "good\n"
    assert not (tmp_path / "trapped").exists()


DATAREG = [
    '[storage "x"]\n\turl = ext::touch {trap}\n',
    '[storage "x"]\n\turl = -oProxyCommand=touch\n',
    "[datareg]\n\tcache = {trap}\n[core]\n\tsshCommand = touch {trap}\n",
    "[include]\n\tpath = {trap}.config\n",
    '[filter "datareg"]\n\tprocess = touch {trap}\n',
]


@pytest.mark.parametrize("text", DATAREG)
def test_the_sources_configuration_runs_nothing(
    evil: Evil, url: str, here: Path, tmp_path: Path, text: str
) -> None:
    spelled = text.format(trap=tmp_path / "trapped").encode()
    wanted = (FILE, b"x", evil.blob(pointer(b"nowhere")))
    evil.publish(evil.tree((FILE, b".datareg", evil.blob(spelled)), wanted))
    done = datareg(here, "get", url, "x", check=False)
    assert done.returncode in (3, 5, 6), done.stderr
    assert "internal error" not in done.stderr
    assert nothing_came(here)
    assert not (tmp_path / "trapped").exists()


def test_a_metafile_of_the_source_runs_nothing(
    evil: Evil, url: str, here: Path, tmp_path: Path
) -> None:
    text = (
        f"[import]\n\turl = ext::touch {tmp_path}/trapped\n\tpath = x\n"
        f"\tcommit = {'1' * 40}\n\tstorage = ext::touch {tmp_path}/trapped\n"
    )
    metafile = (FILE, b"x.datareg", evil.blob(text.encode()))
    evil.publish_data((FILE, b"x", evil.blob(pointer(b"nowhere"))), metafile)
    done = datareg(here, "get", url, "data", check=False)
    assert done.returncode in (3, 5, 6), done.stderr
    assert "internal error" not in done.stderr
    assert nothing_came(here)
    assert not (tmp_path / "trapped").exists()


def test_what_a_registry_on_this_machine_configures_does_not_run(
    evil: Evil, here: Path, tmp_path: Path
) -> None:
    evil.publish_data((FILE, b"good", evil.blob()))
    trap = tmp_path / "trap"
    trap.write_text(f"#!/bin/sh\ntouch '{tmp_path}/trapped'\n")
    trap.chmod(0o755)
    for key in (
        "core.fsmonitor",
        "core.sshCommand",
        "core.pager",
        "core.editor",
        "core.askPass",
        "core.gitProxy",
        "core.alternateRefsCommand",
        "credential.helper",
        "diff.external",
        "uploadpack.packObjectsHook",
        "filter.datareg.process",
        "gpg.program",
        "alias.ls-tree",
    ):
        evil.git.run("config", key, str(trap))
    for name in ("post-index-change", "reference-transaction", "post-checkout", "fsmonitor"):
        (evil.git.path / "hooks").mkdir(exist_ok=True)
        (evil.git.path / "hooks" / name).symlink_to(trap)
    datareg(here, "list", "-lR", str(evil.git.path))
    datareg(here, "get", str(evil.git.path), "data")
    assert below(here) == {"data/good": b"evil\n"}
    assert not (tmp_path / "trapped").exists()


@pytest.mark.parametrize("key", ["remote.origin.uploadpack", "core.sshCommand"])
def test_what_a_partial_clone_would_fetch_does_not_run(
    evil: Evil, here: Path, tmp_path: Path, key: str
) -> None:
    evil.publish_data((FILE, b"good", evil.blob()))
    evil.git.run("config", "uploadpack.allowFilter", "true")
    url = f"file://{evil.git.path}"
    partial = clone(url, tmp_path / "partial", "--filter=blob:none", "--bare")
    if key == "core.sshCommand":
        partial.run("config", "remote.origin.url", "ssh://localhost/x")
    partial.run("config", key, f"touch {tmp_path}/trapped;:")
    for arguments in (["list", "-l"], ["get"]):
        done = datareg(here, *arguments, str(partial.path), "data", check=False)
        assert done.returncode in (5, 6, 128), done.stderr
        assert "internal error" not in done.stderr
        assert not (tmp_path / "trapped").exists()
    assert nothing_came(here)
