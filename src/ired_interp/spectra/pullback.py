"""Products of vectors with Jacobians, by one backward pass."""

from collections.abc import Sequence

import torch
from torch import Tensor


def pulled_back(
    outputs: Sequence[Tensor],
    vectors: Sequence[Tensor],
    inputs: Sequence[Tensor],
    *,
    create_graph: bool = False,
) -> list[Tensor]:
    """Multiply vectors by the Jacobian of outputs, Jᵀv; the outputs' graph stays.

    One scalar is differentiated: for weighted outputs PyTorch imports a computer algebra system.

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
    along = [z.flatten() @ v.flatten() for z, v in zip(outputs, vectors, strict=True)]
    pulled = torch.autograd.grad(
        torch.stack(along).sum(),
        inputs,
        retain_graph=True,
        create_graph=create_graph,
        materialize_grads=True,
    )
    return list(pulled)
