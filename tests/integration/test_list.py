"""`git datareg list`: what a registry holds, without a download."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from blake3 import blake3

from tests.support import githttp
from tests.support.consumers import FACES_OLD, MODEL, NEW, OLD, Source, datareg, fault, gallery
from tests.support.gitrun import Git

TOP = [".datareg", ".gitattributes", "faces", "model.bin", "notes.txt", "run.sh"]
FACES = ["README.md", "a.jpg", "d.jpg", "empty.dat", "latest.jpg", "sub"]
ALL = [
    *TOP[:2],
    *(f"faces/{name}" for name in [*FACES[:-1], "sub/c.bin"]),
    *TOP[3:],
]


@pytest.fixture
def source(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Source:
    return gallery(tmp_path_factory, tmp_path)


def listed(cwd: Path, *arguments: str) -> list[str]:
    return datareg(cwd, "list", *arguments).stdout.splitlines()


def test_the_top_is_listed_a_name_a_line(source: Source, tmp_path: Path, home: Path) -> None:
    assert listed(tmp_path, source.url) == TOP
    assert not (home / "datareg-cache/objects").exists()


def test_recursive_lists_all_files_and_no_directories(source: Source, tmp_path: Path) -> None:
    assert listed(tmp_path, "-R", source.url) == ALL
    assert listed(tmp_path, "-R", source.url) == sorted(
        source.work.out("ls-tree", "-r", "--name-only", "v2").splitlines()
    )


@pytest.mark.parametrize("path", ["faces", "faces/", "./faces"])
def test_a_directory_is_listed_relative_to_itself(
    source: Source, tmp_path: Path, path: str
) -> None:
    assert listed(tmp_path, source.url, path) == FACES
    assert listed(tmp_path, "-R", source.url, path) == [*FACES[:-1], "sub/c.bin"]


@pytest.mark.parametrize("options", [[], ["-R"], ["-l"], ["--data-only"], ["--json"]])
def test_a_file_is_listed_by_its_name(source: Source, tmp_path: Path, options: list[str]) -> None:
    out = datareg(tmp_path, "list", *options, source.url, "faces/sub/c.bin").stdout
    assert "c.bin" in out and "sub" not in out


def test_a_revision_can_be_named(source: Source, tmp_path: Path) -> None:
    names = {f"faces/{name}" for name in FACES_OLD}
    found = listed(tmp_path, "-R", "--rev", "v1", source.url)
    assert {name for name in found if name.startswith("faces/")} == names


@pytest.mark.parametrize(
    "arguments",
    ["URL --rev v1 faces", "--rev v1 URL faces", "URL faces --rev v1", "--rev v1 -- URL faces"],
)
def test_options_may_stand_anywhere(source: Source, tmp_path: Path, arguments: str) -> None:
    words = [source.url if word == "URL" else word for word in arguments.split()]
    assert listed(tmp_path, *words) == sorted({name.split("/")[0] for name in FACES_OLD})


def test_long_tells_type_size_and_id(source: Source, tmp_path: Path) -> None:
    rows = [line.split() for line in listed(tmp_path, "-l", source.url, "faces")]
    id = blake3(NEW["a.jpg"]).hexdigest()[:12]
    assert rows[1] == ["data", str(len(NEW["a.jpg"])), id, "a.jpg"]
    assert [row[0] for row in rows] == ["file", "data", "data", "file", "link", "dir"]
    assert rows[-1][1] == "-"


def test_data_only_lists_tracked_data_and_directories_that_hold_some(
    source: Source, tmp_path: Path
) -> None:
    assert listed(tmp_path, "--data-only", source.url) == ["faces", "model.bin"]
    assert listed(tmp_path, "--data-only", source.url, "faces") == ["a.jpg", "d.jpg", "sub"]
    assert listed(tmp_path, "--data-only", "-R", source.url) == [
        "faces/a.jpg",
        "faces/d.jpg",
        "faces/sub/c.bin",
        "model.bin",
    ]


def test_json_says_all_there_is_to_say(source: Source, tmp_path: Path) -> None:
    rows = json.loads(datareg(tmp_path, "list", "--json", source.url).stdout)
    assert [row["path"] for row in rows] == TOP
    by_path = {row["path"]: row for row in rows}
    assert by_path["model.bin"] == {
        "path": "model.bin",
        "type": "file",
        "size": len(MODEL),
        "data": True,
        "executable": False,
        "id": blake3(MODEL).hexdigest(),
    }
    assert by_path["run.sh"] == {
        "path": "run.sh",
        "type": "file",
        "size": 10,
        "data": False,
        "executable": True,
        "id": source.work.out("rev-parse", "v2:run.sh"),
    }
    assert by_path["faces"]["type"] == "dir" and by_path["faces"]["size"] is None


def test_a_missing_object_or_storage_is_no_matter(source: Source, tmp_path: Path) -> None:
    source.storage.rename(tmp_path / "away")
    assert listed(tmp_path, "-R", "-l", source.url)[2].split()[0] == "file"
    assert len(listed(tmp_path, "-R", "-l", source.url)) == len(ALL)


def test_a_submodule_is_listed_as_one(source: Source, tmp_path: Path) -> None:
    id = source.work.head()
    source.work.run("update-index", "--add", "--cacheinfo", f"160000,{id},module")
    source.work.run("commit", "--quiet", "--message", "submodule")
    [row] = json.loads(datareg(tmp_path, "list", "--json", "author", "module").stdout)
    assert (row["type"], row["size"], row["id"]) == ("submodule", None, id)
    assert "module" in listed(tmp_path, "-R", "author")


ODD = [b"*", b"-dash", b":(top)x", b"new\nline", b"not \xff utf-8", b'q"\\', "ü".encode()]


def test_odd_names_are_shown_so_that_a_line_stays_a_line(tmp_path: Path) -> None:
    git = Git(tmp_path / "odd").init()
    for name in ODD:
        git.write(b"dir/" + name, name)
        git.write(name, name)
    git.commit_all()
    done = git.run_bytes("datareg", "list", ".", "dir")
    shown = [b'"new\\nline"' if name == b"new\nline" else name for name in ODD]
    assert done.stdout.split(b"\n")[:-1] == shown
    rows = json.loads(git.run("datareg", "list", "--json", ".", "dir").stdout)
    assert [row["path"].encode("utf-8", "surrogateescape") for row in rows] == ODD
    for name in ODD:
        for path in (b"dir/" + name, b"./" + name):
            [row] = json.loads(git.run("datareg", "list", "--json", ".", path).stdout)
            assert row["size"] == len(name)


def test_a_file_and_a_directory_with_its_name_and_more_are_sorted_as_paths(tmp_path: Path) -> None:
    git = Git(tmp_path / "sorted").init()
    for name in ("a/x", "a.txt", "a-b", "B"):
        git.write(name, b"x")
    git.commit_all()
    assert listed(git.path, ".") == ["B", "a", "a-b", "a.txt"]
    assert listed(git.path, "-R", ".") == ["B", "a-b", "a.txt", "a/x"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["nowhere"], 3, "no such repository: nowhere"),
        (["{}", "nothing"], 3, "no such path: nothing in {}"),
        (["--rev", "v9", "{}"], 3, "no such revision: v9 in {}"),
        (["{}", "../x"], 3, "not a path inside a registry"),
        ([], 2, "URL"),
        (["--sizes", "{}"], 2, "--sizes"),
        (["--rev", "", "{}"], 2, "argument --rev: it is empty"),
        (["{}", "/faces"], 3, "not a path inside a registry: /faces"),
        (["{}", "/"], 3, "not a path inside a registry: /"),
        (["{}", "faces/a.jpg/x"], 3, "no such path: faces/a.jpg/x"),
        (["{}", "faces", "model.bin"], 2, "unrecognized arguments: model.bin"),
    ],
)
def test_what_can_not_be_meant_is_one_clear_line(
    source: Source, tmp_path: Path, arguments: list[str], code: int, words: str
) -> None:
    given = [each.format(source.url) for each in arguments]
    done = datareg(tmp_path, "list", *given, check=False)
    fault(done, code, words.format(source.url))
    assert done.stdout == ""


def test_a_registry_with_an_empty_commit_has_nothing(tmp_path: Path) -> None:
    git = Git(tmp_path / "empty").init()
    git.run("commit", "--quiet", "--allow-empty", "--message", "nothing")
    assert listed(git.path, "-R", ".") == []
    assert json.loads(datareg(git, "list", "--json", ".").stdout) == []
    fault(datareg(git, "list", ".", "x", check=False), 3, "no such path: x")


def test_a_reader_that_has_enough_is_no_fault(source: Source, tmp_path: Path) -> None:
    for number in range(3000):
        source.work.write(f"many/{number:05}-{'x' * 60}", b"")
    source.work.commit_all()
    done = Git(tmp_path).run(
        "-c", "alias.head=!git datareg list -R author | head -1", "head", check=True
    )
    assert done.stdout == ".datareg\n"
    assert done.stderr == ""


def test_a_corrupt_datareg_in_the_source_is_named(source: Source, tmp_path: Path) -> None:
    source.work.write(".datareg", b"[datareg\n")
    source.work.commit_all()
    fault(datareg(tmp_path, "list", "-l", "author", check=False), 6, "can't read .datareg")


def test_the_old_version_had_other_files(source: Source, tmp_path: Path) -> None:
    found = listed(tmp_path, "--data-only", "-R", "--rev", "v1", source.url, "faces")
    assert found == sorted(OLD)


def test_paths_lead_through_symlinks_as_with_ls(source: Source, tmp_path: Path) -> None:
    (source.work.path / "people").symlink_to("faces")
    (source.work.path / "faces/up").symlink_to("..")
    (source.work.path / "out").symlink_to("/etc")
    source.publish()
    assert listed(tmp_path, source.url, "people") == ["people"]
    assert listed(tmp_path, source.url, "people/") == sorted([*FACES, "up"])
    assert listed(tmp_path, source.url, "people/sub") == ["c.bin"]
    assert listed(tmp_path, source.url, "people/a.jpg") == ["a.jpg"]
    assert listed(tmp_path, source.url, "people/up/faces/sub/") == ["c.bin"]
    assert listed(tmp_path, source.url, "out") == ["out"]
    for path in ("out/", "out/passwd"):
        fault(datareg(tmp_path, "list", source.url, path, check=False), 4, "out -> /etc")


def test_a_symlink_to_nothing_is_listed(source: Source, tmp_path: Path) -> None:
    (source.work.path / "faces/latest.jpg").unlink()
    (source.work.path / "faces/latest.jpg").symlink_to("nothing")
    source.publish()
    assert listed(tmp_path, source.url, "faces") == FACES
    [line] = listed(tmp_path, "-l", source.url, "faces/latest.jpg")
    assert line.split()[0] == "link"


def test_a_directory_without_data_has_none(source: Source, tmp_path: Path) -> None:
    source.work.write("folder/.keep", b"")
    source.publish()
    assert listed(tmp_path, "--data-only", source.url, "folder") == []
    assert listed(tmp_path, "--data-only", "-R", source.url, "folder") == []
    assert listed(tmp_path, "--data-only", source.url, "notes.txt") == []
    done = datareg(tmp_path, "list", "--data-only", source.url, "missing", check=False)
    fault(done, 3, "no such path: missing")


def test_what_a_work_tree_has_and_no_commit_is_not_listed(source: Source) -> None:
    source.work.write("faces/new.jpg", b"new")
    (source.work.path / "faces/d.jpg").unlink()
    source.work.run("add", "faces/new.jpg")
    assert listed(source.work.path, ".", "faces") == FACES
    assert datareg(source.work.path / "faces", "-C", "..", "list", ".", "faces").stdout == "".join(
        f"{name}\n" for name in FACES
    )


def test_a_repository_that_knows_nothing_of_us_is_listed(tmp_path: Path) -> None:
    plain = Git(tmp_path / "plain").init()
    plain.write("model/train.py", b"x")
    plain.write("README.md", b"x")
    plain.commit_all()
    assert listed(tmp_path, "-R", f"file://{plain.path}") == ["README.md", "model/train.py"]
    assert listed(tmp_path, "-R", "--data-only", "plain") == []


@pytest.mark.parametrize("options", [[], ["-R"], ["-l"], ["-lR"], ["--data-only"], ["--json"]])
def test_a_server_gives_the_same_list(
    source: Source, tmp_path: Path, home: Path, options: list[str]
) -> None:
    with githttp.serve(tmp_path) as url:
        for path, rev in (("", "main"), ("faces", "v1"), ("faces/sub/c.bin", "main")):
            arguments = [*options, "--rev", rev]
            here = listed(tmp_path, *arguments, source.url, path)
            assert listed(tmp_path, *arguments, f"{url}/gallery.git", path) == here != []
    assert not (home / "datareg-cache/objects").exists()


def test_a_path_that_was_removed_is_listed_where_it_was(source: Source, tmp_path: Path) -> None:
    assert listed(tmp_path, "--rev", "v1", source.url, "faces/b.jpg") == ["b.jpg"]
    done = datareg(tmp_path, "list", source.url, "faces/b.jpg", check=False)
    fault(done, 3, "no such path: faces/b.jpg", "at the default branch")
