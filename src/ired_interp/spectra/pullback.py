"""Products of vectors with Jacobians, by one backward pass."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.autograd.graph import _engine_run_backward


def pulled_back(
    outputs: Sequence[Tensor],
    vectors: Sequence[Tensor],
    inputs: Sequence[Tensor],
    *,
    create_graph: bool = False,
) -> list[Tensor]:
    """Multiply vectors by the Jacobian of outputs, Jᵀv; the outputs' graph stays.

    By the engine itself: for weighted outputs `torch.autograd.grad` imports a computer algebra
    system.

    Parameters
    ----------
    outputs : sequence of Tensor
        Functions of the inputs.
    vectors : sequence of Tensor
        One for each output, of its shape.
    inputs : sequence of Tensor
        In which to differentiate.
    create_graph : bool
        Whether the products are differentiable in turn.

    Returns
    -------
    list of Tensor
        Shaped like the inputs; zeros where nothing depends on one.
    """
    vectors = [v.clone() if v.is_inference() else v for v in vectors]
    pulled = _engine_run_backward(
        tuple(outputs),
        tuple(v.to(z.dtype) for z, v in zip(outputs, vectors, strict=True)),
        True,  # keep the graph
        create_graph,
        tuple(inputs),
        allow_unreachable=True,
        accumulate_grad=False,
    )
    return [torch.zeros_like(z) if p is None else p for z, p in zip(inputs, pulled, strict=True)]
