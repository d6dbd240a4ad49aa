"""Several storages: which one has a file, which is asked next, and copies between them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from blake3 import blake3

from tests.support import githttp
from tests.support.consumers import (
    MODEL,
    NEW,
    OLD,
    Source,
    below,
    datareg,
    fault,
    gallery,
)
from tests.support.filtered import data, object_file
from tests.support.gitrun import Git, clone
from tests.support.registries import objects_in, refs_of

ALL = {*OLD.values(), *NEW.values(), MODEL}
HEAD = {*NEW.values(), MODEL}


def names(contents: set[bytes]) -> set[str]:
    return {blake3(content).hexdigest() for content in contents}


@pytest.fixture
def source(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Source:
    """A registry whose data is in `main`, with an empty second storage, `mirror`."""
    source = gallery(tmp_path_factory, tmp_path)
    datareg(source.work, "storage", "add", "mirror", str(tmp_path / "mirror"))
    source.store_at(tmp_path / "main")
    source.work.run("config", "--file=.datareg", "--rename-section", "storage.disk", "storage.main")
    source.work.run("config", "--file=.datareg", "datareg.storage", "main")
    source.publish("main and mirror")
    shutil.rmtree(source.storage)
    return source


@pytest.fixture
def mirrored(source: Source) -> Source:
    """The same, with everything in both."""
    datareg(source.work, "push", "-q", "--all", "--storage", "mirror")
    return source


def forget_here(git: Git) -> None:
    """Leave no object on this machine but in storages."""
    for place in (git.path / ".git/datareg", Path(os.environ["GIT_DATAREG_CACHE"])):
        shutil.rmtree(place, ignore_errors=True)


def bare_clone(source: Source, path: Path) -> Git:
    """A clone with pointers alone."""
    forget_here(source.work)
    datareg(path.parent, "install")
    Git(path.parent).run("clone", "-q", source.url, path.name, env={"GIT_DATAREG_SKIP_SMUDGE": "1"})
    assert (path / "model.bin").stat().st_size < len(MODEL)
    return Git(path)


# Reading


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[0] ^= 1
    file.chmod(0o644)
    file.write_bytes(content)


def gone(storage: Path) -> None:
    shutil.rmtree(storage)


def emptied(storage: Path) -> None:
    shutil.rmtree(storage / "objects")


def damaged(storage: Path) -> None:
    for file in storage.glob("objects/*/*"):
        flip(file)


def unreadable(storage: Path) -> None:
    (storage / "datareg.json").unlink()
    (storage / "datareg.json").write_bytes(b'{"format": 9}')


@pytest.mark.parametrize("harm", [gone, emptied, damaged, unreadable])
@pytest.mark.parametrize("first", ["main", "mirror"])
def test_the_next_one_is_asked(
    mirrored: Source, tmp_path: Path, harm: Callable[[Path], None], first: str
) -> None:
    if first == "mirror":
        datareg(mirrored.work, "storage", "default", "mirror")
        mirrored.publish("the mirror first")
    git = bare_clone(mirrored, tmp_path / "clone")
    harm(tmp_path / first)
    datareg(git, "pull", "-q")
    assert {(git.path / "faces" / path).read_bytes() for path in NEW} == set(NEW.values())
    forget_here(git)
    datareg(tmp_path, "get", "-q", mirrored.url, "faces")
    assert (tmp_path / "faces/a.jpg").read_bytes() == NEW["a.jpg"]


def test_what_each_one_has_a_part_of_is_put_together(mirrored: Source, tmp_path: Path) -> None:
    git = bare_clone(mirrored, tmp_path / "clone")
    object_file(tmp_path / "main", MODEL).unlink()
    flip(object_file(tmp_path / "main", NEW["a.jpg"]))
    object_file(tmp_path / "mirror", NEW["d.jpg"]).unlink()
    flip(object_file(tmp_path / "mirror", NEW["sub/c.bin"]))
    datareg(git, "pull", "-q")
    assert (git.path / "model.bin").read_bytes() == MODEL
    assert {(git.path / "faces" / path).read_bytes() for path in NEW} == set(NEW.values())


def test_what_none_has_is_told_with_the_worst_of_it(mirrored: Source, tmp_path: Path) -> None:
    git = bare_clone(mirrored, tmp_path / "clone")
    flip(object_file(tmp_path / "main", MODEL))
    object_file(tmp_path / "mirror", MODEL).unlink()
    done = datareg(git, "pull", check=False)
    assert done.returncode == 1
    id = blake3(MODEL).hexdigest()
    assert f"error: model.bin: corrupt object {id} in {tmp_path / 'main'}" in done.stderr
    assert (git.path / "faces/a.jpg").read_bytes() == NEW["a.jpg"]


# Copies


def test_a_mirror_is_filled_from_here(source: Source, tmp_path: Path) -> None:
    done = datareg(source.work, "push", "--storage", "mirror")
    assert f"6 objects stored in {tmp_path / 'mirror'}, 0 there already" in done.stderr
    assert objects_in(tmp_path / "mirror") == names(ALL)
    assert (tmp_path / "mirror/datareg.json").is_file()
    again = datareg(source.work, "push", "--all", "--storage", "mirror").stderr
    assert f"0 objects stored in {tmp_path / 'mirror'}, 6 there already" in again


def test_a_mirror_is_filled_from_the_other_storage(source: Source, tmp_path: Path) -> None:
    git = bare_clone(source, tmp_path / "clone")
    before = refs_of(source.remote)
    done = datareg(git, "push", "--all", "--storage", "mirror")
    assert f"6 objects stored in {tmp_path / 'mirror'}, 0 there already" in done.stderr
    assert objects_in(tmp_path / "mirror") == names(ALL)
    for content in ALL:
        assert object_file(tmp_path / "mirror", content).read_bytes() == content
    assert refs_of(source.remote) == before
    # They pass through the cache; the next one costs no download.
    gone(tmp_path / "main")
    datareg(git, "storage", "add", "third", str(tmp_path / "third"))
    datareg(git, "push", "-q", "--all", "--storage", "third")
    assert objects_in(tmp_path / "third") == names(ALL)


def test_a_mirror_gets_what_it_lacks(mirrored: Source, tmp_path: Path) -> None:
    git = bare_clone(mirrored, tmp_path / "clone")
    object_file(tmp_path / "mirror", MODEL).unlink()
    object_file(tmp_path / "mirror", OLD["b.jpg"]).unlink()
    done = datareg(git, "push", "--storage", "mirror", "origin", "v2")
    assert "2 objects stored in " in done.stderr and "4 there already" in done.stderr
    assert objects_in(tmp_path / "mirror") == names(ALL)


def test_the_default_one_is_filled_from_a_mirror(mirrored: Source, tmp_path: Path) -> None:
    git = bare_clone(mirrored, tmp_path / "clone")
    gone(tmp_path / "main")
    datareg(git, "push", "-q", "--all", "--storage", "main")
    assert objects_in(tmp_path / "main") == names(ALL)


def test_what_can_not_be_copied_is_told_and_the_rest_is(source: Source, tmp_path: Path) -> None:
    git = bare_clone(source, tmp_path / "clone")
    flip(object_file(tmp_path / "main", MODEL))
    object_file(tmp_path / "main", NEW["d.jpg"]).unlink()
    done = datareg(git, "push", "--all", "--storage", "mirror", check=False)
    fault(done, 1, "model.bin: corrupt object", "faces/d.jpg: object", "2 of 6 objects")
    assert objects_in(tmp_path / "mirror") == names(ALL - {MODEL, NEW["d.jpg"]})
    # Only a storage that has everything is marked.
    assert not (tmp_path / "mirror/datareg.json").exists()


@pytest.mark.parametrize("by", ["registry", "user"])
def test_a_mirror_that_is_only_read_is_refused(source: Source, tmp_path: Path, by: str) -> None:
    if by == "registry":
        source.work.run("config", "--file=.datareg", "storage.mirror.readonly", "true")
    else:
        source.work.run("config", "datareg.mirror.readonly", "true")
    done = datareg(source.work, "push", "--all", "--storage", "mirror", check=False)
    fault(done, 5, f"storage 'mirror' is read-only: {tmp_path / 'mirror'}")
    assert not (tmp_path / "mirror").exists()


def test_a_default_one_that_is_only_read_lets_no_ref_move(source: Source, tmp_path: Path) -> None:
    source.work.run("config", "datareg.main.readonly", "true")
    source.work.write("new.dat", data("new"))
    source.work.commit_all()
    before = refs_of(source.remote)
    done = source.work.run("push", "origin", "HEAD:main", check=False)
    assert done.returncode == 1
    assert f"storage 'main' is read-only: {tmp_path / 'main'}" in done.stderr
    assert refs_of(source.remote) == before
    # What is only read can be read.
    git = bare_clone(source, tmp_path / "clone")
    git.run("config", "datareg.main.readonly", "true")
    datareg(git, "pull", "-q")


# Files with a storage of their own


@pytest.fixture(params=["glob", "attribute"])
def sorted_out(request: pytest.FixtureRequest, source: Source, tmp_path: Path) -> Source:
    """The registry, from now on with images in a storage of their own."""
    globs = ("-I", "*.jpg", "-X", "private/*") if request.param == "glob" else ()
    datareg(source.work, "storage", "add", *globs, "images", str(tmp_path / "images"))
    if request.param == "attribute":
        with (source.work.path / ".gitattributes").open("a") as file:
            file.write("*.jpg datareg-storage=images\n/private/** !datareg-storage\n")
    source.publish("images apart")
    return source


FILES = {
    "new.jpg": data("new.jpg"),
    "sub/deep.jpg": data("deep.jpg"),
    "private/me.jpg": data("me.jpg"),
    "new.dat": data("new.dat"),
}
IMAGES = {FILES["new.jpg"], FILES["sub/deep.jpg"]}


def add_files(git: Git) -> None:
    for path, content in FILES.items():
        git.write(path, content)
    git.commit_all("new files")


@pytest.mark.parametrize("url", ["../gallery.git", "datareg::../gallery.git"])
def test_each_file_is_stored_where_it_belongs(sorted_out: Source, tmp_path: Path, url: str) -> None:
    work = sorted_out.work
    before = objects_in(tmp_path / "main")
    add_files(work)
    done = work.run("push", url, "HEAD:main")
    assert objects_in(tmp_path / "images") >= names(IMAGES)
    assert objects_in(tmp_path / "main") - before == names(set(FILES.values()) - IMAGES)
    assert (tmp_path / "images/datareg.json").is_file()
    assert sorted_out.remote.out("rev-parse", "main") == work.head()
    for place in ("main", "images"):
        assert str(tmp_path / place) in done.stderr


def test_each_file_is_found_where_it_is(sorted_out: Source, tmp_path: Path) -> None:
    add_files(sorted_out.work)
    sorted_out.work.run("push", "-q", "origin", "HEAD:main")
    forget_here(sorted_out.work)
    git = clone(f"datareg::{sorted_out.url}", tmp_path / "clone")
    assert {path: (git.path / path).read_bytes() for path in FILES} == FILES
    # What was pushed before the images had a place of their own is found, too.
    assert (git.path / "faces/a.jpg").read_bytes() == NEW["a.jpg"]
    forget_here(git)
    datareg(tmp_path, "get", "-q", sorted_out.url, ".", "-I", "*.jpg", "-o", "got")
    assert below(tmp_path / "got")["sub/deep.jpg"] == FILES["sub/deep.jpg"]


def test_a_copy_has_all_of_it(sorted_out: Source, tmp_path: Path) -> None:
    add_files(sorted_out.work)
    sorted_out.work.run("push", "-q", "origin", "HEAD:main")
    git = bare_clone(sorted_out, tmp_path / "clone")
    datareg(git, "push", "-q", "--all", "--storage", "mirror")
    assert objects_in(tmp_path / "mirror") == names(ALL | set(FILES.values()))


def test_one_that_can_not_be_written_lets_no_ref_move(sorted_out: Source, tmp_path: Path) -> None:
    sorted_out.work.run("config", "datareg.images.readonly", "true")
    add_files(sorted_out.work)
    before = refs_of(sorted_out.remote)
    done = sorted_out.work.run("push", "origin", "HEAD:main", check=False)
    assert done.returncode == 1
    assert f"storage 'images' is read-only: {tmp_path / 'images'}" in done.stderr
    assert refs_of(sorted_out.remote) == before


@pytest.mark.parametrize("url", ["origin", "datareg::../gallery.git"])
def test_a_storage_that_does_not_exist_lets_no_ref_move(source: Source, url: str) -> None:
    with (source.work.path / ".gitattributes").open("a") as file:
        file.write("*.jpg datareg-storage=nowhere\n")
    source.work.write("new.jpg", data("new.jpg"))
    source.work.commit_all()
    before = refs_of(source.remote)
    done = source.work.run("push", url, "HEAD:main", check=False)
    assert done.returncode != 0
    assert "error: no storage named 'nowhere' (configured: mirror, main)" in done.stderr
    assert "hint: git datareg storage add nowhere URL" in done.stderr
    assert refs_of(source.remote) == before
    fault(datareg(source.work, "push", check=False), 5, "no storage named 'nowhere'")


def test_two_faults_in_two_storages_are_both_told(sorted_out: Source, tmp_path: Path) -> None:
    add_files(sorted_out.work)
    for content in FILES.values():
        object_file(sorted_out.work.path / ".git/datareg", content).unlink()
    before = refs_of(sorted_out.remote)
    done = sorted_out.work.run("push", "origin", "HEAD:main", check=False)
    assert done.returncode == 1
    for path in FILES:
        assert f"error: {path}: object " in done.stderr
    assert "objects could not be stored in 2 storages; nothing is pushed" in done.stderr
    assert refs_of(sorted_out.remote) == before


# A registry elsewhere, and the places that it names


@pytest.fixture
def server(source: Source, tmp_path: Path) -> Iterator[str]:
    source.remote.run("config", "http.receivepack", "false")
    with githttp.serve(tmp_path) as root:
        yield root


def name_storage(source: Source, **keys: str) -> None:
    """Have the registry say something else of `main`, and leave no other way to the data."""
    for key, value in keys.items():
        source.work.run("config", "--file=.datareg", f"storage.main.{key}", value)
    source.work.commit_all("storage")
    source.work.run("push", "-q", "--no-verify", "origin", "HEAD:main")
    forget_here(source.work)


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"url": "https://10.0.0.1/x"}, "the private address 10.0.0.1"),
        ({"url": "https://127.0.0.1:1/x"}, "the private address 127.0.0.1"),
        ({"url": "https://[::1]/x"}, "the private address [::1]"),
        ({"url": "http://10.0.0.1/x"}, "a URL with http:"),
        ({"url": "s3://bucket/x", "endpoint": "https://10.0.0.1"}, "the private address 10.0.0.1"),
        ({"url": "s3://bucket/x", "endpoint": "http://localhost:9"}, "a URL with http:"),
    ],
)
def test_a_private_address_is_refused(
    source: Source, server: str, tmp_path: Path, keys: dict[str, str], reason: str
) -> None:
    datareg(source.work, "storage", "remove", "mirror")
    name_storage(source, **keys)
    url = f"{server}/gallery.git"
    place = keys.get("endpoint", keys["url"])
    done = datareg(tmp_path, "get", url, "model.bin", check=False)
    words = f"{url} may not name {reason} as its storage: {place}"
    fault(done, 5, words, "git config --global datareg.main.url")
    assert not (tmp_path / "model.bin").exists()
    # What is in Git alone can be had all the same.
    assert datareg(tmp_path, "list", url).returncode == 0
    datareg(tmp_path, "get", "-q", url, "notes.txt")


def test_a_private_address_does_not_keep_others_from_being_asked(
    mirrored: Source, server: str, tmp_path: Path
) -> None:
    name_storage(mirrored, url="https://10.0.0.1/x")
    datareg(tmp_path, "get", "-q", f"{server}/gallery.git", "model.bin")
    assert (tmp_path / "model.bin").read_bytes() == MODEL


def test_what_the_user_names_is_the_users_own(source: Source, server: str, tmp_path: Path) -> None:
    name_storage(source, url="https://10.0.0.1/x")
    Git(tmp_path).run("config", "--global", "datareg.main.url", str(tmp_path / "main"))
    datareg(tmp_path, "get", "-q", f"{server}/gallery.git", "model.bin")
    assert (tmp_path / "model.bin").read_bytes() == MODEL


def test_a_place_at_its_own_host_is_not_refused(
    source: Source, server: str, tmp_path: Path
) -> None:
    datareg(source.work, "storage", "remove", "mirror")
    name_storage(source, url=f"{server}/nothing")
    done = datareg(tmp_path, "get", f"{server}/gallery.git", "model.bin", check=False)
    # There is nothing, but it would be taken from there.
    assert done.returncode in (3, 5)
    assert "may not name" not in done.stderr
    assert f"{server}/nothing" in done.stderr
