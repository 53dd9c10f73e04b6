"""Statistics of gradients of the loss in the weights: signal, noise and direction per layer."""

import numpy as np
import torch
import xarray as xr

from ired_interp.errors import InputError
from ired_interp.module import IREDModule
from ired_interp.probes.base import Probe, Snapshot, chosen_landscapes
from ired_interp.probes.gradient_variables import (
    ALL,
    QUANTILES,
    landscape_cosines,
    layer_grams,
    theta_variables,
)
from ired_interp.probes.gram_statistics import isotropic_participation
from ired_interp.probes.loss_gradients import LossGradients
from ired_interp.probes.settings import (
    Landscapes,
    check_landscapes,
    check_memory,
    check_seed,
    check_setting,
    few_landscapes,
    working_memory,
)
from ired_interp.probes.tables import estimate_table, estimates
from ired_interp.probes.theta_spectrum import weight_count
from ired_interp.terminal import track

_LEAST = 3  # gradients whose spread means anything
_LEAST_GROUPS, _MOST_GROUPS = 4, 8  # of problems, over which cosines of landscapes scatter
_SHOWN = ("norm_mean", "noise_scale", "snr", "mean_cosine", "participation")


class GradientStatisticsTheta(Probe):
    """Size, noise, agreement and rank of gradients of the loss in θ, per landscape and layer.

    Parameters
    ----------
    landscapes : "all" or list of int
        Which k.
    microbatch : int
        Problems behind each gradient; 1 takes the gradient of every problem.
    memory_gib : float, optional
        Working memory in GiB, half of what is free where not given. Where gradients do not fit at
        once, their inner products are taken chunk by chunk and gradients are computed again,
        (c + 1)/2 times for c chunks.
    seed : int
        Of the noise of the loss.

    Raises
    ------
    InputError
        If a setting is none of those.
    """

    name = "gradient_statistics_theta"

    def __init__(
        self,
        landscapes: Landscapes = "all",
        microbatch: int = 1,
        memory_gib: float | None = None,
        seed: int = 0,
    ) -> None:
        check_landscapes(self.name, landscapes)
        check_setting(self.name, "microbatch", microbatch, microbatch >= 1, "expected at least 1")
        check_memory(self.name, memory_gib)
        check_seed(self.name, seed)
        self.landscapes, self.microbatch = landscapes, microbatch
        self.memory_gib, self.seed = memory_gib, seed

    def check(self, module: IREDModule) -> None:
        """Refuse a model without weights, or without the landscapes; see `Probe.check`."""
        chosen_landscapes(module, self.landscapes)
        weight_count(module.energy)

    @property
    def least_problems(self) -> int:
        """Those of three microbatches."""
        return _LEAST * self.microbatch

    def small(self) -> "GradientStatisticsTheta":
        """At most two landscapes; see `Probe.small`."""
        return self.with_settings(landscapes=few_landscapes(self.landscapes))

    def __call__(self, snapshot: Snapshot) -> xr.Dataset:
        """Measure.

        Parameters
        ----------
        snapshot : Snapshot
            Model and problems, at least 3 microbatches.

        Returns
        -------
        xarray.Dataset
            As follows. `layer` begins with "all"; `…_error` is a standard error.

            ============================== ================== ======================================
            variable                       dims               meaning
            ============================== ================== ======================================
            `norm`                         landscape, layer,  ‖g‖ of each gradient, in loss/weight
                                           problem
            `norm_mean`, `…_error`,        landscape, layer   of it over problems
            `norm_sd`, `norm_quantiles`    (quantile)
            `signal`, `noise`,             landscape, layer   as `gram_statistics` names them, with
            `noise_scale`, `snr`,                             errors or intervals
            `mean_cosine`
            `eigenvalues`, `…_error`       landscape, layer,  of the covariance of one problem's
                                           rank               gradient, in (loss/weight)²
            `participation`, `…_error`,    landscape, layer   effective ranks of them
            `entropy_rank`, `…_error`
            `participation_isotropic`      layer              what isotropic noise would show
            `weights`                      layer              N
            `landscape_cosine`, `…_error`  landscape,         of mean gradients, whose noise the
                                           other_landscape    landscapes share
            `landscape_cosine_corrected`,  landscape,         the same, freed of noise by disjoint
            `…_error`                      other_landscape    groups of problems; NaN where a mean
                                                              gradient cannot be told from 0
            ============================== ================== ======================================

        Raises
        ------
        InputError
            If the problems make fewer than 3 microbatches or none of equal size, or the model does
            not fit (see `check`).
        RunError
            If a gradient is not finite.
        """
        count = len(snapshot.batch.y) // self.microbatch
        if count < _LEAST:
            raise InputError(
                f"{self.name} has {count} gradients to compare; give it problems for at least "
                f"{_LEAST} "
                "microbatches."
            )
        landscapes = chosen_landscapes(snapshot.module, self.landscapes)
        size = weight_count(snapshot.module.energy) * len(landscapes)
        memory = working_memory(self.memory_gib, snapshot.batch.y.device)
        fit = int(memory / (4 * size))
        groups = min(count, _MOST_GROUPS, max(fit, _LEAST_GROUPS))
        grams, means = [], []
        for k in track(landscapes, "gradients in theta"):
            gradients = LossGradients(
                snapshot.module, snapshot.batch, k, self.seed, self.microbatch
            )
            gram, group_means = layer_grams(gradients, memory, groups)
            grams.append(gram)
            means.append(group_means)
        dims, device = ("landscape", "layer"), snapshot.batch.y.device
        variables = theta_variables(np.stack(grams), self.microbatch, dims, device=device)
        sizes = [gradients.size, *gradients.layers.values()]
        isotropic = [isotropic_participation(gradients.count, n) for n in sizes]
        pair, unit = ("landscape", "other_landscape"), {"units": "1"}
        cosines = landscape_cosines(torch.stack(means))
        variables |= {name: (pair, values, unit) for name, values in cosines.items()}
        variables |= {
            "weights": ("layer", sizes),
            "participation_isotropic": ("layer", isotropic),
        }
        layers = {"layer": [ALL, *gradients.layers], "quantile": list(QUANTILES)}
        places = {"landscape": landscapes, "other_landscape": landscapes}
        return xr.Dataset(variables, places | layers)

    def summary(self, result: xr.Dataset) -> str:
        """One row a landscape, of all layers together; see `Probe.summary`."""
        title = (
            f"Gradients in theta, {result.sizes['problem']} of them per landscape; "
            "± standard error, or 95 % interval"
        )
        shown = estimates(result.sel(layer=ALL), _SHOWN)
        return estimate_table(title, result["landscape"].values, shown)
