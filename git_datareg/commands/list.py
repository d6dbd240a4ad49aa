"""`git datareg list`."""

from __future__ import annotations

import argparse
import os

from git_datareg import registry, ui
from git_datareg.commands.parsing import add_json, add_quiet, add_revision
from git_datareg.commands.printing import put_json, put_lines, put_paths
from git_datareg.location import Location
from git_datareg.registry import Entry, Source
from git_datareg.workspace import Workspace


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument(
        "-R", "--recursive", action="store_true", help="all files below, and no directories"
    )
    parser.add_argument("-l", "--long", action="store_true", help="with kind, size and id")
    parser.add_argument("--data-only", action="store_true", help="only tracked data")
    add_revision(parser)
    add_json(parser)
    add_quiet(parser)
    parser.add_argument("url", metavar="URL", help="the registry: a Git URL or path")
    parser.add_argument(
        "path", nargs="?", default="", metavar="PATH", help="a path in it (default: its top)"
    )


def run(arguments: argparse.Namespace, workspace: Workspace) -> int:
    """Print what the registry holds, one path a line, relative to PATH."""
    source = workspace.open_source(Location.parse(arguments.url), arguments.rev)
    path, recursive = _meant(source, arguments.path), arguments.recursive
    base = _base(source, path)
    if not (arguments.long or arguments.data_only or arguments.json):
        # Only names: the pointers need not be read.
        names = registry.names(source, path, recursive=recursive)
        put_paths([name.removeprefix(base) for name in names] if base else names)
        return 0
    if arguments.data_only:
        entries = registry.data_entries(source, path, recursive=recursive)
    else:
        entries = registry.entries(source, path, recursive=recursive)
    shown = entries
    if base:
        shown = [entry._replace(path=entry.path.removeprefix(base)) for entry in entries]
    if arguments.json:
        put_json([_as_json(entry) for entry in shown])
    elif arguments.long:
        put_lines([_as_line(entry) for entry in shown])
    else:
        put_paths([entry.path for entry in shown])
    return 0


def _meant(source: Source, path: str) -> str:
    """PATH with the symlinks on the way to it followed; the last one if a slash is behind it.

    As in ls(1): so that what `get` takes through a symlink can be listed, and a symlink too.
    """
    spelled = os.fsdecode(registry.normal(path))
    if path.endswith("/"):
        return os.fsdecode(registry.followed(source, spelled))
    parent, slash, name = spelled.rpartition("/")
    if not slash:
        return spelled
    return os.path.join(os.fsdecode(registry.followed(source, parent)), name)


def _base(source: Source, path: str) -> str:
    """What the shown paths are relative to: PATH, or the directory of the file that it is."""
    wanted = registry.normal(path).decode("utf-8", "surrogateescape")
    if not wanted:
        return ""
    is_file = registry.is_file(source, path)
    parent, slash, _ = wanted.rpartition("/")
    return parent + slash if is_file else wanted + "/"


def _as_json(entry: Entry) -> dict[str, object]:
    return {
        "path": entry.path,
        "type": entry.type,
        "size": entry.size,
        "data": entry.is_data,
        "executable": entry.is_executable,
        "id": entry.id,
    }


def _as_line(entry: Entry) -> str:
    kind = "data" if entry.is_data else entry.type
    size = "-" if entry.size is None else str(entry.size)
    return f"{kind:<9} {size:>14} {entry.id[:12]:<12} {ui.show(entry.path)}"
