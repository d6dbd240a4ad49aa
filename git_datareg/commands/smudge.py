"""`git datareg smudge`: one pointer from stdin to its file (gitattributes(5), `filter`)."""

from __future__ import annotations

import argparse
import os

from git_datareg import filtering, ui
from git_datareg.errors import DataregError, ObjectNotFoundError
from git_datareg.files import write_all
from git_datareg.filtering import Spool
from git_datareg.pointer import Pointer
from git_datareg.workspace import Workspace

_CHUNK = 1024 * 1024


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """As git calls it."""
    parser.add_argument("--skip", action="store_true", help="leave pointers as they are")
    parser.add_argument("path", nargs="?", default="", help="the file's path in the work tree")


def run(arguments: argparse.Namespace, workspace: Workspace) -> int:
    """Print the file's content; what is no pointer is printed as it is."""
    path = os.fsencode(arguments.path)
    skip = arguments.skip or workspace.skips_smudge
    with Spool(workspace.own_objects) as spool:
        while chunk := os.read(0, _CHUNK):
            spool.write(chunk)
        content = spool.content()
        try:
            pointer = None if skip else filtering.smudge(spool)
            if pointer is not None:
                content = filtering.read_file(_brought(workspace, pointer, path))
        except DataregError as error:
            ui.report(error, path or None)
            return error.exit_code
        for piece in content:
            write_all(1, piece)
    return 0


def _brought(workspace: Workspace, pointer: Pointer, path: bytes) -> str:
    """The file with an object's bytes, fetched if need be."""
    found = workspace.object_file(pointer)
    if found is None:
        workspace.bringer.bring(pointer, path, None)
        found = workspace.object_file(pointer)
    if found is None:
        raise ObjectNotFoundError(f"object {pointer.digest} is gone from the cache")
    return found
