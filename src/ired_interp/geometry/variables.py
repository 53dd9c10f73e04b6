"""A drift history as labelled variables, with chance and noise beside every measure."""

from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ired_interp.errors import InputError, RunError
from ired_interp.geometry.chance import Band, chance_band
from ired_interp.geometry.corrected import corrected_pairs
from ired_interp.geometry.distances import distance_from_angles
from ired_interp.geometry.eigengap import student_factor
from ired_interp.geometry.history import DriftHistory
from ired_interp.geometry.mean import karcher_mean
from ired_interp.geometry.travel import in_order, travel

Variable = tuple[tuple[str, ...], np.ndarray, dict[str, Any]]
_PAIR, _EACH = ("frame", "other"), ("frame",)


def drift_variables(history: DriftHistory, level: float = 0.95) -> dict[str, Variable]:
    """Everything measured in a drift history, for ``xarray.Dataset``.

    Two frames estimated from one batch share its noise: ``overlap`` and ``geodesic`` compare those.
    ``…_independent`` compare the first estimate of one frame with the repeat of the other, and on
    their diagonals stand ``reliability`` and ``geodesic_split_half``, estimation noise alone. All
    that needs a repeat is NaN where there is none, and all that is said of a frame whose eigengap
    cannot be told from 0: its subspace is arbitrary.

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
        subspaces, every value is a mean over them, with its standard error ``…_error``; the last
        four but one have an error in any case.

        ================================== ========= =======================================
        variable                           unit      meaning
        ================================== ========= =======================================
        label                                        of each frame
        eigengap, …_error, identified      1         gap below the subspace, of the largest
                                                     eigenvalue; whether it is above 0: of
                                                     frames that brought one
        angles                             rad       principal angles
        overlap, overlap_independent       1         ‖UᵀV‖²_F/p
        geodesic, geodesic_independent     rad       √Σθ²
        chordal                            1         √Σsin²θ
        reliability, geodesic_split_half   1, rad    a frame against its own repeat
        overlap_chance, geodesic_chance    1, rad    of random subspaces, a mean over B
        geodesic_floor                     rad       from rounding in storage alone
        overlap_corrected                  1         independent overlap freed of noise; NaN
                                                     where a reliability is that of chance
        speed                              rad/label noise removed; where labels are numbers
        path_length, displacement          rad       in strict order; of p equal angles
        mean_distance, dispersion          rad, rad² from the Karcher mean, and its mean
                                                     square; of one subspace
        dispersion_still                   rad²      what noise alone would make of it
        mean_unique                                  1 where no other Karcher mean exists
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
    arbitrary = torch.tensor([gap is not None and not gap.identified for gap in history.gaps])
    same, cross = (_known(angles, arbitrary) for angles in _all_angles(history))
    count = same.shape[2]
    result: dict[str, Variable] = {
        "label": (_EACH, np.asarray(history.labels), {"long_name": "frame"})
    } | _gaps(history)
    result |= mean_and_error(
        "angles", (*_PAIR, "angle"), same.movedim(2, -1), "principal angles", "rad"
    )
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
    floor = history.floor().reshape(*same.shape[:3])
    long_name = "geodesic distance from rounding in storage alone"
    result["geodesic_floor"] = _variable(_PAIR, floor.mean(2), long_name, "rad")
    for name, measure, long_name, units in (
        ("reliability", "overlap", "overlap with an independent repeat", "1"),
        ("geodesic_split_half", "geodesic", "distance from an independent repeat", "rad"),
    ):
        repeated = independent[measure].diagonal(dim1=0, dim2=1).movedim(-1, 0)
        result |= mean_and_error(name, _EACH, repeated, long_name, units)
    chance = _band(n, p, "overlap", level, count)
    corrected = corrected_pairs(_overlap(cross), _overlap(same), n, p, chance.high)
    for suffix, values in (("", corrected.value), ("_error", corrected.error)):
        name = "overlap freed of estimation noise"
        name = f"standard error: {name}" if suffix else name
        result[f"overlap_corrected{suffix}"] = _variable(_PAIR, values, name, "1")
    if (places := in_order(history.labels)) is not None:
        for name, moved in travel(same, floor, corrected, p, places).items():
            units = "rad per unit of label" if name.startswith("speed") else "rad"
            result[name] = _variable(
                _EACH, moved, f"{name.replace('_', ' ')}, noise removed", units
            )
    return result if batch or len(history) < 2 else result | _centre(history, bool(arbitrary.any()))


def _all_angles(history: DriftHistory) -> tuple[Tensor, Tensor]:
    """Angles (m, m, B, p) of all pairs: first with first estimates, and first with repeats."""
    shape = (len(history), len(history), -1, history.shape[-1])
    return history.angles().reshape(shape), history.independent_angles().reshape(shape)


def _known(angles: Tensor, arbitrary: Tensor) -> Tensor:
    """Leave out what is said of arbitrary subspaces."""
    angles = angles.clone()
    angles[arbitrary] = angles[:, arbitrary] = torch.nan
    return angles


def _gaps(history: DriftHistory) -> dict[str, Variable]:
    if all(gap is None for gap in history.gaps):
        return {}
    values, errors = (
        [np.nan if gap is None else getattr(gap, part) for gap in history.gaps]
        for part in ("value", "error")
    )
    identified = [gap is None or gap.identified for gap in history.gaps]
    name = "eigengap, of the largest eigenvalue"
    return {
        "eigengap": _variable(_EACH, values, name, "1"),
        "eigengap_error": _variable(_EACH, errors, f"standard error: {name}", "1"),
        "identified": (_EACH, np.array(identified), {"long_name": "eigengap above 0"}),
    }


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
        error = values.std(-1) / count**0.5 * student_factor(count)
        result[f"{name}_error"] = _variable(dims, error, f"standard error: {long_name}", units)
    return result


def _centre(history: DriftHistory, arbitrary: bool) -> dict[str, Variable]:
    """Distances from the Karcher mean and dispersion; NaN where the frames are too far apart."""
    m = len(history)
    distances, dispersion, unique = torch.full((m,), torch.nan), np.nan, np.nan
    if not arbitrary:
        try:
            mean = karcher_mean(history.coordinates())
            distances, dispersion, unique = mean.distances, mean.dispersion, float(mean.unique)
        except (InputError, RunError):
            pass
    repeats = distance_from_angles(history.independent_angles()).diagonal().square()
    still = np.nan if arbitrary else float(repeats.mean()) / 2 * (m - 1) / m
    where = "the Karcher mean of all frames"
    return {
        "mean_distance": _variable(_EACH, distances, f"geodesic distance from {where}", "rad"),
        "dispersion": _variable(
            (), dispersion, f"Fréchet variance: mean squared distance from {where}", "rad²"
        ),
        "dispersion_still": _variable((), still, "Fréchet variance of noise alone", "rad²"),
        "mean_unique": _variable((), unique, f"1 where {where} is the only one", "1"),
    }


def _overlap(angles: Tensor) -> Tensor:
    return angles.cos().square().mean(-1)


def _variable(dims: tuple[str, ...], values: Any, name: str, units: str) -> Variable:
    return dims, np.asarray(values), {"long_name": name, "units": units}


@cache
def _band(n: int, p: int, metric: str, level: float, count: int) -> Band:
    return chance_band(n, p, p, metric, level, draws=4000, count=count)


def _mean_band(n: int, p: int, count: int, metric: str, level: float, units: str) -> Variable:
    band = _band(n, p, metric, level, count)
    name = f"chance level (mean, {level:.0%} interval) of random subspaces, mean over {count}"
    attributes = {"long_name": name, "units": units, "ambient": n}
    return ("bound",), np.array([band.mean, band.low, band.high]), attributes
