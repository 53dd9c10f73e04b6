"""The built-in probes during training, each under a name of its own."""

from ired_interp import probes
from ired_interp.callbacks.bound import BoundProbeCallback


class Curvature(BoundProbeCallback, of=probes.Curvature, every_n_steps=2000):
    """`probes.Curvature` at chosen steps."""


class HessianSpectrum(BoundProbeCallback, of=probes.HessianSpectrumY, every_n_steps=20_000):
    """`probes.HessianSpectrumY` at chosen steps."""


class HessianSpectrumTheta(BoundProbeCallback, of=probes.HessianSpectrumTheta):
    """`probes.HessianSpectrumTheta` at chosen steps."""


class InferenceTrajectory(BoundProbeCallback, of=probes.InferenceTrajectory, every_n_steps=20_000):
    """`probes.InferenceTrajectory` at chosen steps."""


class Minimum(BoundProbeCallback, of=probes.Minimum, every_n_steps=2000):
    """`probes.Minimum` at chosen steps."""


class Path(BoundProbeCallback, of=probes.Path, every_n_steps=2000):
    """`probes.Path` at chosen steps."""


class Slice(BoundProbeCallback, of=probes.Slice, every_n_steps=2000):
    """`probes.Slice` at chosen steps."""


class GradientField(BoundProbeCallback, of=probes.GradientField, every_n_steps=2000, problems=128):
    """`probes.GradientField` at chosen steps."""


class Patching(BoundProbeCallback, of=probes.Patching, every_n_steps=2000):
    """`probes.Patching` at chosen steps."""


class Readout(BoundProbeCallback, of=probes.Readout, every_n_steps=2000):
    """`probes.Readout` at chosen steps."""


class Dictionary(BoundProbeCallback, of=probes.Dictionary, every_n_steps=5000):
    """`probes.Dictionary` at chosen steps."""
