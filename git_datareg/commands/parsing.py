"""The argument parser of all commands, and the options that several share."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NoReturn

from git_datareg.errors import UsageError

_WEEK = 7 * 24 * 3600


class Parser(argparse.ArgumentParser):
    """argparse's parser, with faults as a UsageError and no abbreviated options."""

    def __init__(self, prog: str, description: str | None = None) -> None:
        super().__init__(prog=prog, description=description, allow_abbrev=False)

    def parsed(self, arguments: Sequence[str]) -> argparse.Namespace:
        """The arguments, with options anywhere among them, as Git's commands take them."""
        # argparse alone takes no optional argument behind an option. Its way to do so
        # knows neither `--` nor actions with arguments of their own.
        if "--" in arguments or self._subparsers is not None:
            return self.parse_args(arguments)
        return self.parse_intermixed_args(arguments)

    def error(self, message: str) -> NoReturn:
        """Raise a UsageError that says where help is."""
        raise UsageError(message, f"{self.prog} -h")


def add_quiet(parser: argparse.ArgumentParser, default: bool | str = False) -> None:
    """`-q`: talk is left out, but neither data nor faults.

    In an action of a command that takes it, too, `default` is argparse.SUPPRESS:
    what was said to the command counts then.
    """
    parser.add_argument(
        "-q", "--quiet", action="store_true", default=default, help="say nothing but faults"
    )


def add_progress(parser: argparse.ArgumentParser) -> None:
    """`-q`, `--progress` and `--no-progress`."""
    add_quiet(parser)
    parser.add_argument(
        "--progress",
        action=argparse.BooleanOptionalAction,
        help="show progress, or don't (default: on a terminal)",
    )


def add_jobs(parser: argparse.ArgumentParser) -> None:
    """`-j`."""
    parser.add_argument(
        "-j",
        "--jobs",
        type=_positive,
        metavar="N",
        help="most transfers at once (default: 32)",
    )


def add_globs(parser: argparse.ArgumentParser) -> None:
    """`-I` and `-X`."""
    parser.add_argument(
        "-I",
        "--include",
        action="append",
        type=not_empty,
        default=[],
        metavar="GLOB",
        help="only files that match (repeatable)",
    )
    parser.add_argument(
        "-X",
        "--exclude",
        action="append",
        type=not_empty,
        default=[],
        metavar="GLOB",
        help="no files that match (repeatable)",
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """`--json`."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def add_revision(parser: argparse.ArgumentParser) -> None:
    """`--rev`."""
    parser.add_argument(
        "--rev",
        type=not_empty,
        metavar="REV",
        help="branch, tag or commit (default: the default branch)",
    )


def not_empty(text: str) -> str:
    """The type of an argument that has no meaning when it is empty.

    A script's variable that is not set must not mean the default.
    """
    if not text:
        raise argparse.ArgumentTypeError("it is empty")
    return text


def seconds(text: str) -> int:
    """Up to a week, the longest that S3 signs for."""
    if not (text.isascii() and text.isdigit() and len(text) < 7 and 0 < int(text) <= _WEEK):
        raise argparse.ArgumentTypeError(f"not a number from 1 to {_WEEK}: {text!r}")
    return int(text)


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= 1024):
        raise argparse.ArgumentTypeError(f"not a number from 1 to 1024: {text!r}")
    return int(text)
