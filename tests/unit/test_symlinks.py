from __future__ import annotations

import os
from pathlib import Path

import pytest

from git_datareg.symlinks import leads_out


@pytest.mark.parametrize(
    ("path", "target", "out"),
    [
        (b"a/link", b"file", False),
        (b"a/link", b"../file", False),
        (b"a/link", b".", False),
        (b"a/link", b"..", False),
        (b"a/link", b"./..//b/", False),
        (b"a/link", b"../..", True),
        (b"a/link", b"../../a", True),
        (b"link", b"..", True),
        (b"link", b"/etc", True),
        (b"link", b"a/../../x", True),
        (b"", b"file", True),
        (b"link", b"", True),
        (b"link", b"a\0b", True),
        (b"link", b"a" * 4095, False),
        (b"link", b"a" * 4096, True),
        (b"link", b"link", False),
    ],
)
def test_one_symlink_leads_where_its_text_says(path: bytes, target: bytes, out: bool) -> None:
    assert leads_out(path, {path: target}) is out


#: By path; the links that the system itself follows to a place outside.
TREES = [
    ({b"x/y/a": b"../..", b"x/b": b"y/a/../.."}, {b"x/b"}),
    ({b"x/y/a": b"../..", b"x/b": b"y/a/.."}, {b"x/b"}),
    ({b"x/y/a": b"../..", b"x/b": b"y/a/x"}, set()),
    ({b"d/a": b"..", b"d/b": b"a/d/a/.."}, {b"d/b"}),
    ({b"a": b"d/e", b"b": b"a/../.."}, set()),
    ({b"a": b"d/e", b"b": b"a/../../.."}, {b"b"}),
    ({b"d/a": b"b", b"d/b": b"c", b"d/c": b".."}, set()),
    ({b"a": b"b", b"b": b"a", b"c": b"a/../.."}, set()),
    ({b"a": b"/tmp", b"b": b"a/x"}, {b"a", b"b"}),
    ({b"d%d" % n: b"d%d/." % (n + 1) for n in range(60)}, set()),
]


@pytest.mark.parametrize(("links", "out"), TREES, ids=map(str, range(len(TREES))))
def test_symlinks_on_the_way_are_followed_as_the_system_does_it(
    links: dict[bytes, bytes], out: set[bytes], tmp_path: Path
) -> None:
    assert {path for path in links if leads_out(path, links)} == out
    top = os.fsencode(tmp_path / "outside" / "top")
    for folder in (b"d/e", b"x/y"):
        os.makedirs(os.path.join(top, folder))
    for path, target in links.items():
        os.symlink(target, os.path.join(top, path))
    for path in links:
        try:
            real = os.path.realpath(os.path.join(top, path), strict=True)
        except OSError:
            continue
        assert (real + b"/").startswith(top + b"/") is (path not in out)
