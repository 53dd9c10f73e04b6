"""Hessians in y of each problem: that they are finite, and their blocks of free entries."""

import torch
from torch import Tensor

from ired_interp.errors import RunError


def check_finite(finite: bool | Tensor, k: int) -> None:
    """Refuse Hessians of landscape k that are not finite.

    Raises
    ------
    RunError
        If they are not.
    """
    if not finite:
        raise RunError(
            f"the Hessian in y of landscape {k} is not finite; the weights or the point have "
            "diverged."
        )


def given_apart(matrices: Tensor, free: Tensor) -> Tensor:
    """Set given entries apart, so that the eigenvalues of the free ones come before theirs.

    No eigenvalue reaches a matrix's norm, above which the given entries are put.

    Parameters
    ----------
    matrices : Tensor
        (B, d_y, d_y), zero in rows and columns of given entries.
    free : Tensor
        (B, d_y), 1 for free entries, else 0.

    Returns
    -------
    Tensor
        (B, d_y, d_y).
    """
    apart = 1 + 2 * torch.linalg.matrix_norm(matrices)
    return matrices + torch.diag_embed(apart[:, None] * (1 - free))
