"""The energy that a perfectly trained model would have."""

from typing import Any

import torch
from torch import Tensor

from ired_interp.energy.base import Energy, LandscapeIndex
from ired_interp.errors import InputError
from ired_interp.random import stream
from ired_interp.schedule import Schedule
from ired_interp.tasks.base import Task
from ired_interp.tasks.posterior import ExactPosterior, Posterior


class ExactEnergy(Energy):
    """E = −σ_k log p(y_k | x) + const, whose gradient is E[ε | y_k], the optimum of the score term.

    For a posterior N(m(x), S), S = 0 where x fixes y, this is σ_k/2 · (y − √ᾱ_k m)ᵀ
    (ᾱ_k S + σ_k² I)⁻¹ (y − √ᾱ_k m): the Hessian in y is σ_k(ᾱ_k S + σ_k² I)⁻¹, and the minimum of
    landscape k is √ᾱ_k m(x). For a mixture of answers y_p the gradient is (y − √ᾱ_k ȳ)/σ_k and the
    Hessian I/σ_k − (ᾱ_k/σ_k³) Cov, with mean and covariance of the answers given y: not convex
    where ᾱ_k λ_max(Cov) > σ_k². So every probe has a closed-form truth here.

    Parameters
    ----------
    task : Task
        A task with a known posterior (addition, inverse, linear_gaussian, two_answers,
        connectivity, shortest_path, sudoku, or one of your own).
    landscapes : int
        K.

    Raises
    ------
    InputError
        If the task's posterior is not known in closed form.

    Examples
    --------
    >>> import torch
    >>> from ired_interp.tasks import Addition
    >>> task = Addition(2)
    >>> x, y = task.sample(3, torch.Generator().manual_seed(0))
    >>> energy = ExactEnergy(task)
    >>> energy(x, energy.schedule.signal[4] * y, 4)  # the answer is the minimum
    tensor([0., 0., 0.])
    """

    name = "exact"

    def __init__(self, task: Task, landscapes: int = 10) -> None:
        super().__init__(task.condition_dim, task.solution_dim, landscapes)
        if task.posterior(task.sample(1, stream("cpu", 0)).x) is None:
            raise InputError(
                f"the posterior of task {task.name} is not known in closed form; ExactEnergy takes "
                "addition, inverse, linear_gaussian, two_answers, connectivity, shortest_path or "
                "sudoku."
            )
        self.task = task
        self.sizes = dict(task.sizes(variant) for variant in task.variants)
        self.schedule = Schedule(landscapes)

    def solution_size(self, x: Tensor) -> int:
        """Return d_y of the solutions to problems x (B, d_x) of any variant."""
        return self.sizes[x.shape[1]] if x.shape[-1] in self.sizes else super().solution_size(x)

    def condition(self, x: Tensor, k: Tensor) -> tuple[ExactPosterior, Any]:
        """Return the posterior, and what its energy depends on besides y."""
        posterior = self.task.posterior(x)
        assert posterior is not None
        return posterior, posterior.at(self.schedule, k, x.dtype)

    def evaluate(self, context: tuple[ExactPosterior, Any], y: Tensor) -> Tensor:
        """−σ_k log p(y_k | x) + const (B,)."""
        posterior, at = context
        return posterior.energy(at, y)

    @torch.no_grad()
    def hessian(self, x: Tensor, y: Tensor, k: LandscapeIndex, memory: float = 2**30) -> Tensor:
        """∇²_y E (B, d_y, d_y), of a Gaussian posterior at once; as `Energy.hessian`."""
        posterior, at = self.condition(x, self._rows(x, y, k))
        if not isinstance(posterior, Posterior):
            return super().hessian(x, y, k, memory)
        _, basis, curvature = at
        matrices: Tensor = (basis * curvature[:, None]) @ basis.mT
        return matrices
