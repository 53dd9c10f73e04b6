"""Overlap of noisy estimates, freed of the noise."""

import torch

from ired_interp.geometry.arrays import Array, as_tensor, in_kind


def corrected_overlap(
    observed: Array, reliability: Array, other_reliability: Array, chance: float = 0.0
) -> Array:
    """Overlap of two subspaces, freed of the noise in their estimates by split halves.

    Parameters
    ----------
    observed : torch.Tensor or numpy.ndarray
        Overlap of the two estimates.
    reliability, other_reliability : torch.Tensor or numpy.ndarray
        Split-half overlap of each subspace: of two estimates of it from independent batches, each
        as large as the batch behind the estimate in ``observed``.
    chance : float
        Overlap p/N of random subspaces.

    Returns
    -------
    torch.Tensor or numpy.ndarray
        c + (o − c)(1 − c)/√((r − c)(r′ − c)), not clipped: it scatters around the truth, beyond 1
        too. NaN where a reliability does not exceed chance: then the estimate holds nothing of its
        subspace.

    Notes
    -----
    Noise without preferred direction pulls the mean projector towards the identity: E P̂ = s P + (1
    − s) c I. Independent estimates then have E r = c + s²(1 − c) and E o = c + s s′(o_true − c),
    which is solved for o_true. With c = 0 this is Spearman's correction for attenuation, o/√(r r′).

    Examples
    --------
    >>> import torch
    >>> from ired_interp.geometry import corrected_overlap
    >>> corrected_overlap(torch.tensor(0.3), torch.tensor(0.5), torch.tensor(0.5))
    tensor(0.6000, dtype=torch.float64)
    """
    o, s, s_other = _signals(observed, reliability, other_reliability, chance)
    return in_kind(chance + (o - chance) / (s * s_other), observed)


def corrected_overlap_error(
    observed: Array,
    reliability: Array,
    other_reliability: Array,
    shared: Array,
    ambient: int,
    p: int,
) -> Array:
    """Find the standard error of the corrected overlap of two subspaces, each estimated twice.

    Parameters
    ----------
    observed, reliability, other_reliability : torch.Tensor or numpy.ndarray
        As ``corrected_overlap`` takes them, ``observed`` the mean of both pairings of a first with
        a second estimate.
    shared : torch.Tensor or numpy.ndarray
        Overlap of the first estimates, from one batch: how much noise they share.
    ambient, p : int
        Dimensions N and p of space and subspaces.

    Returns
    -------
    torch.Tensor or numpy.ndarray
        Of the same shape; NaN where the correction is.

    Notes
    -----
    To first order, for noise without preferred direction: an estimate is U + E with independent
    entries of E of variance ν/N, ν = (1 − s)/s, and the noise of a batch in two frames correlates
    by κ. With C² the corrected overlap, the cosines then scatter with variance
    τ² = {½(1 − C²)(ν + ν′ − 2κC√(νν′)) + ½(1 + κ²)νν′ − κC√(νν′)(ν + ν′) + ¼C²(ν² + ν′² +
    2κ²νν′)}/N, and the overlap with 4C²τ²/p + 4τ⁴. Where subspaces belong to single problems,
    prefer the scatter over problems.

    Examples
    --------
    >>> import torch
    >>> from ired_interp.geometry import corrected_overlap_error
    >>> o, r = torch.tensor(0.3), torch.tensor(0.5)
    >>> corrected_overlap_error(o, r, r, o, ambient=1000, p=2).round(decimals=3)
    tensor(0.0190, dtype=torch.float64)
    """
    o, r, r_other, same = (
        as_tensor(value, "overlap", ndim=0).double()
        for value in (observed, reliability, other_reliability, shared)
    )
    variance, _ = scatter(o, r, r_other, same, ambient, p)
    return in_kind(variance.sqrt(), observed)


def scatter(
    observed: torch.Tensor,
    reliability: torch.Tensor,
    other: torch.Tensor,
    shared: torch.Tensor,
    ambient: int,
    p: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Find the variance of the corrected overlap, and of the difference of its two pairings.

    Parameters
    ----------
    observed, reliability, other, shared, ambient, p
        As ``corrected_overlap_error`` takes them.

    Returns
    -------
    tuple of torch.Tensor
        Both of the corrected overlap; the second can be seen, the first is what it tells.
    """
    chance = p / ambient
    o, s, t = _signals(observed, reliability, other, chance)
    square = (chance + (o - chance) / (s * t)).clamp(0, 1)
    first, second = ((1 - share.clamp(max=1)) / share for share in (s, t))
    both, cosine = (first * second).sqrt(), square.sqrt()
    seen = (shared - chance) / (s * t)
    excess = seen.clamp(min=0).sqrt() - cosine
    k = torch.where(both > 0, excess / both, 0.0).clamp(0, 1)
    linear = (1 - square) * (first + second - 2 * k * cosine * both) / 2
    mixed = (1 + k**2) * both**2 / 2 - k * cosine * both * (first + second)
    scale = square * (first**2 + second**2 + 2 * k**2 * both**2) / 4
    cosines = (linear + mixed + scale).clamp(min=0) / ambient
    random = ((first + second + both**2) / ambient).square()
    apart = 2 * (1 - square) * (first + second + 2 * k * cosine * both)
    apart = (apart + 2 * both**2 * (1 - k**2)) / ambient
    return (
        4 * square * cosines / p + 4 * cosines.square(),
        4 * square * apart / p + 4 * random * (1 - k**2),
    )


def _signals(
    observed: Array, reliability: Array, other_reliability: Array, chance: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Observed overlap and both s, the share of an estimate that is signal; NaN where none is."""
    o, r, r_other = (
        as_tensor(value, name, ndim=0).double()
        for value, name in (
            (observed, "observed"),
            (reliability, "reliability"),
            (other_reliability, "reliability"),
        )
    )
    above = ((value - chance) / (1 - chance) for value in (r, r_other))
    s, s_other = (torch.where(value > 0, value, torch.nan).sqrt() for value in above)
    return o, s, s_other
