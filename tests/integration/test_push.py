"""What both ways of a push promise: by the hook (plain URLs) and by the helper (`datareg::`)."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from blake3 import blake3

from tests.support.filtered import LARGE, data, object_file, pointer
from tests.support.gitrun import Git, clone
from tests.support.registries import (
    FILES,
    Registry,
    copied,
    files_of,
    objects_in,
    path_without_us,
    publish,
    refs_of,
    run_unprivileged,
)


def name(content: bytes) -> str:
    return blake3(content).hexdigest()


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    return publish(tmp_path_factory.mktemp("published"))


@pytest.fixture(params=["hook", "helper"])
def registry(request: pytest.FixtureRequest, published: Registry, tmp_path: Path) -> Registry:
    """A registry whose publisher pushes in one of the two ways."""
    registry = copied(published, tmp_path)
    if request.param == "helper":
        registry.work.run("remote", "set-url", "origin", "datareg::../registry.git")
    return registry


def change(git: Git, path: str = "data/new.dat", content: bytes = b"new") -> bytes:
    """Commit a data file; returns its content."""
    git.write(path, content)
    git.commit_all(f"change {path}")
    return content


def push_fails(git: Git, *args: str) -> str:
    """A push that must fail; returns what was said."""
    done = git.run("push", *args, check=False)
    assert done.returncode == 1, done.stderr
    return done.stderr


def test_a_push_stores_the_data_and_moves_the_ref(registry: Registry) -> None:
    content = change(registry.work)
    before = objects_in(registry.storage)
    done = registry.work.run("push")
    assert registry.remote.out("rev-parse", "main") == registry.work.head()
    assert objects_in(registry.storage) - before == {name(content)}
    assert object_file(registry.storage, content).read_bytes() == content
    assert "1 object stored in " in done.stderr
    assert registry.work.out("rev-parse", "origin/main") == registry.work.head()


def test_a_push_of_nothing_new_stores_nothing(registry: Registry) -> None:
    before = objects_in(registry.storage)
    done = registry.work.run("push")
    assert "Everything up-to-date" in done.stderr
    assert "stored" not in done.stderr
    assert objects_in(registry.storage) == before


def test_a_push_without_data_files_needs_no_storage(registry: Registry) -> None:
    shutil.rmtree(registry.storage)
    registry.work.run("rm", "--quiet", "-r", ".")
    registry.work.run("checkout", "--quiet", "--orphan", "plain")
    registry.work.write("plain.txt", b"plain")
    registry.work.commit_all()
    registry.work.run("push", "--quiet", "origin", "plain")
    assert not registry.storage.exists()


def test_a_push_of_a_file_that_is_there_already_stores_it_not_again(registry: Registry) -> None:
    stored = object_file(registry.storage, FILES["data/small.dat"])
    before = stored.stat()
    change(registry.work, "data/copy.dat", FILES["data/small.dat"])
    registry.work.run("push", "--quiet")
    assert stored.stat() == before


def test_files_that_only_an_earlier_commit_of_the_push_has_are_stored(registry: Registry) -> None:
    content = change(registry.work)
    registry.work.run("rm", "--quiet", "data/new.dat")
    registry.work.commit_all()
    registry.work.run("push", "--quiet")
    assert object_file(registry.storage, content).is_file()


def test_data_of_a_branch_a_tag_and_a_merge_is_stored(registry: Registry) -> None:
    work = registry.work
    work.run("checkout", "--quiet", "-b", "side", "v1")
    contents = [change(work, "side.dat", b"on the side")]
    work.run("checkout", "--quiet", "main")
    contents.append(change(work, "main.dat", b"on main"))
    work.run("merge", "--quiet", "--no-edit", "side")
    work.run("checkout", "--quiet", "--detach")
    contents.append(change(work, "tag.dat", b"in a tag only"))
    work.run("tag", "--annotate", "--message", "two", "v2")
    work.run("push", "--quiet", "origin", "main", "v2")
    assert {name(content) for content in contents} <= objects_in(registry.storage)


def test_a_push_does_not_walk_the_history(registry: Registry) -> None:
    work = registry.work
    old = work.out("rev-parse", "v1^{commit}")
    # Whoever looks at the first commit, its tree or what only it has, fails.
    gone = [old, work.out("rev-parse", f"{old}^{{tree}}"), work.out("rev-parse", f"{old}:data")]
    work.run("update-ref", "-d", "refs/heads/other")
    work.run("update-ref", "-d", "refs/remotes/origin/other")
    work.run("tag", "--delete", "v1")
    content = change(work)
    for id in gone:
        (work.path / ".git/objects" / id[:2] / id[2:]).unlink()
    work.run("push", "--quiet", "origin", "main")
    assert registry.remote.out("rev-parse", "main") == work.head()
    assert object_file(registry.storage, content).is_file()


def test_a_new_branch_is_compared_with_what_the_remote_has(registry: Registry) -> None:
    # The storage lacks what the history has, and nobody notices: it is not looked at.
    shutil.rmtree(registry.storage / "objects")
    work = registry.work
    work.run("checkout", "--quiet", "-b", "topic")
    content = change(work)
    work.run("push", "--quiet", "origin", "topic")
    assert objects_in(registry.storage) == {name(content)}


def test_a_new_branch_is_compared_with_what_others_pushed_to(
    registry: Registry, tmp_path: Path
) -> None:
    # The remote's main is one that is not known here; the one before it is.
    other = clone(f"datareg::{registry.path}", tmp_path / "other")
    change(other, "theirs.dat", b"theirs")
    other.run("push", "--quiet")
    shutil.rmtree(registry.storage / "objects")
    work = registry.work
    work.run("checkout", "--quiet", "-b", "topic")
    content = change(work)
    work.run("push", "--quiet", "origin", "topic")
    assert objects_in(registry.storage) == {name(content)}


@pytest.mark.parametrize("prefix", ["", "datareg::"])
def test_a_remote_in_a_new_place_gets_everything(
    registry: Registry, tmp_path: Path, prefix: str
) -> None:
    # The remote-tracking branches speak of the old place.
    new = Git(tmp_path / "new.git").init("--bare")
    registry.work.run("remote", "set-url", "origin", f"{prefix}{new.path}")
    registry.work.run("push", "--quiet", "origin", "main")
    assert objects_in(new.path / "datareg") == objects_in(registry.storage)
    registry.work.run("checkout", "--quiet", "other")
    content = change(registry.work)
    registry.work.run("push", "--quiet", "origin", "other")
    assert object_file(new.path / "datareg", content).is_file()


def test_a_second_branch_to_a_new_place_gets_everything_too(
    registry: Registry, tmp_path: Path
) -> None:
    work = registry.work
    work.run("checkout", "--quiet", "-b", "topic")
    on_topic = change(work, "topic.dat", b"on the topic")
    work.run("push", "--quiet", "origin", "topic")
    prefix = "datareg::" if "datareg::" in work.out("remote", "get-url", "origin") else ""
    new = Git(tmp_path / "new.git").init("--bare")
    work.run("remote", "set-url", "origin", f"{prefix}{new.path}")
    work.run("push", "--quiet", "origin", "main")
    assert not object_file(new.path / "datareg", on_topic).exists()
    work.run("push", "--quiet", "origin", "topic")
    assert object_file(new.path / "datareg", on_topic).is_file()


def test_a_first_push_that_fails_does_not_make_the_next_one_careless(
    registry: Registry, tmp_path: Path
) -> None:
    work = registry.work
    storage = tmp_path / "storage"
    work.run("datareg", "storage", "add", "-d", "new", str(storage))
    change(work)
    shutil.move(registry.storage, tmp_path / "hidden")
    hidden = object_file(work.path / ".git/datareg", FILES["data/large.dat"])
    hidden.rename(tmp_path / "large")
    assert "large.dat" in push_fails(work)
    assert "large.dat" in push_fails(work)
    (tmp_path / "large").rename(hidden)
    work.run("push", "--quiet")
    assert name(FILES["data/large.dat"]) in objects_in(storage)


def test_remote_tracking_branches_of_a_remote_below_the_name_do_not_count(
    registry: Registry, tmp_path: Path
) -> None:
    work = registry.work
    prefix = "datareg::" if "datareg::" in work.out("remote", "get-url", "origin") else ""
    far = Git(tmp_path / "far.git").init("--bare")
    work.run("remote", "add", "origin/far", f"{prefix}{far.path}")
    content = change(work)
    work.run("push", "--quiet", "origin/far", "main")
    work.run("push", "--quiet", "origin", "main")
    assert object_file(registry.storage, content).is_file()


def test_old_objects_in_another_configured_storage_are_left_there(
    registry: Registry, tmp_path: Path
) -> None:
    registry.work.run("datareg", "storage", "add", "-d", "old", str(tmp_path / "old"))
    registry.work.run("datareg", "push", "--all")
    registry.work.commit_all()
    registry.work.run("push", "--quiet")
    prefix = "datareg::" if "datareg::" in registry.work.out("remote", "get-url", "origin") else ""
    # Here are only the objects of the newest commit.
    cloned = clone(f"datareg::{registry.path}", tmp_path / "clone")
    cloned.run("remote", "set-url", "origin", prefix + registry.path)
    cloned.run("datareg", "storage", "add", "-d", "new", str(tmp_path / "new"))
    content = change(cloned)
    cloned.run("push", "--quiet")
    assert name(content) in objects_in(tmp_path / "new")
    fresh = clone(f"datareg::{registry.path}", tmp_path / "fresh", "--branch=v1")
    assert set(files_of(fresh)) == set(FILES)


# Pushes that can't store their data.


def test_an_object_that_is_nowhere_stops_the_push(registry: Registry) -> None:
    before = refs_of(registry.remote)
    content = change(registry.work)
    object_file(registry.work.path / ".git/datareg", content).unlink()
    said = push_fails(registry.work)
    assert f"data/new.dat: object {name(content)} is neither here nor in" in said
    assert "hint: " in said
    assert refs_of(registry.remote) == before


def test_an_object_of_ours_that_is_corrupt_stops_the_push(registry: Registry) -> None:
    before = refs_of(registry.remote), objects_in(registry.storage)
    own = object_file(registry.work.path / ".git/datareg", change(registry.work))
    own.chmod(0o644)
    own.write_bytes(b"bad")
    said = push_fails(registry.work)
    assert "data/new.dat: corrupt object" in said
    assert (refs_of(registry.remote), objects_in(registry.storage)) == before


def test_a_read_only_storage_stops_the_push(registry: Registry) -> None:
    before = refs_of(registry.remote)
    change(registry.work)
    for directory in [registry.storage, *registry.storage.rglob("*")]:
        if directory.is_dir():
            directory.chmod(0o555)
    done = run_unprivileged(registry.work, "push")
    for directory in [registry.storage, *registry.storage.rglob("*")]:
        if directory.is_dir():
            directory.chmod(0o755)
    assert done.returncode == 1
    assert "git-datareg: error: " in done.stderr
    assert "Permission denied" in done.stderr
    assert refs_of(registry.remote) == before


def test_a_storage_that_is_gone_stops_the_push(registry: Registry, tmp_path: Path) -> None:
    registry.work.run("datareg", "storage", "add", "-d", "disk", str(tmp_path / "mnt/disk"))
    before = refs_of(registry.remote)
    change(registry.work)
    said = push_fails(registry.work)
    assert f"storage is not there: {tmp_path}/mnt/disk" in said
    assert refs_of(registry.remote) == before
    assert not (tmp_path / "mnt").exists()


def test_a_storage_that_is_only_read_stops_the_push(registry: Registry, tmp_path: Path) -> None:
    registry.work.run("datareg", "storage", "add", "-d", "web", str(tmp_path))
    registry.work.run("config", "--file=.datareg", "storage.web.readonly", "true")
    before = refs_of(registry.remote)
    change(registry.work)
    assert "storage 'web' is read-only" in push_fails(registry.work)
    assert refs_of(registry.remote) == before


def test_a_storage_of_a_later_format_stops_the_push(registry: Registry) -> None:
    marker = registry.storage / "datareg.json"
    marker.chmod(0o644)
    marker.write_text('{"format": 2, "features": []}')
    before = refs_of(registry.remote), objects_in(registry.storage)
    change(registry.work)
    assert "storage of format 2" in push_fails(registry.work)
    assert (refs_of(registry.remote), objects_in(registry.storage)) == before


def test_a_broken_configuration_stops_the_push(registry: Registry) -> None:
    before = refs_of(registry.remote)
    change(registry.work)
    registry.work.write(".datareg", b"[storage")
    assert "git-datareg: error: " in push_fails(registry.work)
    assert refs_of(registry.remote) == before


def test_a_pointer_of_a_later_version_stops_the_push(registry: Registry) -> None:
    before = refs_of(registry.remote)
    later = pointer(b"x").replace(b"pointer 1", b"pointer 2")
    id = registry.work.run("hash-object", "-w", "--stdin", "--no-filters", input=later).stdout
    registry.work.run("update-index", "--add", "--cacheinfo", f"100644,{id.strip()},later.dat")
    registry.work.run("commit", "--quiet", "--message", "later")
    assert "later.dat: " in push_fails(registry.work)
    assert refs_of(registry.remote) == before


def test_many_failures_are_counted_and_not_all_shown(registry: Registry) -> None:
    for number in range(30):
        registry.work.write(f"many/{number:02}.dat", b"%d" % number)
    registry.work.commit_all()
    shutil.rmtree(registry.work.path / ".git/datareg")
    said = push_fails(registry.work)
    assert "30 of 30 objects could not be stored" in said
    assert said.count("is neither here nor in") == 10


@pytest.mark.parametrize("url", ["ssh://host/r.git", "https://host/r.git", "host:r.git"])
def test_a_remote_elsewhere_without_storage_is_refused_before_anything_moves(
    published: Registry, tmp_path: Path, url: str
) -> None:
    # Called as git does: no such host can be asked for its refs here.
    work = copied(published, tmp_path).work
    change(work)
    line = f"refs/heads/main {work.head()} refs/heads/main {'0' * 40}\n"
    done = work.run("datareg", "pre-push", url, url, input=line, check=False)
    assert done.returncode == 5
    assert "no storage for data files is configured" in done.stderr
    assert "hint: git datareg storage add -d NAME URL" in done.stderr


# What is configured.


def test_a_key_that_does_not_count_is_named(registry: Registry) -> None:
    registry.work.run("config", "--file=.datareg", "storage.x.command", "rm")
    change(registry.work)
    done = registry.work.run("push")
    assert "git-datareg: warning: .datareg: key storage.x.command is not allowed" in done.stderr


def test_the_users_configuration_chooses_the_storage(registry: Registry, tmp_path: Path) -> None:
    registry.work.run("datareg", "storage", "add", "-d", "team", str(tmp_path / "team"))
    registry.work.run("config", "datareg.mine.url", str(tmp_path / "mine"))
    registry.work.run("config", "datareg.storage", "mine")
    content = change(registry.work)
    registry.work.run("push", "--quiet")
    assert name(content) in objects_in(tmp_path / "mine")
    assert not (tmp_path / "team").exists()


def test_the_users_configuration_moves_a_storage(registry: Registry, tmp_path: Path) -> None:
    registry.work.run("datareg", "storage", "add", "-d", "team", str(tmp_path / "team"))
    registry.work.run("config", "datareg.team.url", str(tmp_path / "mine"))
    content = change(registry.work)
    registry.work.run("push", "--quiet")
    assert name(content) in objects_in(tmp_path / "mine")


def test_a_relative_storage_is_beside_the_remote(registry: Registry, tmp_path: Path) -> None:
    registry.work.run("datareg", "storage", "add", "-d", "near", "../near")
    content = change(registry.work)
    registry.work.run("push", "--quiet")
    assert name(content) in objects_in(tmp_path / "near")


# Imports.


def import_file(git: Git, metafile: str, *extra: str) -> bytes:
    """Commit what an import leaves: the metafile and a pointer, and no object of our own."""
    content = b"imported"
    text = (
        "[import]\n\turl = /source\n\tpath = faces\n"
        f"\tcommit = {'1' * 40}\n\tstorage = file:///source/datareg\n"
    )
    git.write(metafile, (text + "".join(extra)).encode())
    target = metafile.removesuffix(".datareg")
    path = f"{target}/a.dat" if target == "faces" else target
    git.write(path, pointer(content))
    git.commit_all("import")
    return content


@pytest.mark.parametrize("metafile", ["faces.datareg", "one.dat.datareg"])
def test_imported_objects_stay_in_their_source(registry: Registry, metafile: str) -> None:
    before = objects_in(registry.storage)
    import_file(registry.work, metafile)
    registry.work.run("push", "--quiet")
    assert registry.remote.out("rev-parse", "main") == registry.work.head()
    assert objects_in(registry.storage) == before


def test_an_import_that_is_gone_again_is_not_asked_for(registry: Registry) -> None:
    import_file(registry.work, "faces.datareg")
    registry.work.run("rm", "-r", "--quiet", "faces", "faces.datareg")
    registry.work.commit_all()
    registry.work.run("push", "--quiet")
    assert registry.remote.out("rev-parse", "main") == registry.work.head()


def test_an_older_import_covers_a_file_that_is_new_below_it(registry: Registry) -> None:
    import_file(registry.work, "faces.datareg")
    registry.work.run("push", "--quiet")
    registry.work.write("faces/b.dat", pointer(b"another of them"))
    registry.work.commit_all()
    registry.work.run("push", "--quiet")
    assert registry.remote.out("rev-parse", "main") == registry.work.head()


def test_vendored_objects_are_stored(registry: Registry) -> None:
    content = import_file(registry.work, "faces.datareg", "\tvendor = true\n")
    assert name(content) in push_fails(registry.work)


def test_a_changed_file_of_an_import_is_stored(registry: Registry) -> None:
    import_file(registry.work, "faces.datareg")
    content = change(registry.work, "faces/a.dat", b"our own version")
    registry.work.run("push", "--quiet")
    assert name(content) in objects_in(registry.storage)


def test_an_imported_file_that_is_ours_at_another_path_too_is_stored(registry: Registry) -> None:
    content = import_file(registry.work, "faces.datareg")
    registry.work.write("zoo.dat", pointer(content))
    registry.work.commit_all()
    said = push_fails(registry.work)
    assert f"zoo.dat: object {name(content)} is neither here nor in" in said


# Where it is pushed from.


def test_a_push_from_a_linked_worktree(registry: Registry, tmp_path: Path) -> None:
    registry.work.run("worktree", "add", "--quiet", "-b", "linked", str(tmp_path / "linked"))
    linked = Git(tmp_path / "linked")
    assert files_of(linked) == FILES
    content = change(linked)
    linked.run("push", "--quiet", "origin", "linked")
    assert name(content) in objects_in(registry.storage)
    assert registry.remote.out("rev-parse", "linked") == linked.head()


def test_a_push_from_a_subdirectory(registry: Registry) -> None:
    content = change(registry.work)
    Git(registry.work.path / "data/sub").run("push", "--quiet")
    assert name(content) in objects_in(registry.storage)


def test_a_push_by_git_dash_c(registry: Registry, tmp_path: Path) -> None:
    content = change(registry.work)
    Git(tmp_path).run("-C", "work/data", "push", "--quiet")
    assert name(content) in objects_in(registry.storage)


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_push_with_the_repository_in_the_environment(
    registry: Registry, tmp_path: Path, elsewhere: bool
) -> None:
    content = change(registry.work)
    top = registry.work.path
    where = Git(tmp_path / "empty" if elsewhere else top)
    where.path.mkdir(exist_ok=True)
    where.run("push", "--quiet", env={"GIT_DIR": str(top / ".git"), "GIT_WORK_TREE": str(top)})
    assert name(content) in objects_in(registry.storage)


def test_a_push_from_a_bare_repository(registry: Registry, tmp_path: Path) -> None:
    content = change(registry.work)
    url = registry.work.out("remote", "get-url", "origin")
    bare = Git(tmp_path / "bare.git").init("--bare")
    bare.run("datareg", "init")
    registry.work.run("push", "--quiet", f"datareg::{bare.path}", "main")
    bare.run("remote", "add", "origin", url)
    bare.run("push", "--quiet", "origin", "main")
    assert name(content) in objects_in(registry.storage)
    assert registry.remote.out("rev-parse", "main") == registry.work.head()


def test_a_push_into_a_repository_with_a_work_tree(registry: Registry, tmp_path: Path) -> None:
    target = Git(tmp_path / "target").init()
    target.run("config", "receive.denyCurrentBranch", "updateInstead")
    target.run("datareg", "install", "--local")
    prefix = "datareg::" if "datareg::" in registry.work.out("remote", "get-url", "origin") else ""
    registry.work.run("push", "--quiet", f"{prefix}{target.path}", "main")
    assert objects_in(target.path / ".git/datareg") >= {name(each) for each in _data_files()}
    # The other side's filter ran with the other side's repository, not with ours.
    assert files_of(target) == FILES


def _data_files() -> list[bytes]:
    return [content for path, content in FILES.items() if path.endswith(".dat")]


# The hook alone.


def test_the_hook_says_so_when_our_program_has_vanished(
    published: Registry, tmp_path: Path
) -> None:
    registry = copied(published, tmp_path)
    change(registry.work)
    before = refs_of(registry.remote)
    done = registry.work.run("push", check=False, env={"PATH": path_without_us()})
    assert done.returncode == 1
    assert "git-datareg is not on PATH" in done.stderr
    assert refs_of(registry.remote) == before


def test_without_verification_nothing_is_uploaded(published: Registry, tmp_path: Path) -> None:
    registry = copied(published, tmp_path)
    before = objects_in(registry.storage)
    change(registry.work)
    registry.work.run("push", "--quiet", "--no-verify")
    assert registry.remote.out("rev-parse", "main") == registry.work.head()
    assert objects_in(registry.storage) == before


def test_a_large_first_push_stores_all(tmp_path: Path) -> None:
    remote = Git(tmp_path / "r.git").init("--bare")
    work = Git(tmp_path / "work").init()
    work.run("datareg", "init")
    work.run("datareg", "track", "*.dat")
    contents = [data(str(number), 100 + number) for number in range(300)]
    contents.append(data("large", 5 * LARGE))
    for number, content in enumerate(contents):
        work.write(f"d/{number % 7}/{number}.dat", content)
    work.commit_all()
    done = work.run("push", str(remote.path), "main")
    assert "301 objects stored" in done.stderr
    assert objects_in(remote.path / "datareg") == {name(content) for content in contents}


def test_one_of_very_many_that_is_nowhere_keeps_no_other_back(registry: Registry) -> None:
    # So many small ones are stored by several processes.
    contents = {f"many/{number:04}.dat": b"file %d" % number for number in range(1200)}
    for path, content in contents.items():
        registry.work.write(path, content)
    registry.work.commit_all("many")
    lost, held = contents["many/0700.dat"], contents["many/0001.dat"]
    object_file(registry.work.path / ".git/datareg", lost).unlink()
    registry.storage.joinpath("objects", name(held)[:2]).mkdir(exist_ok=True)
    object_file(registry.storage, held).write_bytes(held)
    before = refs_of(registry.remote)
    said = push_fails(registry.work)
    assert f"object {name(lost)} is neither here nor in " in said
    assert refs_of(registry.remote) == before
    expected = {name(content) for content in contents.values()} - {name(lost)}
    assert expected <= objects_in(registry.storage)
    registry.work.run("rm", "-q", "--cached", "many/0700.dat")
    registry.work.run("add", "many/0700.dat")
    registry.work.run("push", "--quiet")
    assert object_file(registry.storage, lost).read_bytes() == lost
