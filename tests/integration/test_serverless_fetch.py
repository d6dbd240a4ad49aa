"""`git fetch`, `git pull` and `git ls-remote` from a serverless registry, as from a Git repository.

The stories are those of `test_remote_helper_fetch`.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.integration.test_remote_helper_fetch import STORIES, make, told_alike
from tests.support.gitrun import Git
from tests.support.registries import Registry, copied
from tests.support.served import NAME, copied_directory, serve
from tests.support.shared import made_once


def make_served(directory: Path) -> None:
    make(directory)
    serve(Git(directory / "registry.git"), str(directory / NAME))


@pytest.fixture
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry of either kind, and a clone of its first state; for reading only."""
    return made_once(tmp_path_factory, "serverless-fetches", make_served)


@pytest.fixture
def clones(template: Path, tmp_path: Path) -> list[Git]:
    """The clone with a serverless registry for its remote, and as git alone would have it."""
    for name in ("ours", "plain"):
        registry = Registry(Git(template / "registry.git"), Git(template / "clone"))
        copied(registry, tmp_path / name)
    shutil.rmtree(tmp_path / "ours" / "registry.git")
    copied_directory(template / NAME, tmp_path / "ours" / "registry.git")
    clones = [Git(tmp_path / name / "clone") for name in ("ours", "plain")]
    clones[0].run("remote", "set-url", "origin", "datareg::../registry.git")
    clones[1].run("remote", "set-url", "origin", "../registry.git")
    return clones


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize("story", STORIES)
def test_it_does_what_gits_own_does(clones: list[Git], story: str) -> None:
    told_alike(*clones, STORIES[story])
