"""Curvature of the landscapes by planes of directions, and the uncertainty that it stands for."""

from copy import deepcopy
from typing import Literal

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from ired_interp.energy import Energy
from ired_interp.errors import InputError
from ired_interp.module import IREDModule
from ired_interp.probes.base import Point, Probe, Snapshot, chosen_landscapes, measuring_point
from ired_interp.probes.curvature_variables import (
    detectable_rank,
    gap_variables,
    plane_variables,
    uncertainty_variables,
)
from ired_interp.probes.local_curvature import hessian_bytes, local_curvature
from ired_interp.probes.planes import RANDOM, Frame, directions, families, frames
from ired_interp.probes.projected_curvature import projected_curvature
from ired_interp.probes.rank_manifold import check_rank
from ired_interp.probes.rises import LENGTHS, rise_variables, rises, theory_rises
from ired_interp.probes.settings import (
    Landscapes,
    check_choice,
    check_landscapes,
    check_memory,
    check_rank_setting,
    check_seed,
    check_setting,
    few_landscapes,
)
from ired_interp.probes.tables import estimate_table, estimates
from ired_interp.random import stream
from ired_interp.terminal import track

_SHOWN = (
    "calibration",
    "predicted_error_mean",
    "measured_error_mean",
    "theory_error",
    "intrinsic_dimension_mean",
    "theory_dimension",
    "curvature_ratio",
    "gap_rank",
)
_ROUNDING = 100  # units in the last place, of a Hessian's entries


class Curvature(Probe):
    """How certain each landscape is of the answer, in all directions and plane by plane.

    For a perfect model the Hessian H of landscape k is a covariance: with D = (y − σ_k g)/√ᾱ_k the
    denoised answer, Cov[y* | y_k, x] = (σ_k²/ᾱ_k)(I − σ_k H). So σ_k λ is 1 in a direction in which
    the answer is fixed, less where it is free, negative between two answers, and never above 1.

    Parameters
    ----------
    landscapes : "all" or list of int
        Which k.
    point : str
        Where to measure: the "noised" true answer, the scaled true "answer", the "solution" that
        inference finds, or the end of each landscape of its "trajectory".
    rank : int, optional
        r of the answers as matrices, for the planes of the rank-r manifold; taken from the task
        where its answers have an exact rank below full.
    candidates : int
        Directions of each family in which an answer is displaced, per problem.
    dtype : str
        Arithmetic of the energy, "float32" or "float64"; all else is in float64.
    vectors : int, optional
        Products of H with random signs in each plane, from which traces are estimated where all of
        H is too large; spectrum and gaps are then left out. All of H if None.
    memory_gib : float
        Working memory in GiB; the batch is cut to fit.
    seed : int
        Of the noise of the measuring point, and of the directions.

    Raises
    ------
    InputError
        If a setting is none of those.

    References
    ----------
    Second-order Tweedie: Meng et al., "Estimating high order gradients of the data distribution by
    denoising", NeurIPS 2021. Dimension: Kamkari et al., "A geometric view of data complexity:
    efficient local intrinsic dimension estimation with diffusion models" (FLIPD), NeurIPS 2024.

    Examples
    --------
    >>> from ired_interp.tasks import ExactEnergy, LinearGaussian
    >>> task = LinearGaussian(8, 1.0, 1.0, rank=3)
    >>> problems = task.sample(4, torch.Generator().manual_seed(0))
    >>> found = Curvature([0])(Snapshot(IREDModule(ExactEnergy(task)), problems, task))
    >>> found["curvature"].sel(landscape=0, family=["support", "kernel"]).values.round(3)
    array([0.028, 1.   ])
    """

    name = "curvature"

    def __init__(
        self,
        landscapes: Landscapes = "all",
        point: Point = "noised",
        rank: int | None = None,
        candidates: int = 2,
        dtype: Literal["float32", "float64"] = "float32",
        vectors: int | None = None,
        memory_gib: float = 1.0,
        seed: int = 0,
    ) -> None:
        check_landscapes(self.name, landscapes)
        check_choice(self.name, "point", point, Point)
        check_rank_setting(self.name, rank)
        check_setting(self.name, "candidates", candidates, 1 <= candidates <= 10_000, "1 to 10000")
        check_choice(self.name, "dtype", dtype, Literal["float32", "float64"])
        fits = vectors is None or 2 <= vectors <= 100_000
        check_setting(self.name, "vectors", vectors, fits, "expected 2 to 100000")
        check_memory(self.name, memory_gib)
        check_seed(self.name, seed)
        self.landscapes, self.point, self.rank = landscapes, point, rank
        self.candidates, self.dtype, self.vectors = candidates, dtype, vectors
        self.memory_gib, self.seed = memory_gib, seed

    def check(self, module: IREDModule) -> None:
        """Refuse landscapes, a rank, or Hessians that the model cannot have; `Probe.check`.

        Parameters
        ----------
        module : IREDModule
            The model.

        Raises
        ------
        InputError
            If the settings do not fit it.
        """
        chosen_landscapes(module, self.landscapes)
        if self.rank is not None:
            check_rank(self.rank, module.solution_dim)
        gib = hessian_bytes(module.solution_dim) / 2**30
        if self.vectors is None and gib > self.memory_gib:
            raise InputError(
                f"{self.name} takes {gib:.2g} GiB for the Hessian of one problem, and memory_gib "
                f"is {self.memory_gib:g}; raise it, or set vectors, such as 30, to estimate traces."
            )

    def small(self) -> "Curvature":
        """At most two landscapes and one direction; see `Probe.small`."""
        return self.with_settings(landscapes=few_landscapes(self.landscapes), candidates=1)

    def __call__(self, snapshot: Snapshot) -> xr.Dataset:
        """Measure.

        Parameters
        ----------
        snapshot : Snapshot
            Model and problems.

        Returns
        -------
        xarray.Dataset
            As follows; d entries of y are free. Families are those of `planes.frames`. What is a
            mean over problems also as `…_error`, its standard error, and what is said of a perfect
            model (`theory_…`) is there where the posterior is known.

            ========================== ====================== ======================================
            variable                   dims                   meaning
            ========================== ====================== ======================================
            `shrinkage`                landscape, problem,    1 − σλ, descending: the variance that
                                       rank                   is left, in σ²/ᾱ
            `predicted_error`          landscape, problem     tr C/d, C = (σ²/ᾱ)(I − σH)
            `measured_error`           landscape, problem     ‖D − y*‖²/d
            `calibration`              landscape              mean predicted over mean measured
                                                              error, 1 for a perfect model; NaN
                                                              where both are rounding
            `theory_error`             landscape              Bayes error of denoising there
            `intrinsic_dimension`      landscape, problem     d − σ tr H; at the answer + ‖g‖²
            `trace_error`              landscape, problem     of σ tr H, over `vectors`
            `free_directions`          landscape              how many σλ are below ½
            `theory_dimension`         landscape              d − σ tr H of a perfect model
            `detectable_rank`          landscape              singular values of y* as a matrix
                                                              above (σ/√ᾱ)√n, where noise hides none
            `curvature`                landscape, family      σ tr(P H)/tr P
            `curvature_by_problem`     landscape, family,     the same of each
                                       problem
            `off_block`                landscape, family      σ‖P H (I − P)‖_F
            `theory_curvature`         landscape, family      of a perfect model; 1 where visible
            `family_dimension`         family                 tr P, mean over problems
            `curvature_ratio`          landscape              normal over tangent curvature
            `gap`                      landscape, rank        σ(λ_{p+1} − λ_p), p = rank + 1 the
                                                              directions below
            `gap_rank`, `gap_share`    landscape              p of the largest gap, and the share of
                                                              resamples of the problems that agree
            `plane_overlap`            landscape, family      ‖P V‖²_F/p of the p freest directions
                                                              V; NaN where no gap holds them
            `plane_chance`             family                 tr P/d, of a random plane
            `gradient_share`           landscape              ‖Vᵀg‖²/‖g‖², by chance p/d
            `rise`, `preference`       landscape, family,     of E/σ over √ᾱ y*, at
                                       length                 √ᾱ(y* ± length·‖y*‖·D), D drawn from
                                                              the family; over that of `random`
            `theory_rise`,             the same               of a perfect model
            `theory_preference`
            ========================== ====================== ======================================

            The errors and `calibration` are there at the noised point alone.

        Raises
        ------
        InputError
            If the model does not fit (see `check`), or the answers have not the rank.
        RunError
            If a Hessian is not finite.
        """
        self.check(snapshot.module)
        module, (x, y) = snapshot.module, snapshot.batch
        landscapes = chosen_landscapes(module, self.landscapes)
        every = frames(snapshot, self.rank)
        dtype = getattr(torch, self.dtype)
        energy = deepcopy(module.energy).to(dtype).requires_grad_(False)
        free, exact = module.free(energy), snapshot.exact_energy()
        drawn = directions(
            every, y.shape, self.candidates, stream(y.device, self.seed, "candidates")
        )
        found: dict[str, list[np.ndarray]] = {}
        for k in track(landscapes, "curvature"):
            at = measuring_point(snapshot, k, self.point, self.seed)
            measured = self._at(free, snapshot, at.to(dtype), every, k)
            if exact is not None:
                theory = self._at(exact, snapshot, at.double(), every, k)
                measured |= {f"theory_{name}": theory[name] for name in ("trace", "curvature")}
            signal, noise = module.schedule.signal[k], module.schedule.noise[k]
            measured["rise"] = rises(module.free(), x, y, drawn, signal, noise, k)
            for name, values in measured.items():
                found.setdefault(name, []).append(values.cpu().numpy())
        stacked = {name: np.stack(values) for name, values in found.items()}
        return self._dataset(stacked, landscapes, snapshot, every)

    def _at(
        self, energy: Energy, snapshot: Snapshot, at: Tensor, every: list[Frame], k: int
    ) -> dict[str, Tensor]:
        """Measure one landscape at points (B, d_y)."""
        (x, y), schedule = snapshot.batch, snapshot.module.schedule
        memory = self.memory_gib * 2**30
        if self.vectors is None:
            return local_curvature(energy, schedule, x, y, at, k, every, memory)
        draw = stream(y.device, self.seed, "signs", k)
        return projected_curvature(energy, schedule, x, y, at, k, every, self.vectors, draw, memory)

    def _dataset(
        self,
        found: dict[str, np.ndarray],
        landscapes: list[int],
        snapshot: Snapshot,
        every: list[Frame],
    ) -> xr.Dataset:
        schedule, names = snapshot.module.schedule, list(families(every))
        signal, noise = (
            s.double().cpu().numpy()[landscapes] for s in (schedule.signal, schedule.noise)
        )
        rounding = _ROUNDING * torch.finfo(getattr(torch, self.dtype)).eps
        variables = uncertainty_variables(found, signal, noise, self.point, rounding)
        variables |= detectable_rank(snapshot.batch.y, signal, noise)
        variables |= plane_variables(found, every, snapshot.visible() is not None)
        if self.vectors is None:
            variables |= gap_variables(found, noise, every)
        theory = None
        if snapshot.exact_curvature() is not None:
            theory = theory_rises(found["theory_curvature"], snapshot.batch.y, signal, noise)
        variables |= rise_variables(found["rise"], names, theory)
        coordinates = {
            "landscape": landscapes,
            "family": names,
            "length": list(LENGTHS),
            "rank": np.arange(snapshot.batch.y.shape[1]),
        }
        return xr.Dataset(variables, coordinates)

    def summary(self, result: xr.Dataset) -> str:
        """One row a landscape, for the whole and for the families; see `Probe.summary`."""
        problems, rows = result.sizes["problem"], result["landscape"].values
        title = f"Curvature at the {self.point} point, {problems} problems; ± standard error"
        table = estimate_table(title, rows, estimates(result, _SHOWN))
        names = [str(name) for name in result["family"].values]
        for name, what in (("curvature", "σ times mean curvature"), ("preference", "rise of E")):
            part = result if name == "curvature" else result.sel(length=0.5)
            columns = {
                family: (part[name].sel(family=family), part[f"{name}_error"].sel(family=family))
                for family in names
                if name == "curvature" or family != RANDOM
            }
            if columns:
                title = f"{what} by family of directions"
                title += "" if name == "curvature" else ", of that in random ones"
                table += estimate_table(title, rows, columns)
        return table
