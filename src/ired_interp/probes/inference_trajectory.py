"""What happens along `solve`: energy, gradient, acceptance, error and contraction at every inner step."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import xarray as xr
from rich.table import Table
from torch import Tensor

from ired_interp.diffusion import Inference, anneal
from ired_interp.diffusion.inference import LandscapeMinimisation
from ired_interp.energy import Energy
from ired_interp.errors import InputError, RunError
from ired_interp.probes.base import Probe, Snapshot
from ired_interp.probes.gram_statistics import effective_ranks
from ired_interp.probes.rank_manifold import (
    as_matrices,
    energy_distance_correlation,
    known_rank,
    normal_ratio,
    rotated_answers,
)
from ired_interp.random import stream
from ired_interp.terminal import render, track

_ROUNDING = 1000  # units in the last place of y, below which an error or a gradient says nothing about the next one


class InferenceTrajectory(Probe):
    """Follow inference through all landscapes and inner steps.

    Parameters
    ----------
    steps : inner steps T per landscape; the model's own setting if None.
    rank : r of the answers as matrices, for the measures on the rank-r manifold; taken from the task where its answers have an exact rank below full.
    candidates : answers with a turned column space, per problem, for the correlation of energy with distance.
    seed : of the start and of the candidates.
    """

    name = "inference_trajectory"

    def __init__(
        self, steps: int | None = None, rank: int | None = None, candidates: int = 24, seed: int = 0
    ) -> None:
        if candidates < 3 or (steps is not None and steps < 1):
            raise InputError(
                f"inference_trajectory got steps={steps} and candidates={candidates}; give at least 1 step and 3 candidates."
            )
        self.steps, self.rank, self.candidates, self.seed = steps, rank, candidates, seed

    def __call__(self, snapshot: Snapshot) -> xr.Dataset:
        """Measure.

        Returns
        -------
        Dataset over landscape (as visited, K − 1 first), inner_step 0 … T and problem: `energy`, `gradient_norm` ‖∇_y E‖, `error` (mean square per
        entry of y/√ᾱ_k − y*), `effective_rank` (participation ratio of the squared singular values of y as a matrix), and their `…_mean` and
        `…_mean_error` over problems. Over move 1 … T: `acceptance` with error; over the rows that moved `contraction`, root mean square
        ‖e_after‖/‖e_before‖ with e = y − √ᾱ_k m and m the posterior mean (y* where unknown); `gradient_contraction` Σ⟨g_after, g⟩/Σ‖g‖²,
        which for a quadratic energy equals `predicted_contraction` 1 − η λ, λ the curvature gᵀHg/gᵀg measured there. NaN where what contracts is down
        to rounding. For a perfect model `theory_contraction`, the range of 1 − η_k λ over the posterior's directions.

        Where the answers have a rank r: `normal_ratio` ‖normal‖/‖tangent‖ of ∇_y E on the rank-r manifold at y*, along the trajectory, and
        `normal_ratio_answer` at √ᾱ_k y* itself, with errors, beside `normal_ratio_chance`; `energy_distance_correlation`, Spearman's of energy with
        the Grassmannian distance from the column space of y*, mean over problems with error, beside `energy_distance_chance`, its 95 % half-width
        for unrelated energies.

        Raises
        ------
        InputError
            If the model answers by ancestral sampling, or the rank does not fit.
        RunError
            If an energy is not finite.
        """
        module, (x, y) = snapshot.module, snapshot.batch
        settings = (
            module.inference if self.steps is None else replace(module.inference, steps=self.steps)
        )
        settings = settings.within(module.value_range)
        if not settings.gradient_descent or settings.steps < 1:
            raise InputError(
                "inference_trajectory follows gradient descent; this model's inference takes no gradient steps."
            )
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
                for name, values in (
                    self._along(snapshot, place, settings)
                    | self._on_manifold(snapshot, place, rank)
                ).items():
                    found.setdefault(name, []).append(values)
        return self._dataset(
            {name: np.stack(values) for name, values in found.items()}, visited, snapshot, rank
        )

    def _along(
        self, snapshot: Snapshot, place: LandscapeMinimisation, settings: Inference
    ) -> dict[str, np.ndarray]:
        module, (x, answer), k = snapshot.module, snapshot.batch, place.k
        signal, eta = module.schedule.signal[k], module.schedule.step[k]
        points = torch.stack([iterate.y for iterate in place.iterates])
        gradients = _gradients(module.energy, x, points, k)
        curved = _curvature_along(module.energy, x, points[:-1], gradients[:-1], k)
        energies = torch.stack([iterate.energy for iterate in place.iterates])
        if not energies.isfinite().all():
            raise RunError(
                f"the energy of landscape {k} is not finite along inference; the weights have diverged."
            )
        posterior = snapshot.task.posterior(x) if snapshot.task else None
        centre = signal * (answer if posterior is None else posterior.mean)
        moves: dict[str, list[float]] = {
            "contraction": [],
            "gradient_contraction": [],
            "predicted_contraction": [],
        }
        for i, iterate in enumerate(place.iterates[1:]):
            rows = iterate.accepted
            before, after = (points[j][rows] - centre[rows] for j in (i, i + 1))
            g, g_after = (gradients[j][rows] for j in (i, i + 1))
            size = eta * (1 if i == 0 else settings.descent.later_factor)
            floor = _ROUNDING * torch.finfo(answer.dtype).eps * points[i][rows].norm()
            moves["contraction"].append(_ratio(after.norm(), before.norm(), floor))
            moves["gradient_contraction"].append(
                _ratio((g_after * g).sum(), g.square().sum(), (floor / eta).square())
            )
            moves["predicted_contraction"].append(
                1
                - float(size)
                * _ratio(curved[i][rows].sum(), g.square().sum(), (floor / eta).square())
            )
        values: dict[str, Any] = {name: np.array(value) for name, value in moves.items()}
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

    def _on_manifold(
        self, snapshot: Snapshot, place: LandscapeMinimisation, rank: int | None
    ) -> dict[str, np.ndarray]:
        if rank is None:
            return {}
        module, (x, answer), k = snapshot.module, snapshot.batch, place.k
        signal = module.schedule.signal[k]

        def ratio(y: Tensor) -> np.ndarray:
            return normal_ratio(module.energy.gradient(x, y, k), answer, rank)[0]

        generator = stream(answer.device, self.seed, "candidates")
        angles = torch.linspace(0, math.pi / 2, self.candidates, device=answer.device)
        candidates, distances = rotated_answers(answer, rank, angles, generator)
        return {
            "normal_ratio": np.stack([ratio(iterate.y) for iterate in place.iterates]),
            "normal_ratio_answer": ratio(signal * answer),
            "energy_distance_correlation": energy_distance_correlation(
                module.energy, x, candidates, distances, signal, k
            ),
        }

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
            title=f"Inference on {result.sizes['problem']} problems: end of each landscape; contraction of its first inner step"
        )
        for heading in ("k", *columns):
            table.add_column(heading, justify="right")
        for i, k in enumerate(result["landscape"].values):
            table.add_row(str(k), *(f"{float(values[i]):.4g}" for values in columns.values()))
        return render(table)


def _gradients(energy: Energy, x: Tensor, points: Tensor, k: int) -> Tensor:
    """∇_y E at points (T, B, d_y) of the same problems, all at once."""
    return torch.vmap(lambda y: energy.gradient(x, y, k))(points)


def _curvature_along(energy: Energy, x: Tensor, points: Tensor, g: Tensor, k: int) -> Tensor:
    """gᵀHg (T, B), by one Hessian-vector product."""
    product = torch.func.jvp(lambda y: _gradients(energy, x, y, k), (points,), (g,))[1]
    return (g * product).sum(2)


def _ratio(above: Tensor, below: Tensor, floor: Tensor) -> float:
    return float(above / below) if below > floor else math.nan


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
    posterior = snapshot.task.posterior(snapshot.batch.x[:1]) if snapshot.task else None
    if posterior is None:
        return None
    schedule = snapshot.module.schedule
    signal, noise, step = (
        s[visited, None].double() for s in (schedule.signal, schedule.noise, schedule.step)
    )
    factors = 1 - step * noise / (signal.square() * posterior.variances.double() + noise.square())
    return torch.stack([factors.min(1).values, factors.max(1).values], dim=1).cpu().numpy()
