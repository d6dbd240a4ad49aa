from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from itertools import product
from pathlib import Path
from types import ModuleType

import pytest

from git_datareg import api, conflicts, delivery, files, importing, placing, recording, registry
from git_datareg.errors import DataregError, StorageUnavailableError
from git_datareg.git import index
from tests.support.consumers import FACES_NEW, FACES_OLD, Source, below, consumer, gallery
from tests.support.gitrun import FilterUse, Git

IDLE = FilterUse(starts=0, cleans=0, smudges=0)


@pytest.fixture
def source(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Source:
    return gallery(tmp_path_factory, tmp_path)


@pytest.fixture
def app(source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Git:
    """A consumer with an import at v1, the current directory; it follows what is at v2 now."""
    git = consumer(tmp_path / "app")
    monkeypatch.chdir(git.path)
    source.remote.run("branch", "follow", "v1")
    api.import_(source.url, "faces", rev="follow")
    git.commit_all()
    source.remote.run("branch", "--force", "follow", "v2")
    return git


def seen(git: Git) -> tuple[dict[str, bytes | str], str, list[str]]:
    found = below(git.path)
    tree = {name: found[name] for name in found if not name.startswith(".git/")}
    return tree, git.status(), git.out("ls-files", "--stage").splitlines()


#: Every step on the way, from the first that changes something.
STEPS: list[tuple[ModuleType, str]] = [
    (delivery, "bring"),
    (importing, "new_file"),
    (delivery, "build"),
    (importing, "_carry"),
    (files, "exchange"),
    (recording, "write_atomically"),
    (recording, "record"),
    (recording, "stage"),
    (index, "stage"),
]


def failing(fault: BaseException) -> Callable[..., object]:
    def fail(*args: object, **kwargs: object) -> object:
        raise fault

    return fail


FAULTS = (OSError(errno.ENOSPC, "full"), KeyboardInterrupt())


def test_a_fault_at_any_step_undoes_all_steps(app: Git, monkeypatch: pytest.MonkeyPatch) -> None:
    app.write("faces/own.txt", b"mine")
    app.write(".gitattributes", (app.path / ".gitattributes").read_bytes() + b"# mine\n")
    before = seen(app)
    for (module, name), fault in product(STEPS, FAULTS):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, failing(fault))
            # Only what changes the attributes writes them.
            if name == "write_atomically":
                patch.setattr(
                    recording.attributes, "with_import", lambda text, *_, **__: text + b"#"
                )
            with pytest.raises((DataregError, OSError, KeyboardInterrupt)):
                api.update("faces")
        assert seen(app) == before, (name, fault)
    api.update("faces")
    assert below(app.path / "faces") == {**FACES_NEW, "own.txt": b"mine"}


@pytest.mark.parametrize("name", ["record", "refresh"])
def test_an_import_is_there_or_it_is_not(
    app: Git, source: Source, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = seen(app)
    with monkeypatch.context() as patch:
        patch.setattr(recording, name, failing(OSError(errno.EIO, "broken")))
        with pytest.raises((StorageUnavailableError, OSError)):
            api.import_(source.url, "model.bin", "new/place")
    if name == "record":
        assert seen(app) == before
        assert not (app.path / "new").exists()
    else:
        # All is done by then, but for git's knowledge of times.
        assert {line[:2] for line in app.status().splitlines()} == {"A "}


def test_a_file_system_without_links_is_no_obstacle(
    app: Git, monkeypatch: pytest.MonkeyPatch
) -> None:
    app.write("faces/own.txt", b"mine")
    real = os.link

    def link(source: str, target: str, **options: object) -> None:
        if "datareg-new" in os.fsdecode(target) or "dst_dir_fd" in options:
            raise OSError(errno.EPERM, "no links")
        real(source, target, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", link)
        api.update("faces")
    assert below(app.path / "faces") == {**FACES_NEW, "own.txt": b"mine"}
    assert app.filter_use("status") == IDLE


def test_a_file_that_is_written_meanwhile_is_no_files_of_ours(
    app: Git, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = recording.refresh

    def refresh(*args: object) -> None:
        (app.path / "faces/a.jpg").write_bytes(b"mine")
        real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(recording, "refresh", refresh)
    api.update("faces")
    assert " M faces/a.jpg" in app.status() or "MM faces/a.jpg" in app.status()


def test_another_git_with_the_index_costs_only_time(
    app: Git, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording.gitindex, "patch_file", lambda *_: frozenset())
    api.update("faces")
    assert below(app.path / "faces") == FACES_NEW
    assert {line[1] for line in app.status().splitlines()} == {" "}


def test_what_only_seems_to_be_the_renamed_file_is_fetched(
    app: Git, source: Source, home: Path
) -> None:
    source.work.run("mv", "faces/sub/c.bin", "faces/sub/renamed.bin")
    source.publish()
    source.remote.run("branch", "--force", "follow", "main")
    shutil.rmtree(home / "datareg-cache")
    file = app.path / "faces/sub/c.bin"
    before = file.stat()
    app.run("config", "core.trustctime", "false")
    file.write_bytes(bytes(before.st_size))
    os.utime(file, ns=(before.st_mtime_ns, before.st_mtime_ns))
    assert app.status() == ""
    assert api.update("faces").fetched == 3
    assert (app.path / "faces/sub/renamed.bin").read_bytes() == FACES_NEW["sub/c.bin"]


def test_plain_files_are_stored_in_parts(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        source.work.write(f"texts/{number}", b"%d" % number * 100)
    source.publish()
    git = consumer(tmp_path / "app")
    monkeypatch.chdir(git.path)
    monkeypatch.setattr(importing, "_PART", 150)
    monkeypatch.setattr(registry, "_PART", 150)
    api.import_(source.url, "texts")
    git.run("fsck", "--strict")
    git.commit_all()
    assert len(below(git.path / "texts")) == 5


def test_the_group_of_a_directory_goes_on(app: Git) -> None:
    (app.path / "faces").chmod(0o775)
    api.update("faces")
    assert (app.path / "faces").stat().st_mode & 0o777 == 0o775


def test_files_are_old_enough_for_git_to_trust_the_index(app: Git) -> None:
    limit = (app.path / ".git/index").stat().st_mtime_ns
    api.update("faces")
    for path in (app.path / "faces").rglob("*.jpg"):
        assert path.lstat().st_mtime_ns < limit or path.is_symlink()
    assert placing.safe_mtime(str(app.path / ".git/index")) < limit


def test_what_was_left_by_hand_counts_as_it_is(app: Git, source: Source) -> None:
    # The metafile is gone, and so is what Git knows: just files, as an import brings them.
    source.remote.run("branch", "--force", "follow", "v1")
    app.run("rm", "--quiet", "--cached", "-r", "faces", "faces.datareg")
    (app.path / "faces.datareg").unlink()
    shutil.copytree(app.path / "faces", app.path.parent / "aside", symlinks=True)
    api.import_(source.url, "faces", rev="follow")
    assert below(app.path / "faces") == FACES_OLD
    (app.path / "faces.datareg").unlink()
    (app.path / "faces/more").touch()
    with pytest.raises(FileExistsError):
        api.import_(source.url, "faces", rev="follow")
    assert conflicts.__name__
