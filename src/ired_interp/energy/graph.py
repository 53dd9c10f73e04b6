"""Energies of graphs: one network for graphs of any number of nodes."""

import math
from abc import abstractmethod
from typing import Any, ClassVar

from torch import Tensor

from ired_interp.energy.base import Energy
from ired_interp.errors import InputError


def node_count(entries: int, channels: int = 1) -> int | None:
    """Return n where `entries` = channels · n², else None."""
    n = math.isqrt(entries // channels)
    return n if n > 0 and channels * n * n == entries else None


class GraphEnergy(Energy):
    """An energy of directed graphs, which takes any number of nodes n whatever it was trained on.

    A subclass says how many `channels` an edge has in the condition x, and how many entries a
    solution has. `condition_dim` and `solution_dim` are those of the graphs that it is trained on.

    Raises
    ------
    InputError
        If these are the sizes of no graph.
    """

    any_size = True
    channels: ClassVar[int] = 1

    def __init__(
        self, condition_dim: int, solution_dim: int, landscapes: int = 10, *more: Any
    ) -> None:  # more: what a class beside this one takes
        n = node_count(condition_dim, self.channels)
        if n is None or solution_dim != self.entries(n):
            raise InputError(
                f"{type(self).__name__} got condition_dim={condition_dim} and "
                f"solution_dim={solution_dim}, the sizes of no graph of its task; choose the "
                "energy of the task, or leave both out."
            )
        super().__init__(condition_dim, solution_dim, landscapes, *more)

    @abstractmethod
    def entries(self, n: int) -> int:
        """Return d_y of a graph of n nodes."""

    def solution_size(self, x: Tensor) -> int:
        """Return d_y of the solutions to graphs x (B, channels · n²).

        Raises
        ------
        InputError
            If x is no batch of such graphs.
        """
        n = node_count(x.shape[1], self.channels) if x.ndim == 2 else None
        if n is None or n < 2:
            edges = "n²" if self.channels == 1 else f"{self.channels}·n²"
            raise InputError(
                f"x has shape {tuple(x.shape)}, but {type(self).__name__} takes graphs of n nodes, "
                f"n at least 2, as (batch, {edges}); pass problems of its task."
            )
        return self.entries(n)
