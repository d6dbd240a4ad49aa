"""`git datareg env`."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from importlib.metadata import version

from git_datareg.commands.parsing import add_json, add_quiet
from git_datareg.commands.printing import put, put_json, storage_facts, storage_words
from git_datareg.errors import DataregError
from git_datareg.git import config, process
from git_datareg.git.config import ConfigValue
from git_datareg.location import Location
from git_datareg.settings import StorageSettings
from git_datareg.workspace import Workspace

_PACKAGES = ("git-datareg", "blake3", "tqdm")
_VARIABLES = ("GIT_DATAREG_CACHE", "GIT_DATAREG_SKIP_SMUDGE", "GIT_DATAREG_TRACE")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    add_json(parser)
    add_quiet(parser)


def run(arguments: argparse.Namespace, workspace: Workspace) -> int:
    """Print what a bug report needs: no secrets, but paths and URLs."""
    repository = workspace.repository_or_none
    facts: dict[str, object] = {
        **{name: version(name) for name in _PACKAGES},
        "git": process.run(["--version"]).decode().strip().removeprefix("git version "),
        "python": f"{platform.python_version()} ({sys.executable})",
        "system": platform.platform(),
        "repository": repository.places.git_dir if repository is not None else None,
        "work tree": repository.work_tree if repository is not None else None,
        **_settings(workspace, as_json=arguments.json),
        "configuration": {
            value.key: f"{_shown(value)} ({value.origin})"
            for value in config.read(repository)
            if value.key.startswith(("datareg.", "filter.datareg."))
        },
        "environment": {name: os.environ[name] for name in _VARIABLES if name in os.environ},
    }
    if arguments.json:
        put_json(facts)
    else:
        put(_text(facts))
    return 0


def _settings(workspace: Workspace, *, as_json: bool) -> dict[str, object]:
    """What is configured; if that can't be told, why: then it is what a bug report is about."""
    try:
        settings = workspace.settings
        remotes = workspace.project.remotes if workspace.repository_or_none is not None else ()
    except DataregError as error:
        return {"error": error.message}
    return {
        "cache": settings.cache,
        "jobs": settings.jobs,
        "threshold": settings.threshold,
        "default storage": settings.default,
        "storages": {
            each.name: {**storage_facts(each), "origin": each.origin} if as_json else _line(each)
            for each in settings.storages.values()
        },
        "remotes": {each.name: str(each.location) for each in remotes},
        "warnings": list(settings.warnings),
    }


def _line(storage: StorageSettings) -> str:
    words = ", ".join(storage_words(storage))
    return f"{storage.location} ({storage.origin}){f', {words}' if words else ''}"


def _shown(value: ConfigValue) -> str:
    if value.key.endswith(".option"):
        # An argument of a file system may well be a password.
        return value.value.partition("=")[0] + "=..."
    return str(Location(value.value)) if "://" in value.value else value.value


def _text(facts: dict[str, object]) -> str:
    lines = []
    for name, fact in facts.items():
        if isinstance(fact, dict):
            lines += [f"{name}:", *(f"  {key}={value}" for key, value in fact.items())]
        elif isinstance(fact, list):
            lines += [f"{name}: {line}" for line in fact]
        else:
            lines.append(f"{name}: {'-' if fact is None else fact}")
    return "\n".join(lines)
