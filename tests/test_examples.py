"""The examples in docstrings and in docs/python.md do what they say."""

from __future__ import annotations

import doctest
import os
import re
from pathlib import Path

import pandas
import pytest

from git_datareg import api, filesystem
from tests.support.consumers import consumer
from tests.support.gitrun import Git

GUIDE = Path(__file__).resolve().parents[1] / "docs/python.md"


def examples() -> list[doctest.DocTest]:
    finder = doctest.DocTestFinder()
    found = [test for module in (api, filesystem) for test in finder.find(module)]
    text = re.sub(r"^```\w*$", "", GUIDE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    found.append(doctest.DocTestParser().get_doctest(text, {}, "docs/python.md", str(GUIDE), 0))
    return [test for test in found if test.examples]


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The registry of which the examples speak."""
    directory = tmp_path_factory.mktemp("music")
    remote = Git(directory / "music.git").init("--bare")
    work = Git(directory / "work").init()
    work.run("remote", "add", "origin", "../music.git")
    work.run("datareg", "init")
    work.run("datareg", "track", "songs/**", "tables/**")
    work.write("songs/a.txt", b"do re mi\n")
    work.write("songs/b.bin", b"head" + bytes(2996) + b"tail")
    work.commit_all("first songs")
    work.run("tag", "v1")
    work.write("songs/a.txt", b"do re mi fa\n")
    work.write("songs/c.txt", b"sol la\n")
    work.write("tables/sales.csv", b"day,amount\n1,10\n2,20\n3,30\n")
    (work.path / "tables/parts").mkdir()
    pandas.DataFrame({"amount": [1, 2, 3]}).to_parquet(work.path / "tables/parts/1.parquet")
    work.commit_all("more songs")
    work.run("tag", "v2")
    work.run("push", "--quiet", "origin", "main", "v1", "v2")
    return str(remote.path)


@pytest.mark.parametrize("example", examples(), ids=lambda test: test.name)
def test_an_example_does_what_it_says(
    example: doctest.DocTest, music: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(consumer(tmp_path / "here").path)
    example.globs = {"api": api, "music": music, "os": os}
    said: list[str] = []
    failed, _ = doctest.DocTestRunner().run(example, out=said.append)
    assert not failed, "".join(said)


def test_every_function_of_the_api_has_an_example() -> None:
    shown = {test.name.rpartition(".")[2] for test in examples()}
    functions = {name for name in api.__all__ if name[0].islower()}
    assert functions <= shown
    assert "DataregFileSystem" in shown
