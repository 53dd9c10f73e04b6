"""The edge at which a node's message is largest, and where its gradient goes.

What node i receives from node j at step t is silu(own_ti + s_tij) with s_tij = column_tj + edge_ij.
silu falls and then rises, so the largest over j lies at the largest or at the smallest s_tij. Only
sums are made for all pairs, and those of one step at a time; derivatives find the chosen j again
instead of keeping them. Where several j are chosen, they share the gradient equally, also where
rounding alone tells them apart: products of equal rows may differ in their last bits.
"""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

_ROUNDING = 4  # units of the last place


def chosen_sum(own: Tensor, column: Tensor, edge: Tensor) -> Tensor:
    """Find s_tij of the j whose message is largest.

    Parameters
    ----------
    own, column : Tensor (B, T, n, C)
        Shares of the receiving and of the sending node.
    edge : Tensor (B, n, n, C)
        Share of the edge.

    Returns
    -------
    Tensor (B, T, n, C)
        The sum at the chosen j; its derivative in `own` is zero.
    """
    chosen: Tensor = _apply(_ChosenSum, own, column, edge)
    return chosen


def _apply(function: Any, *tensors: Tensor) -> Any:
    return function.apply(*tensors)


class _Linear(torch.autograd.Function):
    """A function that keeps (column, edge, chosen), between which it and its derivatives choose."""

    generate_vmap_rule = True

    @staticmethod
    def keep(ctx: Any, tensors: tuple[Tensor, ...]) -> None:
        ctx.save_for_backward(*tensors)
        ctx.save_for_forward(*tensors)


class _ChosenSum(_Linear):
    @staticmethod
    def forward(own: Tensor, column: Tensor, edge: Tensor) -> Tensor:
        steps = []
        for mine, others in zip(own.unbind(1), column.unbind(1), strict=True):
            seen = others[:, None] + edge
            high, low = seen.amax(2), seen.amin(2)
            steps.append(torch.where(F.silu(mine + high) >= F.silu(mine + low), high, low))
        return torch.stack(steps, 1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        _Linear.keep(ctx, (*inputs[1:], output))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor, Tensor]:
        return None, *_apply(_Spread, gradient, *ctx.saved_tensors)

    @staticmethod
    def jvp(ctx: Any, _: Any, of_column: Tensor | None, of_edge: Tensor | None) -> Tensor:
        return _collected(of_column, of_edge, *ctx.saved_tensors)


class _Spread(_Linear):
    """Hands values at i to the chosen j: to `column` summed over i, to `edge` summed over t."""

    @staticmethod
    def forward(
        values: Tensor, column: Tensor, edge: Tensor, chosen: Tensor
    ) -> tuple[Tensor, Tensor]:
        to_column, to_edge = [], torch.zeros_like(edge)
        for value, here, share in _choices(column, edge, chosen, values):
            spread = torch.where(here, (share * value)[:, :, None], 0.0)
            to_column.append(spread.sum(1))
            to_edge = to_edge + spread
        return torch.stack(to_column, 1), to_edge

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> None:
        _Linear.keep(ctx, inputs[1:])

    @staticmethod
    def backward(ctx: Any, of_column: Tensor, of_edge: Tensor) -> tuple[Tensor, None, None, None]:
        return _collected(of_column, of_edge, *ctx.saved_tensors), None, None, None

    @staticmethod
    def jvp(ctx: Any, of_values: Tensor | None, *_: Any) -> tuple[Tensor, Tensor]:
        column, edge, chosen = ctx.saved_tensors
        if of_values is None:
            return torch.zeros_like(column), torch.zeros_like(edge)
        column_tangent, edge_tangent = _apply(_Spread, of_values, column, edge, chosen)
        return column_tangent, edge_tangent


class _Collect(_Linear):
    """The transpose of `_Spread`: collects at i the mean of values at the chosen j."""

    @staticmethod
    def forward(
        of_column: Tensor, of_edge: Tensor, column: Tensor, edge: Tensor, chosen: Tensor
    ) -> Tensor:
        steps = []
        for value, here, share in _choices(column, edge, chosen, of_column):
            steps.append(share * torch.where(here, value[:, None] + of_edge, 0.0).sum(2))
        return torch.stack(steps, 1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        _Linear.keep(ctx, inputs[2:])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        return *_apply(_Spread, gradient, *ctx.saved_tensors), None, None, None

    @staticmethod
    def jvp(ctx: Any, of_column: Tensor | None, of_edge: Tensor | None, *_: Any) -> Tensor:
        return _collected(of_column, of_edge, *ctx.saved_tensors)


def _collected(
    of_column: Tensor | None, of_edge: Tensor | None, column: Tensor, edge: Tensor, chosen: Tensor
) -> Tensor:
    of_column = torch.zeros_like(column) if of_column is None else of_column
    of_edge = torch.zeros_like(edge) if of_edge is None else of_edge
    found: Tensor = _apply(_Collect, of_column, of_edge, column, edge, chosen)
    return found


def _choices(
    column: Tensor, edge: Tensor, chosen: Tensor, values: Tensor
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Give step by step a value, the chosen j of each i (B, i, j, C), and the share of each."""
    slack = _ROUNDING * torch.finfo(chosen.dtype).eps * (1 + chosen.abs())
    steps = zip(*(t.unbind(1) for t in (values, column, chosen, slack)), strict=True)
    for value, others, best, least in steps:
        here = (others[:, None] + edge - best[:, :, None]).abs() <= least[:, :, None]
        yield value, here, 1 / here.sum(2)
