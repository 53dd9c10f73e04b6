"""Whole Hessians of batches, against torch.func in float64."""

import pytest
import torch
from torch import Tensor
from torch.func import hessian, vmap

from ired_interp.errors import InputError
from ired_interp.spectra import batched_hessian


def energy(y: Tensor, x: Tensor) -> Tensor:
    return torch.sin(y * x).cumsum(1).square().sum(1) + y.prod(1)


@pytest.mark.parametrize("memory", ["1GiB", "20KB", "2KB"])
def test_general_route(memory: str) -> None:
    y, x = torch.randn(2, 7, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = vmap(hessian(lambda y, x: energy(y[None], x[None])[0]))(y, x)
    found = batched_hessian(energy, y, x, memory=memory)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    assert torch.equal(found, found.mT)


def test_general_route_refuses() -> None:
    y = torch.ones(3, 2)
    with pytest.raises(InputError, match="one scalar per row"):
        batched_hessian(lambda y: y, y)
    with pytest.raises(InputError, match="more than the"):
        batched_hessian(energy, y, y, memory=1)
    assert float(batched_hessian(lambda y: y.sum(1), y).abs().max()) == 0
