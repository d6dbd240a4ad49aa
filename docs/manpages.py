"""Writes the man pages: `git datareg --help` opens one (see git-help(1)).

Their options come from the commands' parsers, the rest from docs/manual.txt.
Called by `make man`; a test holds the pages in docs/man against this.
"""

from __future__ import annotations

import argparse
import keyword
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path

from git_datareg.main import COMMANDS, INTERNAL

_DOCS = Path(__file__).resolve().parent
#: Where the pages are kept.
DIRECTORY = _DOCS / "man"
_MAIN, _HELPER = "git-datareg", "git-remote-datareg"
_SUMMARIES = {_MAIN: "data registries that are just Git", _HELPER: "data registries as Git remotes"}


def parser_of(command: str) -> argparse.ArgumentParser:
    """The parser of a command of `git datareg`, with the arguments that it takes."""
    name = command.replace("-", "_")
    module = import_module("git_datareg.commands." + name + "_" * keyword.iskeyword(name))
    parser = argparse.ArgumentParser(prog=f"git datareg {command}", allow_abbrev=False)
    module.add_arguments(parser)
    return parser


def pages() -> dict[str, str]:
    """Every page's file name and text."""
    texts = _manual()
    found = {name: _page(name, texts.pop(name)) for name in [*_SUMMARIES, *_command_pages()]}
    if texts:
        raise ValueError(f"docs/manual.txt is about what does not exist: {', '.join(texts)}")
    return {f"{name}.1": "\n".join(lines) + "\n" for name, lines in found.items()}


def write(directory: Path) -> None:
    """Make `directory` hold the pages and no other ones."""
    directory.mkdir(exist_ok=True)
    current = pages()
    for old in directory.glob("*.1"):
        if old.name not in current:
            old.unlink()
    for name, text in current.items():
        (directory / name).write_text(text, encoding="utf-8")


def _command_pages() -> dict[str, str]:
    return {f"{_MAIN}-{command}": command for command in COMMANDS}


def _manual() -> dict[str, list[str]]:
    """The lines of docs/manual.txt, page by page."""
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in (_DOCS / "manual.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("== "):
            lines = found.setdefault(line.removeprefix("== "), [])
        else:
            lines.append(line)
    return found


def _page(name: str, text: list[str]) -> list[str]:
    command = _command_pages().get(name)
    summary = _SUMMARIES[name] if command is None else COMMANDS[command]
    lines = [
        '.\\" Made by docs/manpages.py from docs/manual.txt and the parsers: edit those.',
        f'.TH "{name.upper()}" "1" "" "git-datareg" "git-datareg manual"',
        # As git's own pages: text flush left, no hyphens in what one may want to copy.
        ".nh",
        ".ad l",
        ".SH NAME",
        f"{_escaped(name)} \\- {_escaped(summary)}",
        ".SH SYNOPSIS",
        *(line for usage in _synopsis(name, command) for line in (".HP 4", usage)),
        ".SH DESCRIPTION",
    ]
    own, others = _sections(text)
    lines += _running_text(own)
    if command is not None:
        lines += _options(parser_of(command))
    if name == _MAIN:
        lines += [*_common_options(), ".SH COMMANDS", *_list_of(COMMANDS)]
        lines += [".SH CALLED BY GIT", *_list_of(INTERNAL)]
    for heading, content in others.items():
        lines += [f".SH {_escaped(heading)}", *_running_text(content)]
    return lines + _see_also(name)


def _synopsis(name: str, command: str | None) -> Iterator[str]:
    if name == _MAIN:
        yield "\\fBgit datareg\\fR [\\-C DIR] COMMAND [ARGUMENTS]"
        yield "\\fBgit datareg\\fR \\-\\-version"
    elif command is None:
        yield "\\fBgit clone datareg::\\fRURL"
    else:
        yield from _usages(parser_of(command))


def _usages(parser: argparse.ArgumentParser) -> Iterator[str]:
    """How to call a command, a line for each of its actions."""
    words = (_escaped(word).replace(" ", "\\ ") for word in _words(parser))
    yield " ".join([f"\\fB{_escaped(parser.prog)}\\fR", *words])
    for _, action in actions_of(parser):
        yield from _usages(action)


def _words(parser: argparse.ArgumentParser) -> Iterator[str]:
    grouped = {
        action: group._group_actions
        for group in parser._mutually_exclusive_groups
        for action in group._group_actions
    }
    for action in _arguments(parser):
        together = grouped.get(action, [action])
        if action is together[0]:
            word = " | ".join(_spelled(each) for each in together)
            yield f"[{word}]{'...' * _is_repeated(action)}" if action.option_strings else word


def _spelled(action: argparse.Action) -> str:
    value = action.metavar if isinstance(action.metavar, str) else action.dest
    if action.option_strings:
        flags = ",".join(action.option_strings[:1])
        if isinstance(action, argparse.BooleanOptionalAction):
            flags = " | ".join(action.option_strings)
        return flags if action.nargs == 0 else f"{flags} {_value(action)}"
    *before, last = value.split()
    many = " ".join([*(f"[{word}]" for word in before), f"[{last}...]"])
    return {"?": f"[{value}]", "*": many, "+": f"{value}..."}.get(str(action.nargs), value)


def _value(action: argparse.Action) -> str:
    """An option's value, in brackets where it may be left out."""
    value = action.metavar if isinstance(action.metavar, str) else action.dest
    return f"[{value}]" if action.nargs == "?" else value


def _is_repeated(action: argparse.Action) -> bool:
    return isinstance(action, argparse._AppendAction)


def _arguments(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """Options and positional arguments, without `-h` and the choice of an action."""
    no = (argparse._HelpAction, argparse._SubParsersAction)
    return [action for action in parser._actions if not isinstance(action, no)]


def actions_of(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """The actions of a command (`storage add`), each with what it does."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for choice in action._choices_actions:
                yield choice.help or "", action.choices[choice.dest]


def _options(parser: argparse.ArgumentParser) -> list[str]:
    lines = [".SH OPTIONS"]
    for action in _arguments(parser):
        lines += _term(_flags(action), action.help or "")
    lines += _term("\\fB\\-h\\fR, \\fB\\-\\-help\\fR", "show the options and end")
    for summary, each in actions_of(parser):
        lines += [f'.SS "{_escaped(each.prog)}"', f"{_escaped(_sentence(summary))}"]
        for action in _arguments(each):
            lines += _term(_flags(action), action.help or "")
    return lines


def _common_options() -> list[str]:
    return [
        ".SH OPTIONS",
        *_term("\\fB\\-C\\fR DIR", "run as if started in DIR"),
        *_term("\\fB\\-\\-version\\fR", "print the version and end"),
        *_term("\\fB\\-h\\fR", "list the commands and end"),
    ]


def _flags(action: argparse.Action) -> str:
    flags = ", ".join(f"\\fB{_escaped(flag)}\\fR" for flag in action.option_strings)
    if not flags:
        value = action.metavar if isinstance(action.metavar, str) else action.dest
        return f"\\fI{_escaped(value)}\\fR"
    return flags if action.nargs == 0 else f"{flags} \\fI{_escaped(_value(action))}\\fR"


def _list_of(commands: dict[str, str]) -> list[str]:
    lines = []
    for name, summary in commands.items():
        page = f"git-datareg-{name}"
        shown = f"\\fB{_escaped(page)}\\fR(1)" if name in COMMANDS else f"\\fB{_escaped(name)}\\fR"
        lines += _term(shown, summary)
    return lines


def _term(term: str, text: str) -> list[str]:
    return [".TP", term, _escaped(_sentence(text)) or "\\&"]


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}." if text else ""


def _sections(text: list[str]) -> tuple[list[str], dict[str, list[str]]]:
    own: list[str] = []
    others: dict[str, list[str]] = {}
    current = own
    for line in text:
        if line.startswith("= "):
            current = others.setdefault(line.removeprefix("= "), [])
        else:
            current.append(line)
    return own, others


def _running_text(lines: Iterable[str]) -> Iterator[str]:
    """Paragraphs, terms and examples of docs/manual.txt as man(7) has them."""
    example = has_gap = False
    begins = True
    for line in lines:
        if not line:
            begins = has_gap = True
            continue
        if line.startswith("    ") != example:
            example = not example
            yield from (".PP", ".RS 4", ".nf") if example else (".fi", ".RE")
        elif example and has_gap:
            yield ""
        if example:
            yield _escaped(line.removeprefix("    "))
        elif line.endswith("::"):
            yield from (".TP", f"\\fB{_escaped(line.removesuffix('::'))}\\fR")
        else:
            yield from (".PP", _escaped(line)) if begins else (_escaped(line),)
        begins = has_gap = False
    if example:
        yield from (".fi", ".RE")


def _see_also(name: str) -> list[str]:
    others = [_HELPER, "gitattributes"] if name == _MAIN else [_MAIN]
    sections = {"gitattributes": 5}
    words = [f"\\fB{_escaped(each)}\\fR({sections.get(each, 1)})" for each in others]
    return [".SH SEE ALSO", ", ".join(words)]


def _escaped(text: str) -> str:
    """The text with what roff would take for its own spelled out; groff_man(7), "Portability"."""
    spelled = text.replace("\\", "\\e").replace("-", "\\-").replace("~", "\\(ti")
    spelled = spelled.replace("'", "\\(aq").replace("^", "\\(ha").replace("`", "\\(ga")
    return "\\&" + spelled if spelled.startswith(".") else spelled


if __name__ == "__main__":
    write(DIRECTORY)
