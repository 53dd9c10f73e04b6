"""The leading subspace of a collection of long vectors, through their small Gram matrix."""

import numpy as np
import torch

from ired_interp.errors import InputError
from ired_interp.geometry.arrays import as_tensor, row_slices
from ired_interp.geometry.resolution import check_rank, finite_scale


def leading_subspace(
    vectors: torch.Tensor | np.ndarray, p: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Span of the p leading principal directions of collected vectors, of gradients say.

    Parameters
    ----------
    vectors : torch.Tensor or numpy.ndarray
        (B, N), any precision, also memory-mapped; used as it is (subtract the mean to study the
        covariance).
    p : int
        Dimension of the subspace.

    Returns
    -------
    basis : torch.Tensor
        (N, p) float64, orthonormal to about 1e-16 (s₁/s_p)² where B ≤ N, else to 1e-16.
    singular_values : torch.Tensor
        (min(B, N),) singular values of ``vectors``, descending; their squares over B are the
        eigenvalues of the second moment.

    Raises
    ------
    InputError
        If p is not in 1 … min(B, N), an entry is not finite, or the vectors span fewer than p
        dimensions in their precision.

    Notes
    -----
    Eigenvectors of the B × B Gram matrix, streamed in float64; Sirovich's method of snapshots
    (Quart. Appl. Math. 45, 1987). More vectors than dimensions are decomposed as they are.

    Examples
    --------
    >>> import torch
    >>> from ired_interp.geometry import leading_subspace
    >>> gradients = torch.tensor([[3.0, 0.0, 0.0], [0.0, 1.0, 0.0], [3.0, 1.0, 0.0]])
    >>> basis, singular_values = leading_subspace(gradients, p=1)
    >>> basis.shape, bool(basis[0, 0].abs() > 0.9)
    (torch.Size([3, 1]), True)
    """
    if vectors.ndim != 2 or not 1 <= p <= min(vectors.shape):
        raise InputError(
            f"{p} directions of vectors of shape {tuple(vectors.shape)}: pass (B, N) and p from 1 "
            "to B and to N."
        )
    return leading_directions(vectors, p, p)


def leading_directions(
    vectors: torch.Tensor | np.ndarray, least: int, most: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Find principal directions of collected vectors, as many as they have.

    Parameters
    ----------
    vectors : torch.Tensor or numpy.ndarray
        (B, N), as ``leading_subspace`` takes them.
    least, most : int
        How many there must be, and how many are wanted.

    Returns
    -------
    tuple of torch.Tensor
        (N, q) basis, q at most ``most`` and the numerical rank, and (min(B, N),) singular values.

    Raises
    ------
    InputError
        If an entry is not finite, or there are fewer directions than ``least``.
    """
    count, rows = vectors.shape
    precision = as_tensor(vectors[:1], "vectors").dtype
    what = f"a set of {count} vectors"
    parts = (as_tensor(vectors[:, c], "vectors").abs().amax() for c in row_slices(rows))
    scale = finite_scale(torch.stack(list(parts)).double(), (0,), what)

    def columns(chunk: slice) -> torch.Tensor:
        return as_tensor(vectors[:, chunk], "vectors").double() / scale

    if count > rows:
        _, singular, right = torch.linalg.svd(columns(slice(None)), full_matrices=False)
        rank = check_rank(singular, precision, least, what)
        return right[: min(most, rank)].mT, singular * scale
    gram = sum((part @ part.mT for part in map(columns, row_slices(rows))), torch.zeros(()))
    values, weights = torch.linalg.eigh(gram)
    values, weights = values.flip(-1).clamp(min=0), weights.flip(-1)
    squared = (count * torch.finfo(torch.float64).eps) ** 0.5  # of squares, in float64
    found = min(most, check_rank(values.sqrt(), precision, least, what, squared))
    combine = weights[:, :found] / values[:found].sqrt()
    basis = torch.cat([columns(chunk).mT @ combine for chunk in row_slices(rows)])
    return basis, values.sqrt() * scale
