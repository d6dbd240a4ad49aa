"""`git datareg post-merge`: git's post-merge hook; see `post_checkout`."""

from __future__ import annotations

from git_datareg.commands.post_checkout import add_arguments, run

__all__ = ["add_arguments", "run"]
