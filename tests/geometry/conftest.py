from collections.abc import Callable, Sequence

import pytest
import torch

Planes = Callable[..., tuple[torch.Tensor, torch.Tensor]]


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(20)


@pytest.fixture
def normal(generator: torch.Generator) -> Callable[..., torch.Tensor]:
    return lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)


@pytest.fixture
def planes(normal) -> Planes:
    """Orthonormal bases (N, p), (N, p + extra) of two planes with the given principal angles."""

    def make(n: int, angles: Sequence[float], extra: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
        theta = torch.tensor(angles, dtype=torch.float64)
        p = len(theta)
        q = torch.linalg.qr(normal(n, 2 * p + extra)).Q
        v = q[:, :p] * theta.cos() + q[:, p : 2 * p] * theta.sin()
        return q[:, :p], torch.cat([v, q[:, 2 * p :]], dim=1)

    return make
