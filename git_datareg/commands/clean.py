"""`git datareg clean`: one file from stdin to its pointer (gitattributes(5), `filter`)."""

from __future__ import annotations

import argparse
import os

from git_datareg import filtering, ui
from git_datareg.errors import DataregError
from git_datareg.files import write_all
from git_datareg.filtering import Spool
from git_datareg.workspace import Workspace

_CHUNK = 1024 * 1024


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """As git calls it."""
    parser.add_argument("path", nargs="?", default="", help="the file's path in the work tree")


def run(arguments: argparse.Namespace, workspace: Workspace) -> int:
    """Store the file; print what Git is to store."""
    path = os.fsencode(arguments.path)
    with Spool(workspace.own_objects) as spool:
        while chunk := os.read(0, _CHUNK):
            spool.write(chunk)
        try:
            imported = workspace.imported(path)
            threshold, unless = workspace.threshold, workspace.unless
            for piece in filtering.clean(spool, path, threshold, imported, unless):
                write_all(1, piece)
        except DataregError as error:
            ui.report(error, path or None)
            return error.exit_code
    return 0
