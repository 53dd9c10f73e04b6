"""Effective rank of answers beside what it could be, and of the weights that give them."""

from collections.abc import Mapping
from typing import Any

import torch
import xarray as xr
from torch import Tensor

from ired_interp.errors import RunError
from ired_interp.geometry.nuclear_norm import least_nuclear_norm
from ired_interp.module import IREDModule
from ired_interp.probes.base import (
    Probe,
    Snapshot,
    chosen_landscapes,
    measuring_point,
    solutions_along,
)
from ired_interp.probes.rank_manifold import check_rank, known_rank, square_matrices
from ired_interp.probes.rank_measures import MEASURES, detectable, rank_measures
from ired_interp.probes.settings import (
    Landscapes,
    check_landscapes,
    check_rank_setting,
    check_seed,
    few_landscapes,
)
from ired_interp.probes.spread import mean_error
from ired_interp.probes.subspace_sources_y import activations
from ired_interp.probes.tables import Column, estimate_table
from ired_interp.random import stream
from ired_interp.tasks.exact import ExactEnergy
from ired_interp.terminal import track

_DRAWS = 512  # of Gaussian matrices
_ROUNDING = 100  # units in the last place of what a residual is the difference of


class EffectiveRank(Probe):
    """How many directions answers have as matrices, and weights and layers as theirs.

    Parameters
    ----------
    landscapes : "all" or list of int
        Which k.
    rank : int, optional
        r of the answers, beyond which the tail begins; taken from the task where its answers have
        an exact rank below full.
    seed : int
        Of the start of inference, the noise and the Gaussian matrices.

    Raises
    ------
    InputError
        If a setting is none of those.
    """

    name = "effective_rank"
    of_answers = True

    def __init__(
        self, landscapes: Landscapes = "all", rank: int | None = None, seed: int = 0
    ) -> None:
        check_landscapes(self.name, landscapes)
        check_rank_setting(self.name, rank)
        check_seed(self.name, seed)
        self.landscapes, self.rank, self.seed = landscapes, rank, seed

    def check(self, module: IREDModule) -> None:
        """Refuse landscapes that the model has not, and solutions without a rank; `Probe.check`."""
        chosen_landscapes(module, self.landscapes)
        square_matrices(torch.empty(module.solution_dim))
        if self.rank is not None:
            check_rank(self.rank, module.solution_dim)

    def small(self) -> "EffectiveRank":
        """At most two landscapes; see `Probe.small`."""
        return self.with_settings(landscapes=few_landscapes(self.landscapes))

    @torch.no_grad()
    def __call__(self, snapshot: Snapshot) -> xr.Dataset:
        """Measure.

        Parameters
        ----------
        snapshot : Snapshot
            Model and problems, whose answers are square matrices.

        Returns
        -------
        xarray.Dataset
            As follows, with the measures of `rank_measures`; `tail` is NaN of weights, layers and
            answers without a known rank. `…_error` is a standard error over problems.

            ================================ ======================= ===============================
            variable                         dims                    meaning
            ================================ ======================= ===============================
            `rank`, `rank_error`             landscape, of, measure  mean over problems, of what
                                                                     `of` names
            `rank_by_problem`                (problem)               the same of each
            `rank_chance`                    measure                 of matrices of independent
                                                                     Gaussian entries
            `detectable`, `…_error`          landscape               singular values of y* above
                                                                     (σ_k/√ᾱ_k)√n, below which
                                                                     noise hides them
            `weight_rank`                    layer, measure          of each matrix of weights
            `weight_rank_chance`             layer, measure          of one such Gaussian matrix
            `change_rank`                    layer, measure          of what training has added to
                                                                     it, where the start is known
            `activation_rank`                landscape, activation,  of a layer's centred outputs
                                             measure                 over problems
            `activation_rank_chance`         activation, measure     of as many Gaussian ones
            ================================ ======================= ===============================

            `of` is "solution", where `solve` stands at the end of landscape k; "denoised", D =
            (y − σ_k g)/√ᾱ_k at the noised answer; "residual", D − y* (NaN where that is rounding);
            and to compare with, "answer", y*; the task's trivial solutions; "least nuclear norm",
            the completion of it, where problems show entries; "posterior mean", the D of a perfect
            model at the same point, where it is known. A feed-forward network's D is its answer.

        Raises
        ------
        InputError
            If the model does not fit (see `check`).
        RunError
            If a solution is not finite.
        """
        self.check(snapshot.module)
        module, y = snapshot.module, snapshot.batch.y
        landscapes = chosen_landscapes(module, self.landscapes)
        rank = known_rank(snapshot.task, self.rank)
        fixed = {"answer": y} | _without_learning(snapshot)
        along = solutions_along(snapshot, self.seed)
        exact = _exact(snapshot)
        if not along.isfinite().all():
            raise RunError("a solution is not finite; the weights have diverged.")
        every = []
        for k in track(landscapes, "effective ranks"):
            matrices = {"solution": along[module.landscapes - 1 - k]}
            matrices |= self._denoised(snapshot, exact, k)
            every.append(matrices | fixed)
        found = torch.stack([_ranks(matrices, rank) for matrices in every]).cpu()  # (K, of, M, B)
        dims, unit = ("landscape", "of", "measure"), {"units": "1"}
        generator = stream("cpu", self.seed, "gaussian")
        n = round(y.shape[1] ** 0.5)
        drawn = torch.randn(_DRAWS, n, n, generator=generator, dtype=torch.float64)
        ratio = module.schedule.noise_to_signal[landscapes]
        visible = detectable(square_matrices(y), ratio).cpu()
        variables: dict[str, Any] = {
            "rank": (dims, found.nanmean(-1), unit),
            "rank_error": (dims, mean_error(found.numpy()), unit),
            "rank_by_problem": ((*dims, "problem"), found, unit),
            "rank_chance": ("measure", rank_measures(drawn, rank).mean(0), unit),
            "detectable": ("landscape", visible.mean(1), unit),
            "detectable_error": ("landscape", mean_error(visible.numpy()), unit),
        }
        coordinates = {"landscape": landscapes, "of": list(every[0]), "measure": list(MEASURES)}
        for name, dimension, values in (
            *_weights(module, snapshot.initial, generator),
            *self._activations(snapshot, landscapes, generator),
        ):
            dims = ("landscape", dimension, "measure")
            stacked = torch.stack(list(values.values()), -2)
            variables[name] = (dims[3 - stacked.ndim :], stacked.cpu(), unit)
            coordinates[dimension] = list(values)
        return xr.Dataset(variables, coordinates, {} if rank is None else {"rank": rank})

    def _denoised(self, snapshot: Snapshot, exact: ExactEnergy | None, k: int) -> dict[str, Tensor]:
        module, (x, y) = snapshot.module, snapshot.batch
        signal, noise = module.schedule.signal[k], module.schedule.noise[k]
        at = measuring_point(snapshot, k, "noised", self.seed)
        found = {"denoised": (at - noise * module.free().gradient(x, at, k)) / signal}
        residual = found["denoised"] - y
        rounding = _ROUNDING * torch.finfo(y.dtype).eps * at.norm(dim=1, keepdim=True) / signal
        told = residual.norm(dim=1, keepdim=True) > rounding
        found["residual"] = torch.where(told, residual, 0.0)
        if exact is not None:
            gradient = module.free(exact).gradient(x, at, k)
            found["posterior mean"] = (at - noise * gradient) / signal
        return found

    def _activations(
        self, snapshot: Snapshot, landscapes: list[int], generator: torch.Generator
    ) -> list[tuple[str, str, dict[str, Tensor]]]:
        module, (x, y) = snapshot.module, snapshot.batch
        every: dict[str, list[Tensor]] = {}
        shapes = {}
        for k in landscapes:
            at = measuring_point(snapshot, k, "noised", self.seed)
            for name, rows in activations(module.energy, x, at, k).items():
                every.setdefault(name, []).append(rank_measures(rows - rows.mean(0)))
                shapes[name] = rows.shape
        if not every or len(y) < 2:
            return []
        chance = {}
        for name, shape in shapes.items():
            drawn = torch.randn(shape, generator=generator)
            chance[name] = rank_measures(drawn - drawn.mean(0))
        found = {name: torch.stack(values) for name, values in every.items()}
        kind = "activation"
        return [("activation_rank", kind, found), ("activation_rank_chance", kind, chance)]

    def summary(self, result: xr.Dataset) -> str:
        """One row a landscape; see `Probe.summary`."""
        part = result.sel(measure="participation")
        columns: dict[str, Column] = {
            str(of): (part["rank"].sel(of=of), part["rank_error"].sel(of=of))
            for of in result["of"].values
        }
        columns["detectable"] = (result["detectable"], result["detectable_error"])
        title = (
            "Participation ratio of answers as matrices; of Gaussian ones "
            f"{float(part['rank_chance']):.3g}; ± standard error over problems"
        )
        return estimate_table(title, result["landscape"].values, columns)


def _without_learning(snapshot: Snapshot) -> dict[str, Tensor]:
    """Return the task's trivial solutions, and the simplest that have what problems show."""
    task, x, visible = snapshot.task, snapshot.batch.x, snapshot.visible()
    found = {} if task is None else task.trivial(x)
    if visible is not None:
        given, shown = square_matrices(snapshot.batch.y), square_matrices(visible)
        found["least nuclear norm"] = least_nuclear_norm(given, shown).flatten(1)
    return found


def _exact(snapshot: Snapshot) -> ExactEnergy | None:
    """Return the energy of a perfect model, where it is known."""
    task, (x, _) = snapshot.task, snapshot.batch
    if task is None or task.posterior(x[:1]) is None:
        return None
    return ExactEnergy(task, snapshot.module.landscapes).to(x.device)


def _ranks(matrices: Mapping[str, Tensor], rank: int | None) -> Tensor:
    """Measures (of, measure, B) of answers (B, n²)."""
    found = [rank_measures(square_matrices(rows), rank).mT for rows in matrices.values()]
    return torch.stack(found)


def _weights(
    module: IREDModule, initial: Mapping[str, Tensor] | None, generator: torch.Generator
) -> list[tuple[str, str, dict[str, Tensor]]]:
    """Measure matrices of weights, Gaussian ones of the same shapes, and what training added."""
    weights = {
        name: w.detach()
        for name, w in module.energy.named_parameters()
        if w.requires_grad and w.ndim == 2 and min(w.shape) > 1
    }
    if not weights:
        return []
    layers = {name: name.removesuffix(".weight") for name in weights}
    own = {layers[name]: rank_measures(w) for name, w in weights.items()}
    chance = {
        layers[name]: rank_measures(torch.randn(w.shape, generator=generator))
        for name, w in weights.items()
    }
    found = [("weight_rank", "layer", own), ("weight_rank_chance", "layer", chance)]
    if initial is not None:
        change = {
            layers[name]: rank_measures(w - initial[name].to(w)) for name, w in weights.items()
        }
        found.append(("change_rank", "layer", change))
    return found
