"""What happens along `solve`: energy, gradient, acceptance and error at every inner step."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import xarray as xr
from rich.table import Table

from ired_interp.diffusion import Inference, anneal
from ired_interp.diffusion.inference import LandscapeMinimisation
from ired_interp.errors import InputError, RunError
from ired_interp.module import IREDModule
from ired_interp.probes.base import Probe, Snapshot
from ired_interp.probes.contraction import contractions, gradients_along
from ired_interp.probes.gram_statistics import effective_ranks
from ired_interp.probes.rank_manifold import (
    as_matrices,
    check_rank,
    known_rank,
    normal_ratio,
    on_manifold,
)
from ired_interp.probes.settings import check_setting
from ired_interp.random import stream
from ired_interp.terminal import render, track

_LEAST_CANDIDATES = 3  # of which ranks can be correlated


class InferenceTrajectory(Probe):
    """Follow inference through all landscapes and inner steps.

    Parameters
    ----------
    steps : int, optional
        Inner steps T per landscape; the model's own setting if None.
    rank : int, optional
        r of the answers as matrices, for the measures on the rank-r manifold; taken from the task
        where its answers have an exact rank below full.
    candidates : int
        Answers with a turned column space, per problem, for the correlation of energy with
        distance.
    seed : int
        Of the start and of the candidates.

    Raises
    ------
    InputError
        If there are no steps, or fewer than 3 candidates.
    """

    name = "inference_trajectory"

    def __init__(
        self, steps: int | None = None, rank: int | None = None, candidates: int = 24, seed: int = 0
    ) -> None:
        least = "expected at least 1"
        if steps is not None:
            check_setting(self.name, "steps", steps, steps >= 1, least)
        if rank is not None:
            check_setting(self.name, "rank", rank, rank >= 1, least)
        fits = candidates >= _LEAST_CANDIDATES
        check_setting(
            self.name, "candidates", candidates, fits, f"expected at least {_LEAST_CANDIDATES}"
        )
        self.steps, self.rank, self.candidates, self.seed = steps, rank, candidates, seed

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

    def small(self) -> "InferenceTrajectory":
        """Four candidates; see `Probe.small`."""
        return self.with_settings(candidates=min(self.candidates, 4))

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
                                                                  y/√ᾱ_k − y*, in y²
            `effective_rank`               the same               participation ratio of the squared
                                                                  singular values of y as a matrix
            `normal_ratio`                 the same               ‖normal‖/‖tangent‖ of ∇_y E on the
                                                                  rank-r manifold at y*
            `acceptance`, `…_error`        landscape, move        share of rows that moved
            `contraction`                  landscape, move        over them root mean square
                                                                  ‖e_after‖/‖e_before‖,
                                                                  e = y − √ᾱ_k m, m the posterior
                                                                  mean (y* where unknown)
            `gradient_contraction`         landscape, move        Σ⟨g_after, g⟩/Σ‖g‖², which for a
                                                                  quadratic energy equals the next
            `predicted_contraction`        landscape, move        1 − η λ, λ = gᵀHg/gᵀg there
            `theory_contraction`           landscape, bound       range of 1 − η_k λ for a perfect
                                                                  model, where known
            `normal_ratio_answer`,         landscape              of ∇_y E at √ᾱ_k y* itself
            `…_error`
            `energy_distance_correlation`, landscape              Spearman's, of energy with the
            `…_error`                                             Grassmannian distance from the
                                                                  column space of y*
            `normal_ratio_chance`                                 of a gradient without direction
            `energy_distance_chance`                              95 % half-width for unrelated
                                                                  energies
            ============================== ====================== ==================================

            NaN where what contracts is down to rounding. What needs a rank r is there where the
            answers have one.

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
        visited = []
        with torch.no_grad():
            steps = anneal(module.energy, module.schedule, x, start, settings)
            for place in track(list(steps), "inference"):
                visited.append(place.k)
                measured = self._along(snapshot, place, settings)
                if rank is not None:
                    generator = stream(y.device, self.seed, "candidates")
                    measured |= on_manifold(snapshot, place, rank, self.candidates, generator)
                for name, values in measured.items():
                    found.setdefault(name, []).append(values)
        return self._dataset(
            {name: np.stack(values) for name, values in found.items()}, visited, snapshot, rank
        )

    def _inference(self, module: IREDModule) -> Inference:
        own = module.inference
        settings = own if self.steps is None else replace(own, steps=self.steps)
        return settings.within(module.value_range)

    def _along(
        self, snapshot: Snapshot, place: LandscapeMinimisation, settings: Inference
    ) -> dict[str, np.ndarray]:
        module, (x, answer), k = snapshot.module, snapshot.batch, place.k
        signal, eta = module.schedule.signal[k], float(module.schedule.step[k])
        points = torch.stack([iterate.y for iterate in place.iterates])
        gradients = gradients_along(module.energy, x, points, k)
        energies = torch.stack([iterate.energy for iterate in place.iterates])
        if not energies.isfinite().all():
            raise RunError(
                f"the energy of landscape {k} is not finite along inference; the weights have "
                "diverged."
            )
        posterior = snapshot.task.posterior(x) if snapshot.task else None
        centre = signal * (answer if posterior is None else posterior.mean)
        steps = [eta] + [eta * settings.descent.later_factor] * (len(points) - 2)
        values: dict[str, Any] = contractions(module.energy, x, centre, steps, place, gradients)
        values["accepted"] = (
            torch.stack([iterate.accepted for iterate in place.iterates[1:]]).cpu().numpy()
        )
        values["energy"] = energies.double().cpu().numpy()
        values["gradient_norm"] = gradients.double().norm(dim=2).cpu().numpy()
        values["error"] = (points / signal - answer).double().square().mean(2).cpu().numpy()
        if (matrices := as_matrices(points.double())) is not None:
            spectrum = torch.linalg.svdvals(matrices).square().cpu().numpy()
            values["effective_rank"] = effective_ranks(spectrum)["participation"]
        return values

    def _dataset(
        self, found: dict[str, np.ndarray], visited: list[int], snapshot: Snapshot, rank: int | None
    ) -> xr.Dataset:
        count = len(snapshot.batch.y)
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
            variables[name] = (("landscape", "move"), found[name], {"units": "1"})
        for name in ("normal_ratio_answer", "energy_distance_correlation"):
            if name in found:
                variables |= _mean(name, ("landscape",), found[name], {"units": "1"})
        if rank is not None:
            y = snapshot.batch.y
            variables["normal_ratio_chance"] = normal_ratio(torch.ones_like(y), y, rank)[1]
            variables["energy_distance_chance"] = 1.96 / math.sqrt((self.candidates - 1) * count)
        theory = _theory(snapshot, visited)
        if theory is not None:
            variables["theory_contraction"] = (
                ("landscape", "bound"),
                theory,
                {"units": "1", "long_name": "smallest and largest 1 − η λ"},
            )
        return xr.Dataset(variables, coordinates, {"rank": rank} if rank is not None else {})

    def summary(self, result: xr.Dataset) -> str:
        """One row a landscape; see `Probe.summary`."""
        last, first = result.isel(inner_step=-1), result.isel(move=0)
        columns = {
            "energy": last["energy_mean"],
            "‖∇E‖": last["gradient_norm_mean"],
            "error": last["error_mean"],
            "accepted": result["acceptance"].mean("move"),
            "contraction": first["contraction"],
            "of gradient": first["gradient_contraction"],
            "1 − ηλ": first["predicted_contraction"],
        }
        if "theory_contraction" in result:
            columns["theory"] = result["theory_contraction"].mean("bound")
        if "effective_rank" in result:
            columns["eff. rank"] = last["effective_rank_mean"]
        if "normal_ratio" in result:
            columns |= {
                "normal/tangent": last["normal_ratio_mean"],
                "E ~ distance": result["energy_distance_correlation"],
            }
        table = Table(
            title=f"Inference on {result.sizes['problem']} problems: end of each landscape; "
            "contraction of its first inner step"
        )
        for heading in ("k", *columns):
            table.add_column(heading, justify="right")
        for i, k in enumerate(result["landscape"].values):
            table.add_row(str(k), *(f"{float(values[i]):.4g}" for values in columns.values()))
        return render(table)


def _mean(
    name: str, dims: tuple[str, ...], values: np.ndarray, unit: dict[str, str]
) -> dict[str, Any]:
    count = values.shape[-1]
    error = (
        values.std(-1, ddof=1) / math.sqrt(count)
        if count > 1
        else np.full(values.shape[:-1], np.nan)
    )
    return {name: (dims, values.mean(-1), unit), f"{name}_error": (dims, error, unit)}


def _theory(snapshot: Snapshot, visited: list[int]) -> np.ndarray | None:
    curvature = snapshot.exact_curvature()
    if curvature is None:
        return None
    factors = (1 - snapshot.module.schedule.step.double()[:, None] * curvature)[visited]
    return torch.stack([factors.min(1).values, factors.max(1).values], dim=1).cpu().numpy()
