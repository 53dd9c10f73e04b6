"""Lightning callbacks: schedule probes, average weights, guard and save a run."""

from ired_interp.callbacks.averaging import WeightAveraging
from ired_interp.callbacks.best import KeepBest
from ired_interp.callbacks.bound import BoundProbeCallback
from ired_interp.callbacks.collapse import CollapseGuard
from ired_interp.callbacks.from_start import EffectiveRank, TangentKernel, ThetaSlice
from ired_interp.callbacks.gradient_statistics import GradientStatistics
from ired_interp.callbacks.guard import FiniteLoss
from ired_interp.callbacks.last import SaveLast
from ired_interp.callbacks.measuring import MeasuringCallback
from ired_interp.callbacks.probe import ProbeCallback
from ired_interp.callbacks.probes import (
    Curvature,
    Dictionary,
    GradientField,
    HessianSpectrum,
    HessianSpectrumTheta,
    InferenceTrajectory,
    Minimum,
    Patching,
    Path,
    Readout,
    Slice,
)
from ired_interp.callbacks.progress import RunProgress
from ired_interp.callbacks.replayed_steps import ReplayedSteps
from ired_interp.callbacks.spectrum import Spectrum
from ired_interp.callbacks.subspace_drift import SubspaceDrift

__all__ = [
    "BoundProbeCallback",
    "CollapseGuard",
    "Curvature",
    "Dictionary",
    "EffectiveRank",
    "FiniteLoss",
    "GradientField",
    "GradientStatistics",
    "HessianSpectrum",
    "HessianSpectrumTheta",
    "InferenceTrajectory",
    "KeepBest",
    "MeasuringCallback",
    "Minimum",
    "Patching",
    "Path",
    "ProbeCallback",
    "Readout",
    "ReplayedSteps",
    "RunProgress",
    "SaveLast",
    "Slice",
    "Spectrum",
    "SubspaceDrift",
    "TangentKernel",
    "ThetaSlice",
    "WeightAveraging",
]
