"""`git datareg storage`."""

from __future__ import annotations

import argparse

from git_datareg import configuring, ui
from git_datareg.commands.parsing import add_globs, add_json, add_quiet
from git_datareg.commands.printing import put, put_json, storage_facts, storage_words
from git_datareg.projects import Project
from git_datareg.settings import StorageSettings
from git_datareg.storages import embedded
from git_datareg.workspace import Workspace

#: What stands for the storage in the Git remote's own repository; no other is named so.
_EMBEDDED = "(embedded)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    add_quiet(parser)
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    add = actions.add_parser("add", help="add a storage to .datareg")
    add.add_argument("-d", "--default", action="store_true", help="make it the default one")
    add.add_argument("--endpoint", metavar="URL", help="S3: the server, for any but AWS")
    add.add_argument("--region", metavar="NAME", help="S3: the bucket's region")
    add.add_argument("--readonly", action="store_true", help="never push there")
    add_globs(add)
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
        new = configuring.NewStorage(
            arguments.name,
            arguments.url,
            arguments.endpoint,
            arguments.region,
            arguments.readonly,
            tuple(arguments.include),
            tuple(arguments.exclude),
        )
        configuring.add_storage(repository, new, default=arguments.default)
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
            put(project.settings.default or "")
        else:
            _list(project, as_json=arguments.json)
    return 0


def _list(project: Project, *, as_json: bool) -> None:
    settings = project.settings
    storages = list(settings.storages.values())
    remote = project.default_remote
    place = embedded(remote.location) if remote is not None else None
    if place is not None:
        storages.append(StorageSettings(_EMBEDDED, place, readonly=False, origin=""))
    default = settings.default or _EMBEDDED
    if as_json:
        put_json(
            [
                {"name": each.name, "default": each.name == default, **storage_facts(each)}
                for each in storages
            ]
        )
        return
    for each in storages:
        star = "*" if each.name == default else " "
        words = ", ".join(storage_words(each))
        put(f"{star} {each.name}\t{each.location}{f'  ({words})' if words else ''}")
