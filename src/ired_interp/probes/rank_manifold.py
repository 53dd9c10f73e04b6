"""Matrices of rank r: gradients along and across them, energy against distance of column spaces."""

import math

import numpy as np
import torch
from torch import Tensor

from ired_interp.diffusion.inference import LandscapeMinimisation
from ired_interp.energy import Energy
from ired_interp.errors import InputError
from ired_interp.geometry import tangent_normal_split
from ired_interp.probes.base import Snapshot
from ired_interp.tasks.base import Task


def known_rank(task: Task | None, rank: int | None) -> int | None:
    """Return the rank asked for, else that of the task's answers where known and below full."""
    if rank is not None or task is None or task.exact_rank is None:
        return rank
    return task.exact_rank if task.exact_rank**2 < task.solution_dim else None


def as_matrices(y: Tensor) -> Tensor | None:
    """(…, n²) as (…, n, n); None where the width is no square."""
    side = round(y.shape[-1] ** 0.5)
    return y.reshape(*y.shape[:-1], side, side) if side**2 == y.shape[-1] else None


def square_matrices(y: Tensor) -> Tensor:
    """(…, n²) as (…, n, n).

    Raises
    ------
    InputError
        If the width is no square.
    """
    matrices = as_matrices(y)
    if matrices is None:
        raise InputError(
            f"solutions of {y.shape[-1]} entries are no square matrices and have no rank; leave "
            "rank out."
        )
    return matrices


def check_rank(rank: int, solution_dim: int) -> None:
    """Refuse a rank that square matrices of so many entries cannot have below full.

    Raises
    ------
    InputError
        If they are no square matrices, or the rank is not 1 to n − 1.
    """
    n = square_matrices(torch.empty(solution_dim)).shape[0]
    if not 1 <= rank < n:
        raise InputError(
            f"rank {rank} of {n} × {n} matrices is not below full; choose 1 to {n - 1}."
        )


def normal_ratio(gradient: Tensor, answer: Tensor, rank: int) -> tuple[np.ndarray, float]:
    """How far gradients point off the manifold of rank-r matrices.

    Parameters
    ----------
    gradient : Tensor (B, n²)
        Gradients.
    answer : Tensor (B, n²)
        Matrices of rank r, where the manifold is looked at.
    rank : int
        r.

    Returns
    -------
    ndarray (B,) and float
        ‖normal‖/‖tangent‖, and what a gradient without direction gives.
    """
    split = tangent_normal_split(
        square_matrices(gradient.double()), square_matrices(answer.double()), rank
    )
    return split.ratio.cpu().numpy(), split.chance_ratio


def turned_candidates(
    answer: Tensor, rank: int, angles: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Turn the column space of answers, which keep singular values and row space.

    Parameters
    ----------
    answer : Tensor (B, n²)
        Matrices of rank r < n.
    rank : int
        r.
    angles : Tensor (C,)
        Radians up to π/2, by which q = min(r, n − r) random directions of the column space turn
        into random directions outside it.
    generator : torch.Generator
        Of the directions.

    Returns
    -------
    Tensor (C, B, n²) and Tensor (C,)
        Candidates, and their geodesic distances √q·angle from the answer's column space.

    Raises
    ------
    InputError
        If the rank does not fit.
    """
    check_rank(rank, answer.shape[1])
    matrices = square_matrices(answer.double())
    count, n, _ = matrices.shape
    u, s, vt = torch.linalg.svd(matrices)
    inside, outside, q = u[..., :rank], u[..., rank:], min(rank, n - rank)

    def mixed(size: int) -> Tensor:
        drawn = torch.randn(count, size, size, generator=generator, dtype=u.dtype, device=u.device)
        basis: Tensor = torch.linalg.qr(drawn).Q
        return basis

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
    """Spearman's rank correlation of energy with distance over the candidates of each problem.

    Parameters
    ----------
    energy : Energy
        E.
    x : Tensor (B, d_x)
        Conditions.
    candidates : Tensor (C, B, d_y)
        Candidates y, of which E(x, √ᾱ_k y, k) is taken.
    distances : Tensor (C,)
        Of the candidates.
    signal : Tensor ()
        √ᾱ_k.
    k : int
        Landscape.

    Returns
    -------
    ndarray (B,)
        The correlations.
    """
    energies = torch.vmap(lambda y: energy(x, signal * y, k))(candidates).double().cpu().numpy()
    ranks = energies.argsort(0).argsort(0).astype(float)
    order = distances.cpu().numpy().argsort().argsort().astype(float)
    ranks, order = ranks - ranks.mean(0), order - order.mean()
    correlation: np.ndarray = (ranks * order[:, None]).sum(0) / np.sqrt(
        (ranks**2).sum(0) * (order**2).sum()
    )
    return correlation


def on_manifold(
    snapshot: Snapshot,
    place: LandscapeMinimisation,
    rank: int,
    candidates: int,
    generator: torch.Generator,
) -> dict[str, np.ndarray]:
    """Measure gradients and energies of a landscape against the rank-r manifold at the answers.

    Parameters
    ----------
    snapshot : Snapshot
        Model and B problems.
    place : LandscapeMinimisation
        The landscape and its T + 1 iterates.
    rank : int
        r.
    candidates : int
        Turned candidates per problem.
    generator : torch.Generator
        Of their directions.

    Returns
    -------
    dict of str to ndarray
        `normal_ratio` (T + 1, B) at the iterates, `normal_ratio_answer` (B,) at √ᾱ_k y*, and
        `energy_distance_correlation` (B,).
    """
    module, (x, answer), k = snapshot.module, snapshot.batch, place.k
    signal = module.schedule.signal[k]

    def ratio(y: Tensor) -> np.ndarray:
        return normal_ratio(module.energy.gradient(x, y, k), answer, rank)[0]

    angles = torch.linspace(0, math.pi / 2, candidates, device=answer.device)
    turned, distances = turned_candidates(answer, rank, angles, generator)
    return {
        "normal_ratio": np.stack([ratio(iterate.y) for iterate in place.iterates]),
        "normal_ratio_answer": ratio(signal * answer),
        "energy_distance_correlation": energy_distance_correlation(
            module.energy, x, turned, distances, signal, k
        ),
    }
