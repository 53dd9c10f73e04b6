"""The end of a training step, which for all that saves or measures comes after its validation."""

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from ired_interp.lightning_private import validation_due


class StepEnd(Callback):
    """Call `on_step_end` once after each optimiser step, and after its validation where one is due.

    A checkpoint written there holds all that belongs to the step, so a run that goes on from it
    repeats and misses no validation.
    """

    _seen: int | None = None  # the step that was ended last

    def on_step_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Act when `trainer.global_step` updates are done, and validated where that is due."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take note of the step that training starts from."""
        self._seen = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """End the step, unless a validation follows."""
        if not validation_due(trainer):
            self._end(trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End the step that was validated."""
        if self._seen is not None:  # else it is the check of the validation before training
            with torch.inference_mode(False), torch.enable_grad():
                self._end(trainer, pl_module)

    def _end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.global_step != self._seen:  # else the batch was one of several of its step
            self._seen = trainer.global_step
            self.on_step_end(trainer, pl_module)
