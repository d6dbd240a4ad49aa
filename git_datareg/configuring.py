"""Edits what a repository tracks about itself: `.datareg` and `.gitattributes`."""

from __future__ import annotations

import os
from typing import NamedTuple

from git_datareg import attributes
from git_datareg import settings as settings_module
from git_datareg.errors import (
    RefusedError,
    StorageNotConfiguredError,
    TargetExistsError,
    UsageError,
)
from git_datareg.files import read_regular, write_atomically
from git_datareg.git import config
from git_datareg.git.repository import Repository
from git_datareg.location import Location
from git_datareg.settings import TRACKED_NAME

ATTRIBUTES_NAME = ".gitattributes"
#: Bytes in a line of it: ATTR_MAX_LINE_LENGTH in git's attr.h.
_MAX_LINE = 2048


def create(repository: Repository) -> None:
    """Write `.datareg` if there is none."""
    path = _tracked(repository)
    if not os.path.lexists(path):
        write_atomically(path, b"[datareg]\n\tversion = 1\n")


class NewStorage(NamedTuple):
    """A storage that is to be added: what `.datareg` says of it."""

    name: str
    url: str
    endpoint: str | None = None
    region: str | None = None
    readonly: bool = False
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


def add_storage(repository: Repository, new: NewStorage, *, default: bool) -> None:
    """Add a storage, by name; an existing one of that name and another URL is refused.

    A local path is made absolute, unless it begins with `./` or `../`: that
    one is relative to the Git remote's URL. The endpoint goes into the user's own
    configuration too, since it is the user who names it: so credentials may go there.
    """
    name = new.name
    if not name or not all(char.isalnum() or char in "-_" for char in name):
        raise UsageError(f"not a name for a storage: {name!r}", "use letters, digits, - and _")
    location = Location.parse(new.url)
    for each in (location, *(map(Location.parse, filter(None, [new.endpoint])))):
        if str(each) != each.url:
            raise UsageError(
                f"a URL with credentials would be there for all to read: {each}",
                f"git config datareg.{name}.url URL, for you alone",
            )
    if not location.is_relative:
        location = location.absolute(os.getcwd())
    create(repository)
    existing = _storages(repository).get(name)
    if existing is not None and existing != location:
        raise TargetExistsError(
            f"there is a storage {name!r} already: {existing}", f"git datareg storage remove {name}"
        )
    tracked = _tracked(repository)
    config.edit_file(tracked, f"storage.{name}.url", location.url)
    single = {"endpoint": new.endpoint, "region": new.region}
    for key, value in (single | {"readonly": "true" if new.readonly else None}).items():
        if value is not None:
            config.edit_file(tracked, f"storage.{name}.{key}", value)
    for key, globs in (("include", new.include), ("exclude", new.exclude)):
        config.set_all_in_file(tracked, f"storage.{name}.{key}", globs)
    if new.endpoint is not None:
        config.set_value(repository, "local", f"datareg.{name}.endpoint", new.endpoint)
    if default:
        config.edit_file(tracked, "datareg.storage", name)


def remove_storage(repository: Repository, name: str) -> None:
    """Remove a storage; if it was the default, there is none then. Objects stay where they are."""
    _require_storage(repository, name)
    config.edit_file(_tracked(repository), f"storage.{name}", remove=True)
    items, _ = settings_module.read_tracked(_read(_tracked(repository)))
    if any(item[:3] == ("datareg", None, "storage") and item.value == name for item in items):
        config.unset_in_file(_tracked(repository), "datareg.storage")


def set_default_storage(repository: Repository, name: str) -> None:
    """Make a storage the default one."""
    _require_storage(repository, name)
    config.edit_file(_tracked(repository), "datareg.storage", name)


def set_threshold(repository: Repository, size: str) -> int:
    """Set the size from which files are tracked; returns it in bytes."""
    threshold = settings_module.parse_size(size, "--above")
    create(repository)
    config.edit_file(_tracked(repository), "datareg.threshold", size)
    return threshold


def tracked_patterns(repository: Repository, directory: str) -> list[str]:
    """The patterns that count in a directory: of each `.gitattributes` from the top to there."""
    top, below = _top_and_below(repository, directory)
    steps = [step for step in below.split("/") if step != "."]
    found: list[str] = []
    for depth in range(len(steps) + 1):
        found += attributes.patterns(_read(os.path.join(top, *steps[:depth], ATTRIBUTES_NAME)))
    return found


def track(repository: Repository, directory: str, patterns: list[str]) -> dict[str, bool]:
    """Track patterns in the `.gitattributes` of a directory.

    Returns each pattern as it stands there, and whether it is new. The name of
    a directory means all that is in it. Raises UsageError for what git would
    not take for a pattern, RefusedError for a `.gitattributes` that is a symlink.
    """
    path = _attributes(repository, directory)
    text = before = _read(path)
    known = attributes.patterns(before)
    meant = [_meant(directory, pattern) for pattern in patterns]
    for pattern in meant:
        text = attributes.track(text, pattern)
    if text != before:
        write_atomically(path, text)
    return {pattern: pattern not in known for pattern in meant}


def untrack(repository: Repository, directory: str, patterns: list[str]) -> dict[str, str | None]:
    """Stop tracking patterns; returns for each what it was in `.gitattributes`, None if nothing."""
    path = _attributes(repository, directory)
    text = before = _read(path)
    known = attributes.patterns(before)
    found: dict[str, str | None] = {}
    for pattern in patterns:
        anchored = _anchored(pattern)
        spellings = (pattern, anchored, anchored.rstrip("/") + "/**")
        found[pattern] = next((each for each in spellings if each in known), None)
        text = attributes.untrack(text, found[pattern] or pattern)
    if text != before:
        write_atomically(path, text)
    return found


def _meant(directory: str, pattern: str) -> str:
    """The pattern as gitattributes(5) wants it; raises UsageError for what can't be one."""
    if pattern.startswith("!"):
        raise UsageError(
            f"git ignores negative patterns in {ATTRIBUTES_NAME}: {pattern!r}",
            f"a file whose name begins with !: git datareg track '\\{pattern}'",
        )
    if not pattern or pattern.startswith("[attr]"):
        raise UsageError(f"not a pattern: {pattern!r}")
    if ".." in pattern.split("/"):
        raise UsageError(
            f"a pattern is about files here and below: {pattern!r}", "go to the directory it is for"
        )
    meant = _anchored(pattern)
    # To git these match the directory alone, and nothing in it.
    if pattern.endswith("/") or os.path.isdir(os.path.join(directory, pattern)):
        meant = meant.rstrip("/") + "/**"
    if len(attributes.track(b"", meant)) > _MAX_LINE:
        raise UsageError(f"git ignores lines of more than {_MAX_LINE} bytes: {pattern!r:.80}")
    return meant


def _anchored(pattern: str) -> str:
    """The pattern for a name as shells complete it, `./x`, which would match nothing."""
    return pattern.removeprefix(".") if pattern.startswith("./") else pattern


def _attributes(repository: Repository, directory: str) -> str:
    """The `.gitattributes` of a directory, if we may edit it."""
    _top_and_below(repository, directory)
    return _own_file(os.path.join(directory, ATTRIBUTES_NAME))


def _top_and_below(repository: Repository, directory: str) -> tuple[str, str]:
    """The work tree's top, and the path from there to a directory; UsageError outside of it."""
    if repository.work_tree is None:
        raise UsageError(f"there are no files here: {repository.top} has no work tree")
    top = os.path.realpath(repository.work_tree)
    below = os.path.relpath(os.path.realpath(directory), top)
    if below == ".." or below.startswith("../"):
        raise UsageError(f"outside of the work tree {top}: {directory}")
    return top, below


def _own_file(path: str) -> str:
    # Git itself follows no symlink that is called .gitattributes (gitattributes(5)).
    if os.path.islink(path):
        raise RefusedError(f"a symlink, which is not followed: {path}", "put a file in its place")
    if os.path.exists(path) and not os.path.isfile(path):
        raise RefusedError(f"not a regular file: {path}", "put a file in its place")
    return path


def _tracked(repository: Repository) -> str:
    if repository.work_tree is None:
        raise UsageError(f"a bare repository has no {TRACKED_NAME} to edit: {repository.top}")
    return _own_file(os.path.join(repository.work_tree, TRACKED_NAME))


def _storages(repository: Repository) -> dict[str, Location]:
    settings = settings_module.build((), _read(_tracked(repository)), {"HOME": "/"})
    return {name: storage.location for name, storage in settings.storages.items()}


def _require_storage(repository: Repository, name: str) -> None:
    if name not in _storages(repository):
        raise StorageNotConfiguredError(
            f"no storage named {name!r} in {TRACKED_NAME}", "git datareg storage list"
        )


def _read(path: str) -> bytes:
    try:
        return read_regular(path)
    except FileNotFoundError:
        return b""
