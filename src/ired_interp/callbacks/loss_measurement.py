"""What is measured of any LightningModule: a probe of its loss, on fixed batches of its Trainer."""

import inspect
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import torch
import xarray as xr
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy

from ired_interp.callbacks.first_rank import on_first_rank
from ired_interp.callbacks.fixed_batches import Loader, fixed_batches
from ired_interp.callbacks.step_loss import LossFunction, StepLoss
from ired_interp.errors import InputError
from ired_interp.lightning_private import move_batch
from ired_interp.loggers import RunMetrics
from ired_interp.measure import measure
from ired_interp.probes.loss_probe import LossProbe, LossSnapshot
from ired_interp.probes.settings import check_choice, check_setting
from ired_interp.random import isolated
from ired_interp.results import Run
from ired_interp.spectra.fingerprint import Fingerprint
from ired_interp.spectra.structure import to_device

Probed = TypeVar("Probed", bound=LossProbe)

_SHARDED = (DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy)


@dataclass(frozen=True)
class LossSettings:
    """Settings that the measurement of a loss has and that of an energy has not.

    Parameters
    ----------
    batches, loader, loss
        As in `LossMeasurement`.
    gradients : int
        As in the probes that compare gradients.
    """

    batches: int = 4
    loader: Loader = "train"
    loss: LossFunction | None = None
    gradients: int = 64

    def measurement(self, probe: LossProbe) -> "LossMeasurement":
        """Measure by a probe on these batches."""
        return LossMeasurement(probe, self.batches, self.loader, self.loss)

    def given(self) -> dict[str, tuple[Any, Any]]:
        """Return value and usual value of each, as `refuse_idle` takes them."""
        return {f.name: (getattr(self, f.name), f.default) for f in fields(self)}


class LossMeasurement:
    """A probe of a loss, and the batches it looks at, the same at every step.

    Parameters
    ----------
    probe : LossProbe
        What to measure.
    batches : int
        How many batches to measure on.
    loader : {"train", "val"}
        From which of the Trainer's loaders.
    loss : callable, optional
        (module, batch) → scalar, in place of `training_step`.

    Raises
    ------
    InputError
        If a setting does not exist, or there are too few batches.
    """

    def __init__(
        self,
        probe: LossProbe,
        batches: int = 4,
        loader: Loader = "train",
        loss: LossFunction | None = None,
    ) -> None:
        self.probe, self.batches, self.loader, self.loss = probe, batches, loader, loss
        check_choice(probe.label, "loader", loader, Loader)
        least = probe.least_batches
        check_setting(
            probe.label, "batches", batches, batches >= least, f"expected at least {least}"
        )
        self._fixed: list[Any] = []

    @property
    def origin(self) -> dict[str, Any]:
        """What its result depends on besides probe and step, as JSON values."""
        named = getattr(self.loss, "__qualname__", type(self.loss).__name__)
        return {
            "batches": self.batches,
            "loader": self.loader,
            "loss": "training_step" if self.loss is None else named,
        }

    def begin(self, trainer: Trainer, module: LightningModule) -> None:
        """Choose the batches, and refuse before the first step what cannot be measured.

        Parameters
        ----------
        trainer : Trainer
            At the start of training.
        module : LightningModule
            What is trained.
        """
        on_first_rank(lambda: self._begin(trainer, module))

    def _begin(self, trainer: Trainer, module: LightningModule) -> None:
        if isinstance(trainer.strategy, _SHARDED):
            raise InputError(
                f"{self.probe.label} needs all weights in one place, but "
                f"{type(trainer.strategy).__name__} shards them; use DDP or one device."
            )
        loss = StepLoss(module, trainer, self.loss)
        self.probe.check(loss.weights)
        found = fixed_batches(trainer, self.loader, self.batches)
        with isolated(0):  # the module's hooks may augment what they move
            self._fixed = [to_device(move_batch(trainer, b), torch.device("cpu")) for b in found]
        if len(self._fixed) < self.probe.least_batches:
            raise InputError(
                f"{self.probe.label} needs {self.probe.least_batches} batches, but the loader "
                f"{self.loader!r} has {len(self._fixed)}; lower its batch size."
            )
        before = Fingerprint(dict(module.named_parameters()))
        value = loss(to_device(self._fixed[0], module.device))
        if not value.requires_grad:
            raise InputError(
                f"the loss of {type(module).__name__} does not depend on its weights in evaluation "
                "mode; give loss=, a function of (module, batch) that does."
            )
        if changed := before.changed():
            raise InputError(
                f"{type(module).__name__}.training_step changes weights itself ({changed[0]}), so "
                "it cannot be called to measure; give loss=, a function of (module, batch)."
            )

    def measure(self, trainer: Trainer, module: LightningModule) -> tuple[str, Path, xr.Dataset]:
        """Measure at the weights of now, and write the result.

        Parameters
        ----------
        trainer : Trainer
            Of the training.
        module : LightningModule
            What is trained.

        Returns
        -------
        str, Path and xarray.Dataset
            Label, file and what is in it.
        """
        loss = StepLoss(module, trainer, self.loss)
        batches = [to_device(batch, module.device) for batch in self._fixed]
        optimizer = trainer.optimizers[0].state_dict() if len(trainer.optimizers) == 1 else None
        snapshot = LossSnapshot(loss, batches, trainer.global_step, optimizer=optimizer)
        folder = results_run(trainer).results
        path, result = measure(
            self.probe, snapshot, folder, self.origin, survive=trainer.global_step > 0, foreign=True
        )
        return self.probe.label, path, result


def built(kind: type[Probed], settings: Mapping[str, Any]) -> Probed:
    """Make a probe of settings that may not exist.

    Parameters
    ----------
    kind : type
        Of probe.
    settings : mapping
        By name.

    Returns
    -------
    LossProbe
        The probe.

    Raises
    ------
    InputError
        If there is no such setting.
    """
    known = inspect.signature(kind).parameters
    if unknown := [name for name in settings if name not in known]:
        raise InputError(
            f"{kind.__name__} has no setting {unknown[0]!r}; choose from {', '.join(known)}."
        )
    return kind(**settings)


def settings_beside(
    kind: type, given: Mapping[str, Any], common: Collection[str]
) -> dict[str, tuple[Any, Any]]:
    """Return settings of a probe of energies that no probe of losses has.

    Parameters
    ----------
    kind : type
        The class of that probe.
    given : mapping
        Settings by name.
    common : collection of str
        Names that both have.

    Returns
    -------
    dict
        Value and usual value by name, as `refuse_idle` takes it.
    """
    usual = inspect.signature(kind).parameters
    return {n: (v, usual[n].default) for n, v in given.items() if n not in common}


def refuse_idle(label: str, module: LightningModule, idle: Mapping[str, tuple[Any, Any]]) -> None:
    """Refuse settings that a measurement of this kind of module does not have.

    Parameters
    ----------
    label : str
        What is measured.
    module : LightningModule
        Of which module.
    idle : mapping
        Their values and usual values, by name.

    Raises
    ------
    InputError
        If one has another value than usual.
    """
    for name, (value, usual) in idle.items():
        if value != usual:
            raise InputError(
                f"{label} of {type(module).__name__} has no use for {name}={value!r}; leave it out."
            )


def results_run(trainer: Trainer) -> Run:
    """Find the folder of a training: where `ired fit` works, or beside Lightning's checkpoints.

    Parameters
    ----------
    trainer : Trainer
        Any.

    Returns
    -------
    Run
        `default_root_dir` of `ired fit` and of a Trainer without logger; else the folder of its
        first logger, <save_dir>/<name>/<version>, below which `ModelCheckpoint` writes by default.
    """
    root, loggers = Path(trainer.default_root_dir), trainer.loggers
    if not loggers or any(isinstance(logger, RunMetrics) for logger in loggers):
        return Run(root)
    first = loggers[0]
    version = first.version if isinstance(first.version, str) else f"version_{first.version}"
    return Run(Path(first.save_dir or root) / str(first.name) / version)
