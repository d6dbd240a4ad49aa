from __future__ import annotations

import argparse
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from git_datareg import ui
from git_datareg.errors import DataregError, NotFoundError, PartialError
from tests.support.gitrun import Git


def said(capfd: pytest.CaptureFixture[str]) -> str:
    out, err = capfd.readouterr()
    assert out == ""
    return err


def test_a_fault_is_one_line_and_its_hints_are_others(capfd: pytest.CaptureFixture[str]) -> None:
    ui.report(DataregError("no luck", "try again", "or not"))
    assert said(capfd) == "git-datareg: error: no luck\nhint: try again\nhint: or not\n"


def test_a_fault_says_which_file_it_is_about(capfd: pytest.CaptureFixture[str]) -> None:
    ui.report(DataregError("no luck"), b"a\tb")
    assert said(capfd) == 'git-datareg: error: "a\\tb": no luck\n'


def test_of_a_partial_fault_every_part_is_told_first(capfd: pytest.CaptureFixture[str]) -> None:
    parts = (NotFoundError("a", "get a"), NotFoundError("b"))
    ui.report(PartialError("2 of 3 failed", "try again", failures=parts))
    assert said(capfd).splitlines() == [
        "git-datareg: error: a",
        "hint: get a",
        "git-datareg: error: b",
        "git-datareg: error: 2 of 3 failed",
        "hint: try again",
    ]


def test_talk_and_warnings_are_lines(capfd: pytest.CaptureFixture[str]) -> None:
    ui.say("two\nlines")
    ui.warn("odd")
    assert said(capfd) == "two\nlines\ngit-datareg: warning: odd\n"


EVIL = "a\nhint: rm -rf\r\x1b[2J\x9b\u202e\udc9b"


def test_names_can_neither_make_lines_nor_move_the_cursor(
    capfd: pytest.CaptureFixture[str],
) -> None:
    for tell in (ui.warn, ui.hint, lambda text: ui.report(DataregError(text, text))):
        tell(EVIL)
    lines = said(capfd).splitlines()
    assert len(lines) == 4
    shown = "a\\nhint: rm -rf\\r\\033[2J\\302\\233\\342\\200\\256\\233"
    assert all(line.endswith(shown) for line in lines)


def test_bytes_that_are_not_utf8_are_told_as_they_are(capfdbinary: object) -> None:
    ui.warn(os.fsdecode(b"caf\xe9 \xc3\xa9"))
    _, err = capfdbinary.readouterr()  # type: ignore[attr-defined]
    assert err == b"git-datareg: warning: caf\xe9 \xc3\xa9\n"


@given(st.binary(max_size=20).filter(lambda path: b"\0" not in path))
def test_a_shown_path_is_one_harmless_line(path: bytes) -> None:
    shown = ui.show(path)
    assert all(char.isprintable() or "\udca0" <= char <= "\udcff" for char in shown)
    plain = path.decode("utf-8", "surrogateescape")
    assert shown == plain or (shown[0] == shown[-1] == '"')
    assert ui.show(plain) == shown


@pytest.mark.parametrize(
    "path", ['a\tb"c\\d', "\a\b\f\n\r\v\x01\x7f", 'plain "name" \\', "\u00e9\n"]
)
def test_odd_paths_are_quoted_as_git_quotes_them(path: str, tmp_path_factory: object) -> None:
    git = Git(tmp_path_factory.mktemp("r")).init()  # type: ignore[attr-defined]
    git.write(path, b"")
    git.run("config", "core.quotePath", "false")
    told = git.out("ls-files", "--others")
    # Git quotes for quotes alone too; a name that can do no harm is ours to show as it is.
    assert ui.show(path) == (told if not path.isprintable() else path)


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (1024**2 - 1, "1.0 MiB"),
        (1024**2, "1.0 MiB"),
        (1023 * 1024, "1023.0 KiB"),
        (5 * 1024**3, "5.0 GiB"),
        (1024**4, "1.0 TiB"),
        (5000 * 1024**4, "5000.0 TiB"),
    ],
)
def test_sizes_have_a_unit(number: int, shown: str) -> None:
    assert ui.size(number) == shown


def test_a_trace_is_one_line_that_says_so(capfd: pytest.CaptureFixture[str]) -> None:
    ui.trace("git log\n\x1b[2J: exit code 0")
    assert said(capfd) == "git-datareg: trace: git log\\n\\033[2J: exit code 0\n"


def test_nouns_are_counted() -> None:
    assert [ui.count(number, "file") for number in (0, 1, 2)] == ["0 files", "1 file", "2 files"]


def test_a_closed_or_missing_terminal_stops_nothing() -> None:
    code = "from git_datareg import ui; ui.say('x'); print('done')"
    for redirection in ("2>&-", "2>/dev/full"):
        command = ["sh", "-c", f'exec "$0" -c "$1" {redirection}', sys.executable, code]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        assert (redirection, done.stdout) == (redirection, "done\n")


def test_progress_is_silent_unless_asked_for(capfd: pytest.CaptureFixture[str]) -> None:
    for show in (None, False):
        with ui.Progress("fetching", 100, show=show) as progress:
            progress.advance(50, 1)
    with ui.Progress("fetching", 0, show=True) as progress:
        progress.advance(0, 0)
    assert said(capfd) == ""


def test_progress_that_is_asked_for_is_shown_on_stderr() -> None:
    code = (
        "from git_datareg import ui\n"
        "with ui.Progress('fetching', show=True) as progress:\n"
        "    progress.expect(2048, 3)\n"
        "    progress.advance(2048, 1)\n"
        "    progress.advance(-1024, 0)\n"
        "    progress.advance(1024, 1)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "fetching: 100%" in done.stderr
    assert "files: 2/3" in done.stderr
    assert done.stdout == ""


def test_a_command_s_options_decide_on_progress(capfd: pytest.CaptureFixture[str]) -> None:
    for quiet, progress in ((True, True), (False, False), (False, None)):
        arguments = argparse.Namespace(quiet=quiet, progress=progress)
        with ui.Progress.of(arguments, "fetching", 9) as bar:
            bar.advance(9, 1)
    assert said(capfd) == ""
    with ui.Progress.of(argparse.Namespace(quiet=False, progress=True), "fetching", 9) as bar:
        bar.advance(9, 1)
    assert "fetching" in said(capfd)


def test_a_long_list_of_names_is_cut() -> None:
    assert ui.listing(["a", "b"], most=2) == "  a\n  b"
    assert ui.listing("abcd", most=2) == "  a\n  b\n  and 2 more"
