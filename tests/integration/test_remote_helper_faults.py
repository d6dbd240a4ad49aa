"""What the helper says when something is wrong: a line on stderr, and never a wrong answer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.gitrun import Git
from tests.support.registries import Registry, copied, publish, refs_of

HELPER = str(Path(sys.executable).with_name("git-remote-datareg"))


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    return publish(tmp_path_factory.mktemp("published"))


def talk(directory: Path, url: str, said: str) -> subprocess.CompletedProcess[str]:
    """Call the helper as git does and say all at once."""
    return subprocess.run(
        [HELPER, "origin", url],
        input=said,
        text=True,
        capture_output=True,
        cwd=directory,
        timeout=60,
    )


@pytest.mark.parametrize(
    "url",
    [
        "ext::sh -c touch% pwned",
        "fd::0",
        "-ocommand",
        "ssh://-ocommand/path",
        "me@-ocommand:path",
        "https://h%0aost/path",
        "--upload-pack=touch pwned",
        "",
        "/some\npath",
        "https://host/\nhost=other",
        "foreign::https://host/path",
    ],
)
def test_a_url_that_git_must_not_be_given_is_refused(tmp_path: Path, url: str) -> None:
    done = Git(tmp_path).run("clone", f"datareg::{url}", "clone", check=False)
    assert done.returncode == 128
    assert done.stderr.count("git-datareg: error: ") == 1
    assert not (tmp_path / "clone").exists()
    assert not (tmp_path / "pwned").exists()
    assert talk(tmp_path, url, "capabilities\nlist\n\n").returncode == 2


@pytest.mark.parametrize("command", ["clone", "ls-remote"])
@pytest.mark.parametrize(
    "url", ["{}/nothing", "file://{}/nothing", "{}", "http://127.0.0.1:1/r.git"]
)
def test_a_repository_that_can_not_be_read_is_an_error(
    tmp_path: Path, command: str, url: str
) -> None:
    spelled = f"datareg::{url.format(tmp_path)}"
    done = Git(tmp_path).run(command, spelled, check=False)
    assert done.returncode == 128
    assert "git-datareg: error: " in done.stderr
    assert "Traceback" not in done.stderr


def test_a_storage_that_nobody_knows_is_an_error(tmp_path: Path) -> None:
    done = Git(tmp_path).run("clone", "datareg::unknown://host/path", "clone", check=False)
    assert done.returncode == 128
    assert done.stderr.count("git-datareg: error: ") == 1
    assert "unknown://host/path" in done.stderr
    assert not (tmp_path / "clone").exists()


def test_a_push_to_nowhere_is_an_error(published: Registry, tmp_path: Path) -> None:
    url = "http://127.0.0.1:1/r.git"
    done = published.work.run("push", f"datareg::{url}", "main", check=False)
    assert done.returncode == 128
    assert f"git-datareg: error: git can't read {url}" in done.stderr


def test_a_push_into_what_is_no_registry_is_an_error(published: Registry, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_bytes(b"x")
    done = published.work.run("push", f"datareg::{tmp_path}/full", "main", check=False)
    assert done.returncode == 128
    assert f"git-datareg: error: no Git repository can be read at {tmp_path}/full" in done.stderr
    assert os.listdir(tmp_path / "full") == ["mine"]


def test_passwords_are_not_shown(tmp_path: Path) -> None:
    url = "datareg::http://user:secret@127.0.0.1:1/r.git"
    done = Git(tmp_path).run("ls-remote", url, check=False)
    said = [line for line in done.stderr.splitlines() if line.startswith("git-datareg")]
    assert said == ["git-datareg: error: git can't read http://127.0.0.1:1/r.git"]


def test_no_list_is_given_when_there_is_none(tmp_path: Path) -> None:
    Git(tmp_path).init()
    done = talk(tmp_path, f"{tmp_path}/nothing", "capabilities\nlist\n\n")
    assert done.returncode == 3
    assert done.stdout == "fetch\npush\noption\nobject-format\n\n"


def test_no_answer_is_given_to_a_fetch_that_fails(published: Registry, tmp_path: Path) -> None:
    Git(tmp_path).init()
    said = f"capabilities\nfetch {'1' * 40} refs/heads/main\n\n"
    done = talk(tmp_path, published.path, said)
    assert done.returncode == 128
    assert done.stdout.endswith("object-format\n\n")
    assert "git-datareg: error: git can't fetch from" in done.stderr


@pytest.mark.parametrize("said", ["list\n", "capabilities\nnonsense\n", "capabilities\nfetch x\n"])
def test_what_is_not_the_protocol_ends_the_conversation(tmp_path: Path, said: str) -> None:
    Git(tmp_path).init()
    done = talk(tmp_path, str(tmp_path), said)
    assert done.returncode == 128
    assert "git-datareg: error: git " in done.stderr


def test_a_fetch_that_fails_half_way_fails_the_clone(published: Registry, tmp_path: Path) -> None:
    registry = copied(published, tmp_path)
    lost = registry.remote.out("rev-parse", "main:plain.txt")
    (registry.remote.path / "objects" / lost[:2] / lost[2:]).unlink()
    done = Git(tmp_path).run("clone", f"datareg::{registry.path}", "clone", check=False)
    assert done.returncode == 128
    assert "git-datareg: error: git can't fetch from" in done.stderr
    assert not (tmp_path / "clone").exists()


@pytest.mark.parametrize("command", [["fetch", "origin"], ["push", "origin", "main:new"]])
def test_a_helper_that_is_killed_fails_the_command(
    published: Registry, tmp_path: Path, command: list[str]
) -> None:
    work = Git(tmp_path / "work").init()
    work.run("remote", "add", "origin", f"datareg::ssh://host{published.path}")
    work.run("commit", "--quiet", "--allow-empty", "--message", "x")
    before = refs_of(published.remote)
    # In place of ssh: it kills the helper, an ancestor of it. proc(5): comm has 15 bytes.
    ssh = tmp_path / "ssh"
    ssh.write_text(
        "#!/bin/sh\npid=$PPID\n"
        "while read -r name < /proc/$pid/comm && [ $name != git-remote-data ]; do\n"
        "    pid=$(sed -n 's/^PPid:[[:space:]]*//p' /proc/$pid/status)\n"
        f"done\nkill -9 $pid\necho $name > {tmp_path}/killed\n"
    )
    ssh.chmod(0o755)
    env = {"GIT_SSH_COMMAND": str(ssh), "GIT_SSH_VARIANT": "simple"}
    done = work.run(*command, check=False, env=env)
    assert (tmp_path / "killed").read_text() == "git-remote-data\n"
    assert done.returncode == 128
    assert refs_of(published.remote) == before


def test_a_configuration_that_leads_back_to_us_ends(published: Registry, tmp_path: Path) -> None:
    # Whatever the rules are: a helper that talks to a helper about the same URL stops.
    done = subprocess.run(
        [HELPER, "origin", published.path],
        input="capabilities\nlist\n\n",
        text=True,
        capture_output=True,
        cwd=tmp_path,
        env={**os.environ, "GIT_DATAREG_INNER_URL": published.path},
    )
    assert done.returncode == 2
    assert "back to git-remote-datareg" in done.stderr


@pytest.mark.parametrize("arguments", [[], ["origin"], ["origin", "url", "more"]])
def test_called_by_hand_it_says_how_it_is_used(arguments: list[str]) -> None:
    done = subprocess.run([HELPER, *arguments], capture_output=True, text=True)
    assert done.returncode == 2
    assert "hint: git clone datareg::" in done.stderr
