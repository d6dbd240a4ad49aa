"""`git datareg`: finds the command, runs it, and turns a fault into words and an exit code.

The one place (with `remote_main`) that catches everything. Only the module of
the command that is asked for is loaded: git starts us for every `git add`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from git_datareg import __version__, ui
from git_datareg.errors import DataregError, NotFoundError, StorageError, UsageError
from git_datareg.files import remove_unfinished
from git_datareg.signals import tidied
from git_datareg.workspace import Workspace

#: What users call, in the order of the help text, and what it does in a line.
COMMANDS = {
    "init": "set up filter, hooks and .datareg in this repository",
    "install": "configure the filter for all of your repositories",
    "uninstall": "remove what install configured",
    "track": "track files by pattern or size; without arguments list the patterns",
    "untrack": "stop tracking patterns",
    "add": "stage files as git add does, but many data files at once",
    "status": "show changed, unpushed and missing data, and imports",
    "ls-files": "list tracked data files",
    "diff": "show which data files differ between commits, or commit and work tree",
    "fetch": "bring objects into the cache",
    "checkout": "put data files in the work tree where pointers are",
    "pull": "fetch and checkout",
    "push": "upload the objects that refs need",
    "storage": "show and edit where objects are stored",
    "fsck": "check that data is there and whole, here and in storages",
    "gc": "delete what nothing needs any more, where objects are stored",
    "list": "list what a registry holds",
    "get": "download files from a registry",
    "import": "take files of a registry into this repository",
    "update": "bring imports up to date",
    "env": "show versions and configuration",
}
#: What only git calls.
INTERNAL = {
    "filter-process": "serve git as its long-running filter",
    "clean": "turn a file on stdin into its pointer",
    "smudge": "turn a pointer on stdin into its file",
    "pre-push": "upload objects before git pushes refs",
    "post-checkout": "put data files in place after a checkout",
    "post-merge": "put data files in place after a merge",
}
#: As a shell says it of a program that SIGPIPE ended.
_BROKEN_PIPE = 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program with these arguments (default: the process's); returns its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    return guarded(lambda: _run(given))


def guarded(program: Callable[[], int]) -> int:
    """Run a program of ours; returns its exit code, or that of the fault that it met."""
    if _is_traced():
        _trace()
    ui.show_warnings()
    try:
        with tidied(remove_unfinished):
            code = program()
            if sys.stdout is not None:
                sys.stdout.flush()
            return code
    except BrokenPipeError:
        # As `git log | head`: whoever read has enough.
        _drop_output()
        return _BROKEN_PIPE
    except Exception as error:
        _drop_output()
        if _is_traced():
            import traceback

            traceback.print_exc()
        return fail(error)


def _drop_output() -> None:
    """Let go of what stdout did not take, or Python would complain of it again at exit."""
    if sys.stdout is not None:
        try:
            sys.stdout.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def fail(error: Exception) -> int:
    """Say what went wrong; returns the exit code for it."""
    if isinstance(error, DataregError):
        ui.report(error)
        return error.exit_code
    if isinstance(error, OSError):
        where = f": {ui.show(error.filename)}" if error.filename else ""
        ui.report(DataregError(f"{error.strerror or error}{where}"))
        return StorageError.exit_code
    words = f"{type(error).__name__}: {error}".replace("\n", " ")
    ui.report(
        DataregError(
            f"internal error: {words}",
            "this is a bug: please report it, with what GIT_DATAREG_TRACE=1 shows in addition",
        )
    )
    return DataregError.exit_code


def _run(arguments: list[str]) -> int:
    arguments = _enter_directory(arguments)
    name = arguments[0] if arguments else "-h"
    workspace = Workspace(_current_directory(), os.environ)
    if name == "filter-process" and set(arguments[1:]) <= {"--skip"}:
        # Without argparse: a third of the start-up that every `git add` waits for.
        from git_datareg.commands.filter_process import serve

        return serve(workspace, skip="--skip" in arguments)
    if name in COMMANDS or name in INTERNAL:
        return _run_command(name, arguments[1:], workspace)
    return _general(name, arguments[1:])


def _run_command(name: str, arguments: list[str], workspace: Workspace) -> int:
    from git_datareg.commands.parsing import Parser

    module = import_module(f"git_datareg.commands.{_module_name(name)}")
    parser = Parser(prog=f"git datareg {name}", description=(COMMANDS | INTERNAL)[name])
    module.add_arguments(parser)
    code: int = module.run(parser.parsed(arguments), workspace)
    return code


def _general(name: str, rest: list[str]) -> int:
    if name in ("--version", "version", "-V"):
        sys.stdout.write(f"git-datareg version {__version__}\n")
        return 0
    if name == "help" and rest:
        return _run([rest[0], "-h"])
    if name in ("-h", "--help", "help"):
        sys.stdout.write(_overview())
        return 0
    raise UsageError(f"no such command: {name!r}", "git datareg -h lists the commands")


def _overview() -> str:
    lines = "\n".join(f"  {name:<11} {text}" for name, text in COMMANDS.items())
    return (
        "usage: git datareg [-C DIR] COMMAND [ARGUMENTS]\n\n"
        f"Data registries that are just Git.\n\nCommands (each with -h):\n{lines}\n"
    )


def _enter_directory(arguments: list[str]) -> list[str]:
    """Take `-C DIR` off the front and go there; as in git, again and again, "" being here."""
    while arguments[:1] == ["-C"]:
        if len(arguments) < 2:
            raise UsageError("-C needs a directory")
        directory = arguments[1]
        try:
            os.chdir(directory or ".")
        except (FileNotFoundError, NotADirectoryError) as error:
            what = "a directory" if os.path.exists(directory) else "there"
            raise NotFoundError(f"can't change to {directory}: it is not {what}") from error
        arguments = arguments[2:]
    return arguments


def _current_directory() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError as error:
        raise NotFoundError("the current directory is not there any more") from error


def _module_name(command: str) -> str:
    return command.replace("-", "_") + ("_" if command == "import" else "")


def _trace() -> None:
    """Have what is asked of storages and of git told on stderr."""
    from git_datareg.git import process
    from git_datareg.storage import tracing

    tracing.listen(ui.trace)
    process.listen(ui.trace)


def _is_traced() -> bool:
    return os.environ.get("GIT_DATAREG_TRACE", "0") not in ("", "0")
