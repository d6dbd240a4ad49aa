"""Times what users of a registry do, with git-datareg and with dvc, in one run.

Both have the same files in a bare Git repository on this machine, pushed to a
storage that is a directory. Cold: nothing is in any cache below the home
directory; warm: the same once more. The kernel's caches are left alone.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from measuring import (
    MIB,
    Costs,
    Figures,
    Line,
    call,
    check_same,
    costs_table,
    environment,
    measured,
    medians,
    short_table,
    write_file,
    write_files,
)

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.support import githttp

_PER_FOLDER = 1000
_ONE = "data/000/00000.bin"
_LARGE = "large.bin"
_COLD, _WARM = "cold", "warm"
_OURS, _FLOOR = "git-datareg", "cp -r"

Command = tuple[str, ...]
#: What is measured; it is told the environment, and whether it is cold or warm.
_Step = Callable[[Mapping[str, str], str], Costs]


class Tool(NamedTuple):
    """A program that gets data out of registries."""

    name: str
    #: How it is run; its commands have the same names and arguments as ours.
    program: Command
    #: What makes it silent, and how its metafiles end.
    quiet: Command
    suffix: str
    #: A Python that has its API, and the API's package.
    python: Path
    package: str
    #: What makes a Git repository hold data: once, on each change, before each push.
    init: tuple[Command, ...]
    record: tuple[Command, ...]
    push: tuple[Command, ...]


class Size(NamedTuple):
    """How much there is to be got: small files, their bytes, and the bytes of a large one."""

    files: int
    bytes: int
    large: int


def datareg() -> Tool:
    """Ours, as `git datareg` on PATH."""
    init = (("init",), ("track", "data/**", _LARGE))
    python = Path(sys.executable)
    return Tool(_OURS, ("git", "datareg"), (), "", python, "git_datareg", init, (), ())


def dvc(program: Path) -> Tool:
    """The dvc at a path, in a virtual environment of its own."""
    quiet = ("--quiet",)
    init = (("init", *quiet), ("remote", "add", "--default", "storage", "{storage}"))
    record, push = ("add", *quiet, "data", _LARGE), ("push", *quiet)
    python = program.parent / "python"
    return Tool("dvc", (str(program),), quiet, ".dvc", python, "dvc", init, (record,), (push,))


class Registry(NamedTuple):
    """A bare repository with the branch `main`, and what it holds before and after a change."""

    tool: Tool
    bare: Path
    old: Path
    new: Path
    #: Where its environments may be made.
    place: Path

    def env(self, name: str) -> dict[str, str]:
        """An environment whose caches are empty when the name is new."""
        return environment(self.place / f"home-{name}")

    def turn(self, to: str) -> None:
        """Have the branch be at the tag `old` or `new`."""
        command = ["git", "update-ref", "refs/heads/main", f"refs/tags/{to}"]
        call(command, self.bare, self.env("turn"))

    def run(self, words: Sequence[str], directory: Path, env: Mapping[str, str]) -> bytes:
        """Run the tool; returns its output."""
        return call([*self.tool.program, *words], directory, env)

    def measured(
        self,
        words: Sequence[str],
        directory: Path,
        env: Mapping[str, str],
        output: Path | None = None,
    ) -> Costs:
        """Run the tool; see `measured`."""
        return measured([*self.tool.program, *words], directory, env, output)


def prepare(tool: Tool, size: Size, old: Path, new: Path, place: Path) -> Registry:
    """Publish the files of `old`, then those of `new`, in a registry below `place`."""
    place.mkdir()
    registry = Registry(tool, place / "registry.git", old, new, place)
    env, work = registry.env("publisher"), place / "work"

    def git(*words: str | Path, at: Path = work) -> bytes:
        return call(["git", *words], at, env)

    git("init", "--quiet", "--bare", registry.bare, at=place)
    git("init", "--quiet", work, at=place)
    git("remote", "add", "origin", registry.bare)
    for command in tool.init:
        registry.run([word.format(storage=place / "storage") for word in command], work, env)
    for tag, files in (("old", old), ("new", new)):
        call(["cp", "-r", f"{files}/.", work], place, env)
        for command in tool.record:
            registry.run(command, work, env)
        git("add", ".")
        git("commit", "--quiet", "--message", tag)
        git("tag", tag)
        for command in tool.push:
            registry.run(command, work, env)
        git("push", "--quiet", "origin", "main", tag)
    return registry


def steps(registry: Registry, run: str, size: Size) -> Iterator[tuple[str, str, Costs]]:
    """Name, kind and costs of each step."""
    place = registry.place / run
    place.mkdir()
    registry.turn("old")
    yield from _reading(registry, str(registry.bare), place, run, size)
    with githttp.serve(registry.place) as url:
        get = _getter(registry, f"{url}/registry.git", "data", place / "http")
        env = registry.env(f"{run}-http")
        # An embedded storage can't be reached by http: the user says where it is.
        for key, value in (("storage", "here"), ("here.url", str(registry.bare / "datareg"))):
            call(["git", "config", "--global", f"datareg.{key}", value], place, env)
        for kind, costs in _twice(registry, env, get, place):
            yield "get of the directory, Git by http", kind, costs
    yield from _importing(registry, place, run)


def _reading(
    registry: Registry, url: str, place: Path, run: str, size: Size
) -> Iterator[tuple[str, str, Costs]]:
    tool, output = registry.tool, place / "output"

    def listed(env: Mapping[str, str], _: str) -> Costs:
        costs = registry.measured(["list", "-R", url, "data"], place, env, output)
        found = output.read_bytes().splitlines()
        if len(found) != size.files:
            raise SystemExit(f"{tool.name} lists {len(found)} files, not {size.files}")
        return costs

    def opened(env: Mapping[str, str], _: str) -> Costs:
        text = f"from {tool.package} import api\nimport sys\n"
        text += f"with api.open({_ONE!r}, repo={url!r}, mode='rb') as file:\n"
        text += "    sys.stdout.buffer.write(file.read())\n"
        costs = measured([tool.python, "-c", text], place, env, output)
        if output.read_bytes() != (registry.old / _ONE).read_bytes():
            raise SystemExit(f"{tool.name}: api.open gave something else")
        return costs

    named: dict[str, _Step] = {
        "list": listed,
        "get of the directory": _getter(registry, url, "data", place / "all"),
        "get of one file": _getter(registry, url, _ONE, place / "one"),
        _large(size): _getter(registry, url, _LARGE, place / "big"),
        "`api.open` of one file": opened,
    }
    for number, (name, step) in enumerate(named.items()):
        for kind, costs in _twice(registry, registry.env(f"{run}-{number}"), step, place):
            yield name, kind, costs


def _getter(registry: Registry, url: str, path: str, out: Path) -> _Step:
    def got(env: Mapping[str, str], kind: str) -> Costs:
        words = ["get", *registry.tool.quiet, url, path, "-o", f"{out}-{kind}"]
        return registry.measured(words, out.parent, env)

    return got


def _twice(
    registry: Registry,
    env: Mapping[str, str],
    step: _Step,
    place: Path,
) -> Iterator[tuple[str, Costs]]:
    """Costs with empty caches, and then with filled ones; what a `get` left is checked."""
    for kind in (_COLD, _WARM):
        yield kind, step(env, kind)
        for name, expected in (("all", "data"), ("http", "data"), ("one", _ONE), ("big", _LARGE)):
            found = place / f"{name}-{kind}"
            if found.exists():
                check_same(found, registry.old / expected)


def _importing(registry: Registry, place: Path, run: str) -> Iterator[tuple[str, str, Costs]]:
    """Two imports into a new repository, their updates, and updates without a change."""
    tool, repository = registry.tool, place / "consumer"
    env = registry.env(f"{run}-import")
    call(["git", "init", "--quiet", repository], place, env)
    call(["git", "commit", "--quiet", "--allow-empty", "--message", "first"], repository, env)
    registry.run(["init", *tool.quiet], repository, env)

    def commit() -> None:
        call(["git", "add", "."], repository, env)
        call(["git", "commit", "--quiet", "--message", "next"], repository, env)

    for kind in (_COLD, _WARM):
        words = ["import", *tool.quiet, str(registry.bare), "data", "-o", kind]
        yield "import", kind, registry.measured(words, repository, env)
        check_same(repository / kind, registry.old / "data")
        commit()
    for name, holds in (
        ("update with nothing changed", "old"),
        ("update after 1 % changed", "new"),
    ):
        registry.turn(holds)
        env = registry.env(f"{run}-{holds}")
        for kind in (_COLD, _WARM):
            words = ["update", *tool.quiet, f"{kind}{tool.suffix}"]
            yield name, kind, registry.measured(words, repository, env)
            check_same(repository / kind, registry.old.parent / holds / "data")
        if holds == "new":
            commit()


def measure(
    tools: Sequence[Tool], size: Size, runs: int, scratch: Path, *, dvc_runs: int
) -> Figures:
    """The costs by step and tool; dvc, which takes minutes, has its own runs."""
    old, new = scratch / "old", scratch / "new"
    write_files(old / "data", size.files, size.bytes, per_folder=_PER_FOLDER)
    write_file(old / _LARGE, size.large)
    call(["cp", "-rp", old, new], scratch, environment(scratch / "home"))
    for path in sorted((new / "data").rglob("*.bin"))[::100]:
        write_file(path, size.bytes)
    figures: Figures = {}
    registries = []
    for tool in tools:
        print(f"publishing with {tool.name}", file=sys.stderr)
        registries.append(prepare(tool, size, old, new, scratch / tool.name))
    for run in range(runs):
        # In turn, so that none always comes first.
        for registry in registries[run % len(tools) :] + registries[: run % len(tools)]:
            if registry.tool.name == "dvc" and run >= dvc_runs:
                continue
            print(f"consuming: run {run + 1}, {registry.tool.name}", file=sys.stderr)
            for name, kind, costs in steps(registry, f"run-{run}", size):
                row = figures.setdefault(f"{name}, {kind}", {})
                row.setdefault(registry.tool.name, []).append(costs)
        for name, path in (("get of the directory", "data"), (_large(size), _LARGE)):
            copy = ["cp", "-r", old / path, scratch / f"copy-{run}-{path}"]
            costs = measured(copy, scratch, os.environ)
            for kind in (_COLD, _WARM):
                figures[f"{name}, {kind}"].setdefault(_FLOOR, []).append(costs)
    return figures


def _large(size: Size) -> str:
    return f"get of a file of {size.large // MIB} MiB"


def tables(figures: Figures, size: Size) -> Iterator[str]:
    """A line for each step, cold and warm, and all costs of all tools."""
    found = medians(figures)
    lines = {}
    for step, row in found.items():
        seconds = {tool: each.seconds for tool, each in row.items()}
        peers, floors = (
            {tool: seconds[tool] for tool in (name,) if tool in row} for name in ("dvc", _FLOOR)
        )
        lines[step] = Line(seconds[_OURS], peers, floors)
    title = f"Consuming a registry: {size.files:,} files of {size.bytes:,} bytes"
    yield from short_table(title, lines)
    has_dvc = any("dvc" in row for row in found.values())
    yield from costs_table(title, found, [_FLOOR, _OURS, *(["dvc"] if has_dvc else [])])
    yield ""
    yield "Cold: with nothing in the caches below the home directory; warm: once more. The registry"
    yield "is a bare repository on this machine, its storage a directory."
    if not has_dvc:
        yield "dvc could not be installed here: skipped."
