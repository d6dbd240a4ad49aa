"""`git datareg post-checkout`: git's post-checkout hook (githooks(5)).

Git runs it before it lets go of the filter, so large files are still their
pointers then; hooks that come after this one see them in place.
"""

from __future__ import annotations

import argparse

from git_datareg import placing, ui
from git_datareg.workspace import Workspace


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """As git calls the hook."""
    parser.add_argument("arguments", nargs="*", help="what git says about the checkout")


def run(arguments: argparse.Namespace, workspace: Workspace) -> int:
    """Put in place what the filter has noted. A failure is said and changes nothing."""
    if workspace.skips_smudge:
        return 0
    for path, error in workspace.settle(placing.noted(workspace.places.git_dir)):
        ui.report(error, path)
    return 0
