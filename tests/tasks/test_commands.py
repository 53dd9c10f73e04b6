"""The discrete tasks by the commands: trained, gone on with, tested, probed and shown as any other."""

import signal
from pathlib import Path

import pytest
import torch

from conftest import Ired
from interruptions import fragment

pytestmark = pytest.mark.process

SMALL = {
    "sudoku4": (
        *("--data.task.init_args.puzzles", 60, "--model.init_args.energy.init_args.width", 6),
    ),
    "connectivity": (
        *("--data.task.init_args.n", 5, "--data.task.init_args.harder_n", 7),
        *("--model.init_args.compile", "false"),
    ),
    "shortest_path": (
        *("--data.task.init_args.n", 9, "--data.task.init_args.harder_n", 10),
        *("--data.task.init_args.shortest", 1, "--data.task.init_args.longest", 2),
        *("--model.init_args.compile", "false"),
        *("--model.init_args.energy.init_args.blocks", 2),
    ),
}
FEW = (
    *("--data.batch_size", 8, "--data.validation_problems", 10, "--data.test_problems", 15),
    *("--trainer.max_steps", 6, "--trainer.val_check_interval", 2, "--trainer.accelerator", "cpu"),
    *("--model.inference.steps", 1),
)
TABLE = {
    "sudoku4": ("naked and hidden singles", "whole boards at 6 givens", "dug"),
    "connectivity": ("harder_equal_degree", "balanced accuracy", "within 4 edges", "whole graphs"),
    "shortest_path": ("first move at distance 2", "most out-edges", "whole plan", "closed loop"),
}
CURVE = {
    "sudoku4": "whole boards by number of givens, same",
    "connectivity": "accuracy by distance, harder",
    "shortest_path": "whole plan by distance, harder",
}


@pytest.mark.parametrize("task", SMALL)
def test_a_task_is_trained_gone_on_with_tested_probed_and_shown(
    ired: Ired, tmp_path: Path, task: str
) -> None:
    run, stopped = f"runs/{task}/one", f"runs/{task}/stopped"
    fit = ("fit", "--config", f"configs/{task}.yaml", *SMALL[task], *FEW)
    code, _, err = ired(*fit, "--name", "one")
    assert code == 0, err
    at = fragment(tmp_path, f"interruptions.SignalAt: {{step: 3, number: {int(signal.SIGTERM)}}}")
    code, _, err = ired(*fit, *at, "--name", "stopped")
    assert code == 128 + signal.SIGTERM, err
    code, _, err = ired("fit", "--resume", stopped)
    assert code == 0, err
    last = [
        torch.load(f"{one}/checkpoints/last.ckpt", weights_only=False) for one in (run, stopped)
    ]
    states = [checkpoint["state_dict"] for checkpoint in last]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    code, out, err = ired("test", "--ckpt", run, "--model.test_steps", "[1]")
    assert code == 0, err
    for words in TABLE[task]:
        assert words in out
    probes = ("hessian_spectrum_y", "gradient_statistics_theta", "inference_trajectory")
    code, _, err = ired("probe", "--ckpt", run, "--probes", *probes, "--problems", 3)
    assert code == 0, err
    code, _, err = ired("report", run, "--output", "page.html")
    assert code == 0, err
    with open("page.html") as file:
        page = file.read()
    for title in ("Solutions along inference", "Right answers beside their floors", CURVE[task]):
        assert title in page
    assert "Left out" not in page
    code, _, err = ired("probe", "--ckpt", run, "--variant", "hardest")
    assert code == 2
    assert f"'hardest' does not exist; task {task.rstrip('4')} has same, harder" in err
