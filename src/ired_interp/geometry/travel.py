"""How far a noisy subspace travelled: steps between frames, freed of estimation noise."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ired_interp.geometry.corrected import CorrectedPairs, jackknife
from ired_interp.geometry.distances import distance_from_angles
from ired_interp.geometry.noise import corrected_overlap


def squared_steps(
    crossed: Tensor, reliability: Tensor, chance: float, shift: Tensor | float = 0.0
) -> Tensor:
    """Squared geodesic distances of all pairs of frames, freed of estimation noise.

    Parameters
    ----------
    crossed : Tensor
        (m, m, ..., p) principal angles between the row's first estimate and the column's repeat.
    reliability : Tensor
        (m, ...) overlap of each frame with its own repeat.
    chance : float
        Overlap p/N of random subspaces.
    shift : Tensor or float
        (m, m, ...) to be added to every corrected cos².

    Returns
    -------
    Tensor
        (m, m, ...) radians², symmetric: Σθ² over angles whose cos² is corrected as the overlap is.
        Where nothing moved, positive and negative values are equally likely (a cos² above 1 counts
        as a negative square), so that noise does not add up along a path.
    """
    squares = corrected_overlap(
        crossed.cos().square(), reliability[:, None, ..., None], reliability[..., None], chance
    )
    beyond = 1 - squares - torch.as_tensor(shift)[..., None]
    angles = beyond.abs().clamp(max=1).sqrt().asin()
    steps = (beyond.sign() * angles.square()).sum(-1)
    return (steps + steps.transpose(0, 1)) / 2


def travel(
    same: Tensor,
    crossed: Tensor,
    floor: Tensor,
    corrected: CorrectedPairs,
    chance: float,
    places: Tensor,
) -> dict[str, Tensor]:
    """Speed, path length and displacement, each with its standard error.

    Parameters
    ----------
    same, crossed : Tensor
        (m, m, B, p) principal angles of all pairs, first with first estimates and with repeats.
    floor : Tensor
        (m, m, B) distances from rounding.
    corrected : CorrectedPairs
        Overlaps of the same pairs freed of noise.
    chance : float
        Overlap p/N of random subspaces.
    places : Tensor
        (m,) where the frames stand, strictly rising or falling.

    Returns
    -------
    dict
        ``speed`` (NaN for the first frame), ``path_length`` and ``displacement`` (m,), each also
        as ``…_error``: NaN for a single subspace without repeats.
    """
    count = same.shape[2]
    if crossed.isnan().all():
        each = (distance_from_angles(same).square() - floor.square()).clamp(min=0)
        squares = each.mean(2)
        error = each.std(2) / count**0.5 if count > 1 else torch.full_like(squares, torch.nan)
        ends = [squares + sign * error for sign in (-2, 2)]
    elif count > 1:
        each = squared_steps(crossed, corrected.reliability[:, None], chance)
        squares, left = each.mean(2), squared_steps_left_out(crossed, corrected.without, chance)
        ends = [squares + sign * jackknife(left) for sign in (-2, 2)]
    else:
        shifts = (0.0, -2 * corrected.error[..., None], 2 * corrected.error[..., None])
        squares, *ends = (
            squared_steps(crossed, corrected.reliability[:, None], chance, shift).mean(2)
            for shift in shifts
        )
    found = _travelled(squares, places)
    errors = _errors(found, [_travelled(end, places) for end in ends])
    return found | {f"{name}_error": values for name, values in errors.items()}


def squared_steps_left_out(crossed: Tensor, without: Tensor, chance: float) -> Tensor:
    """Mean squared distances (m, m, B) without one subspace each, as `squared_steps` has them.

    Parameters
    ----------
    crossed : Tensor
        (m, m, B, p).
    without : Tensor
        (m, B) reliabilities without one subspace each.
    chance : float
        Overlap p/N of random subspaces.

    Returns
    -------
    Tensor
        (m, m, B).
    """
    count = crossed.shape[2]
    means = []
    for i in range(count):
        kept = torch.arange(count) != i
        steps = squared_steps(crossed[:, :, kept], without[:, i : i + 1], chance)
        means.append(steps.mean(2))
    return torch.stack(means, -1)


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
    half["path_length"] = torch.cat([steps.new_zeros(1), (2 * steps.square().cumsum(0)).sqrt()])
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
