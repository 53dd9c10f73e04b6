"""A login node whose shell talks, whose connection breaks, or that is reached in the user's own way."""

import subprocess
from pathlib import Path

import pytest

from ired_interp.cluster.host import Host, NoAnswer, connect, without_credentials
from ired_interp.cluster.profile import Profile
from ired_interp.errors import RunError

pytestmark = pytest.mark.process

SSH = """#!/bin/bash
# A stand-in for ssh: every login is noted, and the last argument runs in a shell of this machine.
here=$(dirname "$0")
echo "$*" >>"$here/calls"
for word; do
    [[ $word == -G ]] && { cat "$here/settings"; exit; }
    [[ $word == -O ]] && { [[ -e $here/master ]]; exit; }
done
cd / && HOME=$here exec bash -c "${@: -1}"
"""


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of a login node, and the stand-in for ssh."""
    (tmp_path / "ssh").write_text(SSH)
    (tmp_path / "ssh").chmod(0o755)
    (tmp_path / "settings").write_text("controlmaster false\ncontrolpersist no\n")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def reached(node: Path) -> Host:
    return Host("login", (str(node / "ssh"),))


def profile(node: Path) -> Profile:
    return Profile(host="login", ssh=str(node / "ssh"), folder="/far")


def test_what_the_login_shell_prints_is_not_taken_for_an_answer(node: Path):
    (node / ".bash_profile").write_text(
        "echo 'Welcome to HPC. Quota 12% used'; printf 'no newline'; echo 'motd: error:' >&2\n"
        "trap 'echo Goodbye; echo Goodbye >&2' EXIT\n"
    )
    host = reached(node)
    blob = bytes(range(256)) + b"\n\n"
    (node / "blob").write_bytes(blob)
    assert host.read_from(f"{node}/blob", 3) == blob[3:]
    assert host.expand("~/x") == f"{node}/x"
    assert host.read("/does/not/exist") is None
    done = host.run("bash", "-c", "echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout) == (7, "out\n")
    assert done.stderr.startswith("err\n")
    assert host.run("bash", "-c", "exit 255").returncode == 255, "no failure of ssh's own"


@pytest.mark.parametrize("how", ["kill -9 $PPID", "kill -9 $PPID; sleep 1"])
def test_an_answer_that_broke_off_is_no_answer(node: Path, how: str):
    host = reached(node)
    with pytest.raises(NoAnswer, match="ssh to login failed"):
        host.run("bash", "-c", f"echo half; {how}")


def test_a_file_whose_end_is_lost_on_the_way_replaces_none(node: Path, monkeypatch):
    host, run = reached(node), subprocess.run

    def cut(*words, **more):
        return run(*words, **{**more, "input": more["input"][:4]} if more.get("input") else more)

    host.write(f"{node}/record", "é" * 10)
    monkeypatch.setattr("ired_interp.cluster.host.subprocess.run", cut)
    with pytest.raises(RunError):
        host.write(f"{node}/record", "another text")
    assert (node / "record").read_text() == "é" * 10


def test_one_connection_with_a_short_path_whatever_tmpdir_is(node: Path, monkeypatch):
    long = node / ("x" * 90)
    long.mkdir()
    monkeypatch.setenv("TMPDIR", str(long))
    with connect(profile(node)) as host:
        host.run("true")
        (option,) = [word for word in host.ssh if word.startswith("ControlPath=")]
    # ssh adds a dot and 16 letters while it makes the socket; macOS allows 104 characters.
    assert len(option.partition("=")[2]) + 17 < 104
    assert "-O exit" in (node / "calls").read_text()


@pytest.mark.parametrize(
    ("settings", "master"),
    [
        ("controlmaster auto\ncontrolpersist 600", False),
        ("controlmaster false\ncontrolpersist no", True),
    ],
    ids=["made when needed", "opened by hand"],
)
def test_the_users_own_connection_is_used_and_left_open(node: Path, settings: str, master: bool):
    (node / "settings").write_text(f"controlpath /me/cm\n{settings}\n")
    if master:
        (node / "master").touch()
    with connect(profile(node)) as host:
        host.run("true")
    calls = (node / "calls").read_text()
    assert "ControlPath" not in calls
    assert "-O exit" not in calls


def test_credentials_are_taken_out_of_addresses():
    text = "fatal: unable to access 'https://a:ghp_SECRET@example.org/x.git/', git@host:x, ssh://git@host/x"
    assert without_credentials(text) == text.replace("a:ghp_SECRET@", "")
