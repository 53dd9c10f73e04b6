"""slurm/try.sh in the place of prepare.sh: it says what a node lacks and makes nothing."""

import os
import subprocess
from pathlib import Path

import pytest

from conftest import ROOT

pytestmark = pytest.mark.process


@pytest.fixture
def look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Run it in a job's folder, beside a prepare.sh that does as told: (code, stdout, checks)."""
    monkeypatch.setenv("SLURMD_NODENAME", "n7")

    def run(*arguments: object, prepare: str = "") -> tuple[int, str, list[list[str]]]:
        (tmp_path / "prepare-job.sh").write_text(prepare)
        (tmp_path / "prepare.sh").write_bytes((ROOT / "slurm" / "try.sh").read_bytes())
        command = ["bash", f"{tmp_path}/prepare.sh", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True)
        lines = [line for line in done.stderr.splitlines() if line.startswith("ired-node\t")]
        return done.returncode, done.stdout, [line.split("\t")[1:] for line in lines]

    return run


def environment(folder: Path, pip: str) -> None:
    (folder / "bin").mkdir(parents=True)
    (folder / "ready").touch()
    (folder / "bin" / "python").write_text(f"#!/bin/bash\n{pip}\n")
    (folder / "bin" / "python").chmod(0o755)


def test_an_environment_that_the_node_sees_is_used_whether_or_not_it_reaches_the_index(
    look, tmp_path: Path
):
    base = tmp_path / "env"
    base.mkdir()  # of which files were purged
    environment(tmp_path / "env.2", "[[ $* == *download* ]]")
    code, stdout, checks = look("environment", "/source", base, "python3")
    assert (code, stdout) == (0, f"{base}.2\n")
    assert checks == [["ok", "package index", "n7 reaches it"]]
    (base / "ready").touch()
    environment(tmp_path / "other", "echo 'ERROR: No matching distribution found for pip'; exit 1")
    code, _, checks = look("environment", "/source", tmp_path / "other", "python3")
    assert code == 0
    assert checks[0][2].startswith("n7 does not reach it (ERROR: No matching distribution found")


def test_what_the_node_does_not_see_ends_the_job(look, tmp_path: Path):
    code, stdout, checks = look("environment", "/source", tmp_path / "env", "/no/python")
    assert (code, stdout) == (1, "")
    assert checks[0][:2] == ["FAIL", "environment"]
    assert not (tmp_path / "env").exists()
    refused = "echo one; echo 'fatal: could not read' >&2; exit 128"
    code, _, checks = look("source", "/remote", "0123456789abc", "/far", prepare=refused)
    assert code == 1
    assert checks == [
        [
            "FAIL",
            "source",
            "n7 has no clone of commit 0123456789 and cannot make one: fatal: could not read",
            "set scratch in the profile to a folder that all nodes see",
        ]
    ]


@pytest.mark.parametrize(("flag", "words"), [(0, "forbidden here"), (1, "may go back")])
def test_where_requeueing_is_forbidden_it_is_said_before_the_job(
    look, tmp_path: Path, monkeypatch, flag: int, words: str
):
    (tmp_path / "scontrol").write_text(f"#!/bin/bash\necho JobId=7 Requeue={flag} Restarts=0\n")
    (tmp_path / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    code, _, checks = look("source", "/remote", "0123456789abc", "/far")
    assert (code, [check[:2] for check in checks]) == (0, [["ok", "source"], ["ok", "requeue"]])
    assert words in checks[1][2]


def test_a_program_that_does_not_run_is_a_line_and_ends_no_other_nodes_look(look, monkeypatch):
    broken = "echo 'bash: /env/bin/ired: No such file or directory'; exit 127"
    code, _, checks = look("run", "commit", "/project", "/env", "/record", "check", prepare=broken)
    assert code == 0
    assert checks[0][:2] == ["FAIL", "environment"]
    assert "/env/bin/ired: No such file or directory" in checks[0][2]
    monkeypatch.setenv("SLURM_LOCALID", "1")
    assert look("run", "commit", "/project", "/env", "/record", prepare=broken) == (0, "", [])
