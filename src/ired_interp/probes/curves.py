"""Curves between two points: straight, of fixed rank, and of least energy."""

from typing import Any

import torch
from torch import Tensor

from ired_interp.energy import Energy
from ired_interp.probes.rank_manifold import square_matrices

_COURANT = 0.5  # of the spacing, what the slope along the curve may move an image by in one step
_SPRING = 0.25  # share of the difference of neighbouring lengths by which an image moves


def straight(a: Tensor, b: Tensor, times: Tensor) -> Tensor:
    """Points (T, B, d_y) of the segments from a to b (B, d_y)."""
    t = times[:, None, None]
    return (1 - t) * a + t * b


def of_fixed_rank(a: Tensor, b: Tensor, rank: int, times: Tensor) -> Tensor:
    """Points of curves that join matrices of rank r and stay of that rank.

    Parameters
    ----------
    a, b : Tensor (B, n²)
        Matrices UΣVᵀ of rank r; of others the part of rank r is taken.
    rank : int
        r.
    times : Tensor (T,)
        In [0, 1].

    Returns
    -------
    Tensor (T, B, n²)
        U(t) M(t) V(t)ᵀ, where U(t) and V(t) turn along the shortest geodesics of the column and
        the row spaces, in bases that do not spin, and M is interpolated linearly. (Geodesics of
        the manifold of rank-r matrices itself are not known in closed form.)
    """
    ends = [torch.linalg.svd(square_matrices(y)) for y in (a, b)]
    (ua, _, va), (ub, _, vb) = ((u[..., :rank], s, v[..., :rank, :].mT) for u, s, v in ends)
    columns, rows = _turning(ua, ub, times), _turning(va, vb, times)
    start, end = (
        u.mT @ square_matrices(y) @ v
        for u, y, v in ((columns[0], a, rows[0]), (columns[-1], b, rows[-1]))
    )
    t = times[:, None, None, None]
    found: Tensor = columns[1:-1] @ ((1 - t) * start + t * end) @ rows[1:-1].mT
    return found.flatten(-2)


def _turning(u: Tensor, v: Tensor, times: Tensor) -> Tensor:
    """Bases (T + 2, B, n, r) along Grassmann geodesics from u to v: at 0, at the times, at 1."""
    p, cosine, qt = torch.linalg.svd(u.mT @ v)
    cosine = cosine.clamp(max=1.0)
    first, last, angle = u @ p, v @ qt.mT, torch.acos(cosine)
    across = last - first * cosine[..., None, :]
    across = across / across.norm(dim=-2, keepdim=True).clamp(min=1e-300)
    ends = torch.cat([times.new_zeros(1), times, times.new_ones(1)])
    turned = (ends[:, None, None] * angle)[..., None, :]
    bases: Tensor = first * turned.cos() + across * turned.sin()
    return bases


@torch.no_grad()
def elastic_band(
    energy: Energy, context: Any, path: Tensor, step: float, reach: float, steps: int
) -> Tensor:
    """Relax curves towards those of least energy, by nudged elastic bands.

    Parameters
    ----------
    energy : Energy
        E.
    context : Any
        `energy.condition(x, k)` of B problems.
    path : Tensor (T, B, d_y)
        Images to start from; the first and the last stay.
    step : float
        Largest, of the gradient across the curve.
    reach : float
        Longest move of an image.
    steps : int
        How many.

    Returns
    -------
    Tensor (T, B, d_y)
        Images of the relaxed curves.

    References
    ----------
    Jónsson, Mills & Jacobsen, "Nudged elastic band method for finding minimum energy paths of
    transitions", 1998; with the tangents of Henkelman & Jónsson, J. Chem. Phys. 113, 2000; Draxler
    et al., "Essentially no barriers in neural network energy landscape", ICML 2018.
    """
    path = path.clone()
    evaluate = torch.vmap(lambda y: energy.evaluate_with_gradient(context, y))
    for _ in range(steps):
        values, slopes = evaluate(path)
        here, slope = path[1:-1], slopes[1:-1]
        after, before = path[2:] - here, here - path[:-2]
        along = _uphill(values, after, before)
        steep = (slope * along).sum(2, keepdim=True)
        ahead, behind = (part.norm(dim=2, keepdim=True) for part in (after, before))
        # A tilt of the tangent must not throw an image farther across than to its neighbour.
        bound = _COURANT * torch.minimum(ahead, behind) / steep.abs().clamp(min=1e-300)
        across = bound.clamp(max=step) * (slope - steep * along)
        move = _SPRING * (ahead - behind) * along - across
        size = move.norm(dim=2, keepdim=True)
        path[1:-1] = here + move * (reach / size.clamp(min=1e-300)).clamp(max=1.0)
    return path


def _uphill(values: Tensor, after: Tensor, before: Tensor) -> Tensor:
    """Tangents towards the neighbour of more energy, without which a band on a slope kinks."""
    rise, fall = values[2:] - values[1:-1], values[:-2] - values[1:-1]  # of both neighbours
    larger, smaller = torch.maximum(rise.abs(), fall.abs()), torch.minimum(rise.abs(), fall.abs())
    up, down = (rise > 0) & (fall < 0), (rise < 0) & (fall > 0)
    ahead = values[2:] > values[:-2]
    weight_after = torch.where(ahead, larger, smaller)
    weight_before = torch.where(ahead, smaller, larger)
    level = larger == 0
    weight_after = torch.where(up | level, 1.0, torch.where(down, 0.0, weight_after))
    weight_before = torch.where(down | level, 1.0, torch.where(up, 0.0, weight_before))
    tangent: Tensor = weight_after[..., None] * after + weight_before[..., None] * before
    size = tangent.norm(dim=2, keepdim=True).clamp(min=1e-300)
    units: Tensor = tangent / size
    return units
