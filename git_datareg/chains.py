"""Chains of imports: where the files of a source were imported from in turn.

Followed by metafiles, link by link, to refuse an import that would lead back
to where it lies. Only Git's own objects are fetched for that.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

from git_datareg import registry, trust
from git_datareg.errors import DataregError, RefusedError
from git_datareg.git import config, objects
from git_datareg.imports import Target
from git_datareg.location import Location
from git_datareg.metafile import SUFFIX, Metafile
from git_datareg.projects import Project
from git_datareg.registry import Source
from git_datareg.sources import metafile_ids
from git_datareg.standing import Opener

_SUFFIX = SUFFIX.encode()
#: How far, and to how many places, a chain is followed; nobody means longer ones.
_MAX_LINKS = 20
_MAX_PLACES = 100
_DEFAULT_PORTS = (":22", ":80", ":443")


class _Place(NamedTuple):
    """A path in a registry, and how it was come by."""

    location: Location
    path: bytes
    #: The places before it, as they are shown, this one last.
    trail: tuple[str, ...]
    #: What to open, in this order: revisions; None is the default branch.
    revisions: tuple[str | None, ...]
    #: Whether it was named by a registry that is not on this machine.
    is_foreign: bool
    opener: Opener


def refuse_circle(
    project: Project, target: Target, source: Source, path: str, opener: Opener
) -> None:
    """Raise RefusedError when what lies at `path` of the source comes from the target itself.

    The error shows the chain. A registry on the way that can't be reached, or
    that a foreign one may not name, ends its branch of the chain: all that it
    would tell is where its data was from, and the data is had without it.
    """
    # The user may have git go elsewhere for some URLs; remotes are rewritten already.
    values = config.read(project.repository)
    own = _identities(project)
    name = os.path.basename(project.repository.top)
    start = _Place(
        source.location, registry.normal(path), (_shown(name, target.path),), (), False, opener
    )
    waiting: list[tuple[_Place, Source | None]] = [(start, source)]
    seen: set[tuple[str, bytes]] = set()
    while waiting and len(seen) < _MAX_PLACES:
        place, opened = waiting.pop(0)
        identity = _identity(place.location)
        rewritten = config.rewritten(place.location.url, values)
        is_own = bool(own & {identity, _identity(Location(rewritten))})
        trail = (*place.trail, _shown(name if is_own else _name(place.location), place.path))
        if is_own and _overlap(place.path, target.path):
            raise RefusedError(
                f"imports in a circle: {' <- '.join(trail)}",
                "take it from where the data comes from",
            )
        if (identity, place.path) in seen or len(trail) > _MAX_LINKS:
            continue
        seen.add((identity, place.path))
        opened = opened or _opened(project, place)
        if opened is not None:
            is_foreign = opened.location.path is None
            named = opened.open_other if is_foreign else opener
            waiting += [
                (_Place(location, upstream, trail, revisions, is_foreign, named), None)
                for location, upstream, revisions in _upstreams(opened, place.path)
            ]


def _opened(project: Project, place: _Place) -> Source | None:
    """The place's registry at what is followed, else at the commit that was had; or None."""
    allow = project.settings.allow_private
    if place.is_foreign and trust.objection(place.location, allow_private=allow):
        return None
    for revision in place.revisions:
        try:
            return place.opener(place.location, revision)
        except (DataregError, OSError):
            continue
    return None


def _upstreams(
    source: Source, path: bytes
) -> Iterator[tuple[Location, bytes, tuple[str | None, ...]]]:
    """The registries that what lies at a path of a source was imported from, and the paths there.

    Imports that were brought by another import are that one's business.
    """
    for top, id in _imports_at(source, path):
        try:
            [(_, text)] = objects.read_blobs(source.repository, [id])
            metafile = Metafile.parse(text, os.fsdecode(top) + SUFFIX)
            upstream = registry.normal(metafile.path)
        except DataregError:
            continue
        if _is_below(path, top):
            upstream = b"/".join(filter(None, (upstream, path[len(top) + 1 :])))
        location = Location.parse(metafile.url)
        if source.location.path is not None:
            location = location.absolute(source.repository.top)
        yield location, upstream, (metafile.rev, metafile.commit)


def _imports_at(source: Source, path: bytes) -> list[tuple[bytes, str]]:
    """The outermost imports above or below a path, with their metafiles' ids."""
    try:
        ids = metafile_ids(source.repository, source.commit)
    except DataregError:
        return []
    tops = sorted((each.removesuffix(_SUFFIX) for each in ids), key=lambda each: each + b"/")
    found: list[bytes] = []
    for top in tops:
        if _overlap(top, path) and not (found and _is_below(top, found[-1])):
            found.append(top)
    return [(top, ids[top + _SUFFIX]) for top in found]


def _is_below(path: bytes, top: bytes) -> bool:
    """Whether a path is another one, or lies in it; b"" is the root."""
    return not top or path == top or path.startswith(top + b"/")


def _overlap(one: bytes, other: bytes) -> bool:
    return _is_below(one, other) or _is_below(other, one)


def _shown(name: str, path: bytes) -> str:
    return f"{name}:{os.fsdecode(path) or '.'}"


def _name(location: Location) -> str:
    return _identity(location).rpartition("/")[2].removesuffix(".git")


def _identities(project: Project) -> set[str]:
    """All by which others may name this repository."""
    places = project.repository.places
    known = [Location(each) for each in (project.repository.top, places.common_dir)]
    return {_identity(each) for each in (*known, *(each.location for each in project.remotes))}


def _identity(location: Location) -> str:
    """A text that is equal for two spellings of one repository, as far as they tell."""
    if location.path is not None:
        path = location.path.rstrip("/") or "/"
        if not os.path.isdir(path) and os.path.isdir(path + ".git"):
            path += ".git"
        return os.path.realpath(path).removesuffix("/.git")
    head, separator, rest = location.url.partition("://")
    if separator:
        host, _, path = rest.partition("/")
    else:
        host, _, path = head.partition(":")
    host = host.rpartition("@")[2].lower()
    for port in _DEFAULT_PORTS:
        host = host.removesuffix(port)
    # By https or by ssh, it is the same one.
    return f"//{host}/" + path.partition("?")[0].strip("/").removesuffix(".git")
