"""Labelled curvature: the uncertainty it stands for, planes of directions, gaps."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ired_interp.geometry.resolution import resolution
from ired_interp.probes.planes import NORMAL, TANGENT, Frame, families
from ired_interp.probes.rank_manifold import as_matrices
from ired_interp.probes.spread import mean_error, ratio_of_means

_UNIT = {"units": "1"}
_SQUARE = {"units": "y² per entry"}
_DRAWS = 200  # resamples of the problems
_TOLD = 3  # standard errors by which a gap must stand above 0

Found = dict[str, np.ndarray]  # by landscape, then problem


def _mean(name: str, values: np.ndarray, unit: dict[str, str] = _UNIT) -> dict[str, Any]:
    """Label a mean over the last axis, problems, over landscape and maybe family."""
    dims = ("landscape", "family")[: values.ndim - 1]
    return {name: (dims, values.mean(-1), unit), f"{name}_error": (dims, mean_error(values), unit)}


def uncertainty_variables(
    found: Found, signal: np.ndarray, noise: np.ndarray, point: str, rounding: float
) -> dict[str, Any]:
    """Label shrinkage, predicted and measured errors, and dimensions.

    Parameters
    ----------
    found : dict of str to ndarray (K, B, ...)
        As `local_curvature` or `projected_curvature` returns them, and `theory_trace`, where known.
    signal, noise : ndarray (K,)
        √ᾱ_k and σ_k.
    point : str
        Where they were measured.
    rounding : float
        Of the Hessian's entries, relative; errors of no more than it allows are not compared.

    Returns
    -------
    dict
        Variables of a dataset; see `Curvature`.
    """
    entries, each = found["entries"], ("landscape", "problem")
    dimension = entries - found["trace"]
    if point == "answer":
        dimension = dimension + found["gradient_square"]
    variables: dict[str, Any] = {}
    if "eigenvalues" in found:
        shrinkage = 1 - noise[:, None, None] * found["eigenvalues"]
        variables["shrinkage"] = ((*each, "rank"), shrinkage, _UNIT)
        variables |= _mean("free_directions", (shrinkage > 0.5).sum(2).astype(float))
    else:
        variables["trace_error"] = (each, found["trace_error"], _UNIT)
    variables["intrinsic_dimension"] = (each, dimension, _UNIT)
    variables |= _mean("intrinsic_dimension_mean", dimension)
    per_entry = ((noise / signal) ** 2)[:, None] / entries
    if point == "noised":
        errors = {
            "predicted_error": per_entry * (entries - found["trace"]),
            "measured_error": found["error"],
        }
        for name, values in errors.items():
            variables[name] = (each, values, _SQUARE)
            variables |= _mean(f"{name}_mean", values, _SQUARE)
        slope, error = ratio_of_means(errors["predicted_error"], errors["measured_error"])
        least = rounding * (noise / signal) ** 2
        lost = np.maximum(*(abs(values.mean(1)) for values in errors.values())) <= least
        variables["calibration"] = ("landscape", np.where(lost, np.nan, slope), _UNIT)
        variables["calibration_error"] = ("landscape", np.where(lost, np.nan, error), _UNIT)
    if "theory_trace" in found:
        exact = entries - found["theory_trace"]
        variables["theory_dimension"] = ("landscape", exact.mean(1), _UNIT)
        if point == "noised":
            variables["theory_error"] = ("landscape", (per_entry * exact).mean(1), _SQUARE)
    return variables


def detectable_rank(answer: Tensor, signal: np.ndarray, noise: np.ndarray) -> dict[str, Any]:
    """Count singular values of answers that stand above those of the noise alone.

    Parameters
    ----------
    answer : Tensor (B, d_y)
        Answers.
    signal, noise : ndarray (K,)
        √ᾱ_k and σ_k.

    Returns
    -------
    dict
        `detectable_rank` and its error, where answers are square matrices.

    References
    ----------
    Benaych-Georges & Nadakuditi, "The singular values and vectors of low rank perturbations of
    large rectangular random matrices", J. Multivariate Anal. 111, 2012: above √n times the noise.
    """
    matrices = as_matrices(answer.double())
    if matrices is None:
        return {}
    values = torch.linalg.svdvals(matrices).cpu().numpy()
    threshold = noise / signal * matrices.shape[-1] ** 0.5
    return _mean("detectable_rank", (values > threshold[:, None, None]).sum(2).astype(float))


def plane_variables(found: Found, frames: list[Frame], shows: bool) -> dict[str, Any]:
    """Label curvature by plane.

    Parameters
    ----------
    found : dict of str to ndarray (K, B, families)
        `curvature`, `off_block` and, where known, `theory_curvature`.
    frames : list of Frame
        The planes.
    shows : bool
        Whether there are visible entries.

    Returns
    -------
    dict
        Variables of a dataset; see `Curvature`.
    """
    planes, unit = families(frames), _UNIT
    names = list(planes)
    sizes = [float(plane.sum(1).mean()) for _, plane in planes.values()]
    variables: dict[str, Any] = {"family_dimension": ("family", sizes, unit)}
    for name in ("curvature", "off_block"):
        variables |= _mean(name, found[name].swapaxes(1, 2))
    each = found["curvature"].swapaxes(1, 2)
    variables["curvature_by_problem"] = (("landscape", "family", "problem"), each, unit)
    theory = np.full(found["curvature"].shape[::2], np.nan)
    if "theory_curvature" in found:
        theory = found["theory_curvature"].mean(1)
    elif shows:
        theory[:, names.index("visible")] = 1.0
    if np.isfinite(theory).any():
        variables["theory_curvature"] = (("landscape", "family"), theory, unit)
    if NORMAL in names:
        places = names.index(NORMAL), names.index(TANGENT)
        value, error = ratio_of_means(*(found["curvature"][..., i] for i in places))
        variables["curvature_ratio"] = ("landscape", value, unit)
        variables["curvature_ratio_error"] = ("landscape", error, unit)
        if "theory_curvature" in found:
            exact = theory[:, places[0]] / theory[:, places[1]]
            variables["theory_curvature_ratio"] = ("landscape", exact, unit)
    return variables


def gap_variables(found: Found, noise: np.ndarray, frames: list[Frame]) -> dict[str, Any]:
    """Label gaps of the spectrum, and the plane of the directions below the largest.

    Parameters
    ----------
    found : dict of str to ndarray (K, B, ...)
        `eigenvalues`, `plane_shares`, `gradient_shares` and `gradient_square`.
    noise : ndarray (K,)
        σ_k.
    frames : list of Frame
        The planes.

    Returns
    -------
    dict
        Variables of a dataset; see `Curvature`. None where y has but one entry.
    """
    values = noise[:, None, None] * found["eigenvalues"]
    landscapes, problems, d = values.shape
    if d < 2:
        return {}
    gaps = np.diff(values, axis=2, append=np.nan)  # (K, B, d)
    within = np.isfinite(gaps).all(1)
    mean = np.where(within, gaps.mean(1), np.nan)
    error = mean_error(gaps.swapaxes(1, 2))
    place = np.nanargmax(mean, 1)
    picks = np.random.default_rng(0).integers(problems, size=(_DRAWS, problems))
    again = np.stack([np.nanargmax(np.where(within, gaps[:, p].mean(1), -1), 1) for p in picks])
    k = np.arange(landscapes)
    rounding = resolution(d, torch.float32) * np.nanmax(np.abs(values), (1, 2))
    told = (mean[k, place] > _TOLD * error[k, place]) & (mean[k, place] > rounding)
    overlap = np.stack(
        [found["plane_shares"][i, :, :, : p + 1].mean(2) for i, p in enumerate(place)]
    ).swapaxes(1, 2)  # (K, families, B)
    size = found["gradient_square"]
    along = np.stack([found["gradient_shares"][i, :, : p + 1].sum(1) for i, p in enumerate(place)])
    share = np.divide(along, size, out=np.full_like(size, np.nan), where=size > 0)
    variables: dict[str, Any] = {
        "gap": (("landscape", "rank"), mean, _UNIT),
        "gap_error": (("landscape", "rank"), error, _UNIT),
        "gap_rank": ("landscape", place + 1, _UNIT),
        "gap_share": ("landscape", (again == place).mean(0), _UNIT),
    }
    overlap[~told], share[~told] = np.nan, np.nan
    variables |= _mean("plane_overlap", overlap) | _mean("gradient_share", share)
    planes = families(frames)
    free = next(iter(planes.values()))[1].sum(1)
    chance = [float((plane.sum(1) / free).mean()) for _, plane in planes.values()]
    return variables | {"plane_chance": ("family", chance, _UNIT)}
