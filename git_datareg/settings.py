"""Settings: what git's configuration, `.datareg` and the environment say, as one value.

Built from mappings that are handed in; reads nothing itself. `.datareg` comes
from a repository that may be anybody's, so only an allowlist of its keys
counts, and none of them names a command, a credential or a local directory
other than storage.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from git_datareg import gitconfig
from git_datareg.errors import MetafileError, StorageNotConfiguredError, UsageError
from git_datareg.git.config import ConfigValue
from git_datareg.gitconfig import Item
from git_datareg.location import Location
from git_datareg.storage import Options

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
#: A limit: fewer are used where more don't help.
_DEFAULT_JOBS = 32


#: What the user alone says of a storage: git's variable, and what it is in `Options`.
_TEXTS = {
    "endpoint": "endpoint",
    "region": "region",
    "profile": "profile",
    "sse": "encryption",
    "ssekmskeyid": "kms_key",
    "storageclass": "storage_class",
}
_SWITCHES = {
    "anonymous": "is_anonymous",
    "requestpayer": "request_payer",
    "pathstyle": "path_style",
    "put": "put",
}
#: What programs in Python, or with curl, are told certificates by.
_CA_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


class StorageSettings(NamedTuple):
    """One configured storage. A relative location is read against the Git remote's URL."""

    name: str
    location: Location
    readonly: bool
    #: Where its URL stands, for `git datareg env`.
    origin: str
    options: Options = Options()
    #: Whether the user's own configuration names its URL.
    is_users: bool = False
    #: Globs of the data files that a push stores there, and of those that it does not.
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


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
    #: Servers that may get the user's credentials, whoever names them.
    trusted_endpoints: frozenset[str] = frozenset()
    #: The user's file of logins, and the file of certificates to trust, None for the system's.
    netrc: str = ""
    ca_file: str | None = None
    #: Globs of the data files that are fetched unasked, and of those that are not.
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    #: Days for which `git datareg gc` keeps what is not used, and bytes that the cache may have.
    gc_days: int = 30
    gc_size: int | None = None

    def trusts(self, location: Location) -> bool:
        """Whether a place is on a server that the user has said to trust."""
        url = _place(location.url) + "/"
        return any(url.startswith(each + "/") for each in self.trusted_endpoints)

    def options_for(
        self, location: Location, endpoint: str | None = None, region: str | None = None
    ) -> Options:
        """How to reach a place that a remote's URL names, or a metafile, which is anybody's.

        What the user has configured for the same place counts.
        """
        for each in self.storages.values():
            if each.location == location:
                return each.options
        is_trusted = self.trusts(Location(endpoint) if endpoint else location)
        if location.scheme == "s3" and endpoint is None:
            # The user's own configuration says which server it is.
            is_trusted = True
        return Options(endpoint, region, is_trusted, self.allow_private)

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
    config = list(config)
    users = [value for value in config if value.key.startswith("datareg.")]
    own = {value.key: value for value in users}
    items, warnings = read_tracked(tracked or b"")
    trusted = frozenset(
        _place(each.value) for each in users if each.key == "datareg.trustedendpoint"
    )

    def text(key: str, default: str) -> str:
        return own[key].value if key in own else default

    include, exclude = _fetched(items, users)
    size = text("datareg.gcmaxsize", "")

    return Settings(
        storages=_storages(items, users, trusted),
        default=text("datareg.storage", _last(items, "storage") or "") or None,
        threshold=threshold_of(items),
        cache=_cache(text("datareg.cache", ""), environ),
        jobs=_number("datareg.jobs", text("datareg.jobs", str(_DEFAULT_JOBS))),
        warnings=warnings,
        allow_private=_boolean("datareg.allowPrivate", text("datareg.allowprivate", "false")),
        trusted_endpoints=trusted,
        netrc=environ.get("NETRC") or _at_home(".netrc", environ),
        ca_file=_ca_file(config, environ),
        include=include,
        exclude=exclude,
        gc_days=_number("datareg.gcOlderThan", text("datareg.gcolderthan", "30"), least=0),
        gc_size=parse_size(size, "datareg.gcMaxSize") if size else None,
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


def _fetched(
    items: Iterable[Item], users: Iterable[ConfigValue]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The globs of what is fetched, and of what is not: the user's, if there are any."""
    own = [(each.key, each.value) for each in users]
    tracked = [(f"{each.section}.{each.key}", each.value) for each in items if not each.subsection]
    for said in (own, tracked):
        include, exclude = (
            tuple(value for key, value in said if key == f"datareg.{name}" and value)
            for name in ("include", "exclude")
        )
        if any(key in ("datareg.include", "datareg.exclude") for key, _ in said):
            break
    return include, exclude


def _storages(
    items: Iterable[Item], users: Iterable[ConfigValue], trusted: Collection[str]
) -> dict[str, StorageSettings]:
    """The storages by name; what the user's configuration says wins over `.datareg`."""
    tracked: dict[str, dict[str, list[str]]] = {}
    for item in items:
        if item.section == "storage" and item.subsection:
            tracked.setdefault(item.subsection, {}).setdefault(item.key, []).append(item.value)
    own: dict[str, dict[str, list[ConfigValue]]] = {}
    for value in users:
        name, _, variable = value.key.removeprefix("datareg.").rpartition(".")
        if name:
            own.setdefault(name, {}).setdefault(variable, []).append(value)
    found = {name: _tracked_storage(name, keys) for name, keys in tracked.items() if "url" in keys}
    for name, values in own.items():
        if "url" in values:
            url = values["url"][-1]
            before = found.get(name) or StorageSettings(name, Location(""), False, "")
            location = Location.parse(url.value)
            found[name] = before._replace(location=location, origin=url.origin, is_users=True)
        if name in found:
            found[name] = _with_users(found[name], values)
    return {name: _judged(storage, own.get(name, {}), trusted) for name, storage in found.items()}


def _tracked_storage(name: str, keys: Mapping[str, list[str]]) -> StorageSettings:
    try:
        location = Location.parse(keys["url"][-1])
        readonly = gitconfig.is_true(keys.get("readonly", ["false"])[-1])
        endpoint = keys.get("endpoint", [None])[-1]
        if endpoint:
            Location.parse(endpoint)
    except (ValueError, UsageError) as error:
        raise MetafileError(f"{TRACKED_NAME}: storage {name!r}: {error}") from error
    options = Options(endpoint=endpoint or None, region=keys.get("region", [None])[-1] or None)
    globs = (tuple(keys.get(key, ())) for key in ("include", "exclude"))
    return StorageSettings(name, location, readonly, f"file:{TRACKED_NAME}", options, False, *globs)


def _with_users(
    storage: StorageSettings, values: Mapping[str, list[ConfigValue]]
) -> StorageSettings:
    """The storage with what the user's configuration says of it."""
    last = {variable: each[-1].value for variable, each in values.items()}
    key = f"datareg.{storage.name}"
    changes: dict[str, Any] = {
        field: last[variable] or None for variable, field in _TEXTS.items() if variable in last
    }
    changes |= {
        field: _boolean(f"{key}.{variable}", last[variable])
        for variable, field in _SWITCHES.items()
        if variable in last
    }
    if "connections" in last:
        changes["connections"] = _number(f"{key}.connections", last["connections"])
    if "option" in values:
        changes["arguments"] = tuple(
            _argument(f"{key}.option", each.value) for each in values["option"]
        )
    if "readonly" in last:
        storage = storage._replace(readonly=_boolean(f"{key}.readonly", last["readonly"]))
    return storage._replace(options=storage.options._replace(**changes))


def _judged(
    storage: StorageSettings, values: Mapping[str, list[ConfigValue]], trusted: Collection[str]
) -> StorageSettings:
    """The storage with the word whether the user's credentials may go to its endpoint."""
    endpoint = storage.options.endpoint
    is_trusted = endpoint is None or "endpoint" in values or _place(endpoint) in trusted
    return storage._replace(options=storage.options._replace(is_trusted=is_trusted))


def _place(endpoint: str) -> str:
    """An endpoint's URL so that two spellings of it are equal."""
    return endpoint.strip().rstrip("/").lower()


def _argument(key: str, text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator or not name.isidentifier():
        raise UsageError(f"not name=value: {text!r} ({key})")
    return name, value


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


def _at_home(name: str, environ: Mapping[str, str]) -> str:
    """A file in the user's home; "" where that is not known."""
    return os.path.join(environ["HOME"], name) if environ.get("HOME") else ""


def _ca_file(config: Iterable[ConfigValue], environ: Mapping[str, str]) -> str | None:
    """The certificates that the user has git, or programs in Python, trust."""
    named = [each.value for each in config if each.key == "http.sslcainfo"]
    if environ.get("GIT_SSL_CAINFO"):
        return environ["GIT_SSL_CAINFO"]
    found = named[-1] if named else ""
    if found.startswith("~/"):
        found = os.path.join(environ.get("HOME", ""), found[2:])
    return found or next((environ[each] for each in _CA_VARIABLES if environ.get(each)), None)


def _number(key: str, text: str, *, least: int = 1) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 4 or not least <= int(text) <= 1024:
        raise UsageError(f"not a number from {least} to 1024: {text!r} ({key})")
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
