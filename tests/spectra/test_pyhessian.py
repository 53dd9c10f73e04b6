"""The PyHessian adapter: its numbers where it is good, and none of its side effects."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from ired_interp.errors import InputError
from ired_interp.spectra import (
    HessianOperator,
    pyhessian_eigenvalues,
    pyhessian_trace,
)

pytestmark = pytest.mark.filterwarnings("ignore::ired_interp.spectra.SpectrumWarning")


class Quadratic(nn.Module):
    """½ Σ λ_i w_i², beside a parameter that it does not use."""

    def __init__(self, eigenvalues: list[float]) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(len(eigenvalues)))
        self.unused = nn.Parameter(torch.ones(2))
        self.eigenvalues = torch.tensor(eigenvalues)

    def forward(self) -> torch.Tensor:
        return (self.eigenvalues * self.w.square()).sum() / 2


def test_separated_eigenvalues_and_side_effects() -> None:
    model = Quadratic([100.0, 30.0, 9.0, *np.linspace(0, 1, 20)])
    model.train()
    model.w.grad = torch.full_like(model.w, 7.0)
    operator = HessianOperator(model, model)
    state = torch.random.get_rng_state()
    found = pyhessian_eigenvalues(operator, 3, 1e-6, seed=1)
    np.testing.assert_allclose(found.eigenvalues, [100, 30, 9], rtol=1e-4)
    assert found.eigenvectors.shape == (25, 3)
    # A second object must not see a doubled Hessian.
    np.testing.assert_allclose(
        pyhessian_eigenvalues(operator, 1, 1e-6).eigenvalues, [100], rtol=1e-4
    )
    assert model.training
    assert float(model.w.grad[0]) == 7
    assert model.unused.grad is None
    assert torch.equal(state, torch.random.get_rng_state())
    assert 3 + 3 <= found.matvecs <= 3 * 100 + 3


def test_a_saddle_is_not_called_converged() -> None:
    operator = HessianOperator(model := Quadratic([1.0, -1.0, 0.1]), model)
    assert not pyhessian_eigenvalues(operator, 1).converged.all()


def test_trace_has_an_honest_error() -> None:
    model = Quadratic(list(np.linspace(1, 3, 50)))
    found = pyhessian_trace(HessianOperator(model, model))
    assert found.value == pytest.approx(
        100, rel=1e-5
    )  # Rademacher vectors are exact for a diagonal matrix


@pytest.mark.parametrize("call", [pyhessian_eigenvalues, pyhessian_trace])
def test_what_it_cannot_do_is_said_in_a_sentence(call: Callable[[HessianOperator], object]) -> None:
    w = torch.ones(3, requires_grad=True)
    with pytest.raises(InputError, match=r"PyHessian .*; use the native backend"):
        call(HessianOperator(lambda: w.square().sum(), w))
