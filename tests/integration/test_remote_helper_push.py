"""`git push` through `datareg::`: every form of it does with refs what git's own push does.

Each story is told to two remotes, one reached through the helper and one by its
plain path. Refs and exit codes must be the same at the end.
"""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.filtered import object_file
from tests.support.gitrun import Git, clone
from tests.support.registries import SAME_TIME, Registry, copied, objects_in, publish, refs_of
from tests.support.shared import made_once

#: What is done in the clone, one git command a line, on a remote that has
#: `main` and `other`, and to which somebody has pushed `theirs`, unknown here.
STORIES = {
    "new branch": "push origin main:refs/heads/new",
    "current branch": "push origin HEAD",
    "upstream": "push -u origin topic\nrev-parse topic@{upstream}",
    "several": "push origin topic main:refs/heads/second",
    "delete": "push origin --delete other",
    "delete by refspec": "push origin :other",
    "delete what is not there": "push origin :nothing",
    "not a fast-forward": "reset -q --hard main~1\ncommit -q --allow-empty -m x\npush origin main",
    "forced": "reset -q --hard main~1\ncommit -q --allow-empty -m x\npush --force origin main",
    "forced by refspec": "reset -q --hard main~1\npush origin +main",
    "lease that holds": "reset -q --hard main~1\npush --force-with-lease origin main",
    "lease that is named": "push --force-with-lease=other:v1^{commit} origin topic:other",
    "lease that is stale": "push --force-with-lease=other:main origin topic:other",
    "lease on what is not there": "push --force-with-lease=new: origin topic:new",
    "lease and includes": "push --force-with-lease --force-if-includes origin topic",
    "fetch first": "push origin topic:theirs",
    "one of them rejected": "push origin topic topic:theirs main:refs/heads/new",
    "atomic": "push --atomic origin topic main:refs/heads/new",
    "atomic, one rejected": "push --atomic origin topic topic:theirs",
    "tag": "tag v2\npush origin v2",
    "annotated tag": "tag -am two v2\npush origin v2",
    "tags": "tag v2\ntag -am three v3\npush --tags origin",
    "tag that is there": "tag -f v1 main\npush origin v1",
    "tag that is there, forced": "tag -f v1 main\npush --force origin v1",
    "follow tags": "tag -am two v2 topic\ntag light topic\npush --follow-tags origin topic",
    "all": "push --all origin",
    "mirror": "update-ref -d refs/remotes/origin/HEAD\npush --mirror origin",
    "prune": "branch -D other\npush --prune origin refs/heads/*",
    "dry run": "push --dry-run origin topic",
    "dry run rejected": "push --dry-run origin topic:theirs",
    "porcelain": "push --porcelain origin topic",
    "quiet": "push -q origin topic",
    "verbose": "push -v origin topic",
    "no thin": "push --no-thin origin topic",
    "nothing matches": "push origin nothing",
    "up to date": "push origin main",
    "note": "notes add -m note main\npush origin refs/notes/commits",
    "tag of a blob": "tag blob main:plain.txt\npush origin blob",
    "tag of a tree": "tag tree main:data\npush origin tree",
    "a commit by its id": "push origin topic~0:refs/heads/new",
    "odd names": (
        "branch with/slash\nbranch ünïcode\nbranch 'q\"uote'\nbranch a+b@c,d=e%f#g$h\n"
        "push origin with/slash ünïcode 'q\"uote' 'a+b@c,d=e%f#g$h'"
    ),
    "ipv4": "push -4 origin topic",
}


class Twins(NamedTuple):
    """A clone, and where it pushes to."""

    ours: Registry
    plain: Registry


def make(directory: Path) -> None:
    """A registry in whose clone there is a branch to push, and which has one that is unknown."""
    registry = publish(directory)
    other = clone(registry.path, directory / "other")
    other.run("checkout", "--quiet", "-b", "theirs", "v1")
    other.run("commit", "--quiet", "--allow-empty", "--message", "theirs")
    other.run("push", "--quiet", "origin", "theirs")
    work = registry.work
    work.run("checkout", "--quiet", "-b", "topic")
    work.write("topic.dat", b"topic")
    work.commit_all("topic")
    work.run("checkout", "--quiet", "main")


@pytest.fixture
def twins(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Twins:
    directory = made_once(tmp_path_factory, "pushes", make)
    template = Registry(Git(directory / "registry.git"), Git(directory / "work"))
    twins = Twins(copied(template, tmp_path / "ours"), copied(template, tmp_path / "plain"))
    url = "datareg::../registry.git"
    twins.ours.work.run("remote", "set-url", "origin", url)
    return twins


def tell(git: Git, story: str) -> list[int]:
    """The exit code of each command; commits and tags that it makes have the same id anywhere."""
    lines = [shlex.split(line) for line in story.splitlines()]
    return [git.run(*line, check=False, env=SAME_TIME).returncode for line in lines]


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize("story", STORIES)
def test_a_push_does_what_gits_own_does(twins: Twins, story: str) -> None:
    codes = [tell(each.work, STORIES[story]) for each in twins]
    assert codes[0] == codes[1]
    assert refs_of(twins.ours.remote) == refs_of(twins.plain.remote)
    assert refs_of(twins.ours.work) == refs_of(twins.plain.work)


def test_what_is_rejected_is_said_in_gits_words(twins: Twins) -> None:
    commands = {
        "topic:theirs": "(fetch first)",
        "v1^{commit}:main": "(non-fast-forward)",
        "main:refs/tags/v1": "(already exists)",
    }
    for refspec, reason in commands.items():
        for each in twins:
            done = each.work.run("push", "origin", refspec, check=False)
            assert done.returncode == 1
            assert reason in done.stderr


def test_a_hook_of_the_remote_that_declines_is_heard(twins: Twins) -> None:
    hook = twins.ours.remote.path / "hooks/pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho no thanks >&2\nexit 1\n")
    hook.chmod(0o755)
    done = twins.ours.work.run("push", "origin", "topic", check=False)
    assert done.returncode == 1
    assert "no thanks" in done.stderr
    assert "[remote rejected] topic -> topic (pre-receive hook declined)" in done.stderr


def test_push_options_reach_the_remote(twins: Twins, tmp_path: Path) -> None:
    remote = twins.ours.remote
    remote.run("config", "receive.advertisePushOptions", "true")
    hook = remote.path / "hooks/pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(
        f'#!/bin/sh\necho "$GIT_PUSH_OPTION_COUNT:$GIT_PUSH_OPTION_0:$GIT_PUSH_OPTION_1"'
        f" > {tmp_path}/options\n"
    )
    hook.chmod(0o755)
    twins.ours.work.run("push", "-o", "one two", "-o", 'thr"ee', "origin", "topic")
    assert (tmp_path / "options").read_text() == '2:one two:thr"ee\n'


def test_push_options_that_the_remote_does_not_take_are_an_error(twins: Twins) -> None:
    done = twins.ours.work.run("push", "-o", "x", "origin", "topic", check=False)
    assert done.returncode != 0
    assert "refs/heads/topic" not in refs_of(twins.ours.remote)


def test_the_remotes_hooks_see_nothing_of_ours(twins: Twins, tmp_path: Path) -> None:
    # A hook that deploys must get data, whatever we tell our own gits.
    hook = twins.ours.remote.path / "hooks/post-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\nenv > {tmp_path}/environment\n")
    hook.chmod(0o755)
    twins.ours.work.run("push", "--quiet", "origin", "topic")
    lines = (tmp_path / "environment").read_text().splitlines()
    names = {line.partition("=")[0] for line in lines}
    assert not names & {"GIT_DATAREG_SKIP_SMUDGE", "GIT_OPTIONAL_LOCKS", "GIT_WORK_TREE"}
    assert "GIT_DIR=." in lines


def test_a_dry_run_uploads_nothing(twins: Twins) -> None:
    before = objects_in(twins.ours.storage)
    twins.ours.work.run("push", "--dry-run", "origin", "topic")
    assert objects_in(twins.ours.storage) == before


def test_a_rejected_push_leaves_refs_and_a_later_one_needs_no_upload(twins: Twins) -> None:
    work = twins.ours.work
    assert work.run("push", "origin", "topic:theirs", check=False).returncode == 1
    assert object_file(twins.ours.storage, b"topic").is_file()
    done = work.run("push", "origin", "topic")
    assert "stored" not in done.stderr


def test_when_data_can_not_be_stored_each_ref_is_refused(twins: Twins) -> None:
    work = twins.ours.work
    object_file(work.path / ".git/datareg", b"topic").unlink()
    before = refs_of(twins.ours.remote)
    done = work.run("push", "origin", "topic", "main:refs/heads/new", check=False)
    assert done.returncode == 1
    for refspec in ("topic -> topic", "main -> new"):
        assert f"[remote rejected] {refspec} (its data could not be stored)" in done.stderr
    assert refs_of(twins.ours.remote) == before


def test_a_push_without_a_name_for_the_remote(twins: Twins) -> None:
    work = twins.ours.work
    work.run("push", "--quiet", f"datareg::{twins.ours.path}", "topic")
    assert "refs/heads/topic" in refs_of(twins.ours.remote)
    assert object_file(twins.ours.storage, b"topic").is_file()


def test_a_push_to_all_urls_of_a_remote(twins: Twins) -> None:
    work = twins.ours.work
    for each in twins:
        work.run("remote", "set-url", "--push", "--add", "origin", f"datareg::{each.path}")
    work.run("push", "--quiet", "origin", "topic")
    for each in twins:
        assert "refs/heads/topic" in refs_of(each.remote)
        assert object_file(each.storage, b"topic").is_file()


def test_many_refs_are_pushed_listed_and_fetched(tmp_path: Path) -> None:
    remote = Git(tmp_path / "r.git").init("--bare")
    work = Git(tmp_path / "work").init()
    work.run("datareg", "init")
    work.run("datareg", "track", "*.dat")
    work.write("a.dat", b"first")
    work.commit_all()
    # More than a pipe holds (64 KiB), in either direction.
    number, long = 400, "x" * 200
    head, tree = work.head(), work.out("rev-parse", "HEAD^{tree}")
    commits = "".join(
        f"commit refs/heads/{long}-{each}\ncommitter A <a@b> {each} +0000\ndata 1\nx\n"
        f"from {head}\nM 040000 {tree} \n\n"
        for each in range(number)
    )
    work.run("fast-import", "--quiet", input=commits)
    work.run("remote", "add", "origin", f"datareg::{remote.path}")
    work.run("push", "--quiet", "--all", "origin")
    assert len(refs_of(remote)) == number + 1
    assert object_file(remote.path / "datareg", b"first").is_file()
    cloned = clone(f"datareg::{remote.path}", tmp_path / "clone")
    assert (cloned.path / "a.dat").read_bytes() == b"first"
    assert len(cloned.out("branch", "-r").splitlines()) == number + 2


def test_a_push_to_a_storage_of_its_own_needs_nothing_beside_the_remote(
    twins: Twins, tmp_path: Path
) -> None:
    shutil.rmtree(twins.ours.storage)
    work = twins.ours.work
    work.run("datareg", "storage", "add", "-d", "own", str(tmp_path / "storage"))
    work.run("push", "--quiet", "origin", "topic")
    assert object_file(tmp_path / "storage", b"topic").is_file()
    assert not twins.ours.storage.exists()
