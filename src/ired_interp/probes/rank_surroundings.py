"""Around answers of rank r: gradients off the manifold, rises of energy by direction."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ired_interp.diffusion.inference import LandscapeMinimisation
from ired_interp.probes.base import Snapshot
from ired_interp.probes.planes import directions, families, frames, plane_curvature
from ired_interp.probes.rank_manifold import normal_ratio
from ired_interp.probes.rises import LENGTHS, rise_variables, rises, theory_rises
from ired_interp.random import stream


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
        self._frames = frames(snapshot, rank)
        generator = stream(self._y.device, seed, "candidates")
        self._drawn = directions(self._frames, self._y.shape, candidates, generator)
        gaussian = snapshot.exact_curvature() is not None
        self._exact = snapshot.exact_energy() if gaussian else None
        self.chance_ratio = normal_ratio(torch.ones_like(self._y), self._y, rank)[1]
        self._names = list(families(self._frames))
        self.coordinates = {"family": self._names, "length": list(LENGTHS)}

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
        if self._exact is not None:
            x, y = self._x.double(), self._y.double()
            planes = plane_curvature(self._exact.hessian(x, y, k), self._frames, float(noise))
            curvature = np.stack([mean.cpu().numpy() for mean, _ in planes.values()], 1)
            scales = (np.array([float(s)]) for s in (signal, noise))
            found["theory_rise"] = theory_rises(curvature[None], self._y, *scales)[0]
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
        return rise_variables(found["rise"], self._names, found.get("theory_rise"))
