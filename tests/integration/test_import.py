"""`git datareg import`: files of a registry in one's own repository, with their origin."""

from __future__ import annotations

import os
import shutil
import stat
import threading
from pathlib import Path

import pytest

from git_datareg import main
from tests.support.consumers import (
    FACES_NEW,
    FACES_OLD,
    MODEL,
    NEW,
    OLD,
    Source,
    below,
    consumer,
    datareg,
    fault,
    gallery,
)
from tests.support.filtered import blob, data, pointer
from tests.support.githttp import serve
from tests.support.gitrun import FilterUse, Git, clone
from tests.support.registries import objects_in, run_unprivileged

IDLE = FilterUse(starts=0, cleans=0, smudges=0)
TRACKED = "filter=datareg -text -merge -diff"
PLAIN = "!filter !text !merge !diff"


@pytest.fixture
def source(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Source:
    return gallery(tmp_path_factory, tmp_path)


@pytest.fixture
def app(tmp_path: Path) -> Git:
    return consumer(tmp_path / "app")


def staged(git: Git) -> dict[str, str]:
    """What the next commit changes, by path; and nothing else is to be seen."""
    lines = git.status().splitlines()
    assert all(line[1] == " " for line in lines), lines
    return {line[3:]: line[0] for line in lines}


def test_a_directory_is_there_and_staged_with_its_metafile(source: Source, app: Git) -> None:
    done = datareg(app, "import", source.url, "faces")
    assert below(app.path / "faces") == FACES_NEW
    assert os.access(app.path / "faces/sub/c.bin", os.X_OK)
    paths = [".gitattributes", "faces.datareg", *(f"faces/{name}" for name in FACES_NEW)]
    assert staged(app) == dict.fromkeys(sorted(paths), "A")
    assert done.stdout == ""
    assert done.stderr.splitlines()[0].startswith("6 files imported to faces, at ")


def test_git_has_pointers_for_data_and_the_rest_as_it_is(source: Source, app: Git) -> None:
    datareg(app, "import", source.url, "faces")
    assert blob(app, ":faces/a.jpg") == pointer(NEW["a.jpg"])
    assert blob(app, ":faces/README.md") == FACES_NEW["README.md"]
    lines = app.out("ls-files", "--stage", "faces").splitlines()
    assert {line.split()[3]: line.split()[0] for line in lines} == {
        "faces/README.md": "100644",
        "faces/a.jpg": "100644",
        "faces/d.jpg": "100644",
        "faces/empty.dat": "100644",
        "faces/latest.jpg": "120000",
        "faces/sub/c.bin": "100755",
    }


def test_the_metafile_says_where_the_files_are_from(source: Source, app: Git) -> None:
    datareg(app, "import", source.url, "faces")
    commit = source.work.out("rev-parse", "v2^{commit}")
    wanted = (
        f"[import]\n\turl = {source.url}\n\tpath = faces\n\tcommit = {commit}\n"
        f"\tstorage = {source.storage}\n"
    )
    assert (app.path / "faces.datareg").read_text() == wanted
    assert app.out("config", "--file", "faces.datareg", "import.path") == "faces"


def test_the_attributes_track_the_data_and_not_the_rest(source: Source, app: Git) -> None:
    datareg(app, "import", source.url, "faces")
    assert (app.path / ".gitattributes").read_text() == (
        f"/faces/** {TRACKED}\n/faces/README.md {PLAIN}\n"
    )


def test_git_status_is_quick_and_asks_no_filter(source: Source, app: Git) -> None:
    datareg(app, "import", source.url, "faces")
    assert app.filter_use("status") == IDLE
    app.run("commit", "--quiet", "--message", "import")
    assert app.status() == ""
    assert app.filter_use("status") == IDLE


@pytest.mark.parametrize("threshold", [None, "1m"])
def test_touched_files_are_no_changes(
    source: Source, app: Git, threshold: str | None, tmp_path: Path
) -> None:
    if threshold:
        app.write(".datareg", f"[datareg]\n\tversion = 1\n\tthreshold = {threshold}\n".encode())
    datareg(app, "import", source.url, "faces")
    app.commit_all("import")
    for path in (app.path / "faces").rglob("*"):
        os.utime(path, follow_symlinks=False)
    assert app.status() == ""
    app.run("add", "--all")
    assert staged(app) == {}


def test_objects_of_touched_files_are_not_pushed(source: Source, app: Git, tmp_path: Path) -> None:
    remote = Git(tmp_path / "app.git").init("--bare")
    app.run("remote", "add", "origin", str(remote.path))
    datareg(app, "import", source.url, "faces")
    for path in (app.path / "faces").rglob("*"):
        os.utime(path, follow_symlinks=False)
    app.commit_all("import")
    app.run("push", "--quiet", "origin", "main")
    assert objects_in(remote.path / "datareg") == set()


@pytest.mark.parametrize(
    ("path", "content", "mode"),
    [
        ("model.bin", MODEL, 0o644),
        ("faces/sub/c.bin", NEW["sub/c.bin"], 0o755),
        ("notes.txt", b"notes\n", 0o644),
        ("faces/empty.dat", b"", 0o644),
    ],
)
def test_a_single_file_is_imported_next_to_others(
    source: Source, app: Git, path: str, content: bytes, mode: int
) -> None:
    app.write(os.path.basename(path) + ".txt", b"mine\n")
    app.commit_all()
    datareg(app, "import", source.url, path)
    name = os.path.basename(path)
    assert (app.path / name).read_bytes() == content
    assert stat.S_IMODE((app.path / name).stat().st_mode) == mode
    assert staged(app).keys() - {".gitattributes"} == {name, f"{name}.datareg"}
    is_data = len(content) > 10
    assert (blob(app, f":{name}") == pointer(content)) is is_data
    has_attributes = (app.path / ".gitattributes").exists()
    assert has_attributes is is_data
    if is_data:
        assert (app.path / ".gitattributes").read_text() == f"/{name} {TRACKED}\n"
    os.utime(app.path / name)
    assert staged(app).keys() - {".gitattributes"} == {name, f"{name}.datareg"}


def test_an_import_may_lie_deep_and_its_attributes_lie_beside_it(source: Source, app: Git) -> None:
    datareg(app, "import", source.url, "faces", "-o", "data/people/all")
    assert below(app.path / "data/people/all") == FACES_NEW
    names = {"data/people/.gitattributes", "data/people/all.datareg"}
    assert names <= staged(app).keys()
    assert not (app.path / ".gitattributes").exists()
    app.commit_all()
    assert app.status() == ""


def test_out_is_meant_from_the_current_directory(source: Source, app: Git) -> None:
    (app.path / "sub").mkdir()
    datareg(app.path / "sub", "import", "../../gallery.git", "faces", "-o", "../data/")
    assert below(app.path / "data/faces") == FACES_NEW
    assert f"url = {source.url}\n" in (app.path / "data/faces.datareg").read_text()


def test_all_of_a_registry_can_be_imported(source: Source, app: Git) -> None:
    datareg(app, "import", source.url, ".")
    assert "path = .\n" in (app.path / "gallery.datareg").read_text()
    found = below(app.path / "gallery/faces")
    assert found == FACES_NEW
    app.commit_all()
    for path in (app.path / "gallery").rglob("*"):
        os.utime(path, follow_symlinks=False)
    assert app.status() == ""


def test_plain_files_below_the_sources_own_patterns_stay_plain(source: Source, app: Git) -> None:
    source.work.write(".datareg", b"[datareg]\n\tversion = 1\n\tthreshold = 1k\n")
    source.work.write("small.dat", b"too small to be data")
    source.publish()
    datareg(app, "import", source.url, ".")
    assert blob(app, ":gallery/small.dat") == b"too small to be data"
    app.commit_all()
    for path in (app.path / "gallery").rglob("*"):
        os.utime(path, follow_symlinks=False)
    assert app.status() == ""


@pytest.mark.parametrize("attributes", [b"* filter=datareg -text\n", b"*.md filter=datareg\n"])
def test_plain_files_below_patterns_of_our_own_stay_plain(
    source: Source, app: Git, attributes: bytes
) -> None:
    app.write(".gitattributes", attributes)
    app.commit_all()
    datareg(app, "import", source.url, "notes.txt")
    datareg(app, "import", source.url, "faces")
    app.commit_all()
    assert blob(app, "HEAD:faces/README.md") == FACES_NEW["README.md"]
    for path in [app.path / "notes.txt", *(app.path / "faces").rglob("*")]:
        os.utime(path, follow_symlinks=False)
    assert app.status() == ""


GLOBS = ["[a-z]*.txt", "*.md", "?", "back\\slash", "#hash", "!bang", " space ", '"quoted"', "ü"]


def test_plain_names_with_a_meaning_in_patterns_stay_plain(source: Source, app: Git) -> None:
    for name in GLOBS:
        source.work.write(f"odd*dir/{name}", name.encode())
    source.work.write("odd*dir/x.jpg", data("x"))
    source.publish()
    datareg(app, "import", source.url, "odd*dir")
    app.commit_all()
    for path in (app.path / "odd*dir").rglob("*"):
        os.utime(path)
    assert app.status() == ""
    app.write("oddXdir/x.jpg", b"mine, and plain")
    app.commit_all()
    assert blob(app, "HEAD:oddXdir/x.jpg") == b"mine, and plain"


ODD = [b"new\nline.jpg", b"not \xff utf-8.jpg", b"-dash.jpg", b":colon.jpg", b"*.jpg", b'q"\\.jpg']


def test_odd_names_are_imported_as_they_are(source: Source, app: Git) -> None:
    for name in ODD:
        source.work.write(b"odd/" + name, data(repr(name)))
    source.publish()
    datareg(app, "import", source.url, "odd")
    app.commit_all()
    assert app.filter_use("status") == IDLE
    found = {os.fsencode(path.name): path.read_bytes() for path in (app.path / "odd").iterdir()}
    assert found == {name: data(repr(name)) for name in ODD}


@pytest.mark.parametrize("name", ODD)
def test_a_file_with_an_odd_name_is_imported(source: Source, app: Git, name: bytes) -> None:
    source.work.write(name, data("odd"))
    source.publish()
    datareg(app, "import", source.url, b"./" + name)
    app.commit_all()
    assert app.status() == ""
    assert app.filter_use("status") == IDLE
    assert datareg(app, "update", b"./" + name).stderr.endswith(": up to date\n")


def test_revision_and_globs_are_recorded(source: Source, app: Git) -> None:
    arguments = ["--rev", "old", "-I", "*.jpg", "-I", "sub/*", "-X", "latest.jpg"]
    datareg(app, "import", source.url, "faces", *arguments)
    assert below(app.path / "faces").keys() == {"a.jpg", "b.jpg", "sub/c.bin"}
    values = app.out("config", "--file", "faces.datareg", "--list").splitlines()
    assert "import.rev=old" in values
    assert [value for value in values if "clude" in value] == [
        "import.include=*.jpg",
        "import.include=sub/*",
        "import.exclude=latest.jpg",
    ]


def test_credentials_do_not_get_into_the_metafile(source: Source, app: Git, tmp_path: Path) -> None:
    source.store_at(tmp_path / "disk")
    with serve(tmp_path) as url:
        host = url.removeprefix("http://")
        datareg(app, "import", f"http://u:secret@{host}/gallery.git", "model.bin")
    text = (app.path / "model.bin.datareg").read_text()
    assert "secret" not in text and f"url = http://{host}/gallery.git\n" in text


KINDS = ["file", "directory", "link"]


def _occupy(path: Path, kind: str) -> None:
    match kind:
        case "file":
            path.write_bytes(b"mine")
        case "directory":
            path.mkdir()
            (path / "mine").write_bytes(b"mine")
        case _:
            path.symlink_to("elsewhere")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("path", ["faces", "model.bin"])
def test_a_target_that_exists_is_refused(source: Source, app: Git, path: str, kind: str) -> None:
    _occupy(app.path / path, kind)
    before = (below(app.path), app.status())
    fault(datareg(app, "import", source.url, path, check=False), 4, "target exists: ", "-f")
    after = below(app.path)
    assert {name for name in after if not name.startswith(".git/")} == {
        name for name in before[0] if not name.startswith(".git/")
    }
    assert app.status() == before[1]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("path", ["faces", "model.bin"])
@pytest.mark.parametrize("tracked", [True, False])
def test_force_replaces_whatever_is_there(
    source: Source, app: Git, path: str, kind: str, tracked: bool
) -> None:
    _occupy(app.path / path, kind)
    if tracked:
        app.commit_all()
    datareg(app, "import", "-f", source.url, path)
    if path == "faces":
        assert below(app.path / path) == FACES_NEW
    else:
        assert (app.path / path).read_bytes() == MODEL
    staged(app)
    app.commit_all()
    assert app.status() == ""
    assert "mine" not in app.out("ls-files")


def test_a_second_import_to_the_same_place_needs_force(source: Source, app: Git) -> None:
    datareg(app, "import", "--rev", "v1", source.url, "faces")
    app.write("faces/own.txt", b"my own")
    fault(datareg(app, "import", source.url, "faces", check=False), 4, "target exists")
    fault(datareg(app, "import", "--rev", "v1", source.url, "faces", check=False), 4, "exists")
    datareg(app, "import", "-f", source.url, "faces", "-X", "README.md")
    wanted = {name: content for name, content in FACES_NEW.items() if name != "README.md"}
    assert below(app.path / "faces") == {**wanted, "own.txt": b"my own"}
    assert (app.path / ".gitattributes").read_text() == f"/faces/** {TRACKED}\n"
    assert "faces/b.jpg" not in app.out("ls-files")


def test_what_lies_beside_and_is_staged_stays_as_it_is(source: Source, app: Git) -> None:
    app.write(".gitattributes", b"*.txt text\n")
    app.commit_all()
    app.write("staged.txt", b"staged\n")
    app.run("add", "staged.txt")
    app.write(".gitattributes", b"*.txt text\n# not staged\n")
    app.write("README", b"changed\n")
    datareg(app, "import", source.url, "model.bin")
    assert app.status().splitlines() == [
        "MM .gitattributes",
        " M README",
        "A  model.bin",
        "A  model.bin.datareg",
        "A  staged.txt",
    ]
    assert blob(app, ":.gitattributes") == f"*.txt text\n/model.bin {TRACKED}\n".encode()
    assert b"# not staged" in (app.path / ".gitattributes").read_bytes()


def test_attributes_that_git_does_not_know_yet_are_staged_whole(source: Source, app: Git) -> None:
    datareg(app, "track", "*.wav")
    datareg(app, "import", source.url, "model.bin")
    assert staged(app)[".gitattributes"] == "A"
    assert blob(app, ":.gitattributes").startswith(b"*.wav ")


@pytest.mark.parametrize("way", ["missing", "damaged", "no storage"])
def test_what_can_not_be_had_leaves_nothing(source: Source, app: Git, way: str) -> None:
    object = source.object(NEW["d.jpg"])
    object.chmod(0o644)
    if way == "missing":
        object.unlink()
    elif way == "damaged":
        object.write_bytes(bytes(len(NEW["d.jpg"])))
    else:
        shutil.rmtree(source.storage)
    done = datareg(app, "import", source.url, "faces", "-o", "data/faces", check=False)
    fault(done, 6 if way == "damaged" else 3, "faces/d.jpg: ")
    assert set(os.listdir(app.path)) == {".git", "README"}
    assert app.status() == ""


def test_a_locked_index_leaves_all_as_it_was(source: Source, app: Git) -> None:
    app.write(".gitattributes", b"*.txt text\n")
    app.write("faces/mine", b"mine")
    app.commit_all()
    (app.path / ".git/index.lock").touch()
    done = datareg(app, "import", "-f", source.url, "faces", "-o", "faces", check=False)
    # An existing directory takes it below.
    fault(done, 128, "index.lock")
    assert below(app.path / "faces") == {"mine": b"mine"}
    assert (app.path / ".gitattributes").read_bytes() == b"*.txt text\n"
    (app.path / ".git/index.lock").unlink()
    assert app.status() == ""
    assert not list(app.path.glob("**/.*datareg-new*"))


def test_a_locked_index_puts_a_replaced_file_back(source: Source, app: Git) -> None:
    app.write("model.bin", b"mine")
    app.commit_all()
    (app.path / ".git/index.lock").touch()
    done = datareg(app, "import", "-f", source.url, "model.bin", check=False)
    fault(done, 128, "index.lock")
    (app.path / ".git/index.lock").unlink()
    assert (app.path / "model.bin").read_bytes() == b"mine"
    assert app.status() == ""
    assert not (app.path / ".gitattributes").exists()


def test_an_unwritable_directory_is_one_line_and_nothing_is_left(source: Source, app: Git) -> None:
    (app.path / "locked").mkdir(mode=0o555)
    done = run_unprivileged(app, "datareg", "import", source.url, "faces", "-o", "locked/faces")
    fault(done, 5, "can't write", "locked/faces: Permission denied")
    assert os.listdir(app.path / "locked") == []
    assert app.status() == ""


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["nowhere", "x"], 3, "no such repository"),
        (["{}", "nothing"], 3, "no such path: nothing"),
        (["{}", "faces", "--rev", "v9"], 3, "no such revision: v9"),
        (["{}", "faces", "-I", "*.png"], 3, "no file matches"),
        (["{}", "faces", "-o", "../out"], 4, "not below the repository's top"),
        (["{}", "faces", "-o", ".git/x"], 4, "unsafe path"),
        (["{}", "faces", "-o", ".GIT", "-f"], 4, "unsafe path"),
        (["{}", "model.bin", "-o", ".gitattributes", "-f"], 4, "a meaning of its own"),
        (["{}", "model.bin", "-o", "x.datareg"], 4, "a meaning of its own"),
        (["{}", "faces/latest.jpg"], 4, "symlink leads out"),
        (["{}", "faces", "-o", ""], 2, "empty name"),
        (["{}", "faces", "-o", "README/"], 4, "/README\nhint: "),
        (["{}", "faces", "-f", "-o", "README/x/y"], 4, "not a directory: "),
        (["{}", "/faces"], 3, "not a path inside a registry"),
        (["{}", "../faces"], 3, "not a path inside a registry"),
    ],
)
def test_what_can_not_be_meant_is_one_clear_line(
    source: Source, app: Git, arguments: list[str], code: int, words: str
) -> None:
    given = [each.format(source.url) for each in arguments]
    fault(datareg(app, "import", *given, check=False), code, words)
    assert app.status() == ""
    assert set(os.listdir(app.path)) == {".git", "README"}


def test_names_that_begin_with_dots_are_just_names(source: Source, app: Git) -> None:
    datareg(app, "import", source.url, "model.bin", "-o", "..model")
    assert (app.path / "..model").read_bytes() == MODEL


def test_outside_of_a_repository_or_in_a_bare_one_it_is_refused(
    source: Source, tmp_path: Path
) -> None:
    fault(datareg(tmp_path, "import", source.url, "faces", check=False), 3, "not a git repository")
    fault(datareg(source.remote, "import", "../author", "faces", check=False), 2, "bare repository")
    assert not (tmp_path / "faces").exists()


def test_an_import_inside_an_import_is_refused(source: Source, app: Git) -> None:
    datareg(app, "import", source.url, "faces")
    done = datareg(app, "import", source.url, "model.bin", "-o", "faces/sub/", check=False)
    fault(done, 2, "faces/sub/model.bin lies in the import faces")


def test_a_repository_can_import_from_itself(source: Source) -> None:
    datareg(source.work, "import", "--rev", "v1", ".", "faces", "-o", "old-faces")
    assert below(source.work.path / "old-faces") == FACES_OLD
    assert staged(source.work)
    datareg(source.work, "import", "--rev", "v1", str(source.work.path), "model.bin", "-o", "m.bin")
    assert (source.work.path / "m.bin").read_bytes() == MODEL


def test_no_download_records_it_and_pull_gets_the_data(
    source: Source, app: Git, home: Path
) -> None:
    datareg(app, "import", "--no-download", source.url, "faces")
    assert not (home / "datareg-cache/objects").exists()
    assert (app.path / "faces/a.jpg").read_bytes() == pointer(NEW["a.jpg"])
    assert app.filter_use("status") == IDLE
    app.commit_all("import")
    source.work.write("faces/a.jpg", b"moved on")
    source.publish()
    datareg(app, "pull")
    assert below(app.path / "faces") == FACES_NEW
    assert app.status() == ""
    assert app.filter_use("status") == IDLE


def test_data_that_is_here_already_is_not_fetched(source: Source, app: Git) -> None:
    datareg(app, "init")
    datareg(app, "track", "*.own")
    app.write("same.own", MODEL)
    app.commit_all()
    shutil.rmtree(source.storage)
    datareg(app, "import", source.url, "model.bin")
    assert (app.path / "model.bin").read_bytes() == MODEL
    datareg(app, "import", "--vendor", source.url, "model.bin", "-o", "again.bin")
    assert (app.path / "again.bin").read_bytes() == MODEL


@pytest.mark.parametrize("path", ["faces/", "./faces", "faces/sub/.."])
def test_a_path_may_be_spelled_as_in_a_shell(source: Source, app: Git, path: str) -> None:
    datareg(app, "import", source.url, path, "-o", "here")
    assert below(app.path / "here") == FACES_NEW
    assert "path = faces\n" in (app.path / "here.datareg").read_text()


def test_the_data_of_older_imports_can_be_fetched(source: Source, app: Git, home: Path) -> None:
    datareg(app, "import", "--rev", "v1", source.url, "faces")
    app.commit_all("v1")
    app.run("tag", "then")
    datareg(app, "update", "--rev", "v2", "faces")
    app.commit_all("v2")
    shutil.rmtree(home / "datareg-cache")
    datareg(app, "fetch", "then")
    source.remote.path.rename(source.remote.path.with_name("gone"))
    app.run("checkout", "--quiet", "then")
    assert below(app.path / "faces") == FACES_OLD
    assert app.status() == ""


def test_what_is_lost_here_comes_back_from_the_source(source: Source, app: Git, home: Path) -> None:
    datareg(app, "import", source.url, "faces")
    datareg(app, "import", source.url, "model.bin")
    app.commit_all()
    shutil.rmtree(home / "datareg-cache")
    shutil.rmtree(app.path / "faces")
    (app.path / "model.bin").unlink()
    datareg(app, "fetch")
    app.run("checkout", "--", ".")
    assert below(app.path / "faces") == FACES_NEW
    assert (app.path / "model.bin").read_bytes() == MODEL


def test_objects_stay_with_the_source(source: Source, app: Git, tmp_path: Path) -> None:
    remote = Git(tmp_path / "app.git").init("--bare")
    app.run("remote", "add", "origin", str(remote.path))
    datareg(app, "import", source.url, "faces")
    app.write("own.jpg", data("own"))
    datareg(app, "track", "*.jpg")
    app.commit_all("import and own")
    app.run("push", "--quiet", "origin", "main")
    assert len(objects_in(remote.path / "datareg")) == 1


def test_vendored_objects_are_pushed_and_survive_the_source(
    source: Source, app: Git, tmp_path: Path
) -> None:
    remote = Git(tmp_path / "app.git").init("--bare")
    app.run("remote", "add", "origin", str(remote.path))
    datareg(app, "import", "--vendor", source.url, "faces")
    assert "vendor = true\n" in (app.path / "faces.datareg").read_text()
    app.commit_all("import")
    app.run("push", "--quiet", "origin", "main")
    assert len(objects_in(remote.path / "datareg")) == 3
    shutil.rmtree(source.remote.path)
    copy = clone(f"datareg::{remote.path}", tmp_path / "copy")
    assert below(copy.path / "faces") == FACES_NEW


@pytest.fixture
def published(source: Source, app: Git, tmp_path: Path, home: Path) -> Git:
    """The consumer's published repository, and a machine that has nothing of it."""
    remote = Git(tmp_path / "app.git").init("--bare")
    app.run("remote", "add", "origin", str(remote.path))
    datareg(app, "import", source.url, "faces")
    app.commit_all("import")
    app.run("push", "--quiet", "origin", "main")
    shutil.rmtree(home / "datareg-cache")
    shutil.rmtree(app.path)
    return remote


def test_a_clone_gets_imported_data_where_the_metafile_says(
    source: Source, published: Git, tmp_path: Path
) -> None:
    # So it is the hint that leads there.
    away = source.storage.rename(tmp_path / "elsewhere")
    editor = clone(published.path, tmp_path / "editor", "--config", "core.hooksPath=/dev/null")
    editor.run("config", "--file", "faces.datareg", "import.storage", str(away))
    editor.run("config", "--file", "faces.datareg", "import.url", str(tmp_path / "gone"))
    editor.run("add", "faces.datareg")
    editor.run("commit", "--quiet", "--message", "edit the metafile")
    editor.run("push", "--quiet", "origin", "main")
    Git(tmp_path).run("datareg", "install")
    copy = clone(published.path, tmp_path / "copy")
    assert below(copy.path / "faces") == FACES_NEW
    assert copy.filter_use("status") == IDLE
    assert copy.status() == ""


def test_a_clone_gets_imported_data_by_the_sources_url_when_the_hint_is_wrong(
    source: Source, published: Git, tmp_path: Path
) -> None:
    Git(tmp_path).run("datareg", "install")
    editor = clone(published.path, tmp_path / "editor")
    editor.run("config", "--file", "faces.datareg", "import.storage", str(tmp_path / "gone"))
    editor.commit_all("edit")
    editor.run("push", "--quiet", "origin", "main")
    shutil.rmtree(os.environ["GIT_DATAREG_CACHE"])
    copy = clone(published.path, tmp_path / "copy")
    assert below(copy.path / "faces") == FACES_NEW


def test_data_whose_storage_has_moved_is_found_by_the_sources_configuration(
    source: Source, published: Git, tmp_path: Path
) -> None:
    # The commit that was imported says where its storage is, by a name that is the user's.
    moved = source.storage.rename(tmp_path / "moved")
    Git(tmp_path).run("config", "--global", "datareg.moved.url", str(moved))
    Git(tmp_path).run("datareg", "install")
    copy = clone(published.path, tmp_path / "copy")
    assert below(copy.path / "faces") == FACES_NEW


def test_a_chained_import_needs_only_the_first_source(
    source: Source, app: Git, tmp_path: Path, home: Path
) -> None:
    middle = consumer(tmp_path / "middle")
    datareg(middle, "import", "--rev", "v1", source.url, "faces")
    middle.commit_all("import")
    shutil.rmtree(home / "datareg-cache")
    datareg(app, "import", str(middle.path), "faces", "-o", "pictures")
    assert below(app.path / "pictures") == FACES_OLD
    assert f"storage = {source.storage}\n" in (app.path / "pictures.datareg").read_text()
    app.commit_all("import")
    shutil.rmtree(home / "datareg-cache")
    shutil.rmtree(middle.path)
    app.run("config", "datareg.cache", str(tmp_path / "c"))
    copy = clone(f"datareg::{app.path}", tmp_path / "copy")
    assert below(copy.path / "pictures") == FACES_OLD


def test_an_import_of_a_directory_with_an_import_is_one_import(
    source: Source, app: Git, tmp_path: Path
) -> None:
    middle = consumer(tmp_path / "middle")
    datareg(middle, "import", source.url, "faces", "-o", "data/faces")
    middle.commit_all("import")
    datareg(app, "import", str(middle.path), "data")
    assert below(app.path / "data/faces") == FACES_NEW
    app.commit_all()
    assert app.status() == ""
    assert datareg(app, "update", "--all").stderr == "data: up to date\n"


def test_a_chain_needs_nothing_but_the_first_storage(
    source: Source, app: Git, tmp_path: Path, home: Path
) -> None:
    source.store_at(tmp_path / "disk")
    middle = consumer(tmp_path / "middle")
    datareg(middle, "storage", "add", "-d", "gone", str(tmp_path / "no-such-storage"))
    datareg(middle, "import", source.url, "faces")
    middle.commit_all("import")
    datareg(app, "import", str(middle.path), "faces", "-o", "early")
    # The first registry's repository is gone, and so is all that the second one has of data.
    shutil.rmtree(source.remote.path)
    shutil.rmtree(source.work.path)
    shutil.rmtree(home / "datareg-cache")
    shutil.rmtree(middle.path / "faces")
    shutil.rmtree(middle.path / ".git/datareg", ignore_errors=True)
    datareg(app, "import", str(middle.path), "faces")
    assert below(app.path / "faces") == FACES_NEW
    text = (app.path / "faces.datareg").read_text()
    assert f"url = {middle.path}\n" in text and f"storage = {tmp_path / 'disk'}\n" in text
    assert f"commit = {middle.head()}\n" in text
    app.commit_all("import")
    shutil.rmtree(middle.path)
    shutil.rmtree(home / "datareg-cache")
    copy = clone(f"datareg::{app.path}", tmp_path / "copy")
    assert below(copy.path / "faces") == below(copy.path / "early") == FACES_NEW


def test_an_update_goes_along_a_chain(source: Source, app: Git, tmp_path: Path) -> None:
    source.remote.run("branch", "follow", "v1")
    middle = consumer(tmp_path / "middle")
    datareg(middle, "import", "--rev", "follow", source.url, "faces")
    middle.commit_all("import")
    datareg(app, "import", str(middle.path), "faces")
    app.commit_all("import")
    source.remote.run("branch", "--force", "follow", "v2")
    assert datareg(app, "update", "faces").stderr == "faces: up to date\n"
    datareg(middle, "update", "faces")
    middle.commit_all("update")
    datareg(app, "update", "faces")
    assert below(app.path / "faces") == FACES_NEW


def test_imports_in_a_circle_are_refused_with_the_chain(source: Source, tmp_path: Path) -> None:
    first, second = consumer(tmp_path / "first"), consumer(tmp_path / "second")
    datareg(first, "import", "-q", str(source.work.path), "faces", "-o", "people")
    first.commit_all()
    datareg(second, "import", "-q", str(first.path), "people", "-o", "all/people")
    second.commit_all()
    given = ["import", "-f", str(second.path), "all/people", "-o"]
    before = (below(source.work.path / "faces"), source.work.status())
    # An existing directory takes it below.
    done = datareg(source.work, *given, "faces", check=False)
    chain = "second:all/people <- first:people <- author:faces"
    fault(done, 4, f"imports in a circle: author:faces/people <- {chain}\n")
    done = datareg(source.work, *given, "faces/a.jpg", check=False)
    fault(done, 4, f"imports in a circle: author:faces/a.jpg <- {chain}\n")
    assert (below(source.work.path / "faces"), source.work.status()) == before
    datareg(source.work, *given, "copies")
    assert below(source.work.path / "copies") == FACES_NEW


def test_a_repository_is_not_imported_onto_itself(source: Source) -> None:
    (source.work.path / "faces").rename(source.work.path / "aside")
    done = datareg(source.work, "import", source.url, "faces", check=False)
    fault(done, 4, "imports in a circle: author:faces <- author:faces\n")
    (source.work.path / "aside").rename(source.work.path / "faces")
    assert source.work.status() == ""


def test_an_update_that_would_close_a_circle_is_refused(source: Source, tmp_path: Path) -> None:
    middle = consumer(tmp_path / "middle")
    middle.write("people/x.txt", b"ours\n")
    middle.commit_all()
    datareg(source.work, "import", "-q", str(middle.path), "people")
    source.work.commit_all()
    shutil.rmtree(middle.path / "people")
    done = datareg(middle, "import", str(source.work.path), "people", check=False)
    fault(done, 4, "imports in a circle: middle:people <- author:people <- middle:people\n")
    middle.run("rm", "--quiet", "-r", "people")
    datareg(middle, "import", "-q", str(source.work.path), "faces", "-o", "people")
    middle.commit_all()
    # What it would bring is ours, but not from there.
    datareg(source.work, "update", "people")
    text = (middle.path / "people.datareg").read_text()
    (middle.path / "people.datareg").write_text(text.replace("path = faces", "path = people"))
    middle.write("people/x.txt", b"changed\n")
    middle.commit_all()
    before = (below(source.work.path / "people"), source.work.status())
    done = datareg(source.work, "update", "-f", "people", check=False)
    fault(done, 4, "imports in a circle: author:people <- middle:people <- author:people\n")
    assert (below(source.work.path / "people"), source.work.status()) == before


def test_a_registry_elsewhere_is_followed(source: Source, app: Git, tmp_path: Path) -> None:
    source.store_at(tmp_path / "disk")
    source.remote.run("branch", "follow", "v1")
    with serve(tmp_path) as url:
        datareg(app, "import", "--rev", "follow", f"{url}/gallery.git", "faces")
        assert app.filter_use("commit", "--quiet", "--message", "import") == IDLE
        assert app.status() == ""
        assert datareg(app, "update", "--check", "faces").stdout == "faces: up to date\n"
        source.remote.run("branch", "--force", "follow", "main")
        text = "behind by 2 commits: 1 added, 2 changed, 1 removed"
        done = datareg(app, "update", "--check", "faces", check=False)
        assert (done.returncode, done.stdout, done.stderr) == (1, f"faces: {text}\n", "")
        assert f"    {text}: git datareg update\n" in datareg(app, "status", "--fetch").stdout
        datareg(app, "update", "faces")
        assert below(app.path / "faces") == FACES_NEW
        assert app.filter_use("commit", "--quiet", "--message", "update") == IDLE
        assert app.status() == ""
        # Another commit that leaves the files alone.
        source.work.write("notes.txt", b"other notes\n")
        source.publish()
        source.remote.run("branch", "--force", "follow", "main")
        assert datareg(app, "update", "faces").stderr == "faces: up to date\n"
        assert app.status() == ""
        # And a history that was rewritten.
        source.work.run("checkout", "--quiet", "--orphan", "fresh")
        source.work.run("rm", "--quiet", "--force", "faces/README.md")
        source.publish()
        source.remote.run("branch", "--force", "follow", "main")
        done = datareg(app, "update", "faces")
        assert "warning: history was rewritten: follow of http://" in done.stderr
        assert not (app.path / "faces/README.md").exists()


def test_a_chain_of_registries_elsewhere_is_followed(
    source: Source, app: Git, tmp_path: Path, home: Path
) -> None:
    source.store_at(tmp_path / "disk")
    middle = consumer(tmp_path / "middle")
    with serve(tmp_path) as url:
        # So that the metafile names no place on this machine.
        app.run("config", "--global", f"url.{url}/.insteadOf", "https://example.org/")
        datareg(middle, "import", "-q", "--rev", "v1", "https://example.org/gallery.git", "faces")
        middle.commit_all("import")
        middle.run("clone", "--quiet", "--bare", ".", "../middle.git")
        datareg(app, "import", "https://example.org/middle.git", "faces")
        assert below(app.path / "faces") == FACES_OLD
        app.commit_all("import")
        datareg(middle, "update", "-q", "--rev", "v2", "faces")
        middle.commit_all("update")
        middle.run("push", "--quiet", "--no-verify", "../middle.git", "main")
        datareg(app, "update", "faces")
        assert below(app.path / "faces") == FACES_NEW
        app.commit_all("update")
        # The first one is the same as we, to those who know it by its URL.
        author = source.work
        author.run("remote", "set-url", "origin", "https://example.org/gallery.git")
        done = datareg(
            author,
            "import",
            "https://example.org/middle.git",
            "faces",
            "-o",
            "faces/x",
            check=False,
        )
        fault(done, 4, "circle: author:faces/x <- middle:faces <- author:faces\n")


@pytest.mark.parametrize(
    ("options", "configured", "threads"),
    [
        (["-j", "1"], "3", 0),
        (["--jobs", "2"], "3", 2),
        ([], "3", 3),
        # A directory is served best by so many.
        (["-j", "100"], "3", 4),
    ],
)
def test_the_number_of_transfers_is_honoured(
    source: Source,
    app: Git,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    configured: str,
    threads: int,
) -> None:
    for number in range(6):
        # Smaller ones are not worth a thread.
        source.work.write(f"large/{number}.bin", data(str(number), 300_000))
    source.publish()
    app.run("config", "datareg.jobs", configured)
    started: list[str] = []
    start = threading.Thread.start

    def noted(self: threading.Thread) -> None:
        started.append(self.name)
        start(self)

    monkeypatch.setattr(threading.Thread, "start", noted)
    monkeypatch.chdir(app.path)
    for words in (["import"], ["get", "-o", "again"]):
        started.clear()
        assert main.main([*words, "-q", *options, source.url, "large"]) == 0
        assert started.count("transfer") == threads
        shutil.rmtree(os.environ["GIT_DATAREG_CACHE"])


def test_a_metafile_of_a_registry_elsewhere_names_no_place_on_this_machine(
    source: Source, app: Git, tmp_path: Path, home: Path
) -> None:
    source.store_at(tmp_path / "disk")
    middle = consumer(tmp_path / "middle")
    datareg(middle, "import", source.url, "faces")
    middle.commit_all("import")
    assert f"storage = {tmp_path}/disk\n" in (middle.path / "faces.datareg").read_text()
    shutil.rmtree(home / "datareg-cache")
    with serve(tmp_path) as url:
        for words in (("get", "-o", "there"), ("import", "-o", "here")):
            done = datareg(app, words[0], f"{url}/middle/.git", "faces", *words[1:], check=False)
            fault(done, 3, "faces/a.jpg: object ", " is not in any storage")
        assert app.status() == ""
        # In a clone it is a file of the user's own, which is followed.
        copy = clone(f"datareg::{url}/middle/.git", tmp_path / "copy")
        assert below(copy.path / "faces") == FACES_NEW
    shutil.rmtree(home / "datareg-cache")
    datareg(app, "get", str(middle.path), "faces", "-o", "there")
    assert below(app.path / "there") == FACES_NEW


SIZES = [1 << 10, 100_000, (1 << 20) - 1, 1 << 20, 3 << 20]


@pytest.mark.parametrize(("ours", "crlf"), [("sha1", "false"), ("sha256", "true")])
def test_files_of_all_sizes_and_kinds_need_no_second_look(
    source: Source, tmp_path: Path, ours: str, crlf: str
) -> None:
    work = source.work
    for size in SIZES:
        work.write(f"all/{size}.bin", data(str(size), size))
        work.write(f"all/plain/{size}.txt", data(str(size), size))
    work.write("all/lines.txt", b"one\ntwo\n")
    work.write("all/windows.txt", b"one\r\ntwo\r\n")
    work.write("all/run", data("run"), mode=0o755)
    work.write("all/run.bin", data("run"), mode=0o755)
    (work.path / "all/link").symlink_to("run.bin")
    (work.path / "all/dangling").symlink_to("nothing")
    source.publish()
    git = consumer(tmp_path / "app", f"--object-format={ours}")
    git.run("config", "core.autocrlf", crlf)
    (git.path / "deep/er").mkdir(parents=True)
    datareg(git.path / "deep/er", "import", source.url, "all")
    wanted = below(work.path / "all")
    assert below(git.path / "deep/er/all") == wanted
    assert git.filter_use("status") == IDLE
    assert set(staged(git).values()) == {"A"}
    assert git.filter_use("commit", "--quiet", "--message", "import") == IDLE
    assert git.filter_use("status") == IDLE
    assert git.status() == ""
    work.write("all/1024.bin", data("new", 2 << 20))
    work.write("all/plain/1024.txt", data("new"))
    (work.path / "all/run").chmod(0o644)
    source.publish()
    datareg(git.path / "deep/er", "update", "all")
    assert below(git.path / "deep/er/all") == below(work.path / "all")
    assert git.filter_use("status") == IDLE
    assert {path.rpartition("/")[2] for path in staged(git)} == {
        *("1024.bin", "1024.txt", "run", "all.datareg")
    }
    assert git.filter_use("commit", "--quiet", "--message", "update") == IDLE
    assert git.status() == ""


@pytest.mark.parametrize(
    ("theirs", "ours"), [("sha256", "sha256"), ("sha256", "sha1"), ("sha1", "sha256")]
)
def test_object_formats_mix(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, theirs: str, ours: str
) -> None:
    source = gallery(tmp_path_factory, tmp_path, object_format=theirs)
    git = consumer(tmp_path / "app", f"--object-format={ours}")
    datareg(git, "import", "--rev", "v1", source.url, "faces")
    assert below(git.path / "faces") == FACES_OLD
    assert git.filter_use("status") == IDLE
    git.commit_all()
    datareg(git, "update", "--rev", "v2", "faces")
    assert below(git.path / "faces") == FACES_NEW
    assert git.filter_use("status") == IDLE
    git.commit_all()
    assert git.status() == ""


def test_the_first_commit_may_be_an_import(source: Source, tmp_path: Path) -> None:
    git = Git(tmp_path / "new").init()
    datareg(git, "import", source.url, "faces")
    assert set(staged(git).values()) == {"A"}
    git.commit_all()
    assert git.status() == ""


def test_a_linked_worktree_can_import(source: Source, app: Git, tmp_path: Path) -> None:
    app.run("worktree", "add", "--quiet", str(tmp_path / "tree"))
    tree = Git(tmp_path / "tree")
    datareg(tree, "import", source.url, "faces")
    assert below(tree.path / "faces") == FACES_NEW
    assert tree.filter_use("status") == IDLE
    assert app.status() == ""


def test_data_alone_is_what_old_tags_had(source: Source, app: Git) -> None:
    datareg(app, "import", "--rev", "v1", source.url, "faces/b.jpg")
    assert (app.path / "b.jpg").read_bytes() == OLD["b.jpg"]
    assert "rev = v1\n" in (app.path / "b.jpg.datareg").read_text()
