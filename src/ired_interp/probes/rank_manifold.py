"""Matrices of rank r: answers as points of their manifold, gradients along and across it."""

import numpy as np
import torch
from torch import Tensor

from ired_interp.errors import InputError
from ired_interp.geometry import tangent_normal_split
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
        ‖normal‖/‖tangent‖, and its mean for gradients without direction.
    """
    split = tangent_normal_split(square_matrices(gradient), square_matrices(answer), rank)
    return split.ratio.cpu().numpy(), split.chance_ratio
