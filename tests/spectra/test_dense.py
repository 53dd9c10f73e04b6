"""Whole Hessians of batches, general and in closed form, against torch.func in float64."""

import pytest
import torch
from torch import Tensor
from torch.func import hessian, vmap

from ired_interp.energy import MLPEnergy
from ired_interp.energy.mlp_hessian import mlp_hessian
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


@pytest.mark.parametrize("chunk", [1, 3, 8])
@pytest.mark.parametrize(("condition", "solution", "width"), [(6, 9, 16), (4, 3, 5), (1, 1, 8)])
def test_closed_form_of_the_mlp(condition: int, solution: int, width: int, chunk: int) -> None:
    source = torch.Generator().manual_seed(2)
    model = MLPEnergy(condition, solution, width).double()
    for p in model.parameters():
        p.data = torch.randn(p.shape, dtype=torch.float64, generator=source) / 2
    x = torch.randn(7, condition, dtype=torch.float64, generator=source)
    y = torch.randn(7, solution, dtype=torch.float64, generator=source)
    k = torch.tensor([0, 9, 3, 3, 1, 5, 7])
    found = mlp_hessian(model, x, y, k, chunk)
    # Doubles, some hundred operations: rounding is about 1e-14 of the largest entry.
    expected = batched_hessian(lambda y, x, k: model(x, y, k), y, x, k)
    assert float((found - expected).abs().max()) < 1e-12 * float(expected.abs().max())
    assert torch.equal(found, found.mT)
    context = model.condition(x, k)
    one = vmap(
        hessian(lambda y, *c: model.evaluate(type(context)(*(p[None] for p in c)), y[None])[0])
    )(y, *context)
    assert float((found - one).abs().max()) < 1e-12 * float(expected.abs().max())
