"""Answers as matrices of rank r: gradients along and across their manifold, energy against the distance of column spaces."""

import numpy as np
import torch
from torch import Tensor

from ired_interp.energy import Energy
from ired_interp.errors import InputError
from ired_interp.geometry import tangent_normal_split
from ired_interp.tasks.base import Task


def known_rank(task: Task | None, rank: int | None) -> int | None:
    """The rank asked for, else the exact rank of the task's answers where they have one below full."""
    if rank is not None:
        return rank
    exact = getattr(task, "noise", None) == 0
    found, side = getattr(task, "rank", None), getattr(task, "n", 0)
    return found if exact and found is not None and found < side else None


def as_matrices(y: Tensor) -> Tensor | None:
    """(…, n²) as (…, n, n); None where the width is no square."""
    side = round(y.shape[-1] ** 0.5)
    return y.unflatten(-1, (side, side)) if side**2 == y.shape[-1] else None


def square_matrices(y: Tensor) -> Tensor:
    """`as_matrices`, or an InputError."""
    matrices = as_matrices(y)
    if matrices is None:
        raise InputError(
            f"answers of {y.shape[-1]} entries are no square matrices and have no rank; leave rank out."
        )
    return matrices


def normal_ratio(gradient: Tensor, answer: Tensor, rank: int) -> tuple[np.ndarray, float]:
    """‖normal‖/‖tangent‖ (B,) of gradients (B, n²) on the rank-r manifold at answers (B, n²), and what a gradient without direction gives."""
    split = tangent_normal_split(
        square_matrices(gradient.double()), square_matrices(answer.double()), rank
    )
    return split.ratio.cpu().numpy(), split.chance_ratio


def rotated_answers(
    answer: Tensor, rank: int, angles: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Answers whose column space is turned, with singular values and row space as they were.

    Parameters
    ----------
    answer : (B, n²) matrices of rank r < n.
    angles : (C,) radians up to π/2, by which q = min(r, n − r) random directions of the column space turn into random directions outside it.

    Returns
    -------
    Candidates (C, B, n²), and their geodesic distances √q·angle (C,) from the answer's column space.
    """
    matrices = square_matrices(answer.double())
    count, n, _ = matrices.shape
    if not 1 <= rank < n:
        raise InputError(f"rank {rank} of {n} x {n} answers; choose 1 to {n - 1}.")
    u, s, vt = torch.linalg.svd(matrices)
    inside, outside, q = u[..., :rank], u[..., rank:], min(rank, n - rank)

    def mixed(size: int) -> Tensor:
        return torch.linalg.qr(
            torch.randn(count, size, size, generator=generator, dtype=u.dtype, device=u.device)
        ).Q

    mix = mixed(rank)
    inside, outside = inside @ mix, (outside @ mixed(n - rank))[..., :q]
    cos, sin = (
        part[:, None, None, None] for part in (angles.cos().double(), angles.sin().double())
    )
    turned = torch.cat(
        [cos * inside[..., :q] + sin * outside, inside[..., q:].expand(len(angles), -1, -1, -1)],
        dim=-1,
    )
    rows = mix.mT @ (s[..., :rank, None] * vt[..., :rank, :])
    return (turned @ rows).flatten(-2).to(answer.dtype), q**0.5 * angles


@torch.no_grad()
def energy_distance_correlation(
    energy: Energy, x: Tensor, candidates: Tensor, distances: Tensor, signal: Tensor, k: int
) -> np.ndarray:
    """Spearman's rank correlation (B,) of E(x, √ᾱ_k y, k) with the distance, over candidates y (C, B, d_y) of each problem."""
    energies = torch.vmap(lambda y: energy(x, signal * y, k))(candidates).double().cpu().numpy()
    ranks = energies.argsort(0).argsort(0).astype(float)
    order = distances.cpu().numpy().argsort().argsort().astype(float)
    ranks, order = ranks - ranks.mean(0), order - order.mean()
    return (ranks * order[:, None]).sum(0) / np.sqrt((ranks**2).sum(0) * (order**2).sum())
