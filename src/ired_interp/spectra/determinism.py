"""Whether an objective has one symmetric matrix of second derivatives, and why it might not."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from ired_interp.spectra.dispatch import DispatchMode
from ired_interp.spectra.vectors import dot, norm


class Observer(DispatchMode):
    """What the operations are that run while it is active.

    Attributes
    ----------
    draws : set of str
        Names of those that draw random numbers.
    dtypes : set of torch.dtype
        Of their floating-point results.
    """

    def __init__(self) -> None:
        DispatchMode.__init__(self)
        self.draws: set[str] = set()
        self.dtypes: set[torch.dtype] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if torch.Tag.nondeterministic_seeded in func.tags:
            self.draws.add(str(func).removeprefix("aten.").split(".")[0])
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor) and leaf.is_floating_point():
                self.dtypes.add(leaf.dtype)
        return result


def change_fault(hv: Tensor, hv_again: Tensor, limit: float, cause: str) -> str | None:
    """Find whether two products of one vector differ.

    Parameters
    ----------
    hv, hv_again : Tensor
        (N,) the products, by graphs that were built one after the other.
    limit : float
        How far they may differ, relative to their length.
    cause : str
        Why they may differ, as ``cause_of_change`` says.

    Returns
    -------
    str or None
        A sentence: the values are not finite, or they differ. None if all is well.
    """
    if not bool(torch.isfinite(hv).all()):
        return (
            "a product with the curvature is not finite; check the objective for NaN or exploding "
            "values"
        )
    difference = norm(hv - hv_again) / max(norm(hv), torch.finfo(hv.dtype).tiny)
    if difference > limit:
        return (
            f"two products of one vector differ by {difference:.1e} of their length, so there is "
            f"no one matrix to decompose; {cause}"
        )
    return None


def symmetry_fault(
    u: Tensor, v: Tensor, hv: Tensor, hu: Tensor, limit: float, suspect: str
) -> str | None:
    """Find whether uᵀ(H v) and vᵀ(H u) differ.

    Parameters
    ----------
    u, v : Tensor
        (N,) random vectors.
    hv, hu : Tensor
        (N,) their products.
    limit : float
        How far they may differ, relative to what they would be were the vectors' signs random.
    suspect : str
        Why the matrix may not be symmetric, as ``cause_of_wrong_derivative`` says.

    Returns
    -------
    str or None
        A sentence if they do.
    """
    scale = max(norm(u * hv), norm(v * hu), torch.finfo(hv.dtype).tiny)
    skewness = abs(dot(u, hv) - dot(v, hu)) / scale
    if skewness > limit:
        return f"the curvature is not symmetric (to {skewness:.1e}): {suspect}"
    return None


def cause_of_wrong_derivative(functions: list[str]) -> str:
    """Why a product may not be that of a Hessian, and what to do.

    Parameters
    ----------
    functions : list of str
        Custom autograd functions of the objective.

    Returns
    -------
    str
        Half a sentence.
    """
    if functions:
        return (
            f"the custom autograd.Function {', '.join(functions)} has a wrong second derivative; "
            "in its backward, take everything from ctx.saved_tensors and use differentiable "
            'operations, or take product="finite_difference"'
        )
    return (
        "some operation has a wrong higher derivative, as BatchNorm has, and LayerNorm under "
        "torch.func, in an objective that contains a gradient (pytorch issue 175754); write that "
        "layer in elementary operations"
    )


def cause_of_change(draws: set[str], module: nn.Module | None) -> str:
    """Why two products of one vector may differ, and what to do.

    Parameters
    ----------
    draws : set of str
        Operations of the objective that draw random numbers.
    module : Module, optional
        Whose parameters are differentiated in.

    Returns
    -------
    str
        Half a sentence.
    """
    layers = [
        f"{name} ({type(layer).__name__})"
        for name, layer in (module.named_modules() if module else ())
        if layer.training
        and not list(layer.children())
        and ("Drop" in type(layer).__name__ or "Norm" in type(layer).__name__)
    ]
    random = f"the objective draws random numbers ({', '.join(sorted(draws))})"
    if draws and layers:
        return f"{random}: call .eval() on {', '.join(layers)}"
    if draws:
        return f"{random}: draw the noise once, outside it, or call .eval() on the model"
    if layers:
        return f"layers in training mode change between calls: call .eval() on {', '.join(layers)}"
    return (
        "it draws no random numbers itself: look for data that change between calls, or set "
        "torch.use_deterministic_algorithms(True)"
    )
