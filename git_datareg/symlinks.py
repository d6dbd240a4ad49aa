"""Where the symlinks of a tree lead. Pure: nothing is looked at on a disk."""

from __future__ import annotations

from collections.abc import Mapping

#: As many as Linux follows for one path (path_resolution(7)).
_MAX_FOLLOWED = 40
#: Bytes of the longest target that Linux takes (symlink(2)).
_MAX_TARGET = 4095


def leads_out(path: bytes, links: Mapping[bytes, bytes]) -> bool:
    """Whether the symlink at `path` leads out of the tree that has these `links`, by path.

    Links on the way are followed as the system does it: behind one, ".." is not
    what the text says. One that is the whole tree (b"") leads out, one that
    leads in circles nowhere. A target that no symlink can have counts as out.
    """
    if not path:
        return True
    at: list[bytes] = path.split(b"/")[:-1]
    rest = [links[path]]
    for _ in range(_MAX_FOLLOWED):
        target = rest.pop()
        if not 0 < len(target) <= _MAX_TARGET or target.startswith(b"/") or b"\0" in target:
            return True
        rest += reversed(target.split(b"/"))
        while rest:
            name = rest.pop()
            if name == b"..":
                if not at:
                    return True
                at.pop()
            elif name not in (b"", b"."):
                at.append(name)
                if b"/".join(at) in links:
                    break
        else:
            return False
        rest.append(links[b"/".join(at)])
        at.pop()
    # In circles, or too long for every system: it leads nowhere.
    return False
