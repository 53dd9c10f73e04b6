"""Directions that a landscape has of its own, and curves along matrices of rank r."""

from typing import Any

import torch
from torch import Tensor

from ired_interp.energy import Energy
from ired_interp.errors import InputError, RunError
from ired_interp.probes.hessians import given_apart
from ired_interp.probes.planes import TANGENT
from ired_interp.probes.projected_curvature import hessian_product
from ired_interp.probes.rank_manifold import square_matrices
from ired_interp.spectra import many_eigenpairs

GRADIENT, TOP, BOTTOM = "gradient", "hessian_top", "hessian_bottom"
ALONG = ("column", "row", "core", TANGENT)  # families that lead along rank-r matrices
_COPIES = 4  # of a Hessian in float64, that are held at once
_WORKING = 2**28  # bytes of Hessians
_OFF = 1e-3  # of an answer's length, by which it may miss its rank


def own_directions(
    energy: Energy, x: Tensor, at: Tensor, k: int, free: Tensor | None
) -> dict[str, Tensor]:
    """Find the directions in which a landscape falls most steeply, and bends most and least.

    Parameters
    ----------
    energy : Energy
        E, of the free entries of y.
    x, at : Tensor (B, d_x), (B, d_y)
        Problems and points, in float64.
    k : int
        Landscape.
    free : Tensor (B, d_y), optional
        1 for free entries, else 0; without it eigenvectors are left out.

    Returns
    -------
    dict of str to Tensor (C, B, d_y)
        `gradient`, −g/‖g‖, or e_1 where g is 0; `hessian_top` and `hessian_bottom`, eigenvectors of
        the two largest and the two smallest eigenvalues, the outermost first.

    Raises
    ------
    RunError
        If the energy's gradient or Hessian is not finite.
    """
    slope = -energy.gradient(x, at, k)
    _check_finite(slope, k)
    size = slope.norm(dim=1, keepdim=True)
    first = torch.eye(at.shape[1], dtype=at.dtype, device=at.device)[:1]
    found = {GRADIENT: torch.where(size > 0, slope / size.clamp(min=1e-300), first)[None]}
    if free is not None:
        chunk = max(1, _WORKING // (_COPIES * 8 * at.shape[1] ** 2))
        rows = [slice(i, i + chunk) for i in range(0, len(at), chunk)]
        ends = [_extremes(energy.hessian(x[r], at[r], k), free[r], k) for r in rows]
        for name, parts in zip((TOP, BOTTOM), zip(*ends, strict=True), strict=True):
            found[name] = torch.cat(parts, 1)
    return found


def _check_finite(found: Tensor, k: int) -> None:
    if not found.isfinite().all():
        raise RunError(
            f"the energy of landscape {k} is not finite around its measuring point; the weights "
            "have diverged."
        )


def _extremes(hessian: Tensor, free: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Two leading and two last eigenvectors (2, B, d_y) of Hessians (B, d_y, d_y)."""
    _check_finite(hessian, k)
    vectors = many_eigenpairs(given_apart(hessian, free))[1].to(hessian)
    last = free.sum(1).long() - 1
    rows = torch.arange(len(hessian), device=hessian.device)
    ends = [[last, (last - 1).clamp(min=0)], [0 * last, last.clamp(max=1)]]
    top, bottom = (torch.stack([vectors[rows, :, place] for place in end]) for end in ends)
    return top, bottom


def check_on_manifold(y: Tensor, rank: int | None) -> None:
    """Refuse to follow matrices of rank r from answers (B, d_y) that are none.

    Raises
    ------
    InputError
        If the rank is not known, or not that of the answers.
    """
    if rank is None:
        raise InputError(
            "slice has retract: true, but the task's answers have no known rank below full; give "
            "rank, or leave retract out."
        )
    off = (nearest(y.double(), rank) - y).norm(dim=1) / y.norm(dim=1)
    if bool((off > _OFF).any()):
        raise InputError(
            f"slice has retract: true and rank {rank}, but answers lie up to "
            f"{float(off.max()):.2g} of their length off matrices of that rank; give their own."
        )


def nearest(y: Tensor, rank: int) -> Tensor:
    """Return the nearest matrices of rank r to matrices (..., n²), by truncated SVD."""
    u, s, vt = torch.linalg.svd(square_matrices(y), full_matrices=False)
    near: Tensor = u[..., :rank] * s[..., None, :rank] @ vt[..., :rank, :]
    return near.flatten(-2)


def bend(energy: Energy, context: Any, at: Tensor, unit: Tensor) -> Tensor:
    """Return dᵀHd (B,) at points and along directions (B, d_y)."""
    along: Tensor = (unit * hessian_product(energy, context, at, unit)).sum(1)
    return along


def turn(slope: Tensor, at: Tensor, unit: Tensor, rank: int) -> Tensor:
    """Find what following matrices of rank r adds to the second derivative along a tangent.

    Parameters
    ----------
    slope, at, unit : Tensor (B, n²), (B, n²), (B, n²)
        ∇_y E; where, matrices UΣVᵀ of rank r; and the direction ξ = UMVᵀ + U_pVᵀ + UV_pᵀ.
    rank : int
        r.

    Returns
    -------
    Tensor (B,)
        2⟨∇E, U_pΣ⁻¹V_pᵀ⟩, with dᵀHd the second derivative of E along the nearest matrices to
        Y + tξ.

    References
    ----------
    Vandereycken, "Low-rank matrix completion by Riemannian optimization", SIAM J. Optim. 23, 2013.
    """
    g, y, xi = (square_matrices(part) for part in (slope, at, unit))
    u, s, vt = torch.linalg.svd(y, full_matrices=False)
    u, s, v = u[..., :rank], s[..., None, :rank], vt[..., :rank, :].mT
    column, row = xi @ v, xi.mT @ u
    column, row = column - u @ (u.mT @ column), row - v @ (v.mT @ row)
    added: Tensor = 2 * (g * (column / s @ row.mT)).sum((-2, -1))
    return added
