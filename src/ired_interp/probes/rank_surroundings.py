"""Around answers of rank r: gradients off the manifold, rises of energy by direction."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ired_interp.diffusion.inference import LandscapeMinimisation
from ired_interp.probes.base import Snapshot
from ired_interp.probes.rank_families import (
    LENGTHS,
    RANDOM,
    directions,
    families,
    rises,
    theory_rises,
)
from ired_interp.probes.rank_manifold import normal_ratio
from ired_interp.probes.spread import mean_error, ratio_of_means
from ired_interp.random import stream
from ired_interp.tasks.posterior import Posterior


class RankSurroundings:
    """What is measured in every landscape around the same answers, in the same directions.

    Parameters
    ----------
    snapshot : Snapshot
        Model and B problems, with answers of rank r.
    rank : int
        r.
    candidates : int
        Directions of each family, per problem.
    seed : int
        Of the directions.

    Attributes
    ----------
    chance_ratio : float
        Mean ‖normal‖/‖tangent‖ of gradients without direction.
    coordinates : dict
        Families and lengths.
    """

    def __init__(self, snapshot: Snapshot, rank: int, candidates: int, seed: int) -> None:
        self.rank = rank
        self._module, (self._x, self._y) = snapshot.module, snapshot.batch
        self._planes = families(self._x, self._y, rank)
        generator = stream(self._y.device, seed, "candidates")
        self._drawn = directions(self._planes, self._y, candidates, generator)
        self._posterior = snapshot.task.posterior(self._x) if snapshot.task else None
        self._curvature = snapshot.exact_curvature()
        self.chance_ratio = normal_ratio(torch.ones_like(self._y), self._y, rank)[1]
        self.coordinates = {"family": list(self._planes), "length": list(LENGTHS)}

    def measure(self, place: LandscapeMinimisation) -> dict[str, np.ndarray]:
        """Measure one landscape.

        Parameters
        ----------
        place : LandscapeMinimisation
            The landscape and its T + 1 iterates.

        Returns
        -------
        dict of str to ndarray
            `normal_ratio` (T + 1, B) at the iterates, `normal_ratio_answer` (B,) at √ᾱ_k y*,
            `rise` and, where known, `theory_rise` (families, lengths, B).
        """
        energy, schedule, k = self._module.energy, self._module.schedule, place.k
        signal, noise = schedule.signal[k], schedule.noise[k]

        def ratio(y: Tensor) -> np.ndarray:
            return normal_ratio(energy.gradient(self._x, y, k), self._y, self.rank)[0]

        rise = rises(energy, self._x, self._y, self._drawn, signal, noise, k)
        found = {
            "normal_ratio": np.stack([ratio(iterate.y) for iterate in place.iterates]),
            "normal_ratio_answer": ratio(signal * self._y),
            "rise": rise.cpu().numpy(),
        }
        if isinstance(self._posterior, Posterior) and self._curvature is not None:
            exact = theory_rises(
                self._planes, self._y, self._posterior, self._curvature[k], signal, noise
            )
            found["theory_rise"] = exact.cpu().numpy()
        return found

    def variables(self, found: dict[str, np.ndarray]) -> dict[str, Any]:
        """Label rises of energy, and what they are of those in random directions.

        Parameters
        ----------
        found : dict of str to ndarray
            `rise`, and maybe `theory_rise`, (landscapes, families, lengths, B).

        Returns
        -------
        dict
            Variables of a dataset.
        """
        dims, unit = ("landscape", "family", "length"), {"units": "1"}
        random = list(self._planes).index(RANDOM)
        rise = found["rise"]
        below = np.broadcast_to(rise[:, random, None], rise.shape)
        preference, error = ratio_of_means(rise, below)
        means, errors = below.mean(-1), mean_error(below)
        told = ~(np.abs(means) <= 2 * errors)
        variables = {
            "rise": (dims, rise.mean(-1), unit),
            "rise_error": (dims, mean_error(rise), unit),
            "preference": (dims, np.where(told, preference, np.nan), unit),
            "preference_error": (dims, np.where(told, error, np.nan), unit),
        }
        if "theory_rise" in found:
            exact = found["theory_rise"].mean(-1)
            variables["theory_rise"] = (dims, exact, unit)
            variables["theory_preference"] = (dims, exact / exact[:, random, None], unit)
        return variables
