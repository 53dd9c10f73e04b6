"""Gradients as matrices: whether their singular vectors know the planes of the answer."""

from typing import Any

import torch
import xarray as xr
from torch import Tensor

from ired_interp.errors import InputError, RunError
from ired_interp.geometry import chance_overlap
from ired_interp.module import IREDModule
from ired_interp.probes.base import (
    Probe,
    Snapshot,
    chosen_landscapes,
    measuring_point,
    solutions_along,
)
from ired_interp.probes.covariance_planes import covariance_overlaps
from ired_interp.probes.field_planes import FieldPlanes
from ired_interp.probes.planes import frames
from ired_interp.probes.rank_manifold import as_matrices, check_rank, known_rank
from ired_interp.probes.rank_measures import detectable
from ired_interp.probes.settings import (
    Landscapes,
    check_landscapes,
    check_seed,
    check_setting,
    few_landscapes,
)
from ired_interp.probes.tables import Column, estimate_table
from ired_interp.terminal import track

_LEAST = 3
_ROUNDING = 100  # units in the last place of what an error is the difference of
FIELDS = ("gradient", "error", "denoised", "trajectory", "noised")


class GradientField(Probe):
    """Singular vectors of gradients, errors and denoised answers beside those of the answers.

    Parameters
    ----------
    landscapes : "all" or list of int
        Which k.
    p : int, optional
        Dimension of the planes compared; the rank of the task's answers where that is known and
        below full, else 2 (1 of 2 × 2 matrices).
    permutations : int
        Of the answers among the problems, for what chance gives.
    seed : int
        Of noise, start and permutations.

    Raises
    ------
    InputError
        If a setting is none of those.
    """

    name = "gradient_field"

    def __init__(
        self,
        landscapes: Landscapes = "all",
        p: int | None = None,
        permutations: int = 200,
        seed: int = 0,
    ) -> None:
        check_landscapes(self.name, landscapes)
        if p is not None:
            check_setting(self.name, "p", p, p >= 1, "expected at least 1")
        fits = 40 <= permutations <= 100_000
        check_setting(self.name, "permutations", permutations, fits, "expected 40 to 100000")
        check_seed(self.name, seed)
        self.landscapes, self.p = landscapes, p
        self.permutations, self.seed = permutations, seed

    def check(self, module: IREDModule) -> None:
        """Refuse landscapes that the model has not, and planes that do not fit; `Probe.check`.

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
        d = module.solution_dim
        if self.p is not None:
            if as_matrices(torch.empty(d)) is not None:
                check_rank(self.p, d)
            elif self.p >= d:
                raise InputError(f"p={self.p} of {d} dimensions is not below full; lower p.")

    @property
    def least_problems(self) -> int:
        """So many that they scatter."""
        return _LEAST

    def small(self) -> "GradientField":
        """At most two landscapes; see `Probe.small`."""
        return self.with_settings(landscapes=few_landscapes(self.landscapes))

    @torch.no_grad()
    def __call__(self, snapshot: Snapshot) -> xr.Dataset:
        """Measure.

        Parameters
        ----------
        snapshot : Snapshot
            Model and problems, at least 3.

        Returns
        -------
        xarray.Dataset
            As follows. The fields are g = ∇_y E, its error g − ε and the denoised answer D =
            (y − σ_k g)/√ᾱ_k, all at the noised answer; g along the trajectory, where `solve`
            stands at the end of landscape k; and the noised answer y/√ᾱ_k itself, which D must
            surpass. An error that is rounding is NaN. `…_error` is a standard error over problems.
            What needs matrices is there where answers are square ones, UΣVᵀ, with planes of the p
            leading singular vectors; the last three where the posterior is Gaussian.

            ================================= =================== ==================================
            variable                          dims                meaning
            ================================= =================== ==================================
            `overlap`, `…_error`              landscape, field,   of the field's plane with that of
                                              side                y*, 0 to 1: side "left" or "right"
            `overlap_chance`, `…_low`,        landscape, field,   mean and 95 % interval with
            `…_high`                          side                answers permuted among problems
            `overlap_random`                                      p/n, of planes without direction
            `block_share`, `…_error`          landscape, field,   share of ‖field‖² in a family of
                                              block               directions at y* (see
                                                                  `rank_families.families`)
            `block_share_chance`              block               of a field without direction
            `mode_share`                      landscape, field,   share of ‖field‖² along u_i v_jᵀ
                                              left_mode,
                                              right_mode
            `mode_share_chance`                                   1/n²
            `detectable`                      landscape           singular values of y* that
                                                                  noise does not hide, mean
            `covariance_overlap`              landscape           of the p leading eigenvectors of
                                                                  Cov(g) over problems with those
                                                                  of a perfect model's
            `covariance_overlap_expected`,    landscape           mean and 95 % interval of as many
            `…_low`, `…_high`                                     gradients of a perfect model
            `covariance_overlap_chance`                           p/d
            ================================= =================== ==================================

        Raises
        ------
        InputError
            If there are fewer than 3 problems, the answers are no square matrices and have no
            Gaussian posterior, or the model does not fit (see `check`).
        RunError
            If a field is not finite.
        """
        self.check(snapshot.module)
        module, y = snapshot.module, snapshot.batch[1]
        if len(y) < _LEAST:
            raise InputError(f"{self.name} has {len(y)} problems; give it at least {_LEAST}.")
        landscapes = chosen_landscapes(module, self.landscapes)
        along = solutions_along(snapshot, self.seed)
        every = [
            self._fields(snapshot, k, along[module.landscapes - 1 - k])
            for k in track(landscapes, "gradient fields")
        ]
        fields = torch.stack(every)  # (K, fields, B, d)
        coordinates: dict[str, Any] = {"landscape": landscapes, "field": list(FIELDS)}
        variables = covariance_overlaps(snapshot, landscapes, fields[:, 0], self.p or 2, self.seed)
        matrices = as_matrices(y)
        if matrices is not None and (n := matrices.shape[-1]) > 1:
            p = self.p or known_rank(snapshot.task, None) or min(2, n - 1)
            planes = FieldPlanes(frames(snapshot, p), y, p)
            variables |= planes.overlaps(fields, self.permutations, self.seed)
            variables |= planes.shares(fields)
            variables["overlap_random"] = chance_overlap(n, p, p)[0]
            ratio = module.schedule.noise_to_signal[landscapes]
            variables["detectable"] = ("landscape", detectable(matrices, ratio).mean(1).cpu())
            coordinates |= planes.coordinates
            return xr.Dataset(variables, coordinates, {"p": p})
        if not variables:
            raise InputError(
                f"solutions of {y.shape[1]} entries are no square matrices and have no Gaussian "
                f"posterior, so {self.name} has no planes to compare."
            )
        return xr.Dataset(variables, coordinates, {"p": self.p or 2})

    def _fields(self, snapshot: Snapshot, k: int, solution: Tensor) -> Tensor:
        """Compute the fields (fields, B, d) of landscape k, in float64.

        Raises
        ------
        RunError
            If one is not finite.
        """
        module, (x, y) = snapshot.module, snapshot.batch
        energy, fixed = module.free(), module.fixed(x)
        signal, noise = module.schedule.signal[k], module.schedule.noise[k]
        at = measuring_point(snapshot, k, "noised", self.seed)
        g = energy.gradient(x, at, k)
        error = g - (at - signal * y) / noise
        reached = signal * solution
        along = energy.gradient(x, reached, k)
        if fixed is not None:
            error = error.masked_fill(fixed.mask, 0.0)
        told = [_unless_rounding(part, at / noise) for part in (g, error)]
        told += [(at - noise * g) / signal, _unless_rounding(along, reached / noise)]
        told.append(at / signal)
        found = torch.stack(told).double()
        if not found.isfinite().all():
            raise RunError(f"a gradient of landscape {k} is not finite; the weights have diverged.")
        return found

    def summary(self, result: xr.Dataset) -> str:
        """One row a landscape; see `Probe.summary`."""
        columns: dict[str, Column] = {}
        title = f"Planes of the {result.attrs['p']} leading singular vectors, overlap with y*"
        if "overlap" in result:
            part = result.sel(side="left")
            for field in FIELDS:
                one = part.sel(field=field)
                columns[field] = (one["overlap"], one["overlap_error"])
            columns["denoised, chance"] = (
                part["overlap_chance"].sel(field="denoised"),
                part["overlap_chance_low"].sel(field="denoised"),
                part["overlap_chance_high"].sel(field="denoised"),
            )
        if "covariance_overlap" in result:
            columns["Cov(g)"] = (result["covariance_overlap"], None)
            expected = "covariance_overlap_expected"
            columns["expected"] = (
                result[expected],
                result[f"{expected}_low"],
                result[f"{expected}_high"],
            )
        return estimate_table(title, result["landscape"].values, columns)


def _unless_rounding(field: Tensor, part: Tensor) -> Tensor:
    """Put 0 where a field (B, d) is no more than the rounding of what it is the difference of."""
    rounding = _ROUNDING * torch.finfo(field.dtype).eps * part.norm(dim=1, keepdim=True)
    return torch.where(field.norm(dim=1, keepdim=True) > rounding, field, 0.0)
