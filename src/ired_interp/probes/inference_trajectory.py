"""What happens along `solve`: energy, gradient, acceptance and error at every inner step."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
import xarray as xr

from ired_interp.diffusion import Inference, anneal
from ired_interp.diffusion.inference import LandscapeMinimisation
from ired_interp.errors import InputError, RunError
from ired_interp.module import IREDModule
from ired_interp.probes.base import Probe, Snapshot
from ired_interp.probes.contraction import contractions, gradients_along, perfect_contractions
from ired_interp.probes.gram_statistics import effective_ranks
from ired_interp.probes.rank_manifold import as_matrices, check_rank, known_rank, normal_ratio
from ired_interp.probes.settings import check_rank_setting, check_seed, check_setting
from ired_interp.probes.spread import mean_error
from ired_interp.probes.trajectory_pictures import picture_variables
from ired_interp.probes.trajectory_table import trajectory_table
from ired_interp.random import stream
from ired_interp.terminal import track


class InferenceTrajectory(Probe):
    """Follow inference through all landscapes and inner steps.

    Parameters
    ----------
    steps : int, optional
        Inner steps T per landscape; the model's own setting if None.
    rank : int, optional
        r of the answers as matrices, for the measures on the rank-r manifold; taken from the task
        where its answers have an exact rank below full.
    seed : int
        Of the start.

    Raises
    ------
    InputError
        If there are no steps or no rank.
    """

    name = "inference_trajectory"

    def __init__(self, steps: int | None = None, rank: int | None = None, seed: int = 0) -> None:
        check_seed(self.name, seed)
        if steps is not None:
            check_setting(self.name, "steps", steps, steps >= 1, "expected at least 1")
        check_rank_setting(self.name, rank)
        self.steps, self.rank, self.seed = steps, rank, seed

    def check(self, module: IREDModule) -> None:
        """Refuse a model that takes no gradient steps, or whose solutions cannot have the rank.

        Parameters
        ----------
        module : IREDModule
            The model.

        Raises
        ------
        InputError
            If the settings do not fit it.
        """
        inference = self._inference(module)
        if not inference.gradient_descent or inference.steps < 1:
            raise InputError(
                f"{self.name} follows gradient descent; this model's inference takes no gradient "
                "steps."
            )
        if self.rank is not None:
            check_rank(self.rank, module.solution_dim)

    def __call__(self, snapshot: Snapshot) -> xr.Dataset:
        """Measure.

        Parameters
        ----------
        snapshot : Snapshot
            Model and problems.

        Returns
        -------
        xarray.Dataset
            Over landscape (as visited, K − 1 first), inner_step 0 … T, move 1 … T and problem, as
            follows; those over problems also as `…_mean` and `…_mean_error`.

            ============================== ====================== ==================================
            variable                       dims                   meaning
            ============================== ====================== ==================================
            `energy`                       landscape, inner_step, E
                                           problem
            `gradient_norm`                the same               ‖∇_y E‖, in energy/y
            `error`                        the same               mean square per entry of
                                                                  y/√ᾱ_k − y*, in y²; of several
                                                                  right answers the nearest
            `effective_rank`               the same               participation ratio of the squared
                                                                  singular values of y as a matrix
            `normal_ratio`                 the same               ‖normal‖/‖tangent‖ of ∇_y E on the
                                                                  rank-r manifold at y*
            `acceptance`, `…_error`        landscape, move        share of rows that moved
            `contraction`, `…_error`       landscape, move        over them root mean square
                                                                  ‖e_after‖/‖e_before‖,
                                                                  e = y − √ᾱ_k m, m the posterior
                                                                  mean (y* where unknown)
            `gradient_contraction`,        landscape, move        Σ⟨g_after, g⟩/Σ‖g‖², which for a
            `…_error`                                             quadratic energy equals the next
            `predicted_contraction`,       landscape, move        1 − η λ, λ = gᵀHg/gᵀg there
            `…_error`
            `theory_contraction`           landscape, move, bound range of 1 − η λ for a perfect
                                                                  model, where known
            `normal_ratio_answer`,         landscape              of ∇_y E at √ᾱ_k y* itself
            `…_error`
            `normal_ratio_chance`                                 mean for gradients without
                                                                  direction
            ============================== ====================== ==================================

            NaN where what is divided by is rounding. What needs a rank r is there where answers
            have one. What the task shows of a few problems (`Task.pictured`) stands beside it, over
            landscape and pictured, which names them.

        Raises
        ------
        InputError
            If the model does not fit (see `check`).
        RunError
            If an energy is not finite.
        """
        self.check(snapshot.module)
        module, (x, y) = snapshot.module, snapshot.batch
        settings = self._inference(module)
        start = torch.randn(
            y.shape, generator=stream(y.device, self.seed, "start"), device=y.device, dtype=y.dtype
        )
        rank = known_rank(snapshot.task, self.rank)
        found: dict[str, list[np.ndarray]] = {}
        visited, solutions = [], []
        with torch.no_grad():
            steps = anneal(module.free(), module.schedule, x, start, settings)
            for place in track(list(steps), "inference"):
                visited.append(place.k)
                solutions.append(place.solution)
                measured = self._along(snapshot, place, settings)
                if rank is not None:
                    measured |= _off_manifold(snapshot, place, rank)
                for name, values in measured.items():
                    found.setdefault(name, []).append(values)
        result = self._dataset(
            {name: np.stack(values) for name, values in found.items()}, visited, snapshot, rank
        )
        end = result["error"].isel(landscape=-1, inner_step=-1).values
        return result.assign(picture_variables(snapshot, torch.stack(solutions), end))

    def _inference(self, module: IREDModule) -> Inference:
        own = module.inference
        settings = own if self.steps is None else replace(own, steps=self.steps)
        return module.settled(settings)

    @staticmethod
    def _factors(settings: Inference) -> list[float]:
        """Of η_k, move by move."""
        return [1.0] + [settings.descent.later_factor] * (settings.steps - 1)

    def _along(
        self, snapshot: Snapshot, place: LandscapeMinimisation, settings: Inference
    ) -> dict[str, np.ndarray]:
        module, (x, answer), k = snapshot.module, snapshot.batch, place.k
        signal, eta = module.schedule.signal[k], float(module.schedule.step[k])
        points = torch.stack([iterate.y for iterate in place.iterates])
        energy, fixed = module.free(), module.fixed(x)
        gradients = gradients_along(energy, x, points, k)
        energies = torch.stack([iterate.energy for iterate in place.iterates])
        if not energies.isfinite().all():
            raise RunError(
                f"the energy of landscape {k} is not finite along inference; the weights have "
                "diverged."
            )
        posterior = snapshot.task.posterior(x) if snapshot.task else None
        centre = signal * (answer if posterior is None else posterior.mean)
        steps = [eta * factor for factor in self._factors(settings)]
        values: dict[str, Any] = contractions(energy, x, centre, steps, place, gradients)
        values["accepted"] = (
            torch.stack([iterate.accepted for iterate in place.iterates[1:]]).cpu().numpy()
        )
        values["energy"] = energies.double().cpu().numpy()
        values["gradient_norm"] = gradients.double().norm(dim=2).cpu().numpy()
        solutions, task = points / signal, snapshot.task
        if task is not None:
            answer = torch.stack([task.nearest_answer(x, answer, found) for found in solutions])
        squares = (solutions - answer).double().square()
        entries = squares.shape[2] if fixed is None else (~fixed.mask).sum(1)
        values["error"] = (squares.sum(2) / entries).cpu().numpy()
        matrices = as_matrices(points.double())
        if matrices is not None and (snapshot.task is None or snapshot.task.matrix_solutions):
            spectrum = torch.linalg.svdvals(matrices).square().cpu().numpy()
            values["effective_rank"] = effective_ranks(spectrum)["participation"]
        return values

    def _dataset(
        self,
        found: dict[str, np.ndarray],
        visited: list[int],
        snapshot: Snapshot,
        rank: int | None,
    ) -> xr.Dataset:
        steps = found["energy"].shape[1]
        coordinates = {
            "landscape": visited,
            "inner_step": np.arange(steps),
            "move": np.arange(1, steps),
        }
        variables: dict[str, Any] = {}
        units = {"energy": "energy", "gradient_norm": "energy / y", "error": "y² per entry"}
        for name in ("energy", "gradient_norm", "error", "effective_rank", "normal_ratio"):
            if name in found:
                unit = {"units": units.get(name, "1")}
                variables[name] = (("landscape", "inner_step", "problem"), found[name], unit)
                variables |= _mean(f"{name}_mean", ("landscape", "inner_step"), found[name], unit)
        variables |= _mean(
            "acceptance", ("landscape", "move"), found["accepted"].astype(float), {"units": "1"}
        )
        for name in ("contraction", "gradient_contraction", "predicted_contraction"):
            for part in (name, f"{name}_error"):
                variables[part] = (("landscape", "move"), found[part], {"units": "1"})
        attributes = {}
        if rank is not None:
            variables |= _mean("normal_ratio_answer", ("landscape",), found["normal_ratio_answer"])
            answer = snapshot.batch.y
            variables["normal_ratio_chance"] = normal_ratio(answer, answer, rank)[1]
            attributes["rank"] = rank
        curvature = snapshot.exact_curvature()
        if curvature is not None:
            factors = self._factors(self._inference(snapshot.module))
            theory = perfect_contractions(curvature, snapshot.module.schedule.step, factors)
            variables["theory_contraction"] = (
                ("landscape", "move", "bound"),
                theory[visited],
                {"units": "1", "long_name": "smallest and largest 1 − η λ"},
            )
        return xr.Dataset(variables, coordinates, attributes)

    def summary(self, result: xr.Dataset) -> str:
        """One row a landscape; see `Probe.summary`."""
        return trajectory_table(result)


def _off_manifold(
    snapshot: Snapshot, place: LandscapeMinimisation, rank: int
) -> dict[str, np.ndarray]:
    """Gradients off the rank-r manifold at y*, at the iterates (T + 1, B) and at √ᾱ_k y* (B,)."""
    module, (x, answer) = snapshot.module, snapshot.batch

    def ratio(y: torch.Tensor) -> np.ndarray:
        return normal_ratio(module.energy.gradient(x, y, place.k), answer, rank)[0]

    return {
        "normal_ratio": np.stack([ratio(iterate.y) for iterate in place.iterates]),
        "normal_ratio_answer": ratio(module.schedule.signal[place.k] * answer),
    }


def _mean(
    name: str, dims: tuple[str, ...], values: np.ndarray, unit: dict[str, str] | None = None
) -> dict[str, Any]:
    unit = unit or {"units": "1"}
    return {name: (dims, values.mean(-1), unit), f"{name}_error": (dims, mean_error(values), unit)}
