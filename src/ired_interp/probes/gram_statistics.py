"""What the inner products of gradients say: signal, noise, agreement, effective rank."""

from collections.abc import Callable
from itertools import groupby

import numpy as np
import torch

from ired_interp.probes.noise_scale import noise_scale_interval
from ired_interp.probes.spread import jackknife_error, left_out
from ired_interp.spectra import effective_rank, many_eigenvalues

Array = np.ndarray
_TOGETHER = 1 << 27  # entries of the matrices whose eigenvalues are found at a time
CPU = torch.device("cpu")


def gram_statistics(
    gram: Array, problems_each: int = 1, device: torch.device = CPU
) -> dict[str, Array]:
    """Find statistics of B gradients from their Gram matrix, with jackknife standard errors.

    Parameters
    ----------
    gram : ndarray (..., B, B)
        Inner products of gradients g_i, B ≥ 3.
    problems_each : int
        Problems of which each gradient is the mean.
    device : torch.device
        Where eigenvalues are found.

    Returns
    -------
    dict of str to ndarray
        As follows, with G the expected gradient and Σ the covariance of one problem's gradient;
        each also as `…_error`, a standard error, but the two with an interval `…_low`, `…_high` of
        95 % (see `noise_scale_interval`).

        =============== ============ ===============================================================
        name            shape        meaning
        =============== ============ ===============================================================
        `signal`        (...)        ‖G‖², unbiased
        `noise`         (...)        tr Σ, unbiased
        `noise_scale`   (...)        B_simple = tr Σ/‖G‖², in problems; infinite where ‖G‖² is not
                                     estimated positive: too few problems to tell it from noise
        `snr`           (...)        √(‖G‖²/tr Σ), of one problem; 0 there
        `mean_cosine`   (...)        over all pairs
        `eigenvalues`   (..., B−1)   of the sample estimate of Σ, descending
        `participation` (...)        effective rank (Σλ)²/Σλ² of them
        `entropy_rank`  (...)        effective rank exp(−Σ p ln p), p = λ/Σλ
        =============== ============ ===============================================================

    References
    ----------
    McCandlish, Kaplan, Amodei, "An Empirical Model of Large-Batch Training", 2018 (arXiv
    1812.06162), appendix A.

    Examples
    --------
    >>> g = np.array([[1.0, 1.0], [1.0, -1.0], [1.0, 0.0]])  # noise across one
    >>> found = gram_statistics(g @ g.T)
    >>> float(found["signal"].round(6)), float(found["noise"].round(6))
    (0.666667, 1.0)
    """
    statistics = noise_statistics(gram, problems_each)
    with np.errstate(invalid="ignore", divide="ignore"):
        unit = 1 / np.sqrt(np.einsum("...ii->...i", gram))
        rows = unit * (gram @ unit[..., None])[..., 0]  # sums of cosines
    value, leave_one_out = _with_and_without(rows, np.where(unit < np.inf, 1.0, np.nan))
    count = gram.shape[-1]
    statistics["mean_cosine"] = _off_diagonal_mean(*value, count)
    statistics["mean_cosine_error"] = jackknife_error(_off_diagonal_mean(*leave_one_out, count - 1))
    matrices = torch.from_numpy(gram).to(device)
    return statistics | spectrum_statistics(
        lambda sets: _eigenvalues(matrices, sets, problems_each), np.arange(count)
    )


def spectrum_statistics(
    eigenvalues: Callable[[list[Array]], list[Array]], every: Array
) -> dict[str, Array]:
    """Find eigenvalues of a sample covariance and effective ranks, with jackknife errors.

    Parameters
    ----------
    eigenvalues : callable
        Maps sets of rows, by their indices, to the eigenvalues (..., at most d) of the covariance
        of each, descending.
    every : ndarray (B,)
        All indices.

    Returns
    -------
    dict of str to ndarray
        `eigenvalues`, `participation`, `entropy_rank`, each with `…_error`.
    """
    whole, *parts = eigenvalues([every, *left_out(len(every))])
    found = {"eigenvalues": whole} | effective_ranks(whole)
    without: dict[str, list[Array]] = {name: [] for name in found}
    for part in parts:
        missing = [(0, 0)] * (part.ndim - 1) + [(0, whole.shape[-1] - part.shape[-1])]
        for name, value in ({"eigenvalues": np.pad(part, missing)} | effective_ranks(part)).items():
            without[name].append(value)
    errors = {f"{name}_error": jackknife_error(np.stack(v, -1)) for name, v in without.items()}
    return found | errors


def _eigenvalues(gram: torch.Tensor, sets: list[Array], problems_each: int) -> list[Array]:
    """Of the covariances of sets of the gradients whose Gram matrices (..., B, B) are given."""
    at_once, found = max(1, _TOGETHER // gram.numel()), []
    for count, group in groupby(sets, len):
        equal = list(group)
        for start in range(0, len(equal), at_once):
            rows = equal[start : start + at_once]
            part = torch.stack([_centred(gram, r) for r in rows])
            values = many_eigenvalues(part.view(-1, count, count))[:, 1:].flip(-1).clamp(min=0)
            scaled = values.numpy() * problems_each / (count - 1)
            found += list(scaled.reshape(len(rows), *gram.shape[:-2], count - 1))
    return found


def _centred(gram: torch.Tensor, rows: Array) -> torch.Tensor:
    """Inner products (..., b, b) of b of the gradients, with their mean taken from each."""
    chosen = torch.from_numpy(rows).to(gram.device)
    part = gram.index_select(-1, chosen).index_select(-2, chosen)
    part = part - part.mean(-1, keepdim=True)
    return part - part.mean(-2, keepdim=True)


def effective_ranks(eigenvalues: Array) -> dict[str, Array]:
    """Find `participation` and `entropy_rank` of eigenvalues; see `spectra.effective_rank`."""
    return {
        "participation": effective_rank(eigenvalues),
        "entropy_rank": effective_rank(eigenvalues, "entropy"),
    }


def isotropic_participation(samples: int, dimension: int) -> float:
    """Participation ratio of isotropic Gaussian vectors' covariance W, as E(tr W)²/E tr W²."""
    freedom = samples - 1
    return (freedom * dimension + 2) / (freedom + dimension + 1)


def noise_statistics(gram: Array, problems_each: int = 1) -> dict[str, Array]:
    """Find signal, noise, noise scale and signal-to-noise, as `gram_statistics` does.

    Parameters
    ----------
    gram : ndarray (..., B, B)
        Inner products of gradients.
    problems_each : int
        Problems of which each gradient is the mean.

    Returns
    -------
    dict of str to ndarray
        With their errors and intervals.
    """
    count = gram.shape[-1]
    diagonal, means = np.einsum("...ii->...i", gram), gram.mean(-1)
    value, leave_one_out = _with_and_without(count * means, diagonal)
    signal, noise = _signal_noise(*value, count, problems_each)
    without = _signal_noise(*leave_one_out, count - 1, problems_each)
    deviations = diagonal - 2 * means + means.mean(-1)[..., None]
    low, high = noise_scale_interval(signal, noise, *without, deviations)
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            "signal": signal,
            "noise": noise,
            "signal_error": jackknife_error(without[0]),
            "noise_error": jackknife_error(without[1]),
            "noise_scale": np.where(signal > 0, noise / signal, np.inf),
            "noise_scale_low": low,
            "noise_scale_high": high,
            "snr": np.sqrt(np.where(signal > 0, signal, 0) / noise),
            "snr_low": 1 / np.sqrt(high),
            "snr_high": 1 / np.sqrt(low),
        }


def _signal_noise(total: Array, trace: Array, count: int, each: int) -> tuple[Array, Array]:
    """‖G‖² and tr Σ from the sum and the trace of a Gram matrix of `count` gradients."""
    signal = _off_diagonal_mean(total, trace, count)
    return signal, each * (trace / count - signal)


def _with_and_without(
    rows: Array, diagonal: Array
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Sum of entries and trace of a symmetric matrix (...), and without each row (..., B).

    Of the matrix there are given the sums of its rows and its diagonal, (..., B) both.
    """
    total, trace = rows.sum(-1), diagonal.sum(-1)
    return (total, trace), (total[..., None] - 2 * rows + diagonal, trace[..., None] - diagonal)


def _off_diagonal_mean(total: Array, trace: Array, count: int) -> Array:
    mean: Array = (total - trace) / (count * (count - 1))
    return mean
