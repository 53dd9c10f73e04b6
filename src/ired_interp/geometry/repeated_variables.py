"""A history with repeats as labelled variables: chance, noise and noise-corrected overlap beside every measure."""

from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ired_interp.errors import InputError, RunError
from ired_interp.geometry.chance import Band, chance_band
from ired_interp.geometry.distances import distance_from_angles
from ired_interp.geometry.mean import karcher_mean
from ired_interp.geometry.noise import corrected_overlap
from ired_interp.geometry.repeated import ProblemHistory, RepeatedHistory
from ired_interp.geometry.trajectory import path
from ired_interp.geometry.variables import Variable


def repeated_variables(
    history: RepeatedHistory | ProblemHistory, level: float = 0.95
) -> dict[str, Variable]:
    """Everything measured in a history, as (dimensions, values, attributes), which `xarray.Dataset` takes.

    Over `snapshot`, `other`, `angle`; means over problems, where there are several with standard errors `…_error`. Two snapshots estimated from the
    same problems share noise, which makes them look alike: `overlap` and `geodesic` compare those; `overlap_independent` and
    `geodesic_independent` compare the first estimate of one with the second of the other, and on their diagonals stand `reliability` and
    `geodesic_split_half`. `overlap_corrected` is the independent overlap freed of noise (see `corrected_overlap`; standard error by jackknife).
    The chance bands hold for a mean over as many problems. Of one long subspace also `mean_distance` from the Karcher mean, and `dispersion`.
    """
    same, cross = history.angles()
    (n, p), count = history.shape, same.shape[2]
    pair, each = ("snapshot", "other"), ("snapshot",)
    result: dict[str, Variable] = {
        "label": (each, np.asarray(history.labels), {"long_name": "snapshot"}),
        "angles": _variable((*pair, "angle"), same.mean(2), "principal angles", "rad"),
    }
    independent: dict[str, Tensor] = {}
    for name, units, function in (
        ("overlap", "1", _overlap),
        ("geodesic", "rad", distance_from_angles),
    ):
        crossed = function(cross)
        independent[name] = (crossed + crossed.transpose(0, 1)) / 2
        result |= mean_and_error(name, pair, function(same), name, units)
        result |= mean_and_error(
            f"{name}_independent",
            pair,
            independent[name],
            f"{name} of independent estimates",
            units,
        )
        result[f"{name}_chance"] = _mean_band(n, p, count, name, level, units)
    result |= mean_and_error(
        "chordal", pair, distance_from_angles(same, "chordal"), "chordal distance", "1"
    )
    result["geodesic_floor"] = _variable(
        pair, history.rounding_floor(), "geodesic distance from rounding in storage alone", "rad"
    )
    result |= mean_and_error(
        "reliability",
        each,
        _diagonal(independent["overlap"]),
        "overlap with an independent repeat",
        "1",
    )
    result |= mean_and_error(
        "geodesic_split_half",
        each,
        _diagonal(independent["geodesic"]),
        "distance from an independent repeat",
        "rad",
    )
    result |= _corrected(independent["overlap"], p / n) | _travel(history)
    return (
        result | _centre(history)
        if isinstance(history, RepeatedHistory) and len(history.labels) > 1
        else result
    )


def mean_and_error(
    name: str, dims: tuple[str, ...], values: Tensor, long_name: str, units: str
) -> dict[str, Variable]:
    """Mean over problems (last dimension); with several, also its standard error."""
    result = {name: _variable(dims, values.mean(-1), long_name, units)}
    if (count := values.shape[-1]) > 1:
        error = values.std(-1) / count**0.5
        result[f"{name}_error"] = _variable(
            dims, error, f"standard error over problems: {long_name}", units
        )
    return result


def _corrected(overlap: Tensor, chance: float) -> dict[str, Variable]:
    def correct(observed: Tensor) -> Tensor:  # (m, m, …)
        reliability = _diagonal(observed)
        return corrected_overlap(observed, reliability[:, None], reliability, chance)

    pair, name = ("snapshot", "other"), "overlap freed of estimation noise"
    result = {"overlap_corrected": _variable(pair, correct(overlap.mean(-1)), name, "1")}
    if (count := overlap.shape[-1]) > 1:
        without = correct((overlap.sum(-1, keepdim=True) - overlap) / (count - 1))
        error = ((count - 1) * without.var(-1, correction=0)).sqrt()
        result["overlap_corrected_error"] = _variable(
            pair, error, f"standard error over problems: {name}", "1"
        )
    return result


def _travel(history: RepeatedHistory | ProblemHistory) -> dict[str, Variable]:
    """Speed and length, where the labels are numbers that rise or fall."""
    labels = history.labels
    if len(labels) < 2 or any(isinstance(label, str) for label in labels):
        return {}
    gaps = np.diff(np.asarray(labels, dtype=float))
    if not ((gaps > 0).all() or (gaps < 0).all()):
        return {}
    distance = distance_from_angles(history.angles()[0]).mean(-1)
    way = path(distance, torch.tensor(labels, dtype=torch.float64), history.rounding_floor())
    each = ("snapshot",)
    return {
        "speed": _variable(
            each,
            np.append(np.nan, way.speed),
            "geodesic speed, rounding removed",
            "rad per unit of label",
        ),
        "path_length": _variable(each, way.length, "path length so far, rounding removed", "rad"),
        "displacement": _variable(
            each, way.displacement, "distance from the first snapshot, rounding removed", "rad"
        ),
    }


def _centre(history: RepeatedHistory) -> dict[str, Variable]:
    """Distances from the Karcher mean and their dispersion; NaN where the snapshots are spread too far to have one."""
    try:
        mean = karcher_mean(history.coordinates())
        distances, dispersion = mean.distances, mean.dispersion
    except (InputError, RunError):
        distances, dispersion = torch.full((len(history.labels),), torch.nan), torch.nan
    return {
        "mean_distance": _variable(
            ("snapshot",),
            distances,
            "geodesic distance from the Karcher mean of all snapshots",
            "rad",
        ),
        "dispersion": _variable(
            (), dispersion, "Fréchet variance: mean squared distance from the Karcher mean", "rad²"
        ),
    }


def _overlap(angles: Tensor) -> Tensor:
    return angles.cos().square().mean(-1)


def _diagonal(values: Tensor) -> Tensor:
    return values.diagonal(dim1=0, dim2=1).movedim(-1, 0)


def _variable(dims: tuple[str, ...], values: Any, name: str, units: str) -> Variable:
    return dims, np.asarray(values), {"long_name": name, "units": units}


@cache
def _band(n: int, p: int, metric: str, level: float) -> Band:
    return chance_band(n, p, p, metric, level)


def _mean_band(n: int, p: int, count: int, metric: str, level: float, units: str) -> Variable:
    band = _band(n, p, metric, level)
    low, high = (band.mean + (end - band.mean) / count**0.5 for end in (band.low, band.high))
    name = f"chance level (mean, {level:.0%} interval) of random subspaces, mean over {count}"
    return (
        ("bound",),
        np.array([band.mean, low, high]),
        {"long_name": name, "units": units, "ambient": n},
    )
