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
def test_average_is_the_recursion(small_module, tmp_path, decay, every):
    module, data = small_module
    spy, averaging = Spy(), WeightAveraging(decay, every)
    trainer = Trainer(
        max_steps=8,
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
    expected = spy.weights[0]  # the average begins with the weights after the first step
    for step in range(every, 8, every):
        expected = decay * expected + (1 - decay) * spy.weights[step]
    torch.testing.assert_close(averaging.averaged.energy.fc1.weight, expected)
    torch.testing.assert_close(
        module.energy.fc1.weight, expected
    )  # what is left after training is the average


@pytest.mark.parametrize(("decay", "every"), [(1.0, 1), (-0.1, 1), (0.9, 0)])
def test_bad_settings_are_refused(decay, every):
    with pytest.raises(InputError, match="weight_averaging has"):
        WeightAveraging(decay, every)
