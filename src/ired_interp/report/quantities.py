"""What probes say of every landscape, one number each, beside its truth and its chance."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import xarray as xr

from ired_interp.report.half_way import halves_of_mean

_RANDOM = "random"  # the family of all directions


class Curve(NamedTuple):
    """A quantity over landscapes, of one run.

    Attributes
    ----------
    landscapes : ndarray (K,)
        k, ascending.
    values : ndarray (K,)
        The quantity.
    draws : ndarray (D, K)
        The same of random halves of the problems.
    truth, chance : ndarray (K,)
        Of a perfect model, and of one that knows nothing; NaN where there is none.
    """

    landscapes: np.ndarray
    values: np.ndarray
    draws: np.ndarray
    truth: np.ndarray
    chance: np.ndarray

    @property
    def errors(self) -> np.ndarray:
        """Standard errors over problems (K,)."""
        error: np.ndarray = self.draws.std(0)
        return error


class Quantity(NamedTuple):
    """A number that every landscape has.

    Attributes
    ----------
    name : str
        Its coordinate.
    title : str
        Its heading.
    probe : str
        What measures it.
    needs : str
        The variable without which a result does not have it.
    sign : int
        Of its change as more becomes known: 1 up, −1 down, 0 either.
    read : callable
        Makes the curve, of a result over ascending landscapes.
    """

    name: str
    title: str
    probe: str
    needs: str
    sign: int
    read: Callable[[xr.Dataset], Curve | None]

    def curve(self, result: xr.Dataset) -> Curve | None:
        """Return the curve; None where the result has none."""
        if self.needs not in result or result.sizes.get("landscape", 0) < 2:
            return None
        return self.read(result.sortby("landscape"))


def _along(result: xr.Dataset, of: xr.DataArray | float) -> np.ndarray:
    """Spread a number, or something over landscape, over the landscapes."""
    k = result["landscape"]
    values: np.ndarray = (xr.zeros_like(k, dtype=float) + of).values
    return values


def _ratio(
    result: xr.Dataset,
    above: xr.DataArray,
    below: xr.DataArray | float = 1.0,
    truth: xr.DataArray | float = np.nan,
    chance: xr.DataArray | float = np.nan,
) -> Curve:
    top, bottom = (
        p.transpose("landscape", "problem") for p in xr.broadcast(above, above * 0 + below)
    )
    known = top.notnull() & bottom.notnull()
    with np.errstate(invalid="ignore", divide="ignore"):
        values = top.where(known).sum("problem") / bottom.where(known).sum("problem")
    return Curve(
        result["landscape"].values,
        values.values,
        halves_of_mean(top.values, bottom.values),
        _along(result, truth),
        _along(result, chance),
    )


def _optional(result: xr.Dataset, name: str, **place: str) -> xr.DataArray | float:
    return result[name].sel(place) if name in result else np.nan


def _scaled_curvature(result: xr.Dataset) -> Curve:
    truth = _optional(result, "theory_curvature", family=_RANDOM)
    above = result["curvature_by_problem"].sel(family=_RANDOM)
    return _ratio(result, above, truth=truth, chance=0.0)


def _visible_curvature(result: xr.Dataset) -> Curve | None:
    if "visible" not in result["family"]:
        return None
    above = result["curvature_by_problem"].sel(family="visible")
    return _ratio(result, above, truth=1.0, chance=0.0)


def _normal_over_tangent(result: xr.Dataset) -> Curve | None:
    if "curvature_ratio" not in result:
        return None
    normal, tangent = (
        result["curvature_by_problem"].sel(family=family) for family in ("normal", "tangent")
    )
    return _ratio(result, normal, tangent, _optional(result, "theory_curvature_ratio"), 1.0)


def _against_theory(result: xr.Dataset) -> Curve | None:
    if "theory" not in result:
        return None
    found, exact = result["eigenvalues"], result["theory"]
    return _ratio(result, found.mean("rank"), exact.mean("rank"), 1.0, 0.0)


def _alignment(result: xr.Dataset) -> Curve | None:
    if "along_by_problem" in result:  # then it is split by entries
        return None
    truth = _optional(result, "theory_ratio")
    return _ratio(result, result["alignment_by_problem"], truth=truth, chance=0.0)


def _alignment_of(entries: str) -> Callable[[xr.Dataset], Curve | None]:
    def read(result: xr.Dataset) -> Curve | None:
        part = result.sel(entries=entries)
        truth = _optional(part, "theory_by_entries")
        along, count = part["along_by_problem"], part["entries_by_problem"]
        return _ratio(result, along, count, truth, 0.0)

    return read


def _calibration(result: xr.Dataset) -> Curve:
    told = result["calibration"].notnull()
    return _ratio(result, result["predicted_error"].where(told), result["measured_error"], 1.0)


def _dimension(result: xr.Dataset) -> Curve:
    truth = _optional(result, "theory_dimension")
    chance = result["family_dimension"].sel(family=_RANDOM)
    return _ratio(result, result["intrinsic_dimension"], truth=truth, chance=chance)


def _displacement(result: xr.Dataset) -> Curve:
    size = result.get("answer_norm", xr.ones_like(result["displacement_by_problem"]))
    truth = _optional(result, "theory_displacement")
    above = result["displacement_by_problem"] * size
    return _ratio(result, above, size, truth, result["displacement_chance"])


def _of_minimum(name: str) -> Callable[[xr.Dataset], Curve | None]:
    def read(result: xr.Dataset) -> Curve | None:
        truth = _optional(result, f"theory_{name}")
        chance = result[f"{name}_chance"]
        return _ratio(result, result[f"{name}_by_problem"], truth=truth, chance=chance)

    return read


def _overlap(result: xr.Dataset) -> Curve:
    part = result.sel(field="denoised", side="left")
    return _ratio(result, part["overlap_by_problem"], chance=part["overlap_chance"])


def _rank(result: xr.Dataset) -> Curve:
    part = result.sel(measure="participation")
    exact = "posterior mean" if "posterior mean" in part["of"] else "answer"
    truth, chance = part["rank"].sel(of=exact), part["rank_chance"]
    return _ratio(result, part["rank_by_problem"].sel(of="denoised"), truth=truth, chance=chance)


def _cka(result: xr.Dataset) -> Curve:
    k = result["landscape"].values
    whole = result["landscape_cka"].sel(other_landscape=k).values
    values = np.append(np.diagonal(whole, 1), np.nan)
    halves = result["landscape_cka_halves"].transpose("half", "landscape").values
    return Curve(k, values, halves, np.full(len(k), np.nan), np.zeros(len(k)))


_KAPPA, _ALONG = "curvature_by_problem", "along_by_problem"

# In the order of columns. λ / theory stands in for σλ where curvature was not run.
QUANTITIES = (
    Quantity("scaled_curvature", "σλ", "curvature", _KAPPA, 1, _scaled_curvature),
    Quantity(
        "curvature_to_theory", "λ / theory", "hessian_spectrum_y", "theory", 1, _against_theory
    ),
    Quantity("visible_curvature", "κ visible", "curvature", _KAPPA, 1, _visible_curvature),
    Quantity("curvature_ratio", "κN / κT", "curvature", _KAPPA, 0, _normal_over_tangent),
    Quantity(
        "alignment", "⟨g, ε⟩/d", "gradient_statistics_y", "alignment_by_problem", 1, _alignment
    ),
    Quantity(
        "alignment_visible",
        "⟨g, ε⟩/d visible",
        "gradient_statistics_y",
        _ALONG,
        1,
        _alignment_of("visible"),
    ),
    Quantity(
        "alignment_hidden",
        "⟨g, ε⟩/d hidden",
        "gradient_statistics_y",
        _ALONG,
        1,
        _alignment_of("hidden"),
    ),
    Quantity("calibration", "calibration", "curvature", "predicted_error", 0, _calibration),
    Quantity("dimension", "dimension", "curvature", "intrinsic_dimension", -1, _dimension),
    Quantity(
        "displacement",
        "minimum off y*",
        "minimum",
        "displacement_by_problem",
        -1,
        _displacement,
    ),
    Quantity(
        "spread", "spread of starts", "minimum", "spread_by_problem", -1, _of_minimum("spread")
    ),
    Quantity("error", "answer error", "minimum", "error_by_problem", -1, _of_minimum("error")),
    Quantity("overlap", "overlap of D", "gradient_field", "overlap_by_problem", 1, _overlap),
    Quantity("rank", "effective rank of D", "effective_rank", "rank_by_problem", -1, _rank),
    Quantity("cka", "CKA to k + 1", "tangent_kernel", "landscape_cka_halves", 1, _cka),
)
