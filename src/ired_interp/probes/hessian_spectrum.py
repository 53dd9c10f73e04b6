"""Spectra of Hessians: of the energy in y, and of the training objectives in θ."""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any, Literal

import numpy as np
import torch
import xarray as xr
from rich.table import Table

from ired_interp.energy import Energy
from ired_interp.errors import InputError, RunError
from ired_interp.probes.base import Point, Probe, Snapshot, chosen_landscapes, measuring_point
from ired_interp.probes.theta_spectrum import (
    MIXED,
    ThetaObjective,
    measure_operator,
    theta_operator,
)
from ired_interp.probes.y_hessian import hessians
from ired_interp.spectra import effective_rank
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
_THETA_HEADINGS = {
    "lambda_min": "λ_min",
    "lambda_max": "λ_max",
    "found": "converged",
    "residual": "worst residual/|λ|",
    "in_gradient": "share of gradient",
    "negative_share": "negative",
    "effective_rank": "eff. rank",
    "trace": "trace",
    "trace_low": "95 % from",
    "trace_high": "to",
}


class HessianSpectrum(Probe):
    """Eigenvalues of the Hessian, in y: the shape of each landscape; or in θ: the shape of the objective that made it.

    In y, all eigenvalues of ∇²_y E(x, y, k) per problem and landscape, exactly. Beside them stands the spectrum of a perfectly trained model,
    σ_k(ᾱ_k S + σ_k² I)⁻¹ for a posterior of covariance S, so 1/σ_k where x fixes y; for tasks without a known posterior it is left out.

    In θ, the outer eigenvalues with residuals by Lanczos, the density by stochastic Lanczos quadrature, and the trace by Hutch++, of the Hessian of
    one objective in each landscape, averaged over the problems.

    Parameters
    ----------
    space : "y" or "theta".
    landscapes : "all", a list of k, or in θ "mixed": landscapes drawn per problem as in training.
    point : (y) where to measure: the "noised" true answer, the scaled true "answer", or the "solution" that inference finds.
    objective : (theta) the training "loss", its "score" term, or the mean "energy".
    eigenpairs, which, tol : (theta) how many, from which end ("LA", "SA", "BE" both, "LM" magnitude), and the relative residual wanted.
    density_probes, density_steps : (theta) random vectors and Lanczos steps of the density; 0 vectors leave it out.
    trace_matvecs : (theta) Hessian products spent on the trace; 0 leaves it out.
    backend : (theta) "lanczos", or "pyhessian" for that library's eigenvalues.
    dtype : arithmetic of the Hessian; small eigenproblems are always solved in float64.
    memory_gib : the working memory it may take: batches are cut and, in theta, the Lanczos basis is restarted to fit.
    seed : of the noise of the measuring point and of random vectors.
    """

    name = "hessian_spectrum"
    parallel = True

    def __init__(
        self,
        space: Literal["y", "theta"] = "y",
        landscapes: Literal["all", "mixed"] | list[int] = "all",
        point: Point = "noised",
        objective: ThetaObjective = "score",
        eigenpairs: int = 10,
        which: Literal["LA", "SA", "BE", "LM"] = "BE",
        tol: float = 1e-3,
        density_probes: int = 4,
        density_steps: int = 40,
        trace_matvecs: int = 30,
        backend: Literal["lanczos", "pyhessian"] = "lanczos",
        dtype: Literal["float32", "float64"] = "float32",
        memory_gib: float = 1.0,
        seed: int = 0,
    ) -> None:
        for setting, value, known in (
            ("space", space, ("y", "theta")),
            ("objective", objective, ("loss", "score", "energy")),
            ("backend", backend, ("lanczos", "pyhessian")),
            ("dtype", dtype, ("float32", "float64")),
        ):
            if value not in known:
                raise InputError(
                    f"hessian_spectrum has no {setting} {value!r}; choose {' or '.join(known)}."
                )
        if landscapes == "mixed" and space == "y":
            raise InputError(
                "hessian_spectrum in y takes landscapes 'all' or a list; 'mixed' is for space theta."
            )
        if not memory_gib > 0:
            raise InputError(f"hessian_spectrum has memory_gib={memory_gib}; it must be positive.")
        self.space, self.landscapes, self.point, self.objective = (
            space,
            landscapes,
            point,
            objective,
        )
        self.eigenpairs, self.which, self.tol = eigenpairs, which, tol
        self.density_probes, self.density_steps, self.trace_matvecs = (
            density_probes,
            density_steps,
            trace_matvecs,
        )
        self.backend, self.dtype, self.memory_gib, self.seed = backend, dtype, memory_gib, seed

    @property
    def label(self) -> str:
        return f"{self.name}_{self.space}"

    def __call__(self, snapshot: Snapshot) -> xr.Dataset:
        """Measure.

        Returns
        -------
        In y, over landscape, problem and rank of eigenvalue: `eigenvalues`, ascending; `theory` (landscape, rank) where known; and per landscape
        `lambda_min`, `lambda_median`, `lambda_max` (over problems and ranks), `negative_share`, `effective_rank` (participation ratio
        (Σ|λ|)²/Σλ², mean over problems), `condition_number` (max |λ|/min |λ|, median over problems), `theory_median` and `deviation` (root mean
        square of λ/theory − 1, eigenvalue by eigenvalue in ascending order).

        In θ, over landscape (−1 for "mixed") and rank or bin: see `measure_operator`.

        Raises
        ------
        RunError
            If a value is not finite.
        """
        return self._in_y(snapshot) if self.space == "y" else self._in_theta(snapshot)

    def _in_theta(self, snapshot: Snapshot) -> xr.Dataset:
        if self.backend == "pyhessian" and snapshot.ranks.count > 1:
            raise InputError(
                f"hessian_spectrum with backend 'pyhessian' runs in one process, but there are {snapshot.ranks.count} tasks; start "
                "one, or choose backend 'lanczos'."
            )
        mixed = self.landscapes == "mixed"
        landscapes = [MIXED] if mixed else chosen_landscapes(snapshot.module, self.landscapes)  # type: ignore[arg-type]
        parts = []
        for k in track(landscapes, f"Hessian spectrum in θ, {self.objective}"):
            half, dtype = (
                self.memory_gib * 2**29,
                getattr(torch, self.dtype),
            )  # the other half is for Lanczos vectors
            operator = theta_operator(snapshot, self.objective, k, dtype, half, self.seed)
            if not operator.gradient().isfinite().all():
                raise RunError(
                    f"the gradient in θ of landscape {k} is not finite; the weights have diverged."
                )
            scratch = snapshot.scratch / f"landscape{k}" if snapshot.scratch else None
            parts.append(measure_operator(operator, self, half, scratch))
        result = xr.concat(
            parts,
            "landscape",
            coords="minimal",
            compat="override",
            join="override",
            data_vars="all",
        )
        return result.assign_coords(landscape=landscapes).assign_attrs(objective=self.objective)

    def _in_y(self, snapshot: Snapshot) -> xr.Dataset:
        module = snapshot.module
        landscapes = chosen_landscapes(module, self.landscapes)  # type: ignore[arg-type]
        energy = deepcopy(module.energy).to(getattr(torch, self.dtype)).requires_grad_(False)
        found = np.stack(
            [
                self._spectrum(energy, snapshot, k)
                for k in track(landscapes, "Hessian spectrum in y")
            ]
        )
        coordinates = {
            "landscape": landscapes,
            "problem": np.arange(found.shape[1]),
            "rank": np.arange(found.shape[2]),
        }
        result = xr.Dataset({"eigenvalues": (("landscape", "problem", "rank"), found)}, coordinates)
        result["eigenvalues"].attrs = {
            "long_name": "eigenvalues of the Hessian of E in y",
            "units": "energy / y²",
        }
        result = result.assign(_derived(found))
        theory = _theory(snapshot, landscapes)
        if theory is not None:
            deviation = np.sqrt(((found / theory[:, None, :] - 1) ** 2).mean((1, 2)))
            result["theory"] = (
                ("landscape", "rank"),
                theory,
                {"long_name": "spectrum of a perfectly trained model"},
            )
            result["theory_median"] = ("landscape", np.median(theory, 1))
            result["deviation"] = (
                "landscape",
                deviation,
                {"long_name": "root mean square of λ/theory − 1"},
            )
        return result

    def _spectrum(self, energy: Energy, snapshot: Snapshot, k: int) -> np.ndarray:
        dtype = getattr(torch, self.dtype)
        x, y = (
            snapshot.batch.x.to(dtype),
            measuring_point(snapshot, k, self.point, self.seed).to(dtype),
        )
        mine = snapshot.ranks.share(len(y))
        matrices = y.new_zeros(0, y.shape[1], y.shape[1])
        if mine.start < mine.stop:
            matrices = hessians(energy, x[mine], y[mine], k, self.memory_gib * 2**30)
        if not all(snapshot.ranks.all_gather_object(bool(matrices.isfinite().all()))):
            raise RunError(
                f"the Hessian in y of landscape {k} is not finite; the weights or the point have diverged."
            )
        return snapshot.ranks.gather(torch.linalg.eigvalsh(matrices.double()).cpu().numpy())

    def summary(self, result: xr.Dataset) -> str:
        if self.space == "y":
            title = (
                f"Hessian of E in y at the {self.point} point, {result.sizes['problem']} problems"
            )
            columns = {name: heading for name, heading in _HEADINGS.items() if name in result}
        else:
            title = (
                f"Hessian of the {self.objective} in θ, {int(result['parameters'][0])} parameters"
            )
            result = result.assign(
                lambda_min=result["eigenvalues"].min("rank"),
                lambda_max=result["eigenvalues"].max("rank"),
                residual=(result["residuals"] / abs(result["eigenvalues"])).max("rank"),
                found=result["converged"].mean("rank"),
                in_gradient=result["gradient_share"].sum("rank"),
            )
            columns = {name: heading for name, heading in _THETA_HEADINGS.items() if name in result}
        table = Table(title=title)
        for heading in ("k", *columns.values()):
            table.add_column(heading, justify="right")
        for i, k in enumerate(result["landscape"].values):
            table.add_row(
                "mixed" if k == MIXED else str(k),
                *(_format(name, float(result[name][i])) for name in columns),
            )
        return render(table)


def _derived(found: np.ndarray) -> dict[str, Any]:
    size = np.abs(found)
    condition = size.max(2) / np.maximum(size.min(2), np.finfo(float).tiny)
    return {
        "lambda_min": ("landscape", found.min((1, 2))),
        "lambda_median": ("landscape", np.median(found, (1, 2))),
        "lambda_max": ("landscape", found.max((1, 2))),
        "negative_share": ("landscape", (found < 0).mean((1, 2))),
        "effective_rank": ("landscape", effective_rank(found).mean(1)),
        "condition_number": ("landscape", np.median(condition, 1)),
    }


def _theory(snapshot: Snapshot, landscapes: Sequence[int]) -> np.ndarray | None:
    posterior = snapshot.task.posterior(snapshot.batch.x[:1]) if snapshot.task else None
    if posterior is None:
        return None
    variances = posterior.variances.double().cpu().numpy()
    signal, noise = (
        getattr(snapshot.module.schedule, name).double().cpu().numpy()
        for name in ("signal", "noise")
    )
    return np.stack(
        [np.sort(noise[k] / (signal[k] ** 2 * variances + noise[k] ** 2)) for k in landscapes]
    )


_SHARES = ("negative_share", "deviation", "found", "in_gradient")
_SHORT = ("condition_number", "residual", "trace", "trace_low", "trace_high")


def _format(name: str, value: float) -> str:
    if name in _SHARES:
        return f"{value:.1%}"
    return (
        f"{value:.1f}"
        if name == "effective_rank"
        else f"{value:.3g}"
        if name in _SHORT
        else f"{value:.3f}"
    )
