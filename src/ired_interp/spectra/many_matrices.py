"""Decompositions of many symmetric matrices, one matrix a CPU thread."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

_PARTS = 4  # for each thread, so that none waits long for the last


def many_eigenvalues(matrices: Tensor) -> Tensor:
    """Find the eigenvalues of each of many symmetric matrices, in float64.

    They are found on the CPU by as many threads as PyTorch has: a GPU's solver takes one matrix
    after the other, and four times as long.

    Parameters
    ----------
    matrices : Tensor
        (B, d, d) symmetric, on any device.

    Returns
    -------
    Tensor
        (B, d) float64, each row ascending, on the CPU.

    Examples
    --------
    >>> many_eigenvalues(torch.tensor([[[2.0, 1.0], [1.0, 2.0]]]))
    tensor([[1., 3.]], dtype=torch.float64)
    """
    (found,) = _by_threads(lambda part: (torch.linalg.eigvalsh(part),), matrices)
    return found


def many_eigenpairs(matrices: Tensor) -> tuple[Tensor, Tensor]:
    """Find eigenvalues and eigenvectors likewise; see ``many_eigenvalues``.

    Parameters
    ----------
    matrices : Tensor
        (B, d, d) symmetric, on any device.

    Returns
    -------
    Tensor, Tensor
        (B, d) ascending and (B, d, d) in columns, float64, on the CPU.
    """
    values, vectors = _by_threads(lambda part: tuple(torch.linalg.eigh(part)), matrices)
    return values, vectors


def _by_threads(
    decompose: Callable[[Tensor], tuple[Tensor, ...]], matrices: Tensor
) -> tuple[Tensor, ...]:
    host, threads = matrices.detach().cpu(), torch.get_num_threads()
    if min(threads, len(host)) < 2:
        return decompose(host.double())
    size = -(-len(host) // (_PARTS * threads))
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            parts = list(pool.map(lambda part: decompose(part.double()), host.split(size)))
    finally:
        torch.set_num_threads(threads)
    return tuple(torch.cat(found) for found in zip(*parts, strict=True))
