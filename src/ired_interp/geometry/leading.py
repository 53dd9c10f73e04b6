"""The leading subspace of a collection of long vectors, through their small Gram matrix."""

import numpy as np
import torch

from ired_interp.errors import InputError
from ired_interp.geometry.arrays import as_tensor, row_slices


def leading_subspace(
    vectors: torch.Tensor | np.ndarray, p: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Span of the p leading principal directions of collected vectors, of gradients say.

    Parameters
    ----------
    vectors : torch.Tensor or numpy.ndarray
        (B, N), B ≪ N, any precision, also memory-mapped; used as it is (subtract the mean to study
        the covariance).
    p : int
        Dimension of the subspace.

    Returns
    -------
    basis : torch.Tensor
        (N, p) orthonormal to about 1e-16 (s₁/s_p)², float64.
    singular_values : torch.Tensor
        (B,) singular values of ``vectors``, descending; their squares over B are the eigenvalues of
        the second moment.

    Raises
    ------
    InputError
        If p is not in 1 … B, an entry is not finite, or the vectors span fewer than p dimensions to
        working accuracy.

    Notes
    -----
    Eigenvectors of the B × B Gram matrix, streamed in float64; Sirovich's method of snapshots
    (Quart. Appl. Math. 45, 1987).

    Examples
    --------
    >>> import torch
    >>> from ired_interp.geometry import leading_subspace
    >>> gradients = torch.tensor([[3.0, 0.0, 0.0], [0.0, 1.0, 0.0], [3.0, 1.0, 0.0]])
    >>> basis, singular_values = leading_subspace(gradients, p=1)
    >>> basis.shape, bool(basis[0, 0].abs() > 0.9)
    (torch.Size([3, 1]), True)
    """
    if vectors.ndim != 2 or not 1 <= p <= vectors.shape[0]:
        raise InputError(
            f"{p} directions of vectors of shape {tuple(vectors.shape)}: pass (B, N) and p from 1 "
            "to B."
        )
    count, rows = vectors.shape

    def columns(chunk: slice) -> torch.Tensor:
        return as_tensor(vectors[:, chunk], "vectors").double()

    gram = sum((part @ part.mT for part in map(columns, row_slices(rows))), torch.zeros(()))
    if not torch.isfinite(gram).all():
        raise InputError(
            "the vectors hold NaN or infinite entries; their directions need finite ones: look "
            "upstream."
        )
    values, weights = torch.linalg.eigh(gram)
    values, weights = values.flip(-1).clamp(min=0), weights.flip(-1)
    rank = int((values > count * torch.finfo(torch.float64).eps * values[0]).sum())
    if rank < p:
        raise InputError(
            f"{count} vectors span {rank} dimensions to working accuracy; ask for at most {rank}, "
            f"not {p}."
        )
    combine = weights[:, :p] / values[:p].sqrt()
    basis = torch.cat([columns(chunk).mT @ combine for chunk in row_slices(rows)])
    return basis, values.sqrt()
