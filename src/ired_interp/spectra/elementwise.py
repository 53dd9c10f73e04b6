"""Functions of each entry, whose second derivatives are as short as first ones.

PyTorch adds the zeros of ReLU's bends to gradients and composes those of GELU and SiLU of many
elementary operations. Here what does not depend on a product's vector is computed once a graph.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ired_interp.spectra.applied import Applied

Chain = tuple[Callable[[Tensor], Tensor], ...]  # functions, each the derivative of the one before

_aten = torch.ops.aten


class ReLU(Applied):
    """max(x, 0)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Any:
        """Apply it."""
        y = torch.relu(x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        """Pull back, differentiably."""
        return _WherePositive.of(g, ctx.saved_tensors[0].detach())


class _WherePositive(Applied):
    """g where y is positive, 0 elsewhere: it does not depend on y in between."""

    @staticmethod
    def forward(ctx: Any, g: Tensor, y: Tensor) -> Any:
        ctx.save_for_backward(y)
        return _aten.threshold_backward(g, y, 0)

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> Any:
        return _WherePositive.of(v, ctx.saved_tensors[0]), None


class Smooth(Applied):
    """The first function of a chain."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, chain: Chain) -> Any:
        """Apply it."""
        ctx.save_for_backward(x, chain[1](x))
        ctx.slopes = chain[1:]
        return chain[0](x)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        """Pull back, differentiably."""
        x, slope = ctx.saved_tensors
        if not torch.is_grad_enabled():
            return g * slope, None
        return _Sloped.of(g, x, slope, ctx.slopes), None


class _Sloped(Applied):
    """g times the slope at x, which is the first of the rest of a chain."""

    @staticmethod
    def forward(ctx: Any, g: Tensor, x: Tensor, slope: Tensor, slopes: Chain) -> Tensor:
        ctx.save_for_backward(g, x, slope, slopes[1](x).mul_(g))
        ctx.slopes = slopes
        return g * slope

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> Any:
        g, x, slope, bent = ctx.saved_tensors
        if torch.is_grad_enabled():
            by_g = _Sloped.of(v, x, slope, ctx.slopes)
            return by_g, v * g * ctx.slopes[1](x), None, None
        return v * slope, v * bent, None, None


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
