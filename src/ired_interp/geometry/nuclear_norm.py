"""The matrix of least nuclear norm that has given entries: completion without any learning."""

import torch
from torch import Tensor

_STEP = 0.1  # of the largest singular value of what is given
_PRECISION = 1e-4  # of the norm of what is given


def least_nuclear_norm(given: Tensor, visible: Tensor, iterations: int = 1000) -> Tensor:
    """Complete matrices by the least sum of singular values.

    By Douglas–Rachford splitting, to about 1e-4 of the norm of what is given. Where several
    completions have the least sum, as of a matrix whose visible entries fall into blocks, it is one
    of them.

    Parameters
    ----------
    given : Tensor (B, n, m)
        Matrices; only their visible entries count.
    visible : Tensor (B, n, m)
        Which entries are given, bool.
    iterations : int
        At most.

    Returns
    -------
    Tensor (B, n, m)
        Completed, in float64; visible entries are as given.

    References
    ----------
    Candès and Recht, "Exact matrix completion via convex optimization", Foundations of
    Computational Mathematics 9, 2009.
    Combettes and Pesquet, "A Douglas–Rachford splitting approach to nonsmooth convex variational
    signal recovery", IEEE Journal of Selected Topics in Signal Processing 1, 2007.

    Examples
    --------
    >>> given = torch.tensor([[[2.0, 1.0], [1.0, 7.0]]])  # 7 is hidden; [2, 1] and [1, ½] is best
    >>> visible = torch.tensor([[[True, True], [True, False]]])
    >>> least_nuclear_norm(given, visible)[0, 1, 1].round(decimals=3)
    tensor(0.5000, dtype=torch.float64)
    """
    given = torch.where(visible, given.double(), 0.0)
    size = torch.linalg.matrix_norm(given)
    step = _STEP * torch.linalg.svdvals(given)[:, :1]
    found, left, state = given.clone(), size.nonzero()[:, 0], given[size > 0]
    for _ in range(iterations):
        if not len(left):
            break
        having = torch.where(visible[left], given[left], state)
        low = _shrunk(2 * having - state, step[left])
        found[left], state = having, state + low - having
        open_ = torch.linalg.matrix_norm(low - having) > _PRECISION * size[left]
        left, state = left[open_], state[open_]
    return found


def _shrunk(matrices: Tensor, step: Tensor) -> Tensor:
    """Make singular values smaller by a step (B, 1), those below it 0."""
    u, s, vt = torch.linalg.svd(matrices, full_matrices=False)
    shrunk: Tensor = (u * (s - step).clamp(min=0)[:, None]) @ vt
    return shrunk
