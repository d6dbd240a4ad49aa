"""Settings: what git's configuration, `.datareg` and the environment say, as one value.

Built from mappings that are handed in; reads nothing itself. `.datareg` comes
from a repository that may be anybody's, so only an allowlist of its keys
counts, and none of them names a command, a credential or a local directory
other than storage.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from git_datareg import gitconfig
from git_datareg.errors import MetafileError, StorageNotConfiguredError, UsageError
from git_datareg.git.config import ConfigValue
from git_datareg.gitconfig import Item
from git_datareg.location import Location

#: Names the cache, before any configuration.
CACHE_VARIABLE = "GIT_DATAREG_CACHE"
#: The tracked configuration file, at a repository's root.
TRACKED_NAME = ".datareg"
_VERSION = "1"
_TRACKED_KEYS = frozenset(("version", "storage", "threshold", "include", "exclude"))
_STORAGE_KEYS = frozenset(("url", "readonly", "region", "endpoint", "include", "exclude"))
_UNITS: dict[str, int] = {"": 1, "b": 1} | {
    letter + end: 1024**power
    for power, letter in enumerate("kmgt", start=1)
    for end in ("", "b", "ib")
}
_DEFAULT_JOBS = 8


class StorageSettings(NamedTuple):
    """One configured storage. A relative location is read against the Git remote's URL."""

    name: str
    location: Location
    readonly: bool
    #: Where its URL stands, for `git datareg env`.
    origin: str


class Settings(NamedTuple):
    """Everything that is configured for one repository (or for none)."""

    #: By name, in the order in which they were found.
    storages: Mapping[str, StorageSettings]
    #: The name of the default storage; None leaves the embedded default.
    default: str | None
    #: Files of fewer bytes stay ordinary blobs.
    threshold: int
    #: The shared cache's directory; None when nothing says where it is.
    cache: str | None
    jobs: int
    #: What was ignored, a line each, for the user.
    warnings: tuple[str, ...]
    #: Whether foreign registries may name private and loopback addresses.
    allow_private: bool = False

    def storage(self, name: str) -> StorageSettings:
        """The storage of that name; raises StorageNotConfiguredError without one."""
        found = self.storages.get(name)
        if found is None:
            known = ", ".join(self.storages) or "none"
            raise StorageNotConfiguredError(
                f"no storage named {name!r} (configured: {known})",
                f"git datareg storage add {name} URL",
            )
        return found


def build(
    config: Iterable[ConfigValue], tracked: bytes | None, environ: Mapping[str, str]
) -> Settings:
    """The settings in force.

    `config` is git's configuration, `tracked` the text of the repository's
    `.datareg` (None without one). The user's configuration wins over
    `.datareg`, the environment over both. Raises MetafileError for a
    `.datareg` that can't be understood, UsageError for a value that can't be
    meant.
    """
    own = {value.key: value for value in config if value.key.startswith("datareg.")}
    items, warnings = read_tracked(tracked or b"")
    storages = _tracked_storages(items)
    for key, value in own.items():
        name, _, variable = key.removeprefix("datareg.").rpartition(".")
        if name and variable == "url":
            readonly = name in storages and storages[name].readonly
            location = Location.parse(value.value)
            storages[name] = StorageSettings(name, location, readonly, value.origin)
    for name, storage in storages.items():
        key = f"datareg.{name}.readonly"
        if key in own:
            storages[name] = storage._replace(readonly=_boolean(key, own[key].value))

    def text(key: str, default: str) -> str:
        return own[key].value if key in own else default

    return Settings(
        storages=storages,
        default=text("datareg.storage", _last(items, "storage") or "") or None,
        threshold=threshold_of(items),
        cache=_cache(text("datareg.cache", ""), environ),
        jobs=_number("datareg.jobs", text("datareg.jobs", str(_DEFAULT_JOBS))),
        warnings=warnings,
        allow_private=_boolean("datareg.allowPrivate", text("datareg.allowprivate", "false")),
    )


def read_tracked(text: bytes) -> tuple[list[Item], tuple[str, ...]]:
    """The items of `.datareg` that count, and a warning for each that does not.

    Raises MetafileError when it is not git-config syntax or of a later version.
    """
    try:
        items = gitconfig.parse(text) if text else []
    except ValueError as error:
        raise MetafileError(f"can't read {TRACKED_NAME}: {error}") from error
    known, warnings = [], []
    for item in items:
        is_storage = item.section == "storage" and bool(item.subsection)
        is_general = item.section == "datareg" and item.subsection is None
        allowed = _STORAGE_KEYS if is_storage else _TRACKED_KEYS if is_general else frozenset[str]()
        if item.key in allowed:
            known.append(item)
        else:
            name = ".".join(part for part in item[:3] if part)
            warnings.append(f"{TRACKED_NAME}: key {name} is not allowed there, ignored")
        if item[:3] == _key("version") and item.value != _VERSION:
            raise MetafileError(
                f"{TRACKED_NAME} of version {item.value}, but only {_VERSION} is known here",
                "upgrade git-datareg",
            )
    return known, tuple(warnings)


def threshold_of(items: Iterable[Item]) -> int:
    """The threshold that `.datareg` sets, in bytes; 0 tracks files of any size.

    The user's own configuration never counts: clean must give everybody the
    same. Raises MetafileError for what is not a size.
    """
    text = _last(items, "threshold")
    try:
        return 0 if text is None else parse_size(text, "threshold")
    except UsageError as error:
        raise MetafileError(f"{TRACKED_NAME}: {error}", *error.hints) from error


def parse_size(text: str, what: str) -> int:
    """Bytes that `text` means: a number with an optional unit k, m, g or t (of 1024).

    The unit may be written out, as kB or KiB. Raises UsageError that names
    `what` otherwise.
    """
    spelled = text.strip()
    digits = spelled.rstrip("bBiIkKmMgGtT ")
    unit = spelled[len(digits) :].strip().lower()
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 18 or unit not in _UNITS:
        raise UsageError(f"not a size: {text!r} ({what})", "write for example 100k, 5m or 1g")
    return int(digits) * _UNITS[unit]


def _tracked_storages(items: Iterable[Item]) -> dict[str, StorageSettings]:
    keys: dict[str, dict[str, str]] = {}
    for item in items:
        if item.section == "storage" and item.subsection:
            keys.setdefault(item.subsection, {})[item.key] = item.value
    found = {}
    for name, values in keys.items():
        if "url" not in values:
            continue
        try:
            location = Location.parse(values["url"])
            readonly = gitconfig.is_true(values.get("readonly", "false"))
        except (ValueError, UsageError) as error:
            raise MetafileError(f"{TRACKED_NAME}: storage {name!r}: {error}") from error
        found[name] = StorageSettings(name, location, readonly, f"file:{TRACKED_NAME}")
    return found


def _cache(configured: str, environ: Mapping[str, str]) -> str | None:
    # As with git's own configuration, the password database has no say in it.
    home = environ.get("HOME", "")
    if environ.get(CACHE_VARIABLE):
        return os.path.abspath(environ[CACHE_VARIABLE])
    if configured and not configured.startswith("~/"):
        return os.path.abspath(configured)
    # The XDG base directory specification has relative paths ignored.
    if not configured and os.path.isabs(environ.get("XDG_CACHE_HOME", "")):
        return os.path.join(environ["XDG_CACHE_HOME"], "git-datareg")
    return os.path.join(home, configured[2:] or ".cache/git-datareg") if home else None


def _number(key: str, text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 4 or not 0 < int(text) <= 1024:
        raise UsageError(f"not a number from 1 to 1024: {text!r} ({key})")
    return int(text)


def _boolean(key: str, text: str) -> bool:
    try:
        return gitconfig.is_true(text)
    except ValueError as error:
        raise UsageError(f"{error} ({key})") from error


def _last(items: Iterable[Item], name: str) -> str | None:
    """The value of `datareg.<name>` that counts: as in git, the last one."""
    values = [item.value for item in items if item[:3] == _key(name)]
    return values[-1] if values else None


def _key(name: str) -> tuple[str, None, str]:
    return ("datareg", None, name)
