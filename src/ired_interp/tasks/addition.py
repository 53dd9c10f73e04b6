"""Addition of matrices."""

import torch
from torch import Tensor

from ired_interp.tasks.base import Problems, Variant, point
from ired_interp.tasks.matrix import MatrixTask
from ired_interp.tasks.posterior import Posterior


class Addition(MatrixTask):
    """x = (A, B) with entries U[−1, 1] (harder: U[−2.5, 2.5]); y* = A + B."""

    name = "addition"
    conditions = 2

    def sample(self, count: int, generator: torch.Generator, variant: Variant = "same") -> Problems:
        """Draw problems; see `Task.sample`."""
        limit = self.value_range(variant) / 2
        x = torch.rand(count, self.condition_dim, generator=generator, device=generator.device)
        x = limit * (2 * x - 1)
        return Problems(x, self._answer(x))

    def value_range(self, variant: Variant) -> float:
        """Twice the largest entry of a summand."""
        return 2.0 if variant == "same" else 5.0

    def posterior(self, x: Tensor) -> Posterior:
        """Return the sum itself."""
        return point(self._answer(x))

    def _answer(self, x: Tensor) -> Tensor:
        return x[:, : self.solution_dim] + x[:, self.solution_dim :]
