"""Stop a run whose loss is no longer a number."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from ired_interp.errors import RunError


class FiniteLoss(Callback):
    """Raise a RunError when the loss is NaN or infinite.

    Parameters
    ----------
    every_n_steps : int
        Steps between looks; each look waits for the device.
    """

    def __init__(self, every_n_steps: int = 50) -> None:
        self.every_n_steps = every_n_steps

    def needs(self, step: int) -> bool:
        """Whether it looks after this step."""
        return step % self.every_n_steps == 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Look at the loss.

        Raises
        ------
        RunError
            If it is not finite.
        """
        if trainer.global_step % self.every_n_steps == 0 and not outputs["loss"].isfinite():
            raise RunError(
                f"the loss is {float(outputs['loss'])} at step {trainer.global_step}: gradients "
                "exploded; "
                "lower model.lr or trainer.gradient_clip_val, and resume from the last good "
                "checkpoint."
            )
