"""`git datareg post-checkout`: git's post-checkout hook (githooks(5)).

Git runs it before it lets go of the filter, so large files are still their
pointers then; hooks that come after this one see them in place.
"""

from __future__ import annotations

import argparse

from git_datareg import placing
from git_datareg.workspace import Workspace


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """As git calls the hook."""
    parser.add_argument("arguments", nargs="*", help="what git says about the checkout")


def run(arguments: argparse.Namespace, workspace: Workspace) -> int:
    """Put in place what the filter has noted, as far as that can be done."""
    if not workspace.skips_smudge:
        # Failures are not said: the filter, which git ends next, tries the same
        # files again and says them; what a killed one has left stays noted.
        workspace.settle(placing.noted(workspace.places.git_dir))
    return 0
