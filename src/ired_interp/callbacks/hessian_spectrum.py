"""Hessian spectra during training."""

from typing import Any

from ired_interp import probes
from ired_interp.callbacks.probe import ProbeCallback
from ired_interp.probes.base import Weights
from ired_interp.tasks.base import Variant


class HessianSpectrum(ProbeCallback):
    """`probes.HessianSpectrum` at chosen steps.

    Parameters
    ----------
    every_n_steps, weights, problems, variant : as in `ProbeCallback`.
    kwargs : settings of the probe.
    """

    def __init__(
        self,
        every_n_steps: int = 1000,
        weights: Weights = "average",
        problems: int = 32,
        variant: Variant = "same",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            probes.HessianSpectrum(**kwargs), every_n_steps, weights, problems, variant
        )
