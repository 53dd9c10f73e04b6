"""Probes: measure a model on a batch and return a labelled dataset."""

from collections.abc import Sequence

import xarray as xr
from torch import Tensor

from ired_interp.energy.checks import check_tensor
from ired_interp.errors import InputError
from ired_interp.module import IREDModule
from ired_interp.probes.base import Probe, Snapshot
from ired_interp.probes.curvature import Curvature
from ired_interp.probes.dictionary import Dictionary
from ired_interp.probes.effective_rank import EffectiveRank
from ired_interp.probes.gradient_field import GradientField
from ired_interp.probes.gradients_theta import GradientStatisticsTheta
from ired_interp.probes.gradients_y import GradientStatisticsY
from ired_interp.probes.hessian_theta import HessianSpectrumTheta
from ired_interp.probes.hessian_y import HessianSpectrumY
from ired_interp.probes.inference_trajectory import InferenceTrajectory
from ired_interp.probes.loss_drift import LossDrift
from ired_interp.probes.loss_probe import Loss, LossProbe, LossSnapshot
from ired_interp.probes.loss_spectrum import LossSpectrum
from ired_interp.probes.loss_statistics import LossGradientStatistics
from ired_interp.probes.minimum import Minimum
from ired_interp.probes.patching import Patching
from ired_interp.probes.path import Path
from ired_interp.probes.readout import Readout
from ired_interp.probes.slice import Slice
from ired_interp.probes.subspace_drift import SubspaceDrift
from ired_interp.probes.tangent_kernel import TangentKernel
from ired_interp.probes.theta_slice import ThetaSlice
from ired_interp.tasks.base import Problems, Task

__all__ = [
    "Curvature",
    "Dictionary",
    "EffectiveRank",
    "GradientField",
    "GradientStatisticsTheta",
    "GradientStatisticsY",
    "HessianSpectrumTheta",
    "HessianSpectrumY",
    "InferenceTrajectory",
    "Loss",
    "LossDrift",
    "LossGradientStatistics",
    "LossProbe",
    "LossSnapshot",
    "LossSpectrum",
    "Minimum",
    "Patching",
    "Path",
    "Probe",
    "Readout",
    "Slice",
    "Snapshot",
    "SubspaceDrift",
    "TangentKernel",
    "ThetaSlice",
    "probe",
]


def probe(
    module: IREDModule,
    batch: tuple[Tensor, Tensor],
    probes: Sequence[str | Probe] = (HessianSpectrumY.name,),
    task: Task | None = None,
) -> dict[str, xr.Dataset]:
    """Measure a model on a batch.

    Parameters
    ----------
    module : IREDModule
        From `load`, or built by hand.
    batch : tuple of Tensor (B, d_x) and Tensor (B, d_y)
        Problems x and their answers y.
    probes : sequence of str or Probe
        Names, for default settings, of any probe whose class is imported; or Probe objects.
    task : Task, optional
        Where the batch comes from; lets probes put theory beside the measurement.

    Returns
    -------
    dict of str to xarray.Dataset
        By probe label.

    Raises
    ------
    InputError
        If a name is unknown, a shape does not fit, or a probe refuses the model.

    Examples
    --------
    >>> from torch import Generator
    >>> from ired_interp.tasks import ExactEnergy, Inverse
    >>> task = Inverse(2)
    >>> found = probe(IREDModule(ExactEnergy(task)), task.sample(4, Generator()), task=task)
    >>> list(found), float(found["hessian_spectrum_y"]["deviation"].max().round(5))
    (['hessian_spectrum_y'], 0.0)
    """
    chosen = [Probe.named(p)() if isinstance(p, str) else p for p in probes]
    if len(batch) != 2:
        raise InputError(f"the batch has {len(batch)} parts; expected problems x and answers y.")
    problems = Problems(*batch)
    for part, value in zip("xy", problems, strict=True):
        check_tensor(part, value, module)
    module.energy(problems.x[:1], problems.y[:1], 0)  # shapes
    for one in chosen:
        one.check(module)
    snapshot = Snapshot(module, problems, task)
    return {one.label: one(snapshot) for one in chosen}
