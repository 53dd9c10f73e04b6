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
