"""Spectrum of the Hessian of the energy in y: the shape of each landscape around a point."""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any, Literal

import numpy as np
import torch
import xarray as xr
from rich.table import Table
from torch import Tensor

from ired_interp.energy import Energy
from ired_interp.errors import InputError, RunError
from ired_interp.probes.base import Point, Probe, Snapshot, chosen_landscapes, measuring_point
from ired_interp.terminal import render, track

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


class HessianSpectrum(Probe):
    """All eigenvalues of H = ∇²_y E(x, y, k), per problem and landscape.

    Beside them stands the exact spectrum of a perfectly trained model, σ_k(ᾱ_k S + σ_k² I)⁻¹ for a posterior of covariance S, so
    1/σ_k where x fixes y; for tasks without a known posterior it is left out.

    Parameters
    ----------
    space : "y".
    landscapes : "all" or a list of k.
    point : where to measure: the "noised" true answer, the scaled true "answer", or the "solution" that inference finds.
    dtype : arithmetic of the Hessian; eigenvalues are always computed in float64.
    memory_gib : the working memory it may take; batches are cut to fit.
    seed : of the noise of the measuring point.
    """

    name = "hessian_spectrum"

    def __init__(
        self,
        space: Literal["y"] = "y",
        landscapes: Literal["all"] | list[int] = "all",
        point: Point = "noised",
        dtype: Literal["float32", "float64"] = "float32",
        memory_gib: float = 1.0,
        seed: int = 0,
    ) -> None:
        if space != "y":
            raise InputError(f"hessian_spectrum has no space {space!r}; choose 'y'.")
        self.space, self.landscapes, self.point, self.dtype = space, landscapes, point, dtype
        self.memory_gib, self.seed = memory_gib, seed

    @property
    def label(self) -> str:
        return f"{self.name}_{self.space}"

    def __call__(self, snapshot: Snapshot) -> xr.Dataset:
        """Measure.

        Returns
        -------
        Dataset over landscape, problem and rank of eigenvalue: `eigenvalues`, ascending; `theory` (landscape, rank) where known; and per landscape
        `lambda_min`, `lambda_median`, `lambda_max` (over problems and ranks), `negative_share`, `effective_rank` (participation ratio
        (Σ|λ|)²/Σλ², mean over problems), `condition_number` (max |λ|/min |λ|, median over problems), `theory_median` and `deviation` (root mean
        square of λ/theory − 1, eigenvalue by eigenvalue in ascending order).

        Raises
        ------
        RunError
            If an eigenvalue is not finite.
        """
        module, landscapes = snapshot.module, chosen_landscapes(snapshot.module, self.landscapes)
        energy = deepcopy(module.energy).to(getattr(torch, self.dtype)).requires_grad_(False)
        found = np.stack([self._spectrum(energy, snapshot, k) for k in track(landscapes, "Hessian spectrum in y")])
        coordinates = {"landscape": landscapes, "problem": np.arange(found.shape[1]), "rank": np.arange(found.shape[2])}
        result = xr.Dataset({"eigenvalues": (("landscape", "problem", "rank"), found)}, coordinates)
        result["eigenvalues"].attrs = {"long_name": "eigenvalues of the Hessian of E in y", "units": "energy / y²"}
        result = result.assign(_derived(found))
        theory = _theory(snapshot, landscapes)
        if theory is not None:
            deviation = np.sqrt(((found / theory[:, None, :] - 1) ** 2).mean((1, 2)))
            result["theory"] = (("landscape", "rank"), theory, {"long_name": "spectrum of a perfectly trained model"})
            result["theory_median"] = ("landscape", np.median(theory, 1))
            result["deviation"] = ("landscape", deviation, {"long_name": "root mean square of λ/theory − 1"})
        return result

    def _spectrum(self, energy: Energy, snapshot: Snapshot, k: int) -> np.ndarray:
        dtype = getattr(torch, self.dtype)
        x, y = snapshot.batch.x.to(dtype), measuring_point(snapshot, k, self.point, self.seed).to(dtype)
        matrices = hessians(energy, x, y, k, self.memory_gib * 2**30)
        if not matrices.isfinite().all():
            raise RunError(f"the Hessian in y of landscape {k} is not finite; the weights or the point have diverged.")
        return torch.linalg.eigvalsh(matrices.double()).cpu().numpy()

    def summary(self, result: xr.Dataset) -> str:
        table = Table(title=f"Hessian of E in y at the {self.point} point, {result.sizes['problem']} problems")
        columns = [name for name in _HEADINGS if name in result]
        for heading in ("k", *(_HEADINGS[name] for name in columns)):
            table.add_column(heading, justify="right")
        for i, k in enumerate(result["landscape"].values):
            values = (_format(name, float(result[name][i])) for name in columns)
            table.add_row(str(k), *values)
        return render(table)


def hessians(energy: Energy, x: Tensor, y: Tensor, k: int, memory: float) -> Tensor:
    """∇²_y E (B, d_y, d_y) at y (B, d_y), as derivatives of the gradient along every axis, as many axes at once as fit `memory` bytes."""
    units = x.shape[1] + y.shape[1] + sum(p.shape[0] for p in energy.parameters() if p.ndim > 1)
    axes = max(1, int(memory / (8 * units * len(y) * y.element_size())))

    def along(direction: Tensor) -> Tensor:
        return torch.func.jvp(lambda y: energy.gradient(x, y, k), (y,), (direction.expand_as(y),))[1]

    eye = torch.eye(y.shape[1], dtype=y.dtype, device=y.device)
    return torch.vmap(along, out_dims=1, chunk_size=axes)(eye)


def _derived(found: np.ndarray) -> dict[str, Any]:
    size = np.abs(found)
    rank = size.sum(2) ** 2 / (found**2).sum(2)
    condition = size.max(2) / np.maximum(size.min(2), np.finfo(float).tiny)
    return {
        "lambda_min": ("landscape", found.min((1, 2))),
        "lambda_median": ("landscape", np.median(found, (1, 2))),
        "lambda_max": ("landscape", found.max((1, 2))),
        "negative_share": ("landscape", (found < 0).mean((1, 2))),
        "effective_rank": ("landscape", rank.mean(1)),
        "condition_number": ("landscape", np.median(condition, 1)),
    }


def _theory(snapshot: Snapshot, landscapes: Sequence[int]) -> np.ndarray | None:
    posterior = snapshot.task.posterior(snapshot.batch.x[:1]) if snapshot.task else None
    if posterior is None:
        return None
    variances = posterior.variances.double().cpu().numpy()
    signal, noise = (getattr(snapshot.module.schedule, name).double().cpu().numpy() for name in ("signal", "noise"))
    return np.stack([np.sort(noise[k] / (signal[k] ** 2 * variances + noise[k] ** 2)) for k in landscapes])


def _format(name: str, value: float) -> str:
    if name in ("negative_share", "deviation"):
        return f"{value:.1%}"
    return (
        f"{value:.3g}" if name == "condition_number" else f"{value:.3f}" if name != "effective_rank" else f"{value:.1f}"
    )
