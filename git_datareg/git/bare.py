"""Bare repositories that we make for ourselves, below the cache; anybody may delete them."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from git_datareg.git import process
from git_datareg.git.places import Places
from git_datareg.git.repository import Repository

#: The folder of one by which it is read: a repository that borrows its objects.
READER = "reader"
#: What its lock is called, beside it. The time stamp of that tells when it was used last.
LOCK = ".lock"


def is_made(directory: str) -> bool:
    """Whether there is a repository of ours, of the layout that this version makes."""
    parts = (".", READER) if directory.endswith(".git") else (".",)
    names = (os.path.join(part, name) for part in parts for name in ("HEAD", "config"))
    return all(os.path.isfile(os.path.join(directory, name)) for name in names)


def opened(directory: str) -> Repository:
    """A bare repository that we made; git need not be asked what it is."""
    try:
        with open(os.path.join(directory, "config"), "rb") as file:
            object_format = "sha256" if b"sha256" in file.read() else "sha1"
    except FileNotFoundError:
        object_format = "sha1"
    places = Places(directory, directory, os.path.join(directory, "index"))
    return Repository(places, None, object_format, own=False)


def create(directory: str, object_format: str, head: str) -> None:
    """Make an empty repository, in place of one that can't be used, and its reader.

    Its HEAD is a symbolic ref to `head`.
    """
    new = directory + ".new"
    for leftover in (new, directory):
        if os.path.isdir(leftover):
            shutil.rmtree(leftover)
        elif os.path.lexists(leftover):
            os.unlink(leftover)
    reader = os.path.join(new, READER)
    for place in (new, reader):
        command = ["init", "--quiet", "--bare", "--template=", f"--object-format={object_format}"]
        process.run([*command, place], own=False)
    os.makedirs(os.path.join(reader, "objects", "info"), exist_ok=True)
    # gitrepository-layout(5): relative to the directory of objects.
    with open(os.path.join(reader, "objects", "info", "alternates"), "w") as file:
        file.write("../../objects\n")
    process.run([f"--git-dir={new}", "symbolic-ref", "HEAD", head], own=False)
    os.rename(new, directory)


@contextmanager
def locked(directory: str) -> Iterator[None]:
    """Hold a repository of ours for ourselves, to use it, where the file system has locks."""
    descriptor = _open_lock(directory)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        os.utime(descriptor)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def idle(directory: str) -> Iterator[bool]:
    """Hold a repository of ours, but not to use it; whether nobody else does."""
    descriptor = _open_lock(directory)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def _open_lock(directory: str) -> int:
    os.makedirs(os.path.dirname(directory), exist_ok=True)
    return os.open(directory + LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
