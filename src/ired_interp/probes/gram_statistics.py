"""What the inner products of a collection of gradients say: signal, noise, agreement, effective rank."""

import numpy as np

from ired_interp.spectra import effective_rank

Array = np.ndarray


def gram_statistics(gram: Array, problems_each: int = 1) -> dict[str, Array]:
    """Statistics of B gradients from their Gram matrix, with jackknife standard errors.

    Parameters
    ----------
    gram : (..., B, B) inner products of gradients g_i, B ≥ 3, of which each is a mean over `problems_each` problems.

    Returns
    -------
    Arrays of shape (...) by name. With G the expected gradient and Σ the covariance of one problem's gradient: `signal` ‖G‖² and `noise` tr Σ, both
    unbiased; `noise_scale` B_simple = tr Σ/‖G‖², in problems; `snr` √(‖G‖²/tr Σ), of one problem; `mean_cosine` over all pairs. `noise_scale` is
    infinite and `snr` 0 where the estimate of ‖G‖² is not positive: the problems are then too few to tell a common direction from noise. Each comes
    with its standard error, named `…_error`. Further `eigenvalues` (..., B − 1) of the sample estimate of Σ, descending, and from them the effective
    ranks `participation` (Σλ)²/Σλ² and `entropy_rank` exp(−Σ p ln p), p = λ/Σλ.

    References
    ----------
    McCandlish, Kaplan, Amodei, "An Empirical Model of Large-Batch Training", 2018 (arXiv 1812.06162), appendix A.
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
    """Participation ratio and entropy rank of non-negative eigenvalues (..., r)."""
    return {
        "participation": effective_rank(eigenvalues),
        "entropy_rank": effective_rank(eigenvalues, "entropy"),
    }


def isotropic_participation(samples: int, dimension: int) -> float:
    """Participation ratio of the sample covariance W of that many isotropic Gaussian vectors, as E(tr W)²/E tr W²."""
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
    """Sum of all entries and trace: of the matrix (...), and with each row and column left out in turn (..., B)."""
    rows, diagonal = matrix.sum(-1), np.einsum("...ii->...i", matrix)
    total, trace = rows.sum(-1), diagonal.sum(-1)
    return (total, trace), (total[..., None] - 2 * rows + diagonal, trace[..., None] - diagonal)


def _off_diagonal_mean(total: Array, trace: Array, count: int) -> Array:
    return (total - trace) / (count * (count - 1))


def _jackknife(values: Array) -> Array:
    """Standard error from leave-one-out values (..., B)."""
    count = values.shape[-1]
    with np.errstate(invalid="ignore"):
        return np.sqrt((count - 1) * values.var(-1))
