"""ReLU, GELU and SiLU, whose second derivatives are as short as first ones.

PyTorch adds the zeros of ReLU's bends to gradients and composes those of GELU and SiLU of many
elementary operations. Here what does not depend on a product's vector is computed once a graph.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ired_interp.spectra.applied import Applied

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


class Activation(Applied):
    """GELU or SiLU, by its name in ``torch.nn.functional``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, name: str) -> Any:
        """Apply it."""
        ctx.save_for_backward(x, _SLOPES[name](x))
        ctx.name = name
        return getattr(F, name)(x)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        """Pull back, differentiably."""
        x, slope = ctx.saved_tensors
        if not torch.is_grad_enabled():
            return g * slope, None
        return _Sloped.of(g, x, slope, ctx.name), None


class _Sloped(Applied):
    """g times the slope at x."""

    @staticmethod
    def forward(ctx: Any, g: Tensor, x: Tensor, slope: Tensor, name: str) -> Tensor:
        ctx.save_for_backward(g, x, slope, _BENDS[name](x).mul_(g))
        ctx.name = name
        return g * slope

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> Any:
        g, x, slope, bent = ctx.saved_tensors
        if torch.is_grad_enabled():
            by_g = _Sloped.of(v, x, slope, ctx.name)
            return by_g, v * g * _BENDS[ctx.name](x), None, None
        return v * slope, v * bent, None, None


def _gelu_bend(x: Tensor) -> Tensor:
    return (2 - x * x) * torch.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def _silu_bend(x: Tensor) -> Tensor:
    s = torch.sigmoid(x)
    return s * (1 - s) * (2 + x * (1 - 2 * s))


_SLOPES = {
    "gelu": lambda x: _aten.gelu_backward(torch.ones_like(x), x),
    "silu": lambda x: _aten.silu_backward(torch.ones_like(x), x),
}
_BENDS = {"gelu": _gelu_bend, "silu": _silu_bend}
