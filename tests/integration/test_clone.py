"""`git clone datareg::...` where nothing was ever configured: by every transport and option."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import githttp
from tests.support.filtered import object_file, pointer
from tests.support.gitrun import Git, clone
from tests.support.registries import (
    FILES,
    OLD_SMALL,
    Registry,
    copied,
    files_of,
    objects_in,
    path_without_us,
    publish,
)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """For reading only."""
    return publish(tmp_path_factory.mktemp("published"))


@pytest.fixture
def registry(published: Registry, tmp_path: Path) -> Registry:
    return copied(published, tmp_path / "there")


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An ssh that runs the command on this machine, as in git's own tests."""
    script = tmp_path / "ssh"
    script.write_text('#!/bin/sh\nwhile [ "$1" = -o ]; do shift 2; done\nshift\nexec sh -c "$*"\n')
    script.chmod(0o755)
    monkeypatch.setenv("GIT_SSH_COMMAND", shlex.quote(str(script)))
    monkeypatch.setenv("GIT_SSH_VARIANT", "ssh")


@pytest.fixture
def http(registry: Registry) -> Iterator[str]:
    with githttp.serve(registry.remote.path.parent) as url:
        yield url


def name_storage(registry: Registry) -> Path:
    """Have the registry keep its objects in a directory that `.datareg` names; returns it."""
    storage = registry.work.path.parent / "storage"
    registry.work.run("datareg", "init", "--storage", str(storage))
    registry.work.run("datareg", "push", "--all")
    registry.work.commit_all("storage")
    registry.work.run("push", "--quiet")
    return storage


def assert_whole(git: Git) -> None:
    """The data is there, and git takes the work tree for clean without reading it again."""
    assert files_of(git) == FILES
    assert git.filter_use("status").cleans == 0
    assert git.status() == ""


@pytest.mark.parametrize("url", ["datareg::{path}", "datareg::file://{path}", "datareg::{stem}"])
def test_a_clone_by_path_has_the_data(published: Registry, tmp_path: Path, url: str) -> None:
    stem = published.path.removesuffix(".git")
    cloned = clone(url.format(path=published.path, stem=stem), tmp_path / "clone")
    assert_whole(cloned)


def test_a_clone_by_relative_path_has_the_data_and_can_fetch_later(
    registry: Registry, tmp_path: Path
) -> None:
    Git(tmp_path).run("clone", "--quiet", "datareg::there/registry.git", "here/clone")
    cloned = Git(tmp_path / "here/clone")
    assert_whole(cloned)
    assert cloned.out("remote", "get-url", "origin") == f"datareg::{registry.path}"
    (cloned.path / "sub").mkdir()
    Git(cloned.path / "sub").run("fetch", "--quiet")


def test_a_bare_clone_by_relative_path_can_fetch_later(registry: Registry, tmp_path: Path) -> None:
    Git(tmp_path).run("clone", "--quiet", "--bare", "datareg::there/registry.git", "b/clone.git")
    Git(tmp_path / "b/clone.git").run("fetch", "--quiet")


def test_a_relative_remote_of_ones_own_stays_relative(registry: Registry) -> None:
    registry.work.run("remote", "set-url", "origin", "datareg::../registry.git")
    registry.work.run("fetch", "--quiet")
    assert registry.work.out("remote", "get-url", "origin") == "datareg::../registry.git"


def test_a_clone_by_http_has_the_data(registry: Registry, http: str, tmp_path: Path) -> None:
    name_storage(registry)
    assert_whole(clone(f"datareg::{http}/registry.git", tmp_path / "clone"))


@pytest.mark.usefixtures("ssh")
@pytest.mark.parametrize("url", ["datareg::ssh://host{path}", "datareg::host:{path}"])
def test_a_clone_by_ssh_has_the_data(registry: Registry, tmp_path: Path, url: str) -> None:
    name_storage(registry)
    assert_whole(clone(url.format(path=registry.path), tmp_path / "clone"))


def test_a_web_server_is_asked_once_whether_it_has_a_serverless_registry(
    registry: Registry, tmp_path: Path
) -> None:
    requests: list[str] = []
    name_storage(registry)
    with githttp.serve(registry.remote.path.parent, requests) as http:
        cloned = clone(f"datareg::{http}/registry.git", tmp_path / "clone")
        assert sum("git/latest" in each for each in requests) == 1
        cloned.run("fetch")
        cloned.run("pull", "--quiet")
    assert sum("git/latest" in each for each in requests) == 1


def test_a_broken_configuration_does_not_keep_its_mending_out(
    registry: Registry, http: str, tmp_path: Path
) -> None:
    name_storage(registry)
    cloned = clone(f"datareg::{http}/registry.git", tmp_path / "clone")
    (cloned.path / ".datareg").write_text("[")
    registry.work.run("commit", "--quiet", "--allow-empty", "--message", "mended")
    registry.work.run("push", "--quiet")
    cloned.run("fetch", "--quiet")
    assert cloned.out("rev-parse", "origin/main") == registry.work.head()


def test_a_clone_by_http_pushes_data_and_refs(
    registry: Registry, http: str, tmp_path: Path
) -> None:
    storage = name_storage(registry)
    cloned = clone(f"datareg::{http}/registry.git", tmp_path / "clone")
    before = objects_in(storage)
    cloned.write("data/new.dat", b"new")
    cloned.commit_all()
    cloned.run("push", "--quiet")
    assert registry.remote.out("rev-parse", "main") == cloned.head()
    assert len(objects_in(storage) - before) == 1


def test_a_storage_url_that_is_relative_is_read_against_the_remotes(
    registry: Registry, tmp_path: Path
) -> None:
    registry.work.run("datareg", "storage", "add", "-d", "near", "../near")
    registry.work.run("datareg", "push", "--all")
    registry.work.commit_all("storage")
    registry.work.run("push", "--quiet")
    registry.storage.rename(tmp_path / "gone")
    assert_whole(clone(f"datareg::{registry.path}", tmp_path / "clone"))
    assert objects_in(tmp_path / "there/near") == objects_in(tmp_path / "gone")


def test_a_storage_in_the_users_configuration_wins(
    registry: Registry, home: Path, tmp_path: Path
) -> None:
    registry.work.run("datareg", "init", "--storage", str(tmp_path / "named"))
    registry.work.commit_all("storage")
    registry.work.run("push", "--quiet", "--no-verify")
    registry.storage.rename(tmp_path / "mine")
    Git(tmp_path).run("config", "--global", "datareg.origin.url", str(tmp_path / "mine"))
    assert_whole(clone(f"datareg::{registry.path}", tmp_path / "clone"))


def test_the_users_configuration_on_the_command_line_counts(
    registry: Registry, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    Git(tmp_path).run(
        "-c",
        f"datareg.cache={cache}",
        *("clone", "--quiet", f"datareg::{registry.path}", "clone"),
        env={"GIT_DATAREG_CACHE": ""},
    )
    assert_whole(Git(tmp_path / "clone"))
    assert objects_in(cache)


def test_without_our_program_a_plain_clone_has_readable_pointers(
    published: Registry, tmp_path: Path
) -> None:
    path = path_without_us()
    Git(tmp_path).run("clone", "--quiet", published.path, "clone", env={"PATH": path})
    found = files_of(Git(tmp_path / "clone"))
    expected = {
        name: pointer(content) if name.endswith(".dat") else content
        for name, content in FILES.items()
    }
    assert found == expected


def test_without_our_program_a_clone_through_the_helper_fails(
    published: Registry, tmp_path: Path
) -> None:
    done = Git(tmp_path).run(
        *("clone", f"datareg::{published.path}", "clone"),
        check=False,
        env={"PATH": path_without_us()},
    )
    assert done.returncode == 128
    assert not (tmp_path / "clone").exists()


def test_a_clone_of_a_tag_has_its_data(published: Registry, tmp_path: Path) -> None:
    cloned = clone(f"datareg::{published.path}", tmp_path / "clone", "--branch", "v1")
    assert files_of(cloned) == {**FILES, "data/small.dat": OLD_SMALL}


def test_a_clone_without_checkout_has_nothing_and_a_later_checkout_all(
    published: Registry, tmp_path: Path
) -> None:
    cloned = clone(f"datareg::{published.path}", tmp_path / "clone", "--no-checkout")
    assert files_of(cloned) == {}
    cloned.run("checkout", "--quiet")
    assert_whole(cloned)


def test_a_clone_that_skips_smudge_has_pointers(
    published: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DATAREG_SKIP_SMUDGE", "1")
    cloned = clone(f"datareg::{published.path}", tmp_path / "clone")
    assert files_of(cloned)["data/large.dat"] == pointer(FILES["data/large.dat"])
    assert cloned.status() == ""


@pytest.mark.parametrize("option", ["--bare", "--mirror"])
def test_a_clone_without_a_work_tree_has_all_refs_and_no_configuration_of_ours(
    published: Registry, tmp_path: Path, option: str
) -> None:
    cloned = clone(f"datareg::{published.path}", tmp_path / "clone.git", option)
    refs = ("for-each-ref", "--format=%(refname) %(objectname)")
    assert cloned.out(*refs) == published.remote.out(*refs)
    assert "filter" not in (cloned.path / "config").read_text()
    assert not (cloned.path / "hooks/pre-push").exists()


def test_a_mirror_follows_its_source(registry: Registry, tmp_path: Path) -> None:
    mirror = clone(f"datareg::{registry.path}", tmp_path / "mirror.git", "--mirror")
    registry.remote.run("branch", "later", "other")
    registry.remote.run("branch", "-D", "other")
    mirror.run("remote", "update", "--prune")
    branches = mirror.out("branch", "--format=%(refname:short)")
    assert branches.splitlines() == ["later", "main"]


def test_a_shallow_clone_is_shallow_and_can_be_deepened(registry: Registry, tmp_path: Path) -> None:
    registry.work.write("data/small.dat", b"third")
    registry.work.commit_all()
    registry.work.run("push", "--quiet")
    cloned = clone(f"datareg::{registry.path}", tmp_path / "clone", "--depth=1")
    count = ("rev-list", "--count", "HEAD")
    assert cloned.out(*count) == "1"
    cloned.run("fetch", "--quiet", "--deepen=1")
    assert cloned.out(*count) == "2"
    cloned.run("fetch", "--quiet", "--unshallow")
    assert cloned.out(*count) == "3"
    assert cloned.status() == ""


@pytest.mark.parametrize(
    "options",
    [
        ["--shallow-since=2000-01-01"],
        ["--shallow-exclude=v1"],
        ["--depth=1"],
        ["--depth=1", "--no-single-branch"],
        ["--single-branch", "--branch=other"],
        ["--no-tags"],
        ["--origin=upstream"],
        ["--branch=v1"],
        ["--no-checkout", "--jobs=2"],
    ],
)
def test_a_clone_has_the_same_history_and_refs_as_gits_own(
    published: Registry, tmp_path: Path, options: list[str]
) -> None:
    plain = clone(f"file://{published.path}", tmp_path / "plain", *options)
    ours = clone(f"datareg::file://{published.path}", tmp_path / "ours", *options)
    for question in (("rev-list", "--all", "HEAD"), ("show-ref",), ("status", "--branch")):
        assert ours.out(*question) == plain.out(*question)


def missing_count(git: Git) -> int:
    listed = git.out("rev-list", "--objects", "--all", "--missing=print").splitlines()
    return sum(line.startswith("?") for line in listed)


def test_a_partial_clone_fetches_later_what_it_lacks(published: Registry, tmp_path: Path) -> None:
    cloned = clone(f"datareg::{published.path}", tmp_path / "clone", "--filter=blob:none")
    assert_whole(cloned)
    assert missing_count(cloned) > 0
    config = cloned.out("config", "--local", "--get-regexp", "promisor|partialclone")
    assert sorted(config.lower().splitlines()) == [
        "remote.origin.partialclonefilter blob:none",
        "remote.origin.promisor true",
    ]
    cloned.run("checkout", "--quiet", "v1")
    assert files_of(cloned)["data/small.dat"] == OLD_SMALL
    cloned.run("log", "-p", "--all")
    assert missing_count(cloned) == 0


def test_a_partial_clone_fetches_new_commits_partially(registry: Registry, tmp_path: Path) -> None:
    cloned = clone(f"datareg::{registry.path}", tmp_path / "clone", "--filter=blob:none")
    before = missing_count(cloned)
    registry.work.write("more.txt", b"more")
    registry.work.commit_all()
    registry.work.run("push", "--quiet")
    cloned.run("fetch", "--quiet")
    assert missing_count(cloned) == before + 1
    cloned.run("merge", "--quiet", "--ff-only", "origin/main")
    assert (cloned.path / "more.txt").read_bytes() == b"more"


def test_a_partial_clone_without_trees_works(published: Registry, tmp_path: Path) -> None:
    cloned = clone(f"datareg::{published.path}", tmp_path / "clone", "--filter=tree:0")
    assert_whole(cloned)
    cloned.run("checkout", "--quiet", "v1")
    assert files_of(cloned)["data/small.dat"] == OLD_SMALL


@pytest.mark.parametrize("rule", ["file://{path}", "file://{parent}/", "file://"])
def test_a_url_that_git_turns_into_ours_serves_for_everything(
    registry: Registry, tmp_path: Path, rule: str
) -> None:
    plain = rule.format(path=registry.path, parent=registry.remote.path.parent)
    Git(tmp_path).run("config", "--global", f"url.datareg::{plain}.insteadOf", plain)
    cloned = clone(f"file://{registry.path}", tmp_path / "clone")
    assert_whole(cloned)
    cloned.write("data/small.dat", b"changed")
    cloned.commit_all()
    cloned.run("push", "--quiet")
    assert registry.remote.out("rev-parse", "main") == cloned.head()
    assert object_file(registry.storage, b"changed").is_file()


def test_a_url_that_git_turns_into_ours_serves_for_a_partial_clone(
    published: Registry, tmp_path: Path
) -> None:
    Git(tmp_path).run("config", "--global", "url.datareg::file://.insteadOf", "file://")
    cloned = clone(f"file://{published.path}", tmp_path / "clone", "--filter=blob:none")
    assert_whole(cloned)
    assert missing_count(cloned) > 0
    cloned.run("log", "-p", "--all")
    assert missing_count(cloned) == 0


def test_a_filter_that_can_not_be_passed_on_gives_a_whole_clone_and_a_warning(
    published: Registry, tmp_path: Path
) -> None:
    url = f"file://{published.path}"
    Git(tmp_path).run("config", "--global", f"url.datareg::{url}.insteadOf", url)
    done = Git(tmp_path).run("clone", "--filter=blob:none", url, "clone")
    assert "warning: no partial clone" in done.stderr
    assert missing_count(Git(tmp_path / "clone")) == 0


def test_submodules_are_cloned_with_their_data(registry: Registry, tmp_path: Path) -> None:
    allowed = [
        *("-c", "protocol.datareg.allow=always"),
        *("-c", "protocol.file.allow=always"),
    ]
    # Git has no submodule with another hash function.
    format = Git(Path(registry.path)).out("rev-parse", "--show-object-format")
    parent = Git(tmp_path / "parent").init(f"--object-format={format}")
    url = f"datareg::{registry.path}"
    parent.run(*allowed, "submodule", "--quiet", "add", url, "module")
    parent.commit_all()
    Git(tmp_path).run(*allowed, "clone", "--quiet", "--recurse-submodules", "parent", "clone")
    module = Git(tmp_path / "clone/module")
    assert_whole(module)
    # Nothing of it ends up in the repository around it.
    assert "datareg" not in (tmp_path / "clone/.git/hooks/pre-push").parent.glob("pre-push")
    assert "filter.datareg" not in Git(tmp_path / "clone").out("config", "--local", "--list")


def test_a_clone_with_a_separate_git_directory_has_the_data(
    published: Registry, tmp_path: Path
) -> None:
    cloned = clone(
        f"datareg::{published.path}", tmp_path / "clone", f"--separate-git-dir={tmp_path}/git"
    )
    assert_whole(cloned)


def test_a_clone_into_another_repository_leaves_that_one_alone(
    published: Registry, tmp_path: Path
) -> None:
    outer = Git(tmp_path / "outer").init()
    before = (outer.path / ".git/config").read_text()
    assert_whole(clone(f"datareg::{published.path}", outer.path / "inner"))
    assert (outer.path / ".git/config").read_text() == before


def test_a_registry_of_sha256_is_cloned(tmp_path: Path) -> None:
    registry = publish(tmp_path / "there", object_format="sha256")
    cloned = clone(f"datareg::{registry.path}", tmp_path / "clone")
    assert_whole(cloned)
    assert cloned.out("rev-parse", "--show-object-format") == "sha256"


def test_an_empty_registry_is_cloned_and_takes_the_first_push(tmp_path: Path) -> None:
    remote = Git(tmp_path / "r.git").init("--bare")
    done = Git(tmp_path).run("clone", f"datareg::{remote.path}", "clone")
    assert "empty repository" in done.stderr
    cloned = Git(tmp_path / "clone")
    cloned.run("datareg", "track", "*.dat")
    cloned.write("a.dat", b"first")
    cloned.commit_all()
    cloned.run("push", "--quiet", "origin", "main")
    assert remote.out("rev-parse", "main") == cloned.head()
    assert remote.run_bytes("show", "main:a.dat").stdout == pointer(b"first")
    assert len(objects_in(remote.path / "datareg")) == 1


def test_an_empty_registry_of_sha256_is_cloned_as_git_itself_does(tmp_path: Path) -> None:
    remote = Git(tmp_path / "r.git").init("--bare", "--object-format=sha256")
    formats = [
        clone(url, tmp_path / name).out("rev-parse", "--show-object-format")
        for name, url in (("plain", remote.path), ("ours", f"datareg::{remote.path}"))
    ]
    assert formats[0] == formats[1]


def test_an_empty_registry_of_sha256_takes_a_push(tmp_path: Path) -> None:
    remote = Git(tmp_path / "r.git").init("--bare", "--object-format=sha256")
    work = Git(tmp_path / "work").init("--object-format=sha256")
    work.run("commit", "--quiet", "--allow-empty", "--message", "first")
    work.run("push", "--quiet", f"datareg::{remote.path}", "main")
    assert remote.out("rev-parse", "main") == work.head()


def test_the_hooks_of_all_repositories_are_left_alone_by_a_clone(
    published: Registry, tmp_path: Path
) -> None:
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    Git(tmp_path).run("config", "--global", "core.hooksPath", str(hooks))
    assert_whole(clone(f"datareg::{published.path}", tmp_path / "clone"))
    assert not list(hooks.iterdir())


def test_a_clone_keeps_to_a_filter_that_is_configured_already(
    published: Registry, tmp_path: Path
) -> None:
    Git(tmp_path).run("datareg", "install", "--skip-smudge")
    cloned = clone(f"datareg::{published.path}", tmp_path / "clone")
    assert files_of(cloned)["data/small.dat"] == pointer(FILES["data/small.dat"])
    assert "filter" not in (cloned.path / ".git/config").read_text()


def test_an_object_that_is_missing_is_named_and_the_checkout_can_be_made_up_for(
    registry: Registry, tmp_path: Path
) -> None:
    hidden = registry.storage.rename(tmp_path / "hidden")
    done = Git(tmp_path).run("clone", f"datareg::{registry.path}", "clone", check=False)
    assert done.returncode == 128
    assert "git-datareg: error: data/" in done.stderr
    hidden.rename(registry.storage)
    cloned = Git(tmp_path / "clone")
    cloned.run("restore", "--source=HEAD", "--staged", "--worktree", ":/")
    assert_whole(cloned)


def test_the_umask_and_modes_of_the_source_do_not_matter(
    registry: Registry, tmp_path: Path
) -> None:
    tool = registry.work.write("tool.dat", b"#!/bin/sh\n", mode=0o755)
    registry.work.commit_all()
    registry.work.run("push", "--quiet")
    cloned = clone(f"datareg::{registry.path}", tmp_path / "clone")
    assert os.access(cloned.path / tool.name, os.X_OK)
    assert not os.access(cloned.path / "data/small.dat", os.X_OK)
