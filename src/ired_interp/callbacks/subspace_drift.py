"""Subspace drift during training."""

import hashlib
import json
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer

from ired_interp import probes
from ired_interp.callbacks.probe import ProbeCallback
from ired_interp.probes.base import Weights
from ired_interp.tasks.base import Variant


class SubspaceDrift(ProbeCallback):
    """`probes.SubspaceDrift` over training: a snapshot at the start and every n steps, each result comparing all so far.

    Snapshots lie in the run's folder subspaces/ and their list in every checkpoint, so a run that was requeued or killed goes on with its history.

    Parameters
    ----------
    every_n_steps, weights, problems, variant : as in `ProbeCallback`.
    kwargs : settings of the probe.
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
        self.drift = probes.SubspaceDrift(axis="training", **kwargs)
        super().__init__(self.drift, every_n_steps, weights, problems, variant)
        settings = {
            **self.drift.settings(),
            "weights": weights,
            "problems": problems,
            "variant": variant,
        }
        self._digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]

    @property
    def state_key(self) -> str:
        return f"{type(self).__qualname__}-{self._digest}"

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        self.drift.folder = (
            Path(trainer.default_root_dir) / "subspaces" / f"{self.drift.label}-{self._digest}"
        )

    def due(self, step: int) -> bool:
        return step % self.every_n_steps == 0

    def state_dict(self) -> dict[str, Any]:
        return self.drift.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.drift.load_state_dict(state_dict)
        if self.drift.origins:
            self._measured = int(self.drift.origins[-1][0])
