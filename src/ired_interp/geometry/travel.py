"""How far a noisy subspace travelled: steps between frames, freed of estimation noise."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ired_interp.geometry.corrected import CorrectedPairs, jackknife
from ired_interp.geometry.distances import distance_from_angles
from ired_interp.geometry.noise import corrected_overlap


def squared_distances(
    crossed: tuple[Tensor, Tensor],
    reliabilities: tuple[Tensor, Tensor],
    chance: float,
    shift: Tensor | float = 0.0,
) -> Tensor:
    """Squared geodesic distances of pairs of subspaces, freed of estimation noise.

    Parameters
    ----------
    crossed : tuple of Tensor
        (..., p) principal angles, of the first estimate of one with the repeat of the other, and
        the other way round.
    reliabilities : tuple of Tensor
        (...) overlap of each subspace with its own repeat.
    chance : float
        Overlap p/N of random subspaces.
    shift : Tensor or float
        (...) to be added to every corrected cos².

    Returns
    -------
    Tensor
        (...) radians²: Σθ² over angles whose cos² is corrected as the overlap is, mean over both.
        Where nothing moved, positive and negative values are equally likely (a cos² above 1 counts
        as a negative square), so that noise does not add up along a path.
    """
    first, second = (part[..., None] for part in reliabilities)
    squares = []
    for angles in crossed:
        inside = corrected_overlap(angles.cos().square(), first, second, chance)
        beyond = 1 - inside - torch.as_tensor(shift)[..., None]
        theta = beyond.abs().clamp(max=1).sqrt().asin()
        squares.append((beyond.sign() * theta.square()).sum(-1))
    return (squares[0] + squares[1]) / 2


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
    m, _, count, _ = same.shape
    # Each frame with the one before it, and all with the first.
    i = torch.cat([torch.arange(m - 1), torch.zeros(m, dtype=torch.int64)])
    j = torch.cat([torch.arange(1, m), torch.arange(m)])
    pairs, known = (crossed[i, j], crossed[j, i]), corrected.reliability
    if crossed.isnan().all():
        each = (distance_from_angles(same[i, j]).square() - floor[i, j].square()).clamp(min=0)
        squares = each.mean(1)
        error = each.std(1) / count**0.5 if count > 1 else torch.full_like(squares, torch.nan)
        ends = [squares + sign * error for sign in (-2, 2)]
    elif count > 1:
        one = known[i, None], known[j, None]
        squares = squared_distances(pairs, one, chance).mean(1)
        left = []
        for b in range(count):
            kept = torch.arange(count) != b
            part = (pairs[0][:, kept], pairs[1][:, kept])
            rest = corrected.without[i, b, None], corrected.without[j, b, None]
            left.append(squared_distances(part, rest, chance).mean(1))
        error = jackknife(torch.stack(left, -1))
        ends = [squares + sign * error for sign in (-2, 2)]
    else:
        one = known[i, None], known[j, None]
        error = corrected.error[i, j][:, None]
        squares, *ends = (
            squared_distances(pairs, one, chance, scale * error).mean(1) for scale in (0, -2, 2)
        )
    found = _travelled(squares, places)
    errors = _errors(found, [_travelled(end, places) for end in ends])
    return found | {f"{name}_error": values for name, values in errors.items()}


def _travelled(squares: Tensor, places: Tensor) -> dict[str, Tensor]:
    """Speed, length and displacement (m,) from m − 1 squared steps and m squared displacements."""
    m = len(places)
    steps, displacement = (squares.sign() * squares.abs().sqrt()).split([m - 1, m])
    nothing = displacement[:1] * 0
    return {
        "speed": torch.cat([nothing * torch.nan, steps / places.diff().abs()]),
        "path_length": torch.cat([nothing, steps.cumsum(0)]),
        "displacement": torch.cat([nothing, displacement[1:]]),
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
