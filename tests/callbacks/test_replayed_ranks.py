"""Steps that two ranks replay are those of DDP; on a CPU a replay calls the update with fixed memory."""

from pathlib import Path
from typing import Any

import pytest
import torch

from ired_interp import solver
from ired_interp.callbacks import ReplayedSteps, replayed_steps
from ired_interp.cli import main
from two_tasks import torchrun, two

pytestmark = pytest.mark.process

PROGRAM = "import sys\n"
PROGRAM += f"sys.path[:0] = {[str(Path(__file__).parent), str(Path(__file__).parents[1])]!r}\n"
PROGRAM += "from test_replayed_ranks import both; sys.exit(both(sys.argv[1:]))"
OPTIONS = (
    *("--config", "configs/quickstart.yaml", "--model.energy.width", "16"),
    *("--data.batch_size", "16", "--model.compile", "true", "--model.lr_schedule", "cosine"),
    *("--trainer.accelerator", "cpu", "--trainer.devices", "2", "--trainer.max_steps", "40"),
    *("--trainer.val_check_interval", "25", "--save_every", "30"),
)


def both(arguments: list[str]) -> int:
    """Train with steps replayed and without, and say which were replayed."""
    replayed_steps.capturable = lambda device: True  # type: ignore[assignment]
    solver.compiled = lambda loss, device, within=False: loss  # type: ignore[assignment]
    numbers: list[int] = []
    stepped, covers = ReplayedSteps.stepped, ReplayedSteps.covers

    def noted(self: ReplayedSteps) -> None:
        numbers.append(self._trainer.global_step)
        stepped(self)

    ReplayedSteps.stepped = noted  # type: ignore[method-assign]
    for name, of_step in (("replayed", covers), ("stepped", lambda self, step: False)):
        ReplayedSteps.covers = of_step  # type: ignore[method-assign, assignment]
        if code := main(["fit", *arguments, "--name", name]):
            return code
    print(numbers)
    return 0


def test_two_ranks_replay_the_steps_of_ddp_bit_for_bit(tmp_path: Path) -> None:
    arguments = [*OPTIONS, "--runs", tmp_path]
    for code, printed, said in two(torchrun, tmp_path, *arguments, program=PROGRAM):
        assert code == 0, said[-2000:]
        assert str([s for s in range(2, 40) if s % 25 and s % 30]) in printed
    states: list[dict[str, Any]] = [
        torch.load(tmp_path / "quickstart" / name / "checkpoints" / "last.ckpt", weights_only=True)
        for name in ("replayed", "stepped")
    ]
    for kept in ("state_dict", "current_model_state"):
        for name, value in states[0][kept].items():
            assert torch.equal(value, states[1][kept][name]), name
    one, other = (state["optimizer_states"][0]["state"] for state in states)
    for number, moments in one.items():
        for name, value in moments.items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(other[number][name]))
