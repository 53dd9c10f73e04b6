"""Run a probe at chosen steps of training; everything that is common to all such callbacks."""

from pathlib import Path
from typing import ClassVar

import xarray as xr
from lightning.pytorch import LightningModule, Trainer

from ired_interp.baselines import FeedForwardModule, with_energy
from ired_interp.callbacks.averaging import WeightAveraging
from ired_interp.callbacks.loss_measurement import LossMeasurement
from ired_interp.callbacks.measuring import MeasuringCallback
from ired_interp.errors import InputError
from ired_interp.measure import Measurement, measure
from ired_interp.module import IREDModule
from ired_interp.probes.base import Probe, Snapshot, Weights
from ired_interp.results import Run
from ired_interp.tasks.base import Problems, Variant
from ired_interp.tasks.data import TaskData


class ProbeCallback(MeasuringCallback):
    """Measure every n steps, and at the end of training, on a fixed set of problems.

    A measurement that fails (out of memory, not finite, refused by the probe) is recorded as failed
    and training goes on. Training is bit for bit the same with and without the callback. `ired
    probe --ckpt RUN` makes the same measurement of the run's checkpoint.

    Parameters
    ----------
    probe : Probe
        What to measure.
    every_n_steps : int
        Training steps (updates done) between measurements.
    weights : str
        "average" or "raw".
    problems : int
        How many problems to measure on.
    variant : str
        Their distribution, "same" or "harder".

    Raises
    ------
    InputError
        If a setting does not exist, or is too small.
    """

    remembers: ClassVar[bool] = False  # whether measuring changes the callback's state

    def __init__(
        self,
        probe: Probe,
        every_n_steps: int = 10_000,
        weights: Weights = "average",
        problems: int = 32,
        variant: Variant = "same",
    ) -> None:
        super().__init__(probe.label, every_n_steps)
        self.measurement = Measurement(probe, weights, problems, variant)
        self.loss: LossMeasurement | None = None

    @property
    def probe(self) -> Probe:
        """What is measured."""
        return self.measurement.probe

    def check(self, module: LightningModule) -> None:
        """Refuse a model that cannot be measured.

        Parameters
        ----------
        module : LightningModule
            The model that will be trained.

        """
        self.loss = None if isinstance(module, IREDModule) else self.of_loss(module)
        if self.loss is None:
            model = with_energy(module)
            assert model is not None  # see `of_loss`
            self.measurement.check(model)

    def of_loss(self, module: LightningModule) -> LossMeasurement | None:
        """Make what is measured of a model that has no energy.

        Parameters
        ----------
        module : LightningModule
            The model that will be trained.

        Returns
        -------
        LossMeasurement or None
            Of its loss; None where its answers are measured.

        Raises
        ------
        InputError
            If there is no such measurement.
        """
        if self.probe.of_answers and isinstance(module, FeedForwardModule):
            return None
        raise InputError(
            f"callback {self.probe.label} measures energies, but {type(module).__name__} has "
            "none; choose Spectrum, GradientStatistics or SubspaceDrift, which measure any module."
        )

    def disk_bytes(self, module: LightningModule) -> int:
        """Return what it will keep on disk besides results, where that can be much.

        Parameters
        ----------
        module : LightningModule
            The model that will be trained.
        """
        return 0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check the model and the variant before the first step."""
        self.check(pl_module)
        if self.loss is None:
            trainer.datamodule.task.check_variant(self.measurement.variant)  # type: ignore[attr-defined]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Choose the batches of a model without energy, and measure what a run goes on from."""
        if self.loss is not None:
            self.loss.begin(trainer, pl_module)
        super().on_train_start(trainer, pl_module)

    def measure(self, trainer: Trainer, pl_module: LightningModule) -> tuple[str, Path, xr.Dataset]:
        """Measure the energy, or the loss of a model that has none."""
        if self.loss is not None:
            return self.loss.measure(trainer, pl_module)
        step = trainer.global_step
        results = Run(Path(trainer.default_root_dir)).results
        snapshot = self._snapshot(trainer, pl_module, step)
        # Before the first step, a refusal ends the run. What was measured of the checkpoint gone on
        # from need not be measured again.
        keep = step == self.started_at and not self.remembers
        origin = self.measurement.origin
        path, result = measure(self.probe, snapshot, results, origin, survive=step > 0, keep=keep)
        return self.probe.label, path, result

    def _snapshot(self, trainer: Trainer, pl_module: LightningModule, step: int) -> Snapshot:
        data, measurement = trainer.datamodule, self.measurement  # type: ignore[attr-defined]
        assert isinstance(data, TaskData)
        device = pl_module.device
        x, y, *_ = data.evaluation_batch(
            "probe", measurement.variant, 0, measurement.problems, device
        )
        module = pl_module
        if measurement.weights == "average":
            module = next(c for c in trainer.callbacks if isinstance(c, WeightAveraging)).averaged  # type: ignore[attr-defined]
        model = with_energy(module)
        assert model is not None  # else its loss is measured
        return Snapshot(
            model,
            Problems(x, y),
            data.task,
            step,
            measurement.weights,
            optimizer=trainer.optimizers[0].state_dict(),
        )
