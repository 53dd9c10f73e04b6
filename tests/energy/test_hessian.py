"""Hessians in y: the closed form of the MLP and the general route, against torch.func in float64."""

import pytest
import torch
from torch.func import hessian, vmap

from ired_interp.energy import Energy, MLPEnergy
from ired_interp.errors import InputError
from ired_interp.spectra import batched_hessian


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
    found = model.hessian(x, y, k, memory=chunk * 9 * solution * width * 8)
    # Doubles, some hundred operations: rounding is about 1e-14 of the largest entry.
    expected = batched_hessian(lambda y, x, k: model(x, y, k), y, x, k)
    assert float((found - expected).abs().max()) < 1e-12 * float(expected.abs().max())
    assert torch.equal(found, found.mT)
    context = model.condition(x, k)
    one = vmap(
        hessian(lambda y, *c: model.evaluate(type(context)(*(p[None] for p in c)), y[None])[0])
    )(y, *context)
    assert float((found - one).abs().max()) < 1e-12 * float(expected.abs().max())


class Quartic(Energy):
    """Σ(y + x)⁴ + k·y₀y₁, whose Hessian is written out below."""

    def evaluate(self, context, y):
        x, k = context
        return (y + x).pow(4).sum(1) + k * y[:, 0] * y[:, 1]


@pytest.mark.parametrize("memory", [2**30, 4000])
def test_every_energy_has_one(memory: float) -> None:
    x, y = torch.randn(2, 6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    k = torch.tensor([0, 1, 2, 3, 4, 9])
    expected = torch.diag_embed(12 * (y + x).square())
    expected[:, 0, 1] += k
    expected[:, 1, 0] += k
    torch.testing.assert_close(Quartic(3, 3).hessian(x, y, k, memory), expected)
    torch.testing.assert_close(Quartic(3, 3).hessian(x[2:3], y[2:3], 2, memory), expected[2:3])


@pytest.mark.parametrize("energy", [Quartic(3, 3), MLPEnergy(3, 3, 4)])
def test_what_does_not_fit_is_refused(energy: Energy) -> None:
    with pytest.raises(InputError, match="landscape 10 does not exist"):
        energy.hessian(torch.zeros(2, 3), torch.zeros(2, 3), 10)
    with pytest.raises(InputError, match="x has 1 rows and y has 2"):
        energy.hessian(torch.zeros(1, 3), torch.zeros(2, 3), 0)
