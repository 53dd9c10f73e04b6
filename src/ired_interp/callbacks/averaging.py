"""Exponential averaging of the weights; the average is validated, checkpointed and measured."""

from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging

from ired_interp.errors import InputError
from ired_interp.lightning_private import averaged_module, averages_taken


class WeightAveraging(EMAWeightAveraging):
    """Average the weights as w̄ ← decay·w̄ + (1 − decay)·w.

    A checkpoint's `state_dict` is the average; `current_model_state` holds the raw weights, from
    which training resumes.

    Parameters
    ----------
    decay : float
        Share of the old average kept at each update.
    every_n_steps : int
        Training steps between updates.

    Raises
    ------
    InputError
        If the share is not in [0, 1), or there is no step between updates.
    """

    def __init__(self, decay: float = 0.995, every_n_steps: int = 10) -> None:
        if not 0 <= decay < 1 or every_n_steps < 1:
            raise InputError(
                f"weight_averaging has decay={decay} and every_n_steps={every_n_steps}; expected "
                "0 <= decay < 1 and at least 1 step."
            )
        # Buffers are constants here (schedules): averaging them would only round them.
        super().__init__(use_buffers=False, decay=decay, update_every_n_steps=every_n_steps)

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
