"""Exponential averaging of the weights; the average is validated, checkpointed and measured."""

import math
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging as WeightAveragingBase

from ired_interp.errors import InputError
from ired_interp.lightning_private import (
    averaged_module,
    averaged_until,
    averages_taken,
    count_average,
)

_COPIES = 100  # steps
_POWER = 2 / 3


class WeightAveraging(WeightAveragingBase):
    """Average the weights as w̄ ← d·w̄ + (1 − d)·w.

    The average is a copy of the weights for the first 100 steps; then d rises as
    1 − (1 + t)^(−2/3) over the updates t up to `decay`, so that the first weights, which are
    random, are soon forgotten. The rule depends on the step alone: a run that goes on averages as
    if it had not stopped.

    A checkpoint's `state_dict` is the average; `current_model_state` holds the raw weights, from
    which training resumes.

    Parameters
    ----------
    decay : float
        Share of the old average that is kept at each update in the long run.
    every_n_steps : int
        Training steps between updates.

    Raises
    ------
    InputError
        If the share is not in [0, 1), or there is no step between updates.

    References
    ----------
    The defaults of ema_pytorch, which the published implementation uses.
    """

    def __init__(self, decay: float = 0.995, every_n_steps: int = 10) -> None:
        if not 0 <= decay < 1 or every_n_steps < 1:
            raise InputError(
                f"weight_averaging has decay={decay} and every_n_steps={every_n_steps}; expected "
                "0 <= decay < 1 and at least 1 step."
            )
        # Buffers are constants here (schedules): averaging them would only round them.
        super().__init__(use_buffers=False)
        self.decay, self.every_n_steps = decay, every_n_steps

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        """Whether an update is due after the step of this number, counted from 0."""
        return step_idx is not None and step_idx % self.every_n_steps == 0

    def decay_at(self, step: int) -> float:
        """Share d of the old average that the update after the step of this number keeps."""
        if step <= _COPIES:
            return 0.0
        updates = (step - _COPIES) // self.every_n_steps
        return min(self.decay, 1 - math.pow(1 + updates, -_POWER))

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Update the average where that is due, without waiting for the device."""
        done = trainer.global_step
        if done <= averaged_until(self) or not self.should_update(step_idx=done - 1):
            return
        average, weights = (tuple(m.parameters()) for m in (self.averaged, pl_module))
        torch._foreach_lerp_(average, weights, 1 - self.decay_at(done - 1))
        self._copy_buffers(pl_module)
        count_average(self, done)

    def _copy_buffers(self, module: LightningModule) -> None:
        for mine, current in zip(self.averaged.buffers(), module.buffers(), strict=True):
            mine.copy_(current)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Copy the buffers: the average was made before the module saw its problems."""
        self._copy_buffers(pl_module)

    @property
    def averaged(self) -> LightningModule:
        """The module with the averaged weights, a copy: measuring it does not touch training."""
        module = averaged_module(self)
        assert module is not None
        return module

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Nothing yet: other callbacks still save and measure the raw weights."""

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the average in the module."""
        if averages_taken(self):  # else no step was taken: the module keeps its own weights
            super().on_train_end(trainer, pl_module)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Put both kinds of weights into a checkpoint."""
        if averaged_module(self) is not None:
            super().on_save_checkpoint(trainer, pl_module, checkpoint)
