"""What gets installed, as far as it shows without building a wheel."""

from __future__ import annotations

import ast
import os
import shutil
import stat
import subprocess
import sys
from configparser import ConfigParser
from importlib import metadata
from pathlib import Path

import pytest

import git_datareg

ROOT = Path(__file__).resolve().parents[1]
PROGRAMS = ("git-datareg", "git-remote-datareg")


@pytest.fixture(scope="module")
def setup_cfg() -> ConfigParser:
    parser = ConfigParser(interpolation=None)
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def test_what_is_installed_is_what_setup_cfg_says(setup_cfg: ConfigParser) -> None:
    installed = metadata.metadata("git-datareg")
    assert installed["Version"] == git_datareg.__version__
    assert installed["Requires-Python"] == setup_cfg["options"]["python_requires"]


def test_every_folder_with_modules_is_a_package() -> None:
    # setuptools' find: silently leaves out those that are not.
    folders = {path.parent for path in (ROOT / "git_datareg").rglob("*.py")}
    assert not [folder for folder in folders if not (folder / "__init__.py").is_file()]


def test_type_checkers_are_told_of_the_annotations(setup_cfg: ConfigParser) -> None:
    assert (ROOT / "git_datareg/py.typed").is_file()
    assert setup_cfg["options.package_data"]["git_datareg"] == "py.typed"


def test_all_scripts_are_installed(setup_cfg: ConfigParser) -> None:
    listed = setup_cfg["options"]["scripts"].split()
    assert listed == [f"bin/{name}" for name in PROGRAMS]
    assert sorted(path.name for path in (ROOT / "bin").iterdir()) == sorted(PROGRAMS)


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_script_is_a_shebang_and_a_call(name: str) -> None:
    script = ROOT / "bin" / name
    text = script.read_text(encoding="utf-8")
    assert text.startswith("#!/usr/bin/env python3\n")
    assert len(ast.parse(text).body) == 2
    assert script.stat().st_mode & stat.S_IXUSR


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_program_that_tests_start_is_this_tree_s(name: str) -> None:
    found = shutil.which(name)
    assert found, "not installed: run the tests by `make test`"
    assert os.path.dirname(found) == os.path.dirname(sys.executable)
    code = "import git_datareg; print(git_datareg.__file__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert Path(done.stdout.strip()) == ROOT / "git_datareg/__init__.py"


def test_every_requirement_is_installed_and_not_too_old(setup_cfg: ConfigParser) -> None:
    listed = setup_cfg["options"]["install_requires"].split()
    for requirement in listed:
        name, _, least = requirement.partition(">=")
        assert least, f"{requirement}: say the least version"
        assert as_numbers(metadata.version(name)) >= as_numbers(least)


def as_numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


def test_the_license_is_the_one_that_is_claimed(setup_cfg: ConfigParser) -> None:
    assert setup_cfg["metadata"]["license"] == "Apache-2.0"
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text
