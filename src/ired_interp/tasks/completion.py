"""Completion of low-rank matrices."""

import math

import torch
from torch import Tensor

from ired_interp.errors import InputError
from ired_interp.tasks.base import Problems, Variant
from ired_interp.tasks.matrix import MatrixTask

_SCALE: dict[str, float] = {"same": 20.0, "harder": 5.0}


class Completion(MatrixTask):
    """Fill in a matrix of low rank.

    y* = R = U Vᵀ/20 + noise·N (harder: U Vᵀ/5 + noise·N); x = R with a fair coin's choice of
    entries set to 0.

    Parameters
    ----------
    n : int
        R is n × n.
    rank : int
        Columns of U and V, so the rank of R where noise is 0.
    noise : float
        Standard deviation of the Gaussian entries added; 0 gives R exactly the rank asked for.

    Raises
    ------
    InputError
        If the rank is not 1 to n, or the noise is negative.
    """

    name = "completion"

    def __init__(self, n: int = 20, rank: int = 10, noise: float = 0.1) -> None:
        super().__init__(n)
        if not 1 <= rank <= n:
            raise InputError(
                f"task completion got rank={rank} for {n} × {n} matrices; the rank must be 1 to "
                f"{n}."
            )
        if not 0 <= noise < math.inf:
            raise InputError(f"task completion got noise={noise}; expected a number of at least 0.")
        self.rank, self.noise = rank, noise

    @property
    def exact_rank(self) -> int | None:
        """The rank asked for; unknown under noise."""
        return None if self.noise else self.rank

    def sample(self, count: int, generator: torch.Generator, variant: Variant = "same") -> Problems:
        """Draw problems; see `Task.sample`."""
        device = generator.device
        u, v = torch.randn(2, count, self.n, self.rank, generator=generator, device=device)
        y = (u @ v.mT / _SCALE[variant]).flatten(1)
        if self.noise:
            y = y + self.noise * torch.randn(y.shape, generator=generator, device=device)
        visible = torch.rand(y.shape, generator=generator, device=device) < 0.5
        return Problems(y * visible, y)

    def value_range(self, variant: Variant) -> float:
        """Eight standard deviations of an entry."""
        return 8 * math.sqrt(self.rank / _SCALE[variant] ** 2 + self.noise**2)

    def visible(self, x: Tensor) -> Tensor:
        """Return the entries that are not blank."""
        return x != 0

    def trivial(self, x: Tensor) -> dict[str, Tensor]:
        """Return the visible entries, and 0 elsewhere."""
        return {"copy visible, 0 elsewhere": x}

    def known_floors(self, variant: Variant) -> dict[str, float]:
        """Return the Bayes optimum of the paper's parameters."""
        if (self.n, self.rank, self.noise) != (20, 10, 0.1):
            return {}
        return {"Bayes optimum (Gibbs sampling)": 0.0163 if variant == "same" else 0.159}
