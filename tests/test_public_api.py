"""What `import git_datareg` gives, and at what price."""

from __future__ import annotations

import importlib.metadata
import inspect
import json
import subprocess
import sys

import pytest

import git_datareg
from git_datareg import errors


def loaded_by(statement: str) -> set[str]:
    """The modules that a fresh Python has after `statement` and had not before."""
    code = f"import sys, json; before = set(sys.modules); {statement}; "
    code += "print(json.dumps(sorted(set(sys.modules) - before)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    return set(json.loads(done.stdout))


def test_every_public_name_is_there() -> None:
    for name in git_datareg.__all__:
        assert getattr(git_datareg, name) is not None
    assert sorted(git_datareg.__all__) == dir(git_datareg)


def test_every_error_is_public() -> None:
    faults = {
        name
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, errors.DataregError)
    }
    assert faults == {*git_datareg.__all__} - {"api", "__version__"}


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = git_datareg.no_such_name


def test_the_version_is_the_installed_one() -> None:
    assert git_datareg.__version__ == importlib.metadata.version("git-datareg")


def test_the_api_is_at_hand_without_an_import_of_its_own() -> None:
    assert "git_datareg.api" in loaded_by("import git_datareg; git_datareg.api")


def test_the_api_loads_nothing_that_it_does_not_need() -> None:
    heavy = {"fsspec", "numpy", "pandas", "asyncio", "argparse", "concurrent.futures", "tqdm"}
    assert not heavy & loaded_by("import git_datareg.api")


def test_the_api_says_what_it_gives() -> None:
    from git_datareg import api

    for name in api.__all__:
        value = getattr(api, name)
        assert inspect.getdoc(value), name
        if inspect.isfunction(value):
            assert value.__annotations__.keys() == {*inspect.signature(value).parameters, "return"}


def test_the_file_system_is_an_entry_point_of_fsspec() -> None:
    [point] = importlib.metadata.entry_points(group="fsspec.specs", name="datareg")
    assert point.value == "git_datareg.filesystem:DataregFileSystem"


def test_the_package_alone_loads_no_more_than_the_errors() -> None:
    loaded = loaded_by("import git_datareg")
    assert loaded - {"__future__"} == {"git_datareg", "git_datareg.errors"}
