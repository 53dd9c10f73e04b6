"""The standard units of a task: in which networks see its problems and give their solutions."""

import torch
from torch import Tensor, nn

from ired_interp.errors import InputError

_SMALLEST = 1e-4  # of the training problems' mean square: a condition of zeros keeps a finite size


class Moments(nn.Module):
    """Means and deviations of the entries of problems and solutions, and the size of problems.

    Parameters
    ----------
    condition_dim, solution_dim : int
        d_x and d_y.
    homogeneity : float | None
        p where the answer obeys f(c x) = c^p f(x): every problem is then seen at the size of a
        training problem, and its solution scaled back. None leaves sizes as they are.
    entrywise : bool
        A deviation for each entry, or one for all of them, which keeps the structure of a matrix.
    """

    condition_mean: Tensor
    condition_scale: Tensor
    condition_size: Tensor
    solution_mean: Tensor
    solution_scale: Tensor

    def __init__(
        self,
        condition_dim: int,
        solution_dim: int,
        homogeneity: float | None = None,
        entrywise: bool = True,
    ) -> None:
        super().__init__()
        self.entrywise = entrywise
        self.homogeneity = homogeneity
        self.register_buffer("condition_mean", torch.zeros(condition_dim))
        self.register_buffer("condition_scale", torch.ones(condition_dim))
        self.register_buffer("condition_size", torch.ones(()))
        self.register_buffer("solution_mean", torch.zeros(solution_dim))
        self.register_buffer("solution_scale", torch.ones(solution_dim))

    @torch.no_grad()
    def adapt(self, x: Tensor, y: Tensor) -> None:
        """Take the moments of problems and their answers, entry by entry.

        Parameters
        ----------
        x : Tensor (N, d_x)
            Problems.
        y : Tensor (N, d_y)
            Their answers.

        Raises
        ------
        InputError
            If there are fewer than two problems.
        """
        if len(x) < 2:
            raise InputError(f"moments of {len(x)} problems were asked for; give at least 2.")
        x, y = x.double(), y.double()
        if self.homogeneity is not None:
            self.condition_size.copy_(_given_square(x).mean().sqrt())
            scale = self.scale(x)
            x, y = x / self.size(x), y / scale
        for name, value in (("condition", x), ("solution", y)):
            deviation = value.std(0)
            if not self.entrywise:
                deviation = deviation.square().mean().sqrt().expand_as(deviation)
            # An entry that never varies says nothing; divided by its deviation, its rounding would.
            constant = deviation < 1e-6 * value.square().mean().sqrt()
            getattr(self, f"{name}_mean").copy_(value.mean(0))
            getattr(self, f"{name}_scale").copy_(deviation.masked_fill(constant, 1.0))

    def size(self, x: Tensor) -> Tensor:
        """Size c (B, 1) of problems x (B, d_x); 1 without homogeneity.

        The root mean square of the entries that are given, over that of the training problems. An
        entry of 0 counts as not given.
        """
        if self.homogeneity is None:
            return torch.ones_like(x[:, :1])
        return (_given_square(x) / self.condition_size.square() + _SMALLEST).sqrt()

    def scale(self, x: Tensor) -> Tensor:
        """c^p (B, 1), by which a solution to x (B, d_x) is larger than a training problem's."""
        return self.size(x) ** (self.homogeneity or 0.0)

    def condition(self, x: Tensor) -> Tensor:
        """Express problems x (B, d_x) in standard units."""
        return (x / self.size(x) - self.condition_mean) / self.condition_scale

    def solution(self, output: Tensor, scale: Tensor) -> Tensor:
        """Make solutions (B, d_y) of outputs (B, d_y) in standard units and a `scale` (B, 1)."""
        return scale * (self.solution_mean + self.solution_scale * output)


def _given_square(x: Tensor) -> Tensor:
    given = (x != 0).sum(1, keepdim=True).clamp(min=1)
    return x.square().sum(1, keepdim=True) / given
