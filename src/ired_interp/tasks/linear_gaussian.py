"""A task whose posterior, and so whose perfect energy, is known in closed form."""

import math

import torch
from torch import Tensor

from ired_interp.errors import InputError
from ired_interp.random import stream
from ired_interp.tasks.base import Problems, Task, Variant
from ired_interp.tasks.posterior import Posterior


class LinearGaussian(Task):
    """x ~ N(0, I) (harder: N(0, 2.5² I)), y = M x + N(0, S), with M and S fixed by the seed.

    Parameters
    ----------
    n : int
        d_x = d_y.
    variance_min, variance_max : float
        Ends of S's positive eigenvalues, spaced geometrically.
    seed : int
        Of M and of S's eigenvectors.
    rank : int, optional
        Of S; its other eigenvalues are 0, so that x fixes y along their eigenvectors. n if None.

    Raises
    ------
    InputError
        If n, the variances or the rank cannot be.
    """

    name = "linear_gaussian"

    def __init__(
        self,
        n: int = 16,
        variance_min: float = 0.01,
        variance_max: float = 1.0,
        seed: int = 0,
        rank: int | None = None,
    ) -> None:
        if n < 1:
            raise InputError(f"task linear_gaussian got n={n}; it must be at least 1.")
        if not 0 < variance_min <= variance_max < math.inf:
            raise InputError(
                f"task linear_gaussian got variances from {variance_min} to {variance_max}; "
                "expected 0 < min <= max (rank=r leaves all but r of them 0)."
            )
        rank = n if rank is None else rank
        if not 0 <= rank <= n:
            raise InputError(
                f"task linear_gaussian got rank={rank} of a covariance of {n} entries; expected 0 "
                f"to {n}."
            )
        self.variance_max = variance_max
        self.condition_dim = self.solution_dim = n
        generator = stream("cpu", seed, "linear_gaussian")
        self._map = torch.randn(n, n, generator=generator, dtype=torch.float64) / n**0.5
        self._basis = torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64)).Q
        self._variances = torch.zeros(n, dtype=torch.float64)
        self._variances[n - rank :] = torch.logspace(
            torch.log10(torch.tensor(variance_min)),
            torch.log10(torch.tensor(variance_max)),
            rank,
            dtype=torch.float64,
        )

    def sample(self, count: int, generator: torch.Generator, variant: Variant = "same") -> Problems:
        """Draw problems; see `Task.sample`."""
        size = (2, count, self.solution_dim)
        x, z = torch.randn(size, generator=generator, device=generator.device)
        x = x if variant == "same" else 2.5 * x
        mean, basis, variances = self.posterior(x)
        return Problems(x, mean + (z * variances.sqrt()) @ basis.mT)

    def value_range(self, variant: Variant) -> float:
        """Return six standard deviations of the widest entry."""
        largest = float(torch.linalg.vector_norm(self._map, dim=1).max()) * (
            1.0 if variant == "same" else 2.5
        )
        return 6 * math.sqrt(largest**2 + self.variance_max)

    def posterior(self, x: Tensor) -> Posterior:
        """Return N(M x, S)."""
        parts = (self._map, self._basis, self._variances)
        matrix, basis, variances = (part.to(x.device, x.dtype) for part in parts)
        return Posterior(x @ matrix.mT, basis, variances)
