"""Convolutions and norms whose second derivatives take few passes over memory.

PyTorch composes the second derivatives of norms of many elementary operations, and takes that of a
convolution in its weights by a convolution with a kernel as large as the image.
Here they use the kernels of first derivatives, and what does not depend on the vector of a product
is computed once a graph. Values are the same, and derivatives of every order exist.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ired_interp.spectra.applied import Applied

_aten = torch.ops.aten


class Convolution(Applied):
    """c(x, w) + bias, bilinear in x and w; settings are those of ``aten.convolution``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, bias: Tensor | None, settings: Any) -> Any:
        """Convolve."""
        ctx.save_for_backward(x, w)
        ctx.settings = settings
        return _aten.convolution(x, w, bias, *settings)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        """Pull back, differentiably."""
        x, w = ctx.saved_tensors
        by_x, by_w = _Correlation.of(g, x, w, ctx.settings, ctx.needs_input_grad[:2])
        by_bias = g.sum([0, *range(2, g.ndim)]) if ctx.needs_input_grad[2] else None
        return by_x, by_w, by_bias, None


class _Correlation(Applied):
    """The gradients of ⟨g, c(x, w)⟩ in x and in w: each is linear in g and in the other."""

    @staticmethod
    def forward(ctx: Any, g: Tensor, x: Tensor, w: Tensor, settings: Any, wanted: Any) -> Any:
        ctx.save_for_backward(g, x, w)
        ctx.settings = settings
        ctx.set_materialize_grads(False)
        return _aten.convolution_backward(g, x, w, None, *settings, [*wanted, False])[:2]

    @staticmethod
    def backward(ctx: Any, along_x: Tensor | None, along_w: Tensor | None) -> Any:
        g, x, w = ctx.saved_tensors
        by_g = by_x = by_w = None
        if along_x is not None:
            by_g = Convolution.of(along_x, w, None, ctx.settings)
            _, by_w = _Correlation.of(g, along_x, w, ctx.settings, (False, True))
        if along_w is not None:
            more = Convolution.of(x, along_w, None, ctx.settings)
            by_g = more if by_g is None else by_g + more
            if ctx.needs_input_grad[1]:
                by_x, _ = _Correlation.of(g, x, along_w, ctx.settings, (True, False))
        return by_g, by_x, by_w, None, None


class Standardized(Applied):
    """Rows of x less their mean and over their deviation, z, and one over the deviation, r."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        """Standardise."""
        z, _, r = _aten.native_layer_norm(x, x.shape[1:], None, None, eps)
        ctx.save_for_backward(z, r)
        ctx.set_materialize_grads(False)
        return z, r

    @staticmethod
    def backward(ctx: Any, along_z: Tensor | None, along_r: Tensor | None) -> Any:
        """Pull back, differentiably."""
        z, r = ctx.saved_tensors
        by_x = None if along_z is None else _Projected.of(along_z, z, r)
        if along_r is not None:
            share = -along_r * r * r / z.shape[1]
            by_x = z * share if by_x is None else torch.addcmul(by_x, z, share)
        return by_x, None


class _Projected(Applied):
    """r (g − mean g − z mean(g z)): the Jacobian of z, which is symmetric, times g."""

    @staticmethod
    def forward(ctx: Any, g: Tensor, z: Tensor, r: Tensor) -> Tensor:
        ctx.save_for_backward(g, z, r)
        zero, one, only = torch.zeros_like(r), torch.ones_like(r), [True, False, False]
        found = _aten.native_layer_norm_backward(g, z, z.shape[1:], zero, one, None, None, only)
        projected: Tensor = found[0]
        return projected.mul_(r)

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> Any:
        g, z, r = ctx.saved_tensors
        by_g, share = _Projected.of(v, z, r), -r / z.shape[1]
        by_z = torch.addcmul(v * (_dots(g, z) * share), g, _dots(v, z) * share)
        return by_g, by_z, _dots(g, by_g) / r


def _dots(a: Tensor, b: Tensor) -> Tensor:
    """Scalar products of rows, as a column."""
    column: Tensor = torch.linalg.vecdot(a, b)[:, None]
    return column


class GroupNorm(Applied):
    """Group norm of x (n, c, …) with a weight and a bias for each channel."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float) -> Any:
        """Normalise."""
        y, mean, r = _aten.native_group_norm(x, weight, bias, *_sizes(x), groups, eps)
        ctx.save_for_backward(x, weight, mean, r)
        ctx.groups, ctx.eps = groups, eps
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        """Pull back, differentiably."""
        by_x, by_weight = _GroupNormSlopes.of(g, *ctx.saved_tensors, ctx.groups, ctx.eps)
        return by_x, by_weight, g.sum([0, *range(2, g.ndim)]), None, None


class _GroupNormSlopes(Applied):
    """The gradients of ⟨g, y⟩ in x and in the weight.

    With z the standardised x and q = weight·g, they are r (q − mean q − z mean(q z)) over each
    group and Σ g z. Along vectors v and a, all their derivatives are sums of v, g, x and 1 with
    coefficients for each channel of each row, which follow from sums over it.
    """

    @staticmethod
    def forward(
        ctx: Any,
        g: Tensor,
        x: Tensor,
        weight: Tensor,
        mean: Tensor,
        r: Tensor,
        groups: int,
        eps: float,
    ) -> Any:
        ctx.save_for_backward(g, x, weight, mean, r)
        ctx.groups, ctx.eps = groups, eps
        ctx.set_materialize_grads(False)
        found = _aten.native_group_norm_backward(
            g, x, mean, r, weight, *_sizes(x), groups, [True, True, False]
        )
        return found[:2]

    @staticmethod
    def backward(ctx: Any, v: Tensor | None, a: Tensor | None) -> Any:
        g, x, weight, mean, r = ctx.saved_tensors
        v = torch.zeros_like(x) if v is None else v
        a = torch.zeros_like(weight) if a is None else a
        if torch.is_grad_enabled():
            found = _composed(g, x, weight, v, a, ctx.groups, ctx.eps)
        else:
            found = _pulled_back(g, x, weight, mean, r, v, a)
        return *found, None, None, None, None


def _sizes(x: Tensor) -> tuple[int, int, int]:
    return x.shape[0], x.shape[1], x[0, 0].numel()


def _composed(
    g: Tensor, x: Tensor, weight: Tensor, v: Tensor, a: Tensor, groups: int, eps: float
) -> Any:
    """Differentiate along v and a, differentiably."""
    g, x, weight = (t.view_as(t) for t in (g, x, weight))  # g is a function of the others
    rows = x.shape[0] * groups, -1
    each = 1, -1, *[1] * (x.ndim - 2)
    z, r = Standardized.of(x.reshape(rows), eps)
    slopes = _Projected.of((g * weight.view(each)).reshape(rows), z, r).view(x.shape)
    by_weight = (g * z.view(x.shape)).sum([0, *range(2, x.ndim)])
    value = (slopes * v).sum() + (by_weight * a).sum()
    wanted = [t for t in (g, x, weight) if t.requires_grad]
    found = iter(torch.autograd.grad(value, wanted, create_graph=True, materialize_grads=True))
    return [next(found) if t.requires_grad else None for t in (g, x, weight)]


def _pulled_back(
    g: Tensor, x: Tensor, weight: Tensor, mean: Tensor, r: Tensor, v: Tensor, a: Tensor
) -> Any:
    shape, (n, c, _), groups = x.shape, _sizes(x), r.numel() // x.shape[0]
    g, x, v = (t.reshape(n, c, -1) for t in (g, x, v))
    size = x.shape[2] * c // groups

    def wide(t: Tensor) -> Tensor:
        """From each group to its channels."""
        return t.view(n, groups, 1).expand(n, groups, c // groups).reshape(n, c)

    def total(t: Tensor) -> Tensor:
        """Sum over the channels of each group."""
        return wide(t.view(n, groups, -1).sum(2))

    def combined(one: Tensor, of_z: Tensor, of_v: Tensor, of_g: Tensor | None = None) -> Tensor:
        of_x = of_z * r
        found = torch.addcmul((one - of_x * mean)[..., None], v, of_v[..., None])
        found.addcmul_(x, of_x[..., None])
        return (found if of_g is None else found.addcmul_(g, of_g[..., None])).view(shape)

    mean, r = wide(mean), wide(r)
    g_sum, v_sum, vg = g.sum(2), v.sum(2), (v * g).sum(2)
    gz, vz = r * ((g * x).sum(2) - mean * g_sum), r * ((v * x).sum(2) - mean * v_sum)
    v_all, q_all = total(v_sum), total(weight * g_sum)
    v_along, q_along = total(vz), total(weight * gz)
    scaled, k = weight * r, r * r / size
    by_g = combined(-scaled * v_all / size, a - scaled * v_along / size, scaled)
    by_x = combined(
        k * (q_along * v_all + v_along * q_all) / size - r / size * total(a * g_sum),
        k * (3 * v_along * q_along + v_all * q_all) / size
        - k * total(weight * vg)
        - r / size * total(a * gz),
        -k * q_along,
        r * a - k * v_along * weight,
    )
    return by_g, by_x, (r * (vg - (g_sum * v_all + gz * v_along) / size)).sum(0)
