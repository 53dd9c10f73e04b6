"""Inversion of positive definite matrices."""

import torch
from torch import Tensor

from ired_interp.errors import InputError
from ired_interp.tasks.base import Problems, Variant, point
from ired_interp.tasks.matrix import MatrixTask
from ired_interp.tasks.posterior import Posterior

_SHIFT: dict[str, float] = {"same": 0.5, "harder": 0.1}
_TOGETHER = 128  # matrices whose eigenvalues are found at a time; a GPU works in 12 MiB for each


class Inverse(MatrixTask):
    """x = S, y* = S⁻¹, with S = 2AAᵀ + 0.5 I (harder: 0.1 I) and A ~ U[−1, 1]^{n×n}.

    Parameters
    ----------
    n : int
        S is n × n.
    condition_number : float, optional
        κ; if given, the shift of 2AAᵀ is chosen per problem so that λ_max/λ_min = κ, and S is
        scaled to λ_min = 0.5 (harder: 0.1), the smallest eigenvalue that the usual shift allows.

    Raises
    ------
    InputError
        If κ is not above 1, or S has a single entry.
    """

    name = "inverse"

    def __init__(self, n: int = 20, condition_number: float | None = None) -> None:
        super().__init__(n)
        if condition_number is not None and not condition_number > 1:
            raise InputError(
                f"task inverse got condition_number={condition_number}; it must be larger than 1."
            )
        if condition_number is not None and n < 2:
            raise InputError(
                "task inverse got a condition_number for 1 × 1 matrices, whose condition number "
                "is 1; "
                "raise n."
            )
        self.condition_number = condition_number

    @property
    def exact_rank(self) -> int:
        """Full: inverses are invertible."""
        return self.n

    def sample(self, count: int, generator: torch.Generator, variant: Variant = "same") -> Problems:
        """Draw problems; see `Task.sample`."""
        return self.sample_share(count, generator, variant, 0, 1)

    def sample_share(
        self, count: int, generator: torch.Generator, variant: Variant, part: int, parts: int
    ) -> Problems:
        """Draw problems and invert a share of them; see `Task.sample_share`."""
        device = generator.device
        uniform = torch.rand(count, self.n, self.n, generator=generator, device=device)
        a = 2 * uniform[part::parts] - 1
        gram = 2 * a @ a.mT
        identity = torch.eye(self.n, device=device)
        if self.condition_number is None:
            s = gram + _SHIFT[variant] * identity
        else:
            few = gram.double().split(_TOGETHER)
            eigenvalues = torch.cat([torch.linalg.eigvalsh(some) for some in few])
            smallest, largest = eigenvalues[:, 0], eigenvalues[:, -1]
            # λ_min of the shifted matrix
            floor = (largest - smallest) / (self.condition_number - 1)
            shifted = gram.double() + (floor - smallest)[:, None, None] * identity
            s = (shifted * (_SHIFT[variant] / floor)[:, None, None]).float()
        return Problems(s.flatten(1), self._answer(s))

    def value_range(self, variant: Variant) -> float:
        """Return the largest eigenvalue that an inverse can have."""
        return 1 / _SHIFT[variant]

    def eigenvectors(self, x: Tensor) -> Tensor:
        """Return those of S, whose smallest eigenvalue comes first; see `Task.eigenvectors`."""
        vectors: Tensor = torch.linalg.eigh(x.reshape(-1, self.n, self.n)).eigenvectors
        return vectors

    def posterior(self, x: Tensor) -> Posterior:
        """Return the inverse itself."""
        return point(self._answer(x.reshape(-1, self.n, self.n)))

    @staticmethod
    def _answer(s: Tensor) -> Tensor:
        # Positive definite by construction, so nothing waits for a check.
        factor = torch.linalg.cholesky_ex(s).L
        identity = torch.eye(s.shape[-1], device=s.device, dtype=s.dtype)
        root = torch.linalg.solve_triangular(factor, identity.expand_as(s), upper=False)
        inverse: Tensor = root.mT @ root
        return inverse.flatten(1)
