"""Callbacks of probes that compare a model with what its training began with."""

import hashlib
from dataclasses import replace
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from ired_interp import probes
from ired_interp.baselines import with_energy
from ired_interp.callbacks.bound import BoundProbeCallback
from ired_interp.probes.base import Snapshot


class FromStartCallback(BoundProbeCallback):
    """A `BoundProbeCallback` that remembers the first weights and measures them, too.

    They lie in every checkpoint, so that a run that was requeued or killed goes on with them.
    """

    _initial: dict[str, Tensor] | None = None

    @property
    def state_key(self) -> str:
        """One of each combination of settings."""
        digest = hashlib.sha256(self.measurement.identity.encode()).hexdigest()[:8]
        return f"{type(self).__qualname__}-{digest}"

    def due(self, step: int) -> bool:
        """Whether to measure after this step; the first time before any."""
        return step == 0 or super().due(step)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the weights, unless a checkpoint gave those of an earlier start."""
        model = with_energy(pl_module)
        if self._initial is None and model is not None:
            named = model.energy.named_parameters()
            self._initial = {name: weight.detach().cpu().clone() for name, weight in named}
        super().on_train_start(trainer, pl_module)

    def _snapshot(self, trainer: Trainer, pl_module: LightningModule, step: int) -> Snapshot:
        return replace(super()._snapshot(trainer, pl_module, step), initial=self._initial)

    def state_dict(self) -> dict[str, Any]:
        """Return the first weights, for a checkpoint."""
        return {} if self._initial is None else {"initial": self._initial}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the first weights from a checkpoint."""
        self._initial = state_dict.get("initial")


class EffectiveRank(FromStartCallback, of=probes.EffectiveRank, every_n_steps=500):
    """`probes.EffectiveRank` at the start and at chosen steps."""


class TangentKernel(FromStartCallback, of=probes.TangentKernel, every_n_steps=2000, problems=16):
    """`probes.TangentKernel` at the start and at chosen steps."""


class ThetaSlice(FromStartCallback, of=probes.ThetaSlice, every_n_steps=2000):
    """`probes.ThetaSlice` at the start and at chosen steps."""
