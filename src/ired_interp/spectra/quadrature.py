"""Gauss quadrature of the spectral measure of a vector."""

import numpy as np
import torch
from scipy.linalg import eigh_tridiagonal
from torch import Tensor

from ired_interp.errors import InputError
from ired_interp.spectra.operator import SymmetricOperator
from ired_interp.spectra.vectors import inner, norm, subtract


def quadrature(
    operator: SymmetricOperator, start: Tensor, steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """Gauss quadrature of the start vector's spectral measure, by three-term Lanczos.

    Nothing is reorthogonalised: the ghosts that arise share the weight of the eigenvalue they copy.

    Parameters
    ----------
    operator : SymmetricOperator
        N×N.
    start : Tensor
        (N,) not zero.
    steps : int
        Nodes at most.

    Returns
    -------
    tuple of numpy.ndarray
        (steps,) nodes and weights, which sum to 1; nodes that are not needed have weight 0.

    Raises
    ------
    InputError
        If a product is not finite.
    """
    q, before = start / norm(start), torch.zeros_like(start)
    diagonal: list[float] = []
    off: list[float] = []
    for step in range(steps):
        w = operator.times(q)
        if off:
            w.sub_(before, alpha=off[-1])
        along = inner(q, w)
        square = subtract(w, [(q, along)], (w,))[0]
        number, square = torch.stack([along, square]).tolist()  # each reading waits for all
        diagonal.append(number)
        length = square**0.5
        if not np.isfinite(length):
            raise InputError(
                "a product is not finite; check the objective for NaN or exploding values"
            )
        scale = max(map(abs, [*diagonal, *off, 0.0]))
        if step + 1 == steps or operator.any_rank(length <= 50 * torch.finfo(w.dtype).eps * scale):
            break
        off.append(length)
        before, q = q, w.div_(length)
    operator.confirm()
    nodes, vectors = eigh_tridiagonal(np.array(diagonal), np.array(off[: len(diagonal) - 1]))
    weights = vectors[0] ** 2
    pad = steps - len(nodes)
    return np.pad(nodes, (0, pad), mode="edge"), np.pad(weights, (0, pad))
