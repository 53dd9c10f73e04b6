"""Where subspaces in y come from: curvature, gradients, solutions, hidden activations."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ired_interp.energy import Energy
from ired_interp.errors import InputError, RunError
from ired_interp.geometry import leading_subspace
from ired_interp.module import IREDModule


@torch.no_grad()
def hessian_directions(
    energy: Energy, x: Tensor, y: Tensor, k: int, p: int, memory: float
) -> Tensor:
    """Find the eigenvectors of the p largest eigenvalues of ∇²_y E for each problem.

    Parameters
    ----------
    energy : Energy
        E.
    x, y : Tensor
        (B, d_x) and (B, d_y), where to look.
    k : int
        Landscape.
    p : int
        How many.
    memory : float
        Bytes that Hessians may take.

    Returns
    -------
    Tensor
        (B, d_y, p) float64, descending.

    Raises
    ------
    RunError
        If a Hessian is not finite.
    """
    matrices = energy.hessian(x, y, k, memory)
    if not matrices.isfinite().all():
        raise RunError(
            f"the Hessian in y of landscape {k} is not finite; the weights or the point have "
            "diverged."
        )
    vectors: Tensor = torch.linalg.eigh(matrices.double()).eigenvectors
    return vectors[..., -p:].flip(-1)


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
    """
    side = matrix_side(y.shape[1])
    left: Tensor = torch.linalg.svd(y.double().reshape(-1, side, side)).U
    return left[..., :p]


@torch.no_grad()
def energy_gradient_span(energy: Energy, x: Tensor, y: Tensor, k: int, p: int) -> Tensor:
    """Find the leading p directions of the energy gradients of all problems.

    Parameters
    ----------
    energy : Energy
        E.
    x, y : Tensor
        (B, d_x) and (B, d_y), where to look.
    k : int
        Landscape.
    p : int
        How many.

    Returns
    -------
    Tensor
        (d_y, p) float64.
    """
    return leading_span(energy.gradient(x, y, k), p, "energy gradients")


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


def activation_span(energy: Energy, x: Tensor, y: Tensor, k: int, p: int, layer: str) -> Tensor:
    """Find the leading p directions of a layer's output over all problems.

    Parameters
    ----------
    energy : Energy
        Whose layer.
    x, y : Tensor
        (B, d_x) and (B, d_y), where to look.
    k : int
        Landscape.
    p : int
        How many.
    layer : str
        A key of `activations`.

    Returns
    -------
    Tensor
        (width, p) float64.
    """
    return leading_span(activations(energy, x, y, k)[layer], p, f"activations of {layer}")


def leading_span(rows: Tensor, p: int, what: str) -> Tensor:
    """Find the leading p right singular vectors of vectors that lie in rows.

    Parameters
    ----------
    rows : Tensor
        (B, N).
    p : int
        How many.
    what : str
        What the rows are, in a message.

    Returns
    -------
    Tensor
        (N, p) float64, on the CPU.

    Raises
    ------
    RunError
        If an entry is not finite.
    """
    if not rows.isfinite().all():
        raise RunError(f"the {what} are not finite; the weights or the point have diverged.")
    rows = rows.cpu()
    if len(rows) > rows.shape[1]:
        right: Tensor = torch.linalg.svd(rows.double(), full_matrices=False).Vh
        return right[:p].mT
    return leading_subspace(rows, p)[0]
