"""`git push` to a serverless registry: every form of it does what it does to a Git repository.

The stories are those of `test_remote_helper_push`.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from tests.integration.test_remote_helper_push import STORIES, make, tell
from tests.support.gitrun import Git, clone
from tests.support.registries import Registry, copied, files_of, refs_of
from tests.support.served import NAME, copied_directory, refs_at, serve
from tests.support.shared import made_once


def make_served(directory: Path) -> None:
    make(directory)
    serve(Git(directory / "registry.git"), str(directory / NAME))


class Twins(NamedTuple):
    """Two clones of the same history, of which ours pushes to a serverless registry."""

    ours: Git
    url: str
    plain: Registry

    def refs(self) -> dict[str, str]:
        return refs_at(self.url, self.ours.path)


@pytest.fixture
def twins(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Twins:
    directory = made_once(tmp_path_factory, "serverless-pushes", make_served)
    template = Registry(Git(directory / "registry.git"), Git(directory / "work"))
    ours = copied(template, tmp_path / "ours").work
    url = f"datareg::{tmp_path}/ours/{NAME}"
    copied_directory(directory / NAME, tmp_path / "ours" / NAME)
    ours.run("remote", "set-url", "origin", url)
    return Twins(ours, url, copied(template, tmp_path / "plain"))


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize("story", STORIES)
def test_a_push_does_what_it_does_to_a_repository(twins: Twins, tmp_path: Path, story: str) -> None:
    codes = [tell(each, STORIES[story]) for each in (twins.ours, twins.plain.work)]
    assert codes[0] == codes[1]
    assert twins.refs() == refs_of(twins.plain.remote)
    assert refs_of(twins.ours) == refs_of(twins.plain.work)
    urls = (twins.url, f"datareg::{twins.plain.path}")
    clones = [clone(url, tmp_path / f"clone{number}") for number, url in enumerate(urls)]
    assert files_of(clones[0]) == files_of(clones[1])
    clones[0].run("fsck", "--strict")
