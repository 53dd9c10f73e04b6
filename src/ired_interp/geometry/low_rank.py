"""Matrices of rank r: their column space under noise, and the tangent and normal part of a gradient."""

import math
from dataclasses import dataclass

import numpy as np
import torch

from ired_interp.errors import InputError
from ired_interp.geometry.arrays import Array, as_tensor, in_kind


@dataclass(frozen=True)
class ColumnSpace:
    """Leading left singular subspace of (a batch of) matrices, with what noise makes of it.

    Attributes
    ----------
    basis : torch.Tensor
        (..., n, r) orthonormal, float64.
    singular_values : torch.Tensor
        (..., min(n, m)), descending.
    noise : torch.Tensor
        (...) standard deviation per entry, from the trailing singular values: σ² = Σ_{i>r} sᵢ² / ((n − r)(m − r)).
    error : torch.Tensor
        (...) expected root mean square of ‖sin Θ‖_F between this and the noise-free column space, at most √r.
    resolved : torch.Tensor
        (...) bool: s_r stands above the largest singular value σ(√n + √m) of pure noise; where it does not, the
        subspace says nothing.
    """

    basis: torch.Tensor
    singular_values: torch.Tensor
    noise: torch.Tensor
    error: torch.Tensor
    resolved: torch.Tensor


def column_space(matrix: Array, rank: int) -> ColumnSpace:
    """Column space of the rank-r part of a matrix, with its expected error under noise of equal size in every entry.

    Parameters
    ----------
    matrix : torch.Tensor or numpy.ndarray
        (..., n, m).
    rank : int
        r, below min(n, m) for a noise estimate to exist.

    Returns
    -------
    ColumnSpace
        Basis, singular values, noise, error, resolved.

    Raises
    ------
    InputError
        If the rank is not in 1 … min(n, m) − 1, or an entry is not finite.

    Notes
    -----
    First-order perturbation of Â = A + E: off the column space U, Û ≈ E V S⁻¹, whence E‖sin Θ‖²_F = σ²(n − r) Σ 1/sᵢ²
    (Stewart, "Perturbation theory for the singular value decomposition", 1990).
    """
    a = _finite(matrix)
    n, m = a.shape[-2:]
    if not 1 <= rank < min(n, m):
        raise InputError(f"rank {rank} of {n} x {m} matrices: choose 1 to {min(n, m) - 1}.")
    u, s, _ = torch.linalg.svd(a, full_matrices=False)
    noise = (s[..., rank:].square().sum(-1) / ((n - rank) * (m - rank))).sqrt()
    error = noise * ((n - rank) * s[..., :rank].square().reciprocal().sum(-1)).sqrt()
    resolved = s[..., rank - 1] > noise * (math.sqrt(n) + math.sqrt(m))
    return ColumnSpace(
        u[..., :rank], s, noise, error.nan_to_num(nan=math.inf).clamp(max=math.sqrt(rank)), resolved
    )


def perturbation_bound(perturbation: Array, singular_value: Array) -> Array:
    """Bound on ‖sin Θ‖ between the column spaces of an exact rank-r matrix and of the rank-r part of a perturbed copy.

    Parameters
    ----------
    perturbation : torch.Tensor or numpy.ndarray
        (...) norm of the perturbation E: spectral, for a bound on sin θ_max, or Frobenius, for one on ‖sin Θ‖_F.
    singular_value : torch.Tensor or numpy.ndarray
        (...) r-th singular value of the perturbed matrix.

    Returns
    -------
    torch.Tensor or numpy.ndarray
        (...) ‖E‖ / s_r, never exceeded whatever E is; no information once it reaches 1.

    Notes
    -----
    Wedin, BIT 12, 1972, with the gap s_r − 0 of an exact-rank matrix.
    """
    norm, value = (as_tensor(x, "norm", ndim=0).double() for x in (perturbation, singular_value))
    return in_kind(norm / value, perturbation)


@dataclass(frozen=True)
class TangentSplit:
    """Parts of a gradient along and across the manifold of rank-r matrices; see ``tangent_normal_split``."""

    tangent: torch.Tensor
    normal: torch.Tensor
    chance_ratio: float

    @property
    def ratio(self) -> torch.Tensor:
        """‖normal‖_F / ‖tangent‖_F, (...); infinite for a purely normal gradient, NaN for a zero one."""
        return torch.linalg.matrix_norm(self.normal) / torch.linalg.matrix_norm(self.tangent)


def tangent_normal_split(gradient: Array, matrix: Array, rank: int) -> TangentSplit:
    """Split a matrix gradient at a point of the rank-r manifold into its tangent and normal parts.

    Parameters
    ----------
    gradient : torch.Tensor or numpy.ndarray
        (..., n, m) G.
    matrix : torch.Tensor or numpy.ndarray
        (..., n, m) point of rank r (or its rank-r part, if it is a little off), singular vectors U, V.
    rank : int
        r.

    Returns
    -------
    TangentSplit
        ``tangent`` P_T(G) = UUᵀG + GVVᵀ − UUᵀGVVᵀ and ``normal`` (I − UUᵀ)G(I − VVᵀ), both (..., n, m) float64 and
        orthogonal to each other; ``chance_ratio`` √((n − r)(m − r)/(r(n + m − r))), the ratio of their root mean square
        norms for a gradient without direction.

    Raises
    ------
    InputError
        If shapes differ, the rank is not in 1 … min(n, m), or the matrix has a smaller numerical rank.

    Notes
    -----
    Vandereycken, "Low-rank matrix completion by Riemannian optimization", SIAM J. Optim. 23, 2013, eq. 2.5.
    """
    g, y = _finite(gradient), _finite(matrix)
    n, m = y.shape[-2:]
    if g.shape[-2:] != (n, m):
        raise InputError(
            f"a gradient of shape {tuple(g.shape)} at a matrix of shape {tuple(y.shape)}: make them equal."
        )
    if not 1 <= rank <= min(n, m):
        raise InputError(f"rank {rank} of {n} x {m} matrices: choose 1 to {min(n, m)}.")
    u, s, vt = torch.linalg.svd(y.to(g.device), full_matrices=False)
    precision = torch.finfo(as_tensor(matrix, "matrix").dtype).eps
    if (s[..., rank - 1] <= max(n, m) * precision * s[..., 0]).any():
        raise InputError(
            f"a matrix has a numerical rank below {rank}; its rank-{rank} manifold is singular there: lower r."
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
            "a matrix holds NaN or infinite entries; its singular values need finite ones: look upstream."
        )
    return tensor
