"""Decompositions of many symmetric matrices: together on a GPU, one a thread on a CPU."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from ired_interp.spectra.cusolver import batched_eigenpairs, library

_PARTS = 4  # for each thread, so that none waits long for the last


def many_eigenvalues(matrices: Tensor) -> Tensor:
    """Find the eigenvalues of each of many symmetric matrices, in float64.

    A GPU takes them together, where its cuSOLVER can (CUDA 12.6 or later); elsewhere they are found
    on the CPU by as many threads as PyTorch has.

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
    if matrices.is_cuda and library() is not None:
        return batched_eigenpairs(matrices.detach().double(), vectors=False)[0].cpu()
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
        (B, d) ascending, on the CPU, and (B, d, d) in columns, where the matrices are; float64.
    """
    if matrices.is_cuda and library() is not None:
        values, found = batched_eigenpairs(matrices.detach().double(), vectors=True)
        assert found is not None
        return values.cpu(), found
    values, vectors = _by_threads(lambda part: tuple(torch.linalg.eigh(part)), matrices)
    return values, vectors.to(matrices.device)


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
