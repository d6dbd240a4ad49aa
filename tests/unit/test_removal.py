from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from git_datareg.removal import remove_tree


def test_a_tree_is_removed_however_deep_it_is(tmp_path: Path) -> None:
    (tmp_path / "outside").write_bytes(b"mine")
    top = tmp_path / "tree"
    top.mkdir()
    at = os.open(top, os.O_RDONLY)
    for _ in range(3000):
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=at))
        os.symlink(tmp_path, "link", dir_fd=at)
        os.mkdir("d", dir_fd=at)
        inner = os.open("d", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = inner
    os.close(at)
    try:
        remove_tree(top)
        assert os.listdir(tmp_path) == ["outside"]
    finally:
        # Too deep for pytest.
        subprocess.run(["rm", "-rf", top], check=True)


def test_a_tree_that_is_not_there_or_no_tree_is_no_fault(tmp_path: Path) -> None:
    remove_tree(tmp_path / "nothing")
    (tmp_path / "file").write_bytes(b"mine")
    (tmp_path / "link").symlink_to(tmp_path / "dir")
    (tmp_path / "dir").mkdir()
    remove_tree(tmp_path / "file")
    remove_tree(tmp_path / "link")
    assert sorted(os.listdir(tmp_path)) == ["dir", "file", "link"]


def test_what_can_not_be_removed_stays_and_the_rest_goes(tmp_path: Path) -> None:
    top = tmp_path / "tree"
    (top / "kept").mkdir(parents=True)
    (top / "kept/file").write_bytes(b"x")
    (top / "gone/sub").mkdir(parents=True)
    code = "import sys; from git_datareg.removal import remove_tree; remove_tree(sys.argv[1])"
    (top / "kept").chmod(0o555)
    drop = ["setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner", "--"]
    own = drop if os.geteuid() == 0 else []
    subprocess.run([*own, sys.executable, "-c", code, top], check=True)
    assert [str(path.relative_to(top)) for path in sorted(top.rglob("*"))] == ["kept", "kept/file"]
