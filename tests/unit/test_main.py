from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import pytest

from git_datareg import main
from git_datareg.commands.parsing import Parser
from git_datareg.errors import (
    CorruptError,
    DataregError,
    GitError,
    NotFoundError,
    PartialError,
    RefusedError,
    StorageError,
    UsageError,
)
from git_datareg.git import process
from git_datareg.location import Location
from git_datareg.main import COMMANDS, INTERNAL
from git_datareg.storage import open_storage, tracing
from tests.support.gitrun import Git

#: The commands that list or report something, and those that move data.
LISTING = {"diff", "fsck", "gc", "track", "status", "ls-files", "storage", "list", "update", "env"}
TRANSFERRING = {"fetch", "pull", "push", "get", "import", "update"}


def run(*arguments: str, cwd: Path, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["git-datareg", *arguments],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )


def raising(error: BaseException) -> Callable[[], int]:
    def program() -> int:
        raise error

    return program


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("x"), 2),
        (NotFoundError("x"), 3),
        (RefusedError("x"), 4),
        (StorageError("x"), 5),
        (CorruptError("x"), 6),
        (GitError("x"), 128),
        (PartialError("x"), 1),
        (DataregError("x"), 1),
    ],
)
def test_a_fault_is_told_and_gives_its_exit_code(
    error: DataregError, code: int, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main.guarded(raising(error)) == code
    assert capfd.readouterr() == ("", "git-datareg: error: x\n")


def test_an_os_error_is_told_with_its_file(capfd: pytest.CaptureFixture[str]) -> None:
    error = OSError(28, "No space left on device", "some/file")
    assert main.guarded(raising(error)) == 5
    assert capfd.readouterr().err == "git-datareg: error: No space left on device: some/file\n"


def test_what_a_program_returns_is_its_exit_code() -> None:
    assert main.guarded(lambda: 7) == 7


@pytest.fixture
def quiet_again() -> Iterator[None]:
    yield
    for module in (tracing, process):
        module.listen(None)


@pytest.mark.parametrize(("value", "shown"), [("1", True), ("0", False), ("", False)])
def test_a_trace_is_shown_on_request_only(
    value: str,
    shown: bool,
    quiet_again: None,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def program() -> int:
        process.run(["--version"])
        open_storage(Location("memory://x")).info("key")
        raise NotFoundError("x")

    monkeypatch.setenv("GIT_DATAREG_TRACE", value)
    assert main.guarded(program) == 3
    said = capfd.readouterr().err
    assert ("Traceback" in said) is shown
    assert ("git-datareg: trace: git --version: exit code 0 after 0." in said) is shown
    assert ("git-datareg: trace: memory://x: info key: done after 0." in said) is shown
    assert said.endswith("git-datareg: error: x\n")


def test_a_bug_of_ours_is_one_line_that_asks_for_a_report(
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert main.guarded(raising(ValueError("oh\nno"))) == 1
    lines = capfd.readouterr().err.splitlines()
    assert lines[0] == "git-datareg: error: internal error: ValueError: oh no"
    assert lines[1].startswith("hint: this is a bug: please report it")
    assert len(lines) == 2


@pytest.mark.parametrize("name", [*COMMANDS, *INTERNAL])
def test_every_command_has_help(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main.main([name, "-h"])
    assert end.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: git datareg {name}")


def options_of(name: str) -> frozenset[str]:
    """The options of a command, and of its actions."""
    parser = Parser(prog=name)
    module = "import_" if name == "import" else name.replace("-", "_")
    import_module(f"git_datareg.commands.{module}").add_arguments(parser)
    parsers: list[argparse.ArgumentParser] = [parser]
    for each in parser._actions:
        if isinstance(each, argparse._SubParsersAction):
            parsers += each.choices.values()
    return frozenset(option for each in parsers for option in each._option_string_actions)


@pytest.mark.parametrize("name", COMMANDS)
def test_options_of_one_meaning_are_everywhere(name: str) -> None:
    options = options_of(name)
    assert {"-h", "--help", "-q", "--quiet"} <= options
    assert ("--json" in options) == (name in LISTING)
    if name in TRANSFERRING:
        assert {"-j", "--jobs", "--progress", "--no-progress"} <= options
    pairs = {
        "-f": "--force",
        "-R": "--recursive",
        "-l": "--long",
        "-o": "--out",
        "-I": "--include",
        "-X": "--exclude",
        "-j": "--jobs",
        "-d": "--default",
        # As in git add.
        "-A": "--all",
        "-u": "--update",
        "-n": "--dry-run",
        "-v": "--verbose",
    }
    for short in (each for each in options if not each.startswith("--")):
        assert short in ("-h", "-q") or pairs[short] in options


def test_quiet_commands_say_nothing_and_work(tmp_path: Path, home: Path) -> None:
    git = Git(tmp_path / "r").init()
    storage = str(tmp_path / "storage")
    for words in (
        ["init", "-q", "--storage", storage],
        ["install", "--quiet"],
        ["uninstall", "-q"],
        ["track", "-q", "*.dat", "--above", "1k"],
        ["untrack", "-q", "*.dat"],
        ["storage", "-q", "add", "-d", "more", storage],
        ["storage", "add", "-q", "more", storage],
        ["storage", "-q", "remove", "more"],
        ["checkout", "-q"],
        ["pull", "-q"],
        ["fetch", "-q"],
    ):
        done = run(*words, cwd=git.path)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), words
    # Data and faults come all the same.
    assert run("storage", "-q", cwd=git.path).stdout == f"  origin\t{storage}\n"
    assert run("track", "-q", "--json", cwd=git.path).stdout == "[]\n"
    run("track", "-q", "*.dat", "a b", cwd=git.path)
    rows = [{"pattern": "*.dat"}, {"pattern": "a b"}]
    assert json.loads(run("track", "--json", cwd=git.path).stdout) == rows
    assert run("track", "--json", "x", cwd=git.path).returncode == 2
    assert "not tracked" in run("untrack", "-q", "*.x", cwd=git.path).stderr
    assert run("storage", "remove", "-q", "x", cwd=git.path).returncode == 5


@pytest.mark.parametrize("name", [*COMMANDS, *INTERNAL])
def test_every_command_refuses_options_that_it_does_not_have(
    name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main.main([name, "--no-such-option"]) == 2
    assert "git-datareg: error: " in capfd.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["-h"], ["--help"], ["help"]])
def test_the_overview_lists_the_commands(arguments: list[str], tmp_path: Path) -> None:
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 0 and done.stderr == ""
    shown = [line.split()[0] for line in done.stdout.splitlines() if line.startswith("  ")]
    assert shown == list(COMMANDS)


def test_help_on_a_command_and_the_version(tmp_path: Path) -> None:
    assert run("help", "get", cwd=tmp_path).stdout.startswith("usage: git datareg get")
    assert run("--version", cwd=tmp_path).stdout.startswith("git-datareg version ")
    assert run("-h", "extra", cwd=tmp_path).returncode == 0


@pytest.mark.parametrize("arguments", [["frobnicate"], ["--frob"], ["help", "frobnicate"]])
def test_an_unknown_command_is_wrong_usage(arguments: list[str], tmp_path: Path) -> None:
    done = run(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("git-datareg: error: no such command: ")
    assert done.stderr.count("\n") == 2


def test_a_directory_can_be_named_first_and_again(tmp_path: Path) -> None:
    git = Git(tmp_path / "a/b").init()
    shown = run("-C", "a", "-C", "b", "env", cwd=tmp_path).stdout
    assert f"work tree: {git.path}" in shown
    assert run("-C", cwd=tmp_path).returncode == 2


@pytest.mark.parametrize("directory", ["nowhere", "file", "file/below", "link"])
def test_a_directory_that_is_not_there_is_one_line(tmp_path: Path, directory: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "a").mkdir()
    words = ["-C", "a", "-C", f"../{directory}", "list", "."]
    done = run(*words, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (3, "")
    what = "a directory" if directory == "file" else "there"
    said = f"can't change to ../{directory}: it is not {what}"
    assert done.stderr == f"git-datareg: error: {said}\n"


def test_an_empty_directory_is_the_current_one(tmp_path: Path) -> None:
    # As git(1) has it.
    git = Git(tmp_path / "a").init()
    assert f"work tree: {git.path}" in run("-C", "a", "-C", "", "env", cwd=tmp_path).stdout


def test_a_current_directory_that_is_gone_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    done = subprocess.run(
        ["sh", "-c", "cd gone && rmdir ../gone && exec git-datareg env"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 3
    said = "the current directory is not there any more"
    assert done.stderr == f"git-datareg: error: {said}\n"


def test_options_are_not_abbreviated(tmp_path: Path) -> None:
    done = run("list", "--recurs", ".", cwd=tmp_path)
    assert done.returncode == 2
    assert "hint: git datareg list -h" in done.stderr


def test_a_full_disk_behind_stdout_is_one_line(tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            ["git-datareg", "env"], cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 5
    assert done.stderr.startswith("git-datareg: error: No space left on device")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("descriptor", [0, 1, 2])
def test_a_standard_stream_may_be_closed(tmp_path: Path, descriptor: int) -> None:
    closed = {0: "<&-", 1: ">&-", 2: "2>&-"}[descriptor]
    for command, code in ((f"env {closed}", 5), (f"list nowhere {closed}", 3)):
        done = subprocess.run(
            ["sh", "-c", f"git-datareg {command}"], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == (code if descriptor == 1 or code == 3 else 0)
        assert "internal" not in done.stderr


def test_the_module_is_the_program(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "git_datareg", "list", "nowhere"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=dict(os.environ),
    )
    assert done.returncode == 3
    assert done.stderr == "git-datareg: error: no such repository: nowhere\n"
