"""All eigenvalues of many symmetric matrices, one matrix a CPU thread."""

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
    host, threads = matrices.detach().cpu(), torch.get_num_threads()
    if min(threads, len(host)) < 2:
        return _eigenvalues(host)
    size = -(-len(host) // (_PARTS * threads))
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return torch.cat(list(pool.map(_eigenvalues, host.split(size))))
    finally:
        torch.set_num_threads(threads)


def _eigenvalues(matrices: Tensor) -> Tensor:
    found: Tensor = torch.linalg.eigvalsh(matrices.double())
    return found
