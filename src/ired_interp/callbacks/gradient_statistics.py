"""Statistics of gradients: of fixed batches, or of those that training computes anyway."""

from pathlib import Path
from typing import Any

import torch
import xarray as xr
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from ired_interp import probes
from ired_interp.callbacks.fixed_batches import Loader
from ired_interp.callbacks.loss_measurement import (
    LossMeasurement,
    LossSettings,
    refuse_idle,
    settings_beside,
)
from ired_interp.callbacks.probe import ProbeCallback
from ired_interp.callbacks.step_loss import LossFunction
from ired_interp.errors import InputError
from ired_interp.loggers import publish
from ired_interp.module import IREDModule
from ired_interp.probes.gradient_rows import layer_of
from ired_interp.probes.gradient_variables import ALL, QUANTILES, theta_variables
from ired_interp.probes.loss_statistics import LossGradientStatistics
from ired_interp.results import ResultKey, Run, failed_result, write_result
from ired_interp.results.collection import Collection
from ired_interp.results.provenance import provenance
from ired_interp.terminal import log

_NAME = "gradient_statistics_training"
_COMMON = ("memory_gib",)  # settings of energies and of losses


class GradientStatistics(ProbeCallback):
    """Norm, noise scale, signal-to-noise, agreement and rank of gradients, per layer.

    Of any LightningModule, the gradients of the loss on a few fixed batches are measured every n
    steps or epochs and at the end: of single samples, of microbatches or of whole batches, as fine
    as the loss allows (`probes.LossGradientStatistics`). Loss, batches, results and what is left
    untouched are as in `Spectrum`.

    Of an `IREDModule`, the gradients of `window` consecutive steps are read, every n steps; nothing
    is computed again. Consecutive batches are independent and the weights hardly move between them,
    so the window's gradients give the same statistics. Clipping comes after. `ired probe` measures
    per problem and landscape, of the run's checkpoint.

    Parameters
    ----------
    every_n_steps : int, optional
        Training steps (updates done) between measurements; a window ends there. Of an IREDModule
        10000 where nothing is given.
    window : int, optional
        Consecutive gradients compared, at least 3, of an IREDModule; 8 where so many fit.
    collect : int
        How many of these gradients to keep, in half precision, in the run's folder gradients/ (2N
        bytes each); see `Collection`.
    every_n_epochs : int, optional
        Epochs between measurements, in place of steps; not of an IREDModule.
    batches, loader, loss
        As in `Spectrum`; not of an IREDModule.
    gradients : int
        How many gradients of the batches to compare at most; not of an IREDModule.
    kwargs
        Settings of the probe that `ired probe` runs later, of which other modules use `memory_gib`.

    Raises
    ------
    InputError
        If a setting does not exist, the windows overlap, or a setting is of no use to the module.
    """

    def __init__(
        self,
        every_n_steps: int | None = None,
        window: int | None = None,
        collect: int = 0,
        every_n_epochs: int | None = None,
        batches: int = 4,
        loader: Loader = "train",
        loss: LossFunction | None = None,
        gradients: int = 64,
        **kwargs: Any,
    ) -> None:
        super().__init__(probes.GradientStatisticsTheta(**kwargs), weights="raw")
        self._scheduled = every_n_steps is not None or every_n_epochs is not None
        if self._scheduled:
            self.schedule(every_n_steps, every_n_epochs)
        self.window, self.collect = window or min(8, self.every_n_steps or 8), collect
        if window is not None or collect:
            self._check_window()
        self._energy_alone = {"window": (window, None), "collect": (collect, 0)}
        self._energy_alone |= settings_beside(probes.GradientStatisticsTheta, kwargs, _COMMON)
        self._settings = LossSettings(batches, loader, loss, gradients)
        self._layers: dict[str, list[Tensor]] = {}
        self._updates: list[int] = []  # of the present window
        self._gradients = torch.empty(0)

    @property
    def state_key(self) -> str:
        """One of each combination of settings."""
        return f"{type(self).__qualname__}-{self.every_n_steps}-{self.window}-{self.collect}"

    def _check_window(self) -> None:
        """Refuse windows that are too short or overlap.

        Raises
        ------
        InputError
            If they are or do.
        """
        if not 3 <= self.window <= (self.every_n_steps or 0) or self.collect < 0:
            raise InputError(
                f"gradient_statistics has window={self.window}, "
                f"every_n_steps={self.every_n_steps} and collect={self.collect}; expected "
                "3 <= window <= every_n_steps and collect >= 0."
            )

    def check(self, module: LightningModule) -> None:
        """Refuse a model or settings that do not fit each other; see `ProbeCallback.check`."""
        super().check(module)
        if isinstance(module, IREDModule):
            epochs = {"every_n_epochs": (self.every_n_epochs, None)}
            refuse_idle(_NAME, module, epochs | self._settings.given())
            self._check_window()

    def of_loss(self, module: LightningModule) -> LossMeasurement:
        """Make the probe of a model that has no energy; see `ProbeCallback.of_loss`."""
        if not self._scheduled:
            self.schedule(None, None)
        probe = LossGradientStatistics(
            self._settings.gradients, self.probe.settings()["memory_gib"]
        )
        refuse_idle(probe.label, module, self._energy_alone)
        return self._settings.measurement(probe)

    def disk_bytes(self, module: LightningModule) -> int:
        """Return the size of the gradients to collect."""
        return 2 * self.collect * sum(p.numel() for p in module.parameters() if p.requires_grad)

    def due(self, step: int) -> bool:
        """Never in an IREDModule, whose gradients are read before the optimiser's step."""
        return self.loss is not None and super().due(step)

    def needs(self, step: int) -> bool:
        """Whether this step's gradient belongs to a window, or is measured."""
        if self.loss is not None:
            return super().needs(step)
        assert self.every_n_steps is not None  # see `check`
        return -step % self.every_n_steps < self.window

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make room for a window, and go on with one that was begun."""
        super().on_train_start(trainer, pl_module)
        if self.loss is not None:
            return
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
        if self.loss is not None:
            return
        update = trainer.global_step + 1
        if not trainer.is_global_zero or not self.needs(update):
            return
        assert self.every_n_steps is not None  # see `check`
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
            self.failures += 1
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
        variables = theta_variables(grams.numpy(), batch, ("layer",), "update", rows.device)
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
        """Measure what training ended with; an IREDModule's gradients do not arise here."""
        if self.loss is not None:
            super().on_train_end(trainer, pl_module)


def _flat_gradient(parameter: Tensor) -> Tensor:
    gradient = parameter.grad
    return torch.zeros_like(parameter).flatten() if gradient is None else gradient.flatten().float()
