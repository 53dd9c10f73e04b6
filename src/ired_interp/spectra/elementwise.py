"""Functions of each entry whose derivatives of every order take one product with a vector."""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ired_interp.spectra.applied import Applied

Chain = tuple[Callable[[Tensor], Tensor], ...]  # functions, each the derivative of the one before

_aten = torch.ops.aten


class Elementwise(Applied):
    """The first of a chain of functions, applied to each entry.

    Where its value is known already it is given. Its slope is computed once a graph.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, value: Tensor | None, chain: Chain) -> Any:
        """Apply it."""
        ctx.save_for_backward(x, chain[1](x))
        ctx.rest = chain[1:]
        return chain[0](x) if value is None else value.view_as(value)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        """Pull back, differentiably."""
        x, slope = ctx.saved_tensors
        if torch.is_grad_enabled():
            rest = ctx.rest
            slope = Elementwise.of(x, slope, rest) if len(rest) > 1 else rest[0](x)
        return g * slope, None, None


def silu_second_derivative(x: Tensor) -> Tensor:
    """Second derivative of x·sigmoid(x), of x's shape."""
    s = torch.sigmoid(x)
    return s * (1 - s) * (2 + x * (1 - 2 * s))


def silu_third_derivative(x: Tensor) -> Tensor:
    """Third derivative of x·sigmoid(x), of x's shape."""
    s = torch.sigmoid(x)
    slope = s * (1 - s)
    return slope * (3 * (1 - 2 * s) + x * (1 - 6 * slope))


def _gelu_second_derivative(x: Tensor) -> Tensor:
    return (2 - x * x) * torch.exp(-x * x / 2) / math.sqrt(2 * math.pi)


GELU: Chain = (
    F.gelu,
    lambda x: _aten.gelu_backward(torch.ones_like(x), x),
    _gelu_second_derivative,
)
SILU: Chain = (
    F.silu,
    lambda x: _aten.silu_backward(torch.ones_like(x), x),
    silu_second_derivative,
    silu_third_derivative,
)
