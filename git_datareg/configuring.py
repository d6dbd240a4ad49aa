"""Edits what a repository tracks about itself: `.datareg` and `.gitattributes`."""

from __future__ import annotations

import os

from git_datareg import attributes
from git_datareg import settings as settings_module
from git_datareg.errors import StorageNotConfiguredError, TargetExistsError, UsageError
from git_datareg.files import write_atomically
from git_datareg.git import config
from git_datareg.git.repository import Repository
from git_datareg.location import Location
from git_datareg.settings import TRACKED_NAME

ATTRIBUTES_NAME = ".gitattributes"


def create(repository: Repository) -> None:
    """Write `.datareg` if there is none."""
    path = _tracked(repository)
    if not os.path.lexists(path):
        write_atomically(path, b"[datareg]\n\tversion = 1\n")


def add_storage(repository: Repository, name: str, url: str, *, default: bool) -> None:
    """Add a storage, by name; an existing one of that name and another URL is refused.

    A local path is made absolute, unless it begins with `./` or `../`: that
    one is relative to the Git remote's URL.
    """
    if not name or not all(char.isalnum() or char in "-_" for char in name):
        raise UsageError(f"not a name for a storage: {name!r}", "use letters, digits, - and _")
    location = Location.parse(url)
    if not location.is_relative:
        location = location.absolute(os.getcwd())
    create(repository)
    existing = _storages(repository).get(name)
    if existing is not None and existing != location:
        raise TargetExistsError(
            f"there is a storage {name!r} already: {existing}", f"git datareg storage remove {name}"
        )
    config.edit_file(_tracked(repository), f"storage.{name}.url", location.url)
    if default:
        config.edit_file(_tracked(repository), "datareg.storage", name)


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


def tracked_patterns(directory: str) -> list[str]:
    """The patterns that the `.gitattributes` of a directory tracks."""
    return attributes.patterns(_read(os.path.join(directory, ATTRIBUTES_NAME)))


def track(directory: str, patterns: list[str]) -> list[str]:
    """Track patterns in the `.gitattributes` of a directory; returns those that are new."""
    path = os.path.join(directory, ATTRIBUTES_NAME)
    text = before = _read(path)
    new = [pattern for pattern in patterns if pattern not in attributes.patterns(before)]
    for pattern in new:
        text = attributes.track(text, pattern)
    if text != before:
        write_atomically(path, text)
    return new


def untrack(directory: str, patterns: list[str]) -> list[str]:
    """Stop tracking patterns; returns those that were tracked."""
    path = os.path.join(directory, ATTRIBUTES_NAME)
    text = before = _read(path)
    known = attributes.patterns(before)
    for pattern in patterns:
        text = attributes.untrack(text, pattern)
    if text != before:
        write_atomically(path, text)
    return [pattern for pattern in patterns if pattern in known]


def _tracked(repository: Repository) -> str:
    if repository.work_tree is None:
        raise UsageError(f"a bare repository has no {TRACKED_NAME} to edit: {repository.top}")
    return os.path.join(repository.work_tree, TRACKED_NAME)


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
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return b""
