"""Statistics of the energy's gradient in y: size, direction and effective rank per landscape."""

from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from ired_interp.errors import InputError, RunError
from ired_interp.module import IREDModule
from ired_interp.probes.base import Point, Probe, Snapshot, chosen_landscapes, measuring_point
from ired_interp.probes.gradient_variables import QUANTILES, norm_variables
from ired_interp.probes.gram_statistics import isotropic_participation, spectrum_statistics
from ired_interp.probes.settings import (
    Landscapes,
    check_choice,
    check_landscapes,
    check_seed,
    few_landscapes,
)
from ired_interp.probes.spread import mean_error, ratio_of_means
from ired_interp.probes.tables import estimate_table, estimates
from ired_interp.terminal import track

ENTRIES = ("visible", "hidden")
_LEAST = 3  # gradients whose spread means anything
_SHOWN = (
    "norm_mean",
    "norm_ratio",
    "theory_ratio",
    "alignment",
    "cosine",
    "participation",
    "entropy_rank",
)


class GradientStatisticsY(Probe):
    """Size, direction and effective rank of g = ∇_y E over problems, per landscape.

    Parameters
    ----------
    landscapes : "all" or list of int
        Which k.
    point : str
        Where g is taken: the "noised" true answer, the scaled true "answer", the "solution" that
        inference finds, or the end of each landscape of its "trajectory".
    seed : int
        Of the noise of the measuring point.

    Raises
    ------
    InputError
        If a setting is none of those.
    """

    name = "gradient_statistics_y"
    aliases = ("gradient_statistics",)

    def __init__(
        self, landscapes: Landscapes = "all", point: Point = "noised", seed: int = 0
    ) -> None:
        check_landscapes(self.name, landscapes)
        check_choice(self.name, "point", point, Point)
        check_seed(self.name, seed)
        self.landscapes, self.point, self.seed = landscapes, point, seed

    def check(self, module: IREDModule) -> None:
        """Refuse landscapes that the model has not; see `Probe.check`."""
        chosen_landscapes(module, self.landscapes)

    @property
    def least_problems(self) -> int:
        """One for each of three gradients."""
        return _LEAST

    def small(self) -> "GradientStatisticsY":
        """At most two landscapes; see `Probe.small`."""
        return self.with_settings(landscapes=few_landscapes(self.landscapes))

    def __call__(self, snapshot: Snapshot) -> xr.Dataset:
        """Measure.

        Parameters
        ----------
        snapshot : Snapshot
            Model and problems, at least 3.

        Returns
        -------
        xarray.Dataset
            As follows, with ε = (y − √ᾱ_k y*)/σ_k and d the entries of y that the problem does
            not give, of which alone g and ε are; `…_error` is a standard error.

            =========================== ==================== =====================================
            variable                    dims                 meaning
            =========================== ==================== =====================================
            `norm`                      landscape, problem   ‖g‖, in energy/y
            `norm_mean`, `…_error`,     landscape            of it over problems
            `norm_sd`, `norm_quantiles` (quantile)
            `norm_ratio`, `…_error`     landscape            mean ‖g‖²/d
            `alignment`, `…_error`      landscape            mean ⟨g, ε⟩/d
            `alignment_by_problem`      landscape, problem   ⟨g, ε⟩/d
            `alignment_by_entries`,     landscape, entries   Σ⟨g, ε⟩/count, over the entries that
            `…_error`                                        problems show ("visible") and others
                                                             ("hidden"), where the task has both
            `along_by_problem`,         (landscape,)         ⟨g, ε⟩ over these entries, and how many
            `entries_by_problem`        entries, problem     a problem has
            `theory_by_entries`         landscape, entries   of it, for a perfect model at the
                                                             noised point: 1 where visible
            `cosine`, `…_error`         landscape            mean cos(g, ε)
            `eigenvalues`, `…_error`    landscape, rank      of the covariance of g, in (energy/y)²
            `participation`, `…_error`  landscape            (Σλ)²/Σλ² of them
            `entropy_rank`, `…_error`   landscape            exp(−Σ p ln p), p = λ/Σλ
            `participation_isotropic`                        what isotropic noise would show with
                                                             as many gradients
            `theory_ratio`              landscape            of both ratios, for a perfect model
            `theory_eigenvalues`        landscape,           of a perfect model, where the
                                        theory_rank          posterior is known
            =========================== ==================== =====================================

        Raises
        ------
        InputError
            If there are fewer than 3 problems, or the model has not all landscapes.
        RunError
            If a gradient is not finite.
        """
        count, d = snapshot.batch.y.shape
        if count < _LEAST:
            raise InputError(
                f"{self.name} has {count} gradients to compare; give at least {_LEAST} problems."
            )
        landscapes = chosen_landscapes(snapshot.module, self.landscapes)
        every = [self._energy_gradient(snapshot, k) for k in track(landscapes, "gradients in y")]
        found = {name: np.stack([values[name] for values in every]) for name in every[0]}
        dims = ("landscape", "problem")
        variables: dict[str, Any] = norm_variables(found["norm"], dims, "energy / y")
        unit = {"units": "1"}
        for name in ("norm_ratio", "alignment", "cosine"):
            variables[name] = ("landscape", found[name].mean(1), unit)
            variables[f"{name}_error"] = ("landscape", mean_error(found[name]), unit)
        variables["alignment_by_problem"] = (dims, found["alignment"], unit)
        for name in ("eigenvalues", "participation", "entropy_rank"):
            own = ("landscape", "rank") if name == "eigenvalues" else ("landscape",)
            units = {"units": "(energy / y)²"} if name == "eigenvalues" else unit
            for part in (name, f"{name}_error"):
                variables[part] = (own, found[part], units)
        variables["participation_isotropic"] = isotropic_participation(count, d)
        coordinates: dict[str, Any] = {"landscape": landscapes, "quantile": list(QUANTILES)}
        if "entries_along" in found:
            parts = ratio_of_means(found["entries_along"], found["entries_count"])
            dims = ("landscape", "entries")
            for ending, values in zip(("", "_error"), parts, strict=True):
                variables[f"alignment_by_entries{ending}"] = (dims, values, unit)
            variables["along_by_problem"] = ((*dims, "problem"), found["entries_along"], unit)
            variables["entries_by_problem"] = ((*dims[1:], "problem"), found["entries_count"][0])
            if self.point == "noised":
                perfect = np.tile([1.0, np.nan], (len(landscapes), 1))
                variables["theory_by_entries"] = (dims, perfect, unit)
            coordinates["entries"] = list(ENTRIES)
        theory = self._theory(snapshot, landscapes)
        if theory is not None:
            variables["theory_ratio"] = ("landscape", theory.mean(1))
            variables["theory_eigenvalues"] = (("landscape", "theory_rank"), theory)
        return xr.Dataset(variables, coordinates)

    @torch.no_grad()
    def _energy_gradient(self, snapshot: Snapshot, k: int) -> dict[str, np.ndarray]:
        module, (x, answer) = snapshot.module, snapshot.batch
        y = measuring_point(snapshot, k, self.point, self.seed)
        g = module.free().gradient(x, y, k).double()
        fixed = module.fixed(x)
        entries = g.shape[1] if fixed is None else (~fixed.mask).sum(1)
        if not g.isfinite().all():
            raise RunError(
                f"the energy gradient of landscape {k} is not finite; the weights or the point "
                "have "
                "diverged."
            )
        signal, noise = module.schedule.signal[k], module.schedule.noise[k]
        eps = (y.double() - (signal * answer).double()) / noise.double()
        if fixed is not None:
            eps = eps.masked_fill(fixed.mask, 0.0)
        inner, size = (g * eps).sum(1), g.norm(dim=1)
        values = {
            "norm": size,
            "norm_ratio": size.square() / entries,
            "alignment": inner / entries,
            "cosine": inner / (size * eps.norm(dim=1)),
        }
        visible = snapshot.visible()
        if visible is not None:
            kinds = torch.stack([visible, ~visible])  # (entries, B, d)
            values["entries_along"] = (kinds * g * eps).sum(2)
            values["entries_count"] = kinds.sum(2)
        spectrum = spectrum_statistics(
            lambda sets: [_eigenvalues(g[rows]) for rows in sets], np.arange(len(g))
        )
        return {name: value.cpu().numpy() for name, value in values.items()} | spectrum

    def _theory(self, snapshot: Snapshot, landscapes: list[int]) -> np.ndarray | None:
        """Eigenvalues of a perfect model's covariance of g; their mean is E‖g‖²/d = E⟨g, ε⟩/d."""
        curvature = snapshot.exact_curvature() if self.point == "noised" else None
        if curvature is None:
            return None
        covariance = snapshot.module.schedule.noise.double()[:, None] * curvature
        return covariance[landscapes].sort(dim=1, descending=True).values.cpu().numpy()

    def summary(self, result: xr.Dataset) -> str:
        """One row a landscape; see `Probe.summary`."""
        title = f"Gradients in y, {result.sizes['problem']} of them per landscape; ± standard error"
        return estimate_table(title, result["landscape"].values, estimates(result, _SHOWN))


def _eigenvalues(g: Tensor) -> np.ndarray:
    """Eigenvalues of the sample covariance of the rows, descending, as many as it can have."""
    centred = g - g.mean(0)
    gram = centred @ centred.mT if len(g) < g.shape[1] else centred.mT @ centred
    found = torch.linalg.eigvalsh(gram).flip(0).clamp(min=0) / (len(g) - 1)
    return np.asarray(found[: min(len(g) - 1, g.shape[1])].cpu())
