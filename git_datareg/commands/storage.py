"""`git datareg storage`."""

from __future__ import annotations

import argparse
import json
import sys

from git_datareg import configuring, ui
from git_datareg.commands.parsing import add_json, add_quiet
from git_datareg.sources import Project, embedded
from git_datareg.workspace import Workspace


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    add_quiet(parser)
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    add = actions.add_parser("add", help="add a storage to .datareg")
    add.add_argument("-d", "--default", action="store_true", help="make it the default one")
    add.add_argument("name")
    add.add_argument("url")
    add_json(actions.add_parser("list", help="list storages, the default one with a star"))
    actions.add_parser("remove", help="remove a storage from .datareg").add_argument("name")
    default = actions.add_parser("default", help="show or choose the default storage")
    default.add_argument("name", nargs="?")
    for action in actions.choices.values():
        add_quiet(action, argparse.SUPPRESS)
    parser.set_defaults(action="list", json=False)


def run(arguments: argparse.Namespace, workspace: Workspace) -> int:
    """Show or edit storages."""
    repository = workspace.repository
    if arguments.action == "add":
        configuring.add_storage(
            repository, arguments.name, arguments.url, default=arguments.default
        )
        if not arguments.quiet:
            ui.hint("git add .datareg, so that others get it too")
    elif arguments.action == "remove":
        configuring.remove_storage(repository, arguments.name)
    elif arguments.action == "default" and arguments.name:
        configuring.set_default_storage(repository, arguments.name)
    else:
        project = workspace.project
        for warning in project.settings.warnings:
            ui.warn(warning)
        if arguments.action == "default":
            _write((project.settings.default or "") + "\n")
        else:
            _list(project, as_json=arguments.json)
    return 0


def _list(project: Project, *, as_json: bool) -> None:
    settings = project.settings
    rows = [
        {
            "name": storage.name,
            "url": str(storage.location),
            "default": storage.name == settings.default,
            "readonly": storage.readonly,
        }
        for storage in settings.storages.values()
    ]
    remote = project.default_remote
    place = embedded(remote.location) if remote is not None else None
    if place is not None:
        is_default = settings.default is None
        rows.append(
            {"name": "(embedded)", "url": str(place), "default": is_default, "readonly": False}
        )
    if as_json:
        _write(json.dumps(rows, indent=2) + "\n")
        return
    for row in rows:
        star = "*" if row["default"] else " "
        readonly = "  (read-only)" if row["readonly"] else ""
        _write(f"{star} {row['name']}\t{row['url']}{readonly}\n")


def _write(text: str) -> None:
    # A path need not be in the encoding of the terminal.
    sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape"))
