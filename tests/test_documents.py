"""The documents say what is so: links, commands, module names, man pages."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path

import pytest

from docs import manpages
from git_datareg.main import COMMANDS, INTERNAL
from tests.test_layering import PACKAGE, matches, modules

ROOT = Path(__file__).resolve().parents[1]
MARKDOWN = (
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md")),
)


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def anchor(heading: str) -> str:
    """As GitHub makes it of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("name", MARKDOWN)
def test_every_link_inside_the_repository_leads_somewhere(name: str) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", text(name))
    for link in links:
        target, _, fragment = link.partition("#")
        if "://" in target:
            continue
        path = (ROOT / name).parent / target if target else ROOT / name
        assert path.exists(), f"{name}: {link}"
        if fragment:
            headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
            assert fragment in map(anchor, headings), f"{name}: {link}"


@pytest.mark.parametrize("name", MARKDOWN)
def test_every_file_that_is_named_is_there(name: str) -> None:
    named = re.findall(r"`((?:docs|tests|benchmarks|git_datareg)/[\w./-]+)`", text(name))
    # What is not written yet or made on demand; a name that is there need not be here.
    later = {"docs/benchmarks/latest.md", "tests/contract"}
    assert not [path for path in named if not (ROOT / path).exists() and path not in later]


def commands_in(document: str) -> Iterator[list[str]]:
    """The words behind `git datareg` in blocks of code and between backticks."""
    blocks = re.findall(r"^```(?:console|sh)\n(.*?)^```", document, re.M | re.S)
    prose = re.sub(r"^```.*?^```", "", document, flags=re.M | re.S)
    lines = [line.removeprefix("$ ") for block in blocks for line in block.splitlines()]
    lines += re.findall(r"`(git datareg [^`]+)`", prose)
    for line in lines:
        for part in re.split(r"&&|\|", line):
            found = re.search(r"git datareg (.*)", part)
            if found and not found[1].startswith(("...", "<")):
                yield shlex.split(found[1].split(" #")[0])


def is_taken(words: list[str]) -> bool:
    """Whether the words are a call of a command, or the name of one alone."""
    command, *rest = words
    if command.startswith("-"):
        return command in ("-h", "--help", "--version", "-C")
    if command not in COMMANDS | INTERNAL:
        return False
    if not rest:
        return True
    try:
        manpages.parser_of(command).parse_args(rest)
    except SystemExit:
        return False
    return True


@pytest.mark.parametrize("name", [*MARKDOWN, "docs/manual.txt"])
def test_every_command_that_is_shown_is_one(name: str) -> None:
    document = text(name)
    if name.endswith(".txt"):
        examples = re.findall(r"^    (.*)$", document, re.MULTILINE)
        document = "```sh\n" + "\n".join(examples) + "\n```\n"
    assert not [words for words in commands_in(document) if not is_taken(words)]


def test_the_readme_shows_commands_with_options() -> None:
    # Else the test above would be content with nothing.
    shown = [" ".join(words) for words in commands_in(text("README.md"))]
    assert "init" in shown
    assert any(each.startswith("import --rev v1 ") for each in shown)
    assert len({each.split()[0] for each in shown}) >= 8


def test_a_command_that_does_not_exist_would_be_found() -> None:
    assert not is_taken(["gett", "x"])
    assert not is_taken(["get", "--revision", "v1", "URL", "PATH"])
    assert is_taken(["get", "--rev", "v1", "URL", "PATH"])


def test_the_two_commands_are_those_of_make_and_of_the_check() -> None:
    top = text("README.md").partition("\n## Install")[0]
    for target in ("demo", "test"):
        assert f"`make {target}`" in top
        assert re.search(rf"^{target}:", text("Makefile"), re.MULTILINE)
    assert re.search(r"^make test$", text(".ci/run"), re.MULTILINE)


def test_every_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", text("Makefile"), re.MULTILINE))
    for name in MARKDOWN:
        assert set(re.findall(r"`make ([a-z]+)", text(name))) <= targets, name


def test_the_table_of_exit_codes_is_that_of_the_errors() -> None:
    from git_datareg import errors

    table = text("README.md").partition("## Exit codes")[2].partition("\n## ")[0]
    documented = {int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)}
    used = {each.exit_code for each in vars(errors).values() if hasattr(each, "exit_code")}
    assert documented == used | {0, 130}


def layer_table() -> list[tuple[str, str]]:
    """The rows of the table of layers: the layer's name, the modules' patterns."""
    section = text("docs/design.md").partition("## Layers")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (\d [\w ]+) \|[^|]*\|([^|]*)\|$", section, re.MULTILINE)
    return [(name, " ".join(re.findall(r"`([^`]+)`", cell))) for name, cell in rows]


def test_each_module_is_in_one_layer_of_the_design() -> None:
    rows = layer_table()
    assert len(rows) == 7
    for module in modules():
        # A folder's own module (`storage`) goes with what is in it (`storage.*`).
        names = (module, f"{module}.") if (PACKAGE / module).is_dir() else (module,)
        homes = [row for row, patterns in rows if any(matches(name, patterns) for name in names)]
        assert len(homes) == 1, f"{module}: {homes}"


def test_each_name_in_the_layers_of_the_design_is_a_module() -> None:
    for _, patterns in layer_table():
        for pattern in patterns.split():
            assert [name for name in modules() if matches(name, pattern)], pattern


def test_the_man_pages_are_current() -> None:
    found = {path.name: path.read_text(encoding="utf-8") for path in manpages.DIRECTORY.iterdir()}
    assert found == manpages.pages(), "run `make man`"


@pytest.mark.parametrize("command", COMMANDS)
def test_the_page_of_a_command_has_every_option_of_it(command: str) -> None:
    page = manpages.pages()[f"git-datareg-{command}.1"].replace("\\-", "-")
    for option in options_of(manpages.parser_of(command)):
        assert option in re.findall(r"\\fB(-[\w-]+)\\fR", page)


def options_of(parser: argparse.ArgumentParser) -> set[str]:
    """All that begins with a dash in the help of the command and of its actions."""
    found = set(re.findall(r"(?<![\w-])-{1,2}\w[\w-]*", parser.format_help().partition("\n\n")[2]))
    for _, action in manpages.actions_of(parser):
        found |= options_of(action)
    return found


def test_writing_the_pages_leaves_no_old_one(tmp_path: Path) -> None:
    (tmp_path / "git-datareg-old.1").write_text("old", encoding="utf-8")
    manpages.write(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == manpages.pages().keys()


def test_the_man_pages_are_installed_where_man_looks() -> None:
    parser = ConfigParser(interpolation=None)
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    assert parser["options.data_files"]["share/man/man1"].split() == ["docs/man/*.1"]
