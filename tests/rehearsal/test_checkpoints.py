"""The dry run of what starts from a checkpoint: probe, test, validate and `fit --resume`."""

import os
import pickle
from pathlib import Path

import pytest
import torch

from conftest import TINY, Ired
from ired_interp.results import choose_checkpoint
from rehearsals import checks, failure, passed

pytestmark = pytest.mark.process


def test_trained_runs_pass_and_are_left_as_they_are(
    user_module, ired: Ired, tiny_run: Path, tmp_path: Path
):
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    ckpt = ["--ckpt", str(tiny_run)]
    more = ["--resume", str(tiny_run), "--trainer.max_steps", "20"]
    lines = checks(["probe", *ckpt], ["test", *ckpt], ["validate", *ckpt], ["fit", *more])
    assert passed([line for line in lines if line["task"] == 0]) == [
        *("arguments", "checkpoint", "problems", "energy", "gradient", "probes"),
    ]
    assert passed([line for line in lines if line["task"] == 1]) == [
        "arguments",
        "checkpoint",
        "problems",
        "evaluation",
    ]
    assert passed([line for line in lines if line["task"] == 2]) == [
        "arguments",
        "checkpoint",
        "problems",
        "evaluation",
    ]
    assert "checkpoint" in passed([line for line in lines if line["task"] == 3])
    facts = next(line["facts"] for line in lines if "facts" in line)
    best = choose_checkpoint(tiny_run)
    assert best.path.name.startswith("best-step=")
    assert (facts["step"], facts["run"]) == (best.step, str(tiny_run))
    assert {
        path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()
    } == before


def test_a_run_whose_subspaces_are_followed_goes_on(user_module, ired: Ired, tmp_path: Path):
    code, _, err = ired(
        "fit", *TINY, "--config", "callbacks/subspace_drift.yaml", "--name", "drift"
    )
    assert code == 0, err
    run = tmp_path / "runs" / "quickstart" / "drift"
    before = sorted(run.rglob("*"))
    passed(checks(["fit", "--resume", str(run), "--trainer.max_steps", "20"]))
    assert sorted(run.rglob("*")) == before
    check, message = failure("fit", "--resume", str(run))
    assert check == "checkpoint"
    assert "has done 12 of 12 steps" in message


@pytest.mark.parametrize("command", ["probe", "test", "validate"])
def test_checkpoints_that_cannot_be_used(
    user_module, ired: Ired, tiny_run: Path, tmp_path: Path, command: str
):
    good = (tiny_run / "checkpoints" / "last.ckpt").read_bytes()
    (tmp_path / "truncated.ckpt").write_bytes(good[: len(good) // 2])
    code = {"state_dict": os.getcwd, "global_step": 1, "ired_config": ""}
    torch.save(code, tmp_path / "code.ckpt")
    (tmp_path / "pickle.ckpt").write_bytes(pickle.dumps(code))
    for name, words in (
        ("missing.ckpt", "cannot be read (No such file or directory)"),
        ("truncated.ckpt", "is truncated or damaged"),
        ("code.ckpt", "holds code beside its weights"),
        ("pickle.ckpt", "or no checkpoint"),
    ):
        check, message = failure(command, "--ckpt", name)
        assert check == "checkpoint"
        assert words in message


def test_a_model_for_other_sizes_than_the_data(
    user_module, ired: Ired, tiny_run: Path, tmp_path: Path
):
    check, message = failure("test", "--ckpt", str(tiny_run), "--data.task.n", "2")
    assert check == "checkpoint"
    assert (
        "does not fit the model: energy.fc1.weight has shape (16, 32) in the checkpoint "
        "and (16, 8) in the model" in message
    )
    data = tmp_path / "data.yaml"
    data.write_text("data: {task: {class_path: Inverse, init_args: {n: 2}}}\n")
    check, message = failure("probe", "--ckpt", str(tiny_run), "--config", str(data))
    assert check == "checkpoint"
    assert (
        "takes problems of 16 and answers of 16 entries, but the task of --config has 4 and 4"
        in message
    )


def test_resuming_a_run_without_a_checkpoint(user_module, ired: Ired, tiny_run: Path):
    (tiny_run / "checkpoints" / "last.ckpt").unlink()
    check, message = failure("fit", "--resume", str(tiny_run), "--trainer.max_steps", "20")
    assert check == "checkpoint"
    assert "holds no checkpoint" in message


def test_resuming_a_run_that_never_began_starts_it(
    user_module, ired: Ired, tiny_run: Path, tmp_path: Path
):
    run = tmp_path / "begun"
    run.mkdir()
    (run / "config.yaml").write_text((tiny_run / "config.yaml").read_text())
    lines = checks(["fit", "--resume", str(run)])
    assert "training" in passed(lines)
    assert "never began: from step 0" in next(
        line["found"] for line in lines if line.get("check") == "checkpoint"
    )
    assert [path.name for path in run.iterdir()] == ["config.yaml"]
