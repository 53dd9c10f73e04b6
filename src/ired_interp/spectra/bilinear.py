"""Convolutions and linear layers: maps bilinear in input and weight, to every order.

PyTorch takes the second derivative of a convolution in its weights by a convolution with a kernel
as large as the image, and adds the two halves of every derivative in a pass of its own. Here all
orders use the kernels of first derivatives, and the second half is added where it is computed.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from ired_interp.spectra.applied import Applied

Wanted = tuple[bool, bool]  # whether in the input, and in the weight


class Kind(Protocol):
    """A bilinear map c(x, w) by its kernels, none of which makes a graph of its own."""

    def map(self, x: Tensor, w: Tensor, bias: Tensor | None = None) -> Tensor:
        """c(x, w) + bias."""

    def add(self, total: Tensor, x: Tensor, w: Tensor) -> Tensor:
        """Add c(x, w) to a total in place."""

    def slopes(self, g: Tensor, x: Tensor, w: Tensor, wanted: Wanted) -> tuple[Any, Any]:
        """Take the gradients of ⟨g, c(x, w)⟩ in x and in w, those that are wanted."""


class Convolution:
    """Convolution of a batch.

    Parameters
    ----------
    settings : tuple
        Those of ``aten.convolution`` behind the bias.
    """

    def __init__(self, *settings: Any) -> None:
        self._settings = settings

    def map(self, x: Tensor, w: Tensor, bias: Tensor | None = None) -> Tensor:
        """Convolve."""
        result: Tensor = torch.ops.aten.convolution(x, w, bias, *self._settings)
        return result

    def add(self, total: Tensor, x: Tensor, w: Tensor) -> Tensor:
        """Convolve and add."""
        return total.add_(self.map(x, w))

    def slopes(self, g: Tensor, x: Tensor, w: Tensor, wanted: Wanted) -> tuple[Any, Any]:
        """Correlate."""
        mask = [*wanted, False]
        found = torch.ops.aten.convolution_backward(g, x, w, None, *self._settings, mask)
        return found[0], found[1]


class Linear:
    """x wᵀ of rows x."""

    def map(self, x: Tensor, w: Tensor, bias: Tensor | None = None) -> Tensor:
        """Multiply."""
        return x @ w.T if bias is None else torch.addmm(bias, x, w.T)

    def add(self, total: Tensor, x: Tensor, w: Tensor) -> Tensor:
        """Multiply and add."""
        return total.addmm_(x, w.T)

    def slopes(self, g: Tensor, x: Tensor, w: Tensor, wanted: Wanted) -> tuple[Any, Any]:
        """Multiply by the transposes."""
        return g @ w if wanted[0] else None, g.T @ x if wanted[1] else None


class Bilinear(Applied):
    """c(x, w) + bias, of a kind."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, bias: Tensor | None, kind: Kind) -> Any:
        """Take the map."""
        ctx.save_for_backward(x, w)
        ctx.kind = kind
        return kind.map(x, w, bias)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        """Pull back, differentiably."""
        x, w = ctx.saved_tensors
        by_x, by_w = _Slopes.of(g, x, w, ctx.kind, ctx.needs_input_grad[:2])
        by_bias = g.sum([0, *range(2, g.ndim)]) if ctx.needs_input_grad[2] else None
        return by_x, by_w, by_bias, None


class _Slopes(Applied):
    """The gradients of ⟨g, c(x, w)⟩ in x and in w: each is linear in g and in the other."""

    @staticmethod
    def forward(ctx: Any, g: Tensor, x: Tensor, w: Tensor, kind: Kind, wanted: Wanted) -> Any:
        ctx.save_for_backward(g, x, w)
        ctx.kind = kind
        ctx.set_materialize_grads(False)
        return kind.slopes(g, x, w, wanted)

    @staticmethod
    def backward(ctx: Any, along_x: Tensor | None, along_w: Tensor | None) -> Any:
        (g, x, w), kind = ctx.saved_tensors, ctx.kind
        by_g = by_x = by_w = None
        if along_x is not None:
            by_g = Bilinear.of(along_x, w, None, kind)
            if ctx.needs_input_grad[2]:
                _, by_w = _Slopes.of(g, along_x, w, kind, (False, True))
        if along_w is not None:
            if by_g is None or torch.is_grad_enabled():
                more = Bilinear.of(x, along_w, None, kind)
                by_g = more if by_g is None else by_g + more
            else:
                kind.add(by_g, x, along_w)
            if ctx.needs_input_grad[1]:
                by_x, _ = _Slopes.of(g, x, along_w, kind, (True, False))
        return by_g, by_x, by_w, None, None
