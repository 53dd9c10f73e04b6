"""The Hessian in y at one point of each problem: spectrum, planes, and the denoised answer."""

import torch
from torch import Tensor

from ired_interp.diffusion import Schedule
from ired_interp.energy import Energy
from ired_interp.probes.hessians import check_finite, given_apart
from ired_interp.probes.planes import RANDOM, Frame, families, plane_curvature
from ired_interp.spectra import many_eigenpairs

_COPIES = 8  # of a Hessian in float64, that are held at once


def hessian_bytes(d: int) -> int:
    """Return what the Hessian of one problem with d free entries takes to be measured."""
    return _COPIES * 8 * d**2


@torch.no_grad()
def local_curvature(
    energy: Energy,
    schedule: Schedule,
    x: Tensor,
    answer: Tensor,
    at: Tensor,
    k: int,
    frames: list[Frame],
    memory: float,
) -> dict[str, Tensor]:
    """Measure Hessian H and gradient g of one landscape.

    Parameters
    ----------
    energy : Energy
        E, of the free entries of y.
    schedule : Schedule
        Of its landscapes.
    x, answer, at : Tensor (B, d_x), (B, d_y), (B, d_y)
        Problems, their answers, and where to measure, whose dtype is that of the arithmetic.
    k : int
        Landscape.
    frames : list of Frame
        Of the problems.
    memory : float
        Bytes to work in, about; so many problems at a time.

    Returns
    -------
    dict of str to Tensor (B, ...)
        In float64: `eigenvalues` (d_y,) ascending, those of the n free entries first and then NaN;
        `plane_shares` (families, d_y), ‖P v‖² of their eigenvectors; `gradient_shares` (d_y,),
        (vᵀg)²; `curvature` and `off_block` (families,), see `plane_curvature`; `entries`, n;
        `trace`, σ tr H; `gradient_square`, ‖g‖²; `error`, ‖D − y*‖²/n of D = (y − σ g)/√ᾱ.

    Raises
    ------
    RunError
        If the Hessian is not finite.
    """
    chunk = max(1, int(memory / hessian_bytes(at.shape[1])))
    parts = []
    for start in range(0, len(at), chunk):
        rows = slice(start, start + chunk)
        few = [frame.of(rows) for frame in frames]
        parts.append(_few(energy, schedule, x[rows], answer[rows], at[rows], k, few))
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _few(
    energy: Energy,
    schedule: Schedule,
    x: Tensor,
    answer: Tensor,
    at: Tensor,
    k: int,
    frames: list[Frame],
) -> dict[str, Tensor]:
    noise = schedule.noise[k].double()
    hessian = energy.hessian(x.to(at), at, k).double()
    gradient = energy.gradient(x.to(at), at, k).double()
    check_finite(hessian.isfinite().all() and gradient.isfinite().all(), k)
    free = families(frames)[RANDOM][1]
    denoised = denoising(schedule, answer, at, gradient, free, k)
    pairs = many_eigenpairs(given_apart(hessian, free))
    values, vectors = (part.to(hessian) for part in pairs)
    beyond = torch.arange(values.shape[1], device=values.device) >= denoised["entries"][:, None]
    shares = []
    for frame in frames:
        squares = frame.into(vectors).square()
        shares += [torch.einsum("bij,bi->bj", squares, plane) for plane in frame.planes.values()]
    planes = plane_curvature(hessian, frames, float(noise))
    return {
        "eigenvalues": values.masked_fill(beyond, torch.nan),
        "plane_shares": torch.stack(shares, 1),
        "gradient_shares": torch.einsum("bij,bi->bj", vectors, gradient).square(),
        "curvature": torch.stack([mean for mean, _ in planes.values()], 1),
        "off_block": torch.stack([off for _, off in planes.values()], 1),
        "trace": noise * hessian.diagonal(dim1=1, dim2=2).sum(1),
    } | denoised


def denoising(
    schedule: Schedule, answer: Tensor, at: Tensor, gradient: Tensor, free: Tensor, k: int
) -> dict[str, Tensor]:
    """Measure what the gradient alone says at points: `local_curvature`'s part of first order.

    Parameters
    ----------
    schedule, answer, at, k
        As for `local_curvature`.
    gradient : Tensor (B, d_y)
        g, in float64.
    free : Tensor (B, d_y)
        1 for free entries, else 0.

    Returns
    -------
    dict of str to Tensor (B,)
        `entries`, `gradient_square` and `error`.
    """
    signal, noise = schedule.signal[k].double(), schedule.noise[k].double()
    entries = free.sum(1)
    denoised = (at.double() - noise * gradient) / signal
    return {
        "entries": entries,
        "gradient_square": gradient.square().sum(1),
        "error": ((denoised - answer.double()).square() * free).sum(1) / entries,
    }
