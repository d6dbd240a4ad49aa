"""What a push needs, by history; whole pushes are in tests/integration/test_push.py."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from git_datareg import projects, pushing
from git_datareg.errors import ObjectNotFoundError, PartialError, PointerError
from git_datareg.git import repository
from git_datareg.location import Location
from git_datareg.pointer import Pointer
from git_datareg.projects import Project
from git_datareg.pushing import Destination
from tests.support.filtered import object_file, pointer
from tests.support.gitrun import Git
from tests.support.storages import Progress


@pytest.fixture
def git(tmp_path: Path) -> Git:
    """A repository of pointers, without their objects: plans look at Git alone."""
    git = Git(tmp_path / "work").init()
    Git(tmp_path / "remote.git").init("--bare")
    git.run("remote", "add", "origin", "../remote.git")
    return git


def commit(git: Git, **files: bytes) -> str:
    for name, content in files.items():
        git.write(name, pointer(content))
    return git.commit_all()


def opened(git: Git) -> Project:
    return projects.open_project(repository.find(str(git.path)), os.environ)


def pointers(*contents: bytes) -> set[Pointer]:
    parsed = {Pointer.parse(pointer(content)) for content in contents}
    return {each for each in parsed if each is not None}


def test_a_plan_has_what_is_new_with_a_path(git: Git) -> None:
    first = commit(git, a=b"one", b=b"two")
    git.write("plain", b"no pointer")
    second = commit(git, a=b"more than three", c=b"two")
    project = opened(git)
    plan = pushing.plan(project, [second], [first], None)
    assert {path for path in plan.pointers.values()} == {b"a"}
    assert set(plan.pointers) == pointers(b"more than three")
    assert plan.size == 15
    whole = pushing.plan(project, [second], [], None)
    assert set(whole.pointers) == pointers(b"one", b"two", b"more than three")
    assert pushing.plan(project, [], [], None).pointers == {}
    assert pushing.plan(project, [first], [second], None).pointers == {}


def test_commits_that_are_not_here_bound_nothing(git: Git) -> None:
    head = commit(git, a=b"one")
    assert set(pushing.plan(opened(git), [head], ["1" * 40], None).pointers) == pointers(b"one")


def test_what_a_remotes_branches_have_is_old(git: Git) -> None:
    first = commit(git, a=b"one")
    git.run("update-ref", "refs/remotes/origin/main", first)
    second = commit(git, b=b"two")
    project = opened(git)
    assert set(pushing.plan(project, [second], [], "origin").pointers) == pointers(b"two")
    assert set(pushing.plan(project, [second], [], "ori").pointers) == pointers(b"one", b"two")


def test_everything_is_what_any_ref_has(git: Git) -> None:
    commit(git, a=b"one")
    git.run("checkout", "--quiet", "--detach")
    commit(git, b=b"two")
    git.run("tag", "of-a-blob", "HEAD:b")
    assert set(pushing.everything(opened(git)).pointers) == pointers(b"one", b"two")


def test_a_pointer_that_is_not_understood_is_named(git: Git) -> None:
    git.write("odd", pointer(b"x").replace(b"pointer 1", b"pointer 9"))
    head = git.commit_all()
    with pytest.raises(PointerError, match=r"^odd: "):
        pushing.plan(opened(git), [head], [], None)
    id = git.out("rev-parse", "HEAD:odd")
    with pytest.raises(PointerError, match=f"^{id}: "):
        pushing.plan(opened(git), [id], [], None)


def test_earlier_pushes_count_only_where_something_was_stored(git: Git, tmp_path: Path) -> None:
    first = commit(git, a=b"one")
    git.run("push", "--quiet", "origin", "main")
    second = commit(git, b=b"two")
    project = opened(git)
    place = Location(f"{tmp_path}/remote.git")
    named, unnamed = Destination(place, "origin"), Destination(place, None)
    everything = pointers(b"one", b"two")
    assert set(pushing.plan_push(project, [second], [first], named).pointers) == everything
    (tmp_path / "remote.git/datareg").mkdir()
    (tmp_path / "remote.git/datareg/datareg.json").write_text('{"format": 1, "features": []}')
    for destination, old in ((named, []), (unnamed, [first]), (named, [first])):
        plan = pushing.plan_push(project, [second], old, destination)
        assert set(plan.pointers) == pointers(b"two")
    assert set(pushing.plan_push(project, [second], [], unnamed).pointers) == everything
    # It was asked, and has no such branch any more.
    asked = Destination(place, "origin", frozenset(("refs/heads/other",)))
    assert set(pushing.plan_push(project, [second], [], asked).pointers) == everything
    assert pushing.plan_push(project, [], [], named).pointers == {}


def test_a_branch_that_the_remote_never_had_does_not_count(git: Git, tmp_path: Path) -> None:
    (tmp_path / "remote.git/datareg").mkdir()
    (tmp_path / "remote.git/datareg/datareg.json").write_text('{"format": 1, "features": []}')
    first = commit(git, a=b"one")
    git.run("update-ref", "refs/remotes/origin/main", first)
    destination = Destination(Location(f"{tmp_path}/remote.git"), "origin")
    plan = pushing.plan_push(opened(git), [first], [], destination)
    assert set(plan.pointers) == pointers(b"one")


def test_objects_are_stored_once_and_the_marker_comes_last(git: Git, tmp_path: Path) -> None:
    head = commit(git, a=b"one", b=b"two")
    own = git.path / ".git/datareg"
    for content in (b"one", b"two"):
        object_file(own, content).parent.mkdir(parents=True)
        object_file(own, content).write_bytes(content)
    project = opened(git)
    plan = pushing.plan(project, [head], [], None)
    place = tmp_path / "remote.git/datareg"
    remote = Location(f"{tmp_path}/remote.git")
    object_file(own, b"two").rename(tmp_path / "hidden")
    with pytest.raises(PartialError, match="1 of 2 objects could not be stored") as caught:
        pushing.store(project, plan, remote)
    [failure] = caught.value.failures
    assert isinstance(failure, ObjectNotFoundError)
    assert failure.message.startswith("b: object ")
    assert not (place / "datareg.json").exists()
    (tmp_path / "hidden").rename(object_file(own, b"two"))
    progress = Progress()
    stored = pushing.store(project, plan, remote, jobs=1, advance=progress)
    assert stored is not None
    assert (stored.new, stored.needed, str(stored)) == (1, 2, str(place))
    assert (progress.size, progress.objects) == (6, 2)
    assert (place / "datareg.json").is_file()
    again = pushing.store(project, plan, remote)
    assert again is not None and again.new == 0
    assert pushing.store(project, pushing.Plan({}), remote) is None
