"""Probes: measure a model on a batch and return a labelled dataset."""

from collections.abc import Sequence

import xarray as xr
from torch import Tensor

from ired_interp.errors import InputError
from ired_interp.module import IREDModule
from ired_interp.probes.base import Probe, Snapshot
from ired_interp.probes.gradient_statistics import GradientStatistics
from ired_interp.probes.hessian_spectrum import HessianSpectrum
from ired_interp.probes.inference_trajectory import InferenceTrajectory
from ired_interp.probes.subspace_drift import SubspaceDrift
from ired_interp.tasks.base import Problems, Task

__all__ = [
    "BY_NAME",
    "GradientStatistics",
    "HessianSpectrum",
    "InferenceTrajectory",
    "Probe",
    "Snapshot",
    "SubspaceDrift",
    "probe",
]

BY_NAME: dict[str, type[Probe]] = {
    cls.name: cls
    for cls in (HessianSpectrum, GradientStatistics, SubspaceDrift, InferenceTrajectory)
}


def probe(
    module: IREDModule,
    batch: tuple[Tensor, Tensor],
    probes: Sequence[str | Probe] = ("hessian_spectrum",),
    task: Task | None = None,
) -> dict[str, xr.Dataset]:
    """Measure a model on a batch.

    Parameters
    ----------
    module : from `load`, or built by hand.
    batch : (x (B, d_x), y (B, d_y)) problems and answers.
    probes : names, for default settings, or Probe objects.
    task : where the batch comes from; lets probes put theory beside the measurement.

    Returns
    -------
    Datasets by probe label.

    Raises
    ------
    InputError
        If a name is unknown or a shape does not fit.
    """
    unknown = [name for name in probes if isinstance(name, str) and name not in BY_NAME]
    if unknown:
        raise InputError(f"probe {unknown[0]!r} does not exist; there are {', '.join(BY_NAME)}.")
    chosen = [BY_NAME[p]() if isinstance(p, str) else p for p in probes]
    problems = Problems(*batch)
    module.energy(problems.x[:1], problems.y[:1], 0)  # shapes
    snapshot = Snapshot(module, problems, task)
    return {p.label: p(snapshot) for p in chosen}
