"""A number with its uncertainty."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class Estimate:
    """A value, its standard error, and the confidence interval [low, high]."""

    value: float
    error: float
    low: float
    high: float


def from_samples(samples: np.ndarray, confidence: float = 0.95) -> Estimate:
    """Mean of independent samples (n,), n ≥ 2, with Student's interval."""
    error = float(samples.std(ddof=1) / len(samples) ** 0.5)
    return _student(float(samples.mean()), error, len(samples), confidence)


def jackknife(whole: float, without: np.ndarray, confidence: float = 0.95) -> Estimate:
    """A smooth statistic of n samples, from its values (n,) with one sample left out in turn (Efron and Stein 1981)."""
    n = len(without)
    error = float(((n - 1) / n * ((without - without.mean()) ** 2).sum()) ** 0.5)
    return _student(whole, error, n, confidence)


def _student(value: float, error: float, n: int, confidence: float) -> Estimate:
    reach = float(stats.t.ppf((1 + confidence) / 2, n - 1)) * error
    return Estimate(value, error, value - reach, value + reach)
