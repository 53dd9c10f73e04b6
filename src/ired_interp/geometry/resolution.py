"""What a precision can tell from zero: the one rank check of all subspaces."""

import math
from collections.abc import Sequence

import torch

from ired_interp.errors import InputError


def resolution(size: int, precision: torch.dtype) -> float:
    """Smallest singular value or eigenvalue that rounding leaves meaningful, of the largest.

    Parameters
    ----------
    size : int
        How many singular values there are.
    precision : torch.dtype
        What the matrix was rounded to.

    Returns
    -------
    float
        2√size·ε: rounding moves a matrix by at most √size·ε/2 of its largest singular value.
    """
    return 2 * math.sqrt(size) * torch.finfo(precision).eps


def check_rank(
    singular: torch.Tensor, precision: torch.dtype, rank: int, what: str, least: float = 0.0
) -> int:
    """Refuse matrices whose leading directions are not all there to within a precision.

    Parameters
    ----------
    singular : torch.Tensor
        (..., k) singular values, descending.
    precision : torch.dtype
        What the matrices were rounded to.
    rank : int
        Directions that are needed.
    what : str
        What they belong to, in a message.
    least : float
        Resolution of the computation itself, where that is coarser.

    Returns
    -------
    int
        The smallest numerical rank.

    Raises
    ------
    InputError
        If one has a smaller numerical rank.
    """
    limit = max(least, resolution(singular.shape[-1], precision)) * singular[..., :1]
    found = int((singular > limit).sum(-1).min())
    if found < rank:
        raise InputError(
            f"{what} spans only {found} dimensions in {precision}, where {rank} are needed; ask "
            f"for at most {found}."
        )
    return found


def finite_scale(values: torch.Tensor, dims: Sequence[int], what: str) -> torch.Tensor:
    """Find the largest magnitude along dimensions, to divide by before anything is squared.

    Parameters
    ----------
    values : torch.Tensor
        Any.
    dims : sequence of int
        Which dimensions.
    what : str
        What it is, in a message.

    Returns
    -------
    torch.Tensor
        Of the same dimensions, 1 where all is 0.

    Raises
    ------
    InputError
        If a value is not finite.
    """
    scale = values.abs().amax(tuple(dims), keepdim=True)
    if not torch.isfinite(scale).all():
        raise InputError(
            f"{what} holds NaN or infinite entries; directions need finite ones: look upstream."
        )
    return torch.where(scale == 0, 1.0, scale)
