"""Layer and group norm, whose second derivatives take few passes over memory.

PyTorch composes them of many elementary operations. Here they use the kernels of first derivatives,
and what does not depend on the vector of a product is computed once a graph.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ired_interp.spectra.applied import Applied

_aten = torch.ops.aten


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
        g = g.contiguous()
        if not torch.is_grad_enabled():
            x, weight, mean, r = ctx.saved_tensors
            return *_slopes(g, x, weight, mean, r, bias=True), None, None
        by_x, by_weight = _GroupNormSlopes.of(g, *ctx.saved_tensors, ctx.groups, ctx.eps)
        return by_x, by_weight, g.sum([0, *range(2, g.ndim)]), None, None


class _GroupNormSlopes(Applied):
    """The gradients of ⟨g, y⟩ in x and in the weight.

    With z the standardised x and q = weight·g, they are r (q − mean q − z mean(q z)) over each
    group and Σ g z. Along vectors v and a, all their derivatives are sums of v, g, x and 1 with
    coefficients for each channel of each row. These follow from sums over each group by a matrix
    that is formed once.
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
        constants = _constants(g, x, weight, mean, r)
        ctx.save_for_backward(g, x, weight, mean, r, *constants)
        ctx.groups, ctx.eps = groups, eps
        ctx.set_materialize_grads(False)
        return _slopes(g, x, weight, mean, r)[:2]

    @staticmethod
    def backward(ctx: Any, v: Tensor | None, a: Tensor | None) -> Any:
        g, x, weight, mean, r, *constants = ctx.saved_tensors
        v = torch.zeros_like(x) if v is None else v
        a = torch.zeros_like(weight) if a is None else a
        if torch.is_grad_enabled():
            found = _composed(g, x, weight, v, a, ctx.groups, ctx.eps)
        else:
            found = _pulled_back(g, x, weight, mean, r, v, a, *constants)
        return *found, None, None, None, None


def _slopes(
    g: Tensor, x: Tensor, weight: Tensor, mean: Tensor, r: Tensor, bias: bool = False
) -> Any:
    wanted = [True, True, bias]
    return _aten.native_group_norm_backward(g, x, mean, r, weight, *_sizes(x), r.shape[1], wanted)


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


def _constants(g: Tensor, x: Tensor, weight: Tensor, mean: Tensor, r: Tensor) -> tuple[Tensor, ...]:
    """Form what a product needs of g and x beside themselves.

    Returns
    -------
    tuple of Tensor
        Σ g and Σ g z of each channel (2, n, c), the matrix (4, 5, n, groups) from a group's sums to
        coefficients, and that of v in the derivative in x (n, groups).
    """
    (n, c, positions), groups = _sizes(x), r.shape[1]
    size, k, zero = positions * c // groups, r * r, torch.zeros_like(r)
    g, x = (t.reshape(n, groups, c // groups, positions) for t in (g, x))
    g_sum = g.sum(3)
    gz = r[..., None] * ((g * x).sum(3) - mean[..., None] * g_sum)
    q_mean, qz_mean = ((weight.view(groups, -1) * t).sum(2) / size for t in (g_sum, gz))
    v_mean = torch.stack([torch.full_like(r, 1 / size), zero, zero, zero, zero])
    vz_mean = torch.stack([-mean * r / size, r / size, zero, zero, zero])
    of_z = k * (3 * qz_mean * vz_mean + q_mean * v_mean)
    of_z[2], of_z[4] = -k / size, -r / size
    of_x, of_one = of_z * r, k * (qz_mean * v_mean + q_mean * vz_mean)
    of_one[3] = -r / size
    of_one -= mean * of_x
    matrix = torch.stack([v_mean, vz_mean, of_x, of_one])
    return torch.stack([g_sum, gz]).view(2, n, c), matrix, -k * qz_mean


def _pulled_back(
    g: Tensor,
    x: Tensor,
    weight: Tensor,
    mean: Tensor,
    r: Tensor,
    v: Tensor,
    a: Tensor,
    sums_of_g: Tensor,
    matrix: Tensor,
    of_v: Tensor,
) -> Any:
    shape, (n, c, _), groups = x.shape, _sizes(x), r.shape[1]
    g, x, v = (t.reshape(n, c, -1) for t in (g, x, v))
    vg = torch.linalg.vecdot(v, g)
    sums = torch.stack([v.sum(2), torch.linalg.vecdot(v, x), weight * vg, *(a * sums_of_g)])
    sums = sums.view(5, n, groups, -1).sum(3)
    v_mean, vz_mean, of_x, of_one = (matrix * sums).sum(1)[..., None].unbind()

    mean, r = mean[..., None], r[..., None]
    scaled = weight.view(groups, -1) * r
    along = r * (a.view(groups, -1) - scaled * vz_mean)
    rest = (scaled * v_mean).addcmul_(along, mean)
    scaled, along, rest = (t.view(n, c, 1) for t in (scaled, along, rest))
    by_g = (v * scaled).addcmul_(x, along).sub_(rest)

    by_x = v.view(n, groups, -1) * of_v[..., None]
    by_x = by_x.addcmul_(x.view(n, groups, -1), of_x).add_(of_one).view(n, c, -1)
    by_x.addcmul_(g, along)

    g_sum, gz = sums_of_g.view(2, n, groups, -1)
    by_weight = r * (vg.view(n, groups, -1) - g_sum * v_mean - gz * vz_mean)
    return by_g.view(shape), by_x.view(shape), by_weight.sum(0).view(-1)
