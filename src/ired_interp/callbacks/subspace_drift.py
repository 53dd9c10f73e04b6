"""Subspace drift during training."""

import hashlib
import json
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer

from ired_interp import probes
from ired_interp.callbacks.probe import ProbeCallback
from ired_interp.probes.base import Weights
from ired_interp.probes.subspace_tracker import SubspaceTracker
from ired_interp.tasks.base import Variant


class SubspaceDrift(ProbeCallback):
    """`probes.SubspaceDrift` over training: each result compares all frames so far.

    A frame of every landscape is taken at the start and every n steps. Frames lie in the run's
    folder subspaces/ and their list in every checkpoint, so a run that was requeued or killed goes
    on with its history.

    Parameters
    ----------
    every_n_steps, weights, problems, variant
        As in `ProbeCallback`.
    **kwargs
        Settings of the probe but its axis.

    Raises
    ------
    InputError
        If a setting does not exist, or is refused.
    """

    remembers = True

    def __init__(
        self,
        every_n_steps: int = 2000,
        weights: Weights = "average",
        problems: int = 8,
        variant: Variant = "same",
        **kwargs: Any,
    ) -> None:
        drift = probes.SubspaceDrift(axis="training", **kwargs)
        super().__init__(SubspaceTracker(drift), every_n_steps, weights, problems, variant)
        settings = {**drift.settings(), "weights": weights, **self.measurement.origin}
        self._digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]

    @property
    def tracker(self) -> SubspaceTracker:
        """What holds the frames."""
        assert isinstance(self.probe, SubspaceTracker)
        return self.probe

    @property
    def state_key(self) -> str:
        """One of each combination of settings."""
        return f"{type(self).__qualname__}-{self._digest}"

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check the model, and say where frames lie."""
        super().setup(trainer, pl_module, stage)
        folder = Path(trainer.default_root_dir) / "subspaces"
        self.tracker.folder = folder / f"{self.tracker.label}-{self._digest}"

    def due(self, step: int) -> bool:
        """Whether frames are taken after this step; the first before any."""
        return step % self.every_n_steps == 0

    def state_dict(self) -> dict[str, Any]:
        """Return the frames so far, for a checkpoint."""
        return self.tracker.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the frames of a checkpoint."""
        self.tracker.load_state_dict(state_dict)
        if self.tracker.origins:
            self._measured = int(self.tracker.origins[-1][0])
