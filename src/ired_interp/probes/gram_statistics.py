"""What the inner products of gradients say: signal, noise, agreement, effective rank."""

import numpy as np

from ired_interp.spectra import effective_rank

Array = np.ndarray


def gram_statistics(gram: Array, problems_each: int = 1) -> dict[str, Array]:
    """Statistics of B gradients from their Gram matrix, with jackknife standard errors.

    Parameters
    ----------
    gram : ndarray (..., B, B)
        Inner products of gradients g_i, B ≥ 3.
    problems_each : int
        Problems of which each gradient is the mean.

    Returns
    -------
    dict of str to ndarray
        As follows, with G the expected gradient and Σ the covariance of one problem's gradient; all
        but the last three also as `…_error`, a standard error.

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
    statistics = _signal_and_noise(gram, problems_each)
    size = np.sqrt(np.einsum("...ii->...i", gram))
    with np.errstate(invalid="ignore", divide="ignore"):
        cosines = gram / (size[..., :, None] * size[..., None, :])
    value, leave_one_out = _with_and_without(cosines)
    count = gram.shape[-1]
    statistics["mean_cosine"] = _off_diagonal_mean(*value, count)
    statistics["mean_cosine_error"] = _jackknife(_off_diagonal_mean(*leave_one_out, count - 1))
    centred = (
        gram
        - gram.mean(-1, keepdims=True)
        - gram.mean(-2, keepdims=True)
        + gram.mean((-2, -1), keepdims=True)
    )
    eigenvalues = np.linalg.eigvalsh(centred)[..., :0:-1].clip(min=0) * problems_each / (count - 1)
    return statistics | {"eigenvalues": eigenvalues} | effective_ranks(eigenvalues)


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


def _signal_and_noise(gram: Array, problems_each: int) -> dict[str, Array]:
    count = gram.shape[-1]
    value, leave_one_out = _with_and_without(gram)
    found: dict[str, Array] = {}
    for (total, diagonal), n, suffix in ((value, count, ""), (leave_one_out, count - 1, "_error")):
        signal = _off_diagonal_mean(total, diagonal, n)
        noise = problems_each * (diagonal / n - signal)
        with np.errstate(divide="ignore", invalid="ignore"):
            statistics = {
                "signal": signal,
                "noise": noise,
                "noise_scale": np.where(signal > 0, noise / signal, np.inf),
                "snr": np.sqrt(np.where(signal > 0, signal, 0) / noise),
            }
        found |= {name + suffix: _jackknife(v) if suffix else v for name, v in statistics.items()}
    return found


def _with_and_without(matrix: Array) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Sum of entries and trace: of the matrix (...), and without each row and column (..., B)."""
    rows, diagonal = matrix.sum(-1), np.einsum("...ii->...i", matrix)
    total, trace = rows.sum(-1), diagonal.sum(-1)
    return (total, trace), (total[..., None] - 2 * rows + diagonal, trace[..., None] - diagonal)


def _off_diagonal_mean(total: Array, trace: Array, count: int) -> Array:
    mean: Array = (total - trace) / (count * (count - 1))
    return mean


def _jackknife(values: Array) -> Array:
    """Compute the standard error from leave-one-out values (..., B)."""
    count = values.shape[-1]
    with np.errstate(invalid="ignore"):
        error: Array = np.sqrt((count - 1) * values.var(-1))
    return error
