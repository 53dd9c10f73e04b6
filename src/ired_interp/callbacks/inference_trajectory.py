"""Inference trajectories during training."""

from typing import Any

from ired_interp import probes
from ired_interp.callbacks.probe import ProbeCallback
from ired_interp.probes.base import Weights
from ired_interp.tasks.base import Variant


class InferenceTrajectory(ProbeCallback):
    """`probes.InferenceTrajectory` at chosen steps.

    Parameters
    ----------
    every_n_steps, weights, problems, variant : as in `ProbeCallback`.
    kwargs : settings of the probe.
    """

    def __init__(
        self,
        every_n_steps: int = 2000,
        weights: Weights = "average",
        problems: int = 32,
        variant: Variant = "same",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            probes.InferenceTrajectory(**kwargs), every_n_steps, weights, problems, variant
        )
