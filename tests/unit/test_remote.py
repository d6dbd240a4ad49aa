"""What the helper asks its gits; whole conversations are in tests/integration."""

from __future__ import annotations

from pathlib import Path

import pytest

from git_datareg import remote
from git_datareg.errors import GitError, RepositoryNotFoundError
from git_datareg.git import repository
from git_datareg.protocol.remote_helper import PushResult, PushSpec, Ref
from git_datareg.remote import Options
from tests.support.gitrun import Git


@pytest.fixture
def there(tmp_path: Path) -> Git:
    """A repository with two branches and an annotated tag."""
    git = Git(tmp_path / "there").init()
    git.run("commit", "--quiet", "--allow-empty", "--message", "one")
    git.run("branch", "other")
    git.run("tag", "--annotate", "--message", "x", "v1")
    return git


def test_options_of_a_fetch_are_passed_on() -> None:
    options = Options()
    for name, value in (
        ("depth", "3"),
        ("deepen-since", "2001"),
        ("deepen-not", "a"),
        ("deepen-not", "b"),
        ("filter", "blob:none"),
        ("update-shallow", "true"),
        ("refetch", "false"),
        ("progress", "true"),
        ("family", "ipv4"),
        ("verbosity", "3"),
    ):
        assert options.set(name, value)
    assert list(options.for_fetch()) == [
        "--depth=3",
        "--shallow-since=2001",
        "--shallow-exclude=a",
        "--shallow-exclude=b",
        "--filter=blob:none",
        "--update-shallow",
        "--ipv4",
        "--verbose",
        "--verbose",
        "--progress",
    ]
    assert options.has_filter


def test_a_relative_depth_deepens() -> None:
    options = Options()
    options.set("depth", "2")
    options.set("deepen-relative", "true")
    assert list(options.for_fetch()) == ["--deepen=2"]


def test_options_of_a_push_are_passed_on_but_never_quiet() -> None:
    options = Options()
    for name, value in (
        ("verbosity", "0"),
        ("progress", "false"),
        ("dry-run", "true"),
        ("atomic", "true"),
        ("cas", "refs/heads/a:1"),
        ("push-option", "x y"),
        ("push-option", "z"),
    ):
        assert options.set(name, value)
    assert list(options.for_push()) == [
        "--dry-run",
        "--atomic",
        "--force-with-lease=refs/heads/a:1",
        "--push-option=x y",
        "--push-option=z",
        "--no-progress",
    ]
    assert "--quiet" in list(options.for_fetch())


def test_an_option_that_is_not_known_is_not_taken() -> None:
    options = Options()
    assert not options.set("pushcert", "true")
    assert options.verbosity == 1
    options.set("verbosity", "x")
    assert options.verbosity == 1
    assert not options.asks_object_format
    options.set("object-format", "")
    assert options.asks_object_format


def test_a_remote_is_told_from_a_bare_url(there: Git, tmp_path: Path) -> None:
    here = Git(tmp_path / "here").init()
    here.run("remote", "add", "origin", f"datareg::{there.path}")
    opened = repository.find(str(here.path))
    url = str(there.path)
    named = remote.find("origin", url, str(tmp_path), opened)
    assert (named.is_configured, named.can_filter, named.inner) == (True, True, url)
    bare = remote.find(f"datareg::{url}", url, str(tmp_path), opened)
    assert (bare.is_configured, bare.can_filter) == (False, True)
    other = remote.find("origin", "/other", str(tmp_path), opened)
    assert (other.is_configured, other.can_filter) == (False, False)
    relative = remote.find("x", "there", str(tmp_path), None)
    assert relative.location.url == url
    assert not named.is_itself
    assert remote.find("x", str(here.path), str(tmp_path), opened).is_itself


def test_refs_come_with_head_and_peeled_tags_but_not_for_a_push(there: Git, tmp_path: Path) -> None:
    target = remote.find("x", "there", str(tmp_path), None)
    head, tag = there.head(), there.out("rev-parse", "v1")
    branches = (Ref("refs/heads/main", head), Ref("refs/heads/other", head))
    assert remote.refs(target, for_push=False) == (
        Ref("HEAD", symref="refs/heads/main"),
        *branches,
        Ref("refs/tags/v1", tag),
        Ref("refs/tags/v1^{}", head),
    )
    assert remote.refs(target, for_push=True) == (*branches, Ref("refs/tags/v1", tag))


def test_a_detached_head_is_an_id(there: Git, tmp_path: Path) -> None:
    there.run("checkout", "--quiet", "--detach")
    target = remote.find("x", "there", str(tmp_path), None)
    assert remote.refs(target, for_push=False)[0] == Ref("HEAD", there.head())


def test_what_can_not_be_read_is_an_error(tmp_path: Path) -> None:
    for url, kind in (("nothing", RepositoryNotFoundError), ("http://127.0.0.1:1/r", GitError)):
        with pytest.raises(kind):
            remote.refs(remote.find("x", url, str(tmp_path), None), for_push=False)


def test_the_hash_is_told_by_refs_or_by_the_repository(there: Git, tmp_path: Path) -> None:
    Git(tmp_path / "new.git").init("--bare", "--object-format=sha256")
    new = remote.find("x", "new", str(tmp_path), None)
    assert remote.object_format(new, [Ref("HEAD", symref="x")], "sha1") == "sha256"
    assert remote.object_format(new, [Ref("a", "1" * 40)], "sha256") == "sha1"
    assert remote.object_format(new, [Ref("a", "1" * 64)], "sha1") == "sha256"
    far = remote.find("x", "host:path", str(tmp_path), None)
    assert remote.object_format(far, [], "sha256") == "sha256"
    gone = remote.find("x", "gone", str(tmp_path), None)
    assert remote.object_format(gone, [], "sha1") == "sha1"


def test_each_ref_of_a_push_has_its_result(
    there: Git, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there.run("config", "receive.denyCurrentBranch", "refuse")
    here = Git(tmp_path / "here").init()
    here.run("commit", "--quiet", "--allow-empty", "--message", "other")
    monkeypatch.chdir(here.path)
    # In two parts, as very many are.
    monkeypatch.setattr(remote, "_REFSPECS", 2)
    target = remote.find("x", str(there.path), str(tmp_path), None)
    specs = [
        PushSpec(False, "refs/heads/main", "refs/heads/new"),
        PushSpec(False, "refs/heads/main", "refs/heads/other"),
        PushSpec(True, "refs/heads/main", "refs/heads/main"),
        PushSpec(False, "", "refs/tags/v1"),
    ]
    assert remote.push(target, specs, Options()) == [
        PushResult("refs/heads/new"),
        PushResult("refs/heads/other", "fetch first"),
        PushResult("refs/heads/main", "branch is currently checked out"),
        PushResult("refs/tags/v1"),
    ]
    again = [PushSpec(False, "refs/heads/main", "refs/heads/new")]
    assert remote.push(target, again, Options()) == [PushResult("refs/heads/new", "up to date")]
    with pytest.raises(GitError, match="git can't push to"):
        remote.push(target, [PushSpec(False, "refs/heads/gone", "refs/heads/x")], Options())
