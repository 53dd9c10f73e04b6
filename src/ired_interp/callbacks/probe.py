"""Run a probe at chosen steps of training; everything that is common to all such callbacks."""

from pathlib import Path
from typing import ClassVar

from lightning.pytorch import LightningModule, Trainer

from ired_interp.callbacks.averaging import WeightAveraging
from ired_interp.callbacks.first_rank import on_first_rank
from ired_interp.callbacks.step_end import StepEnd
from ired_interp.errors import InputError
from ired_interp.loggers import publish
from ired_interp.measure import Measurement, measure
from ired_interp.module import IREDModule
from ired_interp.probes.base import Probe, Snapshot, Weights
from ired_interp.results import Run
from ired_interp.tasks.base import Problems, Variant
from ired_interp.tasks.data import TaskData


class ProbeCallback(StepEnd):
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
        every_n_steps: int = 1000,
        weights: Weights = "average",
        problems: int = 32,
        variant: Variant = "same",
    ) -> None:
        if every_n_steps < 1:
            raise InputError(
                f"callback {probe.label} has every_n_steps={every_n_steps}; expected at least 1."
            )
        self.measurement = Measurement(probe, weights, problems, variant)
        self.every_n_steps = every_n_steps
        self._measured = self._start = -1

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

        Raises
        ------
        InputError
            If it has no energy, or the probe's settings do not fit it.
        """
        if not isinstance(module, IREDModule):
            raise InputError(
                f"callback {self.probe.label} measures energies, but {type(module).__name__} has "
                "none; remove the callback."
            )
        self.measurement.check(module)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check the model before the first step."""
        self.check(pl_module)

    def due(self, step: int) -> bool:
        """Whether to measure after this step (at the end of training in any case)."""
        return step > 0 and step % self.every_n_steps == 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure at the step gone on from: its checkpoint was written before that."""
        super().on_train_start(trainer, pl_module)
        self._start = trainer.global_step
        if self.due(trainer.global_step):
            self._measure(trainer, pl_module)

    def on_step_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure where that is due."""
        if self.due(trainer.global_step):
            self._measure(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure what training ended with."""
        self._measure(trainer, pl_module)

    def _measure(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.global_step != self._measured:
            on_first_rank(lambda: self._measure_here(trainer, pl_module))
            self._measured = trainer.global_step

    def _measure_here(self, trainer: Trainer, pl_module: LightningModule) -> None:
        step = trainer.global_step
        results = Run(Path(trainer.default_root_dir)).results
        snapshot = self._snapshot(trainer, pl_module, step)
        # Before the first step, a refusal ends the run. What was measured of the checkpoint gone on
        # from need not be measured again.
        keep = step == self._start and not self.remembers
        origin = self.measurement.origin
        path, result = measure(self.probe, snapshot, results, origin, survive=step > 0, keep=keep)
        publish(trainer.loggers, self.probe.label, result, step, path)

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
        assert isinstance(module, IREDModule)
        return Snapshot(module, Problems(x, y), data.task, step, measurement.weights)
