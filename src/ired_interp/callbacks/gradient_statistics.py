"""Statistics of the gradients that training computes anyway."""

from pathlib import Path
from typing import Any

import torch
import xarray as xr
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from ired_interp import probes
from ired_interp.callbacks.probe import ProbeCallback
from ired_interp.errors import InputError
from ired_interp.loggers import publish
from ired_interp.probes.gradient_variables import ALL, QUANTILES, theta_variables
from ired_interp.probes.loss_gradients import layer_of
from ired_interp.results import ResultKey, Run, failed_result, write_result
from ired_interp.results.collection import Collection
from ired_interp.results.provenance import provenance
from ired_interp.terminal import log

_NAME = "gradient_statistics_training"


class GradientStatistics(ProbeCallback):
    """Read the gradients of `window` consecutive steps, every n steps; nothing is computed again.

    Consecutive batches are independent and the weights hardly move between them, so the window's
    gradients give norm, noise scale, signal-to-noise, cosines and effective rank per layer as
    `probes.GradientStatisticsTheta` does from single problems. Clipping comes after. `ired probe`
    makes that measurement, per problem and landscape, of the run's checkpoint.

    Parameters
    ----------
    every_n_steps : int
        Training steps (updates done) between windows; a window ends there.
    window : int
        Consecutive gradients compared, at least 3.
    collect : int
        How many of these gradients to keep, in half precision, in the run's folder gradients/ (2N
        bytes each); see `Collection`.
    kwargs
        Settings of the probe that `ired probe` runs later.

    Raises
    ------
    InputError
        If a setting does not exist, or the windows overlap.
    """

    def __init__(
        self, every_n_steps: int = 1000, window: int = 8, collect: int = 0, **kwargs: Any
    ) -> None:
        super().__init__(probes.GradientStatisticsTheta(**kwargs), every_n_steps, "raw")
        if not 3 <= window <= every_n_steps or collect < 0:
            raise InputError(
                f"gradient_statistics has window={window}, every_n_steps={every_n_steps} and "
                f"collect={collect}; expected 3 <= window <= every_n_steps and collect >= 0."
            )
        self.window, self.collect = window, collect
        self._layers: dict[str, list[Tensor]] = {}
        self._updates: list[int] = []  # of the present window
        self._gradients = torch.empty(0)

    @property
    def state_key(self) -> str:
        """One of each combination of settings."""
        return f"{type(self).__qualname__}-{self.every_n_steps}-{self.window}-{self.collect}"

    def due(self, step: int) -> bool:
        """Never: gradients are read before the optimiser's step."""
        return False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make room for a window, and go on with one that was begun."""
        super().on_train_start(trainer, pl_module)
        self._layers = {}
        for name, parameter in pl_module.energy.named_parameters():  # type: ignore[union-attr]
            if parameter.requires_grad:
                self._layers.setdefault(layer_of(name), []).append(parameter)
        self._sizes = {
            layer: sum(p.numel() for p in parameters) for layer, parameters in self._layers.items()
        }
        begun = self._gradients
        self._gradients = torch.empty(
            self.window, sum(self._sizes.values()), device=pl_module.device
        )
        if self._updates:
            self._gradients[: len(begun)] = begun
        self._collection: Collection | None = None
        if self.collect and trainer.is_global_zero:
            self._collection = Collection(
                Path(trainer.default_root_dir) / "gradients", self._sizes, self.collect
            )
            self._collection.keep_until(trainer.global_step)

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Any
    ) -> None:
        """Read a gradient of the window."""
        update = trainer.global_step + 1
        if not trainer.is_global_zero or -update % self.every_n_steps >= self.window:
            return
        row = self._gradients[len(self._updates)]
        torch.cat(
            [_flat_gradient(p) for parameters in self._layers.values() for p in parameters], out=row
        )
        self._updates.append(update)
        if self._collection is not None:
            self._collection.append(update, row.cpu().numpy())
        if update % self.every_n_steps == 0:
            self._write(trainer, update)
            self._updates = []

    def _write(self, trainer: Trainer, step: int) -> None:
        batch = trainer.datamodule.batch_size * trainer.accumulate_grad_batches  # type: ignore[attr-defined]
        settings = {"every_n_steps": self.every_n_steps, "window": self.window, "batch": batch}
        result = self._statistics(batch)
        if "failed" in result.attrs:
            log(f"{_NAME} at step {step} failed: {result.attrs['failed']}")
        results = Run(Path(trainer.default_root_dir)).results
        key = ResultKey(_NAME, step, "raw", settings)
        path = write_result(results, key, result, provenance())
        publish(trainer.loggers, _NAME, result, step, path)

    def _statistics(self, batch: int) -> xr.Dataset:
        rows = self._gradients[: len(self._updates)]
        parts = torch.split(rows, list(self._sizes.values()), dim=1)
        grams = torch.stack([part.double() @ part.double().mT for part in parts]).cpu()
        grams = torch.cat([grams.sum(0, keepdim=True), grams])
        if not grams.isfinite().all():
            return failed_result("a gradient of the loss is not finite")
        variables = theta_variables(grams.numpy(), batch, ("layer",), "update")
        size = grams.diagonal(dim1=1, dim2=2).sqrt()
        cosine = grams.diagonal(1, dim1=1, dim2=2) / (size[:, 1:] * size[:, :-1])
        variables["consecutive_cosine"] = (
            ("layer", "later_update"),
            cosine.numpy(),
            {"long_name": "cosine with the step before"},
        )
        variables["weights"] = ("layer", [sum(self._sizes.values()), *self._sizes.values()])
        coordinates = {
            "layer": [ALL, *self._sizes],
            "update": self._updates,
            "later_update": self._updates[1:],
        }
        return xr.Dataset(variables, {**coordinates, "quantile": list(QUANTILES)}, {"batch": batch})

    def state_dict(self) -> dict[str, Any]:
        """Return the window that was begun, for a checkpoint."""
        return {
            "updates": list(self._updates),
            "gradients": self._gradients[: len(self._updates)].cpu().clone(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the window of a checkpoint."""
        self._updates, self._gradients = list(state_dict["updates"]), state_dict["gradients"]

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Nothing: no gradient arises here."""


def _flat_gradient(parameter: Tensor) -> Tensor:
    gradient = parameter.grad
    return torch.zeros_like(parameter).flatten() if gradient is None else gradient.flatten().float()
