"""The spectrum of any LightningModule's loss during training."""

from pathlib import Path
from typing import Any

import xarray as xr
from lightning.pytorch import LightningModule, Trainer

from ired_interp.callbacks.fixed_batches import Loader
from ired_interp.callbacks.loss_measurement import LossMeasurement, built
from ired_interp.callbacks.measuring import MeasuringCallback
from ired_interp.callbacks.step_loss import LossFunction
from ired_interp.probes.loss_spectrum import LossSpectrum


class Spectrum(MeasuringCallback):
    """Leading eigenpairs, density and trace of the Hessian of the loss, for any LightningModule.

    The loss is that of `training_step`, a mean over a few batches that are the same at every
    measurement, in evaluation mode (dropout off, running statistics of batch norm). Training is bit
    for bit the same with and without the callback; a measurement that fails is recorded as failed
    and training goes on. Results are netCDF files below the folder in which Lightning's
    checkpoints lie, too (`ired report FOLDER` draws them), and scalars go to every logger.

    Parameters
    ----------
    every_n_steps : int, optional
        Training steps (updates done) between measurements; the end of training is measured, too.
    every_n_epochs : int, optional
        Epochs between them, in place of steps.
    batches : int
        How many batches to measure on.
    loader : {"train", "val"}
        From which of the Trainer's loaders.
    loss : callable, optional
        (module, batch) → scalar, in place of `training_step`.
    **kwargs
        Settings of `probes.LossSpectrum`: eigenpairs, which, tol, density_probes, density_steps,
        trace_matvecs, layers, memory_gib, seed.

    Raises
    ------
    InputError
        If a setting does not exist or is refused; at the start of training, if the loss cannot be
        measured.

    Examples
    --------
    >>> Spectrum(every_n_epochs=1, eigenpairs=5, which="LA").measurement.probe.eigenpairs
    5
    """

    def __init__(
        self,
        every_n_steps: int | None = None,
        every_n_epochs: int | None = None,
        batches: int = 4,
        loader: Loader = "train",
        loss: LossFunction | None = None,
        **kwargs: Any,
    ) -> None:
        probe = built(LossSpectrum, kwargs)
        super().__init__(probe.label, every_n_steps, every_n_epochs)
        self.measurement = LossMeasurement(probe, batches, loader, loss)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Choose the batches, and refuse what cannot be measured."""
        self.measurement.begin(trainer, pl_module)
        super().on_train_start(trainer, pl_module)

    def measure(self, trainer: Trainer, pl_module: LightningModule) -> tuple[str, Path, xr.Dataset]:
        """Measure the loss at the weights of now."""
        return self.measurement.measure(trainer, pl_module)
