"""Matrices of rank r: the tangent and normal part of a gradient."""

import math
from dataclasses import dataclass

import numpy as np
import torch

from ired_interp.errors import InputError
from ired_interp.geometry.arrays import Array, as_tensor
from ired_interp.geometry.resolution import check_rank, resolution


@dataclass(frozen=True)
class TangentSplit:
    """Parts of a gradient along and across the manifold of rank-r matrices.

    Attributes
    ----------
    tangent, normal : torch.Tensor
        (..., n, m) the parts.
    chance_ratio : float
        Of their sizes, for a gradient without direction.
    """

    tangent: torch.Tensor
    normal: torch.Tensor
    chance_ratio: float

    @property
    def ratio(self) -> torch.Tensor:
        """‖normal‖_F/‖tangent‖_F (...); infinite where there is no tangent part, NaN for 0/0."""
        normal, tangent = (torch.linalg.matrix_norm(part) for part in (self.normal, self.tangent))
        ratio: torch.Tensor = normal / tangent
        return ratio


def tangent_normal_split(gradient: Array, matrix: Array, rank: int) -> TangentSplit:
    """Split a matrix gradient at a point of the rank-r manifold into its tangent and normal parts.

    Parameters
    ----------
    gradient : torch.Tensor or numpy.ndarray
        (..., n, m) G.
    matrix : torch.Tensor or numpy.ndarray
        (..., n, m) point of rank r (or its rank-r part, if it is a little off), singular vectors U,
        V.
    rank : int
        r.

    Returns
    -------
    TangentSplit
        ``tangent`` P_T(G) = UUᵀG + GVVᵀ − UUᵀGVVᵀ and ``normal`` (I − UUᵀ)G(I − VVᵀ), both (..., n,
        m) float64 and orthogonal to each other; ``chance_ratio``, the mean ratio of their norms
        for Gaussian gradients without direction: that of independent χ variables of a = (n − r)(m −
        r) and b = r(n + m − r) degrees of freedom, Γ((a + 1)/2) Γ((b − 1)/2) / (Γ(a/2) Γ(b/2));
        infinite for b = 1.

    Raises
    ------
    InputError
        If shapes differ, the rank is not in 1 … min(n, m), the matrix has a smaller numerical
        rank, or its singular values r and r + 1 are equal to within its precision.

    Notes
    -----
    Vandereycken, "Low-rank matrix completion by Riemannian optimization", SIAM J. Optim. 23, 2013,
    eq. 2.5.

    Examples
    --------
    >>> import torch
    >>> from ired_interp.geometry import tangent_normal_split
    >>> Y = torch.diag(torch.tensor([2.0, 0.0]))
    >>> split = tangent_normal_split(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), Y, rank=1)
    >>> split.normal
    tensor([[0., 0.],
            [0., 4.]], dtype=torch.float64)
    """
    g, y = _finite(gradient), _finite(matrix)
    n, m = y.shape[-2:]
    if g.shape[-2:] != (n, m):
        raise InputError(
            f"a gradient of shape {tuple(g.shape)} at a matrix of shape {tuple(y.shape)}: make "
            "them equal."
        )
    if not 1 <= rank <= min(n, m):
        raise InputError(f"rank {rank} of {n} x {m} matrices: choose 1 to {min(n, m)}.")
    u, s, vt = torch.linalg.svd(y.to(g.device), full_matrices=False)
    precision = as_tensor(matrix, "matrix").dtype
    check_rank(s, precision, rank, f"a {n} x {m} matrix")
    closest = s[..., rank - 1] - s[..., rank] if rank < min(n, m) else s[..., rank - 1]
    if (closest <= resolution(min(n, m), precision) * s[..., 0]).any():
        raise InputError(
            f"a matrix has equal singular values {rank} and {rank + 1}, so that it has no one "
            f"part of rank {rank}; choose another rank."
        )
    u, v = u[..., :rank], vt[..., :rank, :].mT
    across = g - u @ (u.mT @ g)
    normal = across - (across @ v) @ v.mT
    across_dims = (n - rank) * (m - rank)
    return TangentSplit(g - normal, normal, _mean_ratio(across_dims, n * m - across_dims))


def _mean_ratio(above: int, below: int) -> float:
    """Mean ratio of independent χ variables; see `tangent_normal_split`."""
    if above == 0 or below == 1:
        return 0.0 if above == 0 else math.inf
    halves = (above + 1) / 2, (below - 1) / 2, above / 2, below / 2
    logs = [math.lgamma(half) for half in halves]
    return math.exp(logs[0] + logs[1] - logs[2] - logs[3])


def _finite(matrix: torch.Tensor | np.ndarray) -> torch.Tensor:
    tensor = as_tensor(matrix, "the matrix").double()
    if not torch.isfinite(tensor).all():
        raise InputError(
            "a matrix holds NaN or infinite entries; its singular values need finite ones: look "
            "upstream."
        )
    return tensor
