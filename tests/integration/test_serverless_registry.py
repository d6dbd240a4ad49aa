"""Serverless registries as their users meet them: made by a push, cloned, read, published.

On a directory, on S3 and on a server of ssh.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from git_datareg import api
from git_datareg.errors import RegistryWarning, RepositoryNotFoundError
from tests.support import sshd
from tests.support.filtered import data, pointer
from tests.support.gitrun import Git, clone
from tests.support.nginx import Nginx
from tests.support.registries import FILES, OLD_SMALL, Registry, copied, files_of, publish, refs_of
from tests.support.s3server import S3Servers
from tests.support.served import refs_at, serve

ALLOWED = ("-c", "protocol.datareg.allow=always", "-c", "protocol.file.allow=always")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """A Git repository with the history, and its data; for reading only."""
    return publish(tmp_path_factory.mktemp("published"))


@pytest.fixture
def registry(template: Registry, tmp_path: Path) -> Registry:
    return copied(template, tmp_path / "there")


def on_ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with sshd.serve(tmp_path) as server:
        monkeypatch.setenv("GIT_SSH_COMMAND", server.command)
        yield f"sftp://{server.url(tmp_path / 'served').partition('://')[2]}"


@pytest.fixture(params=["directory", "file", "s3", "sftp"])
def place(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """The URL of a place where nothing is yet."""
    if request.param == "directory":
        yield str(tmp_path / "served")
    elif request.param == "file":
        yield f"file://{quote(str(tmp_path))}/served%20here"
    elif request.param == "s3":
        servers: S3Servers = request.getfixturevalue("s3_servers")
        server = servers.get("seaweedfs")
        for name, value in server.environ.items():
            monkeypatch.setenv(name, value)
        yield server.new_place()
    else:
        yield from on_ssh(tmp_path, monkeypatch)


@pytest.fixture
def served(template: Registry, tmp_path: Path) -> Path:
    """A serverless registry in a directory."""
    target = tmp_path / "served"
    serve(template.remote, str(target))
    return target


def assert_whole(git: Git) -> None:
    assert files_of(git) == FILES
    assert git.status() == ""


def record(directory: Path, number: int) -> Path:
    return directory / f"git/refs/{number:020d}"


def test_a_push_makes_it_and_a_clone_has_all(
    registry: Registry, place: str, tmp_path: Path
) -> None:
    url = f"datareg::{place}"
    registry.work.run("remote", "set-url", "origin", url)
    done = registry.work.run("push", "origin", "main", "v1")
    assert "[new branch]" in done.stderr
    assert "objects stored in" in done.stderr
    cloned = clone(url, tmp_path / "clone")
    assert_whole(cloned)
    assert cloned.head() == registry.work.head()
    cloned.run("fsck", "--strict")
    cloned.write("data/small.dat", b"changed")
    cloned.commit_all()
    cloned.run("push", "--quiet")
    registry.work.run("pull", "--quiet")
    assert (registry.work.path / "data/small.dat").read_bytes() == b"changed"
    assert refs_at(url, tmp_path) == {
        "refs/heads/main": cloned.head(),
        "refs/tags/v1": registry.work.out("rev-parse", "v1"),
    }


def test_consumers_read_it(registry: Registry, place: str, tmp_path: Path) -> None:
    serve(registry.remote, place)
    app = Git(tmp_path / "app").init()
    assert "small.dat" in app.out("datareg", "list", place, "data")
    app.run("datareg", "get", f"datareg::{place}", "data/small.dat", "--rev", "v1", "-o", "x")
    assert (app.path / "x").read_bytes() == OLD_SMALL
    app.run("datareg", "import", place, "data", "--rev", "other")
    assert (app.path / "data/small.dat").read_bytes() == OLD_SMALL
    app.commit_all()
    registry.work.run("push", "--quiet", f"datareg::{place}", "main:other")
    assert app.run("datareg", "update", "--check", "data", check=False).returncode == 1
    app.run("datareg", "update", "data")
    assert (app.path / "data/small.dat").read_bytes() == FILES["data/small.dat"]
    app.commit_all()
    assert api.read("plain.txt", repo=place) == "plain\n"
    url = api.get_url("data/small.dat", repo=place)
    assert url.startswith(place) or place.startswith("file:")
    # A clone that has the import fetches its data from there.
    again = clone(app.path, tmp_path / "again")
    assert (again.path / "data/small.dat").stat().st_size == len(pointer(FILES["data/small.dat"]))
    again.run("datareg", "install", "--local")
    shutil.rmtree(os.environ["GIT_DATAREG_CACHE"])
    again.run("datareg", "pull")
    assert (again.path / "data/small.dat").read_bytes() == FILES["data/small.dat"]


def test_the_data_comes_from_there_with_no_configuration(served: Path, tmp_path: Path) -> None:
    cloned = clone(f"datareg::{served}", tmp_path / "clone", "--no-checkout")
    shutil.rmtree(os.environ["GIT_DATAREG_CACHE"], ignore_errors=True)
    cloned.run("checkout", "--quiet", "v1")
    assert files_of(cloned)["data/small.dat"] == OLD_SMALL
    assert cloned.run("datareg", "fsck").returncode == 0
    assert str(served) in cloned.out("datareg", "env")


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--depth=1"],
        ["--depth=1", "--no-single-branch"],
        ["--shallow-since=2000-01-01"],
        ["--shallow-exclude=v1"],
        ["--single-branch", "--branch=other"],
        ["--no-tags"],
        ["--origin=upstream"],
        ["--branch=v1"],
        ["--no-checkout"],
        ["--bare"],
        ["--mirror"],
    ],
)
def test_a_clone_has_the_same_history_and_refs_as_gits_own(
    template: Registry, served: Path, tmp_path: Path, options: list[str]
) -> None:
    plain = clone(f"file://{template.path}", tmp_path / "plain", *options)
    ours = clone(f"datareg::{served}", tmp_path / "ours", *options)
    for question in (("rev-list", "--all", "HEAD"), ("show-ref",), ("symbolic-ref", "-q", "HEAD")):
        answers = [each.run(*question, check=False).stdout for each in (plain, ours)]
        assert answers[0] == answers[1]
    ours.run("fsck")


def test_a_shallow_clone_can_be_deepened_and_push(
    registry: Registry, served: Path, tmp_path: Path
) -> None:
    cloned = clone(f"datareg::{served}", tmp_path / "clone", "--depth=1")
    count = ("rev-list", "--count", "HEAD")
    assert cloned.out(*count) == "1"
    cloned.write("data/small.dat", b"from a shallow clone")
    cloned.commit_all()
    cloned.run("push", "--quiet")
    cloned.run("fetch", "--quiet", "--unshallow")
    assert cloned.out(*count) == "3"
    whole = clone(f"datareg::{served}", tmp_path / "whole")
    assert whole.out(*count) == "3"
    whole.run("fsck", "--strict")


def test_a_shallow_history_can_not_make_a_registry(template: Registry, tmp_path: Path) -> None:
    shallow = clone(f"datareg::file://{template.path}", tmp_path / "shallow", "--depth=1")
    done = shallow.run("push", f"datareg::{tmp_path}/new", "main", check=False)
    assert done.returncode != 0
    assert "shallow update not allowed" in done.stderr
    assert "git fetch --unshallow" in done.stderr
    assert clone(f"datareg::{tmp_path}/new", tmp_path / "clone").out("for-each-ref") == ""


def test_a_partial_clone_is_a_whole_one_with_a_warning(served: Path, tmp_path: Path) -> None:
    done = Git(tmp_path).run("clone", "--filter=blob:none", f"datareg::{served}", "clone")
    assert "warning: no partial clone" in done.stderr
    cloned = Git(tmp_path / "clone")
    assert_whole(cloned)
    assert "?" not in cloned.out("rev-list", "--objects", "--all", "--missing=print")


@pytest.mark.parametrize("object_format", ["sha1", "sha256"])
def test_either_hash_function_serves(tmp_path: Path, object_format: str) -> None:
    registry = publish(tmp_path / "there", object_format=object_format)
    url = f"datareg::{tmp_path}/served"
    serve(registry.remote, f"{tmp_path}/served")
    cloned = clone(url, tmp_path / "clone")
    assert_whole(cloned)
    assert cloned.out("rev-parse", "--show-object-format") == object_format
    cloned.write("data/small.dat", b"new")
    cloned.commit_all()
    cloned.run("push", "--quiet")
    shallow = clone(url, tmp_path / "shallow", "--depth=1")
    assert shallow.head() == cloned.head()
    assert "small.dat" in Git(tmp_path).out("datareg", "list", url, "data")


def test_the_other_hash_function_is_refused(served: Path, tmp_path: Path) -> None:
    other = Git(tmp_path / "other").init("--object-format=sha256")
    other.run("commit", "--quiet", "--allow-empty", "--message", "first")
    for words in (("push", f"datareg::{served}", "main:new"), ("fetch", f"datareg::{served}")):
        done = other.run(*words, check=False)
        assert done.returncode != 0
        assert "mismatched algorithms" in done.stderr
    assert not record(served, 2).exists()


def test_an_empty_registry_is_cloned_and_takes_the_first_push(tmp_path: Path) -> None:
    work = Git(tmp_path / "work").init()
    work.run("commit", "--quiet", "--allow-empty", "--message", "first")
    served = f"datareg::{tmp_path}/served"
    work.run("push", "--quiet", served, "main:topic")
    work.run("push", "--quiet", "-o", "head=main", served, ":topic")
    assert refs_at(served, tmp_path) == {}
    done = Git(tmp_path).run("clone", served, "clone")
    assert "empty repository" in done.stderr
    cloned = Git(tmp_path / "clone")
    cloned.run("commit", "--quiet", "--allow-empty", "--message", "again")
    cloned.run("push", "--quiet", "origin", "HEAD:main")
    assert refs_at(served, tmp_path) == {"refs/heads/main": cloned.head()}


@pytest.mark.parametrize("url", ["{}/nothing", "file://{}/nothing", "memory://{}"])
def test_where_nothing_is_there_is_nothing_to_clone(tmp_path: Path, url: str) -> None:
    place = url.format(tmp_path)
    done = Git(tmp_path).run("clone", f"datareg::{place}", "clone", check=False)
    assert done.returncode == 128
    assert f"git-datareg: error: no registry at {place}" in done.stderr
    assert not (tmp_path / "nothing").exists()
    listed = Git(tmp_path).run("datareg", "list", place, check=False)
    assert listed.returncode == 3


def test_an_s3_place_with_nothing_is_no_registry(
    s3_servers: S3Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = s3_servers.get("seaweedfs")
    for name, value in server.environ.items():
        monkeypatch.setenv(name, value)
    place = server.new_place()
    done = Git(tmp_path).run("clone", f"datareg::{place}", "clone", check=False)
    assert (done.returncode, f"no registry at {place}" in done.stderr) == (128, True)
    with pytest.raises(RepositoryNotFoundError, match=place):
        api.list(place)
    assert server.keys(place) == []


def test_a_dry_run_makes_nothing(registry: Registry, tmp_path: Path) -> None:
    registry.work.run("push", "--dry-run", f"datareg::{tmp_path}/served", "main")
    assert not (tmp_path / "served").exists()


def test_submodules_are_cloned_with_their_data(served: Path, tmp_path: Path) -> None:
    parent = Git(tmp_path / "parent").init()
    parent.run(*ALLOWED, "submodule", "--quiet", "add", f"datareg::{served}", "module")
    parent.commit_all()
    parent.run("push", "--quiet", f"datareg::{tmp_path}/parents", "main")
    url = f"datareg::{tmp_path}/parents"
    Git(tmp_path).run(*ALLOWED, "clone", "--quiet", "--recurse-submodules", url, "clone")
    assert_whole(Git(tmp_path / "clone/module"))


def test_a_linked_worktree_fetches_and_pushes(served: Path, tmp_path: Path) -> None:
    cloned = clone(f"datareg::{served}", tmp_path / "clone")
    cloned.run("worktree", "add", "--quiet", "../linked", "-b", "topic")
    linked = Git(tmp_path / "linked")
    linked.write("data/small.dat", b"from a worktree")
    linked.commit_all()
    linked.run("push", "--quiet", "origin", "topic")
    cloned.run("fetch", "--quiet")
    assert cloned.out("rev-parse", "origin/topic") == linked.head()


def test_head_is_the_branch_that_was_first_until_it_is_gone(tmp_path: Path) -> None:
    work = Git(tmp_path / "work").init("--initial-branch=trunk")
    work.run("commit", "--quiet", "--allow-empty", "--message", "first")
    work.run("branch", "main")
    url = f"datareg::{tmp_path}/served"
    head = ("ls-remote", "--symref", url, "HEAD")
    work.run("push", "--quiet", url, "main", "trunk")
    assert work.out(*head).startswith("ref: refs/heads/trunk\t")
    done = work.run("push", url, ":trunk", check=False)
    assert done.returncode == 1
    assert "deletion of the current branch prohibited" in done.stderr
    done = work.run("push", "-o", "head=../x", url, ":trunk", check=False)
    assert "error: not a branch, for -o head=BRANCH: ../x" in done.stderr
    work.run("push", "--quiet", "-o", "head=main", url, ":trunk")
    assert work.out(*head).startswith("ref: refs/heads/main\t")


def test_a_push_brings_what_is_new_and_a_fetch_what_lacks(
    registry: Registry, served: Path, tmp_path: Path
) -> None:
    cloned = clone(f"datareg::{served}", tmp_path / "clone")
    before = {path for path in served.rglob("*") if path.is_file()}
    registry.work.write("plain.txt", b"another line\n")
    registry.work.commit_all()
    registry.work.run("push", "--quiet", f"datareg::{served}", "main")
    new = {path for path in served.rglob("*") if path.is_file()} - before
    assert sorted(path.suffix for path in new) == ["", ".idx", ".pack"]
    # A commit, a tree, a file.
    content = json.loads(record(served, 2).read_bytes().split(b"\n", 2)[2])
    assert content["packs"][-1]["objects"] == 3
    assert sum(path.stat().st_size for path in new) < 4096
    # What was there is not asked for again.
    for pack in served.glob("objects/pack/*.pack"):
        if pack in before:
            pack.unlink()
    cloned.run("pull", "--quiet")
    assert cloned.head() == registry.work.head()


def test_who_has_thrown_out_objects_fetches_them_again(
    registry: Registry, served: Path, tmp_path: Path
) -> None:
    registry.work.run("push", "--quiet", f"datareg::{served}", "other:refs/heads/topic")
    fetcher = Git(tmp_path / "fetcher").init()
    fetcher.run("fetch", "--quiet", f"datareg::{served}", "topic")
    # Its tip is left, with nothing below it.
    keep = fetcher.run_bytes("cat-file", "commit", "FETCH_HEAD").stdout
    shutil.rmtree(fetcher.path / ".git/objects/pack")
    fetcher.run("hash-object", "-t", "commit", "-w", "--literally", "--stdin", input=keep)
    (fetcher.path / ".git/FETCH_HEAD").unlink()
    fetcher.run("fetch", "--quiet", f"datareg::{served}", "main:all")
    fetcher.run("fsck", "--full", "all")


def test_a_registry_that_went_backwards_is_said(
    registry: Registry, served: Path, tmp_path: Path
) -> None:
    old = tmp_path / "old"
    shutil.copytree(served, old)
    cloned = clone(f"datareg::{served}", tmp_path / "clone")
    registry.work.run("commit", "--quiet", "--allow-empty", "--message", "new")
    registry.work.run("push", "--quiet", f"datareg::{served}", "main")
    assert "went backwards" not in cloned.run("fetch").stderr
    shutil.rmtree(served)
    shutil.copytree(old, served)
    said = cloned.run("fetch").stderr
    assert (
        f"git-datareg: warning: the registry went backwards: {served} is at generation 1," in said
    )
    # Once: it is known then.
    assert "went backwards" not in cloned.run("fetch").stderr
    # And from there another way.
    registry.work.run("commit", "--quiet", "--amend", "--allow-empty", "--message", "other")
    registry.work.run("push", "--quiet", "--force", f"datareg::{served}", "main")
    assert "went backwards" not in cloned.run("fetch").stderr


@pytest.mark.parametrize("note", ["", "x", "1", "1 2 3", "7 x", "-1 y", "\0"])
def test_a_note_that_is_damaged_is_no_matter(served: Path, tmp_path: Path, note: str) -> None:
    clone(f"datareg::{served}", tmp_path / "clone")
    [path] = Path(os.environ["GIT_DATAREG_CACHE"]).glob("places/*/seen")
    path.write_text(note)
    done = Git(tmp_path / "clone").run("fetch")
    assert "Traceback" not in done.stderr
    assert path.read_text().startswith("1 ")


def test_python_is_told_of_a_registry_that_is_another_one(
    registry: Registry, served: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    serve(registry.remote, str(other))
    assert api.list(str(served))
    shutil.rmtree(served)
    shutil.copytree(other, served)
    with pytest.warns(RegistryWarning, match="went backwards"):
        assert api.list(str(served))


def test_nothing_in_it_is_obeyed(served: Path, tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    (served / "config").write_text(
        f"[core]\n\tfsmonitor = touch {touched}\n\talternateRefsCommand = touch {touched}\n"
        f'[filter "datareg"]\n\tprocess = touch {touched}\n'
    )
    (served / "hooks").mkdir()
    for name in ("reference-transaction", "pre-receive", "post-update", "post-checkout"):
        (served / "hooks" / name).write_text(f"#!/bin/sh\ntouch {touched}\n")
        (served / "hooks" / name).chmod(0o755)
    (served / "objects/info").mkdir(exist_ok=True)
    (served / "objects/info/alternates").write_text(f"{tmp_path}/there/registry.git/objects\n")
    (served / "objects/info/http-alternates").write_text("http://127.0.0.1:1/objects\n")
    (served / "info/grafts").write_text("x\n")
    cloned = clone(f"datareg::{served}", tmp_path / "clone")
    assert_whole(cloned)
    cloned.run("commit", "--quiet", "--allow-empty", "--message", "new")
    cloned.run("push", "--quiet")
    cloned.run("datareg", "list", str(served))
    clone(f"datareg::{served}", tmp_path / "shallow", "--depth=1")
    assert not touched.exists()
    # Nor does git by itself take it for a repository.
    assert Git(tmp_path).run("ls-remote", str(served), check=False).returncode == 128


@pytest.mark.parametrize("kind", ["serverless", "local"])
def test_a_commit_can_not_be_replaced_by_another(
    registry: Registry, served: Path, tmp_path: Path, kind: str
) -> None:
    old, new = (registry.work.out("rev-parse", f"{name}^{{commit}}") for name in ("v1", "main"))
    for each in (registry.work, registry.remote):
        each.run("replace", old, new)
    registry.work.run("push", "--quiet", f"datareg::{served}", "refs/replace/*:refs/replace/*")
    url = str(served) if kind == "serverless" else registry.path
    assert api.read("data/small.dat", repo=url, rev=old, mode="rb") == OLD_SMALL


@pytest.mark.parametrize("which", ["pack", "record"])
@pytest.mark.parametrize("change", ["flip", "cut", "empty", "longer", "gone"])
def test_what_is_corrupt_is_said_and_nothing_is_taken(
    served: Path, tmp_path: Path, which: str, change: str
) -> None:
    [path] = [record(served, 1)] if which == "record" else served.glob("objects/pack/*.pack")
    if which == "record":
        (served / "git/latest").unlink()
    content = bytearray(path.read_bytes())
    path.chmod(0o644)
    if change == "flip":
        content[len(content) // 2] ^= 1
    changed = {"cut": content[:-1], "empty": b"", "longer": content + b"{"}.get(change, content)
    path.write_bytes(changed)
    if change == "gone":
        path.unlink()
    done = Git(tmp_path).run("clone", f"datareg::{served}", "clone", check=False)
    if (which, change) == ("record", "gone"):
        # It has its marker: a storage of objects may yet become a registry.
        assert "empty repository" in done.stderr
        return
    assert done.returncode == 128
    assert done.stderr.count("git-datareg: error: ") == 1
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "clone").exists()
    listed = Git(tmp_path).run("datareg", "list", str(served), check=False)
    assert listed.returncode == (3 if change == "gone" else 6)


def test_a_push_to_what_is_only_read_is_refused(
    registry: Registry, web: Nginx, tmp_path: Path
) -> None:
    serve(registry.remote, str(web.root / "read-only"))
    registry.work.run("commit", "--quiet", "--allow-empty", "--message", "new")
    url = web.url("static/read-only")
    done = registry.work.run("push", f"datareg::{url}", "main", check=False)
    assert done.returncode == 1
    assert f"error: a registry that is only read: {url}" in done.stderr
    assert "[remote rejected] main -> main (nothing can be pushed there)" in done.stderr


@pytest.mark.parametrize("server", ["moto", "rclone"])
def test_a_store_is_tried_out_before_the_first_push(
    s3_servers: S3Servers,
    registry: Registry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    server: str,
) -> None:
    found = s3_servers.get(server)
    for name, value in found.environ.items():
        monkeypatch.setenv(name, value)
    place = found.new_place()
    done = registry.work.run("push", f"datareg::{place}", "main", check=False)
    if server == "rclone":
        assert done.returncode == 1
        assert f"error: no pushes to {place}: of two at once" in done.stderr
        assert "If-None-Match" in done.stderr
        assert found.keys(place) == []
        return
    assert done.returncode == 0
    trace = {"GIT_DATAREG_TRACE": "1"}
    again = registry.work.run("push", f"datareg::{place}", "main:again", env=trace)
    assert "probe/" not in again.stderr


def test_where_a_store_keeps_no_word_reading_works(
    s3_servers: S3Servers, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = s3_servers.get("rclone")
    for name, value in server.environ.items():
        monkeypatch.setenv(name, value)
    place = server.new_place()
    serve(registry.remote, str(tmp_path / "served"))
    bucket, _, prefix = place.removeprefix("s3://").partition("/")
    for path in (tmp_path / "served").rglob("*"):
        if path.is_file():
            key = f"{prefix}/{path.relative_to(tmp_path / 'served')}"
            server.client.put_object(Bucket=bucket, Key=key, Body=path.read_bytes())
    assert_whole(clone(f"datareg::{place}", tmp_path / "clone"))


# Published by a web server.


def test_a_web_server_over_it_is_a_registry_to_read(
    registry: Registry, web: Nginx, tmp_path: Path
) -> None:
    serve(registry.remote, str(web.root / "published"))
    url = web.url("static/published")
    cloned = clone(f"datareg::{url}", tmp_path / "clone")
    assert_whole(cloned)
    assert refs_of(cloned) | {"refs/heads/main": cloned.head()} == refs_of(cloned)
    app = Git(tmp_path / "app").init()
    assert "small.dat" in app.out("datareg", "list", url, "data")
    app.run("datareg", "import", url, "data", "--rev", "other")
    assert (app.path / "data/small.dat").read_bytes() == OLD_SMALL
    app.commit_all()
    registry.work.run("push", "--quiet", f"datareg::{web.root}/published", "main:other")
    app.run("datareg", "update", "data")
    assert (app.path / "data/small.dat").read_bytes() == FILES["data/small.dat"]
    registry.work.write("data/small.dat", data("newer"))
    registry.work.commit_all()
    registry.work.run("push", "--quiet", f"datareg::{web.root}/published", "main")
    cloned.run("pull", "--quiet")
    assert (cloned.path / "data/small.dat").read_bytes() == data("newer")
    assert api.read("data/small.dat", repo=url, mode="rb") == data("newer")
    shallow = clone(f"datareg::{url}", tmp_path / "shallow", "--depth=1")
    assert shallow.head() == registry.work.head()


def test_plain_git_reads_history_and_pointers_from_a_web_server(
    registry: Registry, web: Nginx, tmp_path: Path
) -> None:
    serve(registry.remote, str(web.root / "plain"))
    target = f"datareg::{web.root}/plain"
    url = web.url("static/plain")
    cloned = clone(url, tmp_path / "clone")
    assert (cloned.path / "data/small.dat").read_bytes() == pointer(FILES["data/small.dat"])
    assert refs_at(url, tmp_path) == refs_of(registry.remote)
    cloned.run("fsck", "--strict")
    registry.work.run("branch", "later")
    registry.work.write("plain.txt", b"third\n")
    registry.work.commit_all()
    registry.work.run("push", "--quiet", target, "main", "later")
    registry.work.run("push", "--quiet", target, ":other")
    cloned.run("pull", "--quiet", "--prune")
    assert cloned.head() == registry.work.head()
    assert refs_at(url, tmp_path) == refs_at(target, tmp_path)
    cloned.run("fsck", "--strict")


def test_plain_git_reads_sha256_from_a_web_server(web: Nginx, tmp_path: Path) -> None:
    registry = publish(tmp_path / "there", object_format="sha256")
    serve(registry.remote, str(web.root / "sha256"))
    cloned = clone(web.url("static/sha256"), tmp_path / "clone")
    assert cloned.head() == registry.work.head()
    cloned.run("fsck", "--strict")


def test_after_many_pushes_there_are_few_packs(tmp_path: Path) -> None:
    work = Git(tmp_path / "work").init()
    url = f"datareg::{tmp_path}/served"
    for number in range(40):
        work.run("commit", "--quiet", "--allow-empty", "--message", str(number))
        work.run("push", "--quiet", url, "main")
        if number == 20:
            early = clone(url, tmp_path / "early")
    info = (tmp_path / "served/objects/info/packs").read_text()
    assert info.count("P pack-") < 10
    for cloned in (early, clone(url, tmp_path / "clone")):
        cloned.run("pull", "--quiet")
        assert cloned.out("rev-list", "--count", "HEAD") == "40"
        cloned.run("fsck", "--strict")
