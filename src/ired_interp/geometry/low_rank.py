"""Matrices of rank r: the tangent and normal part of a gradient."""

import math
from dataclasses import dataclass

import numpy as np
import torch

from ired_interp.errors import InputError
from ired_interp.geometry.arrays import Array, as_tensor


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
        m) float64 and orthogonal to each other; ``chance_ratio`` √((n − r)(m − r)/(r(n + m − r))),
        the ratio of their root mean square norms for a gradient without direction.

    Raises
    ------
    InputError
        If shapes differ, the rank is not in 1 … min(n, m), or the matrix has a smaller numerical
        rank.

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
    precision = torch.finfo(as_tensor(matrix, "matrix").dtype).eps
    if (s[..., rank - 1] <= max(n, m) * precision * s[..., 0]).any():
        raise InputError(
            f"a matrix has a numerical rank below {rank}; its rank-{rank} manifold is singular "
            "there: lower r."
        )
    u, v = u[..., :rank], vt[..., :rank, :].mT
    across = g - u @ (u.mT @ g)
    normal = across - (across @ v) @ v.mT
    return TangentSplit(
        g - normal, normal, math.sqrt((n - rank) * (m - rank) / (rank * (n + m - rank)))
    )


def _finite(matrix: torch.Tensor | np.ndarray) -> torch.Tensor:
    tensor = as_tensor(matrix, "the matrix").double()
    if not torch.isfinite(tensor).all():
        raise InputError(
            "a matrix holds NaN or infinite entries; its singular values need finite ones: look "
            "upstream."
        )
    return tensor
