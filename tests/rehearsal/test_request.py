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


@pytest.mark.process
def test_of_an_array_the_tasks_that_could_find_something_else_are_rehearsed(user_module):
    fit = ["fit", *SMALL, "--seed_everything", "1"]
    tasks = [
        fit,
        [*fit, "--seed_everything", "2", "--model.lr", "0.003", "--name", "other"],
        [*fit, "--model.energy.width", "8"],
        [*fit, "--model.energy.width", "8", "--weight_averaging.decay", "0.5"],
        [*fit, "--trainer.gradient_clip_val", "0.0"],
        ["fit", *SMALL, "--seed_everything", "none"],
    ]
    lines = checks(*tasks)
    made = {n: [x["check"] for x in lines if x["task"] == n and "check" in x] for n in range(6)}
    assert made[0] == made[2] == made[4] == passed([x for x in lines if x["task"] == 0])
    assert made[1] == made[3] == ["configuration", "dry run"]
    assert [line["found"] for line in lines if line.get("check") == "dry run"] == [
        "that of task 0, from which it differs only in seed_everything, model.init_args.lr",
        "that of task 2, from which it differs only in weight_averaging.decay",
    ]
    assert [line["ok"] for line in lines if line["task"] == 5] == [False], "each is configured"
    assert [line["task"] for line in lines if "facts" in line] == [0, 1, 2, 3, 4]
