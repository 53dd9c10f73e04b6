"""The averaged weights against the recursion written out."""

from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer

from ired_interp.callbacks import WeightAveraging
from ired_interp.errors import InputError


class Spy(Callback):
    """Keeps the raw weights after every step."""

    def __init__(self) -> None:
        self.weights: list[torch.Tensor] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *rest: Any) -> None:
        self.weights.append(pl_module.energy.fc1.weight.detach().clone())


@pytest.mark.parametrize(("decay", "every"), [(0.9, 3), (0.5, 1), (0.0, 2)])
def test_average_copies_then_follows_the_rule(small_module, tmp_path, decay, every):
    steps = 112
    module, data = small_module
    spy, averaging = Spy(), WeightAveraging(decay, every)
    trainer = Trainer(
        max_steps=steps,
        accelerator="cpu",
        logger=False,
        callbacks=[averaging, spy],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        default_root_dir=tmp_path,
    )
    trainer.fit(module, data)
    last_copy = 100 - 100 % every
    expected = spy.weights[last_copy]
    for step in range(last_copy + every, steps, every):
        share = min(decay, 1 - (1 + (step - 100) // every) ** (-2 / 3))
        expected = share * expected + (1 - share) * spy.weights[step]
    torch.testing.assert_close(averaging.averaged.energy.fc1.weight, expected)
    # What is left after training is the average.
    torch.testing.assert_close(module.energy.fc1.weight, expected)


def test_the_first_weights_are_forgotten():
    averaging, share = WeightAveraging(), 1.0
    for step in range(0, 2500, 10):
        share *= averaging.decay_at(step)
    assert share == 0
    held = 1.0
    for step in range(110, 2500, 10):  # of what was there at step 100
        held *= averaging.decay_at(step)
    assert held < 1e-4


@pytest.mark.parametrize(("decay", "every"), [(1.0, 1), (-0.1, 1), (0.9, 0)])
def test_bad_settings_are_refused(decay, every):
    with pytest.raises(InputError, match="weight_averaging has"):
        WeightAveraging(decay, every)
