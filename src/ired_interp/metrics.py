"""The error of solutions, with its standard error."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric


class ProblemError(Metric):
    """Elementwise mean squared error over problems, with the standard error over problems.

    `update` takes solutions and true solutions (B, d_y); `compute` returns (error, standard error),
    float64 scalars, over the problems of all processes, unless `sync_on_compute` is False.
    """

    full_state_update = False
    total: Tensor
    squares: Tensor
    count: Tensor

    def __init__(self, sync_on_compute: bool = True, **options: Any) -> None:
        super().__init__(sync_on_compute=sync_on_compute, **options)
        for name in ("total", "squares", "count"):
            self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, solution: Tensor, truth: Tensor) -> None:
        """Add solutions and true solutions (B, d_y)."""
        error = (solution - truth).double().square().mean(1)
        self.total += error.sum()
        self.squares += error.square().sum()
        self.count += len(error)

    def compute(self) -> tuple[Tensor, Tensor]:
        """Return the error and its standard error, float64 scalars."""
        mean = self.total / self.count
        variance = (self.squares / self.count - mean.square()).clamp(min=0)
        return mean, (variance / (self.count - 1).clamp(min=1)).sqrt()


class Ratio(Metric):
    """Mean over C classes of Σ part / Σ whole over problems, with its standard error.

    `update` takes part and whole, (B,) or (B, C); `compute` returns (value, standard error),
    float64 scalars, over the problems of all processes, unless `sync_on_compute` is False. A class
    of which there is nothing is left out; without any the value is NaN.
    """

    full_state_update = False
    totals: Tensor
    products: Tensor
    count: Tensor

    def __init__(self, classes: int = 1, sync_on_compute: bool = True, **options: Any) -> None:
        super().__init__(sync_on_compute=sync_on_compute, **options)
        size = 2 * classes
        for name, shape in (("totals", (size,)), ("products", (size, size)), ("count", ())):
            self.add_state(name, torch.zeros(shape, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, part: Tensor, whole: Tensor) -> None:
        """Add problems: part and whole (B,) or (B, C)."""
        rows = torch.cat([t.reshape(len(t), -1) for t in (part, whole)], 1).double()
        self.totals += rows.sum(0)
        self.products += rows.mT @ rows
        self.count += len(rows)

    def compute(self) -> tuple[Tensor, Tensor]:
        """Return the value and its standard error by the delta method, float64 scalars."""
        part, whole = self.totals.chunk(2)
        ratio = part / whole
        there = whole != 0
        weight = torch.where(there, 1 / (whole * there.sum()), 0.0)
        slope = torch.cat([weight, -torch.where(there, ratio, 0.0) * weight])
        spread = self.products - torch.outer(self.totals, self.totals) / self.count
        variance = slope @ spread @ slope * self.count / (self.count - 1).clamp(min=1)
        return ratio[there].mean(), variance.clamp(min=0).sqrt()
