"""Where subspaces in y come from: curvature, gradients, solutions, hidden activations."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ired_interp.energy import Energy
from ired_interp.errors import InputError
from ired_interp.geometry.resolution import check_rank
from ired_interp.module import IREDModule
from ired_interp.probes.hessians import check_finite


@torch.no_grad()
def hessians(energy: Energy, x: Tensor, y: Tensor, k: int, memory: float) -> Tensor:
    """Compute ∇²_y E of each problem.

    Parameters
    ----------
    energy : Energy
        E.
    x, y : Tensor
        (B, d_x) and (B, d_y), where to look.
    k : int
        Landscape.
    memory : float
        Bytes that Hessians may take.

    Returns
    -------
    Tensor
        (B, d_y, d_y).

    Raises
    ------
    RunError
        If a Hessian is not finite.
    """
    matrices = energy.hessian(x, y, k, memory)
    check_finite(matrices.isfinite().all(), k)
    return matrices


def matrix_side(entries: int) -> int:
    """Side of the square matrix that an answer is.

    Parameters
    ----------
    entries : int
        d_y.

    Returns
    -------
    int
        √d_y.

    Raises
    ------
    InputError
        If d_y is no square.
    """
    side = math.isqrt(entries)
    if side**2 != entries:
        raise InputError(
            f"answers of {entries} entries are no square matrices and have no column space; choose "
            "another source."
        )
    return side


def solution_columns(y: Tensor, p: int) -> Tensor:
    """Find the leading p left singular vectors of each answer as a square matrix.

    Parameters
    ----------
    y : Tensor
        (B, n²).
    p : int
        How many.

    Returns
    -------
    Tensor
        (B, n, p) float64.

    Raises
    ------
    InputError
        If an answer has a rank below p.
    """
    side = matrix_side(y.shape[1])
    left, singular, _ = torch.linalg.svd(y.double().reshape(-1, side, side))
    check_rank(singular, y.dtype, p, f"an answer of {side} x {side}")
    columns: Tensor = left[..., :p]
    return columns


def column_grams(y: Tensor) -> Tensor:
    """Multiply each answer as a square matrix with its transpose: YYᵀ.

    Parameters
    ----------
    y : Tensor
        (B, n²).

    Returns
    -------
    Tensor
        (B, n, n), whose leading eigenvectors are the leading left singular vectors of Y.
    """
    matrices = y.reshape(len(y), matrix_side(y.shape[1]), -1)
    return matrices @ matrices.mT


@torch.no_grad()
def activations(energy: Energy, x: Tensor, y: Tensor, k: int) -> dict[str, Tensor]:
    """Collect the output of every layer that gives one vector a problem.

    Parameters
    ----------
    energy : Energy
        Whose layers.
    x, y : Tensor
        (B, d_x) and (B, d_y), where to look.
    k : int
        Landscape.

    Returns
    -------
    dict
        Layer → output (B, width); of its first call, where there are several.
    """
    seen: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[[object, object, object], None]:
        def hook(module: object, inputs: object, output: object) -> None:
            if isinstance(output, Tensor) and output.ndim == 2 and len(output) == len(y):
                seen.setdefault(name, output)

        return hook

    hooks = [
        module.register_forward_hook(keep(name)) for name, module in energy.named_modules() if name
    ]
    try:
        energy(x, y, k)
    finally:
        for handle in hooks:
            handle.remove()
    return seen


def activation_widths(module: IREDModule) -> dict[str, int]:
    """Try out which layers give one vector a problem.

    Parameters
    ----------
    module : IREDModule
        Whose energy.

    Returns
    -------
    dict
        Layer → width of its output.
    """
    kind = next(module.energy.parameters(), torch.zeros(()))
    x, y = (
        torch.zeros(2, size, dtype=kind.dtype, device=kind.device)
        for size in (module.condition_dim, module.solution_dim)
    )
    return {name: seen.shape[1] for name, seen in activations(module.energy, x, y, 0).items()}
