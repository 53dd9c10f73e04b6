"""How far a noisy subspace travelled: steps between frames, freed of estimation noise."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ired_interp.geometry.corrected import CorrectedPairs
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
        squares = each.mean(2)
        error = each.std(2) / count**0.5 if count > 1 else torch.full_like(squares, torch.nan)
        ends = [squares + sign * error for sign in (-2, 2)]
    else:
        squares, *ends = (
            p * _squared_angle(corrected.value + scale * corrected.error) for scale in (0, -2, 2)
        )
    found = _travelled(squares, places)
    errors = _errors(found, [_travelled(end, places) for end in ends])
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


def _errors(found: dict[str, Tensor], ends: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Half the farther end of each interval of two standard errors, lopsided as a root makes it.

    Neighbouring steps share a frame, so that their errors correlate by up to a half: variances of
    steps add up twice.
    """
    half = {
        name: torch.stack([(end[name] - value).abs() for end in ends]).amax(0) / 2
        for name, value in found.items()
    }
    lengths = [end["path_length"] - found["path_length"] for end in ends]
    steps = torch.stack([length.diff().abs() for length in lengths]).amax(0) / 2
    total = (2 * steps.square().cumsum(0)).sqrt()
    half["path_length"] = torch.cat([half["path_length"][:1], total])
    return half


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
