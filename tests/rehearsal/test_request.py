"""A request of several tasks, and the program that answers it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from conftest import ROOT
from rehearsals import SMALL, checks, passed


def test_a_task_that_fails_does_not_end_the_others(user_module):
    bad = ["fit", *SMALL, "--model.lr", "-1"]
    lines = checks(bad, ["report", "runs"], ["fit", *SMALL])
    outcome = {
        task: [line["ok"] for line in lines if line["task"] == task and "ok" in line]
        for task in range(3)
    }
    assert outcome[0] == outcome[1] == [False]
    assert [line["found"] for line in lines if line["task"] == 1] == [
        "'report' is no command of a job"
    ]
    assert len(outcome[2]) == 5
    assert all(outcome[2])


@pytest.mark.process
def test_the_subprocess_speaks_json_lines_alone(tmp_path: Path):
    configs = ROOT / "configs"
    fit = ["fit", "--config", str(configs / "quickstart.yaml"), "--model.energy.width", "16"]
    test = ["test", "--config", str(configs / "linear_gaussian.yaml")]  # prints a table
    request: dict[str, Any] = {"tasks": [fit, test]}
    request |= {"ranks": 2, "thorough": False}
    environment = {**os.environ, "SLURM_NTASKS": "2", "SLURM_JOB_NAME": "job", "RANK": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "ired_interp.rehearsal"],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
        check=False,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, done.stderr
    assert passed(lines)[:5] == ["configuration", "problems", "energy", "gradient", "training"]
    assert passed(lines)[5:] == ["arguments", "checkpoint", "problems", "evaluation"]
    assert "perfect energy, same inference" in done.stderr
    assert "done: 3 steps" in done.stderr
    assert list(tmp_path.iterdir()) == []
