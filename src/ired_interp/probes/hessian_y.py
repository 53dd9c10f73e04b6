"""The spectrum of the Hessian of the energy in y: the shape of each landscape."""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any, Literal

import numpy as np
import torch
import xarray as xr

from ired_interp.energy import Energy
from ired_interp.module import IREDModule
from ired_interp.probes.base import Point, Probe, Snapshot, chosen_landscapes, measuring_point
from ired_interp.probes.hessians import check_finite, given_apart
from ired_interp.probes.settings import (
    Landscapes,
    check_choice,
    check_landscapes,
    check_memory,
    check_seed,
    few_landscapes,
    working_memory,
)
from ired_interp.probes.spread import mean_error, median_error
from ired_interp.probes.tables import Column, estimate_table
from ired_interp.spectra import effective_rank, many_eigenvalues
from ired_interp.terminal import track

_HEADINGS = {
    "lambda_min": "λ_min",
    "lambda_median": "median",
    "lambda_max": "λ_max",
    "negative_share": "negative",
    "effective_rank": "eff. rank",
    "condition_number": "condition",
    "theory_median": "theory",
    "deviation": "deviation",
}
_UNITS = {"units": "energy / y²"}
_TOGETHER = 1 << 26  # entries of the matrices whose eigenvalues are found at a time


class HessianSpectrumY(Probe):
    """All eigenvalues of ∇²_y E(x, y, k) per problem and landscape, exactly.

    Beside them stands the spectrum of a perfectly trained model, σ_k(ᾱ_k S + σ_k² I)⁻¹ for a
    posterior of covariance S, so 1/σ_k where x fixes y; for tasks without a known posterior it is
    left out.

    Parameters
    ----------
    landscapes : "all" or list of int
        Which k.
    point : str
        Where to measure: the "noised" true answer, the scaled true "answer", the "solution" that
        inference finds, or the end of each landscape of its "trajectory".
    dtype : str
        Arithmetic of the Hessian, "float32" or "float64"; eigenvalues are always found in float64.
    memory_gib : float, optional
        Working memory in GiB, half of what is free where not given; the batch is cut to fit.
    seed : int
        Of the noise of the measuring point.

    Raises
    ------
    InputError
        If a setting is none of those.

    Examples
    --------
    >>> from ired_interp.energy import MLPEnergy
    >>> from ired_interp.tasks import Inverse
    >>> task = Inverse(2)
    >>> problems = task.sample(3, torch.Generator().manual_seed(0))
    >>> module = IREDModule(MLPEnergy(4, 4, width=8))
    >>> result = HessianSpectrumY(landscapes=[0, 9])(Snapshot(module, problems, task))
    >>> result["eigenvalues"].dims, result["eigenvalues"].shape
    (('landscape', 'problem', 'rank'), (2, 3, 4))
    """

    name = "hessian_spectrum_y"
    aliases = ("hessian_spectrum",)
    parallel = True

    def __init__(
        self,
        landscapes: Landscapes = "all",
        point: Point = "noised",
        dtype: Literal["float32", "float64"] = "float32",
        memory_gib: float | None = None,
        seed: int = 0,
    ) -> None:
        check_landscapes(self.name, landscapes)
        check_choice(self.name, "point", point, Point)
        check_choice(self.name, "dtype", dtype, Literal["float32", "float64"])
        check_memory(self.name, memory_gib)
        check_seed(self.name, seed)
        self.landscapes, self.point, self.dtype = landscapes, point, dtype
        self.memory_gib, self.seed = memory_gib, seed

    def check(self, module: IREDModule) -> None:
        """Refuse landscapes that the model has not; see `Probe.check`."""
        chosen_landscapes(module, self.landscapes)

    def small(self) -> "HessianSpectrumY":
        """At most two landscapes; see `Probe.small`."""
        return self.with_settings(landscapes=few_landscapes(self.landscapes))

    def __call__(self, snapshot: Snapshot) -> xr.Dataset:
        """Measure.

        Parameters
        ----------
        snapshot : Snapshot
            Model and problems.

        Returns
        -------
        xarray.Dataset
            As follows; d = d_y eigenvalues in ascending order. All but the theory and the
            eigenvalues also as `…_error`, a standard error over problems. Where problems give
            entries of y, of the free ones alone; those that a problem has fewer are NaN at the end.

            ==================== ========================== ========================================
            variable             dims                       meaning
            ==================== ========================== ========================================
            `eigenvalues`        landscape, problem, rank   λ, in energy/y²
            `lambda_min`         landscape                  smallest of a problem, mean over them
            `lambda_median`      landscape                  median over problems and ranks
            `lambda_max`         landscape                  largest of a problem, mean over them
            `negative_share`     landscape                  share below 0
            `effective_rank`     landscape                  (Σ|λ|)²/Σλ², mean over problems
            `condition_number`   landscape                  max |λ|/min |λ|, median over problems
            `theory`             landscape, rank            λ of a perfect model, where known
            `theory_median`      landscape                  its median
            `deviation`          landscape                  root mean square of λ/theory − 1
            ==================== ========================== ========================================

        Raises
        ------
        InputError
            If the model has not all landscapes.
        RunError
            If a value is not finite.
        """
        landscapes = chosen_landscapes(snapshot.module, self.landscapes)
        energy = deepcopy(snapshot.module.energy).to(getattr(torch, self.dtype))
        energy.requires_grad_(False)
        energy = snapshot.module.free(energy)
        found = self._spectra(energy, snapshot, landscapes)
        coordinates = {
            "landscape": landscapes,
            "problem": np.arange(found.shape[1]),
            "rank": np.arange(found.shape[2]),
        }
        result = xr.Dataset({"eigenvalues": (("landscape", "problem", "rank"), found)}, coordinates)
        result["eigenvalues"].attrs = {"long_name": "eigenvalues of the Hessian of E in y"} | _UNITS
        result = result.assign(_derived(found))
        curvature = snapshot.exact_curvature()
        if curvature is not None:
            theory = curvature[landscapes].sort(dim=1).values.cpu().numpy()
            result = result.assign(_beside_theory(found, theory))
        return result

    def _spectra(self, energy: Energy, snapshot: Snapshot, landscapes: Sequence[int]) -> np.ndarray:
        """Eigenvalues (landscape, problem, rank), of several landscapes found together."""
        waiting: list[torch.Tensor] = []
        found: list[np.ndarray] = []
        count, size = snapshot.batch.y.shape
        memory = working_memory(self.memory_gib, snapshot.batch.y.device, snapshot.ranks.count)
        for k in track(landscapes, "Hessian spectrum in y"):
            waiting.append(self._hessians(energy, snapshot, k, memory))
            if len(waiting) * count * size**2 >= _TOGETHER or k == landscapes[-1]:
                values = self._eigenvalues(waiting, snapshot).numpy()
                found += [snapshot.ranks.gather(part) for part in np.split(values, len(waiting))]
                waiting = []
        return np.stack(found)

    def _eigenvalues(self, each: list[torch.Tensor], snapshot: Snapshot) -> torch.Tensor:
        """Of Hessians of this rank's problems in one landscape after the other."""
        matrices, fixed = torch.cat(each), snapshot.module.fixed(snapshot.batch.x)
        if fixed is None:
            return many_eigenvalues(matrices)
        mask = fixed.mask[snapshot.ranks.share(len(fixed.mask))]
        return _free_eigenvalues(matrices.double(), mask.repeat(len(each), 1))

    def _hessians(self, energy: Energy, snapshot: Snapshot, k: int, memory: float) -> torch.Tensor:
        dtype = getattr(torch, self.dtype)
        x = snapshot.batch.x.to(dtype)
        y = measuring_point(snapshot, k, self.point, self.seed).to(dtype)
        mine = snapshot.ranks.share(len(y))
        matrices = y.new_zeros(0, y.shape[1], y.shape[1])
        if mine.start < mine.stop:
            matrices = energy.hessian(x[mine], y[mine], k, memory)
        finite = bool(matrices.isfinite().all())
        check_finite(all(snapshot.ranks.all_gather_object(finite)), k)
        return matrices

    def summary(self, result: xr.Dataset) -> str:
        """One row a landscape; see `Probe.summary`."""
        problems = result.sizes["problem"]
        title = (
            f"Hessian of E in y at the {self.point} point, {problems} problems; ± standard error"
        )
        columns: dict[str, Column] = {
            heading: (result[name], result.get(f"{name}_error"))
            for name, heading in _HEADINGS.items()
            if name in result
        }
        return estimate_table(title, result["landscape"].values, columns)


def _free_eigenvalues(matrices: torch.Tensor, fixed: torch.Tensor) -> torch.Tensor:
    """Eigenvalues (B, d) of the blocks of free entries, NaN after the last of them."""
    matrices = matrices.masked_fill(fixed[:, :, None] | fixed[:, None, :], 0.0)
    found = many_eigenvalues(given_apart(matrices, (~fixed).to(matrices.dtype)))
    free = (~fixed).sum(1, keepdim=True).cpu()
    rank = torch.arange(found.shape[1])
    return found.masked_fill(rank >= free, torch.nan)


def _derived(found: np.ndarray) -> dict[str, Any]:
    size = np.abs(found)
    there = ~np.isnan(found)
    each = {
        "lambda_min": np.nanmin(found, 2),
        "lambda_max": np.nanmax(found, 2),
        "negative_share": (found < 0).sum(2) / there.sum(2),
        "effective_rank": effective_rank(np.nan_to_num(found)),
    }
    variables: dict[str, Any] = {}
    for name, values in each.items():
        variables[name] = ("landscape", values.mean(1))
        variables[f"{name}_error"] = ("landscape", mean_error(values))
    condition = np.nanmax(size, 2) / np.maximum(np.nanmin(size, 2), np.finfo(float).tiny)
    medians = {"lambda_median": found, "condition_number": condition[..., None]}
    for name, values in medians.items():
        variables[name] = ("landscape", np.nanmedian(values, (1, 2)))
        variables[f"{name}_error"] = ("landscape", median_error(values))
    for name in ("lambda_min", "lambda_median", "lambda_max"):
        for part in (name, f"{name}_error"):
            variables[part] = (*variables[part], _UNITS)
    return variables


def _beside_theory(found: np.ndarray, theory: np.ndarray) -> dict[str, Any]:
    squares = np.nanmean((found / theory[:, None, :] - 1) ** 2, 2)  # of each problem
    deviation = np.sqrt(squares.mean(1))
    with np.errstate(invalid="ignore", divide="ignore"):
        error = np.where(deviation > 0, mean_error(squares) / (2 * deviation), 0.0)
    perfect = {"long_name": "spectrum of a perfectly trained model"} | _UNITS
    return {
        "theory": (("landscape", "rank"), theory, perfect),
        "theory_median": ("landscape", np.median(theory, 1)),
        "deviation": ("landscape", deviation, {"long_name": "root mean square of λ/theory − 1"}),
        "deviation_error": ("landscape", error),
    }
