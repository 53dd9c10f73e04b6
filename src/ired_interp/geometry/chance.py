"""What random subspaces look like: the exact null distribution of principal angles."""

import math
from typing import NamedTuple

import numpy as np
import torch

from ired_interp.errors import InputError
from ired_interp.geometry.distances import distance_from_angles


class Band(NamedTuple):
    """What a statistic is under chance.

    Attributes
    ----------
    mean, sd : float
        Mean and standard deviation.
    low, high : float
        Ends of the central interval.
    """

    mean: float
    sd: float
    low: float
    high: float


def _check_dimensions(ambient: int, p: int, q: int) -> None:
    if not (1 <= p <= ambient and 1 <= q <= ambient):
        raise InputError(
            f"planes of dimensions {p} and {q} in R^{ambient}: both must lie between 1 and "
            f"{ambient}."
        )


def chance_overlap(ambient: int, p: int, q: int) -> tuple[float, float]:
    """Mean and standard deviation of the overlap of random planes, in closed form.

    The overlap is ‖QᵤᵀQᵥ‖²_F/p of uniformly random p- and q-planes.

    Parameters
    ----------
    ambient : int
        Dimension N of the space.
    p, q : int
        Dimensions of the planes.

    Returns
    -------
    tuple of float
        q/N and √(2pq(N−p)(N−q) / (N²(N−1)(N+2))) / p.

    Raises
    ------
    InputError
        If a plane does not fit in the space.

    Notes
    -----
    Moments of the trace of a matrix-variate Beta(p/2, (N−p)/2): Muirhead, "Aspects of Multivariate
    Statistical Theory", 1982, section 3.3.

    Examples
    --------
    >>> from ired_interp.geometry import chance_overlap
    >>> mean, sd = chance_overlap(1000, 5, 5)
    >>> round(mean, 4), round(sd, 4)
    (0.005, 0.0014)
    """
    _check_dimensions(ambient, p, q)
    if ambient == 1:
        return 1.0, 0.0
    n = ambient
    return q / n, math.sqrt(2 * p * q * (n - p) * (n - q) / (n**2 * (n - 1) * (n + 2))) / p


def chance_angles(ambient: int, p: int, q: int, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Draw principal angles of uniformly random planes exactly, at a cost independent of N.

    Parameters
    ----------
    ambient : int
        Dimension N of the space.
    p, q : int
        Dimensions of the planes.
    draws : int
        Number of independent pairs.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    numpy.ndarray
        (draws, min(p, q)) radians, ascending.

    Raises
    ------
    InputError
        If a plane does not fit in the space.

    Notes
    -----
    One plane may be the first max(p, q) coordinates; the other is spanned by an N × k Gaussian
    matrix, k = min(p, q). Its top and bottom rows are replaced by triangular factors of the same
    Gram matrices (Bartlett's decomposition of a Wishart matrix), which leaves cosines and sines as
    the singular values of two k × k blocks of an orthonormal matrix.

    Examples
    --------
    >>> import numpy as np
    >>> from ired_interp.geometry import chance_angles
    >>> angles = chance_angles(10**6, 2, 3, draws=500, rng=np.random.default_rng(0))
    >>> angles.shape, bool(angles.min() > 1.56)  # nearly right angles
    ((500, 2), True)
    """
    _check_dimensions(ambient, p, q)
    k, fixed = min(p, q), max(p, q)
    top, bottom = (_wishart_factor(dof, k, draws, rng) for dof in (fixed, ambient - fixed))
    basis = torch.linalg.qr(torch.from_numpy(np.concatenate([top, bottom], axis=1))).Q
    cosines = torch.linalg.svdvals(basis[:, :k])
    sines = torch.zeros_like(cosines)
    if bottom.shape[1]:
        found = torch.linalg.svdvals(basis[:, k:]).flip(-1)
        sines[:, k - found.shape[1] :] = found
    return torch.atan2(sines, cosines).numpy()


def _wishart_factor(dof: int, k: int, draws: int, rng: np.random.Generator) -> np.ndarray:
    """F with FᵀF ~ Wishart_k(dof): (draws, min(dof, k), k)."""
    rows = min(dof, k)
    factor = rng.standard_normal((draws, rows, k))
    if dof > k:
        factor = np.triu(factor, 1)
        diagonal = np.arange(k)
        factor[:, diagonal, diagonal] = np.sqrt(rng.chisquare(dof - diagonal, size=(draws, k)))
    return factor


def chance_band(
    ambient: int,
    p: int,
    q: int,
    metric: str = "overlap",
    level: float = 0.95,
    draws: int = 2000,
    rng: np.random.Generator | None = None,
    count: int = 1,
) -> Band:
    """Chance level of the overlap, or of a distance, of random p- and q-planes in R^N.

    Parameters
    ----------
    ambient : int
        Dimension N of the space, all directions of which are equally likely. For coordinates of
        unequal scale there is no N that stands for them (the participation ratio of their variances
        is right for p = 1 alone): draw planes of those variances.
    p, q : int
        Dimensions of the planes.
    metric : str
        ``overlap`` or a key of ``METRICS``.
    level : float
        Probability inside the central interval.
    draws : int
        Samples behind the interval (and behind mean and sd, except for the overlap, whose moments
        are exact).
    rng : numpy.random.Generator, optional
        Source of randomness; by default one seeded with 0, so that bands are reproducible.
    count : int
        Of independent pairs whose mean the band is for.

    Returns
    -------
    Band
        mean, sd, low, high.

    Raises
    ------
    InputError
        If a plane does not fit in the space, the metric is unknown, ``level`` is not between 0 and
        1, or there is no pair.

    Notes
    -----
    Means of several pairs are resampled from the draws: their distribution is skewed where N or the
    count is small, which the square root of the count would not tell.

    Examples
    --------
    >>> from ired_interp.geometry import chance_band
    >>> band = chance_band(1000, 5, 5)
    >>> band.low < band.mean < band.high < 0.01
    True
    """
    if not 0 < level < 1:
        raise InputError(
            f"level is {level}; a probability between 0 and 1 is expected, for example 0.95."
        )
    if count < 1:
        raise InputError(f"a mean of {count} pairs; expected at least 1.")
    rng = rng or np.random.default_rng(0)
    angles = chance_angles(ambient, p, q, draws, rng)
    if metric == "overlap":
        values = np.square(np.cos(angles)).sum(-1) / p
        mean, sd = chance_overlap(ambient, p, q)
    else:
        values = distance_from_angles(angles, metric)
        mean, sd = float(values.mean()), float(values.std(ddof=1))
    if count > 1:
        values = rng.choice(values, (draws, count)).mean(1)
        values, sd = values + (mean - values.mean()), sd / count**0.5
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Band(mean, sd, float(low), float(high))
