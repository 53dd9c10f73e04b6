"""Subspace drift during training."""

import hashlib
import json
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer

from ired_interp import probes
from ired_interp.callbacks.fixed_batches import Loader
from ired_interp.callbacks.loss_measurement import (
    LossMeasurement,
    LossSettings,
    refuse_idle,
    results_run,
    settings_beside,
)
from ired_interp.callbacks.probe import ProbeCallback
from ired_interp.callbacks.step_loss import LossFunction
from ired_interp.module import IREDModule
from ired_interp.probes.base import Weights
from ired_interp.probes.loss_drift import LossDrift
from ired_interp.probes.subspace_tracker import SubspaceTracker
from ired_interp.tasks.base import Variant

_COMMON = ("source", "p", "layer", "memory_gib", "seed")  # settings of energies and of losses


class SubspaceDrift(ProbeCallback):
    """Grassmannian distance of leading subspaces between measured steps, with its reliability.

    Each result compares all frames so far; the first is taken before training, then one every n
    steps or epochs and at the end. Frames lie in the folder subspaces/ beside the results and their
    list in every checkpoint, so a run that was requeued or killed goes on with its history.

    Of any LightningModule: leading directions in the weights of the loss on fixed batches
    (`probes.LossDrift`), estimated from every other batch and again from the rest. Loss, batches,
    results and what is left untouched are as in `Spectrum`.

    Of an `IREDModule`: `probes.SubspaceDrift` over training, a frame of every landscape.

    Parameters
    ----------
    every_n_steps : int, optional
        Training steps (updates done) between frames. Of an IREDModule 20000 where nothing is given.
    weights, problems, variant
        As in `ProbeCallback`; of an IREDModule alone.
    every_n_epochs : int, optional
        Epochs between frames, in place of steps.
    batches, loader, loss
        As in `Spectrum`; not of an IREDModule.
    gradients : int
        As in `probes.LossDrift`; not of an IREDModule.
    **kwargs
        Settings of `probes.SubspaceDrift` but its axis, of which other modules use `source`, `p`,
        `layer`, `memory_gib` and `seed`.

    Raises
    ------
    InputError
        If a setting does not exist, is refused, or is of no use to the module.
    """

    remembers = True

    def __init__(
        self,
        every_n_steps: int | None = None,
        weights: Weights = "average",
        problems: int = 8,
        variant: Variant = "same",
        every_n_epochs: int | None = None,
        batches: int = 4,
        loader: Loader = "train",
        loss: LossFunction | None = None,
        gradients: int = 64,
        **kwargs: Any,
    ) -> None:
        if kwargs.get("layer") is not None:
            kwargs.setdefault("space", "theta")
        drift = probes.SubspaceDrift(axis="training", **kwargs)
        super().__init__(SubspaceTracker(drift), 20_000, weights, problems, variant)
        self._scheduled = every_n_steps is not None or every_n_epochs is not None
        if self._scheduled:
            self.schedule(every_n_steps, every_n_epochs)
        self._digest = _digest({**drift.settings(), "weights": weights, **self.measurement.origin})
        self._common = {name: value for name, value in kwargs.items() if name in _COMMON}
        self._energy_alone = {
            "weights": (weights, "average"),
            "problems": (problems, 8),
            "variant": (variant, "same"),
        }
        common = (*_COMMON, "space") if drift.space == "theta" else _COMMON
        self._energy_alone |= settings_beside(probes.SubspaceDrift, kwargs, common)
        self._settings = LossSettings(batches, loader, loss, gradients)

    @property
    def tracker(self) -> SubspaceTracker:
        """What holds the frames."""
        assert isinstance(self.probe, SubspaceTracker)
        return self.probe

    @property
    def state_key(self) -> str:
        """One of each combination of settings."""
        return f"{type(self).__qualname__}-{self._digest}"

    def check(self, module: LightningModule) -> None:
        """Refuse a model or settings that do not fit each other; see `ProbeCallback.check`."""
        super().check(module)
        if isinstance(module, IREDModule):
            idle = self._settings.given()
            refuse_idle(self.tracker.label, module, idle)

    def of_loss(self, module: LightningModule) -> LossMeasurement:
        """Make the probe of a model that has no energy; see `ProbeCallback.of_loss`."""
        if not self._scheduled:
            self.schedule(None, None)
        self._drift = LossDrift(gradients=self._settings.gradients, **self._common)
        refuse_idle(self._drift.label, module, self._energy_alone)
        measurement = self._settings.measurement(self._drift)
        self._digest = _digest({**self._drift.settings(), **measurement.origin})
        return measurement

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check the model, and say where frames lie."""
        super().setup(trainer, pl_module, stage)
        if self.loss is None:
            folder = Path(trainer.default_root_dir) / "subspaces"
            self.tracker.folder = folder / f"{self.tracker.label}-{self._digest}"

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say where the frames of a loss lie, and take the first."""
        if self.loss is not None:
            folder = results_run(trainer).path / "subspaces"
            self._drift.place(folder / f"{self._drift.label}-{self._digest}", trainer.global_step)
        super().on_train_start(trainer, pl_module)

    def due(self, step: int) -> bool:
        """Whether frames are taken after this step; the first before any."""
        return step == 0 or super().due(step)

    def state_dict(self) -> dict[str, Any]:
        """Return the frames so far, for a checkpoint."""
        return self.tracker.state_dict() if self.loss is None else self._drift.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the frames of a checkpoint."""
        holder = self.tracker if self.loss is None else self._drift
        holder.load_state_dict(state_dict)
        if holder.steps:
            self._measured = int(holder.steps[-1])


def _digest(settings: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
