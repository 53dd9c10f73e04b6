"""Kernels of what problems ask, to align those of a model with."""

import torch
from torch import Tensor

from ired_interp.probes.base import Snapshot
from ired_interp.probes.rank_manifold import as_matrices, known_rank


def targets(snapshot: Snapshot) -> dict[str, Tensor]:
    """Compute kernels over problems that need no model.

    Parameters
    ----------
    snapshot : Snapshot
        N problems and their task.

    Returns
    -------
    dict of str to Tensor (N, N)
        In float64 on the CPU: "problem" ⟨x, x′⟩; "answer" ⟨y, y′⟩; where answers are square
        matrices, "leading directions" (u·u′)² of their first left singular vectors; where they have
        a known rank r below full, "tangent planes" tr P P′ of the projections onto those of the
        manifold of rank-r matrices.
    """
    x, y = (part.double().cpu() for part in snapshot.batch)
    found = {"problem": x @ x.mT, "answer": y @ y.mT}
    matrices = as_matrices(y)
    if matrices is None or matrices.shape[-1] < 2:
        return found
    u, _, vt = torch.linalg.svd(matrices)
    first = u[:, :, 0]
    found["leading directions"] = (first @ first.mT).square()
    rank, n = known_rank(snapshot.task, None), matrices.shape[-1]
    if rank is not None:
        left, right = _overlaps(u[..., :rank]), _overlaps(vt[:, :rank].mT)
        # of the normal spaces, (n − r)² dimensions each, from which all n² are counted back
        across = (n - 2 * rank + left) * (n - 2 * rank + right)
        found["tangent planes"] = n**2 - 2 * (n - rank) ** 2 + across
    return found


def _overlaps(bases: Tensor) -> Tensor:
    """‖QᵀQ′‖²_F of all pairs of bases (N, n, r)."""
    planes = (bases @ bases.mT).flatten(1)
    return planes @ planes.mT
