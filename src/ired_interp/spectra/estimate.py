"""A number with its uncertainty."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class Estimate:
    """A value, its standard error, and its confidence interval.

    Attributes
    ----------
    value : float
        The estimate.
    error : float
        Its standard error.
    low, high : float
        Ends of the interval.
    """

    value: float
    error: float
    low: float
    high: float


def from_samples(samples: np.ndarray, confidence: float = 0.95) -> Estimate:
    """Mean of independent samples, with Student's interval.

    Parameters
    ----------
    samples : numpy.ndarray
        (n,), n ≥ 2.
    confidence : float
        Of the interval.

    Returns
    -------
    Estimate
        Of the mean.

    Examples
    --------
    >>> import numpy as np
    >>> from_samples(np.array([1.0, 3.0])).value
    2.0
    """
    error = float(samples.std(ddof=1) / len(samples) ** 0.5)
    return _student(float(samples.mean()), error, len(samples), confidence)


def jackknife(whole: float, without: np.ndarray, confidence: float = 0.95) -> Estimate:
    """Estimate a smooth statistic of n samples, with its jackknife error.

    Parameters
    ----------
    whole : float
        The statistic of all samples.
    without : numpy.ndarray
        (n,) its values with one sample left out in turn.
    confidence : float
        Of the interval.

    Returns
    -------
    Estimate
        Of the statistic.

    References
    ----------
    Efron and Stein, "The jackknife estimate of variance", Ann. Statist. 9, 1981.
    """
    n = len(without)
    error = float(((n - 1) / n * ((without - without.mean()) ** 2).sum()) ** 0.5)
    return _student(whole, error, n, confidence)


def _student(value: float, error: float, n: int, confidence: float) -> Estimate:
    reach = float(stats.t.ppf((1 + confidence) / 2, n - 1)) * error
    return Estimate(value, error, value - reach, value + reach)
