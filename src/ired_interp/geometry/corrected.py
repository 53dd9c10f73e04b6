"""Overlaps of all pairs of frames freed of estimation noise, where that can be done."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ired_interp.geometry.eigengap import student_factor
from ired_interp.geometry.noise import corrected_overlap, scatter

_UNEQUAL = 0.25  # squared variation of reliabilities, above which one number cannot stand for all


@dataclass(frozen=True)
class CorrectedPairs:
    """Overlaps freed of noise, and what made them so.

    Attributes
    ----------
    value, error : Tensor
        (m, m) corrected overlaps, with standard errors.
    without : Tensor, optional
        (m, m, B) what they are without one subspace each; None of a single one.
    unknown : bool
        Whether no frame has a repeat.
    """

    value: Tensor
    error: Tensor
    without: Tensor | None
    unknown: bool


def corrected_pairs(
    crossed: Tensor, shared: Tensor, ambient: int, p: int, chance_high: float
) -> CorrectedPairs:
    """Correct the overlaps of all pairs of frames.

    Parameters
    ----------
    crossed : Tensor
        (m, m, B) overlaps of first estimates with repeats, reliabilities on the diagonal.
    shared : Tensor
        (m, m, B) overlaps of estimates from one batch.
    ambient, p : int
        Dimensions N and p.
    chance_high : float
        Upper end of the interval of a mean reliability by chance.

    Returns
    -------
    CorrectedPairs
        NaN where a frame's mean reliability is that of chance, or the B reliabilities are so
        unequal that their mean says little of most. Errors by jackknife over the B subspaces, of a
        single one by ``corrected_overlap_error``, larger by as much as both pairings of all frames
        differ more than it expects: noise that prefers few directions scatters as in fewer
        dimensions.
    """
    independent = (crossed + crossed.transpose(0, 1)) / 2
    count, chance = independent.shape[-1], p / ambient
    each = independent.diagonal(dim1=0, dim2=1).movedim(-1, 0)  # (m, B)
    mean = each.mean(1)
    usable = mean > chance_high
    if count > 1:
        signal = ((mean - chance) / (1 - chance)).clamp(min=0).sqrt()
        entry = (1 - signal).square() / ambient
        noise = 4 * entry * (mean - chance).clamp(min=0) / p + 2 * entry.square()
        noise = noise * (1 + 2 * (2 / (count - 1)) ** 0.5)
        usable &= each.var(1) <= noise + _UNEQUAL * (mean - chance).square()
    without = None
    reliability = torch.where(usable, mean, torch.nan)
    overlap = independent.mean(-1)
    value = corrected_overlap(overlap, reliability[:, None], reliability, chance)
    if count == 1:
        variance, expected = scatter(
            overlap, reliability[:, None], reliability, shared[..., 0], ambient, p
        )
        pair, pairing = reliability[:, None], crossed[..., 0]
        seen = (corrected_overlap(pairing, pair, reliability, chance) - value) * 2
        known = seen.isfinite() & ~torch.eye(len(seen), dtype=torch.bool) & (expected > 0)
        excess = (seen.square() / expected)[known].mean() if known.any() else torch.ones(())
        error = (variance * excess.clamp(min=1)).sqrt()
    else:
        rest = reliability[:, None] + (mean[:, None] - each) / (count - 1)
        left = (independent.sum(-1, keepdim=True) - independent) / (count - 1)
        without = corrected_overlap(left, rest[:, None], rest, chance)
        error = jackknife(without)
    error = torch.where(torch.eye(len(error), dtype=torch.bool), 0 * value, error)
    return CorrectedPairs(value, error, without, bool(crossed.isnan().all()))


def jackknife(without: Tensor) -> Tensor:
    """Take the standard error of a statistic from its values (..., B) without one subspace each.

    That of 1.96 standard errors is a 95 % interval, of few subspaces too (Student's).
    """
    error: Tensor = deviations(without).norm(dim=-1)
    return error


def deviations(without: Tensor) -> Tensor:
    """Return what each of B subspaces contributes to a standard error, of the same shape.

    Errors of statistics add as these do, which tells how they correlate.
    """
    count = without.shape[-1]
    factor = ((count - 1) / count) ** 0.5 * student_factor(count)
    shares: Tensor = (without - without.mean(-1, keepdim=True)) * factor
    return shares
