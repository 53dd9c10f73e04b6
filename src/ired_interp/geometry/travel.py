"""How far a noisy subspace travelled: steps between frames, freed of estimation noise."""

import numpy as np
import torch
from torch import Tensor

from ired_interp.geometry.corrected import CorrectedPairs, deviations, jackknife
from ired_interp.geometry.distances import distance_from_angles


def travel(
    same: Tensor, floor: Tensor, corrected: CorrectedPairs, p: int, places: Tensor
) -> dict[str, Tensor]:
    """Find speed, path length and displacement, each with its standard error.

    Parameters
    ----------
    same : Tensor
        (m, m, B, p) principal angles of all pairs of first estimates.
    floor : Tensor
        (m, m, B) distances from rounding.
    corrected : CorrectedPairs
        Overlaps of the same pairs freed of noise.
    p : int
        Dimension of the subspaces.
    places : Tensor
        (m,) where the frames stand, strictly rising or falling.

    Returns
    -------
    dict
        ``speed`` (NaN for the first frame), ``path_length`` and ``displacement`` (m,), each also
        as ``…_error``: NaN for a single subspace without repeats.

    Notes
    -----
    A distance is √p·arccos √o of the corrected overlap o: the geodesic distance of p equal angles,
    and of all angles with that overlap the least. An overlap above 1 counts as a negative square,
    so that noise, which makes both equally likely where nothing moved, does not add up along a
    path. Without repeats it is the distance of the estimates, freed of rounding alone.
    """
    count = same.shape[2]
    if corrected.unknown:
        each = (distance_from_angles(same).square() - floor.square()).clamp(min=0)
        squares, without = each.mean(2), None
        error = torch.full_like(squares, torch.nan)
        if count > 1:
            without = (each.sum(2, keepdim=True) - each) / (count - 1)
            error = jackknife(without)
        ends = [squares + sign * error for sign in (-2, 2)]
    else:
        squares, *ends = (
            p * _squared_angle(corrected.value + scale * corrected.error) for scale in (0, -2, 2)
        )
        without = None if corrected.without is None else p * _squared_angle(corrected.without)
    found = _travelled(squares, places)
    moved = [_travelled(end, places) for end in ends]
    errors = {
        name: torch.stack([(end[name] - value).abs() for end in moved]).amax(0) / 2
        for name, value in found.items()
    }  # half the farther end of each interval, lopsided as a root makes it
    steps = squares.diagonal(offset=1)
    if without is None:
        farther = torch.stack([(end - squares).diagonal(offset=1).abs() for end in ends]).amax(0)
        spread = torch.diag_embed(farther / 2 * 2**0.5)  # neighbours correlate by up to a half
    else:
        spread = deviations(without.diagonal(offset=1).T)
    errors["path_length"][1:] = _length_error(found["path_length"][1:], steps, spread)
    return found | {f"{name}_error": values for name, values in errors.items()}


def _squared_angle(overlap: Tensor) -> Tensor:
    """Square of the angle whose cos² is an overlap, continued to negative ones beyond 1."""
    beyond = 1 - overlap
    return beyond.sign() * beyond.abs().clamp(max=1).sqrt().asin().square()


def _travelled(squares: Tensor, places: Tensor) -> dict[str, Tensor]:
    """Speed, length and displacement (m,) from squared distances (m, m)."""
    signed = squares.sign() * squares.abs().sqrt()
    steps, nothing = signed.diagonal(offset=1), signed[:1, 0] * 0
    return {
        "speed": torch.cat([nothing * torch.nan, steps / places.diff().abs()]),
        "path_length": torch.cat([nothing, steps.cumsum(0)]),
        "displacement": torch.cat([nothing, signed[0, 1:]]),
    }


def _length_error(lengths: Tensor, squares: Tensor, spread: Tensor) -> Tensor:
    """Half the farther end of the interval of each length, a sum of roots of noisy squares.

    A root is known by its square where that exceeds two standard errors. A smaller one lies between
    a chord and a tangent of the root, which are linear: unlike its own noise, what the mean root of
    noise lacks adds up along a path.

    Parameters
    ----------
    lengths, squares : Tensor
        (s,) lengths after each step, and squares of the steps.
    spread : Tensor
        (s, n) what n independent causes of noise make of each square.
    """
    resolution = 2 * spread.norm(dim=1)
    where = torch.maximum(squares, resolution).sqrt()  # chord and tangent touch the root
    known = torch.where(where > 0, where, 1.0)
    chord, slope = squares / known, torch.where(squares < resolution, 1.0, 0.5) / known
    ends = [
        values.cumsum(0) + sign * (slopes[:, None] * spread).cumsum(0).norm(dim=1)
        for values, slopes, sign in (
            (chord, slope, -2),
            ((chord + where) / 2, 0.5 / known, 2),
        )
    ]
    return torch.stack([(end - lengths).abs() for end in ends]).amax(0) / 2


def in_order(labels: list[int | float | str]) -> Tensor | None:
    """Places of frames, where their labels are numbers that rise or fall.

    Parameters
    ----------
    labels : list
        Of the frames.

    Returns
    -------
    Tensor or None
        (m,) float64.
    """
    if len(labels) < 2 or any(isinstance(label, str) for label in labels):
        return None
    places = torch.tensor(np.asarray(labels, dtype=float))
    gaps = places.diff()
    return places if (gaps > 0).all() or (gaps < 0).all() else None
