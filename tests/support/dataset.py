"""The real data set: two releases of a collection of images, as `make testdata` got them.

Knows where the archives lie and how to unpack them. Does not download.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

PACKAGE = "emoji-datasource-apple"
OLD, NEW = "14.0.0", "15.1.0"
#: In both releases: a folder with thousands of small images, and one large file.
SMALL_FILES = "img/apple/64"
LARGE_FILE = "img/apple/sheets/64.png"

# Read on import, that is while tests are collected: later the home is sealed off.
_CACHE = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
_DIRECTORY = Path(os.environ.get("DATAREG_TESTDATA") or f"{_CACHE}/git-datareg-testdata")


def unpacked(version: str) -> Path:
    """The files of a release, unpacked on first use. For reading only: all tests share them.

    Complete or not there, whoever else unpacks at the same time. An
    `AssertionError` says how to get the archive if it is missing.
    """
    target = _DIRECTORY / version
    if not target.is_dir():
        _unpack(_DIRECTORY / f"{PACKAGE}-{version}.tgz", target)
    return target


def _unpack(archive: Path, target: Path) -> None:
    assert archive.is_file(), f"{archive} is missing: run `make testdata`"
    scratch = Path(tempfile.mkdtemp(prefix=".tmp.", dir=target.parent))
    try:
        where = ["-C", str(scratch), "--strip-components=1", "--no-same-owner"]
        subprocess.run(["tar", "-xzf", str(archive), *where], check=True)
        scratch.chmod(0o755)
        _settle(scratch, target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _settle(scratch: Path, target: Path) -> None:
    """Give `scratch` its name, unless another test process was faster."""
    try:
        scratch.rename(target)
    except OSError:
        if not target.is_dir():
            raise
