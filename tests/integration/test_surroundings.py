"""What lies around a command: no home, and things in places where files are expected."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import githttp
from tests.support.consumers import (
    FACES_OLD,
    MODEL,
    Source,
    below,
    consumer,
    datareg,
    fault,
    gallery,
)
from tests.support.filtered import data, pointer
from tests.support.gitrun import Git

NO_CACHE = "no place for the cache: HOME is not set"


@pytest.fixture
def source(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Source:
    return gallery(tmp_path_factory, tmp_path)


@pytest.fixture
def homeless(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a service or a container that says nothing of a home."""
    for name in ("HOME", "XDG_CACHE_HOME", "GIT_DATAREG_CACHE"):
        monkeypatch.delenv(name)


@pytest.mark.usefixtures("homeless")
def test_without_a_home_all_works_that_needs_no_cache(source: Source, tmp_path: Path) -> None:
    assert "faces\n" in datareg(tmp_path, "list", source.url).stdout
    assert "data" in datareg(tmp_path, "list", "-l", source.url, "model.bin").stdout
    datareg(tmp_path, "get", source.url, "notes.txt")
    assert (tmp_path / "notes.txt").read_bytes() == b"notes\n"
    assert datareg(tmp_path, "get", "--show-url", source.url, "model.bin").stdout.endswith("\n")
    git = source.work
    git.write("new.bin", data("new"))
    git.commit_all("new")
    git.run("push", "--quiet", "origin", "main")
    assert source.object(data("new")).is_file()
    (git.path / "new.bin").unlink()
    git.run("checkout", "--quiet", ".")
    assert (git.path / "new.bin").read_bytes() == data("new")
    for command in ("status", "ls-files", "env", "storage", "track", "pull", "checkout", "fetch"):
        assert datareg(git, command).stderr.count("error") == 0


@pytest.mark.usefixtures("homeless")
def test_what_needs_the_cache_says_that_it_has_no_place(source: Source, tmp_path: Path) -> None:
    fault(datareg(tmp_path, "get", source.url, "model.bin", check=False), 2, NO_CACHE, "hint: set ")
    app = consumer(tmp_path / "app")
    fault(datareg(app, "import", source.url, "faces", check=False), 2, NO_CACHE)
    assert app.status() == ""
    with githttp.serve(tmp_path) as url:
        for command in ("list", "get"):
            done = datareg(tmp_path, command, f"{url}/gallery.git", "notes.txt", check=False)
            fault(done, 2, NO_CACHE)
    cache = {"GIT_DATAREG_CACHE": str(tmp_path / "cache")}
    datareg(tmp_path, "get", source.url, "model.bin", env=cache)
    assert (tmp_path / "model.bin").read_bytes() == MODEL


@pytest.mark.usefixtures("homeless")
def test_a_clone_without_a_place_for_the_cache_ends_and_says_why(
    source: Source, tmp_path: Path
) -> None:
    done = Git(tmp_path).run("clone", "--quiet", f"datareg::{source.url}", "copy", check=False)
    assert NO_CACHE in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "copy/model.bin").exists()
