"""Runs are fetched whatever the login node's shell prints on the way."""

from pathlib import Path

import pytest

from ired_interp.cluster.host import Host
from ired_interp.cluster.transfer import fetch
from ired_interp.errors import RunError

pytestmark = pytest.mark.process

SSH = """#!/bin/bash
# A stand-in for ssh, which starts a shell of this machine as sshd does.
shift
HOME=$(dirname "$0") exec bash -c ". ~/.bashrc; $*"
"""


@pytest.fixture
def login(tmp_path: Path) -> Host:
    (tmp_path / "ssh").write_text(SSH)
    (tmp_path / "ssh").chmod(0o755)
    (tmp_path / ".bashrc").touch()
    run = tmp_path / "far" / "runs" / "a" / "my run"
    run.mkdir(parents=True)
    (run / "config.yaml").write_text("experiment: a\n")
    (run / "weights").write_bytes(bytes(range(256)) * 4096 + b"\n\n")
    (run / ".weights.abcd1234").touch()
    return Host("login", (f"{tmp_path}/ssh",))


def test_a_run_comes_whole_through_a_shell_that_talks(login: Host, tmp_path: Path):
    (tmp_path / ".bashrc").write_text(
        "echo 'Welcome to HPC'; printf 'no newline'; echo 'Quota 12%' >&2\n"
    )
    far = f"{tmp_path}/far/runs"
    place = fetch(login, f"{far}/a/my run", tmp_path / "here", far)
    assert place == tmp_path / "here" / "a" / "my run"
    there = Path(far, "a", "my run")
    assert (place / "weights").read_bytes() == (there / "weights").read_bytes()
    assert sorted(file.name for file in place.iterdir()) == ["config.yaml", "weights"]


def test_a_copy_that_fails_says_what_to_do(login: Host, tmp_path: Path):
    (tmp_path / ".bashrc").write_text("rsync() { echo 'disk quota' >&2; return 11; }\n")
    far = f"{tmp_path}/far/runs"
    with pytest.raises(RunError, match=r"copying from login failed: rsync error: .*; run it again"):
        fetch(login, f"{far}/a/my run", tmp_path / "here", far)
