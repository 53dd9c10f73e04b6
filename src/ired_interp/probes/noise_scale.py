"""The interval of a gradient noise scale, from few gradients and from heavy tails."""

import numpy as np
from scipy import stats

Array = np.ndarray
_WIDER = 1.15  # of the lower end: ‖G‖² is skewed where few directions carry the noise


def noise_scale_interval(
    signal: Array, noise: Array, signals: Array, noises: Array, deviations: Array
) -> tuple[Array, Array]:
    """Find a 95 % interval of the ratio tr Σ/‖G‖².

    Parameters
    ----------
    signal, noise : ndarray (...)
        ‖G‖² and tr Σ, estimated from B gradients.
    signals, noises : ndarray (..., B)
        The same without one gradient each.
    deviations : ndarray (..., B)
        ‖g_i − ḡ‖², whose spread tells heavy tails.

    Returns
    -------
    tuple of ndarray (...)
        Low and high end, by Fieller's method on jackknife covariances with Student's quantile. The
        high end is infinite where ‖G‖² cannot be told from 0, and where tails are so heavy that
        gradients yet unseen may hold most of the noise: standard deviation of ‖g_i − ḡ‖² above
        √(B/(B + 20)) of its mean.

    References
    ----------
    Fieller, "Some problems in interval estimation", J. R. Statist. Soc. B 16, 1954.
    """
    count = signals.shape[-1]
    reach = float(stats.t.ppf(0.975, count - 1))
    low = _roots(signal, noise, signals, noises, _WIDER * reach)[0]
    high = _roots(signal, noise, signals, noises, reach)[1]
    with np.errstate(divide="ignore", invalid="ignore"):
        variation = deviations.std(-1, ddof=1) / deviations.mean(-1)
    heavy = variation > np.sqrt(count / (count + 20))
    return low, np.where(heavy, np.inf, high)


def _roots(
    signal: Array, noise: Array, signals: Array, noises: Array, reach: float
) -> tuple[Array, Array]:
    """Find the ends of {ρ ≥ 0: (noise − ρ·signal)² ≤ reach²·variance}."""
    count = signals.shape[-1]
    ds, dn = (part - part.mean(-1, keepdims=True) for part in (signals, noises))
    scale = reach**2 * (count - 1) / count
    a = signal**2 - scale * (ds**2).sum(-1)
    b = noise * signal - scale * (dn * ds).sum(-1)
    c = noise**2 - scale * (dn**2).sum(-1)
    root = np.sqrt(np.maximum(b**2 - a * c, 0))
    bounded = (a > 0) & (signal > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        ends = np.stack([(b - root) / a, (b + root) / a])
    low = np.where(bounded, ends[0], np.where(a < 0, ends.max(0), 0.0))
    low = np.where(c < 0, 0.0, np.maximum(low, 0.0))
    return low, np.where(bounded, ends[1], np.inf)
