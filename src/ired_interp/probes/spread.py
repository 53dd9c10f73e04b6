"""Standard errors over problems."""

from collections.abc import Callable

import numpy as np

_GROUPS = 32  # left out in turn, where there are more problems


def mean_error(values: np.ndarray) -> np.ndarray:
    """Take the standard error of a mean over the last axis; NaN of a single value."""
    count = values.shape[-1]
    if count < 2:
        return np.full(values.shape[:-1], np.nan)
    error: np.ndarray = values.std(-1, ddof=1) / np.sqrt(count)
    return error


def jackknife_error(without: np.ndarray) -> np.ndarray:
    """Take the standard error from leave-one-out values (..., B); NaN of a single one."""
    count = without.shape[-1]
    if count < 2:
        return np.full(without.shape[:-1], np.nan)
    with np.errstate(invalid="ignore"):
        error: np.ndarray = np.sqrt((count - 1) * without.var(-1))
    return error


def ratio_of_means(above: np.ndarray, below: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Divide sums over the last axis, with the jackknife's standard error."""
    tops, bottoms = above.sum(-1), below.sum(-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        without = (tops[..., None] - above) / (bottoms[..., None] - below)
        return tops / bottoms, jackknife_error(without)


def left_out(count: int) -> list[np.ndarray]:
    """Make the index sets of a delete-a-group jackknife: each leaves out one group of problems.

    Parameters
    ----------
    count : int
        B, at least 2.

    Returns
    -------
    list of ndarray
        At most 32 sets of the problems kept, equal in size but for one.
    """
    groups = np.array_split(np.arange(count), min(count, _GROUPS))
    return [np.setdiff1d(np.arange(count), group) for group in groups]


def bootstrap_errors(
    values: np.ndarray,
    statistics: Callable[[np.ndarray], dict[str, np.ndarray]],
    axis: int,
    draws: int = 200,
) -> dict[str, np.ndarray]:
    """Take the standard errors of statistics by resampling problems.

    Parameters
    ----------
    values : ndarray
        What is measured, with problems along `axis`.
    statistics : callable
        Maps such an array to named statistics.
    axis : int
        Of the problems.
    draws : int
        Resamples, by a generator of their own.

    Returns
    -------
    dict of str to ndarray
        NaN for a single problem.
    """
    count, rng = values.shape[axis], np.random.default_rng(0)
    drawn = [statistics(values.take(rng.integers(count, size=count), axis)) for _ in range(draws)]
    # Resamples of B problems scatter by √((B − 1)/B) of what the problems do.
    scale = np.sqrt(count / (count - 1)) if count > 1 else np.nan
    return {name: scale * np.std([d[name] for d in drawn], axis=0) for name in drawn[0]}
