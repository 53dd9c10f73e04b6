"""Diagonal of an operator by Hutchinson's estimator."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ired_interp.errors import InputError
from ired_interp.random import stream
from ired_interp.spectra.operator import SymmetricOperator
from ired_interp.spectra.progress import SolverProgress


@dataclass(frozen=True)
class Diagonal:
    """Diagonal entries and their errors.

    Attributes
    ----------
    values : Tensor
        (N,), unbiased.
    errors : Tensor
        (N,) standard errors; 0 where the entries are exact.
    matvecs : int
        Products used.
    """

    values: Tensor
    errors: Tensor
    matvecs: int


def diagonal(
    operator: SymmetricOperator, matvecs: int = 100, *, seed: int = 0, progress: bool = True
) -> Diagonal:
    """Estimate the diagonal as the mean of v ⊙ A v over vectors v of random signs.

    The variance of an entry is the sum of squares beside it in its row, over the number of
    products; a diagonal matrix is exact.

    Parameters
    ----------
    operator : SymmetricOperator
        N×N, A.
    matvecs : int
        Products, at least 2; with N of them or more the diagonal is computed exactly, by N.
    seed : int
        Of the vectors, which have their own stream.
    progress : bool
        Show what is done on stderr.

    Returns
    -------
    Diagonal
        On the operator's device.

    Raises
    ------
    InputError
        If there are fewer than 2 products.
    RunError
        If two products of one vector differ.

    References
    ----------
    Bekas, Kokiopoulou and Saad, "An estimator for the diagonal of a matrix", Appl. Numer. Math. 57,
    2007.

    Examples
    --------
    >>> import torch
    >>> from ired_interp.spectra import MatrixOperator, diagonal
    >>> A = MatrixOperator(torch.diag(torch.arange(5.0)))
    >>> diagonal(A, matvecs=2, progress=False).values
    tensor([0., 1., 2., 3., 4.])
    """
    if matvecs < 2:
        raise InputError(f"matvecs is {matvecs}; expected at least 2, for an error")
    size = operator.shape[0]
    exact, count = matvecs >= size, min(matvecs, size)
    operator.check()
    source = stream("cpu", seed, "diagonal")
    mean = torch.zeros(size, dtype=operator.dtype, device=operator.device)
    squares = torch.zeros_like(mean)
    bar = SolverProgress("diagonal", progress and operator.is_rank_zero())
    try:
        for done in range(1, count + 1):
            if exact:
                v = torch.zeros_like(mean)
                v[done - 1] = 1
                mean += v * (operator @ v)
            else:
                signs = torch.randint(0, 2, (size,), generator=source) * 2 - 1
                v = signs.to(operator.device, operator.dtype)
                deviation = v * (operator @ v) - mean
                mean.add_(deviation, alpha=1 / done)
                squares.addcmul_(deviation, deviation, value=(done - 1) / done)
            bar.update(f"{done} of {count} products", done / count)
    finally:
        bar.close()
    errors = (squares / (count * max(1, count - 1))).sqrt_()
    return Diagonal(mean, errors, count)
