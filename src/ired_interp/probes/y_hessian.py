"""Hessians of the energy in y, by the fastest exact route that an energy has."""

import torch
from torch import Tensor

from ired_interp.energy import Energy, MLPEnergy
from ired_interp.energy.mlp_hessian import mlp_hessian
from ired_interp.spectra import batched_hessian


def hessians(energy: Energy, x: Tensor, y: Tensor, k: int, memory: float) -> Tensor:
    """∇²_y E (B, d_y, d_y) at y (B, d_y) in landscape k, working within about `memory` bytes beside the result."""
    if isinstance(energy, MLPEnergy):
        row_bytes = 9 * energy.solution_dim * energy.width * y.element_size()
        return mlp_hessian(energy, x, y, k, chunk=max(1, min(len(y), int(memory / row_bytes))))
    rows = torch.full((len(y),), k, device=y.device)
    return batched_hessian(lambda y, x, k: energy(x, y, k), y, x, rows, memory=int(memory))
