"""The posterior of a problem with several shortest paths: their mixture, summed by recursion."""

from typing import NamedTuple

import torch
from torch import Tensor

from ired_interp.schedule import Schedule

_NEVER = -1e30  # logarithm of the probability of what cannot be


class PathPosterior(NamedTuple):
    """p(y | x) = Σ_p w_p δ(y − y_p) over the shortest paths p of each problem.

    A path walks from node to node with the transition probabilities given, so that w_p is their
    product; all end at the goal.

    Attributes
    ----------
    start : Tensor (B, n)
        Probability of the node reached by the first move.
    moves : Tensor (B, n, n)
        Of each further one, from the row's node to the column's; the goal stays.
    steps : int
        Moves in all.

    References
    ----------
    The recursion is the forward algorithm of hidden Markov models.
    """

    start: Tensor
    moves: Tensor
    steps: int

    @property
    def mean(self) -> Tensor:
        """Mean solution (B, steps · n): 2p − 1 for the probability p of each node at each step."""
        found = [self.start]
        for _ in range(self.steps - 1):
            found.append((found[-1][:, None] @ self.moves)[:, 0])
        return 2 * torch.stack(found, 1).flatten(1) - 1

    def curvature(self, schedule: Schedule) -> None:
        """Return nothing: the Hessian depends on where y stands."""
        return

    def at(self, schedule: Schedule, k: Tensor, dtype: torch.dtype) -> tuple[Tensor, ...]:
        """Return what the energy depends on besides y, in landscapes k (B,)."""
        start, moves = (torch.log(p.to(dtype)).clamp(min=_NEVER) for p in (self.start, self.moves))
        signal, noise = schedule.signal[k].to(dtype), schedule.noise[k].to(dtype)
        return start, moves, signal, noise

    def energy(self, context: tuple[Tensor, ...], y: Tensor) -> Tensor:
        """−σ log Σ_p w_p exp(−‖y − √ᾱ y_p‖²/(2σ²)) (B,)."""
        start, moves, signal, noise = context
        # ‖y − √ᾱ y_p‖² = ‖y‖² + ᾱ d + 2√ᾱ Σ y − 4√ᾱ Σ_t y at the nodes of the path.
        plan = y.unflatten(1, (self.steps, -1)) * (2 * signal / noise.square())[:, None, None]
        total = start + plan[:, 0]
        for t in range(1, self.steps):
            total = torch.logsumexp(total[:, :, None] + moves, 1) + plan[:, t]
        squares = y.square().sum(1) + signal.square() * y.shape[1] + 2 * signal * y.sum(1)
        return squares / (2 * noise) - noise * torch.logsumexp(total, 1)
