"""A GPU that a job was given and PyTorch does not see."""

import pytest
import torch

from conftest import TINY
from ired_interp.cli import main
from ired_interp.device import automatic_device
from ired_interp.errors import RunError


@pytest.fixture
def unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("SLURM_GPUS_ON_NODE", "2")


def test_it_is_an_error_and_no_training_on_the_cpu(unseen, tmp_path, capsys):
    fit = ["fit", *TINY, "--trainer.accelerator", "auto", "--runs", str(tmp_path)]
    assert main(fit) == 1
    said = capsys.readouterr().err
    assert "ired: the job was given 2 GPU(s) of this node, but PyTorch" in said
    assert "trainer.accelerator: cpu" in said
    assert not list(tmp_path.iterdir())
    assert main([*fit, "--trainer.accelerator", "cpu", "--trainer.max_steps", "1"]) == 0


def test_a_probe_takes_no_cpu_in_its_place_either(unseen, monkeypatch):
    with pytest.raises(RunError, match="--device cpu"):
        automatic_device()
    monkeypatch.setenv("SLURM_GPUS_ON_NODE", "0")
    assert automatic_device() == "cpu"
    monkeypatch.delenv("SLURM_GPUS_ON_NODE")
    assert automatic_device() == "cpu"
