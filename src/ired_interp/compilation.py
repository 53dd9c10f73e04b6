"""A training loss compiled by torch.compile; on a GPU also captured as a CUDA graph."""

from collections.abc import Callable

import torch
from torch import Tensor

Loss = Callable[..., tuple[Tensor, dict[str, Tensor]]]  # the scalar to minimise, and its parts


def compiled(loss: Loss, device: torch.device, within: bool = False) -> Loss:
    """Compile a loss of tensors of constant shapes for a device.

    Parameters
    ----------
    loss : callable
        The loss.
    device : torch.device
        Where.
    within : bool
        Whether it is to be part of a CUDA graph, and so not one itself.

    Returns
    -------
    callable
        The same, compiled at its first call.
    """
    if device.type != "cuda" or within:
        return torch.compile(loss, dynamic=False)
    captured = torch.compile(loss, dynamic=False, mode="reduce-overhead")

    def step(*tensors: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        torch.compiler.cudagraph_mark_step_begin()
        return captured(*tensors)

    return step
