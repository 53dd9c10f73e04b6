"""How many directions a matrix has: measures of its singular values."""

import torch
from torch import Tensor

from ired_interp.geometry.resolution import resolution

MEASURES = ("participation", "entropy", "stable", "nuclear", "numerical", "tail")


def rank_measures(matrices: Tensor, rank: int | None = None) -> Tensor:
    """Measure matrices by their singular values s, descending.

    Parameters
    ----------
    matrices : Tensor (..., n, m)
        Any matrices.
    rank : int, optional
        r, beyond which the tail begins.

    Returns
    -------
    Tensor (..., 6)
        In float64, in the order of `MEASURES`: participation (Σs²)²/Σs⁴; entropy
        exp(−Σ p ln p), p = s²/Σs²; stable Σs²/s₁²; nuclear (Σs)²/Σs²; numerical, how many s stand
        above noise of unknown size, ω·median s (ω = 2.858 for a square matrix), and above rounding;
        tail Σ_{i>r} s²/Σs², NaN without r. A matrix of zeros has numerical 0 and NaN elsewhere.

    References
    ----------
    Gavish and Donoho, "The optimal hard threshold for singular values is 4/√3", IEEE Transactions
    on Information Theory 60, 2014.

    Examples
    --------
    >>> found = rank_measures(torch.diag(torch.tensor([3.0, 3.0, 0.5, 0.5, 0.5])), rank=2)
    >>> [round(value, 3) for value in found.tolist()]
    [2.168, 2.404, 2.083, 3.0, 2.0, 0.04]
    """
    n, m = matrices.shape[-2:]
    s = torch.linalg.svdvals(matrices.double())
    squares, first = s.square(), s[..., :1]
    total = squares.sum(-1)
    shares = squares / total[..., None]
    beta = min(n, m) / max(n, m)
    omega = 2.858 if n == m else 0.56 * beta**3 - 0.95 * beta**2 + 1.82 * beta + 1.43
    noise = omega * s.quantile(0.5, -1, keepdim=True)
    rounding = resolution(min(n, m), matrices.dtype) * first
    return torch.stack(
        [
            total.square() / squares.square().sum(-1),
            torch.special.entr(shares).sum(-1).exp(),
            total / squares[..., 0],
            s.sum(-1).square() / total,
            (s > torch.maximum(noise, rounding)).sum(-1).double(),
            torch.full_like(total, torch.nan) if rank is None else shares[..., rank:].sum(-1),
        ],
        -1,
    )


def detectable(matrices: Tensor, noise_to_signal: Tensor) -> Tensor:
    """Count singular values that noise does not hide.

    Parameters
    ----------
    matrices : Tensor (B, n, n)
        Answers.
    noise_to_signal : Tensor (K,)
        σ_k/√ᾱ_k.

    Returns
    -------
    Tensor (K, B)
        How many are above (σ_k/√ᾱ_k)√n, in float64.

    References
    ----------
    Benaych-Georges and Nadakuditi, "The singular values and vectors of low rank perturbations of
    large rectangular random matrices", Journal of Multivariate Analysis 111, 2012.

    Examples
    --------
    >>> detectable(torch.diag(torch.tensor([3.0, 1.0, 1.0, 1.0]))[None], torch.tensor([0.4, 1.0]))
    tensor([[4.],
            [1.]], dtype=torch.float64)
    """
    s = torch.linalg.svdvals(matrices.double())
    above: Tensor = s > noise_to_signal.double()[:, None, None] * matrices.shape[-1] ** 0.5
    return above.sum(-1).double()
