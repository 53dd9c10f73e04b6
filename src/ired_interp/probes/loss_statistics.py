"""Statistics of gradients of any loss in its weights: signal, noise and direction per layer."""

import numpy as np
import xarray as xr

from ired_interp.errors import InputError
from ired_interp.probes.batch_gradients import BatchGradients
from ired_interp.probes.gradient_variables import ALL, QUANTILES, layer_grams, theta_variables
from ired_interp.probes.gram_statistics import isotropic_participation
from ired_interp.probes.loss_probe import LossProbe, LossSnapshot
from ired_interp.probes.settings import check_memory, check_setting, working_memory

_LEAST = 3  # gradients whose spread means anything


class LossGradientStatistics(LossProbe):
    """Size, noise, agreement and rank of gradients of a loss on fixed batches, per layer.

    Parameters
    ----------
    gradients : int
        How many to compare at most: of samples, microbatches or whole batches, as fine as that
        and the loss allow; see `BatchGradients`.
    memory_gib : float, optional
        Working memory in GiB; see `GradientStatisticsTheta`.

    Raises
    ------
    InputError
        If a setting is too small.
    """

    label = "gradient_statistics_loss"

    def __init__(self, gradients: int = 64, memory_gib: float | None = None) -> None:
        self.gradients, self.memory_gib = gradients, memory_gib
        check_setting(
            self.label, "gradients", gradients, gradients >= _LEAST, f"expected at least {_LEAST}"
        )
        check_memory(self.label, memory_gib)

    def __call__(self, snapshot: LossSnapshot) -> xr.Dataset:
        """Measure.

        Parameters
        ----------
        snapshot : LossSnapshot
            Loss and batches.

        Returns
        -------
        xarray.Dataset
            Over layer, which begins with "all", and gradient: what `GradientStatisticsTheta` names
            for one landscape; and `batch_cosine` (layer, batch, other_batch) of the batches'
            gradients. The attribute `gradients` says what a gradient is of.

        Raises
        ------
        InputError
            If there are fewer than 3 gradients.
        """
        rows = BatchGradients(snapshot.loss, snapshot.batches, self.gradients)
        if rows.count < _LEAST:
            raise InputError(
                f"{self.label} has {rows.count} gradients to compare ({rows.how}); expected at "
                f"least {_LEAST}, raise batches."
            )
        device = next(iter(snapshot.loss.weights.values())).device
        grams, _ = layer_grams(rows, working_memory(self.memory_gib, device), groups=1)
        variables = theta_variables(grams, rows.samples, ("layer",), "gradient", device)
        sizes = [rows.size, *rows.layers.values()]
        variables |= {
            "batch_cosine": (
                ("layer", "batch", "other_batch"),
                _batch_cosines(grams, rows.origins),
                {"long_name": "cosine of the gradients of two batches"},
            ),
            "weights": ("layer", sizes),
            "participation_isotropic": (
                "layer",
                [isotropic_participation(rows.count, n) for n in sizes],
            ),
            "cosine_chance": rows.size**-0.5,
        }
        batches = sorted(set(rows.origins))
        coordinates = {"layer": [ALL, *rows.layers], "quantile": list(QUANTILES)}
        coordinates |= {"batch": batches, "other_batch": batches}
        attributes = {"gradients": rows.how, "samples": rows.samples}
        return xr.Dataset(variables, coordinates, attributes)


def _batch_cosines(grams: np.ndarray, origins: list[int]) -> np.ndarray:
    """Cosines (..., b, b) between the sums of rows that belong to one batch."""
    numbers = np.array(sorted(set(origins)))
    member = (np.array(origins) == numbers[:, None]).astype(float)
    found: np.ndarray = member @ grams @ member.T
    size = np.sqrt(np.einsum("...ii->...i", found))
    with np.errstate(invalid="ignore", divide="ignore"):
        cosines: np.ndarray = found / (size[..., :, None] * size[..., None, :])
    return cosines
