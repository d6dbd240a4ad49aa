"""`git datareg env`: what a bug report needs."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from tests.support.consumers import datareg
from tests.support.gitrun import Git


def facts(directory: Path | Git) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(datareg(directory, "env", "--json").stdout)
    return found


def test_versions_and_places_are_told_outside_of_a_repository(tmp_path: Path, home: Path) -> None:
    found = facts(tmp_path)
    assert found["git-datareg"] == version("git-datareg")
    assert found["git"] == Git(tmp_path).out("version").removeprefix("git version ")
    assert found["repository"] is None and found["work tree"] is None
    assert found["cache"] == str(home / "datareg-cache")
    assert found["environment"] == {"GIT_DATAREG_CACHE": str(home / "datareg-cache")}


def test_configuration_is_told_with_its_origin(tmp_path: Path) -> None:
    git = Git(tmp_path / "app").init()
    datareg(git, "init")
    datareg(git, "storage", "add", "-d", "disk", str(tmp_path / "disk"))
    git.run("config", "datareg.near.url", str(tmp_path / "near"))
    git.run("remote", "add", "origin", "https://me:hunter2@example.org/x.git?token=hunter2")
    found = facts(git)
    assert found["work tree"] == str(git.path)
    assert found["default storage"] == "disk"
    assert found["storages"]["disk"]["url"] == str(tmp_path / "disk")
    assert found["storages"]["disk"]["origin"] == "file:.datareg"
    assert found["storages"]["near"]["url"] == str(tmp_path / "near")
    assert found["storages"]["near"]["origin"].startswith("file:")
    assert found["configuration"]["filter.datareg.required"].startswith("true (file:")
    assert found["remotes"] == {"origin": "https://example.org/x.git"}


def test_how_storages_are_set_up_is_told(tmp_path: Path) -> None:
    git = Git(tmp_path / "app").init()
    git.write(
        ".datareg",
        b'[storage "a"]\n\turl = s3://b/a\n\tendpoint = https://me:hunter2@s3.example.org\n'
        b"\tregion = north\n\treadonly = true\n\tinclude = *.jpg\n\texclude = x/*\n",
    )
    git.run("config", "datareg.a.profile", "work")
    found = facts(git)["storages"]["a"]
    assert found == {
        "url": "s3://b/a",
        "readonly": True,
        "endpoint": "https://s3.example.org",
        "region": "north",
        "profile": "work",
        # It is the repository alone that names the endpoint.
        "credentials": False,
        "include": ["*.jpg"],
        "exclude": ["x/*"],
        "origin": "file:.datareg",
    }
    assert (
        "  a=s3://b/a (file:.datareg), read-only, endpoint https://s3.example.org, region north, "
        "profile work, no credentials, include *.jpg, exclude x/*"
    ) in datareg(git, "env").stdout.splitlines()
    git.run("config", "--global", "datareg.trustedEndpoint", "https://me:hunter2@s3.example.org/")
    assert facts(git)["storages"]["a"]["credentials"] is True
    assert "no credentials" not in datareg(git, "env").stdout
    git.run("config", "datareg.a.anonymous", "true")
    assert facts(git)["storages"]["a"]["credentials"] is False


def test_no_secret_is_told(tmp_path: Path) -> None:
    git = Git(tmp_path / "app").init()
    git.run("remote", "add", "origin", "https://me:hunter2@example.org/x.git?token=hunter2")
    git.run("config", "datareg.near.url", "https://me:hunter2@example.org/data?sig=hunter2")
    git.run("config", "datareg.near.option", "password=hunter2")
    assert facts(git)["configuration"]["datareg.near.option"].startswith("password=... (file:")
    for options in ([], ["--json"]):
        assert "hunter2" not in datareg(git, "env", *options).stdout


def test_lines_are_for_people(tmp_path: Path) -> None:
    git = Git(tmp_path / "app").init()
    lines = datareg(git, "env").stdout.splitlines()
    assert lines[0] == f"git-datareg: {version('git-datareg')}"
    assert f"work tree: {git.path}" in lines
    assert "threshold: 0" in lines and "default storage: -" in lines


@pytest.mark.parametrize("text", [b"[datareg\n", b"[datareg]\n\tthreshold = much\n"])
def test_a_configuration_that_can_not_be_read_is_told_as_such(tmp_path: Path, text: bytes) -> None:
    git = Git(tmp_path / "app").init()
    git.write(".datareg", text)
    found = facts(git)
    assert ".datareg" in found["error"]
    assert found["git-datareg"] == version("git-datareg")


def test_a_key_that_is_not_allowed_is_a_warning(tmp_path: Path) -> None:
    git = Git(tmp_path / "app").init()
    git.write(".datareg", b"[datareg]\n\tversion = 1\n\tcommand = rm\n")
    assert facts(git)["warnings"] == [".datareg: key datareg.command is not allowed there, ignored"]
    assert "warnings: .datareg: key" in datareg(git, "env").stdout
