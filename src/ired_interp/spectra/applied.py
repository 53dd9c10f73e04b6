"""Autograd functions that are plain calls where no graph is made."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function


class Applied(Function):
    """A function with a derivative of its own."""

    @classmethod
    def of(cls, *arguments: Any) -> Any:
        """Apply the function; outside of a graph its forward pass alone, which saves its node."""
        function: Any = cls  # whose methods PyTorch leaves without types
        if torch.is_grad_enabled():
            return function.apply(*arguments)
        return function.forward(_Unkept(), *arguments)


class _Unkept:
    """The context of a call that no derivative is taken of."""

    def save_for_backward(self, *tensors: Tensor) -> None:
        """Keep nothing."""

    def set_materialize_grads(self, value: bool) -> None:
        """Change nothing."""
