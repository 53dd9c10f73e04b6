"""The job script's decisions, with stand-ins for srun and scontrol that record how they are called."""

import os
import subprocess
from pathlib import Path

import pytest

from conftest import ROOT


@pytest.fixture
def job(tmp_path: Path):
    """Run the script with an exit code of srun; returns its own exit code and the recorded calls."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, code in (("srun", "$SRUN_CODE"), ("scontrol", "0")):
        (programs / name).write_text(f'#!/bin/sh\necho {name} "$@" >> "$CALLS"\nexit {code}\n')
        (programs / name).chmod(0o755)

    def run(*arguments: str, code: int = 0) -> tuple[int, list[str]]:
        calls = tmp_path / "calls"
        calls.unlink(missing_ok=True)
        slurm = {"SLURM_SUBMIT_DIR": str(tmp_path), "SLURM_JOB_ID": "7", "SRUN_CODE": str(code), "CALLS": str(calls)}
        environment = {**os.environ, **slurm, "PATH": f"{programs}:{os.environ['PATH']}"}
        done = subprocess.run([ROOT / "slurm" / "fit.sbatch", *arguments], env=environment, check=False)
        return done.returncode, calls.read_text().splitlines()

    return run


def test_a_new_run_is_started_where_it_was_asked_for(job):
    code, calls = job("runs/inverse/first", "--config", "configs/inverse.yaml")
    place = "--runs runs --experiment inverse --name first"
    assert (code, calls) == (0, [f"srun .venv/bin/ired fit --config configs/inverse.yaml {place}"])


def test_a_run_with_a_checkpoint_goes_on(job, tmp_path: Path):
    checkpoint = tmp_path / "runs" / "inverse" / "first" / "checkpoints" / "last.ckpt"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.touch()
    assert job("runs/inverse/first", "--config", "configs/inverse.yaml") == (
        0,
        ["srun .venv/bin/ired fit --resume runs/inverse/first"],
    )


def test_a_run_stopped_by_sigterm_is_put_back_into_the_queue(job):
    code, calls = job("runs/a/b", code=143)
    assert code == 143
    assert calls[1:] == ["scontrol requeue 7"]


@pytest.mark.parametrize("failure", [1, 2, 137])
def test_a_failed_run_fails_the_job(job, failure: int):
    code, calls = job("runs/a/b", code=failure)
    assert code == failure
    assert len(calls) == 1
