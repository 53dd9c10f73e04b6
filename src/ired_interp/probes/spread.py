"""Standard errors over problems."""

import numpy as np

from ired_interp.geometry.eigengap import student_factor

_GROUPS = 16  # left out in turn, where there are more problems
_TOLD = 3  # standard errors by which a denominator must differ from 0


def mean_error(values: np.ndarray) -> np.ndarray:
    """Take the standard error of a mean over the last axis; NaN of a single value.

    Parameters
    ----------
    values : ndarray (..., B)
        Of single problems.

    Returns
    -------
    ndarray (...)
        s/√B, widened by `student_factor`.
    """
    count = values.shape[-1]
    if count < 2:
        return np.full(values.shape[:-1], np.nan)
    error: np.ndarray = values.std(-1, ddof=1) / np.sqrt(count) * student_factor(count)
    return error


def jackknife_error(without: np.ndarray) -> np.ndarray:
    """Take the standard error from leave-one-out values (..., B), widened by `student_factor`.

    NaN of a single one.
    """
    count = without.shape[-1]
    if count < 2:
        return np.full(without.shape[:-1], np.nan)
    with np.errstate(invalid="ignore"):
        error: np.ndarray = np.sqrt((count - 1) * without.var(-1)) * student_factor(count)
    return error


def ratio_of_means(above: np.ndarray, below: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Divide sums over the last axis, with the jackknife's standard error.

    Parameters
    ----------
    above, below : ndarray (..., B)
        Of single problems.

    Returns
    -------
    tuple of ndarray (...)
        Ratio and error; NaN where values below have both signs and their sum is not told from 0 by
        three of its errors: then the ratio may be anything (Fieller).

    Examples
    --------
    >>> ratio_of_means(np.array([2.0, 4.0, 6.0]), np.array([1.0, 2.0, 3.0]))[0]
    np.float64(2.0)
    >>> ratio_of_means(np.array([2.0, 4.0, 6.0]), np.array([1.0, -2.0, 1.1]))[0]
    np.float64(nan)
    """
    tops, bottoms = above.sum(-1), below.sum(-1)
    mixed = (below.min(-1) < 0) & (below.max(-1) > 0)
    told = ~mixed | (np.abs(bottoms) > _TOLD * below.shape[-1] * mean_error(below))
    with np.errstate(divide="ignore", invalid="ignore"):
        without = (tops[..., None] - above) / (bottoms[..., None] - below)
        ratio, error = tops / bottoms, jackknife_error(without)
    return np.where(told, ratio, np.nan)[()], np.where(told, error, np.nan)[()]


def left_out(count: int) -> list[np.ndarray]:
    """Make the index sets of a delete-a-group jackknife: each leaves out one group of problems.

    Parameters
    ----------
    count : int
        B, at least 2.

    Returns
    -------
    list of ndarray
        At most 16 sets of the problems kept, equal in size but for one.
    """
    groups = np.array_split(np.arange(count), min(count, _GROUPS))
    return [np.setdiff1d(np.arange(count), group) for group in groups]


def median_error(values: np.ndarray, draws: int = 200) -> np.ndarray:
    """Take the standard error of medians by resampling problems, by a generator of its own.

    Parameters
    ----------
    values : ndarray (K, B, n)
        n values of each of B problems; NaN where one has fewer.
    draws : int
        Resamples.

    Returns
    -------
    ndarray (K,)
        Of the median over problems and values; NaN for a single problem.
    """
    count, rng = values.shape[1], np.random.default_rng(0)
    if count < 2:
        return np.full(len(values), np.nan)
    picks = rng.integers(count, size=(draws, count))
    times = np.stack([np.bincount(pick, minlength=count) for pick in picks])
    drawn = np.array([_medians(each, times) for each in values]).T.copy()
    # Resamples scatter by √((B − 1)/B) of what problems do.
    error: np.ndarray = drawn.std(0) * np.sqrt(count / (count - 1)) * student_factor(count)
    return error


def _medians(values: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Take medians (draws,) of values (B, n) of problems, each problem so many times (draws, B).

    All values are sorted once. Of blocks of them, what comes before each is known by a product.
    """
    count, n = values.shape
    order = np.argsort(values, None)[: np.count_nonzero(~np.isnan(values))]
    if not len(order):
        return np.full(len(times), np.nan)
    owners = np.full((-(-len(order) // count), count), count)  # in blocks, the rest of nobody
    owners.ravel()[: len(order)] = order // n
    held = np.stack([np.bincount(block, minlength=count)[:count] for block in owners])
    until = (times.astype(float) @ held.T).cumsum(1)
    times, draw = np.pad(times, ((0, 0), (0, 1))), np.arange(len(times))

    def at(rank: np.ndarray) -> np.ndarray:
        block = (until <= rank[:, None]).sum(1)
        before = np.where(block > 0, until[draw, block - 1], 0)
        inside = times[draw[:, None], owners[block]].cumsum(1)
        place = block * count + (inside <= (rank - before)[:, None]).sum(1)
        found: np.ndarray = values.ravel()[order[place]]
        return found

    total = until[:, -1]
    medians = (at((total - 1) // 2) + at(np.minimum(total // 2, total - 1))) / 2
    return np.where(total > 0, medians, np.nan)
