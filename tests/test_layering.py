"""Who may import whom, who may use what, and how big things may get.

The tables are the rule; the tests read the sources and hold them against it.
A new module needs a word in `LAYERS`. Names are without the package's own name,
whose root is `__init__`; `storage.*` means every module in that folder, and
`storage` the folder's own.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from functools import cache
from graphlib import TopologicalSorter
from math import ceil
from pathlib import Path
from statistics import median
from typing import NamedTuple

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "git_datareg"

#: A module imports from lower layers only.
LAYERS = (
    # 0: faults
    "errors",
    # 1: values, pure
    "attributes digest generation gitconfig globs location login metafile plainfiles pointer"
    " sshurl symlinks trust",
    # 2: edges
    "copying files git git.* gitindex processes protocol protocol.* removal signals staging storage"
    " storage.* targets workers worktree",
    # 3: services
    "arriving downloads embedding exclusive history layout lookups notes objects presence roots"
    " settings transfer uploads",
    # 4: operations on a repository
    "adding configuring consolidation filtering incoming installing placing projects pushing"
    " registries remote serverless sources storages streaming updates",
    # 5: operations across repositories
    "bringing chains changes checking collecting conflicts delivery importing imports listing"
    " mirror needs origins pruning reading recording registry repairing served serverless_remote"
    " shared standing upcoming working",
    # 6: the Python API, and what puts the parts together
    "__init__ api filesystem workspace",
    # 7: programs
    "__main__ commands commands.* main remote_main ui",
)

#: The imports inside a layer that are allowed: who -> whom.
WITHIN = {
    "metafile": "gitconfig location",
    "generation": "digest",
    "plainfiles": "generation",
    "pointer": "digest",
    "sshurl": "location",
    "trust": "location",
    "git.*": "git git.*",
    "protocol.filter": "protocol.filter_events protocol.pktline",
    "protocol.filter_events": "protocol.pktline",
    "protocol.remote_helper": "protocol.pktline",
    "storage": "storage.*",
    "storage.deferred": "storage.wrapping",
    "storage.refusing": "storage.wrapping",
    "storage.retrying": "storage.wrapping",
    "storage.tracing": "storage.wrapping",
    "storage.memory": "storage.place",
    "storage.local": "storage.place",
    "storage.*": "files storage",
    "storage.bucket": "storage.aws storage.s3faults storage.s3forked",
    "storage.s3forked": "storage.s3faults",
    "storage.multipart": "storage.s3faults",
    "storage.s3": "storage.aws storage.bucket storage.multipart storage.place storage.s3faults",
    "storage.connections": "storage.weburl",
    "storage.http": "storage.answers storage.connections storage.httpclient storage.place",
    "storage.httpclient": "storage.answers storage.connections storage.credentials"
    " storage.redirects storage.weburl",
    "storage.redirects": "storage.weburl",
    # Over the ssh that git uses.
    "storage.channel": "git git.ssh protocol.sftp",
    "storage.filesystems": "storage.dialects storage.exceptions storage.pieces storage.place",
    "storage.handles": "protocol.sftp storage.channel storage.pieces",
    "storage.sftp": "git git.ssh protocol.sftp storage.channel storage.handles storage.place",
    "processes": "files signals",
    "staging": "copying files worktree",
    "removal": "files",
    "targets": "files removal",
    "worktree": "copying files",
    "layout": "objects",
    "arriving": "objects",
    "downloads": "arriving layout objects transfer",
    "lookups": "downloads layout presence transfer",
    "presence": "layout",
    "transfer": "layout",
    "uploads": "layout objects presence transfer",
    "adding": "filtering",
    "bringing": "filtering origins upcoming",
    "placing": "filtering",
    "storages": "projects",
    "sources": "projects storages",
    "pushing": "projects sources storages",
    "remote": "projects storages",
    "exclusive": "notes",
    "registries": "serverless storages",
    "serverless": "consolidation incoming updates",
    "consolidation": "incoming",
    "working": "origins",
    "needs": "origins",
    "pruning": "needs",
    "changes": "working",
    "checking": "needs origins",
    "repairing": "checking origins",
    "conflicts": "imports registry working",
    "delivery": "origins registry",
    "origins": "registry",
    "importing": "chains conflicts delivery imports recording registry standing",
    "standing": "imports registry",
    "chains": "imports registry standing",
    "recording": "imports registry",
    "listing": "registry",
    "reading": "delivery origins registry",
    "registry": "mirror served",
    "served": "mirror",
    "serverless_remote": "served",
    "shared": "collecting",
    "__init__": "api",
    "api": "workspace",
    "filesystem": "api",
    "__main__": "main",
    "main": "commands commands.* ui",
    "remote_main": "main ui",
    "commands.*": "ui commands.parsing commands.printing",
    "commands.post_merge": "commands.post_checkout",
    "commands.pull": "commands.checkout commands.fetch commands.parsing ui",
    "commands.uninstall": "commands.install ui",
}

#: Where a layer is not strict enough: who -> all it may import of ours.
ONLY = {
    "protocol": "errors",
    "protocol.*": "errors protocol.filter_events protocol.pktline",
}

#: Every third-party module, and those of the standard library that have one
#: home: what -> who may import it.
IMPORTERS = {
    "argparse": "main remote_main commands commands.* ui",
    "blake3": "digest",
    "botocore": "storage.aws storage.multipart storage.s3forked",
    "fsspec": "filesystem storage.dialects storage.filesystems",
    "importlib.metadata": "commands.env",
    # To hush others; we log nothing.
    "logging": "storage.dialects",
    "obstore": "storage.aws storage.bucket storage.s3 storage.s3faults",
    "subprocess": "git git.*",
    "tqdm": "ui",
    "urllib3": "storage.connections storage.httpclient",
}

#: Names that reach out of the program: what -> who may use it, apart from the programs.
USERS = {
    # A child's environment starts from ours. And AWS has variables of its own, which its
    # libraries read, too; what has changed in any of it opens storages anew.
    "os.environ": "api git.process git.ssh storage.aws storages",
    "os.getenv": "api",
    "print": "",
    "sys.argv": "",
    "sys.exit": "",
    "sys.stdin": "",
    "sys.stdout": "",
    "sys.stderr": "",
}

#: Who -> what it must do without. Machines and values touch no clock, file or
#: thread, and what git's filter loads at each start must be quick to import.
WITHOUT = {
    "protocol protocol.*": "asyncio io logging os pathlib random select selectors shutil signal"
    " socket sys tempfile threading time",
    LAYERS[1]: "pathlib random shutil socket tempfile threading time",
    "__init__ errors digest pointer protocol protocol.pktline protocol.filter"
    " protocol.filter_events": "argparse"
    " contextlib dataclasses io json os pathlib re sys tempfile threading",
}

MODULE_LINES, MODULE_MEDIAN = 450, 150
FUNCTION_LINES, FUNCTION_P90, FUNCTION_MEDIAN = 60, 30, 8
PUBLIC_METHODS = 10

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
DEFINITIONS = (*FUNCTIONS, ast.ClassDef)


class Module(NamedTuple):
    name: str
    lines: int
    tree: ast.Module


class Use(NamedTuple):
    """A dotted name that a module takes from elsewhere."""

    name: str
    line: int


@cache
def modules() -> dict[str, Module]:
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts) or "__init__"
        source = path.read_text(encoding="utf-8")
        found[name] = Module(name, source.count("\n"), ast.parse(source, str(path)))
    return found


def matches(name: str, patterns: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns.split())


def looked_up(name: str, table: Mapping[str, str]) -> str:
    """What all lines of `table` that speak of `name` say, together."""
    return " ".join(entry for who, entry in table.items() if matches(name, who))


def layer(name: str) -> int:
    for number, patterns in enumerate(LAYERS):
        if matches(name, patterns):
            return number
    pytest.fail(f"module {name!r} has no layer: add it to LAYERS in tests/test_layering.py")


def imports(tree: ast.AST) -> Iterator[Use]:
    """Every import below `tree`, those inside functions too; `from a import b` is `a.b`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (Use(alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = "." * node.level + (node.module or "")
            yield from (Use(f"{origin}.{alias.name}", node.lineno) for alias in node.names)


def own_imports(tree: ast.AST) -> Iterator[Use]:
    """The package's modules among the imports, by their names in the tables."""
    for name, line in imports(tree):
        if name.partition(".")[0] == PACKAGE.name:
            inner = name.partition(".")[2]
            package = inner.rpartition(".")[0] or "__init__"
            yield Use(inner if inner in modules() else package, line)


def uses(tree: ast.AST) -> Iterator[Use]:
    """Imports, dotted names (`os.environ`) and calls of plain names (`print`)."""
    yield from imports(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield Use(f"{node.value.id}.{node.attr}", node.lineno)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield Use(node.func.id, node.lineno)


def is_part_of(name: str, whole: str) -> bool:
    return name == whole or name.startswith(whole + ".")


def test_a_module_imports_downwards_only() -> None:
    upward = []
    for name, module in modules().items():
        own, within = layer(name), looked_up(name, WITHIN)
        upward += [
            f"{name}:{line} must not import {target}"
            for target, line in own_imports(module.tree)
            if layer(target) > own or (layer(target) == own and not matches(target, within))
        ]
    assert not upward


def test_a_module_that_is_held_apart_imports_what_it_may() -> None:
    outside = []
    for name, module in modules().items():
        apart = looked_up(name, ONLY)
        targets = own_imports(module.tree) if apart else ()
        outside += [f"{name}:{line} {what}" for what, line in targets if not matches(what, apart)]
    assert not outside


def test_no_two_modules_need_each_other_to_load() -> None:
    graph = {}
    for name, module in modules().items():
        at_once = [node for node in module.tree.body if not isinstance(node, DEFINITIONS)]
        graph[name] = {target for node in at_once for target, _ in own_imports(node)}
    TopologicalSorter(graph).prepare()


def all_imports() -> Iterator[tuple[str, Use]]:
    """Every import of the package, with the name of its module."""
    for name, module in modules().items():
        yield from ((name, use) for use in imports(module.tree))


def test_imports_are_absolute_and_known() -> None:
    for name, (target, line) in all_imports():
        top = target.partition(".")[0]
        known = top in (PACKAGE.name, *sys.stdlib_module_names, *IMPORTERS)
        assert known, f"{name}:{line} imports {target}: add it to IMPORTERS, or don't"


def test_what_has_one_home_is_imported_there_only() -> None:
    for name, (target, line) in all_imports():
        for what, homes in IMPORTERS.items():
            misplaced = is_part_of(target, what) and not matches(name, homes)
            assert not misplaced, f"{name}:{line} imports {target}; only {homes!r} may"


def test_only_programs_reach_out_of_the_program() -> None:
    for name, module in modules().items():
        for used, line in uses(module.tree):
            for what, users in USERS.items():
                misplaced = is_part_of(used, what) and not matches(name, f"{users} {LAYERS[-1]}")
                assert not misplaced, f"{name}:{line} uses {used}; only programs and {users!r} may"


def test_a_module_does_without_what_it_must() -> None:
    for name, (target, line) in all_imports():
        for what in looked_up(name, WITHOUT).split():
            assert not is_part_of(target, what), f"{name}:{line} imports {target}"


def functions() -> dict[str, int]:
    """Lines of each function, its docstring not counted."""
    sizes = {}
    for module in modules().values():
        for node in ast.walk(module.tree):
            if isinstance(node, FUNCTIONS):
                sizes[f"{module.name}:{node.lineno} {node.name}"] = extent(node)
    return sizes


def extent(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    lines = lines_of(function)
    return lines - lines_of(function.body[0]) if ast.get_docstring(function) else lines


def lines_of(node: ast.stmt) -> int:
    assert node.end_lineno is not None
    return node.end_lineno - node.lineno + 1


def above(limit: int, sizes: Mapping[str, int]) -> dict[str, int]:
    return {name: size for name, size in sizes.items() if size > limit}


def test_modules_stay_small() -> None:
    sizes = {name: module.lines for name, module in modules().items()}
    assert not above(MODULE_LINES, sizes)
    assert median(sizes.values()) <= MODULE_MEDIAN


def test_functions_stay_small() -> None:
    sizes = functions()
    assert not above(FUNCTION_LINES, sizes)
    ordered = sorted(sizes.values())
    assert ordered[ceil(len(ordered) * 0.9) - 1] <= FUNCTION_P90
    assert median(ordered) <= FUNCTION_MEDIAN


def test_classes_stay_narrow() -> None:
    widths = {
        f"{module.name}.{node.name}": sum(is_public_method(item) for item in node.body)
        for module in modules().values()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ClassDef)
    }
    assert not above(PUBLIC_METHODS, widths)


def is_public_method(node: ast.stmt) -> bool:
    """Properties are not counted: they read as attributes."""
    if not isinstance(node, FUNCTIONS) or node.name.startswith("_"):
        return False
    decorators = {ast.unparse(decorator) for decorator in node.decorator_list}
    return decorators.isdisjoint(("property", "cached_property"))


def test_every_source_was_read() -> None:
    assert {"__init__", "errors"} <= modules().keys()
    assert len(modules()) == sum(1 for _ in PACKAGE.rglob("*.py"))
