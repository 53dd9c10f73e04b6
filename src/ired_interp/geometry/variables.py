"""A drift history as labelled variables, with chance, floors and units beside every measure."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ired_interp.geometry.chance import chance_band
from ired_interp.geometry.distances import distance_from_angles
from ired_interp.geometry.history import DriftHistory, Label
from ired_interp.geometry.trajectory import path

Variable = tuple[tuple[str, ...], np.ndarray, dict[str, Any]]


def drift_variables(
    history: DriftHistory, ambient: int | None = None, level: float = 0.95
) -> dict[str, Variable]:
    """Everything measured in a drift history, as (dimensions, values, attributes), which ``xarray.Dataset`` takes.

    Parameters
    ----------
    history : DriftHistory
        One or more snapshots.
    ambient : int, optional
        Dimension for the chance level: N by default; ``CountSketch.ambient`` or an effective dimension.
    level : float
        Probability inside the chance band.

    Returns
    -------
    dict
        Over the dimensions ``snapshot``, ``other`` (both in order of ``labels``) and ``angle``; the chance levels
        over ``bound`` (mean, low, high); speed and length only where all labels are numbers in strict order.

    Raises
    ------
    InputError
        If the history is empty.
    """
    angles, (n, p) = history.angles(), history.shape
    pair = ("snapshot", "other")
    geodesic = distance_from_angles(angles)
    chance = {
        metric: chance_band(ambient or n, p, p, metric, level) for metric in ("overlap", "geodesic")
    }
    band = {
        "long_name": f"chance level (mean, {level:.0%} interval) of random subspaces",
        "ambient": ambient or n,
    }

    def variable(dims: tuple[str, ...], values: Any, name: str, units: str) -> Variable:
        return dims, np.asarray(values), {"long_name": name, "units": units}

    result = {
        "label": (("snapshot",), np.asarray(history.labels), {"long_name": "snapshot"}),
        "angles": variable((*pair, "angle"), angles, "principal angles", "rad"),
        "overlap": variable(pair, history.overlap(), "overlap ‖UᵀV‖²_F/p", "1"),
        "overlap_corrected": variable(
            pair, history.corrected_overlap(ambient), "overlap freed of estimation noise", "1"
        ),
        "geodesic": variable(pair, geodesic, "geodesic distance", "rad"),
        "chordal": variable(pair, distance_from_angles(angles, "chordal"), "chordal distance", "1"),
        "geodesic_floor": variable(
            pair, history.floor(), "geodesic distance from rounding in storage alone", "rad"
        ),
        "reliability": variable(
            ("snapshot",), history.reliability(), "overlap with an independent repeat", "1"
        ),
        "geodesic_split_half": variable(
            ("snapshot",), history.split_half(), "distance from an independent repeat", "rad"
        ),
        "overlap_chance": (
            ("bound",),
            np.array(chance["overlap"])[[0, 2, 3]],
            {**band, "units": "1"},
        ),
        "geodesic_chance": (
            ("bound",),
            np.array(chance["geodesic"])[[0, 2, 3]],
            {**band, "units": "rad"},
        ),
    }
    if _ordered(history.labels):
        travel = path(geodesic, torch.tensor(history.labels, dtype=torch.float64), history.floor())
        speed = np.append(np.nan, travel.speed)
        result["speed"] = variable(
            ("snapshot",), speed, "geodesic speed, rounding removed", "rad per unit of label"
        )
        result["path_length"] = variable(
            ("snapshot",), travel.length, "path length so far, rounding removed", "rad"
        )
        result["displacement"] = variable(
            ("snapshot",),
            travel.displacement,
            "distance from the first snapshot, rounding removed",
            "rad",
        )
    return result


def _ordered(labels: Sequence[Label]) -> bool:
    if len(labels) < 2 or any(isinstance(label, str) for label in labels):
        return False
    gaps = np.diff(np.asarray(labels, dtype=float))
    return bool((gaps > 0).all() or (gaps < 0).all())
