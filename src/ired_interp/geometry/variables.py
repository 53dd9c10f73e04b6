"""A drift history as labelled variables, with chance and noise beside every measure."""

from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ired_interp.errors import InputError, RunError
from ired_interp.geometry.chance import Band, chance_band
from ired_interp.geometry.distances import distance_from_angles
from ired_interp.geometry.history import DriftHistory
from ired_interp.geometry.mean import karcher_mean
from ired_interp.geometry.noise import corrected_overlap
from ired_interp.geometry.trajectory import path

Variable = tuple[tuple[str, ...], np.ndarray, dict[str, Any]]
_PAIR, _EACH = ("frame", "other"), ("frame",)


def drift_variables(history: DriftHistory, level: float = 0.95) -> dict[str, Variable]:
    """Everything measured in a drift history, for ``xarray.Dataset``.

    Two frames estimated from one batch share its noise: ``overlap`` and ``geodesic`` compare those.
    ``…_independent`` compare the first estimate of one frame with the repeat of the other, and on
    their diagonals stand ``reliability`` and ``geodesic_split_half``, estimation noise alone. All
    that needs a repeat is NaN where there is none.

    Parameters
    ----------
    history : DriftHistory
        One or more frames.
    level : float
        Probability inside the chance bands.

    Returns
    -------
    dict
        Name → (dimensions, values, attributes). Dimensions are ``frame`` and ``other``, both in
        order of the labels, ``angle``, and ``bound`` (mean, low, high). Where a frame holds B
        subspaces, every value is a mean over them, with its standard error ``…_error``.

        ================================== ========= =======================================
        variable                           unit      meaning
        ================================== ========= =======================================
        label                                        of each frame
        angles                             rad       principal angles
        overlap, overlap_independent       1         ‖UᵀV‖²_F/p
        geodesic, geodesic_independent     rad       √Σθ²
        chordal                            1         √Σsin²θ
        overlap_corrected                  1         independent overlap freed of noise
        reliability, geodesic_split_half   1, rad    a frame against its own repeat
        overlap_chance, geodesic_chance    1, rad    of random subspaces, a mean over B
        geodesic_floor                     rad       from rounding in storage alone
        speed                              rad/label floor removed; where labels are numbers
        path_length, displacement          rad       in strict order
        mean_distance, dispersion          rad, rad² from the Karcher mean, and its mean
                                                     square; of one subspace
        ================================== ========= =======================================

    Raises
    ------
    InputError
        If the history is empty.

    Examples
    --------
    >>> import torch
    >>> history = DriftHistory()
    >>> for step in (0, 10):
    ...     history.append(step, torch.eye(6)[:, step // 10 : 2 + step // 10])
    >>> dims, overlap, attributes = drift_variables(history)["overlap"]
    >>> dims, overlap.tolist(), attributes["units"]
    (('frame', 'other'), [[1.0, 0.5], [0.5, 1.0]], '1')
    """
    *batch, n, p = history.shape
    same, cross = history.angles(), history.independent_angles()
    if not batch:
        same, cross = same[:, :, None], cross[:, :, None]
    count = same.shape[2]
    result: dict[str, Variable] = {
        "label": (_EACH, np.asarray(history.labels), {"long_name": "frame"}),
        "angles": _variable((*_PAIR, "angle"), same.mean(2), "principal angles", "rad"),
    }
    independent: dict[str, Tensor] = {}
    for name, units, function in (
        ("overlap", "1", _overlap),
        ("geodesic", "rad", distance_from_angles),
    ):
        crossed = function(cross)
        independent[name] = (crossed + crossed.transpose(0, 1)) / 2
        result |= mean_and_error(name, _PAIR, function(same), name, units)
        long_name = f"{name} of independent estimates"
        result |= mean_and_error(f"{name}_independent", _PAIR, independent[name], long_name, units)
        result[f"{name}_chance"] = _mean_band(n, p, count, name, level, units)
    chordal = distance_from_angles(same, "chordal")
    result |= mean_and_error("chordal", _PAIR, chordal, "chordal distance", "1")
    floor = history.floor().reshape(*same.shape[:3]).mean(2)
    long_name = "geodesic distance from rounding in storage alone"
    result["geodesic_floor"] = _variable(_PAIR, floor, long_name, "rad")
    for name, measure, long_name, units in (
        ("reliability", "overlap", "overlap with an independent repeat", "1"),
        ("geodesic_split_half", "geodesic", "distance from an independent repeat", "rad"),
    ):
        repeated = _diagonal(independent[measure])
        result |= mean_and_error(name, _EACH, repeated, long_name, units)
    result |= _corrected(independent["overlap"], p / n)
    result |= _travel(history, distance_from_angles(same).mean(2), floor)
    return result if batch or len(history) < 2 else result | _centre(history)


def mean_and_error(
    name: str, dims: tuple[str, ...], values: Tensor, long_name: str, units: str
) -> dict[str, Variable]:
    """Mean over subspaces, and its standard error where there are several.

    Parameters
    ----------
    name : str
        Of the variable; the error is called ``…_error``.
    dims : tuple of str
        Dimensions of the mean.
    values : torch.Tensor
        (..., B), one value a subspace.
    long_name, units : str
        What it is, and its unit.

    Returns
    -------
    dict
        Name → (dimensions, values, attributes).
    """
    result = {name: _variable(dims, values.mean(-1), long_name, units)}
    if (count := values.shape[-1]) > 1:
        error = values.std(-1) / count**0.5
        result[f"{name}_error"] = _variable(dims, error, f"standard error: {long_name}", units)
    return result


def _corrected(overlap: Tensor, chance: float) -> dict[str, Variable]:
    def correct(observed: Tensor) -> Tensor:  # (m, m, …)
        reliability = _diagonal(observed)
        return corrected_overlap(observed, reliability[:, None], reliability, chance)

    name = "overlap freed of estimation noise"
    result = {"overlap_corrected": _variable(_PAIR, correct(overlap.mean(-1)), name, "1")}
    if (count := overlap.shape[-1]) > 1:  # by jackknife
        without = correct((overlap.sum(-1, keepdim=True) - overlap) / (count - 1))
        error = ((count - 1) * without.var(-1, correction=0)).sqrt()
        result["overlap_corrected_error"] = _variable(_PAIR, error, f"standard error: {name}", "1")
    return result


def _travel(history: DriftHistory, distance: Tensor, floor: Tensor) -> dict[str, Variable]:
    """Speed and length, where the labels are numbers that rise or fall."""
    labels = history.labels
    if len(labels) < 2 or any(isinstance(label, str) for label in labels):
        return {}
    places = torch.tensor([float(label) for label in labels], dtype=torch.float64)
    gaps = places.diff()
    if not ((gaps > 0).all() or (gaps < 0).all()):
        return {}
    way = path(distance, places, floor)
    speed = np.append(np.nan, way.speed)
    removed = "rounding removed"
    return {
        "speed": _variable(_EACH, speed, f"geodesic speed, {removed}", "rad per unit of label"),
        "path_length": _variable(_EACH, way.length, f"path length so far, {removed}", "rad"),
        "displacement": _variable(
            _EACH, way.displacement, f"distance from the first frame, {removed}", "rad"
        ),
    }


def _centre(history: DriftHistory) -> dict[str, Variable]:
    """Distances from the Karcher mean and dispersion; NaN where the frames are too far apart."""
    try:
        mean = karcher_mean(history.coordinates())
        distances, dispersion = mean.distances, mean.dispersion
    except (InputError, RunError):
        distances, dispersion = torch.full((len(history),), torch.nan), torch.nan
    where = "the Karcher mean of all frames"
    return {
        "mean_distance": _variable(_EACH, distances, f"geodesic distance from {where}", "rad"),
        "dispersion": _variable(
            (), dispersion, f"Fréchet variance: mean squared distance from {where}", "rad²"
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
    attributes = {"long_name": name, "units": units, "ambient": n}
    return ("bound",), np.array([band.mean, low, high]), attributes
