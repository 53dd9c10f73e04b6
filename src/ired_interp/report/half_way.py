"""The landscape at which a quantity comes half-way from chance to what it ends at."""

from typing import NamedTuple

import numpy as np

DRAWS = 1000  # resamples


class Passing(NamedTuple):
    """Where a quantity passes half-way.

    Attributes
    ----------
    k : float
        In landscapes, between two of them by a straight line; the smoothest where it is past in
        all; NaN where it does not change.
    low, high : float
        Ends of its 95 % interval; NaN where nothing is known of the scatter.
    """

    k: float
    low: float
    high: float


def passing(
    landscapes: np.ndarray,
    values: np.ndarray,
    draws: np.ndarray,
    chance: np.ndarray,
    sign: int = 0,
) -> Passing:
    """Find from which landscape on a quantity stays past half of its change.

    Parameters
    ----------
    landscapes : ndarray (K,)
        k, ascending: from the sharpest to the smoothest.
    values : ndarray (K,)
        The quantity; where it is NaN it is left out.
    draws : ndarray (D, K)
        The same, resampled.
    chance : ndarray (K,)
        What it is without knowledge; where it is NaN in the smoothest landscape, the change is
        counted from the quantity's own value there.
    sign : int
        Of changes that count: 1, −1, or 0 for both.

    Returns
    -------
    Passing
        NaN throughout where no change of that sign stands above its 95 % interval.

    Examples
    --------
    >>> k = np.arange(5)
    >>> sure = np.array([1.0, 1.0, 0.75, 0.25, 0.0])
    >>> passing(k, sure, np.tile(sure, (9, 1)), np.zeros(5)).k
    2.5
    """
    there = np.isfinite(values)
    k, values, draws, chance = landscapes[there], values[there], draws[:, there], chance[there]
    if len(k) < 2:
        return Passing(np.nan, np.nan, np.nan)
    rows = np.concatenate([values[None], draws])
    start = rows[:, -1:] if np.isnan(chance[-1]) else chance[None]
    gone = rows - start
    change = gone[:, 0]
    low, high = np.quantile(change[1:], [0.025, 0.975])
    if change[0] == 0 or low <= 0 <= high or change[0] * sign < 0:
        return Passing(np.nan, np.nan, np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        past = gone / change[:, None] - 0.5
    found = _crossings(k, past)
    if not np.isfinite(found[1:]).all():
        return Passing(float(found[0]), np.nan, np.nan)
    low, high = np.quantile(found[1:], [0.025, 0.975])
    return Passing(float(found[0]), float(min(low, found[0])), float(max(high, found[0])))


def _crossings(k: np.ndarray, past: np.ndarray) -> np.ndarray:
    """Find in each row the zero nearest to the first of k, where all are above; the last k without.

    NaN of a row that is not finite.
    """
    below = past < 0
    i = np.maximum(below.argmax(1), 1)
    row = np.arange(len(past))
    with np.errstate(invalid="ignore", divide="ignore"):
        share = past[row, i - 1] / (past[row, i - 1] - past[row, i])
    found = np.where(below.any(1), k[i - 1] + share * (k[i] - k[i - 1]), float(k[-1]))
    return np.where(np.isfinite(past).all(1), found, np.nan)


def halves_of_mean(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Take ratios of sums over random halves of the problems, which scatter as that over all does.

    Parameters
    ----------
    above, below : ndarray (K, B)
        Of single problems; what is NaN in either counts for nothing.

    Returns
    -------
    ndarray (D, K)
        NaN of a single problem.
    """
    count = above.shape[1]
    if count < 2:
        return np.full((DRAWS, len(above)), np.nan)
    known = np.isfinite(above) & np.isfinite(below)
    order = np.random.default_rng(0).permuted(np.tile(np.arange(count), (DRAWS, 1)), axis=1)
    chosen = (order < count // 2).astype(float)
    top, bottom = (chosen @ np.where(known, part, 0.0).T for part in (above, below))
    with np.errstate(invalid="ignore", divide="ignore"):
        drawn: np.ndarray = top / bottom
    return drawn


def mean_of_runs(draws: np.ndarray) -> np.ndarray:
    """Take means (D, K) of resampled curves (R, D, K) of R runs, themselves drawn again.

    Of several runs R − 1 are drawn, whose means scatter as those of all do.

    References
    ----------
    Rao and Wu, "Resampling inference with complex survey data", JASA 83, 1988.
    """
    runs, count = draws.shape[:2]
    picks = np.random.default_rng(1).integers(runs, size=(count, max(runs - 1, 1)))
    drawn: np.ndarray = draws[picks, np.arange(count)[:, None]].mean(1)
    return drawn
