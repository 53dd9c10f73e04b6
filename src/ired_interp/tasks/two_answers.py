"""A task with two right answers to every problem, between which nothing decides."""

import torch
from torch import Tensor

from ired_interp.errors import InputError
from ired_interp.tasks.base import Problems, Task, Variant
from ired_interp.tasks.posterior import FinitePosterior

_SCALE: dict[str, float] = {"same": 1.0, "harder": 2.5}


class TwoAnswers(Task):
    """x = [a; b] ~ N(0, I) (harder: N(0, 2.5² I)), and y* = a or y* = b by a fair coin.

    The energy of a perfect model has one well where √ᾱ_k‖a − b‖ < 2σ_k, and two where it is more.

    Parameters
    ----------
    n : int
        d_y, entries of a and of b.

    Raises
    ------
    InputError
        If n is not positive.
    """

    name = "two_answers"

    def __init__(self, n: int = 6) -> None:
        if n < 1:
            raise InputError(f"task two_answers got n={n}; answers need at least 1 entry.")
        self.n = self.solution_dim = n
        self.condition_dim = 2 * n

    def sample(self, count: int, generator: torch.Generator, variant: Variant = "same") -> Problems:
        """Draw problems; see `Task.sample`."""
        device = generator.device
        x = _SCALE[variant] * torch.randn(count, 2 * self.n, generator=generator, device=device)
        first = torch.rand(count, 1, generator=generator, device=device) < 0.5
        a, b = x.chunk(2, 1)
        return Problems(x, torch.where(first, a, b))

    def value_range(self, variant: Variant) -> float:
        """Six standard deviations of an entry."""
        return 6 * _SCALE[variant]

    def posterior(self, x: Tensor) -> FinitePosterior:
        """Return both answers, each with probability ½."""
        return FinitePosterior(x.unflatten(1, (2, self.n)), x.new_full((2,), 0.5))

    def nearest_answer(self, x: Tensor, y: Tensor, solution: Tensor) -> Tensor:
        """Return that of the two answers which is nearer to the solution."""
        a, b = x.chunk(2, 1)
        near_a = (solution - a).norm(dim=1) <= (solution - b).norm(dim=1)
        return torch.where(near_a[:, None], a, b)

    def trivial(self, x: Tensor) -> dict[str, Tensor]:
        """Return the middle of the two answers."""
        return {"mean of both answers": x.unflatten(1, (2, self.n)).mean(1)}
